"""Alpaca's streams in JSON: a line for each row, made from a template for each symbol."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ticker.columns import Array, Block, Ints
from ticker.protocol.alpaca import AlpacaError
from ticker.protocol.alpaca_codec import AlpacaCodec
from ticker.protocol.alpaca_rows import FLOAT, Layout, values
from ticker.protocol.codec import Catalogue
from ticker.protocol.frames import TEXT
from ticker.protocol.untrusted import Unreadable, read_json

_ROW_END = b",\n"


class JsonAlpacaCodec(AlpacaCodec):
    """Writes JSON in text frames; reads it from text and from binary ones."""

    opcode = TEXT

    def __init__(self, asset_class: str, catalogue: Catalogue) -> None:
        super().__init__(asset_class, catalogue)
        self._templates: dict[tuple[str, int], str] = {}

    def decode(self, data: str | bytes) -> dict[Any, Any]:
        try:
            message = read_json(data)
        except Unreadable:
            raise AlpacaError(400) from None
        if not isinstance(message, dict):
            raise AlpacaError(400)
        return message

    def pack(self, message: Mapping[str, Any]) -> bytes:
        return _json(message).encode() + _ROW_END

    def array(self, rows: bytes, count: int) -> bytes:
        return b"[" + rows.removesuffix(_ROW_END) + b"]"

    def ends(self, rows: bytes, count: int) -> Iterator[int]:
        # No text of ours has a line feed in it: JSON escapes them.
        return (found.end() for found in re.finditer(_ROW_END, rows))

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        layout = self._layouts[block.series.kind]
        self._scales.grow()
        lists = [column.tolist() for column in self.columns(block, layout)]
        parts = []
        edges = block.offsets.tolist()
        for symbol, first, end in zip(block.symbols.tolist(), edges, edges[1:], strict=False):
            template = self._template(layout, symbol, catalogue)
            rows = zip(*(column[first:end] for column in lists), strict=True)
            parts.append("".join(map(template.__mod__, rows)).encode())
        return parts

    def columns(self, block: Block, layout: Layout) -> list[Array]:
        """Return what goes into the templates, in order: the variable fields, and the times as text."""
        columns, seconds, nanoseconds = values(block, self._scales, layout)
        return [*columns, rfc3339(seconds, nanoseconds)]

    def objects(self, block: Block) -> list[str]:
        """Return each row of a block without its type and its symbol, as in the answers to requests for history."""
        layout = self._layouts[block.series.kind]
        self._scales.grow()
        template = _template(layout, "")
        return list(map(template.__mod__, zip(*(each.tolist() for each in self.columns(block, layout)), strict=True)))

    def _template(self, layout: Layout, symbol: int, catalogue: Catalogue) -> str:
        key = (layout.type, symbol)
        if key not in self._templates:
            name = _json(catalogue.instruments[symbol].symbol).replace("%", "%%")
            head = f'"T":"{layout.type}","S":{name},'
            self._templates[key] = _template(layout, head) + _ROW_END.decode()
        return self._templates[key]


def rfc3339(seconds: Ints, nanoseconds: Ints) -> Array:
    """Return times as RFC 3339 in UTC, without zeros at the end of a fraction."""
    texts = np.datetime_as_string(seconds.view("M8[s]")).tolist()
    fractions = nanoseconds.tolist()
    return np.array(
        [
            f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"
            for text, fraction in zip(texts, fractions, strict=True)
        ],
        object,
    )


def _template(layout: Layout, head: str) -> str:
    """Return a template of one row that begins with `head`."""
    fields = [
        f'"{field.key}":' + (_json(field.constant) if not field.form else "%r" if field.form == FLOAT else "%d")
        for field in layout.fields
    ]
    return "{" + head + ",".join([*fields, '"t":"%s"']) + "}"


def _json(value: str | Sequence[str] | Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
