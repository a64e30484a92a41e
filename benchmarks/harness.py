"""What the benchmarks share: servers as processes on one core, many clients in another process on the other core.

Only for loopback. Linux (epoll, /proc) with a C compiler.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import msgpack

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SERVER_CORE = CORES[0] if len(CORES) > 1 else None
CLIENT_CORE = CORES[1] if len(CORES) > 1 else None
PATIENCE_S = 150.0
"""How long a process may say nothing: connecting 10,000 clients takes a busy machine its time."""


class VoidError(Exception):
    """A round that doesn't count: a client missed a row, got one twice, or was lost."""


def build(name: str) -> Path:
    """Compile `benchmarks/NAME.c` if it is newer than its program; return the program."""
    source, program = HERE / f"{name}.c", BUILD / Path(name).name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            sys.exit("a C compiler is needed for the load generator")
        BUILD.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program


def pinned(core: int | None) -> Any:
    """Return a `preexec_fn` that ties a process to a core; None where there is nothing to tie."""
    return None if core is None else lambda: os.sched_setaffinity(0, {core})


class _Process:
    """A process that speaks in lines on stdout."""

    def __init__(self, command: Sequence[str], core: int | None, log: Any = None, **environment: str) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            preexec_fn=pinned(core),
        )
        self._rest = b""

    def read_line(self, patience_s: float = PATIENCE_S) -> str:
        """Return the next line, without its end; an empty one when the process has ended. Raises TimeoutError."""
        assert self.process.stdout is not None
        deadline_s = time.monotonic() + patience_s
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{self.process.args!r} said nothing for {patience_s:g} s")
            got = self.process.stdout.read(1 << 16)
            if not got:
                return ""
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def write_line(self, line: str) -> None:
        """Say something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def end(self) -> None:
        """End the process, by force if it has to be."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Server(_Process):
    """A process that says `listening on http://127.0.0.1:PORT/` in its first line."""

    def __init__(self, command: Sequence[str], core: int | None = SERVER_CORE, **environment: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        super().__init__(command, core, self._log, **environment)
        try:
            line = self.read_line()
        except TimeoutError:
            line = "(nothing)"
        if "127.0.0.1:" not in line:
            self.end()
            raise RuntimeError(f"{' '.join(command)} did not start: {line!r}\n{self.log}")
        self.port = int(line.split("127.0.0.1:")[1].split("/")[0])

    @classmethod
    def of_ours(cls, *arguments: str) -> Self:
        """Start our server with these arguments."""
        return cls([sys.executable, "-m", "ticker", "--port", "0", "--log-level", "warning", *arguments])

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far by all threads, in user mode and in the kernel."""
        try:
            tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        except OSError:  # a kernel without these counts in hundredths of a second
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self) -> None:
        """End the process; what it logged was not to be expected, so it is shown."""
        self.end()
        if self.log:
            print(self.log, file=sys.stderr)
        self._log.close()


class Clients(_Process):
    """The load generator: one connection for each entry of `commands`, which may be empty.

    `answers` is how many control messages each is sent before it counts as connected; -1: they never read anything.
    """

    def __init__(
        self,
        port: int,
        commands: Iterable[bytes],
        *,
        path: str = "/stream",
        subprotocol: str = "ticker.v1.msgpack",
        answers: int = 2,
        check_every: int = 100,
        core: int | None = CLIENT_CORE,
    ) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            for command in commands:
                file.write(struct.pack("<I", len(command)) + command)
        self._commands = Path(file.name)
        program = str(build("loadgen"))
        super().__init__([program, str(port), path, subprotocol, file.name, str(answers), str(check_every)], core)
        line = self.read_line()
        if not line.startswith("ready"):
            self.close()
            raise RuntimeError(f"the load generator did not get ready: {line!r}")

    def start(self) -> None:
        """Set all counters to zero."""
        self.write_line("start")

    def count(self) -> dict[str, Any]:
        """Return what was counted since `start`. Raises VoidError if a checked client missed a row, or one was lost."""
        self.write_line("stop")
        counted: dict[str, Any] = json.loads(self.read_line())
        if counted["violations"] or counted["lost"]:
            raise VoidError(f"{counted['violations']} breaks of seq, {counted['lost']} connections lost")
        return counted

    def count_all(self, quiet_s: float = 0.15) -> dict[str, Any]:
        """Wait until nothing more comes, then return what was counted since `start`."""
        before = -1
        while (counted := self.count())["bytes"] != before:
            before = counted["bytes"]
            time.sleep(quiet_s)
        return counted

    stop_counting = count

    def close(self) -> None:
        """End the load generator."""
        self.end()
        self._commands.unlink(missing_ok=True)


Running = TypeVar("Running", Server, Clients)


@contextmanager
def running(process: Running) -> Iterator[Running]:
    """Stop a server, or clients, in the end."""
    try:
        yield process
    finally:
        process.close() if isinstance(process, Clients) else process.stop()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def masked(payload: bytes, opcode: int = 0x82) -> bytes:
    """Return a message as a client's WebSocket frame (masked with zeros, which RFC 6455 allows)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


def subscribe(symbols: Sequence[str], **fields: Any) -> bytes:
    """Return a `subscribe` command as a frame."""
    packed: bytes = msgpack.packb({"op": "subscribe", "symbols": list(symbols), **fields})
    return masked(packed)


Item = TypeVar("Item")


def choices(items: Sequence[Item], clients: int, each: int, seed: int = 1) -> list[list[Item]]:
    """Return for each client its own choice."""
    chooser = random.Random(seed)
    return [chooser.sample(list(items), each) for _ in range(clients)]


def median(values: Iterable[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    return {
        "cpu": model,
        "cores": len(CORES),
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "commit": commit.strip(),
    }
