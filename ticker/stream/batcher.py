"""The feed's door and the batching window: takes ticks, refuses what cannot be, and numbers each flush into Blocks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ticker.columns import Array, Block, Ints, Ticks, offsets_of, run_indices, run_starts
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars
from ticker.stream.directory import Directory

log = logging.getLogger(__name__)

FLUSH_ROWS = 1 << 16
"""Rows that make a flush due before the window ends, so that a burst makes more blocks, not larger ones."""
REASONS = 100
"""Reasons for refusing that are told apart; a feed that finds more has those counted together."""
_TRANSLATIONS = 64


class Batcher:
    """Collects what a feed emits and publishes it, sorted by channel and numbered, when `flush` is called.

    `publish` is given the Blocks of one flush, at most one of each series: those of trades and quotes, then bars,
    shortest first, that the feed emitted or that its trades and its clock have ended.
    """

    def __init__(self, directory: Directory, bars: Bars, publish: Callable[[list[Block]], None]) -> None:
        self._directory = directory
        self._bars = bars
        self._publish = publish
        self._pending: dict[Series, list[tuple[Ints, tuple[Ints, ...]]]] = {}
        self._pending_rows = 0
        self._doors = {series: _Door(series, directory) for series in directory.series}
        self._emitted = [series for series in directory.series if not bars.folds(series)]
        self._translations: dict[int, tuple[tuple[str, ...], Ints]] = {}
        self._flushes = 0
        self._clock_ns: int | None = None
        self.refused: Counter[str] = Counter()
        """Rows refused at the door, by reason."""

    @property
    def clock_ns(self) -> int | None:
        """The feed's clock: the latest time that it told, None before that."""
        return self._clock_ns

    @property
    def rows(self) -> int:
        """Rows numbered so far, bars not counted that were folded here."""
        return sum(self._doors[series].rows for series in self._emitted)

    @property
    def restamped(self) -> int:
        """Rows that were older than their predecessor and were given its time."""
        return sum(door.restamped for door in self._doors.values())

    def emit(self, ticks: Ticks) -> None:
        """Take ticks until the next flush; refuse, count and log those of symbols or kinds that were not announced."""
        for start in range(0, len(ticks), FLUSH_ROWS):
            end = start + FLUSH_ROWS
            self._take(ticks, ticks.codes[start:end], tuple(column[start:end] for column in ticks.columns))

    def time(self, time_ns: int) -> None:
        """Move the feed's clock; it never runs backwards."""
        if self._clock_ns is None or time_ns > self._clock_ns:
            self._clock_ns = time_ns

    def announce(self, instruments: Sequence[Instrument]) -> list[int]:
        """Add instruments; return the numbers of the new ones. Raises ValueError if a known one's scales differ."""
        self._translations.clear()
        return self._directory.add(instruments)

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        """Number the next row of a channel as if `missed` rows had come before it. Raises ValueError if `missed` is not
        positive; a channel that was not announced is refused as its rows are."""
        if missed < 1:
            raise ValueError(f"missed: expected at least 1, not {missed}")
        series, number = Series(kind, interval_s), self._directory.numbers.get(symbol)
        if series not in self._emitted:
            self._refuse(missed, f"{series} were not announced by the feed")
        elif number is None:
            self._refuse(missed, f"symbol {symbol!r} was not announced")
        else:
            self.flush()
            self._doors[series].skip(number, missed)

    def flush(self) -> None:
        """Number and publish what came since the last flush, and the bars that it or the feed's clock has ended."""
        pending, self._pending, self._pending_rows = self._pending, {}, 0
        blocks = [self._sorted(series, parts) for series, parts in pending.items()]
        source = next((block for block in blocks if block.series == self._bars.source), None)
        for interval_s, (symbols, bars) in self._bars.update(source, self._clock_ns):
            door = self._doors[Series("bars", interval_s)]
            blocks.append(door.number(symbols, bars[:8], self._flushes, bars.estimates()))
        if blocks:
            blocks.sort(key=lambda block: (block.series.interval_s, block.series.kind))
            self._flushes += 1
            self._publish(blocks)

    def _take(self, ticks: Ticks, codes: Array, columns: tuple[Ints, ...]) -> None:
        series = Series(ticks.kind, ticks.interval_s)
        if series not in self._emitted:
            return self._refuse(len(codes), f"{series} were not announced by the feed")
        numbers = self._translate(ticks.symbols)
        if int(codes.min()) < 0 or int(codes.max()) >= len(numbers):
            return self._refuse(len(codes), f"a code lies outside of the {len(numbers)} symbols")
        symbols = numbers[codes]
        known = symbols >= 0
        if not known.all():
            for code, rows in zip(*np.unique(codes[~known], return_counts=True), strict=True):
                self._refuse(int(rows), f"symbol {ticks.symbols[code]!r} was not announced")
            symbols, columns = symbols[known], tuple(column[known] for column in columns)
        if len(symbols):
            self._pending.setdefault(series, []).append((symbols, columns))
            self._pending_rows += len(symbols)
        if self._pending_rows >= FLUSH_ROWS:
            self.flush()
        return None

    def _sorted(self, series: Series, parts: list[tuple[Ints, tuple[Ints, ...]]]) -> Block:
        """Return what came of one series as a block."""
        if len(parts) == 1:
            symbols, columns = parts[0]
        else:
            symbols = np.concatenate([part[0] for part in parts])
            columns = tuple(map(np.concatenate, zip(*(part[1] for part in parts), strict=True)))
        # numpy sorts 16-bit integers stably by radix, several times as fast as wider ones.
        keys = symbols.astype(np.uint16) if len(self._directory) <= 1 << 16 else symbols
        order = np.argsort(keys, kind="stable")
        return self._doors[series].number(symbols[order], tuple(column[order] for column in columns), self._flushes)

    def _translate(self, symbols: tuple[str, ...]) -> Ints:
        """Return the number of each symbol, -1 if unknown; remembered for the tuple that a feed passes each time."""
        known = self._translations.get(id(symbols))
        if known is not None:  # the tuple is kept with it, so no other can have its id
            return known[1]
        numbers = np.array([self._directory.numbers.get(symbol, -1) for symbol in symbols], np.int64)
        if len(self._translations) >= _TRANSLATIONS:
            self._translations.clear()
        self._translations[id(symbols)] = (symbols, numbers)
        return numbers

    def _refuse(self, rows: int, reason: str) -> None:
        if reason not in self.refused:
            if len(self.refused) >= REASONS:
                reason = "more reasons"
            if reason not in self.refused:
                log.warning("ticks refused: %s (%d rows; counted from now on)", reason, rows)
        self.refused[reason] += rows


class _Door:
    """Numbers the rows of one series and sees to it that times never run backwards within a channel."""

    def __init__(self, series: Series, directory: Directory) -> None:
        self._series = series
        self._directory = directory
        self._next_seq = np.zeros(0, np.int64)
        self._last_time = np.zeros(0, np.int64)
        self._missed = np.zeros(0, np.int64)
        self._any_missed = False
        self.rows = 0
        """Rows numbered so far."""
        self.restamped = 0
        """Rows that were older than their predecessor."""

    def skip(self, symbol: int, missed: int) -> None:
        """Leave out `missed` numbers before a symbol's next row."""
        self._grow()
        self._next_seq[symbol] += missed
        self._missed[symbol] += missed
        self._any_missed = True

    def number(
        self, row_symbols: Ints, columns: tuple[Array, ...], flush: int, estimates: tuple[Array, Array] | None = None
    ) -> Block:
        """Return rows, which are sorted by symbol, as a block."""
        self._grow()
        self.rows += len(row_symbols)
        starts = run_starts(row_symbols)
        symbols = row_symbols[starts]
        offsets = np.append(starts, len(row_symbols))
        time = self._in_order(columns[0], offsets, symbols)
        seqs = self._next_seq[symbols]
        self._next_seq[symbols] = seqs + offsets[1:] - offsets[:-1]
        return Block(
            series=self._series,
            epoch=self._directory.epoch,
            number=flush,
            symbols=symbols,
            offsets=offsets,
            seqs=seqs,
            columns=(time, *columns[1:]),
            missed=self._missed_before(symbols) if self._any_missed else None,
            estimates=estimates,
        )

    def _missed_before(self, symbols: Ints) -> Ints | None:
        missed = self._missed[symbols]
        if not missed.any():
            return None
        self._missed[symbols] = 0
        self._any_missed = bool(self._missed.any())
        return missed

    def _in_order(self, time: Ints, offsets: Ints, symbols: Ints) -> Ints:
        """Return the times with each that is older than its predecessor replaced by that."""
        starts, lasts = offsets[:-1], offsets[1:] - 1
        backwards = np.empty(len(time), bool)
        np.less(time[1:], time[:-1], out=backwards[1:])
        backwards[starts] = time[starts] < self._last_time[symbols]
        if backwards.any():
            time = self._restamp(time, offsets, symbols, np.flatnonzero(np.logical_or.reduceat(backwards, starts)))
        self._last_time[symbols] = time[lasts]
        return time

    def _restamp(self, time: Ints, offsets: Ints, symbols: Ints, runs: Ints) -> Ints:
        """Return the times with those of some runs put in order."""
        counts = offsets[runs + 1] - offsets[runs]
        rows = run_indices(offsets[runs], counts)
        firsts = offsets_of(counts)[:-1]
        times = time[rows]
        times[firsts] = np.maximum(times[firsts], self._last_time[symbols[runs]])
        # The running maximum of all runs at once: by rank, with every run above the one before it.
        distinct, ranks = np.unique(times, return_inverse=True)
        base = np.repeat(np.arange(len(runs)) * len(distinct), counts)
        ordered = time.copy()
        ordered[rows] = distinct[np.maximum.accumulate(ranks + base) - base]
        if not self.restamped:
            symbol = self._directory.instruments[int(symbols[runs[0]])].symbol
            log.warning("%s of %s: a time ran backwards and was set to its predecessor's", self._series, symbol)
        self.restamped += int((ordered != time).sum())
        return ordered

    def _grow(self) -> None:
        more = len(self._directory) - len(self._next_seq)
        if more > 0:
            self._next_seq = np.append(self._next_seq, np.zeros(more, np.int64))
            self._last_time = np.append(self._last_time, np.full(more, -(2**63), np.int64))
            self._missed = np.append(self._missed, np.zeros(more, np.int64))
