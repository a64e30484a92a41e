"""Alpaca's two codecs have this in common: rows encoded once, joined to one array in one frame; control maps alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ticker.columns import Block
from ticker.protocol.alpaca_rows import LAYOUTS, Layout, Scales
from ticker.protocol.codec import Catalogue
from ticker.protocol.frames import frame

FRAME_BYTES = 1_000_000
"""What a frame of data may hold: several SDKs close the connection at 1 MiB."""


class AlpacaCodec(ABC):
    """Writes one asset class, of one market's symbols."""

    opcode: int

    def __init__(self, asset_class: str, catalogue: Catalogue) -> None:
        self._layouts: Mapping[str, Layout] = LAYOUTS[asset_class]
        self._scales = Scales(catalogue)

    @abstractmethod
    def decode(self, data: str | bytes) -> dict[Any, Any]:
        """Return a client's map. Raises AlpacaError 400 for anything else."""

    @abstractmethod
    def pack(self, message: Mapping[str, Any]) -> bytes:
        """Return a message by itself."""

    @abstractmethod
    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        """Return the rows of each run, once for everyone. Raises KeyError for a series that has no message here."""

    @abstractmethod
    def array(self, rows: bytes, count: int) -> bytes:
        """Return rows as one array."""

    @abstractmethod
    def ends(self, rows: bytes, count: int) -> Iterator[int]:
        """Yield where each of the rows ends."""

    def control(self, message: Mapping[str, Any]) -> bytes:
        """Return a control message, alone in its frame."""
        return frame(self.opcode, self.array(self.pack(message), 1))

    def join(self, parts: Sequence[bytes], rows: Sequence[int]) -> bytes:
        count = sum(rows)
        if not count:
            return b""
        data = b"".join(parts)
        if len(data) <= FRAME_BYTES:
            return frame(self.opcode, self.array(data, count))
        return b"".join(frame(self.opcode, self.array(*piece)) for piece in self._pieces(parts, rows))

    def _pieces(self, parts: Sequence[bytes], rows: Sequence[int]) -> Iterator[tuple[bytes, int]]:
        """Yield rows that fit a frame each, and how many these are."""
        gathered: list[bytes] = []
        size = count = 0
        for part, of_part in zip(parts, rows, strict=True):
            if size + len(part) > FRAME_BYTES and count:
                yield b"".join(gathered), count
                gathered, size, count = [], 0, 0
            if len(part) > FRAME_BYTES:
                yield from self._cut(part, of_part)
            else:
                gathered.append(part)
                size, count = size + len(part), count + of_part
        if count:
            yield b"".join(gathered), count

    def _cut(self, part: bytes, rows: int) -> Iterator[tuple[bytes, int]]:
        """Yield the same of a part that is too large by itself."""
        first = last = count = 0
        for end in self.ends(part, rows):
            if end - first > FRAME_BYTES:
                yield part[first:last], count
                first, count = last, 0
            last, count = end, count + 1
        yield part[first:], count
