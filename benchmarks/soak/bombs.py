"""r) What does it cost a server, and its other clients, when one sends what is small and becomes large, or never ends?

    python benchmarks/soak/bombs.py                       two minutes
    python benchmarks/soak/bombs.py --half-open 100 --seconds 1    a short one

Of each attack: how long until the server has ended it, by how much its resident memory grew meanwhile at most (looked
at 50 times a second; less what it grows where nobody attacks), and whether the neighbours, who listen to every row, got
each in order. Floods never end by themselves: of those it is how much of a core the server spends on them beyond what
it spends without.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import socket
import ssl
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # for tests

import msgpack
from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, VoidError, masked, running, subscribe
from trial import tracebacks

from tests.server import certificates

MANY = 1_000_000
PATIENCE_S = 60.0
SETTLED_S = 2.0
LOOK_S = 0.02
CONTINUATION, TEXT, BINARY, PING = 0x00, 0x81, 0x82, 0x89
NEVER_FINAL = 0x7F


class Attack:
    """A socket of an attacker: connected, and if it wants to be a WebSocket, welcomed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock = socket.create_connection(("127.0.0.1", port))

    def upgrade(self, *headers: str, path: str = "/stream") -> bytes:
        """Shake hands; return the answer's head."""
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers, "", ""]
        self._sock.sendall("\r\n".join(lines).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._sock.recv(4096)
        return head

    def ask(self, *headers: str, path: str = "/api/symbols", method: str = "GET", body: bytes = b"") -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", *headers, "", ""]
        with contextlib.suppress(OSError):
            self._sock.sendall("\r\n".join(lines).encode() + body)

    def send(self, data: bytes, times: int = 1) -> None:
        """Send data so many times, or until the server has ended it."""
        self._sock.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                self._sock.sendall(data)

    def flood(self, data: bytes, seconds: float, reads: bool) -> None:
        """Send data again and again, never a frame in part."""
        if reads:
            threading.Thread(target=self._read_all, daemon=True).start()
        ends_s, view, sent = time.monotonic() + seconds, memoryview(data), 0
        with contextlib.suppress(OSError):
            while (left := ends_s - time.monotonic()) > 0:
                self._sock.settimeout(left)
                sent = (sent + self._sock.send(view[sent:])) % len(data)

    def wait(self) -> None:
        """Wait until the server has ended it. Raises TimeoutError."""
        self._sock.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            while self._sock.recv(1 << 16):
                pass
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def _read_all(self) -> None:
        with contextlib.suppress(OSError):
            while self._sock.recv(1 << 16):
                pass


class Watch:
    """Looks at a server's memory, and keeps the most."""

    def __init__(self, server: Server) -> None:
        self.peak_kib = self._server_kib = server.resident_kib
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    @property
    def grown_mib(self) -> float:
        return (self.peak_kib - self._server_kib) / 1024

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self.peak_kib = max(self.peak_kib, self._server.resident_kib)


@contextmanager
def street(*options: str) -> Iterator[tuple[Server, Clients]]:
    """Run a server, whose history is full, and its neighbours."""
    feed = ["--feed", "simulated", "--symbols", "200", "--rate", "5000", "--seed", "1"]
    with (
        running(Server.of_ours(*feed, "--history-mib", "1", "--bars-mib", "1", *options)) as server,
        running(Clients(server.port, [subscribe(["*"])] * 10, check_every=1)) as neighbours,
    ):
        time.sleep(2 * SETTLED_S)
        yield server, neighbours


def fragments(port: int, piece: bytes) -> None:
    """A million fragments of one message."""
    attack = Attack(port)
    attack.upgrade()
    first = masked(b"", BINARY & NEVER_FINAL)
    attack.send(first + masked(piece, CONTINUATION) * (MANY // 100))
    attack.send(masked(piece, CONTINUATION) * (MANY // 100), 99)
    attack.wait()


def deflated_frame(port: int) -> None:
    """A frame of permessage-deflate, which was offered and not agreed on: 256 KiB that would be 256 MiB."""
    attack = Attack(port)
    head = attack.upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    if b"permessage-deflate" in head:
        raise VoidError("compression was agreed on")
    packer = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush(zlib.Z_SYNC_FLUSH)
    attack.send(masked(bomb[:262_144], BINARY | 0x40))
    attack.wait()


def gzipped_body(port: int) -> None:
    """A body of gzip: 60 KiB that would be 60 MiB."""
    attack = Attack(port)
    body = gzip.compress(bytes(60 << 20), 9)
    headers = ["Content-Encoding: gzip", f"Content-Length: {len(body)}", "Connection: close"]
    attack.ask(*headers, method="POST", body=body)
    attack.wait()


def half_open(port: int, count: int) -> None:
    """Handshakes that get on by a byte a second."""
    trickle(port, count, f"GET /stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Slow: ".encode() + b"x" * 1000)


def half_open_by_tls(port: int, count: int) -> None:
    """The same before the handshake, when TLS is agreed on."""
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    trickle(port, count, hello.read())


def trickle(port: int, count: int, request: bytes) -> None:
    """Send a byte of the request a second on so many connections, until all have ended."""
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for at in range(round(PATIENCE_S)):
        for sock in list(socks):
            try:
                sock.setblocking(False)
                sock.send(request[at : at + 1])
                if not sock.recv(1000):
                    raise ConnectionError
            except BlockingIOError:
                continue
            except ConnectionError:
                sock.close()
                socks.remove(sock)
        if not socks:
            return
        time.sleep(1)
    raise VoidError(f"{len(socks)} half-open handshakes are still there")


def headers(port: int, *lines: str) -> None:
    """A request with headers of all sorts."""
    attack = Attack(port)
    attack.ask(*lines)
    attack.wait()


def command(**fields: object) -> bytes:
    """Return a command as a frame."""
    packed: bytes = msgpack.packb(fields)
    return masked(packed)


NAMES = [f"S{number:05}" for number in range(20_000)]
FLOODS: dict[str, tuple[bytes, bytes, bool]] = {
    "empty fragments": (masked(b"", BINARY & NEVER_FINAL), masked(b"", CONTINUATION) * 20_000, True),
    "pings": (b"", masked(b"x" * 100, PING) * 20_000, True),
    "pings, pongs not read": (b"", masked(b"x" * 100, PING) * 20_000, False),
    "ping commands": (b"", command(op="ping") * 20_000, True),
    "ping commands, answers not read": (b"", command(op="ping") * 20_000, False),
    "unsubscribes of 20,000 names": (b"", command(op="unsubscribe", symbols=NAMES) * 10, True),
    "subscribe and unsubscribe all": (
        b"", (command(op="subscribe", symbols=["*"], kind="quotes")
              + command(op="unsubscribe", symbols=["*"], kind="quotes")) * 2000, True,
    ),
}  # fmt: skip


def attacks(half: int) -> dict[str, Callable[[int], None]]:
    """Return what ends by itself, by name."""
    repeated = [f"X-{number}: 1" for number in range(10_000)]
    return {
        "a message of 1,000,000 empty fragments": partial(fragments, piece=b""),
        "a message of 1,000,000 fragments of a byte": partial(fragments, piece=b"x"),
        "a 1000:1 deflate bomb in a frame": deflated_frame,
        "a 1000:1 gzip bomb in a request": gzipped_body,
        "10,000 headers": lambda port: headers(port, *repeated),
        "a header of 8 MiB": lambda port: headers(port, "X: " + "x" * (8 << 20)),
        "1,000 Hosts": lambda port: headers(port, *[f"Host: {number}" for number in range(1000)]),
        f"{half:,} handshakes of a byte a second": partial(half_open, count=half),
    }


def measure(args: argparse.Namespace, what: Callable[[int], None]) -> Measured:
    """Let one attack come to its end."""
    with street() as (server, neighbours):
        neighbours.start()
        watch, began_s = Watch(server), time.monotonic()
        what(server.port)
        seconds = time.monotonic() - began_s
        time.sleep(SETTLED_S)
        watch.end()
        counted = neighbours.count()
        faults = tracebacks(server)
    return _told(counted, seconds=seconds, grown_mib=watch.grown_mib, faults=faults)


def measure_tls(args: argparse.Namespace) -> Measured:
    """Let the attack on TLS come to its end; there are no neighbours, who speak none."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = certificates.make(Path(folder))
        with running(Server.of_ours("--feed", "simulated", "--tls-cert", certificate, "--tls-key", key)) as server:
            time.sleep(SETTLED_S)
            watch, began_s = Watch(server), time.monotonic()
            half_open_by_tls(server.port, args.half_open)
            seconds = time.monotonic() - began_s
            watch.end()
            faults = tracebacks(server)
    shown = f"seconds {seconds:.2f}, grown_mib {watch.grown_mib:.2f}, faults {faults}"
    return {"seconds": seconds, "grown_mib": watch.grown_mib, "faults": faults, "shown": shown}


def measure_flood(args: argparse.Namespace, name: str | None) -> Measured:
    """Let one client send as fast as it can; without a name nobody does."""
    with street() as (server, neighbours):
        attack = None
        if name is not None:
            first, data, reads = FLOODS[name]
            attack = Attack(server.port)
            attack.upgrade()
            attack.send(first)
        neighbours.start()
        watch, cpu_s = Watch(server), server.cpu_s
        if attack is None:
            time.sleep(args.seconds)
        else:
            attack.flood(data, args.seconds, reads)
        watch.end()
        share = (server.cpu_s - cpu_s) / args.seconds
        counted = neighbours.count()
        faults = tracebacks(server)
        if attack is not None:
            attack.close()
    return _told(counted, share=share, grown_mib=watch.grown_mib, faults=faults)


def _told(counted: Measured, **more: float) -> Measured:
    shown = ", ".join(f"{name} {value:.2f}" for name, value in more.items())
    return {**counted, **more, "shown": f"{shown}; neighbours' p99 {counted['p99_ms']:.0f} ms"}


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_bombs.json."""
    ends, by_tls = attacks(args.half_open), f"{args.half_open:,} handshakes of a byte a second by TLS"
    contenders: dict[str, Callable[[], Measured]] = {"nobody": partial(measure_flood, args, None)}
    contenders |= {name: partial(measure, args, what) for name, what in ends.items()}
    contenders[by_tls] = partial(measure_tls, args)
    contenders |= {f"flood: {name}": partial(measure_flood, args, name) for name in FLOODS}
    turns = take_turns(contenders, args.rounds)
    figures = []
    for name in (*ends, by_tls):
        most = args.half_open if "handshakes" in name else 1
        pairs = zip(turns.values(name, "grown_mib"), turns.values("nobody", "grown_mib"), strict=False)
        grown = [max(0.0, with_them - without) / most for with_them, without in pairs]
        figures += [
            Figure("r", f"{name}: ended after", "s", turns.values(name, "seconds"), must=30, more_is_better=False),
            Figure("r", f"{name}: memory" + " each" * (most > 1), "MiB", grown, must=1, more_is_better=False),
        ]
    idle = turns.values("nobody", "share")
    for name in FLOODS:
        pairs = zip(turns.values(f"flood: {name}", "share"), idle, strict=False)
        shares = [100 * (with_them - without) for with_them, without in pairs]
        figures.append(Figure("r", f"a flood of {name}", "% of a core", shares, must=30, more_is_better=False))
    faults = [sum(each) for each in zip(*(turns.values(name, "faults") for name in contenders), strict=False)]
    figures.append(Figure("r", "tracebacks in the log", "", faults, must=0, more_is_better=False))
    save("soak_bombs", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=3, rounds=1)
    options.add_argument("--half-open", type=int, default=1000, help="handshakes at once (default: %(default)s)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
