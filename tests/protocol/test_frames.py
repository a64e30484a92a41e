"""Frame headers by RFC 6455, section 5.2, and cuts that split no frame."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.protocol.frames import BINARY, TEXT, boundary, frame


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_header_is_final_unmasked_and_of_the_shortest_form(size: int, head: bytes) -> None:
    assert frame(BINARY, bytes(size)) == head + bytes(size)


def test_text_is_marked_as_text() -> None:
    assert frame(TEXT, b"{}") == b"\x81\x02{}"


SIZES = st.one_of(st.integers(0, 300), st.sampled_from([125, 126, 127, 65535, 65536, 65537]))


@given(st.lists(SIZES, min_size=1, max_size=5), st.data())
def test_a_boundary_is_the_first_end_of_a_frame_at_or_behind_the_offset(sizes: list[int], data: st.DataObject) -> None:
    frames = [frame(BINARY, bytes(size)) for size in sizes]
    joined = b"".join(frames)
    offset = data.draw(st.integers(0, len(joined)))

    ends = [0, *itertools.accumulate(map(len, frames))]

    assert boundary(joined, offset) == min(end for end in ends if end >= offset)
    assert boundary(memoryview(joined), offset) == boundary(joined, offset)
