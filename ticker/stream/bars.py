"""Folds trades, or bars of a shorter interval, into bars, and says which of them a flush or the clock has ended.

A bar is the summary of the trades of one interval of UNIX time; the running one of each symbol and interval lives here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ticker.columns import Block, Ints
from ticker.stream.directory import Directory
from ticker.stream.tables import Table
from ticker.summary import Summaries, concatenate

Ended = tuple[Ints, Summaries]
"""Bars that are final: their symbol numbers (ascending, times ascending within one) and themselves."""

NANOSECONDS = 1_000_000_000


class Bars:
    """The running bars of every interval."""

    def __init__(self, directory: Directory, intervals_s: Sequence[int]) -> None:
        self._directory = directory
        self._running = {interval_s: _Running(directory, interval_s) for interval_s in intervals_s}

    def update(self, symbols: Ints, parts: Summaries) -> list[tuple[int, Ended]]:
        """Take in what was traded: `parts` of symbols (ascending, in order of time within one), none of which spans two
        of the shortest intervals. Return by interval the bars that have ended so, if any."""
        return [
            (interval_s, ended)
            for interval_s, running in self._running.items()
            if len((ended := running.update(symbols, parts))[0])
        ]

    def advance(self, clock_ns: int) -> list[tuple[int, Ended]]:
        """Return by interval the bars whose end the feed's clock has reached or passed."""
        return [
            (interval_s, ended)
            for interval_s, running in self._running.items()
            if len((ended := running.advance(clock_ns))[0])
        ]

    def parts(self, block: Block) -> tuple[Ints, Summaries]:
        """Return a block of trades cut at symbols and at multiples of the shortest interval, for `update`."""
        time, price, size = block.columns
        trades = Summaries.of_trades(time, price, size)
        symbols = np.repeat(block.symbols, block.counts)
        shortest = min(self._running, default=1)
        buckets = time // (shortest * self._directory.time_units(symbols))
        cut = np.ones(len(time), bool)
        np.not_equal(buckets[1:], buckets[:-1], out=cut[1:])
        cut[block.offsets[:-1]] = True
        starts = np.flatnonzero(cut)
        return symbols[starts], trades.fold(starts)

    def running(self, interval_s: int, symbols: Ints) -> tuple[Ints, Summaries]:
        """Return which of these symbols have a running bar, and the bars."""
        table = self._running.get(interval_s)
        if table is None:
            return symbols[:0], Summaries.of_columns(tuple(symbols[:0] for _ in range(8)))
        return table.running(symbols)


class _Running:
    """The running bar of each symbol for one interval."""

    def __init__(self, directory: Directory, interval_s: int) -> None:
        self._directory = directory
        self._interval_s = interval_s
        self._table = Table(Summaries)
        self._first_open = np.empty(0, np.int64)  # by symbol: the earliest bar that has not been sent, counted from 1970
        self._clock = -(2**63)

    def running(self, symbols: Ints) -> tuple[Ints, Summaries]:
        self._grow()
        symbols = symbols[self._table.present[symbols]]
        return symbols, Summaries(*self._table.get(symbols))

    def update(self, symbols: Ints, parts: Summaries) -> Ended:
        self._grow()
        units = self._interval_s * self._directory.time_units(symbols)
        # What comes after its bar was sent counts in the first later one that isn't.
        bars = np.maximum(parts.time // units, self._first_open[symbols])
        parts = parts._replace(time=bars * units)
        known, running = self.running(_distinct(symbols))
        symbols = np.concatenate((known, symbols))
        order = np.argsort(symbols, kind="stable")
        symbols, items = symbols[order], concatenate([running, parts]).take(order)

        cut = np.ones(len(symbols), bool)
        cut[1:] = (symbols[1:] != symbols[:-1]) | (items.time[1:] != items.time[:-1])
        starts = np.flatnonzero(cut)
        symbols, items = symbols[starts], items.fold(starts)

        newest = np.append(symbols[1:] != symbols[:-1], True)
        self._table.put(symbols[newest], items.take(newest))
        return self._end(symbols[~newest], items.take(~newest))

    def advance(self, clock_ns: int) -> Ended:
        clock = clock_ns // (self._interval_s * NANOSECONDS)
        if clock <= self._clock:
            return _NO_BARS
        self._clock = clock
        self._grow()
        known = np.flatnonzero(self._table.present[: len(self._directory)])
        units = self._interval_s * self._directory.time_units(known)
        ended = known[self._table.columns[0][known] // units < clock]
        bars = Summaries(*self._table.get(ended))
        self._table.clear(ended)
        return self._end(ended, bars)

    def _end(self, symbols: Ints, bars: Summaries) -> Ended:
        units = self._interval_s * self._directory.time_units(symbols)
        np.maximum.at(self._first_open, symbols, bars.time // units + 1)
        return symbols, bars

    def _grow(self) -> None:
        size = len(self._directory)
        if size > len(self._first_open):
            self._table.grow(size)
            more = len(self._table.present) - len(self._first_open)
            self._first_open = np.append(self._first_open, np.full(more, -(2**63), np.int64))


def _distinct(symbols: Ints) -> Ints:
    return symbols[np.append(True, symbols[1:] != symbols[:-1])] if len(symbols) else symbols


_NO_BARS: Ended = (np.empty(0, np.int64), Summaries.of_columns(tuple(np.empty(0, np.int64) for _ in range(8))))
