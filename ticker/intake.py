"""The door that a feed emits through: passes ticks to the Batcher, and lets a replay wait for its clients."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.feed import MOST_SYMBOLS, FatalFeedError, Feed
from ticker.model import Instrument
from ticker.server.connections import Connections
from ticker.stream.batcher import Batcher

POLL_S = 0.05


class Intake:
    """What `ticker.feed.Emit` promises. With `at_once` each call is flushed by itself: a batching window of 0.

    Calls from another thread than the one that made it raise RuntimeError: they would tear what the loop is reading.
    """

    def __init__(
        self,
        batcher: Batcher,
        connections: Connections,
        announce: Callable[[list[int]], None],
        clock: Clock,
        at_once: bool = False,
    ) -> None:
        self._batcher = batcher
        self._connections = connections
        self._announce = announce
        self._clock = clock
        self._at_once = at_once
        self._thread = threading.get_ident()
        self._is_closed = False
        self._relieved = asyncio.Event()
        connections.pressure.relieved = self._relieved.set

    def __call__(self, ticks: Ticks) -> None:
        self._check_thread()
        if self._is_closed:
            return self.refused("late", len(ticks))
        self._batcher.emit(ticks)
        if self._at_once:
            self._batcher.flush()
        return None

    def time(self, time_ns: int) -> None:
        self._check_thread()
        self._batcher.time(time_ns)

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        self._check_thread()
        wanted, known = checked(instruments), self._batcher.known
        if len(known) + sum(each.symbol not in known for each in wanted) > MOST_SYMBOLS:
            raise ValueError(f"more than {MOST_SYMBOLS:,} symbols")
        if fresh := self._batcher.announce(wanted):
            self._announce(fresh)

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        self._check_thread()
        if not self._is_closed:
            self._batcher.gap(kind, symbol, missed, interval_s)

    def refused(self, code: str, rows: int = 1) -> None:
        self._check_thread()
        self._batcher.refusals.count(code, rows)

    def flush(self) -> None:
        self._check_thread()
        if not self._is_closed:
            self._batcher.flush()

    def close(self) -> None:
        """Refuse all that is emitted from now on, by a feed that doesn't stop when it is told to."""
        self._is_closed = True

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("emit was called in another thread than the event loop's: use loop.call_soon_threadsafe")

    async def ready(self) -> None:
        await asyncio.sleep(0)  # sockets get their turn, however fast the feed is
        while self._connections.pressure.count:
            self._relieved.clear()
            await self._relieved.wait()

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        while not self._have_subscribed(count, quiet_s):
            await self._clock.sleep(POLL_S)

    def _have_subscribed(self, count: int, quiet_s: float) -> bool:
        market = self._connections.market  # that of the test stream is another
        sessions = [session for session in self._connections.sessions if session.market is market]
        listening = sum(session.subscriptions.wants_every_row for session in sessions)
        spoke_s = max((session.spoke_s for session in sessions), default=0.0)
        return listening >= count and self._clock.monotonic() - spoke_s >= quiet_s


def checked(instruments: object) -> list[Instrument]:
    """Return what a feed announces, each instrument once. Raises ValueError that says what is wrong with it."""
    try:
        found = list(islice(instruments, MOST_SYMBOLS + 1))  # type: ignore[call-overload]
    except TypeError:
        raise ValueError(f"no instruments but {type(instruments).__name__}") from None
    for each in found:
        if not isinstance(each, Instrument):
            raise ValueError(f"what is no instrument: {repr(each)[:80]}")
    if len(found) > MOST_SYMBOLS:
        raise ValueError(f"more than {MOST_SYMBOLS:,} symbols")
    return list(dict.fromkeys(found))


async def prepared(feed: Feed) -> list[Instrument]:
    """Let a feed prepare itself; return its instruments, each symbol once. Raises FatalFeedError."""
    preparing: Any = feed.prepare()
    if not inspect.isawaitable(preparing):
        raise FatalFeedError(f"feed {feed.name}: prepare must be written as `async def`, without `yield`")
    announced = await preparing
    try:
        instruments = checked(announced)
    except ValueError as error:
        raise FatalFeedError(f"feed {feed.name}: prepare announced {error}") from None
    counts = Counter(each.symbol for each in instruments)
    if len(counts) < len(instruments):
        symbol = counts.most_common(1)[0][0]
        raise FatalFeedError(f"feed {feed.name}: prepare announced {symbol} twice, with different scales")
    return instruments
