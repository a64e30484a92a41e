"""Reads the History as Alpaca's requests ask for it: spans of time, pages, latest rows, bars of any timeframe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ticker.columns import Block, Ints, offsets_of, run_indices, run_starts
from ticker.model import Series
from ticker.stream import new_york
from ticker.stream.alpaca_days import days_of, summaries_of
from ticker.stream.market import Market
from ticker.stream.runs import merge, rows_before, rows_from
from ticker.stream.shelf import NOWHERE, Shelf
from ticker.summary import Summaries, concatenate

_UNITS = {"T": "Min", "H": "Hour", "D": "Day", "W": "Week", "M": "Month"}
_AMOUNTS = {"Min": range(1, 60), "Hour": range(1, 24), "Day": (1,), "Week": (1,), "Month": (1, 2, 3, 6, 12)}
_SECOND_NS = 1_000_000_000


class Span(NamedTuple):
    """Times in UNIX nanoseconds, both included; None is no bound."""

    start_ns: int | None = None
    end_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Timeframe:
    """So many minutes, hours, days, weeks or months of New York."""

    amount: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Return what text such as `1Min`, `4Hour` or `1Day` means. Raises ValueError."""
        found = re.fullmatch(r"([0-9]{1,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)", text)
        if found is not None:
            amount, unit = int(found[1]), _UNITS.get(found[2], found[2])
            if amount in _AMOUNTS[unit]:
                return cls(amount, unit)
        raise ValueError(f"invalid timeframe: {text}")

    def source(self, intervals_s: Sequence[int]) -> Series | None:
        """Return the longest bars that these can be summed up from."""
        if self.unit in ("Min", "Hour"):
            length = self.amount * (60 if self.unit == "Min" else 3600)
            parts = [each for each in intervals_s if length % each == 0 and 3600 % each == 0]
        else:
            parts = [each for each in intervals_s if 3600 % each == 0] or [
                each for each in intervals_s if each == 86400
            ]
        return Series("bars", max(parts)) if parts else None

    def starts(self, series: Series, seconds: Ints) -> Ints:
        """Return when the interval begins that each bar of a series belongs to; all times in UNIX seconds."""
        days = days_of(series, seconds)
        if self.unit in ("Min", "Hour"):
            step = self.amount * (60 if self.unit == "Min" else 3600)
            midnights = new_york.midnights(days)
            return midnights + (seconds - midnights) // step * step
        if self.unit == "Week":
            days = days - (days + 3) % 7  # 1970-01-01 was a Thursday
        elif self.unit == "Month":
            months = days.view("M8[D]").astype("M8[M]").astype(np.int64) // self.amount * self.amount
            days = months.view("M8[M]").astype("M8[D]").astype(np.int64)
        return new_york.midnights(days)


def spans(shelf: Shelf, market: Market, numbers: Ints, span: Span) -> tuple[Ints, Ints]:
    """Return for each symbol the first row within a span, and the row behind the last."""
    firsts, ends = shelf.first_seqs(numbers), shelf.next_seqs(numbers)
    if span == Span():
        return firsts, ends
    places = np.full(shelf.size, -1, np.int64)
    places[numbers] = np.arange(len(numbers))
    earliest, latest = _at_scale(market.directory.time_units(numbers), span)
    firsts, ends = firsts.copy(), ends.copy()
    for block in shelf.blocks_after(-1):
        runs = np.flatnonzero(places[block.symbols] >= 0)
        if not len(runs):
            continue
        at, time = places[block.symbols[runs]], block.columns[0]
        begin, end, seqs = block.offsets[runs], block.offsets[runs + 1], block.seqs[runs]
        early = _rows_below(time, begin, end, earliest[at])
        within = _rows_below(time, begin, end, latest[at] + 1)
        np.maximum.at(firsts, at[early > 0], (seqs + early)[early > 0])
        late = within < end - begin
        np.minimum.at(ends, at[late], (seqs + within)[late])
    return firsts, np.maximum(ends, firsts)


def read(shelf: Shelf, numbers: Ints, firsts: Ints, ends: Ints) -> Block | None:
    """Return rows `firsts` up to `ends` of each symbol, sorted by symbol; None if there are none."""
    starts, stops = np.full(shelf.size, NOWHERE, np.int64), np.zeros(shelf.size, np.int64)
    starts[numbers], stops[numbers] = firsts, ends
    parts = []
    for block in shelf.blocks_after(-1):
        part = rows_from(block, starts)
        if part is not None and (part := rows_before(part, stops)) is not None:
            parts.append(part)
    return merge(parts) if parts else None


def latest(shelf: Shelf, numbers: Ints) -> Block | None:
    """Return the last row of each of these symbols that still has one."""
    wanted = np.full(shelf.size, NOWHERE, np.int64)
    numbers = numbers[shelf.next_seqs(numbers) > 0]
    wanted[numbers] = shelf.next_seqs(numbers) - 1
    left, parts = len(numbers), []
    for block in reversed(list(shelf.blocks_after(-1))):
        part = rows_from(block, wanted)
        if part is not None:
            parts.append(part)
            wanted[part.symbols] = NOWHERE
            left -= len(part.symbols)
            if not left:
                break
    if not parts:
        return None
    return merge(parts[::-1])


def bars_of(market: Market, timeframe: Timeframe, numbers: Ints, most: int | None = None) -> Block | None:
    """Return the bars of a timeframe that can be had, of each symbol, sorted by symbol and time.

    Those of an hour and more include what is still running. `most` is how many of the bars are read that these are
    summed up from; None reads all.
    """
    series = timeframe.source(market.directory.intervals)
    if series is None or not len(numbers):
        return None
    shelf = market.history[series]
    firsts, ends = shelf.first_seqs(numbers), shelf.next_seqs(numbers)
    if most is not None:
        firsts = np.maximum(firsts, ends - most)
    block = read(shelf, numbers, firsts, ends)
    parts = [] if block is None else [(np.repeat(block.symbols, block.counts), summaries_of(block))]
    if timeframe.unit != "Min" and series.interval_s in market.bars.intervals_s:
        running = market.bars.running(series.interval_s, np.unique(numbers))
        if len(running[0]):
            parts.append(running)
    if not parts:
        return None
    symbols = np.concatenate([part[0] for part in parts])
    bars = concatenate([part[1] for part in parts])
    order = np.argsort(symbols, kind="stable")
    symbols, bars = symbols[order], bars.take(order)
    units = market.directory.time_units(symbols)
    starts = timeframe.starts(series, bars.time // units)
    firsts = run_starts(symbols, starts)
    bars = bars._replace(time=starts * units).fold(firsts)
    return _block(market, symbols[firsts], bars)


def _block(market: Market, row_symbols: Ints, bars: Summaries) -> Block:
    """Return bars as a block of minutes, which they are for a codec; their rows are numbered from 0."""
    firsts = run_starts(row_symbols)
    return Block(
        series=Series("bars", 60),
        epoch=market.directory.epoch,
        number=0,
        symbols=row_symbols[firsts],
        offsets=np.append(firsts, len(row_symbols)),
        seqs=np.zeros(len(firsts), np.int64),
        columns=tuple(bars[:8]),
        estimates=bars.estimates(),
    )


def rows_within(block: Block, market: Market, span: Span) -> tuple[Ints, Ints]:
    """Return for each run of a block where the rows within a span begin and end, as indices of the block's rows."""
    earliest, last = _at_scale(market.directory.time_units(block.symbols), span)
    begin, end, time = block.offsets[:-1], block.offsets[1:], block.columns[0]
    return begin + _rows_below(time, begin, end, earliest), begin + _rows_below(time, begin, end, last + 1)


def cut(block: Block, begins: Ints, ends: Ints) -> Block:
    """Return the rows `begins` up to `ends` of each run, without runs of which none is left."""
    counts = np.maximum(ends - begins, 0)
    runs = counts > 0
    rows = run_indices(begins[runs], counts[runs])
    return Block(
        series=block.series,
        epoch=block.epoch,
        number=block.number,
        symbols=block.symbols[runs],
        offsets=offsets_of(counts[runs]),
        seqs=(block.seqs + begins - block.offsets[:-1])[runs],
        columns=tuple(column[rows] for column in block.columns),
        estimates=None if block.estimates is None else (block.estimates[0][rows], block.estimates[1][rows]),
    )


def _at_scale(units: Ints, span: Span) -> tuple[Ints, Ints]:
    """Return a span's ends as the first and the last whole time of each scale within it."""
    steps = _SECOND_NS // units
    start = -(2**62) if span.start_ns is None else span.start_ns
    end = 2**62 if span.end_ns is None else span.end_ns
    return -(-start // steps), end // steps


def _rows_below(time: Ints, begins: Ints, ends: Ints, bounds: Ints) -> Ints:
    """Return how many rows of each run `begins:ends` are earlier than its bound; times ascend within a run."""
    counts = np.where(time[ends - 1] < bounds, ends - begins, 0)
    for run in np.flatnonzero((time[begins] < bounds) & (time[ends - 1] >= bounds)).tolist():
        counts[run] = np.searchsorted(time[begins[run] : ends[run]], bounds[run])
    return counts
