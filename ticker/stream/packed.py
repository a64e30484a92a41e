"""Frames that are kept for those behind: side by side, in memory that goes back to the system once nobody lacks them.

As an object each, the frames of a stalled minute are half a million between others that live on, and neither pymalloc
nor glibc gives a page back while a single object on it is in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from mmap import mmap

import numpy as np

CHUNK_BYTES = 1 << 20
"""How large a map of memory is; what does not fit gets one that is as large as it is."""


class Store:
    """Bytes, one after the other, in anonymous maps of memory. A map goes with the last one who knows a place in it."""

    def __init__(self) -> None:
        self._chunk: mmap | None = None
        self._used = 0

    def keep(self, data: bytes) -> tuple[mmap, int]:
        """Keep a copy of `data`; return the map, and where it begins there."""
        size = len(data)
        if self._chunk is None or self._used + size > len(self._chunk):
            self._chunk, self._used = mmap(-1, max(CHUNK_BYTES, size)), 0
        start, self._used = self._used, self._used + size
        self._chunk[start : self._used] = data
        return self._chunk, start

    def leave(self) -> None:
        """Know no place any more; what comes next begins a new map."""
        self._chunk = None


class Packed:
    """A list of frames in a store, many of them empty."""

    __slots__ = ("_bounds", "_chunk", "nbytes")

    def __init__(self, frames: Iterable[bytes], store: Store) -> None:
        frames = list(frames)
        data = b"".join(frames)
        self._chunk, start = store.keep(data)
        self._bounds = packed_ints(accumulate(map(len, frames), initial=start), store)
        self.nbytes = len(data) + self._bounds.nbytes

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> bytes:
        return self._chunk[self._bounds[index] : self._bounds[index + 1]]

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))


def packed_ints(numbers: Iterable[int], store: Store) -> memoryview[int]:
    """Return a list of numbers from 0 to 2**32 - 1, in a store."""
    data = np.fromiter(numbers, np.uint32).tobytes()
    chunk, start = store.keep(data)
    return memoryview(chunk)[start : start + len(data)].cast("I")
