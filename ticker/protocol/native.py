"""The subprotocol `ticker.v1.msgpack`: maps for control, arrays of packed columns for data (protocol, section 5).

A block is encoded at once: minima and maxima of all runs by `reduceat`, each column narrowed once per width in use;
what is left for each run is slicing bytes and one msgpack call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from ticker.columns import Array, Block, Ints, offsets_of
from ticker.protocol.codec import Catalogue, Snapshot
from ticker.protocol.frames import BINARY, frame
from ticker.protocol.messages import MessageError
from ticker.protocol.untrusted import DEPTH, Unreadable, read_msgpack

MESSAGE_ROWS = 8192
"""Rows a message holds at most: eight columns of eight bytes stay below 1 MiB."""
_FLOAT_COLUMNS = (5, 6)  # volume and notional among the columns of a summary
_NOTHING = b""


class MsgpackCodec:
    """Encodes control messages and blocks as binary frames."""

    subprotocol = "ticker.v1.msgpack"

    def __init__(self) -> None:
        self._pack = msgpack.Packer(default=_pack_snapshot).pack

    def decode(self, data: str | bytes) -> dict[Any, Any]:
        if isinstance(data, str):
            raise MessageError("a text frame on a msgpack connection")
        try:
            message = read_msgpack(data)
        except Unreadable as error:
            raise MessageError(f"the message is not msgpack of {DEPTH} levels at most") from error
        if not isinstance(message, dict):
            raise MessageError("the message is not a map")
        return message

    def control(self, message: Mapping[str, Any]) -> bytes:
        return frame(BINARY, self._pack(message))

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        if block.missed is None and block.estimates is None and int(block.counts.max()) <= MESSAGE_ROWS:
            return self._messages(block, catalogue)
        return self._with_exceptions(block, catalogue)

    def join(self, parts: Sequence[bytes], rows: Sequence[int]) -> bytes:
        return b"".join(parts)

    def _messages(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        """Return one data message a run."""
        pack = self._pack
        channels = catalogue.channels(block.series, block.conflated, block.symbols).tolist()
        head = (channels, block.seqs.tolist(), block.counts.tolist())
        if len(block) == len(block.symbols):
            bodies = [part for column in block.columns for part in (column.tolist(), [_NOTHING] * len(channels))]
        else:
            bodies = [part for column in block.columns for part in _packed(column, block.offsets)]
        return [frame(BINARY, pack(message)) for message in zip(*head, *bodies, strict=True)]

    def _with_exceptions(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        """Return the frames of each run where some run has a gap before it, a sum beyond 64 bits or too many rows."""
        channels = catalogue.channels(block.series, block.conflated, block.symbols).tolist()
        parts = []
        for run, channel in enumerate(channels):
            part = b""
            if block.missed is not None and block.missed[run]:
                gap = {"type": "gap", "channel": channel, "seq": int(block.seqs[run]), "missed": int(block.missed[run])}
                part = self.control(gap)
            first, end = int(block.offsets[run]), int(block.offsets[run + 1])
            seq = int(block.seqs[run])
            for start in range(first, end, MESSAGE_ROWS):
                rows = slice(start, min(start + MESSAGE_ROWS, end))
                part += self._message(channel, seq, block, rows)
                seq += _rows_of(block, rows)
            parts.append(part)
        return parts

    def _message(self, channel: int, seq: int, block: Block, rows: slice) -> bytes:
        message: list[Any] = [channel, seq, rows.stop - rows.start]
        bounds = offsets_of(np.array([rows.stop - rows.start]))
        for number, column in enumerate(block.columns):
            floats = _beyond_64_bits(block, number, rows)
            if floats is not None:
                message += [0.0, floats.astype("<f8").tobytes()]
            else:
                (base,), (offsets,) = _packed(column[rows], bounds)
                message += [base, offsets]
        return frame(BINARY, self._pack(message))


def _pack_snapshot(value: object) -> Sequence[int | float]:
    if isinstance(value, Snapshot):
        return value.values
    raise TypeError(f"cannot pack {type(value).__name__}")


def _packed(column: Ints, bounds: Ints) -> tuple[list[int], list[bytes]]:
    """Return the base of each run and its offsets, narrowed to 0, 1, 2, 4 or 8 bytes each."""
    starts = bounds[:-1]
    base = np.minimum.reduceat(column, starts)
    # The difference of two int64 fits uint64, and so does the wrapped subtraction seen as one.
    span = (np.maximum.reduceat(column, starts) - base).view(np.uint64)
    offsets = (column - np.repeat(base, np.diff(bounds))).view(np.uint64)
    width_of = np.array([0, 1, 2, 4, 8])[np.searchsorted(_SPANS, span)]
    narrow = {width: offsets.astype(f"<u{width}").tobytes() for width in np.unique(width_of).tolist() if width}
    narrow[0] = _NOTHING
    edges = bounds.tolist()
    packed = [
        narrow[width][first * width : end * width]
        for width, first, end in zip(width_of.tolist(), edges, edges[1:], strict=False)
    ]
    return base.tolist(), packed


_SPANS = np.array([0, 2**8 - 1, 2**16 - 1, 2**32 - 1], np.uint64)
"""The largest difference that offsets of 0, 1, 2 and 4 bytes hold."""


def _rows_of(block: Block, rows: slice) -> int:
    if block.conflated and block.series.kind != "bars":
        return int(block.columns[-1][rows].sum())
    return int(rows.stop - rows.start)


def _beyond_64_bits(block: Block, number: int, rows: slice) -> Array | None:
    """Return a sum column's rows as float64 if any of them doesn't fit 64 bits, else None."""
    if block.estimates is None or number not in _FLOAT_COLUMNS:
        return None
    estimates = block.estimates[number - _FLOAT_COLUMNS[0]][rows]
    exact = np.isnan(estimates)
    if exact.all():
        return None
    return np.where(exact, block.columns[number][rows].astype(np.float64), estimates)
