"""Blocks, instruments and state as Arrow's record batches, and back.

Numbers stay what they are inside: whole numbers at the scales that the segment's file of symbols tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ticker.columns import Array, Block, Ints, columns_of, run_starts
from ticker.model import Instrument, Series
from ticker.stream.kept import Columns

ESTIMATES = ("volume_float", "notional_float")
"""Columns of bars: sums that 64 bits don't hold, null where they do."""
_TYPES = {"str": pa.string(), "int": pa.int64(), "bool": pa.bool_()}
_FIELDS = [(field.name, _TYPES[str(field.type)]) for field in dataclasses.fields(Instrument)]


def schema_of(series: Series, epoch: str) -> pa.Schema:
    """Return the schema of a series' rows."""
    fields = [pa.field("symbol", pa.string()), pa.field("seq", pa.int64())]
    fields += [pa.field(column.name, pa.int64()) for column in columns_of(series.kind)]
    if series.kind == "bars":
        fields += [pa.field(name, pa.float64()) for name in ESTIMATES]
    return pa.schema(fields, {"epoch": epoch, "kind": series.kind, "interval_s": str(series.interval_s)})


def batch_of(block: Block, names: pa.StringArray, schema: pa.Schema) -> pa.RecordBatch:
    """Return a flush's rows of one series; `names` are the symbols by number."""
    counts = block.counts
    seqs = np.arange(len(block)) + np.repeat(block.seqs - block.offsets[:-1], counts)
    arrays = [names.take(pa.array(np.repeat(block.symbols, counts))), pa.array(seqs)]
    arrays += [pa.array(column) for column in block.columns]
    if block.series.kind == "bars":
        if block.estimates is None:
            arrays += [pa.nulls(len(block), pa.float64())] * 2
        else:
            arrays += [pa.array(estimate, from_pandas=True) for estimate in block.estimates]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def head_of(schema: pa.Schema) -> pa.Buffer:
    """Return the message that a stream of this schema begins with."""
    return schema.serialize()


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one series of a segment, in the order in which they were written."""

    series: Series
    symbols: Ints
    seqs: Ints
    columns: tuple[Ints, ...]
    estimates: tuple[Array, Array] | None

    @classmethod
    def of(cls, series: Series, table: pa.Table, names: pa.StringArray) -> Rows:
        """Return what a file has; `names` are the symbols by number. Raises ValueError if a symbol isn't among them."""
        found = pc.index_in(table.column("symbol"), value_set=names)
        if found.null_count:
            raise ValueError(f"a symbol of {series} was never announced")
        numbers = [table.column(column.name).to_numpy() for column in columns_of(series.kind)]
        estimates = None
        if series.kind == "bars" and any(table.column(name).null_count < len(table) for name in ESTIMATES):
            volume, notional = (table.column(name).to_numpy() for name in ESTIMATES)  # null is NaN there
            estimates = (volume, notional)
        symbols = found.to_numpy().astype(np.int64)
        return cls(series, symbols, table.column("seq").to_numpy(), tuple(numbers), estimates)

    def block(self, start: int, stop: int, epoch: str, number: int) -> Block | None:
        """Return rows `start:stop`, which whole flushes wrote, by symbol; None where a symbol has a gap in them."""
        rows: slice | Ints = slice(start, stop)
        symbols = self.symbols[rows]
        if (symbols[1:] < symbols[:-1]).any():
            order = np.argsort(symbols, kind="stable")
            symbols, rows = symbols[order], order + start
        seqs = self.seqs[rows]
        if ((seqs[1:] != seqs[:-1] + 1) & (symbols[1:] == symbols[:-1])).any():
            return None
        starts = run_starts(symbols)
        estimates = None if self.estimates is None else (self.estimates[0][rows], self.estimates[1][rows])
        if estimates is not None and np.isnan(estimates).all():
            estimates = None
        return Block(
            series=self.series,
            epoch=epoch,
            number=number,
            symbols=symbols[starts],
            offsets=np.append(starts, len(symbols)),
            seqs=seqs[starts],
            columns=tuple(column[rows] for column in self.columns),
            estimates=estimates,
        )


def symbols_schema(columns: Columns, epoch: str) -> pa.Schema:
    """Return the schema of the file of symbols: what an instrument says, then the state."""
    fields = [pa.field(name, type) for name, type in _FIELDS]
    fields += [pa.field(name, pa.from_numpy_dtype(values.dtype)) for name, values in columns.items()]
    return pa.schema(fields, {"epoch": epoch})


def symbols_batch(instruments: Sequence[Instrument], columns: Columns, schema: pa.Schema) -> pa.RecordBatch:
    """Return instruments and their state; those without any have nulls there."""
    arrays = [pa.array([getattr(each, name) for each in instruments], type) for name, type in _FIELDS]
    for field in list(schema)[len(_FIELDS) :]:
        values = columns.get(field.name)
        arrays.append(pa.nulls(len(instruments), field.type) if values is None else pa.array(values))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def instruments_of(table: pa.Table) -> list[Instrument]:
    """Return the instruments of a file of symbols, in their order. Raises ValueError if one cannot be."""
    known = [name for name, _ in _FIELDS if name in table.column_names]
    rows: list[dict[str, Any]] = table.select(known).to_pylist()
    return [Instrument(**row) for row in rows]


def state_of(batch: pa.RecordBatch) -> dict[str, Array]:
    """Return the state in the first batch of a file of symbols."""
    named = dict(zip(batch.schema.names, batch.columns, strict=True))
    others = {name for name, _ in _FIELDS}
    return {name: array.to_numpy(zero_copy_only=False) for name, array in named.items() if name not in others}
