"""A whole server within the test's own loop: a feed that the test plays, and its clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from ticker.clock import Clock, ManualClock, SystemClock
from ticker.columns import Ticks
from ticker.config import Settings
from ticker.feed import Emit, Feed, Instrument, Replay
from ticker.node import Node

AAPL = Instrument("AAPL", price_scale=2, size_scale=0, time_scale=6)
MSFT = Instrument("MSFT", price_scale=2, size_scale=0, time_scale=6)
NOON_US = 1_795_435_200_000_000
"""Noon of 2026-11-23, in the microseconds of these instruments."""


class NoonClock(SystemClock):
    """The machine's clock, but it was noon when it began: the days of a HandFeed's rows last, whatever the date is."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()

    def now(self) -> int:
        return NOON_US * 1000 + time.monotonic_ns() - self._began_ns


class HandFeed(Feed):
    """A feed that emits what the test says, and ends or fails when it says so."""

    name = "hand"
    ahead_s = None  # its times are those of the test, not the machine's

    def __init__(
        self,
        instruments: Sequence[Instrument] = (AAPL, MSFT),
        kinds: tuple[str, ...] = ("trades", "quotes"),
        replay: Replay | None = None,
    ) -> None:
        super().__init__()
        self.instruments = instruments
        self.kinds = kinds
        self.replay = replay
        self.runs = 0
        self.runs_now = asyncio.Event()
        self.emit: Emit
        self._end: asyncio.Future[None]

    async def run(self, emit: Emit) -> None:
        self.emit, self._end = emit, asyncio.get_running_loop().create_future()
        self.runs += 1
        self.runs_now.set()
        try:
            await self._end
        finally:
            self.runs_now.clear()

    def end(self, error: Exception | None = None) -> None:
        """Return from `run`, or raise there."""
        if error is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(error)

    def trades(self, *rows: tuple[str, int, int, int], flush: bool = True) -> None:
        """Emit trades: symbol, microseconds after noon, price in cents, size."""
        self._emit("trades", rows, flush)

    def quotes(self, *rows: tuple[str, int, int, int, int, int], flush: bool = True) -> None:
        """Emit quotes: symbol, microseconds after noon, bid in cents, its size, ask in cents, its size."""
        self._emit("quotes", rows, flush)

    def flood(self, rows: int, symbol: str = "AAPL", seed: int = 0) -> None:
        """Emit so many trades that cannot be packed small: some 20 bytes each."""
        chance = np.random.default_rng(seed)
        time = NOON_US + np.sort(chance.integers(0, 2**40, rows))
        self.emit(Ticks("trades", (symbol,), np.zeros(rows, np.int64), (time, *chance.integers(1, 2**40, (2, rows)))))
        self.emit.flush()

    def _emit(self, kind: str, rows: Sequence[tuple[Any, ...]], flush: bool) -> None:
        symbols = tuple(dict.fromkeys(row[0] for row in rows))
        codes = np.array([symbols.index(row[0]) for row in rows])
        time, *rest = (np.array(column, np.int64) for column in zip(*(row[1:] for row in rows), strict=True))
        self.emit(Ticks(kind, symbols, codes, (time + NOON_US, *rest)))
        if flush:
            self.emit.flush()


@asynccontextmanager
async def running(feed: Feed, clock: Clock | None = None, **settings: Any) -> AsyncIterator[str]:
    """Run a node on a free port; yield the page's URL once the feed runs."""
    clock = clock or (NoonClock() if isinstance(feed, HandFeed) else SystemClock())
    node = Node(Settings("hand", **{"port": 0, **settings}), feed, clock)
    url = await node.start()
    if isinstance(feed, HandFeed):
        await feed.runs_now.wait()
    try:
        yield url
    finally:
        stopping = asyncio.create_task(node.stop())
        while not stopping.done():
            await (clock.advance(0.05) if isinstance(clock, ManualClock) else asyncio.sleep(0.005))
        await stopping
