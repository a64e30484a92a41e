"""Frames side by side in memory of their own: read back as they were, and gone when nobody has them."""

from __future__ import annotations

import weakref
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.stream.packed import Packed, Store, packed_ints


@given(st.lists(st.lists(st.binary(max_size=40), max_size=20), max_size=10))
def test_frames_are_read_back_as_they_were_kept(flushes: list[list[bytes]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ticker.stream.packed.CHUNK_BYTES", 256)
        store = Store()

        kept = [(Packed(frames, store), packed_ints(map(len, frames), store)) for frames in flushes]

    for frames, (packed, sizes) in zip(flushes, kept, strict=True):
        assert list(packed) == [packed[number] for number in range(len(packed))] == frames
        assert sizes.tolist() == [len(frame) for frame in frames]
        assert packed.nbytes == sum(map(len, frames)) + 4 * (len(frames) + 1)


def test_frames_share_a_map_until_it_is_full_and_what_is_larger_has_one_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ticker.stream.packed.CHUNK_BYTES", 8192)
    store = Store()

    places = [store.keep(bytes(size)) for size in (3000, 3000, 3000, 100_000, 10)]

    assert [start for _, start in places] == [0, 3000, 0, 0, 0]
    maps = [chunk for chunk, _ in places]
    assert [a is b for a, b in pairwise(maps)] == [True, False, False, False]
    assert len(maps[3]) >= 100_000


def test_a_map_is_unmapped_with_the_last_who_has_frames_in_it() -> None:
    store = Store()
    first, second = Packed([b"one"], store), Packed([b"two"], store)
    chunk = weakref.ref(first._chunk)

    store.leave()
    del first
    assert chunk() is not None
    assert list(second) == [b"two"]
    del second

    assert chunk() is None
