"""The commits of a segment: what was written, in order. A flush without its record here was never offered to anyone.

A file of records behind a first line. A record is its payload's length and CRC-32, the CRC-32 of these eight bytes
(little-endian, 32 bits each), and the payload: a msgpack array of the record's kind and fields.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

OPEN = b"tickercast journal 1 open \n"
"""The first line of a segment that has all that its server offered."""
ENDED = b"tickercast journal 1 ended\n"
"""The first line once it hasn't: it is written over the other, which needs no room on a full disk."""
_HEAD = struct.Struct("<II")
_CRC = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _CRC.size


class Piece(NamedTuple):
    """What was appended to one of the segment's files: 0 is that of the symbols, then those of the series."""

    file: int
    size: int
    crc: int
    rows: int


class Head(NamedTuple):
    """The first record: what the segment goes on with, and the beginnings of its files."""

    epoch: str
    series: Sequence[tuple[str, int]]
    feed: str
    identity: str | None
    boot: str
    is_synced: bool
    """Whether each flush is on the disk before it is offered."""
    flushes: int
    at_ns: int
    clock_ns: int | None
    taken: Sequence[int]
    pieces: Sequence[Piece]


class Flush(NamedTuple):
    """A flush: when it was made, the feed's clock, rows that the feed had emitted of each series, what it wrote."""

    number: int
    at_ns: int
    clock_ns: int | None
    taken: Sequence[int]
    pieces: Sequence[Piece]


class Symbols(NamedTuple):
    """Symbols that were announced."""

    pieces: Sequence[Piece]


class Gap(NamedTuple):
    """Rows before a symbol's next one that were lost before they reached the server."""

    series: int
    symbol: int
    missed: int


class End(NamedTuple):
    """The server stopped: all that it offered is here, and on the disk."""


Record = Head | Flush | Symbols | Gap | End
_KINDS: tuple[Any, ...] = (Head, Flush, Symbols, Gap, End)


def pack(record: Record) -> bytes:
    """Return a record's bytes."""
    payload: bytes = msgpack.packb([_KINDS.index(type(record)), *record])
    head = _HEAD.pack(len(payload), zlib.crc32(payload))
    return head + _CRC.pack(zlib.crc32(head)) + payload


class Commits(NamedTuple):
    """What a file of commits says."""

    records: list[Record]
    size: int
    """Bytes up to the end of the last good record."""
    torn: int
    """Bytes behind them that are the beginning of another record: its write was cut short."""
    damage: str
    """What is wrong there, if anything else is; "" if nothing is."""
    is_at_end: bool
    """Whether the damage is that of the last record, or only zeros, as a machine leaves what it didn't get to write."""
    has_ended: bool

    @property
    def flushes(self) -> int:
        """How many flushes the epoch has had at the end of this."""
        last = next((each for each in reversed(self.records) if isinstance(each, Flush)), None)
        return last.number + 1 if last is not None else self.head.flushes

    @property
    def head(self) -> Head:
        """The first record. Not to be asked where there is none."""
        head = self.records[0]
        assert isinstance(head, Head)
        return head

    @property
    def pieces(self) -> list[Piece]:
        """All that was appended to the files, in order."""
        return [piece for each in self.records if isinstance(each, Head | Flush | Symbols) for piece in each.pieces]


def read(data: bytes) -> Commits:
    """Return what a file of commits says, as far as it can be read."""
    first = data[: len(OPEN)]
    if first not in (OPEN, ENDED):
        is_torn = OPEN.startswith(first)
        return Commits([], 0, len(data) if is_torn else 0, "" if is_torn else "its first line is another", False, False)
    records: list[Record] = []
    at, damage = len(OPEN), ""
    while not damage and len(data) - at >= _HEAD_BYTES:
        size, crc = _HEAD.unpack_from(data, at)
        start = at + _HEAD_BYTES
        if zlib.crc32(data[at : at + _HEAD.size]) != _CRC.unpack_from(data, at + _HEAD.size)[0]:
            damage = f"the CRC of a record's head is wrong at byte {at}"
        elif start + size > len(data):
            break
        elif zlib.crc32(data[start : start + size]) != crc:
            damage = f"the CRC of a record is wrong at byte {at}"
        elif (record := _unpack(data[start : start + size], is_first=not records)) is None:
            damage = f"no record at byte {at}"
        else:
            records.append(record)
            at = start + size
    rest = len(data) - at
    is_last = rest >= _HEAD_BYTES and at + _HEAD_BYTES + _HEAD.unpack_from(data, at)[0] >= len(data)
    is_at_end = is_last or not any(data[at:])
    return Commits(records, at, 0 if damage else rest, damage, is_at_end, first == ENDED)


def _unpack(payload: bytes, is_first: bool) -> Record | None:
    try:
        kind, *fields = msgpack.unpackb(payload)
        record: Record = _KINDS[kind](*fields)
    except (ValueError, TypeError, IndexError):
        return None
    if isinstance(record, Head) != is_first:
        return None
    if isinstance(record, Head | Flush | Symbols):
        record = record._replace(pieces=[Piece(*piece) for piece in record.pieces])
    return record
