"""Who is who in an epoch: symbols and series by number, their scales, and the integers that stand for channels."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

from ticker.columns import Ints
from ticker.model import Instrument, Series


class Directory:
    """The instruments and series of an epoch. Symbols are numbered as they come and never leave.

    The integer of a channel on the wire is `(symbol number x series + series number) x 2`, plus 1 in mode `conflated`.
    """

    def __init__(self, epoch: str, series: Sequence[Series], instruments: Sequence[Instrument] = ()) -> None:
        self.epoch = epoch
        self.series = tuple(series)
        self.instruments: list[Instrument] = []
        self.numbers: dict[str, int] = {}
        self._sorted: list[str] = []
        self._time_units = np.empty(0, np.int64)
        self._series_numbers = {each: number for number, each in enumerate(self.series)}
        self.add(instruments)

    def __len__(self) -> int:
        return len(self.instruments)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of this feed, in the usual order."""
        return tuple(dict.fromkeys(each.kind for each in self.series))

    @property
    def intervals(self) -> tuple[int, ...]:
        """The intervals of this feed's bars, in seconds."""
        return tuple(each.interval_s for each in self.series if each.kind == "bars")

    def add(self, instruments: Sequence[Instrument]) -> list[int]:
        """Add those that are new; return their numbers. Raises ValueError and adds none if what an instrument says of
        its symbol changes."""
        fresh: dict[str, Instrument] = {}
        for instrument in instruments:
            number = self.numbers.get(instrument.symbol)
            known = fresh.setdefault(instrument.symbol, instrument) if number is None else self.instruments[number]
            if known != instrument:
                raise ValueError(
                    f"{instrument.symbol}: scales never change within an epoch, nor what else an instrument says"
                )
        first = len(self.instruments)
        self.instruments += fresh.values()
        self.numbers.update(zip(fresh, range(first, len(self.instruments)), strict=True))
        self._sorted += fresh
        self._sorted.sort()
        units = np.array([10**each.time_scale for each in fresh.values()], np.int64)
        self._time_units = np.concatenate((self._time_units, units))
        return list(range(first, len(self.instruments)))

    def time_units(self, numbers: Ints) -> Ints:
        """Return how many units of its time column a second has, for each symbol number."""
        return self._time_units[numbers]

    def channels(self, series: Series, conflated: bool, numbers: Ints) -> Ints:
        """Return the integers that stand for these symbols' channels on the wire."""
        return (numbers * len(self.series) + self._series_numbers[series]) * 2 + conflated

    def channel(self, series: Series, conflated: bool, number: int) -> int:
        """Return the integer that stands for one symbol's channel on the wire."""
        return (number * len(self.series) + self._series_numbers[series]) * 2 + conflated

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Return up to `limit` symbols in sorted order that begin with `prefix` and lie behind `after`, and whether
        there are more."""
        first = bisect.bisect_left(self._sorted, prefix)
        if after:
            first = max(first, bisect.bisect_right(self._sorted, after))
        page: list[str] = []
        for symbol in self._sorted[first : first + limit + 1]:
            if not symbol.startswith(prefix):
                break
            page.append(symbol)
        return page[:limit], len(page) > limit
