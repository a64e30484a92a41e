"""The flushes that someone in mode `all` has yet to get: encoded once, kept once for all who are behind.

A client that stalls is not kept bytes of its own. It stands at the flush up to which it was served, and once its socket
is free it gets all that came after, joined then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ticker.columns import Block
from ticker.model import Series
from ticker.protocol.codec import RowCodec
from ticker.stream.audience import NO_SHARE, Audience, Encoded, Share
from ticker.stream.outbox import Entry
from ticker.stream.packed import Store

Encode = Callable[[RowCodec, Block], Encoded | None]


class _Flush:
    """The blocks of a flush, and what they are by codec, once someone wanted that."""

    __slots__ = ("blocks", "encoded", "nbytes", "number")

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.number = blocks[0].number
        self.blocks = blocks
        self.encoded: dict[RowCodec, Mapping[Series, Encoded | None]] = {}
        self.nbytes = 0


class Backlog:
    """The last flushes, in order, as far back as someone stands."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._flushes: deque[_Flush] = deque()
        self._store = Store()
        self.nbytes = 0
        """What those occupy that were offered to all and are kept for those behind."""

    def __len__(self) -> int:
        """How many flushes are kept."""
        return len(self._flushes)

    def append(self, blocks: Sequence[Block]) -> None:
        """Take in what a flush numbered."""
        self._flushes.append(_Flush(blocks))

    def due(self, audience: Audience, position: int) -> Share:
        """Return what an audience gets of all flushes after `position`."""
        flushes = self._flushes
        if not flushes or flushes[-1].number <= position:
            return NO_SHARE
        if len(flushes) == 1 or flushes[-2].number <= position:
            return audience.joined(self._encoded(audience.codec, flushes[-1]))
        newer = [flush for flush in flushes if flush.number > position]
        pieces = [audience.joined(self._encoded(audience.codec, flush)) for flush in newer]
        entry: Entry | None = None
        for _, _, each in pieces:
            if each is not None:
                entry = each.plus(entry)
        return b"".join(data for data, _, _ in pieces), sum(rows for _, rows, _ in pieces), entry

    def release(self, position: int, *, is_offered: bool) -> None:
        """Forget flushes up to `position`: nobody stands before it.

        With `is_offered` all others were offered to everyone: what is encoded is all that can still be asked for, and
        that rarely.
        """
        while self._flushes and self._flushes[0].number <= position:
            self.nbytes -= self._flushes.popleft().nbytes
        if is_offered:
            for flush in reversed(self._flushes):
                if not flush.blocks:
                    break
                flush.blocks = ()
                encoded = (each for by_series in flush.encoded.values() for each in by_series.values() if each)
                flush.nbytes = sum(each.pack(self._store) for each in encoded)
                self.nbytes += flush.nbytes
        if not self._flushes:
            self._store.leave()

    def _encoded(self, codec: RowCodec, flush: _Flush) -> Mapping[Series, Encoded | None]:
        encoded = flush.encoded.get(codec)
        if encoded is None:
            encoded = {block.series: self._encode(codec, block) for block in flush.blocks}
            flush.encoded[codec] = encoded
        return encoded
