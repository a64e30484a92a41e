"""What can still be had: the recent rows of all series, bounded by memory and age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.stream.cursor import Cursor
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns, gather, spread
from ticker.stream.shelf import Shelf

MIB = 1 << 20
BARS_OF_A_CHANNEL = 2000


class History:
    """A shelf for each series.

    Trades and quotes share `ticks_mib` and are kept `age_s` seconds. Bars are kept apart and longer: 2,000 of each
    channel, within `bars_mib` shared equally by the intervals. What is oldest goes first.
    """

    def __init__(self, directory: Directory, ticks_mib: float, age_s: float, bars_mib: float) -> None:
        self._directory = directory
        self._age_s = age_s
        self._ticks_bytes = ticks_mib * MIB
        self._bars_bytes = bars_mib * MIB / max(1, len(directory.intervals))
        self._shelves = {
            series: Shelf(series, directory, BARS_OF_A_CHANNEL if series.kind == "bars" else None)
            for series in directory.series
        }
        self._ticks = [shelf for series, shelf in self._shelves.items() if series.kind != "bars"]
        self._bars = [shelf for series, shelf in self._shelves.items() if series.kind == "bars"]

    def __getitem__(self, series: Series) -> Shelf:
        return self._shelves[series]

    @property
    def nbytes(self) -> int:
        """What all rows occupy."""
        return sum(shelf.nbytes for shelf in self._shelves.values())

    def append(self, blocks: Sequence[Block], now_s: float) -> None:
        """Keep what a flush numbered."""
        for block in blocks:
            self._shelves[block.series].append(block, now_s)
        while sum(shelf.nbytes for shelf in self._ticks) > self._ticks_bytes:
            full = [shelf for shelf in self._ticks if shelf.oldest is not None]
            min(full, key=lambda shelf: shelf.oldest or 0).evict(now_s)
        for shelf in self._bars:
            while shelf.nbytes > self._bars_bytes:
                shelf.evict(now_s)

    def checkpoint(self) -> Columns:
        """Return where all channels stand."""
        return gather({str(series): shelf for series, shelf in self._shelves.items()})

    def restore(self, columns: Columns) -> None:
        """Begin from there, without the rows themselves."""
        spread({str(series): shelf for series, shelf in self._shelves.items()}, columns)

    def trim(self, now_s: float) -> None:
        """Forget what is too old. To be called about once a second."""
        for shelf in self._ticks:
            shelf.trim(now_s, self._age_s)
        for shelf in self._bars:
            shelf.trim(now_s, float("inf"))

    def cursor(self, series: Series, symbols: Ints, seqs: Ints) -> Cursor:
        """Return a reader of these symbols (ascending) from `seqs` on."""
        units = None if series.kind == "bars" else self._directory.time_units(np.arange(len(self._directory)))
        return Cursor(self._shelves[series], symbols, seqs, units)
