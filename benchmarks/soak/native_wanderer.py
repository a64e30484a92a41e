"""A wanderer that speaks the native protocol: any kind, any mode, resuming or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ledger import Ledger
from wanderer import ClosedError, GaveUpError, Wanderer
from wire import JSON

INTERVALS_MS = (50, 100, 250, 500, 1000)
INTERVALS_S = (1, 5)


class NativeWanderer(Wanderer):
    """Keeps a Ledger."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ledger = Ledger(self._oracle, self.name, self.codec == JSON)
        self._names = self._oracle.tape.names
        self._asked = 0

    async def settle(self) -> None:
        tape, oracle, ledger = self._oracle.tape, self._oracle, self.ledger
        while True:
            try:
                if self._writer is None:
                    await self._connect()
                for kind in ("trades", "quotes"):
                    mine = {tape.names[s]: each.next for (k, _, s), each in ledger.accounts.items() if k == kind}
                    if mine:
                        await self._ask({"op": "unsubscribe", "kind": kind, "symbols": ["*"]})
                        await self._subscribe(kind, list(mine), since=mine)
                await self._until_all_is_there()
                await self._ask({"op": "ping"})
                break
            except ClosedError as closed:
                self._ended(closed.code)
            except GaveUpError:
                break
        for series, account in ledger.accounts.items():
            if not account.adds_up:
                oracle.violations.add("ledger", f"{series}: {account}")
        self.leave("close")

    async def come_back(self) -> None:
        """Connect once more."""
        await self._connect()

    async def get_bars(self, interval_s: int, trades: Sequence[int] | None) -> None:
        """Get all bars of all symbols; wait until they hold so many trades of each, or only for those there are."""
        names = list(self._names)
        await self._subscribe("bars", names, interval_s=interval_s, since=dict.fromkeys(names, 0))
        if trades is None:
            await self._ask({"op": "ping"})
            return

        def hold(symbol: int) -> int:
            return sum(row[-1] for row in self._oracle.bars.get(("bars", interval_s, symbol), {}).values())

        async def read_until_they_hold() -> None:
            while any(hold(symbol) < count for symbol, count in enumerate(trades)):
                await self._read()

        await self._within_patience(read_until_they_hold(), f"the last bar of {interval_s} s")

    async def _until_all_is_there(self) -> None:
        ticks = [(series, each) for series, each in self.ledger.accounts.items() if series[0] != "bars"]

        async def read_until_there() -> None:
            while any(each.next < self.produced(series[2]) for series, each in ticks):
                await self._read()

        await self._within_patience(read_until_there(), "the last row")

    async def _greet(self) -> None:
        self.ledger.connect()
        await self._until(lambda answer: answer["type"] == "welcome")

    def _take(self, payload: bytes) -> Any:
        return self.ledger.take(payload)

    async def _ask(self, message: dict[str, Any]) -> Mapping[str, Any]:
        self._asked += 1
        self.did[message["op"]] += 1
        self._send({"id": self._asked, **message})
        answer: Mapping[str, Any] = await self._until(lambda answer: answer.get("id") == self._asked)
        return answer

    async def _subscribe(self, kind: str, symbols: list[str], since: dict[str, int] | None = None, **more: Any) -> None:
        if since is not None:
            self.did["resumed"] += len(since)
            self.ledger.resume(self._asked + 1, since)
            more |= {"since": since, "epoch": self._oracle.epoch}
        await self._ask({"op": "subscribe", "kind": kind, "symbols": symbols, **more})

    async def _do_something(self) -> None:
        chance = self._chance
        what = chance.choices(
            ("subscribe", "everything", "unsubscribe", "ping", "stall", "leave"), (50, 4, 16, 10, 10, 10)
        )[0]
        self.did[what] += what in ("stall", "leave", "everything")
        if what == "subscribe":
            await self._subscribe_something(chance.sample(self._names, chance.choice((1, 1, 2, 3))))
        elif what == "everything":
            await self._subscribe_something(["*"])
        elif what == "unsubscribe":
            kind = chance.choice(("trades", "quotes", "bars"))
            symbols = ["*"] if chance.random() < 0.6 else chance.sample(self._names, 2)
            await self._ask({"op": "unsubscribe", "kind": kind, "symbols": symbols})
            left = [each for each in self.ledger.live if each[0] == kind]
            if any(symbols == ["*"] or self._names[symbol] in symbols for _, _, symbol in left):
                self._oracle.violations.add("unsubscribed", f"{symbols} of {kind}, and {left} are live")
        elif what == "ping":
            await self._ask({"op": "ping"})
        elif what == "stall":
            await asyncio.sleep(chance.choice((0.1, 0.3, 1.0, 3.0)))
        else:
            self.leave(chance.choice(("close", "fin", "rst")))

    async def _subscribe_something(self, symbols: list[str]) -> None:
        chance = self._chance
        kind = chance.choices(("trades", "quotes", "bars"), (45, 35, 20))[0]
        interval_s = chance.choice(INTERVALS_S) if kind == "bars" else 0
        more: dict[str, Any] = {"mode": chance.choice(("all", "conflated"))}
        if more["mode"] == "conflated":
            more["interval_ms"] = chance.choice(INTERVALS_MS)
        if kind == "bars":
            more["interval_s"] = interval_s
        since = {}
        for name in symbols if symbols != ["*"] else ():
            series = (kind, interval_s, self._oracle.symbol(name))
            account = self.ledger.accounts.get(series)
            if account is None or chance.random() < 0.3:
                continue
            if self.ledger.silent(series):
                since[name] = account.next
            elif kind != "bars" and chance.random() < 0.2:  # rows are sent again
                since[name] = max(0, account.next - chance.randrange(200))
        await self._subscribe(kind, symbols, since=since or None, **more)
