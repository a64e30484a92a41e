"""A reader that catches up: the rows of some channels from their positions on, a slice at a time."""

from __future__ import annotations

import numpy as np

from ticker.columns import Block, Ints
from ticker.stream.runs import first_rows, merge, rows_from
from ticker.stream.shelf import NOWHERE, Shelf

SLICE_ROWS = 1 << 13
"""Rows that a slice holds at most: some milliseconds of encoding, as JSON some 50."""


class FellOff(Exception):
    """The rows that the reader needs next are not in the history any more."""


class Cursor:
    """Reads a shelf from positions on until there is nothing newer."""

    def __init__(self, shelf: Shelf, symbols: Ints, seqs: Ints, time_units: Ints | None) -> None:
        """Read `symbols` from `seqs` on. With `time_units` (see `runs.merge`) channels stay in order to a second."""
        self._shelf = shelf
        self._time_units = time_units
        self.symbols = symbols
        """What is read, ascending."""
        self._positions = np.full(int(shelf.size), NOWHERE, np.int64)
        self._positions[symbols] = seqs
        self._number = shelf.number_before(self._positions)

    def position(self, symbol: int) -> int:
        """Return the number of the row of a symbol that is read next."""
        return int(self._positions[symbol])

    def drop(self, symbols: Ints) -> None:
        """Stop reading these symbols."""
        self._positions[symbols] = NOWHERE
        self.symbols = np.setdiff1d(self.symbols, symbols)

    def read(self) -> Block | None:
        """Return the next rows, or None when there are none yet. Raises FellOff."""
        if (self._shelf.kept_from(self.symbols) > self._positions[self.symbols]).any():
            raise FellOff
        self._grow()
        parts: list[Block] = []
        room = SLICE_ROWS
        for block in self._shelf.blocks_after(self._number):
            part = rows_from(block, self._positions)
            if part is not None:
                rows = len(part)
                part = first_rows(part, room)
                self._positions[part.symbols] = part.seqs + part.counts
                parts.append(part)
                room -= rows
                if room < 0:
                    break  # this block has more
            self._number = block.number
            if not room:
                break
        return merge(parts, self._time_units) if parts else None

    def _grow(self) -> None:
        more = self._shelf.size - len(self._positions)
        if more > 0:
            self._positions = np.append(self._positions, np.full(more, NOWHERE, np.int64))
