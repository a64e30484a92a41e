"""Reads Parquet files with the columns of the CSV layouts. Doubles are taken by their shortest round-trip decimal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feeds.csv_reader import WIDE_DECIMAL, Reader, Refused
from feeds.csv_recognise import Hints, Plan, plan_of_table
from feeds.csv_table import Table
from feeds.csv_text import BadFileError
from feeds.csv_time_plan import UNITS, TimePlan
from feeds.csv_zones import DAY_NS

_SAMPLE_ROWS = 500
_CUTS = 16
_SMALL_ROWS = 64
_ROW_BYTES = 64


class RowGroup(NamedTuple):
    """Some rows of a file; `row` is the number of the first, from 1."""

    batch: Any
    row: int


def is_parquet(path: str) -> bool:
    """Return whether a file's first bytes say so. Raises BadFileError if it cannot be opened."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise BadFileError(f"{path}: {error.strerror or error}") from None


def plan_of_parquet(path: str, hints: Hints) -> Plan:
    """Return the plan for a Parquet file. Raises BadFileError."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            batch = next(file.iter_batches(_SAMPLE_ROWS), None)
    except (OSError, pa.ArrowException) as error:
        raise BadFileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if batch is None or not batch.num_rows:
        raise BadFileError(f"{path}: empty")
    rows = list(zip(*(_texts(column) for column in batch.columns), strict=True))
    plan = plan_of_table(Table(path, tuple(schema.names), rows), hints)
    type_ = schema.field(plan.time.columns[0]).type
    if pa.types.is_temporal(type_) and not pa.types.is_time(type_):
        naive = pa.types.is_timestamp(type_) and type_.tz is None
        time = TimePlan(plan.time.columns[:1], "ns", zone=plan.time.zone, naive=naive)
        return replace(plan, time=time)
    return plan


def doubles_of(plan: Plan) -> list[str]:
    """Return the number columns of a Parquet file that are binary floating point, by role."""
    schema = pq.read_schema(plan.path)
    return [role for role, i in plan.roles.items() if pa.types.is_floating(schema.field(i).type)]


class ParquetReader(Reader[RowGroup]):
    """Reads one Parquet file."""

    unit = "row"

    def _pieces(self, on_read: Callable[[int], None] | None, size: int) -> Iterator[RowGroup]:
        try:
            with pq.ParquetFile(self.plan.path, pre_buffer=False) as file:
                row, total = 1, max(1, file.metadata.num_rows)
                self._names = file.schema_arrow.names
                wanted = {*self.plan.time.columns, *self.plan.roles.values()}
                if self.plan.symbol_column is not None:
                    wanted.add(self.plan.symbol_column)
                names = [self._names[i] for i in sorted(wanted)]
                bytes_in_all = file.metadata.serialized_size + sum(
                    file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)
                )
                for batch in file.iter_batches(max(256, size // _ROW_BYTES), columns=names):
                    yield RowGroup(batch, row)
                    row += batch.num_rows
                    if on_read:
                        on_read(bytes_in_all * (row - 1) // total)
        except (OSError, pa.ArrowException) as error:
            raise BadFileError(f"{self.plan.path}: cannot be read: {str(error).splitlines()[0]}") from None

    def _cut(self, piece: RowGroup) -> Iterator[RowGroup]:
        rows = max(piece.batch.num_rows // _CUTS, _SMALL_ROWS)
        for start in range(0, piece.batch.num_rows, rows):
            yield RowGroup(piece.batch.slice(start, rows), piece.row + start)

    def _columns(self, piece: RowGroup) -> dict[int, pa.Array]:
        plan = self.plan
        if not piece.batch.num_rows:
            raise Refused
        columns: dict[int, pa.Array] = {}
        for role, i in self._roles:
            if i is not None:
                columns[i] = _decimals(self._column(piece, i), self.scales.text(role))
        for i in plan.time.columns:
            column = self._column(piece, i)
            columns[i] = _strings(column)
            if i == plan.time.columns[0] and plan.time.unit:
                columns[i] = _numeric_times(column, UNITS[plan.time.unit])
        if plan.symbol_column is not None:
            columns[plan.symbol_column] = _strings(self._column(piece, plan.symbol_column)).dictionary_encode()
        return columns

    def _column(self, piece: RowGroup, i: int) -> pa.Array:
        column = piece.batch.column(self._names[i])
        if column.null_count:
            raise Refused
        return column

    def _cells(self, piece: RowGroup) -> Iterator[tuple[int, list[str]]]:
        known = {name: _texts(piece.batch.column(name)) for name in piece.batch.schema.names}
        time = self._names[self.plan.time.columns[0]]
        if self.plan.time.unit and pa.types.is_temporal(piece.batch.column(time).type):
            known[time] = _nanoseconds(piece.batch.column(time))
        columns = [known.get(name, [""] * piece.batch.num_rows) for name in self._names]
        for i, cells in enumerate(zip(*columns, strict=True)):
            yield piece.row + i, list(cells)


def _decimals(column: pa.Array, scale: int) -> pa.Array:
    """Return a column of any kind of numbers as exact decimals. Raises ArrowInvalid where that cannot be."""
    wide = pa.decimal128(WIDE_DECIMAL, scale)
    if pa.types.is_integer(column.type):
        return column.cast(pa.decimal128(20, 0)).cast(wide) if pa.types.is_uint64(column.type) else column.cast(wide)
    if pa.types.is_decimal(column.type):
        return column.cast(wide)
    return _strings(column).cast(wide)


def _numeric_times(column: pa.Array, decimals: int) -> pa.Array:
    if pa.types.is_temporal(column.type):
        return column.cast(pa.timestamp("ns", getattr(column.type, "tz", None))).cast(pa.int64())
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    return _decimals(column, decimals)


def _nanoseconds(column: pa.Array) -> list[str]:
    """Return timestamps or dates as the text of whole nanoseconds; "" for a null."""
    if pa.types.is_date32(column.type):
        column, unit = column.cast(pa.int32()), DAY_NS
    else:
        unit = 10 ** UNITS[getattr(column.type, "unit", "ms")]  # date64 are milliseconds
        column = column.cast(pa.int64())
    return ["" if value is None else str(value * unit) for value in column.to_pylist()]


def _strings(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def _texts(column: pa.Array) -> list[str]:
    """Return a column as the text that a CSV file would have; "" for a null."""
    if pa.types.is_floating(column.type):
        if column.type == pa.float64():
            return ["" if value is None else repr(value) for value in column.to_pylist()]
        values = column.to_numpy(zero_copy_only=False)
        return ["" if null else str(v) for v, null in zip(values, pc.is_null(column).to_pylist(), strict=True)]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        return ["" if value is None else value.isoformat(" ") for value in column.to_pylist()]
    return ["" if v is None else format(v, "f") if isinstance(v, Decimal) else str(v) for v in column.to_pylist()]
