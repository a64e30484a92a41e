"""l) Does a client whose connection is cut, at whatever byte, miss a row or get one twice when it resumes?

    python benchmarks/soak/cut.py                10,000 cuts: some minutes
    python benchmarks/soak/cut.py --cuts 500     as CI does it

Some clients at once take trades and quotes of all symbols, in mode `all` or `conflated`. Each connection is cut after
some bytes, by chance: in the answer to the handshake, in `welcome`, in `subscribed`, within a frame's header, within
rows; by a FIN or a reset, with bytes read or unread. The next one resumes behind the last message that came whole. A
cut waits until a witness that is never cut has got rows that the client has not: at every cut some are outstanding. In
the end all get what the witness has. Every row's values are compared with those that the feed made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import socket
import struct
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from figures import Figure, Measured, arguments, save, take_turns
from ledger import Ledger, Series
from oracle import Oracle, Violations
from trial import playing, tracebacks
from wire import JSON, MSGPACK, PONG, Inward, command, frame, request

KINDS = ("trades", "quotes")
PATIENCE_S = 60.0
SYMBOLS = 12
WAYS = ((MSGPACK, "all"), (JSON, "all"), (MSGPACK, "conflated"), (JSON, "conflated"))
REACHES = (160, 600, 4000, 12_000, 12_000, 40_000)
"""Bytes that a connection lasts at most, chosen by chance: often few, where there is most that can be cut in two."""
HISTORY_MIB = 1024
"""Enough for all rows of the trial: what a client was cut from must be there, however long the trial takes."""


class Client:
    """Takes trades and quotes of all symbols, from the first row of all on. `cuts` counts by where they fell."""

    def __init__(self, name: str, port: int, codec: str, mode: str, oracle: Oracle, chance: random.Random) -> None:
        self.ledger = Ledger(oracle, f"{name} ({codec}, {mode})", codec == JSON)
        self.cuts: Counter[str] = Counter()
        self.outstanding = 0
        """Rows that the witness had and this one had not, over all cuts."""
        self.has_more = asyncio.Event()
        self._port = port
        self._codec = codec
        self._mode = mode
        self._oracle = oracle
        self._chance = chance
        self._inward = Inward()
        self._sock: socket.socket

    async def follow(self) -> None:
        """Be a witness: take all that comes, until cancelled. `has_more` is set whenever there is more."""
        await self._connect({})
        with contextlib.closing(self._sock):
            while True:
                self._take(await self._receive(1 << 17))
                self.has_more.set()
                self.has_more = asyncio.Event()

    async def be_cut(self, witness: Client) -> None:
        """Connect, resume, and be cut after some bytes, once there are rows that this client has not got."""
        await self._connect({"epoch": self._oracle.epoch})
        left = self._chance.randrange(1, self._chance.choice(REACHES))
        while left:
            data = await self._receive(min(left, 1 << 16))
            left -= len(data)
            self._take(data)
        while not (ahead := witness.ahead_of(self)):
            await witness.has_more.wait()
        self.outstanding += ahead
        self._cut()

    async def catch_up(self, positions: dict[Series, int]) -> None:
        """Resume once more, and take all up to these positions."""
        await self._connect({"epoch": self._oracle.epoch})
        while any(self.position(series) < seq for series, seq in positions.items()):
            self._take(await self._receive(1 << 16))
        self._sock.close()

    def position(self, series: Series) -> int:
        """Return the next row that this client needs."""
        account = self.ledger.accounts.get(series)
        return account.next if account else 0

    def positions(self) -> dict[Series, int]:
        """Return the next row of each channel."""
        return {series: account.next for series, account in self.ledger.accounts.items()}

    def ahead_of(self, other: Client) -> int:
        """Return how many rows this one has got that another has not."""
        return sum(max(0, seq - other.position(series)) for series, seq in self.positions().items())

    async def _connect(self, epoch: dict[str, str]) -> None:
        """Connect, and send all requests at once: the answers are what is cut. With an epoch, resume."""
        self._inward = Inward()
        self.ledger.connect()
        requests = [request(self._port, self._codec)]
        for kind in KINDS:
            fields: dict[str, Any] = {"op": "subscribe", "id": kind, "kind": kind, "mode": self._mode, **epoch}
            fields |= {"symbols": self._oracle.tape.names}
            fields |= {"interval_ms": 50} if self._mode == "conflated" else {}
            if epoch:
                fields["since"] = {
                    name: self.position((kind, 0, symbol)) for symbol, name in enumerate(self._oracle.tape.names)
                }
                self.ledger.resume(kind, fields["since"])
            requests.append(command(self._codec, fields))
        self._sock = socket.socket()
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._chance.choice((4096, 1 << 14, 1 << 16)))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._sock, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._sock, b"".join(requests))

    async def _receive(self, most: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            data = await asyncio.get_running_loop().sock_recv(self._sock, most)
        if not data:
            raise ConnectionError(f"the server closed a connection, code {self._inward.close_code}")
        return data

    def _take(self, data: bytes) -> None:
        for payload in self._inward.take(data):
            self.ledger.take(payload)
        if self._inward.pings:
            self._sock.send(self._inward.pings * frame(PONG))
            self._inward.pings = 0

    def _cut(self) -> None:
        inward, how = self._inward, self._chance.choice(("FIN", "RST"))
        place = "the handshake" if not inward.is_open else "rows" if self.ledger.rows else "control messages"
        self.cuts.update((place, how))
        self.cuts["a frame's header"] += inward.is_open and 0 < inward.begun < 4
        if how == "RST":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    violations = Violations()
    options = ["--history-mib", str(HISTORY_MIB), "--history-s", "86400"]
    with playing(SYMBOLS, args.rate / 2, *options, lead_s=0.5) as (server, tape):
        oracle = Oracle(tape, violations)
        clients, produced = asyncio.run(_trial(args, server.port, oracle, random.Random(seed)))
        for _ in range(tracebacks(server)):
            violations.add("traceback", "see the server's log above")
    for words in violations.told:
        print(f"    {words}", file=sys.stderr)
    cuts = sum((client.cuts for client in clients), Counter())
    missing, twice = _reconcile(clients, produced)
    outstanding = sum(client.outstanding for client in clients)
    done = cuts["FIN"] + cuts["RST"]
    places = ", ".join(f"{count:,} in {place}" for place, count in cuts.items() if place not in ("FIN", "RST"))
    return {
        "cuts": done,
        "places": dict(cuts),
        "missing": missing,
        "twice": twice,
        "violations": violations.count,
        "outstanding": outstanding / done,
        "produced": produced,
        "values": oracle.values,
        "seed": seed,
        "shown": f"{done:,} cuts ({places}), {produced:,} rows: {missing} missing, {twice} twice, "
        f"{violations.count} violations, {outstanding / done:,.0f} rows outstanding at a cut, seed {seed}",
    }


async def _trial(
    args: argparse.Namespace, port: int, oracle: Oracle, chance: random.Random
) -> tuple[list[Client], int]:
    """Have all clients cut; return them, and how many rows the witness had got in the end."""

    def client(name: str, codec: str, mode: str) -> Client:
        return Client(name, port, codec, mode, oracle, random.Random(chance.randrange(2**32)))

    witness = client("witness", MSGPACK, "all")
    following = asyncio.create_task(witness.follow())
    while not witness.ledger.rows:
        await witness.has_more.wait()
    clients = [client(f"client {number}", *WAYS[number % len(WAYS)]) for number in range(args.clients)]
    left = iter(range(args.cuts))

    async def cut_again_and_again(one: Client) -> None:
        for _ in left:
            await one.be_cut(witness)

    await asyncio.gather(*map(cut_again_and_again, clients))
    positions = witness.positions()
    await asyncio.gather(*(one.catch_up(positions) for one in clients))
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    return clients, sum(positions.values())


def _reconcile(clients: list[Client], produced: int) -> tuple[int, int]:
    """Return how many rows are missing in all ledgers, and how many came twice."""
    missing = twice = 0
    for client in clients:
        for account in client.ledger.accounts.values():
            lacks = account.next - account.delivered - account.merged
            missing += max(0, lacks)
            twice += max(0, -lacks)
    return missing, twice


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_cut.json."""
    turns = take_turns({"cut": partial(measure, args)}, args.rounds)
    what = f"cut the connection at a random byte and resume, {args.cuts:,} times"
    figures = [
        Figure("l", f"{what}: {name}", unit, turns.values("cut", name), must=0, more_is_better=False)
        for name, unit in (("missing", "rows"), ("twice", "rows"), ("violations", "violations"))
    ]
    save("soak_cut", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=0, rounds=1)
    options.add_argument("--cuts", type=int, default=10_000, help="default: %(default)s")
    options.add_argument("--clients", type=int, default=16, help="at once (default: %(default)s)")
    options.add_argument("--rate", type=float, default=2_000, help="rows a second (default: %(default)g)")
    options.add_argument("--seed", type=int, help="of what is cut where (default: another one each time)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
