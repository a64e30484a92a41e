"""What the trials share: a server that plays a Tape, and what it occupies."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import PATIENCE_S, Server, running
from tape import Tape

LEAD_S = 2.0
"""From starting a server to the first row of its tape."""


@contextmanager
def playing(
    symbols: int, rate: float, *options: str, rounds: int = 0, lead_s: float = LEAD_S
) -> Iterator[tuple[Server, Tape]]:
    """Run a server that plays a tape; yield both. What it logs from level warning on goes to stderr in the end."""
    tape = Tape(symbols, rate, int((time.time() + lead_s) * 1e6))
    feed = ["--feed", "benchmarks.soak.tape_feed:TapeFeed", "--tape-symbols", str(symbols), "--rate", str(rate)]
    feed += ["--start-us", str(tape.start_us), "--rounds", str(rounds)]
    command = [sys.executable, "-m", "ticker", "--port", "0", "--log-level", "warning", *feed, *options]
    with running(Server(command)) as server:
        yield server, tape


def tracebacks(server: Server) -> int:
    """Return how many tracebacks a server has logged."""
    return server.log.count("Traceback")


def descriptors(server: Server) -> int:
    """Return how many descriptors a server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def census(server: Server, path: Path) -> dict[str, Any]:
    """Return what lives in a server that was started with `--census PATH`: tasks, objects of ours by class."""
    path.unlink(missing_ok=True)
    server.process.send_signal(signal.SIGUSR1)
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError("the server wrote no census")
        time.sleep(0.01)
    counted: dict[str, Any] = json.loads(path.read_text())
    return counted


def percentile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
