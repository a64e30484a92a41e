"""Clients that get the same bytes: one codec, one mode, one set of channels. Their frames are joined once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.protocol.codec import Catalogue, RowCodec
from ticker.stream.outbox import Entry, Outbox
from ticker.stream.packed import Packed, Store, packed_ints

Part = tuple[Series, tuple[int, ...] | None]
"""The channels of one series: symbol numbers, ascending, or None for all there are."""
Parts = tuple[Part, ...]
Getter = Callable[[Any], tuple[Any, ...]]
"""Returns some items, those of its symbols, of what has one for each symbol number."""
Share = tuple[bytes, int, Entry | None]
"""What a client gets, as one piece: the bytes, how many rows that is, and what of it the books need to know."""
NO_SHARE: Share = (b"", 0, None)

_EMPTY = b""


class Encoded:
    """A block as parts of frames of one codec, by symbol number: made once for everyone."""

    __slots__ = ("_entries", "all_rows", "everything", "frames", "rows")

    everything: Sequence[bytes] | Packed
    """All parts."""
    all_rows: Sequence[int] | memoryview[int]
    """How many rows each of these stands for."""
    frames: Sequence[bytes] | Packed
    """All parts of each symbol number, as one."""
    rows: Sequence[int] | memoryview[int]
    """How many rows each of these stands for."""

    def __init__(self, codec: RowCodec, block: Block, catalogue: Catalogue, next_seqs: Ints | None = None) -> None:
        """Encode a block; `next_seqs`, by run, are the numbers that bars have not reached which still run."""
        size = len(catalogue.instruments)
        parts, counts = codec.encode(block, catalogue), block.rows.tolist()
        frames, rows = [_EMPTY] * size, [0] * size
        for symbol, part, count in zip(block.symbols.tolist(), parts, counts, strict=True):
            # A symbol stands twice where rows are missed in between.
            frames[symbol] = frames[symbol] + part if frames[symbol] else part
            rows[symbol] += count
        self.everything, self.all_rows, self.frames, self.rows = parts, counts, frames, rows
        columns = entries_of(block, next_seqs)
        self._entries = None  # as in most blocks
        if any(column is not None for column in columns):
            self._entries = [None if each is None else _by_symbol(each, block.symbols, size) for each in columns]

    def entry(self, getter: Getter | None) -> Entry | None:
        """Return what is to be entered for these symbols (None: all there are)."""
        if self._entries is None:
            return None
        return Entry.of(
            None if each is None else sum(each if getter is None else getter(each)) for each in self._entries
        )

    def pack(self, store: Store) -> int:
        """Keep the frames in a store from now on; return how many bytes they occupy there."""
        frames, rows = Packed(self.frames, store), packed_ints(self.rows, store)
        self.everything = self.frames = frames
        self.all_rows = self.rows = rows
        return frames.nbytes + rows.nbytes

    def grow(self, size: int) -> None:
        """Make room for symbol numbers below `size`, which have appeared since and have nothing here."""
        more = [0] * (size - len(self.rows))
        for entries in self._entries or ():
            if entries is not None:
                entries += more
        self.frames = [*self.frames, *[_EMPTY] * len(more)]
        self.rows = [*self.rows, *more]


class Audience:
    """Those who listen to `parts` by one codec, in mode `all` (interval 0) or conflated.

    Its `members` were sent all up to the flush numbered `position`. The `late` ones stand elsewhere, at the flush
    given: they joined since, or could not take more when the others were served.
    """

    __slots__ = ("_getters", "codec", "interval_ms", "is_due", "late", "members", "parts", "position")

    def __init__(self, codec: RowCodec, interval_ms: int, parts: Parts, position: int) -> None:
        self.codec = codec
        self.interval_ms = interval_ms
        self.parts = parts
        self.position = position
        self.is_due = False
        """Whether the Hub has it in line to be served."""
        self.members: dict[Outbox, None] = {}  # not a set: in the order of their coming they lie together in memory
        self.late: dict[Outbox, int] = {}
        self._getters = [
            (series, *((None, 0) if numbers is None else (_getter(numbers), numbers[-1] + 1)))
            for series, numbers in parts
        ]

    @property
    def oldest(self) -> int:
        """The flush at which the one stands that has got least."""
        return min(self.position, *self.late.values()) if self.late else self.position

    def joined(self, encoded: Mapping[Series, Encoded | None]) -> Share:
        """Return what of these blocks this audience gets."""
        if len(self._getters) == 1:  # the usual case by itself: two lists less for each audience and flush
            ((series, getter, size),) = self._getters
            block = encoded.get(series)
            if block is not None and getter is not None and size <= len(block.frames):
                counts = getter(block.rows)
                return self.codec.join(getter(block.frames), counts), sum(counts), block.entry(getter)
        parts: list[bytes] = []
        rows: list[int] = []
        entry: Entry | None = None
        for series, getter, size in self._getters:
            block = encoded.get(series)
            if block is None:
                continue
            if getter is None:
                parts += block.everything
                rows += block.all_rows
            else:
                if size > len(block.frames):
                    block.grow(size)
                parts += getter(block.frames)
                rows += getter(block.rows)
            if (more := block.entry(getter)) is not None:
                entry = more.plus(entry)
        return self.codec.join(parts, rows), sum(rows), entry


def entries_of(block: Block, next_seqs: Ints | None) -> tuple[Ints | None, Ints | None, Ints | None]:
    """Return how many rows of each run are merged, are bars that still run, and are missed before it; None: none."""
    is_merged = block.conflated and block.series.kind != "bars"
    running = None
    if block.conflated and next_seqs is not None:
        running = np.maximum(block.seqs + block.counts - next_seqs, 0)
    return block.rows - block.counts if is_merged else None, running, block.missed


def _by_symbol(column: Ints, symbols: Ints, size: int) -> list[int]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, symbols, column)  # a symbol stands twice where rows are missed in between
    return sums.tolist()


def _getter(numbers: tuple[int, ...]) -> Getter:
    if len(numbers) == 1:
        number = numbers[0]
        return lambda items: (items[number],)
    return itemgetter(*numbers)
