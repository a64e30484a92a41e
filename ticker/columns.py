"""Columns of whole numbers: Ticks as a feed emits them, Blocks as a flush numbers them, Batches as a client reads them.

The one place that says which columns a kind has and that builds their arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Context, Decimal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ticker.model import KINDS, Bar, Channel, Instrument, Quote, QuoteUpdate, Series, Trade

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class Column(NamedTuple):
    """A column's name and what it measures, which decides its scale (see `Instrument.scale`)."""

    name: str
    quantity: str


TRADE_COLUMNS = (Column("time", "time"), Column("price", "price"), Column("size", "size"))
QUOTE_COLUMNS = (
    Column("time", "time"),
    Column("bid_price", "price"),
    Column("bid_size", "size"),
    Column("ask_price", "price"),
    Column("ask_size", "size"),
)
SUMMARY_COLUMNS = (
    Column("time", "time"),
    Column("open", "price"),
    Column("high", "price"),
    Column("low", "price"),
    Column("close", "price"),
    Column("volume", "size"),
    Column("notional", "notional"),
    Column("count", "count"),
)
QUOTE_UPDATE_COLUMNS = (*QUOTE_COLUMNS, Column("count", "count"))


def columns_of(kind: str, conflated: bool = False) -> tuple[Column, ...]:
    """Return the columns that rows of `kind` have on the wire, in order."""
    if kind == "trades":
        return SUMMARY_COLUMNS if conflated else TRADE_COLUMNS
    if kind == "quotes":
        return QUOTE_UPDATE_COLUMNS if conflated else QUOTE_COLUMNS
    return SUMMARY_COLUMNS


def scales_of(instrument: Instrument, kind: str, conflated: bool = False) -> tuple[int, ...]:
    """Return the scale of each of `columns_of(kind, conflated)` for one instrument."""
    return tuple(instrument.scale(column.quantity) for column in columns_of(kind, conflated))


@dataclass(frozen=True, slots=True)
class Ticks:
    """Rows of one kind, any symbols mixed, in the order in which they happened.

    `symbols[codes[i]]` is row i's symbol; codes are integers of any width. `columns` are int64 arrays of equal length,
    those of `columns_of(kind)` at the symbols' scales. A feed that emits the same `symbols` tuple again and again is
    served fastest: pass the same object. Raises ValueError when lengths differ or a column is not made of integers (a
    float, and so a NaN, never gets in).
    """

    kind: str
    symbols: tuple[str, ...]
    codes: Array
    columns: tuple[Ints, ...]
    interval_s: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, not {self.kind!r}")
        if type(self.symbols) is not tuple:
            raise ValueError(f"symbols: expected a tuple, not {type(self.symbols).__name__}")
        wanted = columns_of(self.kind)
        if len(self.columns) != len(wanted):
            raise ValueError(f"{self.kind} have {len(wanted)} columns, not {len(self.columns)}")
        if not isinstance(self.codes, np.ndarray) or self.codes.dtype.kind not in "iu" or self.codes.ndim != 1:
            raise ValueError(f"codes: expected integers, not {_described(self.codes)}, in one dimension")
        for column, values in zip(wanted, self.columns, strict=True):
            if not isinstance(values, np.ndarray) or values.dtype != np.int64:
                raise ValueError(f"{column.name}: expected int64, not {_described(values)}{_advice(values)}")
            if values.shape != self.codes.shape:
                raise ValueError(f"{column.name}: {len(values)} rows beside {len(self.codes)} codes")

    def __len__(self) -> int:
        return len(self.codes)


def _described(values: object) -> str:
    return str(values.dtype) if isinstance(values, np.ndarray) else type(values).__name__


def _advice(values: object) -> str:
    is_float = isinstance(values, np.ndarray) and values.dtype.kind == "f"
    return ": floats are no exact numbers, a TickWriter takes them by their shortest decimal" if is_float else ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Adjacent rows of one channel, as a client reads them.

    `columns` are arrays (int64; float64 for sums beyond 64 bits) of the whole numbers on the wire, `scales` their
    decimal digits. A conflated row of trades or quotes stands for `count` rows.
    """

    channel: Channel
    epoch: str
    seq: int
    columns: tuple[Array, ...]
    scales: tuple[int, ...]
    conflated: bool = False

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in columns_of(self.channel.kind, self.conflated))

    @property
    def next_seq(self) -> int:
        """The number of the row after the last one that this batch stands for."""
        if self.conflated and self.channel.kind != "bars":
            return self.seq + int(self.columns[-1].sum())
        return self.seq + len(self)

    def integers(self, name: str) -> Array:
        """Return a column as it came: whole numbers at its scale."""
        return self.columns[self.names.index(name)]

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """Return a column as float64: the double nearest to each exact decimal, for integers up to 2**53 at a scale up
        to 22 (10**22 is the last power of ten that a double holds); beyond that good to 15 digits."""
        i = self.names.index(name)
        return np.asarray(self.columns[i], np.float64) / 10.0 ** self.scales[i]

    def decimals(self, name: str) -> list[Decimal]:
        """Return a column as exact Decimals, whatever the precision of the caller's decimal context."""
        i = self.names.index(name)
        return [Decimal(value).scaleb(-self.scales[i], _EXACT) for value in self.columns[i].tolist()]

    def __iter__(self) -> Iterator[Any]:
        """Yield a Trade, Quote, QuoteUpdate or Bar for each row: time as UNIX nanoseconds, other values as Decimals."""
        names, nanoseconds = self.names, 10 ** (9 - self.scales[0])
        times = [time * nanoseconds for time in self.columns[0].tolist()]
        return map(row_type(self.channel.kind, self.conflated), times, *(self.decimals(name) for name in names[1:]))


_EXACT = Context(prec=60)
"""Holds every digit of a sum: a float64 beyond 64 bits is a whole number of some 40 digits here."""


def row_type(kind: str, conflated: bool) -> Any:
    """Return the class of one row of this kind."""
    if kind == "quotes":
        return QuoteUpdate if conflated else Quote
    return Trade if kind == "trades" and not conflated else Bar


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """All rows of one series that one flush numbered, sorted by symbol in shared columns (a CSR layout).

    Run i is the rows `offsets[i]:offsets[i + 1]`, one at least, of the symbol number `symbols[i]` (ascending), numbered
    from `seqs[i]`. `missed[i]` rows directly before them were lost before they reached this server (`missed` is None
    when none were). A conflated row of trades or quotes stands for `count` rows. A symbol stands twice where rows are
    missed in between.

    `number` counts the flushes of an epoch. `estimates`, for summaries, are the float64 values of `volume` and
    `notional`, NaN where the int64 column is exact; None where all are. Making a block makes its arrays read-only.
    """

    series: Series
    epoch: str
    number: int
    symbols: Ints
    offsets: Ints
    seqs: Ints
    columns: tuple[Array, ...]
    missed: Ints | None = None
    conflated: bool = False
    estimates: tuple[Array, Array] | None = None
    folded: list[tuple[Array, ...]] = field(default_factory=list, init=False, repr=False)
    """What the runs amount to, if whoever made the block had to work it out, so that `fold_of` needn't do it again. A
    block that `replace` makes begins without."""

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def counts(self) -> Ints:
        """Rows of each run."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def rows(self) -> Ints:
        """How many rows of its channel each run stands for: more than it has where trades or quotes are conflated."""
        if not self.conflated or self.series.kind == "bars":
            return self.counts
        return np.add.reduceat(self.columns[-1], self.offsets[:-1])

    def select(self, wanted: Array) -> Block:
        """Return the runs for which the mask `wanted` (one bool a run) is set, as a block; self if all are."""
        if wanted.all():
            return self
        runs = np.flatnonzero(wanted)
        counts = self.counts[runs]
        rows = run_indices(self.offsets[runs], counts)
        return replace(
            self,
            symbols=self.symbols[runs],
            offsets=offsets_of(counts),
            seqs=self.seqs[runs],
            columns=tuple(column[rows] for column in self.columns),
            missed=None if self.missed is None else self.missed[runs],
            estimates=None if self.estimates is None else (self.estimates[0][rows], self.estimates[1][rows]),
        )

    @property
    def nbytes(self) -> int:
        """What the block occupies, its objects' own size included."""
        arrays = {id(array): array for array in (*self._arrays(), *(array for fold in self.folded for array in fold))}
        return sum(array.nbytes + 112 for array in arrays.values()) + 300

    def _arrays(self) -> Iterator[Array]:
        yield from (self.symbols, self.offsets, self.seqs, *self.columns, *(self.estimates or ()))
        if self.missed is not None:
            yield self.missed


def offsets_of(counts: Ints) -> Ints:
    """Return the CSR offsets of runs of these lengths: one more than there are runs, from 0."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def run_indices(starts: Ints, counts: Ints) -> Ints:
    """Return the indices `starts[0], starts[0] + 1, …` of all runs, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def run_starts(keys: Array, *more: Array) -> Ints:
    """Return where runs of equal neighbours begin: rows that differ from the one before them in any of the keys."""
    edge = np.empty(len(keys), bool)
    edge[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=edge[1:])
    for each in more:
        edge[1:] |= each[1:] != each[:-1]
    return np.flatnonzero(edge)
