"""The feed's door and the batching window: takes ticks, refuses what cannot be, and numbers each flush into Blocks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ticker.columns import Array, Block, Ints, Ticks, offsets_of
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars, Ended
from ticker.stream.directory import Directory
from ticker.summary import Summaries

log = logging.getLogger(__name__)

FLUSH_ROWS = 1 << 16
"""Rows that make a flush due before the window ends, so that a burst makes more blocks, not larger ones."""


class Batcher:
    """Collects what a feed emits and publishes it, sorted by channel and numbered, when `flush` is called.

    `publish` is given the Blocks of one flush: those of trades and quotes, then the bars that these or the clock ended.
    """

    def __init__(self, directory: Directory, bars: Bars, publish: Callable[[list[Block]], None]) -> None:
        self._directory = directory
        self._bars = bars
        self._publish = publish
        self._fold_from = min((s for s in directory.series), key=_fineness)
        self._pending: dict[Series, list[tuple[Array, tuple[Ints, ...]]]] = {}
        self._pending_rows = 0
        self._doors = {series: _Door(series, directory) for series in directory.series}
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
        return sum(door.taken for door in self._doors.values())

    @property
    def restamped(self) -> int:
        """Rows that were older than their predecessor and were given its time."""
        return sum(door.restamped for door in self._doors.values())

    def emit(self, ticks: Ticks) -> None:
        """Take ticks until the next flush; refuse, count and log those of symbols or kinds that were not announced."""
        series = Series(ticks.kind, ticks.interval_s)
        if series not in self._doors:
            return self._refuse(len(ticks), f"{series} were not announced by the feed")
        if not len(ticks):
            return None
        numbers = self._translate(ticks.symbols)
        if int(ticks.codes.min()) < 0 or int(ticks.codes.max()) >= len(numbers):
            return self._refuse(len(ticks), f"a code lies outside of the {len(numbers)} symbols")
        symbols, columns = numbers[ticks.codes], ticks.columns
        known = symbols >= 0
        if not known.all():
            unknown = ticks.symbols[ticks.codes[int(np.argmin(known))]]
            self._refuse(int(len(known) - known.sum()), f"symbol {unknown!r} was not announced")
            symbols, columns = symbols[known], tuple(column[known] for column in columns)
        self._pending.setdefault(series, []).append((symbols, columns))
        self._pending_rows += len(symbols)
        if self._pending_rows >= FLUSH_ROWS:
            self.flush()
        return None

    def time(self, time_ns: int) -> None:
        """Move the feed's clock; it never runs backwards."""
        if self._clock_ns is None or time_ns > self._clock_ns:
            self._clock_ns = time_ns

    def announce(self, instruments: Sequence[Instrument]) -> list[int]:
        """Add instruments; return the numbers of the new ones. Raises ValueError if a known one's scales differ."""
        self._translations.clear()
        return self._directory.add(instruments)

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        """Number the next row of a channel as if `missed` rows had come before it."""
        if missed < 1:
            raise ValueError(f"missed: expected at least 1, not {missed}")
        self.flush()
        self._doors[Series(kind, interval_s)].skip(self._directory.numbers[symbol], missed)

    def flush(self) -> None:
        """Number and publish what came since the last flush, and the bars that it or the feed's clock has ended."""
        blocks: list[Block] = []
        pending, self._pending, self._pending_rows = self._pending, {}, 0
        ended: list[tuple[int, Ended]] = []
        for series, parts in sorted(pending.items()):
            block = self._number(series, parts)
            blocks.append(block)
            if series == self._fold_from:
                ended += self._bars.update(*self._parts(block))
        if self._clock_ns is not None:
            ended += self._bars.advance(self._clock_ns)
        for interval_s, (symbols, bars) in ended:
            series = Series("bars", interval_s)
            block = self._doors[series].number(symbols, bars[:8], self._flushes)
            estimates = bars.estimates()
            blocks.append(block if estimates is None else _with_estimates(block, estimates))
        if blocks:
            blocks.sort(key=lambda block: block.series.kind == "bars")
            self._flushes += 1
            self._publish(blocks)

    def _number(self, series: Series, parts: list[tuple[Array, tuple[Ints, ...]]]) -> Block:
        if len(parts) == 1:
            symbols, columns = parts[0]
        else:
            symbols = np.concatenate([part[0] for part in parts])
            columns = tuple(map(np.concatenate, zip(*(part[1] for part in parts), strict=True)))
        door = self._doors[series]
        door.taken += len(symbols)
        # numpy sorts 16-bit integers stably by radix, several times as fast as wider ones.
        keys = symbols.astype(np.uint16) if len(self._directory) <= 1 << 16 else symbols
        order = np.argsort(keys, kind="stable")
        return door.number(symbols[order], tuple(column[order] for column in columns), self._flushes)

    def _parts(self, block: Block) -> tuple[Ints, Summaries]:
        if block.series.kind == "trades":
            return self._bars.parts(block)
        return np.repeat(block.symbols, block.counts), Summaries.of_columns(block.columns)

    def _translate(self, symbols: tuple[str, ...]) -> Ints:
        """Return the number of each symbol, -1 if unknown; remembered for the tuple that a feed passes each time."""
        known = self._translations.get(id(symbols))
        if known is not None and known[0] is symbols:
            return known[1]
        numbers = np.array([self._directory.numbers.get(symbol, -1) for symbol in symbols], np.int64)
        if len(self._translations) > 64:
            self._translations.clear()
        self._translations[id(symbols)] = (symbols, numbers)
        return numbers

    def _refuse(self, rows: int, reason: str) -> None:
        if reason not in self.refused and len(self.refused) < 100:
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
        self.taken = 0
        self.restamped = 0

    def skip(self, symbol: int, missed: int) -> None:
        self._grow()
        self._next_seq[symbol] += missed
        self._missed[symbol] += missed
        self._any_missed = True

    def number(self, row_symbols: Ints, columns: tuple[Array, ...], flush: int) -> Block:
        """Return rows, which are sorted by symbol, as a block."""
        self._grow()
        edge = np.ones(len(row_symbols), bool)
        np.not_equal(row_symbols[1:], row_symbols[:-1], out=edge[1:])
        starts = np.flatnonzero(edge)
        symbols = row_symbols[starts].astype(np.int64, copy=False)
        counts = np.diff(starts, append=len(row_symbols))
        columns = (self._in_order(columns[0], edge, starts, symbols), *columns[1:])
        seqs = self._next_seq[symbols]
        self._next_seq[symbols] = seqs + counts
        missed = None
        if self._any_missed and self._missed[symbols].any():
            missed = self._missed[symbols]
            self._missed[symbols] = 0
            self._any_missed = bool(self._missed.any())
        return Block(
            self._series, self._directory.epoch, flush, symbols, offsets_of(counts), seqs, columns, missed
        )

    def _in_order(self, time: Ints, edge: Array, starts: Ints, symbols: Ints) -> Ints:
        """Return the times with each older than its predecessor replaced by that."""
        backwards = np.zeros(len(time), bool)
        np.less(time[1:], time[:-1], out=backwards[1:])
        backwards &= ~edge
        backwards[starts] = time[starts] < self._last_time[symbols]
        if backwards.any():
            ordered = time.copy()
            ordered[starts] = np.maximum(ordered[starts], self._last_time[symbols])
            ends = np.append(starts[1:], len(time))
            for run in np.flatnonzero(np.add.reduceat(backwards, starts)).tolist():
                rows = slice(int(starts[run]), int(ends[run]))
                np.maximum.accumulate(ordered[rows], out=ordered[rows])
            self.restamped += int((ordered != time).sum())
            if self.restamped == int((ordered != time).sum()):
                name = self._directory.instruments[int(symbols[int(np.searchsorted(starts, np.argmax(backwards), "right")) - 1])]
                log.warning("%s of %s: a time ran backwards and was set to its predecessor's", self._series, name.symbol)
            time = ordered
        self._last_time[symbols] = time[np.append(starts[1:], len(time)) - 1]
        return time

    def _grow(self) -> None:
        more = len(self._directory) - len(self._next_seq)
        if more > 0:
            self._next_seq = np.append(self._next_seq, np.zeros(more, np.int64))
            self._last_time = np.append(self._last_time, np.full(more, -(2**63), np.int64))
            self._missed = np.append(self._missed, np.zeros(more, np.int64))


def _with_estimates(block: Block, estimates: tuple[Array, Array]) -> Block:
    return Block(
        block.series, block.epoch, block.number, block.symbols, block.offsets, block.seqs, block.columns, block.missed,
        estimates=estimates,
    )


def _fineness(series: Series) -> tuple[bool, int]:
    """Order series by how well bars can be folded from them: trades, then the shortest bars."""
    return series.kind != "trades", series.interval_s or 1 << 62
