"""What no row can be: finds those of a flush that say what cannot be.

All is done to the columns of a flush at once. Where nothing is wrong, it is a minimum of each column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from ticker.columns import Array, Column, Ints, columns_of
from ticker.model import KINDS, Series
from ticker.stream.directory import Directory
from ticker.stream.refusals import Refusals

NOT_A_NUMBER = -(2**63)
"""What numpy makes of a float's NaN, and of NaT, when it is asked for int64."""
EARLIEST_LIVE_US = 631_152_000_000_000
"""1990. An older row of a live feed is a mistake of units: seconds taken for microseconds lie in January 1970."""
FURTHEST_US = (2**63 - 1) // 1000
"""A replay's times may be any that nanoseconds of 64 bits hold: from 1677 to 2262."""


def _least(kind: str) -> list[tuple[int, Column, int]]:
    """Return place, column and least value of those that are prices, sizes or counts.

    Zero is how a side of a quote without orders is told, and how a size that the source doesn't tell.
    """
    found = []
    for place, column in enumerate(columns_of(kind)):
        if column.quantity in ("price", "size", "count"):
            found.append((place, column, 1 if column.quantity == "price" and kind != "quotes" else 0))
    return found


_LEAST = {kind: _least(kind) for kind in KINDS}


class _Wrong(NamedTuple):
    """Rows that cannot be: why, which (a mask), and what to say of one of them."""

    code: str
    rows: Array
    say: Callable[[int], str]


class Checks:
    """Finds rows that cannot be. `now_ns` is the machine's clock where the feed's time is now, None in a replay;
    no live row may be more than `ahead_s` ahead of it (None: any)."""

    def __init__(
        self,
        directory: Directory,
        refusals: Refusals,
        now_ns: Callable[[], int] | None = None,
        ahead_s: float | None = None,
    ) -> None:
        self._directory = directory
        self._refusals = refusals
        self._now_ns = now_ns
        self._ahead_us = None if ahead_s is None else round(ahead_s * 1e6)
        # By symbol number: whether prices may be zero and below, and how many units of its time a microsecond has.
        self._signed = np.zeros(0, bool)
        self._per_us = np.zeros(0, np.int64)
        self._one_per_us = 1  # 0: it differs

    @property
    def latest_us(self) -> int:
        """The latest time that a row, or the feed's clock, may have."""
        if self._now_ns is None or self._ahead_us is None:
            return FURTHEST_US
        return self._now_ns() // 1000 + self._ahead_us

    def good(self, series: Series, rows: Ints) -> Array | None:
        """Return a mask of the rows that can be, None if all can; the others are counted, and logged once.

        `rows` is a table, of one row at least: symbol numbers, then the columns of the kind.
        """
        self._learn()
        good: Array | None = None
        for code, wrong, say in self._all_wrong(
            series, rows[0], rows[1:], np.minimum.reduce(rows, axis=1).tolist()[1:]
        ):
            mask = wrong if good is None else wrong & good  # a row is counted once
            good = ~mask if good is None else good & ~mask
            if count := int(mask.sum()):
                self._refusals.count(code, count)
                self._tell(code, series, rows[0], mask, say)
        return good

    def _all_wrong(self, series: Series, symbols: Ints, columns: Ints, smallest: list[int]) -> Iterator[_Wrong]:
        yield from self._wrong_times(symbols, columns[0], smallest[0])
        for place, column, least in _LEAST[series.kind]:
            if smallest[place] < least:
                yield from self._wrong_numbers(column, symbols, columns[place], least)
        if series.kind == "bars":
            high, low = columns[2], columns[3]
            if (below := high < low).any():
                yield _Wrong("range", below, lambda row: f"high {high[row]} is below low {low[row]} (whole numbers)")

    def _wrong_times(self, symbols: Ints, times: Ints, earliest: int) -> Iterator[_Wrong]:
        per_us = self._one_per_us
        if not per_us:
            times, per_us = times // self._per_us[symbols], 1
            earliest = int(times.min())
        least, most = -FURTHEST_US if self._now_ns is None else EARLIEST_LIVE_US, self.latest_us

        def say(row: int) -> str:
            return f"time {_shown(int(times[row]) // per_us)} does not lie between {_shown(least)} and {_shown(most)}"

        if earliest < least * per_us:
            yield _Wrong("time", times < least * per_us, say)
        if int(times.max()) > most * per_us:
            yield _Wrong("time", times > most * per_us, say)

    def _wrong_numbers(self, column: Column, symbols: Ints, values: Ints, least: int) -> Iterator[_Wrong]:
        """Yield the rows with a value below `least`; of a price, where the instrument has no such prices."""
        no_number = values == NOT_A_NUMBER
        if no_number.any():
            yield _Wrong("nan", no_number, lambda row: f"{column.name} is no number")
        is_price = column.quantity == "price"
        below = (values < least) & ~self._signed[symbols] if is_price else values < least
        if below.any():
            bound = ("above 0" if least else "at least 0") + ", and signed_prices is not set" * is_price

            def say(row: int) -> str:
                scale = self._directory.instruments[int(symbols[row])].scale(column.quantity)
                return f"{column.name} {Decimal(int(values[row])).scaleb(-scale):f} is not {bound}"

            yield _Wrong("price" if is_price else "size", below, say)

    def _tell(self, code: str, series: Series, symbols: Ints, rows: Array, say: Callable[[int], str]) -> None:
        """Log the first row of each symbol."""
        if self._refusals.is_silent:
            return
        places = np.flatnonzero(rows)
        for first in places[np.sort(np.unique(symbols[places], return_index=True)[1])].tolist():
            if self._refusals.is_silent:
                return
            symbol = self._directory.instruments[int(symbols[first])].symbol
            self._refusals.tell(code, series, symbol, say(first))

    def _learn(self) -> None:
        """Take in the directory's new instruments."""
        fresh = self._directory.instruments[len(self._signed) :]
        if fresh:
            self._signed = np.append(self._signed, [each.signed_prices for each in fresh])
            self._per_us = np.append(self._per_us, [10 ** (each.time_scale - 6) for each in fresh])
            same = (self._per_us == self._per_us[0]).all()
            self._one_per_us = int(self._per_us[0]) if same else 0


def _shown(time_us: int) -> str:
    """Return a time for the log: as a date where that is one, else its microseconds."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).isoformat()
    except OverflowError:
        return f"{time_us:,} us"
