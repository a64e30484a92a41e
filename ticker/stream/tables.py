"""State by symbol number as structures of arrays: the newest summary or quote of every channel of a series.

Updated for all symbols of a flush with one fancy-indexed operation; grown as symbols come.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import numpy as np

from ticker.columns import Array, Block, Ints
from ticker.stream.kept import Columns, fill
from ticker.summary import Summaries


class QuoteUpdates(NamedTuple):
    """Many runs of quotes as columns: the newest quote of each, and how many there were."""

    time: Ints
    bid_price: Ints
    bid_size: Ints
    ask_price: Ints
    ask_size: Ints
    count: Ints  # type: ignore[assignment]

    @property
    def size(self) -> int:
        """How many runs these are."""
        return len(self.time)

    def take(self, indices: Array | slice) -> QuoteUpdates:
        """Return the runs at `indices`."""
        return QuoteUpdates._make([column[indices] for column in self])

    def fold(self, starts: Ints) -> QuoteUpdates:
        """Join runs of neighbours that begin at `starts`: the last quote stands, counts add up."""
        if len(starts) == self.size:
            return self
        lasts = np.append(starts[1:], self.size) - 1
        return self.take(lasts)._replace(count=np.add.reduceat(self.count, starts))

    def plus(self, later: QuoteUpdates) -> QuoteUpdates:
        """Join each run with the one at the same place in `later`."""
        return later._replace(count=self.count + later.count)


Fold = Summaries | QuoteUpdates
"""What rows amount to, as columns: `size`, `take`, `fold` and `plus` do the same for both."""
AFold = TypeVar("AFold", bound=Fold)


def fold_of(block: Block) -> Fold:
    """Return what each run of a block of trades or quotes, in mode `all`, amounts to."""
    if block.folded:
        return cast(Fold, block.folded[0])
    if block.series.kind == "quotes":
        lasts = block.offsets[1:] - 1
        return QuoteUpdates._make([*(column[lasts] for column in block.columns), block.counts])
    time, price, size = block.columns
    return Summaries.of_runs(time, price, size, block.offsets)


def join_folds(parts: list[AFold]) -> AFold:
    """Return the columns of all parts, which are of one type, in order."""
    if len(parts) == 1:
        return parts[0]
    make = type(parts[0])._make
    return cast(AFold, make(map(np.concatenate, zip(*parts, strict=True))))


class Table:
    """One row of columns for each symbol number: summaries or quotes; `present` tells which have any."""

    def __init__(self, row: type[Summaries] | type[QuoteUpdates]) -> None:
        self._make = row._make
        self._names = row._fields
        self.present = np.zeros(0, bool)
        floats = ("volume_estimate", "notional_estimate")
        self.columns: list[Array] = [np.zeros(0, np.float64 if name in floats else np.int64) for name in row._fields]

    def grow(self, size: int) -> None:
        """Make room for symbol numbers below `size`."""
        more = size - len(self.present)
        if more > 0:
            more = max(more, len(self.present) // 2)
            self.present = np.append(self.present, np.zeros(more, bool))
            self.columns = [np.append(column, np.zeros(more, column.dtype)) for column in self.columns]

    def get(self, symbols: Ints) -> Fold:
        """Return the rows of these symbols, with no meaning where not present."""
        return self._make([column[symbols] for column in self.columns])

    def put(self, symbols: Ints, rows: Fold) -> None:
        """Set the rows of these symbols, each named once."""
        self.present[symbols] = True
        for column, values in zip(self.columns, rows, strict=True):
            column[symbols] = values

    def add(self, symbols: Ints, later: Fold) -> Fold:
        """Add to the rows of these symbols, each named once, what follows them; return what they were before."""
        before = self.get(symbols)
        present = self.present[symbols]
        if present.all():
            self.put(symbols, before.plus(later))  # type: ignore[arg-type]  # both are of the type of this table
            return before
        self.put(symbols, later)
        known = np.flatnonzero(present)
        if len(known):
            self.put(symbols[known], before.take(known).plus(later.take(known)))  # type: ignore[arg-type]
        return before

    def clear(self, symbols: Ints) -> None:
        """Forget the rows of these symbols."""
        self.present[symbols] = False

    def checkpoint(self, size: int) -> Columns:
        """Return the rows of the first `size` symbols as columns by name."""
        columns = dict(zip(self._names, self.columns, strict=True))
        return {name: column[:size] for name, column in {"present": self.present, **columns}.items()}

    def restore(self, columns: Columns) -> None:
        """Set the first rows to what `checkpoint` returned."""
        self.grow(len(columns["present"]))
        fill(self.present, columns["present"])
        for name, column in zip(self._names, self.columns, strict=True):
            fill(column, columns[name])
