"""Alpaca's streams in msgpack: a message of a row is a map with fields of fixed width, so a column is written at once.

The rows of a block whose symbols and times are equally long differ in their values alone: they are a matrix of bytes, a
copy of one row each, into which the values are written as columns. That is several times as fast as packing a map for
each row, and the bytes are plain msgpack, if not always its shortest form: an integer has the width of its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import msgpack
import numpy as np
import numpy.typing as npt

from ticker.columns import Array, Block, Ints, offsets_of, run_indices
from ticker.protocol.alpaca import AlpacaError
from ticker.protocol.alpaca_codec import AlpacaCodec
from ticker.protocol.alpaca_rows import Layout, values
from ticker.protocol.codec import Catalogue
from ticker.protocol.frames import BINARY
from ticker.protocol.untrusted import Unreadable, read_msgpack

Bytes = npt.NDArray[np.uint8]

_NUMBERS = {"ce": ">u4", "cf": ">u8", "cb": ">f8"}


class MsgpackAlpacaCodec(AlpacaCodec):
    """Writes msgpack in binary frames."""

    opcode = BINARY

    def __init__(self, asset_class: str, catalogue: Catalogue) -> None:
        super().__init__(asset_class, catalogue)
        self._pack = msgpack.Packer(use_bin_type=True).pack
        self._templates: dict[tuple[str, int], _Template] = {}
        self._widths: Ints = np.empty(0, np.int64)
        self._places: Ints = np.empty(0, np.int64)
        self._names: dict[int, Bytes] = {}

    def decode(self, data: str | bytes) -> dict[Any, Any]:
        if isinstance(data, str):
            raise AlpacaError(400)
        try:
            message = read_msgpack(data)
        except Unreadable:
            raise AlpacaError(400) from None
        if not isinstance(message, dict):
            raise AlpacaError(400)
        return message

    def pack(self, message: Mapping[str, Any]) -> bytes:
        packed: bytes = self._pack(message)
        return packed

    def array(self, rows: bytes, count: int) -> bytes:
        if count < 16:
            return bytes((0x90 | count,)) + rows
        if count < 1 << 16:
            return b"\xdc" + count.to_bytes(2, "big") + rows
        return b"\xdd" + count.to_bytes(4, "big") + rows

    def ends(self, rows: bytes, count: int) -> Iterator[int]:
        width, rest = divmod(len(rows), count)
        if not rest and _begin_alike(rows, width):
            yield from range(width, len(rows) + 1, width)
            return
        unpacker = msgpack.Unpacker(max_buffer_size=len(rows))
        unpacker.feed(rows)
        for _ in range(count):
            unpacker.skip()
            yield unpacker.tell()

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        layout = self._layouts[block.series.kind]
        self._scales.grow()
        self._learn_symbols(catalogue)
        columns, seconds, nanoseconds = values(block, self._scales, layout)
        times, time_widths = timestamps(seconds, nanoseconds)
        widths = self._widths[block.symbols]
        if (widths == widths[0]).all():
            return self._alike(layout, int(widths[0]), block.symbols, block.counts, columns, times, time_widths)
        parts = [b""] * len(widths)
        for width in np.unique(widths).tolist():
            runs = np.flatnonzero(widths == width)
            counts = block.counts[runs]
            rows = run_indices(block.offsets[runs], counts)
            some = [column[rows] for column in columns]
            of_times = None if time_widths is None else time_widths[rows]
            made = self._alike(layout, width, block.symbols[runs], counts, some, times[rows], of_times)
            for run, part in zip(runs.tolist(), made, strict=True):
                parts[run] = part
        return parts

    def _alike(
        self,
        layout: Layout,
        symbol_width: int,
        symbols: Ints,
        counts: Ints,
        columns: list[Array],
        times: Bytes,
        time_widths: Ints | None,
    ) -> list[bytes]:
        """Return the rows of runs whose symbols have the same number of bytes."""
        template = self._template(layout, symbol_width)
        head = len(template.row)
        matrix = np.empty((len(times), head + times.shape[1]), np.uint8)
        matrix[:, :head] = template.row
        matrix[:, head:] = times
        names = self._names[symbol_width][self._places[symbols]]
        matrix[:, template.symbol : template.symbol + symbol_width] = np.repeat(names, counts, axis=0)
        fields = matrix.view(template.dtype(matrix.shape[1]))[:, 0]
        for name, column in zip(template.names, columns, strict=True):
            fields[name] = column
        row_ends = offsets_of(counts)
        if time_widths is None:
            data, ends = matrix.tobytes(), row_ends * matrix.shape[1]
        else:
            widths = head + time_widths
            data = matrix[np.arange(matrix.shape[1]) < widths[:, None]].tobytes()
            ends = offsets_of(widths)[row_ends]
        edges = ends.tolist()
        return [data[first:end] for first, end in pairwise(edges)]

    def _template(self, layout: Layout, symbol_width: int) -> _Template:
        key = (layout.type, symbol_width)
        if key not in self._templates:
            self._templates[key] = _Template.of(layout, symbol_width)
        return self._templates[key]

    def _learn_symbols(self, catalogue: Catalogue) -> None:
        """Keep the names of symbols that have appeared: those of equal width in one matrix, each in its place."""
        known = len(self._widths)
        fresh = [each.symbol.encode() for each in catalogue.instruments[known:]]
        if not fresh:
            return
        self._widths = np.append(self._widths, [len(name) for name in fresh])
        self._places = np.append(self._places, np.zeros(len(fresh), np.int64))
        for width in {len(name) for name in fresh}:
            names = [name for name in fresh if len(name) == width]
            before = self._names.get(width, np.empty((0, width), np.uint8))
            places = np.arange(len(before), len(before) + len(names))
            self._places[known + np.flatnonzero(self._widths[known:] == width)] = places
            added = np.frombuffer(b"".join(names), np.uint8).reshape(-1, width)
            self._names[width] = np.concatenate((before, added))


class _Template(NamedTuple):
    """A row without its time's value: its bytes, where the symbol stands in it, and the numbers that vary."""

    row: Bytes
    symbol: int
    names: list[str]
    formats: list[str]
    offsets: list[int]

    @classmethod
    def of(cls, layout: Layout, symbol_width: int) -> _Template:
        """Return the row of a layout for symbols of so many bytes."""
        pack = msgpack.packb
        symbol = pack("x" * symbol_width)
        row = bytes((0x80 | len(layout.fields) + 3,)) + pack("T") + pack(layout.type) + pack("S") + symbol
        at = len(row) - symbol_width
        names, formats, offsets = [], [], []
        for field in layout.fields:
            row += pack(field.key)
            if not field.form:
                row += pack(field.constant)
                continue
            row += bytes.fromhex(field.form)
            names.append(field.key)
            formats.append(_NUMBERS[field.form])
            offsets.append(len(row))
            row += bytes(np.dtype(formats[-1]).itemsize)
        return cls(np.frombuffer(row + pack("t"), np.uint8), at, names, formats, offsets)

    def dtype(self, width: int) -> np.dtype[Any]:
        """Return the numbers' places in rows of so many bytes."""
        return np.dtype(
            {"names": self.names, "formats": self.formats, "offsets": self.offsets, "itemsize": width}  # type: ignore[call-overload, unused-ignore]
        )


def timestamps(seconds: Ints, nanoseconds: Ints) -> tuple[Bytes, Ints | None]:
    """Return times as msgpack's extension -1, in the shortest form of each, a row each; and the widths of these, None
    if all are as wide as the matrix."""
    whole = (nanoseconds == 0) & (seconds >= 0) & (seconds < 1 << 32)
    if whole.all():
        return _form(b"\xd6\xff", (">u4", seconds)), None
    usual = (seconds >= 0) & (seconds < 1 << 34)
    if usual.all() and not whole.any():
        return _form(b"\xd7\xff", (">u8", nanoseconds << 34 | seconds)), None
    widths = np.where(whole, 6, np.where(usual, 10, 15))
    times = np.zeros((len(seconds), int(widths.max())), np.uint8)
    for width, rows in ((6, whole), (10, usual & ~whole), (15, ~usual)):
        if rows.any():
            times[rows, :width] = _long(seconds[rows], nanoseconds[rows], width)
    return times, widths


def _long(seconds: Ints, nanoseconds: Ints, width: int) -> Bytes:
    if width == 6:
        return _form(b"\xd6\xff", (">u4", seconds))
    if width == 10:
        return _form(b"\xd7\xff", (">u8", nanoseconds << 34 | seconds))
    return _form(b"\xc7\x0c\xff", (">u4", nanoseconds), (">i8", seconds))


def _form(head: bytes, *numbers: tuple[str, Ints]) -> Bytes:
    """Return rows of `head` and these numbers."""
    count = len(numbers[0][1])
    matrix = np.empty((count, len(head) + sum(int(form[2]) for form, _ in numbers)), np.uint8)
    matrix[:, : len(head)] = np.frombuffer(head, np.uint8)
    at = len(head)
    for form, column in numbers:
        width = int(form[2])
        matrix[:, at : at + width] = column.astype(form).view(np.uint8).reshape(count, width)
        at += width
    return matrix


def _begin_alike(rows: bytes, width: int) -> bool:
    """Tell whether a row begins after every `width` bytes: all have the same first seven, up to the key `S`."""
    heads = np.frombuffer(rows, np.uint8).reshape(-1, width)[:, :7]
    return bool((heads == heads[0]).all())
