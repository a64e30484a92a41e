"""n) 5,000 clients are cut at once, and all come back at once: how long does it take, and does the server stay awake?

    python benchmarks/soak/herd.py                  5,000 clients
    python benchmarks/soak/herd.py --clients 100    as CI does it

Each has 5 of 500 symbols of its own choice in mode `all`. All are cut within the same instant, half of them by a reset,
and connect again without waiting: the worst that can be. (Ours wait by chance, and longer each time.) A client is back
when it has got all rows up to now: one that is no older than --fresh-s. Every row is compared, and must follow the one
before, across the cut; in the end all have what was produced. The server's loop is asked how late it is for each
millisecond, from the cut until the last one is back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import select
import socket
import struct
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from figures import Figure, Measured, arguments, save, take_turns
from harness import CLIENT_CORE, choices, pinned
from ledger import Ledger, Series
from oracle import Oracle, Violations
from trial import percentile, playing, tracebacks
from wire import MSGPACK, PONG, Inward, command, frame, request

from ticker.config import raise_file_limit

SYMBOLS, EACH = 500, 5
PATIENCE_S = 60.0
AT_ONCE = 64
"""Connections that are opened before others are read from, when there is no hurry."""


class Client:
    """One of the herd."""

    __slots__ = ("_inward", "_names", "_oracle", "_wish", "back_s", "ledger", "newest_us", "sock")

    def __init__(self, name: str, oracle: Oracle, names: list[str]) -> None:
        self.ledger = Ledger(oracle, name)
        self.back_s = 0.0
        """When it was back, by the wall clock; 0 while it isn't."""
        self.newest_us = 0
        self.sock: socket.socket
        self._inward = Inward()
        self._names = names
        self._oracle = oracle
        self._wish = b""

    def connect(self, port: int) -> None:
        """Begin to connect, and to resume where it was."""
        self._inward = Inward()
        self.ledger.connect()
        self.back_s = 0.0
        fields = {"op": "subscribe", "id": 1, "symbols": self._names}
        if self.ledger.accounts:
            since = {name: self._next(name) for name in self._names}
            self.ledger.resume(1, since)
            fields |= {"since": since, "epoch": self._oracle.epoch}
        self._wish = request(port) + command(MSGPACK, fields)
        self.sock = socket.socket()
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.sock.connect(("127.0.0.1", port))

    def ask(self) -> None:
        """Send its requests, now that it is connected. Raises OSError where it isn't."""
        self.sock.sendall(self._wish)

    def read(self, fresh_s: float) -> bool:
        """Read what is there; return False when the connection has ended."""
        try:
            data = self.sock.recv(1 << 16)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for payload in self._inward.take(data):
            if self.ledger.take(payload) is None and not self.back_s:
                self._note_age(payload, fresh_s)
        if self._inward.pings:
            self.sock.send(self._inward.pings * frame(PONG))
            self._inward.pings = 0
        return bool(data) and self._inward.close_code is None

    def cut(self, by_reset: bool) -> None:
        """Be cut."""
        if by_reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def lacks(self, produced: dict[Series, int]) -> int:
        """Return how many rows it has yet to get of what was produced."""
        return sum(max(0, produced[series] - account.next) for series, account in self.ledger.accounts.items())

    def _next(self, name: str) -> int:
        return self.ledger.accounts["trades", 0, self._oracle.symbol(name)].next

    def _note_age(self, payload: bytes, fresh_s: float) -> None:
        rows = self._oracle.take(payload, False)
        symbol = self._oracle.channels[rows.channel].symbol
        last = rows.seq + rows.n - 1
        now_s = time.time()
        time_us = int(self._oracle.rows("trades", symbol, last, last + 1)[0][0])
        if now_s - time_us / 1e6 <= fresh_s:
            self.back_s = now_s


class Herd:
    """All clients, in one thread."""

    def __init__(self, port: int, oracle: Oracle, clients: int, fresh_s: float, chance: random.Random) -> None:
        wishes = choices(oracle.tape.names, clients, EACH, seed=chance.randrange(2**32))
        self.clients = [Client(f"client {number}", oracle, names) for number, names in enumerate(wishes)]
        self._port = port
        self._violations = oracle.violations
        self._fresh_s = fresh_s
        self._chance = chance
        self._poller = select.epoll()
        self._by_fd: dict[int, Client] = {}
        self._asking: set[int] = set()
        self.tried_again = 0

    def come(self) -> None:
        """Let all connect, some at once, and read until all are back."""
        for number, client in enumerate(self.clients, 1):
            self._connect(client)
            while number % AT_ONCE == 0 and self._asking:
                self.read_once()
        self._until_all_are_back()

    def come_back_at_once(self) -> float:
        """Cut all and let all connect again; return when they were cut."""
        cut_s = time.time()
        for client in self.clients:
            client.cut(self._chance.random() < 0.5)
        self._by_fd.clear()
        for client in self.clients:
            self._connect(client)
        self._until_all_are_back()
        return cut_s

    def read_for(self, seconds: float) -> None:
        """Read what comes, for a while."""
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            self.read_once()

    def settle(self, produced: dict[Series, int]) -> None:
        """Read until all have what was produced."""
        deadline_s = time.monotonic() + PATIENCE_S
        while any(client.lacks(produced) for client in self.clients):
            self.read_once()
            if time.monotonic() > deadline_s:
                lacking = sum(client.lacks(produced) for client in self.clients)
                self._violations.add("missing", f"{lacking} rows in the end")
                return

    def read_once(self) -> None:
        """Read from those that have something."""
        for fd, _ in self._poller.poll(0.1, 512):
            client = self._by_fd[fd]
            if fd in self._asking:
                self._ask(fd, client)
            elif not client.read(self._fresh_s):
                self._lose(fd, client)

    def close(self) -> None:
        """Let all go."""
        for client in self.clients:
            client.sock.close()
        self._poller.close()

    def _connect(self, client: Client) -> None:
        client.connect(self._port)
        fd = client.sock.fileno()
        self._by_fd[fd] = client
        self._asking.add(fd)
        self._poller.register(fd, select.EPOLLOUT)

    def _ask(self, fd: int, client: Client) -> None:
        self._asking.discard(fd)
        try:
            client.ask()
        except OSError:
            self._lose(fd, client)
            return
        self._poller.modify(fd, select.EPOLLIN)

    def _lose(self, fd: int, client: Client) -> None:
        """Let one connect again whose connection was refused or has ended."""
        self.tried_again += 1
        client.sock.close()
        del self._by_fd[fd]
        self._connect(client)

    def _until_all_are_back(self) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not all(client.back_s for client in self.clients):
            self.read_once()
            if time.monotonic() > deadline_s:
                away = sum(not client.back_s for client in self.clients)
                self._violations.add("away", f"{away} were not back within {PATIENCE_S:g} s")
                return


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    violations = Violations()
    raise_file_limit()
    if (pin := pinned(CLIENT_CORE)) is not None:
        pin()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "lag.json"
        with playing(SYMBOLS, args.rate, "--lag-report", str(report), lead_s=0.5) as (server, tape):
            oracle = Oracle(tape, violations)
            herd = Herd(server.port, oracle, args.clients, args.fresh_s, random.Random(seed))
            herd.come()
            herd.read_for(args.seconds)
            first_tries = herd.tried_again
            cut_s = herd.come_back_at_once()
            back_s = [client.back_s - cut_s if client.back_s else PATIENCE_S for client in herd.clients]
            until_s = cut_s + max(back_s)
            herd.read_for(args.seconds)
            herd.settle(_most(herd.clients))
            herd.close()
            for _ in range(tracebacks(server)):
                violations.add("traceback", "see the server's log above")
        lags = [late for when, late in json.loads(report.read_text()) if cut_s <= when <= until_s]
    for words in violations.told:
        print(f"    {words}", file=sys.stderr)
    accounts = [account for client in herd.clients for account in client.ledger.accounts.values()]
    for account in accounts:
        if not account.adds_up:
            violations.add("ledger", str(account))
    return {
        "back95_s": percentile(back_s, 0.95),
        "back_s": max(back_s),
        "lag_p99_ms": percentile(lags, 0.99) * 1000,
        "lag_most_ms": max(lags) * 1000,
        "violations": violations.count,
        "missed": sum(account.missed for account in accounts),
        "tried_again": herd.tried_again - first_tries,
        "rows": sum(account.delivered for account in accounts),
        "seed": seed,
        "shown": f"95 % back in {percentile(back_s, 0.95):.2f} s, all in {max(back_s):.2f}; loop lag p99 "
        f"{percentile(lags, 0.99) * 1000:.0f}, most {max(lags) * 1000:.0f} ms; {violations.count} violations, "
        f"{herd.tried_again - first_tries} tries more than one, seed {seed}",
    }


def _most(clients: list[Client]) -> dict[Series, int]:
    """Return the next row of each channel, as far as anyone has come."""
    most: dict[Series, int] = {}
    for client in clients:
        for series, account in client.ledger.accounts.items():
            most[series] = max(account.next, most.get(series, 0))
    return most


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_herd.json."""
    turns = take_turns({"herd": partial(measure, args)}, args.rounds)
    what = f"{args.clients:,} clients cut at once, all resume"
    figures = [
        Figure("n", f"{what}: {words}", unit, turns.values("herd", name), must=must, more_is_better=False)
        for name, words, unit, must in (
            ("back95_s", "95 % back", "s", 10),
            ("missed", "gaps", "rows", 0),
            ("violations", "rows wrong, missing or out of order", "violations", 0),
            ("lag_p99_ms", "loop lag p99 until all are back", "ms", 250),
        )
    ]
    save("soak_herd", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=3, rounds=3)
    options.add_argument("--clients", type=int, default=5000, help="default: %(default)s")
    options.add_argument("--rate", type=float, default=1000, help="trades a second (default: %(default)g)")
    options.add_argument(
        "--fresh-s", type=float, default=1.0, help="a row so young is a new one (default: %(default)g)"
    )
    options.add_argument("--seed", type=int, help="of who wants what (default: another one each time)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
