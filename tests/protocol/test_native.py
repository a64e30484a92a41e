"""Encoded rows, read back by the decoder of the protocol page (section 5) and plain msgpack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, Ints, columns_of, offsets_of
from ticker.model import Instrument, Series
from ticker.protocol.codec import Snapshot, Time
from ticker.protocol.native import MsgpackCodec

INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-1000, 70_000)
WIDE = st.one_of(INT64, SMALL, st.sampled_from([-(2**63), 2**63 - 1, 0, 255, 256, 65535, 65536, 2**32 - 1, 2**32]))


class Catalogue:
    """A catalogue in which symbol number i is channel 100 + i, conflated 200 + i."""

    instruments: Sequence[Instrument] = [Instrument(f"S{i}") for i in range(10)]

    def channels(self, series: Series, conflated: bool, numbers: Ints) -> Ints:
        return numbers + (200 if conflated else 100)


def column(base: Any, offsets: bytes, n: int) -> Any:
    """The decoder of the protocol page, to the letter."""
    if isinstance(base, float):
        return np.frombuffer(offsets, "<f8")
    if not offsets:
        return np.full(n, base, np.int64)
    return base + np.frombuffer(offsets, f"<u{len(offsets) // n}").astype(np.int64)


def unframed(frames: bytes) -> Iterator[bytes]:
    """Yield the payloads of joined binary frames, read as RFC 6455 says."""
    while frames:
        assert frames[0] == 0x82
        size, start = frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(frames[2:10], "big"), 10
        yield frames[start : start + size]
        frames = frames[start + size :]


def messages(frames: bytes) -> list[Any]:
    return [msgpack.unpackb(payload) for payload in unframed(frames)]


def rows_of(message: list[Any]) -> list[tuple[Any, ...]]:
    n = message[2]
    columns = [column(base, offsets, n).tolist() for base, offsets in zip(message[3::2], message[4::2], strict=True)]
    return list(zip(*columns, strict=True))


def block(runs: list[list[tuple[int, ...]]], kind: str = "trades", conflated: bool = False, **changes: Any) -> Block:
    """Return a block whose run i, of symbol i, is numbered from 10 * i."""
    rows = [row for run in runs for row in run]
    width = len(columns_of(kind, conflated))
    fields: dict[str, Any] = {
        "series": Series(kind, 60 if kind == "bars" else 0),
        "epoch": "e",
        "number": 0,
        "symbols": np.arange(len(runs)),
        "offsets": offsets_of(np.array([len(run) for run in runs])),
        "seqs": np.arange(len(runs)) * 10,
        "columns": tuple(np.array([row[i] for row in rows], np.int64) for i in range(width)),
        "conflated": conflated,
    }
    return Block(**fields | changes)


@given(st.lists(st.lists(st.tuples(WIDE, WIDE, WIDE), min_size=1, max_size=6), min_size=1, max_size=5))
def test_what_is_encoded_is_decoded_by_the_pages_decoder(runs: list[list[tuple[int, ...]]]) -> None:
    frames = MsgpackCodec().encode(block(runs), Catalogue())

    assert len(frames) == len(runs)
    for i, (data, run) in enumerate(zip(frames, runs, strict=True)):
        (message,) = messages(data)
        assert message[:3] == [100 + i, 10 * i, len(run)]
        assert rows_of(message) == run


@pytest.mark.parametrize(
    ("span", "width"), [(0, 0), (1, 1), (255, 1), (256, 2), (65535, 2), (65536, 4), (2**32 - 1, 4)]
)
def test_offsets_are_as_narrow_as_they_can_be(span: int, width: int) -> None:
    (data,) = MsgpackCodec().encode(block([[(7, -5, 0), (7, -5 + span, 0)]]), Catalogue())

    (message,) = messages(data)

    assert [len(offsets) for offsets in message[4::2]] == [0, 2 * width, 0]


@pytest.mark.parametrize("span", [2**32, 2**63, 2**64 - 1])
def test_any_difference_of_two_64_bit_numbers_fits_eight_bytes(span: int) -> None:
    run = [(7, -(2**63), 0), (7, -(2**63) + span, 0)]
    (data,) = MsgpackCodec().encode(block([run]), Catalogue())

    (message,) = messages(data)

    assert len(message[6]) == 16
    assert rows_of(message) == run


def test_runs_of_one_row_have_no_offsets() -> None:
    frames = MsgpackCodec().encode(block([[(1, 2, 3)], [(4, 5, 6)]]), Catalogue())

    assert [messages(data) for data in frames] == [
        [[100, 0, 1, 1, b"", 2, b"", 3, b""]],
        [[101, 10, 1, 4, b"", 5, b"", 6, b""]],
    ]


def test_integers_are_in_the_shortest_form() -> None:
    (data,) = MsgpackCodec().encode(block([[(127, 128, -33)]]), Catalogue())

    assert data == b"\x82\x0f" + b"\x99\x64\x00\x01" + b"\x7f\xc4\x00" + b"\xcc\x80\xc4\x00" + b"\xd0\xdf\xc4\x00"


@pytest.mark.parametrize(
    ("kind", "conflated"), [("trades", True), ("quotes", False), ("quotes", True), ("bars", False), ("bars", True)]
)
def test_every_kind_and_mode_has_its_columns_in_order(kind: str, conflated: bool) -> None:
    width = len(columns_of(kind, conflated))
    run = [tuple(range(1, width + 1)), tuple(range(11, width + 11))]

    (data,) = MsgpackCodec().encode(block([run], kind, conflated), Catalogue())

    (message,) = messages(data)
    assert message[0] == (200 if conflated else 100)
    assert rows_of(message) == run


def test_a_gap_is_told_before_the_rows_behind_it_and_nowhere_else() -> None:
    missing = block([[(1, 2, 3)], [(4, 5, 6), (7, 8, 9)]], missed=np.array([0, 700]))

    first, second = MsgpackCodec().encode(missing, Catalogue())

    assert messages(first) == [[100, 0, 1, 1, b"", 2, b"", 3, b""]]
    gap, rows = messages(second)
    assert gap == {"type": "gap", "channel": 101, "seq": 10, "missed": 700}
    assert rows[:3] == [101, 10, 2]
    assert rows_of(rows) == [(4, 5, 6), (7, 8, 9)]


def test_more_than_8192_rows_are_several_messages_below_1_mib() -> None:
    n = 20_000
    run = [(i, -(2**62) + i * 2**40, i % 2 * 2**62, 0, 0, 0, 0, 3) for i in range(n)]

    (data,) = MsgpackCodec().encode(block([run], "trades", conflated=True), Catalogue())

    parts = messages(data)
    assert all(len(payload) < 1 << 20 for payload in unframed(data))
    assert [(part[1], part[2]) for part in parts] == [(0, 8192), (3 * 8192, 8192), (6 * 8192, 3616)]
    assert [row for part in parts for row in rows_of(part)] == run


def test_of_bars_each_row_is_one_row_whatever_its_count() -> None:
    run = [(i, 1, 1, 1, 1, 1, 1, 50) for i in range(8200)]

    (data,) = MsgpackCodec().encode(block([run], "bars"), Catalogue())

    assert [part[1] for part in messages(data)] == [0, 8192]


def test_sums_beyond_64_bits_make_their_column_one_of_floats_in_their_run_alone() -> None:
    nan = np.nan
    sums = block(
        [[(1, 1, 1, 1, 1, 10, 99, 1), (1, 1, 1, 1, 1, 20, 7, 2)], [(1, 1, 1, 1, 1, 30, 40, 1)]],
        "trades",
        conflated=True,
        estimates=(np.array([nan, nan, nan]), np.array([nan, 2.5e20, nan])),
    )

    first, second = MsgpackCodec().encode(sums, Catalogue())

    (message,) = messages(first)
    assert message[15] == 0.0
    assert isinstance(message[15], float)
    assert [row[5:] for row in rows_of(message)] == [(10, 99.0, 1), (20, 2.5e20, 2)]
    (message,) = messages(second)
    assert rows_of(message) == [(1, 1, 1, 1, 1, 30, 40, 1)]
    assert isinstance(message[15], int)


def test_control_messages_are_maps_with_times_as_integers_and_snapshots_as_lists() -> None:
    snapshot = Snapshot(("time", "open", "notional"), (6, 2, 2), (5, 18931, 2.5e20))

    data = MsgpackCodec().control({"type": "x", "time": Time(1795404000000000000), "snapshot": snapshot, "none": None})

    assert messages(data) == [{"type": "x", "time": 1795404000000000000, "snapshot": [5, 18931, 2.5e20], "none": None}]


def test_what_cannot_be_said_does_not_spoil_what_is_said_next() -> None:
    codec = MsgpackCodec()
    with pytest.raises(TypeError, match="cannot pack object"):
        codec.control({"type": "x", "what": object()})

    assert messages(codec.control({"type": "y"})) == [{"type": "y"}]
