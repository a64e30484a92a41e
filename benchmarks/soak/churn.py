"""p) Clients that connect and go, 200 a second: does the server come back to where it was?

    python benchmarks/soak/churn.py                            ten minutes
    python benchmarks/soak/churn.py --seconds 2 --warm-s 1     as CI does it

They end in every way there is (see ENDS), after a time by chance, in both dialects; a neighbour that stays keeps a
ledger of all. After a time for what is needed only once, and again in the end, when all have gone, the server's memory
is taken (the allocator told to give back what it can), its descriptors, its tasks, and its objects of our and Tornado's
classes, but for those that do not belong to a client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from cut import Client
from figures import Figure, Measured, arguments, save, take_turns
from harness import Server
from oracle import Oracle, Violations
from trial import census, descriptors, playing, tracebacks
from wire import ALPACA_JSON, ALPACA_MSGPACK, CLOSE, JSON, MSGPACK, command, frame, request

SYMBOLS, RATE = 20, 2000
LIFE_S = 0.3
"""How long a connection lasts on average."""
PATIENCE_S = 60.0
HISTORY_MIB = 1
"""So little that it is full before the first look: what grows then is not the history."""
ENDS = {
    "close": "subscribes, and says goodbye as RFC 6455 has it",
    "fin": "subscribes, and is gone without a word",
    "rst": "subscribes, leaves unread what came, and resets",
    "half-closed": "subscribes, says that nothing more will come from it, and reads on until the server closes",
    "in a message": "subscribes, and goes in the middle of a command",
    "welcome only": "goes once the handshake is done",
    "in the handshake": "goes in the middle of its request",
    "in the handshake, rst": "resets there",
    "nothing": "connects and goes",
}
NOT_OF_CLIENTS = (
    "ticker.columns.",
    "ticker.summary.",
    "ticker.model.",
    "ticker.stream.shelf.",
    "ticker.stream.tables.",
    "ticker.stream.runs.",
    "ticker.stream.listeners.",
    "ticker.protocol.alpaca_msgpack._Template",
)
"""Classes whose objects the history decides about, or which there is one of for each codec, mode and series in use."""
RESETS = ("rst", "in the handshake, rst")


class Crowd:
    """Those who come and go."""

    def __init__(self, port: int, chance: random.Random, violations: Violations, names: tuple[str, ...]) -> None:
        self.ends: Counter[str] = Counter()
        self._port = port
        self._chance = chance
        self._violations = violations
        self._names = names
        self._here: set[asyncio.Task[None]] = set()

    async def come(self, rate: float, seconds: float) -> None:
        """Let so many come a second, for a while; return when all have gone."""
        began_s = time.monotonic()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began_s + number / rate - time.monotonic()))
            visit = asyncio.create_task(self._visit(self._chance.choice(tuple(ENDS))))
            self._here.add(visit)
            visit.add_done_callback(self._here.discard)
        if self._here:
            await asyncio.wait(self._here, timeout=PATIENCE_S)
        for visit in self._here:
            self._violations.add("stays", "a connection that the server does not let go")
            visit.cancel()

    async def _visit(self, end: str) -> None:
        self.ends[end] += 1
        chance, loop = self._chance, asyncio.get_running_loop()
        codec = chance.choice((MSGPACK, JSON, ALPACA_MSGPACK, ALPACA_JSON))
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.closing(sock):
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            hello = request(self._port, codec)
            if "handshake" in end:
                await loop.sock_sendall(sock, hello[: chance.randrange(1, len(hello) - 1)])
            elif end != "nothing":
                await self._talk(sock, hello, codec, end)
            if end in RESETS:
                await asyncio.sleep(chance.expovariate(1 / LIFE_S))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _talk(self, sock: socket.socket, hello: bytes, codec: str, end: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, hello)
        head = await loop.sock_recv(sock, 1 << 16)
        if not head.startswith(b"HTTP/1.1 101 "):
            self._violations.add("refused", repr(head[:80]))
        if end == "welcome only":
            return
        wishes = b"".join(command(codec, each) for each in self._wishes(codec))
        await loop.sock_sendall(sock, wishes)
        if end == "rst":
            return
        await _read_for(sock, self._chance.expovariate(1 / LIFE_S))
        if end == "in a message":
            await loop.sock_sendall(sock, wishes[: len(wishes) // 2])
        elif end == "close":
            await loop.sock_sendall(sock, frame(CLOSE, struct.pack("!H", 1000)))
            await _read_for(sock, PATIENCE_S)
        elif end == "half-closed":
            sock.shutdown(socket.SHUT_WR)
            await _read_for(sock, PATIENCE_S)

    def _wishes(self, codec: str) -> list[dict[str, Any]]:
        chance = self._chance
        names = chance.sample(self._names, 5)
        if codec in (ALPACA_MSGPACK, ALPACA_JSON):
            subscribe: Mapping[str, Any] = {"action": "subscribe", "trades": names, "quotes": ["*"], "bars": names}
            return [{"action": "auth", "key": "any", "secret": "any"}, dict(subscribe)]
        kind, mode = chance.choice(("trades", "quotes", "bars")), chance.choice(("all", "conflated"))
        return [{"op": "subscribe", "kind": kind, "mode": mode, "symbols": chance.choice((names, ["*"]))}]


async def _read_for(sock: socket.socket, seconds: float) -> None:
    """Read until the time is up, or the server has closed."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(seconds):
            while await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
                pass


def look(server: Server, path: Path, settled: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the server occupies, once it has no more than `settled` of descriptors, tasks and, if that tells
    them, objects of clients; or patience ends. What a flush is encoded to lives until the next, so one look may see it.
    """
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        counted = {**census(server, path), "descriptors": descriptors(server), "resident_kib": server.resident_kib}
        has_settled = all(counted[what] <= settled[what] for what in ("descriptors", "tasks"))
        if "objects" in settled:
            has_settled = has_settled and not grown(settled, counted)
        if has_settled or time.monotonic() > deadline_s:
            return counted
        time.sleep(0.1)


def grown(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """Return of which classes of clients' objects there are more, and how many."""
    more = Counter(after["objects"])
    more.subtract(before["objects"])
    return {kind: count for kind, count in more.items() if count > 0 and not kind.startswith(NOT_OF_CLIENTS)}


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    chance, violations = random.Random(seed), Violations()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census.json"
        options = ["--history-mib", str(HISTORY_MIB), "--bars-mib", str(HISTORY_MIB), "--census", str(path)]
        with playing(SYMBOLS, RATE / 2, *options, lead_s=0.5) as (server, tape):
            oracle = Oracle(tape, violations)

            async def trial() -> tuple[Crowd, dict[str, Any], dict[str, Any]]:
                neighbour = Client("neighbour", server.port, MSGPACK, "all", oracle, chance)
                following = asyncio.create_task(neighbour.follow())
                while not neighbour.ledger.rows:
                    await neighbour.has_more.wait()
                alone = await asyncio.to_thread(look, server, path, {"descriptors": 1 << 20, "tasks": 1 << 20})
                await Crowd(server.port, chance, violations, tape.names).come(args.rate, args.warm_s)
                before = await asyncio.to_thread(
                    look, server, path, {what: alone[what] for what in ("descriptors", "tasks")}
                )
                crowd = Crowd(server.port, chance, violations, tape.names)
                await crowd.come(args.rate, args.seconds)
                after = await asyncio.to_thread(look, server, path, before)
                if following.done():
                    violations.add("neighbour", f"it is gone: {following.exception()!r}")
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await following
                return crowd, before, after

            crowd, before, after = asyncio.run(trial())
            for _ in range(tracebacks(server)):
                violations.add("traceback", "see the server's log above")
    more = grown(before, after)
    for words in (*violations.told, *(f"{count} more of {kind}" for kind, count in more.items())):
        print(f"    {words}", file=sys.stderr)
    mib = (after["resident_kib"] - before["resident_kib"]) / 1024
    return {
        "visits": sum(crowd.ends.values()),
        "ends": dict(crowd.ends),
        "descriptors": after["descriptors"] - before["descriptors"],
        "tasks": after["tasks"] - before["tasks"],
        "objects": sum(more.values()),
        "grown": more,
        "mib": mib,
        "before_mib": before["resident_kib"] / 1024,
        "violations": violations.count,
        "seed": seed,
        "shown": f"{sum(crowd.ends.values()):,} came and went: {_gone(before, after)}, {sum(more.values())} objects, "
        f"{mib:+.1f} MiB of {before['resident_kib'] / 1024:.0f}, {violations.count} violations, seed {seed}",
    }


def _gone(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(f"{after[what] - before[what]:+} {what}" for what in ("descriptors", "tasks"))


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_churn.json."""
    turns = take_turns({"churn": partial(measure, args)}, args.rounds)
    what = f"clients that connect and go, {args.rate:g} a second for {args.seconds:g} s"
    figures = [
        Figure("p", f"{what}: {words}", unit, turns.values("churn", name), must=must, more_is_better=False)
        for name, words, unit, must in (
            ("descriptors", "descriptors left", "descriptors", 0),
            ("tasks", "tasks left", "tasks", 0),
            ("objects", "objects left", "objects", 0),
            ("mib", "more memory", "MiB", 4),
            ("violations", "a neighbour's violations", "violations", 0),
        )
    ]
    save("soak_churn", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=600, rounds=1)
    options.add_argument("--warm-s", type=float, default=20, help="before the first look (default: %(default)g)")
    options.add_argument("--rate", type=float, default=200, help="connections a second (default: %(default)g)")
    options.add_argument("--seed", type=int, help="of what they do (default: another one each time)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
