"""Keeps a feed running: restarts it with back-off after a failure, raises an alarm when it falls silent."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.feed import Emit, FatalFeedError, Feed
from ticker.model import Instrument

log = logging.getLogger(__name__)

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0
"""A feed that was live for so long before it failed begins again with the first delay."""


class Supervisor:
    """Runs a feed, whatever it does, and tells its state each time it changes.

    `waiting` (the state to begin with: no ticks came yet, or it failed and is started again) → `live` (ticks came) →
    `stalled` (silent for `stall_s`) → `live` … → `ended` (it returned) or `failed` (FatalFeedError), both for good.

    A silent feed is reported, not restarted: only the feed itself knows how long it may have nothing to say. One that
    asks a slow source every ten minutes would never get as far as its first answer if it were cancelled after five. A
    feed that can tell a dead connection raises, and is restarted.

    One that emits nothing but rows that are refused for `stall_s` is stalled, too, until one is taken: `rows` returns
    how many were taken so far, and how many refused.

    `on_state` is called with each new state, in the loop. `jitter` returns fractions below 1.
    """

    def __init__(
        self,
        feed: Feed,
        emit: Emit,
        clock: Clock,
        stall_s: float,
        on_state: Callable[[str], None],
        *,
        rows: Callable[[], tuple[int, int]] = lambda: (0, 0),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._feed = feed
        self._emit = emit
        self._clock = clock
        self._stall_s = stall_s
        self._on_state = on_state
        self._rows = rows
        self._jitter = jitter
        self._troubles = _Troubles(feed.name)
        self.state = "waiting"
        self.restarts = 0
        """How often the feed was started again after a failure."""

    async def run(self) -> None:
        """Run the feed until it has ended or failed for good. Cancel it to stop."""
        failures = 0
        while True:
            life = _Life(self._clock, self._change, self._rows)
            watch = asyncio.create_task(self._watch(life))
            try:
                await _awaitable(self._feed.run(_Watched(self._emit, life, self._feed.name)))
            except FatalFeedError as error:
                log.error("feed %s failed for good: %s", self._feed.name, error)
                return self._end(life, "failed")
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                trouble: BaseException = error  # the feed's own, of something that it awaited
            except GeneratorExit:
                raise
            except BaseException as error:  # a feed that calls sys.exit must not end the server
                trouble = error
            else:
                log.info("feed %s has ended", self._feed.name)
                return self._end(life, "ended")
            finally:
                life.is_over = True
                watch.cancel()
            failures = 1 if life.live_s >= STEADY_S else failures + 1
            delay_s = self._delay_s(failures)
            self._troubles.tell(trouble, delay_s)
            self._change("waiting")
            await self._clock.sleep(delay_s)
            self.restarts += 1

    def _end(self, life: _Life, state: str) -> None:
        life.is_over = True
        self._emit.flush()  # so that the last rows come before the word that there are no more
        self._change(state)

    async def _watch(self, life: _Life) -> None:
        """Change the state to `stalled` whenever the feed was silent for too long, or all of it refused; its next sign
        of life, or good row, ends that."""
        while True:
            silent_s, barren_s = life.silent_s, life.barren_s
            rest_s = self._stall_s - max(silent_s, barren_s)
            if rest_s <= 0 and not life.is_stalled:
                life.is_stalled, life.is_barren = True, barren_s > silent_s
                why = "every row was refused" if life.is_barren else "not a sign of life"
                log.warning("feed %s is stalled: %s for %g s", self._feed.name, why, self._stall_s)
                self._change("stalled")
            await self._clock.sleep(rest_s if rest_s > 0 else self._stall_s)

    def _delay_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row: doubled each time, half of it by chance."""
        longest = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures - 1, 30))
        return longest * (1 + self._jitter()) / 2

    def _change(self, state: str) -> None:
        if state == self.state:
            return
        if state == "live":
            self._troubles.are_over(was_stalled=self.state == "stalled")
        self.state = state
        self._on_state(state)


class _Life:
    """What is known of one run of the feed: when it last gave a sign, since when it is live."""

    def __init__(self, clock: Clock, change: Callable[[str], None], rows: Callable[[], tuple[int, int]]) -> None:
        self._clock = clock
        self._change = change
        self._rows = rows
        self._taken, self._refused = rows()
        self._ticks_since: float | None = None
        """When the first ticks came after those that were taken last."""
        self._last_sign = clock.monotonic()
        self._live_since: float | None = None
        self.waits = 0
        """How many waits for clients the feed is in, which is no silence."""
        self.is_stalled = False
        self.is_barren = False
        """Whether it is stalled because every row was refused."""
        self.is_over = False

    @property
    def silent_s(self) -> float:
        return 0.0 if self.waits else self._clock.monotonic() - self._last_sign

    @property
    def barren_s(self) -> float:
        """For how long it has emitted rows of which none was taken and some were refused."""
        if self._has_good_rows() or self._ticks_since is None or self.waits or self._rows()[1] == self._refused:
            return 0.0
        return self._clock.monotonic() - self._ticks_since

    def _has_good_rows(self) -> bool:
        """Tell whether rows were taken since this was asked last."""
        taken, refused = self._rows()
        if taken == self._taken:
            return False
        self._taken, self._refused, self._ticks_since = taken, refused, None
        return True

    @property
    def live_s(self) -> float:
        return 0.0 if self._live_since is None else self._clock.monotonic() - self._live_since

    def sign(self, ticks: bool = False) -> None:
        """Note a sign of life, which may be the first ticks or the end of a silence."""
        self._last_sign = self._clock.monotonic()
        if ticks and self._ticks_since is None:
            self._ticks_since = self._last_sign
        first = ticks and self._live_since is None
        if self.is_over or not (first or self.is_stalled):
            return
        if self.is_barren and not self._has_good_rows():
            return
        if first:
            self._live_since = self._last_sign
        self.is_stalled = self.is_barren = False
        self._change("waiting" if self._live_since is None else "live")


class _Watched:
    """The feed's door for one run: passes everything on, and notes each call as a sign of life.

    What a run still emits when it is over is refused: the next one may have told it already.
    """

    def __init__(self, emit: Emit, life: _Life, name: str) -> None:
        self._emit = emit
        self._life = life
        self._name = name
        self._has_told = False

    def __call__(self, ticks: Ticks) -> None:
        if self._life.is_over:
            self._emit.refused("late", len(ticks))
            return self._tell_late()
        self._emit(ticks)
        self._life.sign(ticks=len(ticks) > 0)
        return None

    def time(self, time_ns: int) -> None:
        if self._life.is_over:
            return self._tell_late()
        self._emit.time(time_ns)
        self._life.sign()
        return None

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        self._emit.instruments(instruments)
        self._life.sign()

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        if self._life.is_over:
            return self._tell_late()
        self._emit.gap(kind, symbol, missed, interval_s)
        self._life.sign()
        return None

    def refused(self, code: str, rows: int = 1) -> None:
        self._emit.refused(code, rows)
        self._life.sign()

    def flush(self) -> None:
        self._emit.flush()
        self._life.sign()

    async def ready(self) -> None:
        self._life.sign()
        self._life.waits += 1
        try:
            await self._emit.ready()
        finally:
            self._life.waits -= 1
            self._life.sign()

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        self._life.sign()
        self._life.waits += 1
        try:
            await self._emit.subscribers(count, quiet_s)
        finally:
            self._life.waits -= 1
            self._life.sign()

    def _tell_late(self) -> None:
        if not self._has_told:
            self._has_told = True
            log.warning("feed %s emits though its run is over: refused (told once, counted as `late`)", self._name)


class _Troubles:
    """Logs a feed's failures: each new one whole, the same again and again ever more rarely."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = ""
        self._times = 0

    def tell(self, trouble: BaseException, delay_s: float) -> None:
        text = f"{type(trouble).__name__}: {trouble}"
        self._times = self._times + 1 if text == self._last else 1
        self._last = text
        if self._times == 1:
            log.error("feed %s failed; next try in %.1f s", self._name, delay_s, exc_info=trouble)
        elif self._times.bit_count() == 1:  # the 2nd, 4th, 8th, … time
            log.warning("feed %s failed with the same error for the %dth time (%s)", self._name, self._times, text)

    def are_over(self, was_stalled: bool) -> None:
        """Tell that the feed is live again, if there was anything to be over."""
        if self._times or was_stalled:
            log.info("feed %s is live again", self._name)


def _awaitable(running: Any) -> Awaitable[Any]:
    """Return what a feed's `run` returned. Raises FatalFeedError unless that can be awaited."""
    if inspect.isawaitable(running):
        return running
    made = "a generator" if inspect.isasyncgen(running) or inspect.isgenerator(running) else type(running).__name__
    raise FatalFeedError(f"run must be written as `async def`, without `yield`: it returned {made}")


def _is_cancelled() -> bool:
    """Return whether someone wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
