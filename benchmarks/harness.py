"""What the benchmarks share: the server as a process on one core, many clients in another on the other core.

Only for loopback. Linux (epoll, /proc) with a C compiler.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import msgpack

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SERVER_CORE = CORES[0] if len(CORES) > 1 else None
CLIENT_CORE = CORES[1] if len(CORES) > 1 else None


def build(name: str) -> Path:
    """Compile `benchmarks/NAME.c` if it is newer than its program; return the program."""
    source, program = HERE / f"{name}.c", BUILD / name
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


class Server:
    """A process that listens: `url_line` is how the first line on its stdout begins, the port stands in it."""

    def __init__(self, command: Sequence[str], core: int | None = SERVER_CORE, **environment: str) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        self.process = subprocess.Popen(
            command,
            cwd=HERE.parent,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            preexec_fn=pinned(core),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "127.0.0.1:" not in line:
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
        """CPU seconds used so far, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_kib(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stop(self) -> None:
        """End the process; what it logged was not to be expected, so it is shown."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.log:
            print(self.log, file=sys.stderr)
        self._log.close()


class Clients:
    """The load generator: one connection for each entry of `commands`, which may be empty."""

    def __init__(
        self,
        port: int,
        commands: Iterable[bytes],
        *,
        path: str = "/stream",
        subprotocol: str = "ticker.v1.msgpack",
        stamps: str = "native",
        core: int | None = CLIENT_CORE,
    ) -> None:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            for command in commands:
                file.write(struct.pack("<I", len(command)) + command)
        self._commands = Path(file.name)
        self.process = subprocess.Popen(
            [str(build("loadgen")), str(port), path, subprotocol, file.name, stamps],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=pinned(core),
        )
        line = self._read()
        if not line.startswith("ready"):
            raise RuntimeError(f"the load generator did not get ready: {line!r}")

    def start(self) -> None:
        """Set all counters to zero."""
        self._write("start\n")

    def stop_counting(self) -> dict[str, Any]:
        """Return what was counted since `start`. Raises RuntimeError if any client missed a row, or was lost."""
        self._write("stop\n")
        counted: dict[str, Any] = json.loads(self._read())
        if counted["violations"] or counted["lost"]:
            raise RuntimeError(f"void: {counted}")
        return counted

    def close(self) -> None:
        """End the load generator."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)
        self._commands.unlink()

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@contextmanager
def running(server: Server) -> Any:
    """Stop the server in the end."""
    with ExitStack() as stack:
        stack.callback(server.stop)
        yield server


def masked(payload: bytes) -> bytes:
    """Return a binary message as a client's WebSocket frame (masked with zeros, which RFC 6455 allows)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x82, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x82, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x82, 0x80 | 127, size)
    return head + bytes(4) + payload


def subscribe(symbols: Sequence[str], **fields: Any) -> bytes:
    """Return a `subscribe` command as a frame."""
    packed: bytes = msgpack.packb({"op": "subscribe", "symbols": list(symbols), **fields})
    return masked(packed)


def choices(symbols: Sequence[str], clients: int, each: int, seed: int = 1) -> list[list[str]]:
    """Return for each client its own choice of symbols."""
    chooser = random.Random(seed)
    return [chooser.sample(list(symbols), each) for _ in range(clients)]


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
    return {"cpu": model, "cores": len(CORES), "python": sys.version.split()[0], "commit": commit.strip()}
