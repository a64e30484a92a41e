"""Folds trades, or bars of a shorter interval, into bars, and says which of them a flush or the clock has ended.

A bar is the summary of the trades of one interval of UNIX time. Only the running bars of the shortest interval are
touched by every flush. A longer one is what has ended of the next shorter interval, and what still runs there is added
when someone asks. So a flush that ends no bar costs the same for five intervals as for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np

from ticker.columns import Block, Ints, run_starts
from ticker.model import Series
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns, fill, gather, spread
from ticker.stream.tables import Table, fold_of, join_folds
from ticker.summary import Summaries

Ended = tuple[Ints, Summaries]
"""Bars that are final: their symbol numbers (ascending, times ascending within one) and themselves."""

NANOSECONDS = 1_000_000_000
_NEVER = 2**63 - 1
_NONE: Ints = np.empty(0, np.int64)
_NO_BARS: Ended = (_NONE, Summaries.of_columns((_NONE,) * 8))


class Bars:
    """The running bars of every interval that is folded here, so not of those that the feed emits.

    Raises ValueError unless each interval divides the next longer one.
    """

    def __init__(self, directory: Directory, intervals_s: Sequence[int]) -> None:
        self.intervals_s = tuple(sorted(intervals_s))
        for shorter, longer in pairwise(self.intervals_s):
            if longer % shorter:
                raise ValueError(f"bars of {longer} s cannot be folded from those of {shorter} s")
        self._directory = directory
        self._levels = [_Level(directory, interval_s) for interval_s in self.intervals_s]
        self.source = self._source()
        """What bars are folded from: trades, else the shortest bars that all intervals are multiples of; None where
        there is neither."""

    def folds(self, series: Series) -> bool:
        """Tell whether a series is folded here, so that a feed cannot emit it."""
        return series.kind == "bars" and series.interval_s in self.intervals_s

    def update(self, block: Block | None, clock_ns: int | None) -> list[tuple[int, Ended]]:
        """Take in a block of the source, or None, and then move the feed's clock.

        Return by interval, shortest first, the bars that have ended: because a trade of a later interval came, or
        because the clock has reached their end.
        """
        for level in self._levels:
            level.grow()
        came = _NO_BARS if block is None or not self._levels else self._parts(block)
        opened, opened_at = _NONE, _NONE
        ended: list[tuple[int, Ended]] = []
        for level in self._levels:
            followed, newly_opened = level.take(*came) if len(came[0]) else (_NO_BARS, _NONE)
            if level is self._levels[0]:
                opened, opened_at = newly_opened, level.starts(newly_opened)
            left = level.end(level.left_behind(opened, opened_at))
            overdue = level.end(level.overdue(clock_ns))
            came = _in_order([followed, left, overdue])
            if len(came[0]):
                ended.append((level.interval_s, came))
        return ended

    def running(self, interval_s: int, symbols: Ints) -> tuple[Ints, Summaries]:
        """Return which of these symbols have a running bar, and the bars. An interval not folded here has none."""
        if interval_s not in self.intervals_s:
            return symbols[:0], _NO_BARS[1]
        depth = self.intervals_s.index(interval_s)
        total = Table(Summaries)
        total.grow(len(symbols))
        for level in reversed(self._levels[: depth + 1]):
            level.grow()
            places = np.flatnonzero(level.table.present[symbols])
            if len(places):
                total.add(places, level.table.get(symbols[places]))
        places = np.flatnonzero(total.present)
        symbols, bars = symbols[places], _get(total, places)
        units = self._levels[depth].units[symbols]
        return symbols, bars._replace(time=bars.time // units * units)

    def checkpoint(self) -> Columns:
        """Return all running bars, and where a trade of each symbol may count."""
        return gather({f"{level.interval_s}s": level for level in self._levels})

    def restore(self, columns: Columns) -> None:
        """Begin with these running bars."""
        spread({f"{level.interval_s}s": level for level in self._levels}, columns)

    def _source(self) -> Series | None:
        series = self._directory.series
        if Series("trades") in series:
            return Series("trades")
        emitted = [each for each in series if each.kind == "bars" and not self.folds(each)]
        fine = (each for each in emitted if all(interval_s % each.interval_s == 0 for interval_s in self.intervals_s))
        return min(fine, default=None)

    def _parts(self, block: Block) -> tuple[Ints, Summaries]:
        """Return what came, cut so that no part spans two bars, and the symbol of each part: ascending, and so are the
        times within one."""
        if block.series.kind == "bars":
            return np.repeat(block.symbols, block.counts), Summaries.of_columns(block.columns)
        time, price, size = block.columns
        units = self._levels[0].units[block.symbols]
        if len(block) == len(block.symbols) or np.array_equal(
            time[block.offsets[:-1]] // units, time[block.offsets[1:] - 1] // units
        ):
            parts = cast(Summaries, fold_of(block))
            block.folded.append(parts)
            return block.symbols, parts
        counts = block.counts
        symbols = np.repeat(block.symbols, counts)
        starts = run_starts(symbols, time // np.repeat(units, counts))
        parts = Summaries.of_runs(time, price, size, np.append(starts, len(time)))
        symbols = symbols[starts]
        block.folded.append(parts.fold(run_starts(symbols)))
        return symbols, parts


class _Level:
    """What has been put into the running bars of one interval, by symbol number."""

    def __init__(self, directory: Directory, interval_s: int) -> None:
        self._directory = directory
        self.interval_s = interval_s
        self.table = Table(Summaries)
        self.units = np.empty(0, np.int64)
        """How many units of its time column a bar of each symbol has."""
        # Bars are numbered from 1970 on. A trade counts in this one or in a later: the running one, else the first that
        # has not been sent.
        self._open = np.empty(0, np.int64)
        self._earliest = _NEVER  # no running bar is older

    def grow(self) -> None:
        """Make room for all symbols of the directory."""
        known, size = len(self.units), len(self._directory)
        if size > known:
            self.table.grow(size)
            self.units = self.interval_s * self._directory.time_units(np.arange(size))
            self._open = np.append(self._open, np.full(size - known, -(2**63), np.int64))

    def checkpoint(self) -> Columns:
        """Return what is in the running bars, and the numbers of these."""
        self.grow()
        return {**self.table.checkpoint(len(self._open)), "bar": self._open}

    def restore(self, columns: Columns) -> None:
        """Begin with these running bars."""
        self.grow()
        self.table.restore(columns)
        fill(self._open, columns["bar"])
        known = self.table.present[: len(self._open)]
        self._earliest = int(self._open[known].min(initial=_NEVER))

    def starts(self, symbols: Ints) -> Ints:
        """Return the start of each symbol's newest bar."""
        starts: Ints = self.table.columns[0][symbols]
        return starts

    def take(self, symbols: Ints, parts: Summaries) -> tuple[Ended, Ints]:
        """Add parts to the bars in which they count (see `_parts` for their order).

        Return the bars that are followed by a later one, and the symbols that have got another running bar.
        """
        bars = np.maximum(parts.time // self.units[symbols], self._open[symbols])
        self._earliest = min(self._earliest, int(bars.min()))
        parts = parts._replace(time=bars * self.units[symbols])
        starts = run_starts(symbols, bars)
        if len(starts) < len(symbols):
            symbols, bars, parts = symbols[starts], bars[starts], parts.fold(starts)
        goes_on = self.table.present[symbols] & (bars == self._open[symbols])
        firsts = run_starts(symbols)
        if len(firsts) == len(symbols) and (goes_on | ~self.table.present[symbols]).all():
            self.table.add(symbols, parts)
            self._open[symbols] = bars
            return _NO_BARS, symbols[~goes_on]
        return self._join(symbols, bars, parts, symbols[firsts])

    def _join(self, symbols: Ints, bars: Ints, parts: Summaries, owners: Ints) -> tuple[Ended, Ints]:
        """Do the same where a symbol has several bars: sort the running ones in before the new parts, and fold."""
        known = owners[self.table.present[owners]]
        before = self._open[owners]
        before[~self.table.present[owners]] = _NEVER
        symbols, bars = np.append(known, symbols), np.append(self._open[known], bars)
        order = np.argsort(symbols, kind="stable")
        symbols, bars = symbols[order], bars[order]
        items = join_folds([_get(self.table, known), parts]).take(order)
        starts = run_starts(symbols, bars)
        symbols, bars, items = symbols[starts], bars[starts], items.fold(starts)

        newest = np.append(symbols[1:] != symbols[:-1], True)
        self.table.put(owners, items.take(newest))
        self._open[owners] = bars[newest]
        return (symbols[~newest], items.take(~newest)), owners[bars[newest] != before]

    def left_behind(self, symbols: Ints, times: Ints) -> Ints:
        """Return those of the symbols whose running bar ended before `times`."""
        if not len(symbols):
            return symbols
        return symbols[self.table.present[symbols] & (times // self.units[symbols] > self._open[symbols])]

    def overdue(self, clock_ns: int | None) -> Ints:
        """Return the symbols with a running bar whose end the clock has reached."""
        clock = -1 if clock_ns is None else clock_ns // (self.interval_s * NANOSECONDS)
        if clock_ns is None or clock <= self._earliest:
            return _NONE
        known = np.flatnonzero(self.table.present[: len(self._open)])
        bars = self._open[known]
        over = bars < clock
        self._earliest = int(bars[~over].min(initial=_NEVER))
        return known[over]

    def end(self, symbols: Ints) -> Ended:
        """Take out the running bars of these symbols."""
        if not len(symbols):
            return _NO_BARS
        bars = _get(self.table, symbols)
        self.table.clear(symbols)
        self._open[symbols] += 1
        return symbols, bars


def _get(table: Table, symbols: Ints) -> Summaries:
    return cast(Summaries, table.get(symbols))


def _in_order(parts: list[Ended]) -> Ended:
    """Return all bars sorted by symbol; of one symbol, those of a later part are later."""
    parts = [part for part in parts if len(part[0])]
    if len(parts) < 2:
        return parts[0] if parts else _NO_BARS
    symbols = np.concatenate([symbols for symbols, _ in parts])
    order = np.argsort(symbols, kind="stable")
    return symbols[order], join_folds([bars for _, bars in parts]).take(order)
