"""Hands a replay's rows over at their own time, or as fast as the slowest client takes them."""

from __future__ import annotations

import time

import numpy as np

from feeds.csv_merge import Run
from feeds.csv_sources import Catalogue
from ticker.clock import Clock
from ticker.columns import Ints, Ticks
from ticker.feed import Emit

CHUNK_ROWS = 1 << 16
CADENCE_S = 0.005
"""Rows that are nearer than this are handed over together."""
STEP_S = 1.0
"""The longest sleep: the feed's clock goes on in a gap, which is also its sign of life."""
STRETCH_S = 0.02
"""The longest that rows are handed over without letting others run."""


class Pace:
    """Emits runs, one behind the other, and flushes before each window of event time in which a row comes.

    `speed` is how many times as fast as they happened; None is as fast as the clients take them. `shift` is added to
    all times (in units of the catalogue's time scale) and may be changed between runs.
    """

    def __init__(self, emit: Emit, catalogue: Catalogue, clock: Clock, speed: float | None, window_ms: int) -> None:
        self.shift = 0
        self._emit = emit
        self._catalogue = catalogue
        self._clock = clock
        self._speed = speed
        self._ns = int(10 ** (9 - catalogue.time_scale))
        self._window = window_ms * 1_000_000 // self._ns
        self._last_window: int | None = None
        self._start: tuple[float, int] | None = None
        self._announced = len(catalogue.symbols)
        self.last: int | None = None
        """When the last row happened that was emitted, shifted."""

    async def replay(self, run: Run) -> None:
        """Emit a run's rows."""
        new = self._catalogue.instruments(self._announced) if len(self._catalogue.symbols) > self._announced else []
        if new:
            self._announced += len(new)
            self._emit.instruments(new)
        due = run.due + self.shift if self.shift else run.due
        if self._speed is None:
            for start in range(0, len(due), CHUNK_ROWS):
                await self._hand_over(run, due, start, min(start + CHUNK_ROWS, len(due)))
        else:
            await self._in_time(run, due)

    def finish(self) -> None:
        """Tell the time of the last row once more and flush."""
        if self.last is not None:
            self._emit.time(self.last * self._ns)
        self._emit.flush()

    def alive(self, first_ns: int) -> None:
        """Give a sign of life while the next rows are read; `first_ns` is the time before there was any row."""
        self._emit.time(first_ns if self.last is None else self.last * self._ns)

    async def _in_time(self, run: Run, due: Ints) -> None:
        if self._start is None:
            self._start = self._clock.monotonic(), int(due[0])
        at = 0
        while True:
            now = self._now()
            stop = int(np.searchsorted(due, now, "right"))
            while at < stop:
                await self._hand_over(run, due, at, min(stop, at + CHUNK_ROWS))
                at = min(stop, at + CHUNK_ROWS)
            if at == len(due):
                return
            self.last = now
            self._emit.time(now * self._ns)
            wait = (int(due[at]) - now) * self._ns / 1e9 / self._rate
            await self._clock.sleep(min(max(wait, CADENCE_S), STEP_S))

    @property
    def _rate(self) -> float:
        assert self._speed is not None
        return self._speed

    def _now(self) -> int:
        """Return the event time that it is now by the replay's clock."""
        assert self._start is not None
        began, first = self._start
        elapsed_s = self._clock.monotonic() - began
        return first + round(elapsed_s * self._rate * (1e9 / self._ns))

    async def _hand_over(self, run: Run, due: Ints, start: int, stop: int) -> None:
        """Emit rows start:stop, a window at a time. At full speed, clients that are behind are waited for."""
        edges = self._edges(due, start, stop)
        cuts = run.cuts(np.array([start, *edges, stop], np.int64))
        times = due[np.array([*edges, stop], np.int64) - 1].tolist()
        if self._speed is None:
            await self._emit.ready()
        began = time.perf_counter()
        for i in range(len(times)):
            if (window := self._window_of(times[i])) != self._last_window:
                if self._last_window is not None:
                    self._emit.flush()
                self._last_window = window
            self._emit_between(run, cuts, i)
            self.last = times[i]
            self._emit.time(times[i] * self._ns)
            if time.perf_counter() - began > STRETCH_S:
                await self._clock.sleep(0)
                if self._speed is None:
                    await self._emit.ready()
                began = time.perf_counter()
        await self._clock.sleep(0)

    def _emit_between(self, run: Run, cuts: list[list[int]], i: int) -> None:
        symbols, shift = self._catalogue.symbols, self.shift
        for part, at in zip(run.parts, cuts, strict=True):
            start, stop = at[i], at[i + 1]
            if start == stop:
                continue
            columns = tuple([column[start:stop] for column in part.columns])
            if shift:
                columns = (columns[0] + shift, *columns[1:])
            self._emit(Ticks(part.series.kind, symbols, part.codes[start:stop], columns, part.series.interval_s))

    def _edges(self, due: Ints, start: int, stop: int) -> list[int]:
        """Return the rows within start:stop that are the first of a window of event time."""
        if not self._window:
            return []
        windows = due[start:stop] // self._window
        return (np.flatnonzero(windows[1:] != windows[:-1]) + start + 1).tolist()

    def _window_of(self, due: int) -> int:
        return due // self._window if self._window else 0
