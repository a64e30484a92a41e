"""The daily bars of Alpaca's streams: of each day in New York so far, once a minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from ticker.columns import Block, Ints, run_starts
from ticker.model import Series
from ticker.protocol.alpaca_rows import DAYS
from ticker.stream import new_york
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns, fill
from ticker.stream.tables import Table
from ticker.summary import Summaries

Publish = Callable[[Sequence[Block]], None]


class Days:
    """Stands between the Broker and the Hub, and adds to a flush that ends bars of a minute the days these belong to.

    A day so far is the sum of its minutes that have ended, so it has all trades up to that minute's end and no other.
    Where a feed has no minutes, the shortest bars will do that an hour is a multiple of, or else whole days.
    """

    def __init__(self, directory: Directory, publish: Publish) -> None:
        self._directory = directory
        self._hand_on = publish
        self._source = source_of(directory)
        self._table = Table(Summaries)
        self._day = np.zeros(0, np.int64)

    def publish(self, blocks: Sequence[Block]) -> None:
        """Hand on what a flush numbered, with the daily bars that it changed."""
        days = self.follow(blocks)
        self._hand_on(blocks if days is None else [*blocks, days])

    def follow(self, blocks: Sequence[Block]) -> Block | None:
        """Take in what a flush numbered; return the daily bars that it changed, if it did."""
        ended = next((block for block in blocks if block.series == self._source), None)
        return None if ended is None else self._days_of(ended)

    def checkpoint(self) -> Columns:
        """Return each symbol's day so far."""
        self._grow()
        return {**self._table.checkpoint(len(self._day)), "day": self._day}

    def restore(self, columns: Columns) -> None:
        """Begin with these days."""
        self._grow()
        self._table.restore(columns)
        fill(self._day, columns["day"])

    def _days_of(self, bars: Block) -> Block:
        """Return the days so far of these bars, a row for each day of a symbol; remember the last of each."""
        self._grow()
        symbols = np.repeat(bars.symbols, bars.counts)
        units = self._directory.time_units(symbols)
        days = days_of(bars.series, bars.columns[0] // units)
        starts = run_starts(symbols, days)
        parts = summaries_of(bars).fold(starts)
        symbols, days, units = symbols[starts], days[starts], units[starts]
        parts = parts._replace(time=new_york.midnights(days) * units)

        firsts = run_starts(symbols)
        owners = symbols[firsts]
        goes_on = self._table.present[owners] & (self._day[owners] == days[firsts])
        if goes_on.any():
            at, known = firsts[goes_on], owners[goes_on]
            whole = cast(Summaries, self._table.get(known)).plus(parts.take(at))
            parts = Summaries._make([_with(column, at, sums) for column, sums in zip(parts, whole, strict=True)])
        lasts = np.append(firsts[1:], len(symbols)) - 1
        self._table.put(owners, parts.take(lasts))
        self._day[owners] = days[lasts]
        return Block(
            series=DAYS,
            epoch=bars.epoch,
            number=bars.number,
            symbols=owners,
            offsets=np.append(firsts, len(symbols)),
            seqs=np.zeros(len(owners), np.int64),
            columns=tuple(parts[:8]),
            estimates=parts.estimates(),
        )

    def _grow(self) -> None:
        more = len(self._directory) - len(self._day)
        if more > 0:
            self._day = np.append(self._day, np.zeros(more, np.int64))
            self._table.grow(len(self._directory))


def source_of(directory: Directory) -> Series | None:
    """Return the series that days are summed up from: minutes, if there are any."""
    parts = [each for each in directory.intervals if each >= 60 and new_york.HOUR_S % each == 0]
    interval_s = min(parts, default=new_york.DAY_S if new_york.DAY_S in directory.intervals else None)
    return None if interval_s is None else Series("bars", interval_s)


def days_of(series: Series, seconds: Ints) -> Ints:
    """Return the days that bars belong to. A bar of a day is of the date at which it starts in UTC."""
    return seconds // new_york.DAY_S if series.interval_s == new_york.DAY_S else new_york.days(seconds)


def summaries_of(bars: Block) -> Summaries:
    """Return bars as what they sum up."""
    whole = Summaries.of_columns(bars.columns)
    if bars.estimates is None:
        return whole
    volume, notional = (
        np.where(np.isnan(estimate), column, estimate)
        for estimate, column in zip(bars.estimates, bars.columns[5:7], strict=True)
    )
    return whole._replace(volume_estimate=volume, notional_estimate=notional)


def _with(column: Ints, places: Ints, values: Ints) -> Ints:
    changed = column.copy()
    changed[places] = values
    return changed
