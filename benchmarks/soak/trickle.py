"""o) Is what a client gets in mode `conflated` fresh, however slowly it reads?

    python benchmarks/soak/trickle.py                two minutes
    python benchmarks/soak/trickle.py --seconds 10   a short one

Clients with 5, 20 and 100 symbols read 1 KiB a second each, others 16; their updates would be up to 30 KiB a second.
What the kernel has taken cannot be taken back: it arrives when its turn comes. What the server still has can be merged
with what comes. So the question is how old an update's newest row is when the update's last byte is handed to the
kernel. That moment is when the bytes that the kernel was given for the client (sock_diag) come to the update's end; it
is looked for 20 times a second. All values are compared.
"""

from __future__ import annotations

import argparse
import bisect
import select
import socket
import sys
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from figures import Figure, Measured, arguments, save, take_turns
from ledger import Ledger
from oracle import Oracle, Violations
from sockdiag import SockDiag
from trial import percentile, playing, tracebacks
from wire import JSON, MSGPACK, PONG, Inward, command, frame, request

SYMBOLS, RATE = 200, 4000
READERS = [(channels, rate) for channels in (5, 20, 100) for rate in (1024, 16_384)]
CODECS = (MSGPACK, JSON)
LOOK_S = 0.05
PATIENCE_S = 60.0


class Reader:
    """A client that reads so many bytes a second and no more, and notes what the kernel has for it."""

    def __init__(self, port: int, codec: str, channels: int, rate: float, oracle: Oracle) -> None:
        self.name = f"{channels} symbols at {rate / 1024:g} KiB/s ({codec})"
        self.rate = rate
        self.is_open = True
        self.ages_s: list[float] = []
        """How old the newest row of each update was when the kernel got its end."""
        self.arrivals_s: list[float] = []
        """How old it was when it had been read."""
        self.handed: list[int] = []
        self._handed_s: list[float] = []
        self._oracle = oracle
        self._ledger = Ledger(oracle, self.name, codec == JSON)
        self._inward = Inward()
        self._allowed = 0.0
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.connect(("127.0.0.1", port))
        self._sock.sendall(request(port, codec))
        names = oracle.tape.names[:channels]
        for kind in ("trades", "quotes"):
            wish = {"op": "subscribe", "kind": kind, "symbols": names, "mode": "conflated", "interval_ms": 250}
            self._sock.sendall(command(codec, wish))
        self.port: int = self._sock.getsockname()[1]
        self._sock.setblocking(False)
        deadline_s = time.monotonic() + PATIENCE_S
        while (
            len(self._ledger.live) < 2 * channels and time.monotonic() < deadline_s
        ):  # at its leisure only from then on
            select.select([self._sock], [], [], 1.0)
            self._read(1 << 16)
        self._allowed = 0.0

    def read(self, elapsed_s: float) -> None:
        """Read what may be read in this time."""
        self._allowed = min(self._allowed + elapsed_s * self.rate, 2 * self.rate)
        while (most := int(self._allowed)) > 0 and self._read(most):
            pass

    def note(self, handed: int, now_s: float) -> None:
        """Note how many bytes the kernel has had so far."""
        if not self.handed or handed > self.handed[-1]:
            self.handed.append(handed)
            self._handed_s.append(now_s)

    def read_all(self) -> None:
        """Read all that the kernel had when it was noted last."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self.is_open and self._inward.received < self.handed[-1]:
            select.select([self._sock], [], [], 1.0)
            self._read(self.handed[-1] - self._inward.received)
            if time.monotonic() > deadline_s:
                self._oracle.violations.add("missing", f"{self.name}: bytes that the kernel had")
                return

    def close(self) -> None:
        """Go."""
        self._sock.close()

    def _read(self, most: int) -> int:
        try:
            data = self._sock.recv(most)
        except BlockingIOError:
            return 0
        except ConnectionError:
            data = b""
        if not data:
            if self.is_open:
                self._oracle.violations.add("closed", f"{self.name}: code {self._inward.close_code}")
            self.is_open = False
            return 0
        self._allowed -= len(data)
        now_s = time.time()
        messages = self._inward.take(data)
        for payload, end in zip(messages, self._inward.ends, strict=True):
            if self._ledger.take(payload) is None:
                self._note_age(payload, end, now_s)
        if self._inward.pings:
            self._sock.send(self._inward.pings * frame(PONG))
            self._inward.pings = 0
        return len(data)

    def _note_age(self, payload: bytes, end: int, now_s: float) -> None:
        rows = self._oracle.take(payload, self._ledger.is_json)
        channel = self._oracle.channels[rows.channel]
        last = rows.seq + rows.stands_for - 1
        time_s = int(self._oracle.rows(channel.kind, channel.symbol, last, last + 1)[0][0]) / 1e6
        self.arrivals_s.append(now_s - time_s)
        at = bisect.bisect_left(self.handed, end)
        self.ages_s.append((self._handed_s[at] if at < len(self.handed) else now_s) - time_s)


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    violations = Violations()
    with ExitStack() as stack:
        server, tape = stack.enter_context(playing(SYMBOLS, RATE / 2))
        oracle = Oracle(tape, violations)
        readers = [Reader(server.port, codec, channels, rate, oracle) for channels, rate in READERS for codec in CODECS]
        ends_s = tape.start_us / 1e6 + args.seconds
        last_s = time.time()
        kernel = stack.enter_context(closing(SockDiag()))
        while (now_s := time.time()) < ends_s:
            handed = kernel.handed(server.port)
            for reader in readers:
                reader.note(handed.get(reader.port, 0), now_s)
                reader.read(now_s - last_s)
            last_s = now_s
            time.sleep(max(0.0, now_s + LOOK_S - time.time()))
        for reader in readers:
            reader.read_all()
            reader.close()
        for _ in range(tracebacks(server)):
            violations.add("traceback", "see the server's log above")
    for words in violations.told:
        print(f"    {words}", file=sys.stderr)
    for reader in readers:
        newest_s, read_s = percentile(reader.ages_s, 0.5), percentile(reader.arrivals_s, 0.5)
        print(
            f"    {reader.name}: {len(reader.ages_s)} updates, age when handed over {newest_s:.2f}, "
            f"most {max(reader.ages_s, default=0.0):.2f} s; when read {read_s:.1f} s",
            file=sys.stderr,
        )
    ages_s = [age for reader in readers for age in reader.ages_s]
    oldest_s = max(ages_s, default=0.0)
    slow = [age for reader in readers for age in reader.arrivals_s if reader.rate == 1024]
    return {
        "oldest_s": oldest_s,
        "p50_s": percentile(ages_s, 0.5),
        "updates": len(ages_s),
        "arrival_p50_s": percentile(slow, 0.5),
        "violations": violations.count,
        "shown": f"{len(ages_s):,} updates: p50 {percentile(ages_s, 0.5):.2f}, oldest {oldest_s:.2f} s when handed to "
        f"the kernel, {violations.count} violations",
    }


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_trickle.json."""
    turns = take_turns({"trickle": partial(measure, args)}, args.rounds)
    what = f"readers of 1 and 16 KiB/s in `conflated`, {args.seconds:g} s"
    figures = [
        Figure("o", f"{what}: oldest update when it is handed to the kernel", "s", turns.values("trickle", "oldest_s"),
               must=2, more_is_better=False),
        Figure("o", f"{what}: wrong, missing or out of order", "violations", turns.values("trickle", "violations"),
               must=0, more_is_better=False),
    ]  # fmt: skip
    save("soak_trickle", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    return arguments(__doc__, seconds=120, rounds=1)


if __name__ == "__main__":
    run(parser().parse_args())
