"""Reads text files of cells between commas, semicolons or tabs, by pyarrow's CSV parser."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.csv

from feeds.csv_reader import WIDE_DECIMAL, Reader, Refused
from feeds.csv_text import Piece, pieces
from feeds.csv_time_plan import UNITS

_CUTS = 16
_SMALL_BYTES = 1 << 12


class DelimitedReader(Reader[Piece]):
    """Reads one text file."""

    def _pieces(self, on_read: Callable[[int], None] | None, size: int) -> Iterator[Piece]:
        return pieces(self.plan.path, self.plan.separator, self.plan.skip_lines, size, on_read)

    def _cut(self, piece: Piece) -> Iterator[Piece]:
        size = len(piece.data)
        return piece.cut(self.plan.separator, max(size // _CUTS, _SMALL_BYTES)) if size > _SMALL_BYTES else iter(())

    def _columns(self, piece: Piece) -> dict[int, pa.Array]:
        plan = self.plan
        types = {i: pa.decimal128(WIDE_DECIMAL, self.scales.text(role)) for role, i in self._roles if i is not None}
        types |= {i: pa.string() for i in plan.time.columns}
        if plan.time.unit:
            decimals = UNITS[plan.time.unit]
            types[plan.time.columns[0]] = pa.int64() if self.whole_times else pa.decimal128(WIDE_DECIMAL, decimals)
        if plan.symbol_column is not None:
            types[plan.symbol_column] = pa.dictionary(pa.int32(), pa.string())
        names = [str(i) for i in range(plan.width)]
        table = pyarrow.csv.read_csv(
            pa.BufferReader(piece.data),
            read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(piece.data) + 1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(delimiter=plan.separator, newlines_in_values=b'"' in piece.data),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={names[i]: type_ for i, type_ in types.items()},
                include_columns=[names[i] for i in types],
                null_values=[],
                strings_can_be_null=False,
                decimal_point="," if plan.decimal_comma else ".",
            ),
        )
        if not table.num_rows:
            raise Refused
        return {i: table.column(names[i]).chunk(0) for i in types}

    def _cells(self, piece: Piece) -> Iterator[tuple[int, list[str]]]:
        text = io.StringIO(piece.data.decode("utf-8", "replace"), newline="")
        reader = csv.reader(text, delimiter=self.plan.separator)
        before = 0
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = [str(error)]
            line, before = piece.line + before, reader.line_num
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield line, cells
