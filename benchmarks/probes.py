"""Feeds that measure the server from inside: `python -m ticker --feed benchmarks.probes:PulseFeed`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from feeds.simulated import SimulatedFeed
from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.feed import Emit, Feed, Instrument
from ticker.stream.hub import SLICE_CLIENTS

PROBE_S = 0.001


class PulseFeed(Feed):
    """Stamped trades of one symbol, sent at once: one flush after the other, or one each --every-ms."""

    def __init__(self, every_s: float, clients: int, report: str, clock: Clock) -> None:
        super().__init__(clock)
        self._every_s = every_s
        self._clients = clients
        self._collections = Collections(report)

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        parser.add_argument("--every-ms", default=0.0, help="time between flushes; 0: none (default: %(default)s)")
        parser.add_argument("--clients", default=1, help="how many are waited for (default: %(default)s)")
        parser.add_argument("--gc-report", default="", help="file that garbage collections are written to at the end")

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        return cls(float(args.every_ms) / 1000, int(args.clients), args.gc_report, clock)

    async def prepare(self) -> Sequence[Instrument]:
        return [Instrument("PULSE")]

    async def run(self, emit: Emit) -> None:
        codes, size = np.zeros(1, np.int64), np.array([100])
        await emit.subscribers(self._clients, quiet_s=0.2)
        due = time.monotonic()
        with self._collections:
            for price in range(10_000, 2**62):
                columns = np.array([time.time_ns() // 1000]), np.array([price]), size
                emit(Ticks("trades", ("PULSE",), codes, columns))
                emit.flush()
                due += self._every_s
                for _ in range(self._clients // SLICE_CLIENTS + 1):  # until all are served, lest flushes be joined
                    await asyncio.sleep(0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))


class WatchedFeed(SimulatedFeed):
    """The simulated market, with a probe of how late the loop is and of garbage collections."""

    name = "simulated"

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        super().options(parser)
        parser.add_argument("--lag-report", default="", help="file that the loop's lags are written to at the end")
        parser.add_argument("--gc-report", default="", help="file that garbage collections are written to at the end")

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        feed = super().from_options(args, clock)
        feed._lag_report, feed._collections = args.lag_report, Collections(args.gc_report)
        return feed

    _lag_report: str
    _collections: Collections

    async def run(self, emit: Emit) -> None:
        async with watch_loop(self._lag_report):
            with self._collections:
                await super().run(emit)


@asynccontextmanager
async def watch_loop(report: str) -> AsyncIterator[None]:
    """Note how late the loop was for each millisecond, of those too in which it didn't come to look; write when, and
    how many seconds, to a file at the end."""
    lags: list[tuple[float, float]] = []

    async def probe() -> None:
        due = time.monotonic()
        while True:
            due += PROBE_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            late = time.monotonic() - due
            lags.append((time.time(), late))
            while late > PROBE_S:
                due, late = due + PROBE_S, late - PROBE_S
                lags.append((time.time(), late))

    watching = asyncio.create_task(probe())
    try:
        yield
    finally:
        watching.cancel()
        write(report, lags)


class Collections:
    """Notes the garbage collections of this process: when, of which generation, how many seconds each."""

    def __init__(self, report: str) -> None:
        self._report = report
        self._seen: list[tuple[float, int, float]] = []
        self._began_s = 0.0

    def __enter__(self) -> None:
        gc.callbacks.append(self._note)

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)
        write(self._report, self._seen)

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        now_s = time.perf_counter()
        if phase == "start":
            self._began_s = now_s
        else:
            self._seen.append((time.time(), info["generation"], now_s - self._began_s))


def write(path: str, content: object) -> None:
    """Write a report, if one is wanted; it appears whole."""
    if path:
        Path(f"{path}.new").write_text(json.dumps(content))
        os.replace(f"{path}.new", path)
