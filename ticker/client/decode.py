"""Server messages to values: maps, columns of rows, and what a channel's description says (protocol, sections 4, 5, 7).

Everything that a server could get wrong ends in a ProtocolError, never in another exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

from ticker.client.errors import ProtocolError
from ticker.columns import Array, Batch, columns_of, scales_of
from ticker.model import KINDS, Channel, Instrument

SUBPROTOCOL = "ticker.v1.msgpack"
MOST_ROWS = 1 << 24
"""Rows of a message that are believed: columns of width 0 cost a server nothing and would fill a client's memory."""

_OFFSETS = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
_FLOATS = np.dtype("<f8")
_SUMS = (13, 15)
"""Where `volume` and `notional`, which alone may be floats, have their base in a message of summaries."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the server says of a channel before its first row.

    `number` stands for it in data messages of this connection. `seq` is the next row that will come; `missed` rows
    before it were asked for and cannot be had (None: unknown). `scales` are the decimal digits of the columns that will
    come. `snapshot` is the channel's state before `seq` as a Batch of one row: the summary of this epoch's trades, the
    latest quote, the running bar; None where there is none.
    """

    number: int
    channel: Channel
    conflated: bool
    interval_ms: int | None
    instrument: Instrument
    scales: tuple[int, ...]
    seq: int
    missed: int | None
    snapshot: Batch | None


def unpack(data: str | bytes) -> dict[Any, Any] | list[Any]:
    """Return a message: a map (control) or an array (rows)."""
    if isinstance(data, str):
        raise ProtocolError("a text message on a msgpack connection")
    try:
        message = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError("a message that is not msgpack") from error
    if not isinstance(message, dict | list):
        raise ProtocolError(f"a message that is neither a map nor an array: {type(message).__name__}")
    return message


def head(message: list[Any]) -> tuple[int, int, int]:
    """Return channel number, first row and number of rows of a data message."""
    if len(message) < 5 or any(type(each) is not int for each in message[:3]):
        raise ProtocolError("a data message begins with channel, seq and n")
    number, seq, n = message[:3]
    if not (0 <= seq < 1 << 63 and 1 <= n <= MOST_ROWS):
        raise ProtocolError(f"a data message with seq {seq} and n {n}")
    return number, seq, n


def columns(message: list[Any], n: int, width: int) -> tuple[Array, ...]:
    """Return the `width` columns of a data message of `n` rows: int64 arrays, float64 for sums beyond 64 bits."""
    if len(message) != 3 + 2 * width:
        raise ProtocolError(f"a data message of {(len(message) - 3) / 2:g} columns where {width} were described")
    try:
        return tuple([_column(message[i], message[i + 1], n, i in _SUMS) for i in range(3, len(message), 2)])
    except (TypeError, OverflowError, ValueError) as error:
        raise ProtocolError(f"a column that cannot be read: {error}") from error


def _column(base: Any, offsets: Any, n: int, is_sum: bool) -> Array:
    if type(offsets) is not bytes:
        raise TypeError("offsets are no bin")
    if type(base) is int:
        if not offsets:
            return np.array([base], np.int64) if n == 1 else np.full(n, base, np.int64)
        width, rest = divmod(len(offsets), n)
        if rest or width not in _OFFSETS:
            raise ValueError(f"{len(offsets)} bytes of offsets for {n} rows")
        values = np.frombuffer(offsets, _OFFSETS[width]).astype(np.int64)
        values += base  # wraps modulo 2**64, as the protocol says
        return values
    if type(base) is not float or not is_sum:
        raise TypeError(f"base is {base!r}")
    if len(offsets) != 8 * n:
        raise ValueError(f"{len(offsets)} bytes of floats for {n} rows")
    return np.frombuffer(offsets, _FLOATS)


def describe(entry: Any, epoch: str) -> Description:
    """Return what an entry of `subscribed`, or a `channel` message, says."""
    try:
        kind, conflated = entry["kind"], _conflated(entry["mode"])
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}")
        channel = Channel(kind, _typed(entry["symbol"], str), _typed(entry["interval_s"], int) if kind == "bars" else 0)
        scales = _scales(entry["columns"], kind, conflated)
        instrument = _instrument(channel.symbol, scales, kind, conflated)
        seq, missed = _count(entry["seq"]), entry["missed"]
        return Description(
            number=_typed(entry["channel"], int),
            channel=channel,
            conflated=conflated,
            interval_ms=_typed(entry["interval_ms"], int) if conflated else None,
            instrument=instrument,
            scales=scales,
            seq=seq,
            missed=None if missed is None else _count(missed),
            snapshot=_snapshot(entry.get("snapshot"), channel, epoch, seq, instrument),
        )
    except KeyError as error:
        raise ProtocolError(f"a channel's description lacks {error}") from error
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ProtocolError(f"a channel's description that cannot be read: {error}") from error


def _typed(value: Any, wanted: type) -> Any:
    if type(value) is not wanted:
        raise TypeError(f"{value!r} is no {wanted.__name__}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError(f"{value!r} is no number of rows")
    return value


def _conflated(mode: Any) -> bool:
    if mode not in ("all", "conflated"):
        raise ValueError(f"mode {mode!r}")
    return bool(mode == "conflated")


def _scales(described: Any, kind: str, conflated: bool) -> tuple[int, ...]:
    names = [name for name, _ in described]
    if names != [column.name for column in columns_of(kind, conflated)]:
        raise ValueError(f"columns {names} for {kind}")
    return tuple(_typed(scale, int) for _, scale in described)


def _instrument(symbol: str, scales: Sequence[int], kind: str, conflated: bool) -> Instrument:
    """Return the symbol's scales, read off the first column of each quantity."""
    by_quantity: dict[str, int] = {}
    for column, scale in zip(columns_of(kind, conflated), scales, strict=True):
        by_quantity.setdefault(column.quantity, scale)
    return Instrument(symbol, by_quantity["price"], by_quantity["size"], by_quantity["time"])


def _snapshot(values: Any, channel: Channel, epoch: str, seq: int, instrument: Instrument) -> Batch | None:
    """Return the snapshot as a Batch: of trades and bars a summary, of quotes a plain quote."""
    if values is None:
        return None
    summary = channel.kind != "quotes"
    scales = scales_of(instrument, channel.kind, summary)
    if len(values) != len(scales):
        raise ValueError(f"a snapshot of {len(values)} columns")
    for value in values:
        if type(value) not in (int, float):
            raise TypeError(f"{value!r} in a snapshot")
    arrays = tuple(np.array([value], np.float64 if type(value) is float else np.int64) for value in values)
    stands_for = int(arrays[-1][0]) if summary else 1
    first = seq if channel.kind == "bars" else max(0, seq - stands_for)
    return Batch(channel, epoch, first, arrays, scales, summary)


def welcome_epoch(message: Mapping[Any, Any]) -> str:
    """Return a welcome's epoch. Raises ProtocolError for a protocol that is not version 1."""
    if message.get("protocol") != 1:
        raise ProtocolError(
            f"the server speaks version {message.get('protocol')!r} of the protocol, this client version 1"
        )
    epoch = message.get("epoch")
    if not isinstance(epoch, str) or not epoch:
        raise ProtocolError("a welcome without an epoch")
    return epoch
