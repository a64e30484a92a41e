"""The feed's door and the batching window: takes ticks, refuses what cannot be, and numbers each flush into Blocks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from ticker.columns import Array, Block, Ints, Ticks, offsets_of, run_indices, run_starts
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars
from ticker.stream.checks import Checks
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns, fill, gather, spread
from ticker.stream.refusals import REASONS, Refusals

log = logging.getLogger(__name__)

FLUSH_ROWS = 1 << 16
"""Rows that make a flush due before the window ends, so that a burst makes more blocks, not larger ones."""
MOST_MISSED = 1 << 40
"""Rows that one gap may have, so that numbers stay far from the end of 64 bits."""
_TRANSLATIONS = 64


class Batcher:
    """Collects what a feed emits and publishes it, sorted by channel and numbered, when `flush` is called.

    Rows that cannot be are found when they are flushed, in whole columns; `feed`, `now_ns` and `ahead_s` are for that
    (see Refusals and Checks).

    `publish` is given the Blocks of one flush, at most one of each series: those of trades and quotes, then bars,
    shortest first, that the feed emitted or that its trades and its clock have ended.
    """

    def __init__(
        self,
        directory: Directory,
        bars: Bars,
        publish: Callable[[list[Block]], None],
        *,
        feed: str = "",
        now_ns: Callable[[], int] | None = None,
        ahead_s: float | None = None,
    ) -> None:
        self._directory = directory
        self._bars = bars
        self._publish = publish
        self.refusals = Refusals(feed)
        self._checks = Checks(directory, self.refusals, now_ns, ahead_s)
        self._pending: dict[Series, _Pending] = {}
        self._pending_rows = 0
        self._doors = {series: _Door(series, directory) for series in directory.series}
        self._emitted = [series for series in directory.series if not bars.folds(series)]
        self._translations: dict[int, tuple[tuple[str, ...], Ints, bool]] = {}
        self._flushes = 0
        self._clock_ns: int | None = None
        self.clock: Callable[[], float] = float
        """Tells seconds, for `on_flush`."""
        self.on_flush: Callable[[float], object] | None = None
        """Called after each flush that published something, with the seconds that it took."""
        self.on_gap: Callable[[Series, int, int], None] | None = None
        """Called when rows before a symbol's next one were lost: with the series, its number and how many."""
        self.taken: Counter[Series] = Counter()
        """Rows of each series that the feed emitted so far, refused ones included: how far a replay has come."""

    @property
    def clock_ns(self) -> int | None:
        """The feed's clock: the latest time that it told, None before that."""
        return self._clock_ns

    @property
    def known(self) -> Collection[str]:
        """The symbols that were announced."""
        return self._directory.numbers.keys()

    @property
    def flushes(self) -> int:
        """How many flushes the epoch has had."""
        return self._flushes

    @property
    def rows(self) -> int:
        """Rows numbered so far, bars not counted that were folded here."""
        return sum(self._doors[series].rows for series in self._emitted)

    @property
    def rows_by_series(self) -> Mapping[Series, int]:
        """Rows numbered so far, by series, bars counted too that were folded here."""
        return {series: door.rows for series, door in self._doors.items()}

    @property
    def restamped(self) -> int:
        """Rows that were older than their predecessor and were given its time."""
        return sum(door.restamped for door in self._doors.values())

    def emit(self, ticks: Ticks) -> None:
        """Take a copy of ticks until the next flush; refuse those of symbols or kinds that were not announced.

        Raises TypeError for anything but Ticks.
        """
        if not isinstance(ticks, Ticks):
            raise TypeError(f"emit: expected Ticks, not {type(ticks).__name__}")
        for start in range(0, len(ticks), FLUSH_ROWS):
            end = start + FLUSH_ROWS
            self._take(ticks, ticks.codes[start:end], tuple(column[start:end] for column in ticks.columns))

    def time(self, time_ns: int) -> None:
        """Move the feed's clock; it never runs backwards, nor further ahead than a row may be. Raises TypeError for
        anything but a whole number."""
        if not isinstance(time_ns, int | np.integer):
            raise TypeError(f"time: expected a whole number of nanoseconds, not {type(time_ns).__name__}")
        if self._clock_ns is None or time_ns > self._clock_ns:
            if time_ns // 1000 > self._checks.latest_us:
                self.refusals.count("time", 1)
                self.refusals.tell("time", "clock", None, f"{time_ns} ns lies too far ahead")
            else:
                self._clock_ns = int(time_ns)

    def announce(self, instruments: Sequence[Instrument]) -> list[int]:
        """Add instruments; return the numbers of the new ones. Raises ValueError if a known one's scales differ."""
        self._translations.clear()
        return self._directory.add(instruments)

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        """Number the next row of a channel as if `missed` rows had come before it. Raises ValueError if `missed` is not
        a whole number from 1 to MOST_MISSED; a channel that was not announced is refused as its rows are."""
        if not isinstance(missed, int | np.integer) or not 1 <= missed <= MOST_MISSED:
            raise ValueError(f"missed: expected a whole number from 1 to {MOST_MISSED:,}, not {missed!r}")
        series, number = Series(kind, interval_s), self._directory.numbers.get(symbol)
        if series not in self._emitted:
            self._refuse_series(series, int(missed))
        elif number is None:
            self.refusals.count("unknown_symbol", int(missed))
            self.refusals.tell("unknown_symbol", series, symbol, "the feed did not announce it")
        else:
            self.flush()
            self.skip(series, number, int(missed))
            if self.on_gap is not None:
                self.on_gap(series, number, int(missed))

    def flush(self) -> None:
        """Number and publish what came since the last flush, and the bars that it or the feed's clock has ended."""
        began_s = self.clock()
        self._pending_rows = 0
        taken = ((series, pending.take()) for series, pending in self._pending.items() if len(pending))
        blocks = [block for each in taken if (block := self._sorted(*each)) is not None]
        source = next((block for block in blocks if block.series == self._bars.source), None)
        for interval_s, (symbols, bars) in self._bars.update(source, self._clock_ns):
            door = self._doors[Series("bars", interval_s)]
            blocks.append(door.number(symbols, bars[:8], self._flushes, bars.estimates()))
        if blocks:
            blocks.sort(key=lambda block: (block.series.interval_s, block.series.kind))
            self._flushes += 1
            self._publish(blocks)
            if self.on_flush is not None:
                self.on_flush(self.clock() - began_s)

    def skip(self, series: Series, number: int, missed: int) -> None:
        """Leave out `missed` numbers before a symbol's next row."""
        self._doors[series].skip(number, missed)

    def checkpoint(self) -> Columns:
        """Return how all channels are numbered on."""
        return gather({str(series): door for series, door in self._doors.items()})

    def restore(self, columns: Columns) -> None:
        """Number all channels on from there."""
        spread({str(series): door for series, door in self._doors.items()}, columns)

    def resume(self, flushes: int, clock_ns: int | None, taken: Mapping[Series, int]) -> None:
        """Go on behind so many flushes, with the feed's clock and what it had emitted by then."""
        self._flushes, self._clock_ns = flushes, clock_ns
        self.taken = Counter(taken)

    def follow(self, blocks: Sequence[Block], clock_ns: int | None) -> None:
        """Number on behind a flush that was numbered before a restart, when the feed's clock was `clock_ns`."""
        for block in blocks:
            self._doors[block.series].follow(block)
        self._bars.update(next((block for block in blocks if block.series == self._bars.source), None), clock_ns)

    def _take(self, ticks: Ticks, codes: Array, columns: tuple[Ints, ...]) -> None:
        series = Series(ticks.kind, ticks.interval_s)
        if series not in self._emitted:
            return self._refuse_series(series, len(codes))
        self.taken[series] += len(codes)
        numbers, are_known = self._translate(ticks.symbols)
        if int(codes.min()) < 0 or int(codes.max()) >= len(numbers):
            inside = (codes >= 0) & (codes < len(numbers))
            self.refusals.count("code", len(codes) - int(inside.sum()))
            code = codes[int(np.argmin(inside))]
            self.refusals.tell("code", series, None, f"code {code} lies outside of the {len(numbers)} symbols")
            codes, columns = codes[inside], tuple(column[inside] for column in columns)
        symbols = numbers[codes]
        if not are_known and int(symbols.min(initial=0)) < 0:
            known = symbols >= 0
            self._refuse_symbols(series, ticks.symbols, codes[~known])
            symbols, columns = symbols[known], tuple(column[known] for column in columns)
        if series not in self._pending:
            self._pending[series] = _Pending(len(columns))
        self._pending[series].add(symbols, columns)
        self._pending_rows += len(symbols)
        if self._pending_rows >= FLUSH_ROWS:
            self.flush()
        return None

    def _sorted(self, series: Series, rows: Ints) -> Block | None:
        """Return what came of one series as a block, without the rows that cannot be; None if there are no others."""
        good = self._checks.good(series, rows)
        if good is not None:
            rows = rows[:, good]
            if not rows.size:
                return None
        symbols, *columns = rows
        # numpy sorts 16-bit integers stably by radix, several times as fast as wider ones.
        keys = symbols.astype(np.uint16) if len(self._directory) <= 1 << 16 else symbols
        order = np.argsort(keys, kind="stable")
        return self._doors[series].number(symbols[order], tuple(column[order] for column in columns), self._flushes)

    def _translate(self, symbols: tuple[str, ...]) -> tuple[Ints, bool]:
        """Return the number of each symbol, -1 if unknown, and whether all are known; remembered for the tuple that a
        feed passes each time."""
        known = self._translations.get(id(symbols))
        if known is not None:  # the tuple is kept with it, so no other can have its id
            return known[1:]
        numbers = np.array([self._directory.numbers.get(symbol, -1) for symbol in symbols], np.int64)
        if len(self._translations) >= _TRANSLATIONS:
            self._translations.clear()
        are_known = bool((numbers >= 0).all())
        self._translations[id(symbols)] = symbols, numbers, are_known
        return numbers, are_known

    def _refuse_series(self, series: Series, rows: int) -> None:
        self.refusals.count("unknown_kind", rows)
        self.refusals.tell("unknown_kind", series, None, "the feed did not say that it has them")

    def _refuse_symbols(self, series: Series, symbols: tuple[str, ...], codes: Array) -> None:
        self.refusals.count("unknown_symbol", len(codes))
        if not self.refusals.is_silent:
            for code in np.unique(codes)[: REASONS + 1].tolist():
                self.refusals.tell("unknown_symbol", series, symbols[code], "the feed did not announce it")


class _Pending:
    """Rows that wait for the next flush: a table that grows and is used again, of symbol numbers and columns."""

    def __init__(self, columns: int) -> None:
        self._table = np.empty((columns + 1, 1024), np.int64)
        self._columns = list(self._table)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, symbols: Ints, columns: tuple[Ints, ...]) -> None:
        """Append a copy of some rows."""
        start, end = self._size, self._size + len(symbols)
        if end > self._table.shape[1]:
            grown = np.empty((len(self._table), max(end, 2 * self._table.shape[1])), np.int64)
            grown[:, :start] = self._table[:, :start]
            self._table, self._columns = grown, list(grown)
        for column, values in zip(self._columns, (symbols, *columns), strict=True):
            column[start:end] = values
        self._size = end

    def take(self) -> Ints:
        """Return all rows, which are good until the next `add`, and begin anew."""
        size, self._size = self._size, 0
        return self._table[:, :size]


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

    def checkpoint(self) -> Columns:
        """Return how the channels are numbered on, and the times that they may not go behind."""
        self._grow()
        return {"next_seq": self._next_seq, "last_time": self._last_time, "missed": self._missed}

    def restore(self, columns: Columns) -> None:
        """Number on from there."""
        self._grow()
        fill(self._next_seq, columns["next_seq"])
        fill(self._last_time, columns["last_time"])
        fill(self._missed, columns["missed"])
        self._any_missed = bool(self._missed.any())

    def follow(self, block: Block) -> None:
        """Number on behind a block."""
        self._grow()
        self._next_seq[block.symbols] = block.seqs + block.counts
        self._last_time[block.symbols] = block.columns[0][block.offsets[1:] - 1]
        self._missed[block.symbols] = 0
        self._any_missed = bool(self._missed.any())

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
