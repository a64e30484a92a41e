"""The door that a feed emits through: passes ticks to the Batcher, and lets a replay wait for its clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.model import Instrument
from ticker.server.connections import Connections
from ticker.stream.batcher import Batcher

POLL_S = 0.05


class Intake:
    """What `ticker.feed.Emit` promises. With `at_once` each call is flushed by itself: a batching window of 0."""

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
        self._relieved = asyncio.Event()
        connections.pressure.relieved = self._relieved.set

    def __call__(self, ticks: Ticks) -> None:
        self._batcher.emit(ticks)
        if self._at_once:
            self._batcher.flush()

    def time(self, time_ns: int) -> None:
        self._batcher.time(time_ns)

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        if fresh := self._batcher.announce(instruments):
            self._announce(fresh)

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        self._batcher.gap(kind, symbol, missed, interval_s)

    def flush(self) -> None:
        self._batcher.flush()

    async def ready(self) -> None:
        await asyncio.sleep(0)  # sockets get their turn, however fast the feed is
        while self._connections.pressure.count:
            self._relieved.clear()
            await self._relieved.wait()

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        while not self._have_subscribed(count, quiet_s):
            await self._clock.sleep(POLL_S)

    def _have_subscribed(self, count: int, quiet_s: float) -> bool:
        sessions = self._connections.sessions
        listening = sum(session.subscriptions.wants_every_row for session in sessions)
        spoke_s = max((session.spoke_s for session in sessions), default=0.0)
        return listening >= count and self._clock.monotonic() - spoke_s >= quiet_s
