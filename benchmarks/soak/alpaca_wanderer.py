"""A wanderer that speaks Alpaca's dialect: what it gets of a channel must be the tape from some row on."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np
from oracle import Ints
from tape import PRICE_SCALE
from wanderer import ClosedError, GaveUpError, Wanderer
from wire import ALPACA_JSON

KINDS = {"t": "trades", "q": "quotes"}
FIELDS = {"trades": ("p", "s"), "quotes": ("bp", "bs", "ap", "as")}
PRICES = ("p", "bp", "ap")
TOO_SLOW = 407
ID_BITS = 32
"""Bits of a trade's id that are its row's number in the native stream (docs/alpaca.md)."""


class AlpacaWanderer(Wanderer):
    """Keeps for each channel the row that must come next."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.minutes: dict[tuple[int, int], tuple[float, ...]] = {}
        """Bars that came, by symbol and start in microseconds: open, high, low, close, volume, count."""
        self._next: dict[tuple[str, int], int | None] = {}

    async def settle(self) -> None:
        try:
            await self._ask("subscribe", {"trades": []})  # what is due comes before the answer
        except ClosedError as closed:
            self._ended(closed.code)
            return
        except GaveUpError:
            return
        for (kind, symbol), following in self._next.items():
            if following is not None and following != self.produced(symbol):
                self._wrong("order", f"{kind} of {symbol} end at {following}, not {self.produced(symbol)}")
        self.leave("close")

    async def _greet(self) -> None:
        self._next.clear()
        await self._until(lambda answer: answer.get("msg") == "connected")
        self._send({"action": "auth", "key": "any", "secret": "any"})
        await self._until(lambda answer: answer.get("msg") == "authenticated")

    async def _do_something(self) -> None:
        chance = self._chance
        what = chance.choices(("subscribe", "unsubscribe", "stall", "leave"), (50, 25, 10, 15))[0]
        self.did[what] += 1
        if what == "stall":
            await asyncio.sleep(chance.choice((0.1, 0.3, 1.0)))
        elif what == "leave":
            self.leave(chance.choice(("close", "fin", "rst")))
        else:
            names = chance.sample(self._oracle.tape.names, chance.choice((1, 1, 2)))
            await self._change(what, chance.choice(("trades", "quotes")), names)

    async def _change(self, action: str, kind: str, names: Sequence[str]) -> None:
        answer = await self._ask(action, {kind: names, "bars": names})
        if any((name in answer[kind]) != (action == "subscribe") for name in names):
            self._wrong("subscription", f"after {action} {names} of {kind}: {answer}")

    async def _ask(self, action: str, lists: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
        self._send({"action": action, **lists})
        answer: Mapping[str, Any] = await self._until(lambda answer: answer["T"] == "subscription")
        return answer

    def _take(self, payload: bytes) -> Mapping[str, Any] | None:
        """Take an array of messages; return the one that is an answer."""
        array = json.loads(payload) if self.codec == ALPACA_JSON else msgpack.unpackb(payload)
        answer = None
        for (type, name), run in itertools.groupby(array, lambda message: (message["T"], message.get("S"))):
            rows = list(run)
            if type in KINDS:
                self._take_rows(KINDS[type], self._oracle.symbol(name), rows)
            elif type == "b":
                starts = self._times_us(rows).tolist()
                for start, row in zip(starts, rows, strict=True):
                    self.minutes[self._oracle.symbol(name), start] = tuple(row[key] for key in "ohlcvn")
            else:
                answer = rows[-1]
                if type == "subscription":
                    self._note_lists(answer)
                elif type == "error" and answer["code"] == TOO_SLOW:
                    self.did["told that it is slow"] += 1
                elif type == "error":
                    self._wrong("error", str(answer))
        return answer

    def _note_lists(self, lists: Mapping[str, Any]) -> None:
        live = [(kind, self._oracle.symbol(name)) for kind in ("trades", "quotes") for name in lists[kind]]
        self._next = {channel: self._next.get(channel) for channel in live}

    def _take_rows(self, kind: str, symbol: int, rows: Sequence[Mapping[str, Any]]) -> None:
        times = self._times_us(rows)
        if (kind, symbol) not in self._next:
            self._wrong("silence", f"rows of {kind} of {symbol}, which is not live")
            return
        first = self._next[kind, symbol]
        if first is None:
            first = self._oracle.seq_at(kind, symbol, int(times[0]))
        end = first + len(rows)
        self._next[kind, symbol] = end
        self.rows += len(rows)
        expected = self._oracle.rows(kind, symbol, first, end)
        got = [times]
        for field in FIELDS[kind]:
            values = np.array([row[field] for row in rows], np.float64)
            unit = 10.0**PRICE_SCALE if field in PRICES else 1.0
            whole = np.rint(values * unit)
            got.append(np.where(whole / unit == values, whole, -1).astype(np.int64))
        if not all(map(np.array_equal, got, expected)):
            self._wrong("value", f"{kind} of {symbol} from {first}: {rows[0]}")
        if kind == "trades" and rows[0]["i"] & ((1 << ID_BITS) - 1) != first:
            self._wrong("order", f"id {rows[0]['i']} of row {first} of {symbol}")
        self._oracle.values += len(rows) * (1 + len(FIELDS[kind]))

    def _times_us(self, rows: Sequence[Mapping[str, Any]]) -> Ints:
        if self.codec == ALPACA_JSON:
            return np.array([row["t"].removesuffix("Z") for row in rows], "M8[us]").astype(np.int64)
        return np.array([row["t"].to_unix_nano() // 1000 for row in rows])

    def _wrong(self, kind: str, words: str) -> None:
        self._oracle.violations.add(kind, f"{self.name}: {words}")
