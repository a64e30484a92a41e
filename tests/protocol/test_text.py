"""Rows and control messages as JSON, read back with the standard library: numbers as Decimals, times as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, Ints, columns_of, offsets_of
from ticker.model import Instrument, Series
from ticker.protocol.codec import Snapshot, Time
from ticker.protocol.text import JsonCodec, plain, rfc3339

INT64 = st.integers(-(2**63), 2**63 - 1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Catalogue:
    instruments: Sequence[Instrument] = [Instrument("AAPL"), Instrument("BTC", 8, 5, 9)]

    def channels(self, series: Series, conflated: bool, numbers: Ints) -> Ints:
        return numbers + (200 if conflated else 100)


def messages(frames: bytes) -> Iterator[dict[str, Any]]:
    while frames:
        assert frames[0] == 0x81
        size, start = frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(frames[2:10], "big"), 10
        payload = frames[start : start + size]
        assert len(payload) < 1 << 20
        yield json.loads(payload.decode("ascii"), parse_float=Decimal, parse_int=Decimal)
        frames = frames[start + size :]


def block(rows: list[tuple[int, ...]], kind: str = "trades", conflated: bool = False, **changes: Any) -> Block:
    width = len(columns_of(kind, conflated))
    fields: dict[str, Any] = {
        "series": Series(kind, 60 if kind == "bars" else 0),
        "epoch": "e",
        "number": 0,
        "symbols": np.array([0]),
        "offsets": offsets_of(np.array([len(rows)])),
        "seqs": np.array([1200]),
        "columns": tuple(np.array([row[i] for row in rows], np.int64) for i in range(width)),
        "conflated": conflated,
    }
    return Block(**fields | changes)


def encode(block: Block) -> list[dict[str, Any]]:
    return [message for data in JsonCodec().encode(block, Catalogue()) for message in messages(data)]


def exact(value: int, scale: int) -> Decimal:
    with localcontext(prec=100):
        return Decimal(value).scaleb(-scale)


def test_the_pages_example_is_written_to_the_letter() -> None:
    (data,) = JsonCodec().encode(block([(1795404000123456, 18931, 100)]), Catalogue())

    assert data == b"\x81\x7e\x00\x8c" + (
        b'{"type": "trades", "channel": 100, "symbol": "AAPL", "seq": 1200, '
        b'"time": ["2026-11-23T03:20:00.123456Z"], "price": [189.31], "size": [100]}'
    )


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=5))
def test_numbers_are_exact_and_have_no_exponent(values: list[tuple[int, int]]) -> None:
    btc = block([(0, price, size) for price, size in values], symbols=np.array([1]))

    (data,) = JsonCodec().encode(btc, Catalogue())

    (message,) = messages(data)
    assert message["symbol"] == "BTC"
    assert message["price"] == [exact(price, 8) for price, _ in values]
    assert message["size"] == [exact(size, 5) for _, size in values]
    assert b"E" not in data.split(b'"price"')[1].upper().replace(b'"SIZE"', b"")


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0, 0, "0"),
        (0, 2, "0"),
        (5, 0, "5"),
        (5, 2, "0.05"),
        (-5, 2, "-0.05"),
        (18930, 2, "189.3"),
        (18900, 2, "189"),
        (100, 2, "1"),
        (-(2**63), 18, "-9.223372036854775808"),
        (2**63 - 1, 0, "9223372036854775807"),
        (1, 18, "0.000000000000000001"),
        (2.5e20, 2, "2500000000000000000.00"),
        (1.5e25, 0, str(int(1.5e25))),
    ],
)
def test_a_number_has_all_its_digits_and_no_others(value: int | float, scale: int, text: str) -> None:
    assert plain(value, scale) == text


@given(st.integers(-(2**55), 2**57))
def test_times_are_rfc_3339_with_the_digits_of_their_scale(time_us: int) -> None:
    expected = EPOCH + timedelta(microseconds=time_us)

    assert rfc3339([time_us], 6) == [expected.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")]


@given(st.integers(-(2**62), 2**62))
def test_nanoseconds_keep_their_last_digit(time_ns: int) -> None:
    second = EPOCH + timedelta(seconds=time_ns // 10**9)

    assert rfc3339([time_ns], 9) == [f"{second:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"]


@pytest.mark.parametrize(
    ("kind", "conflated"),
    [("trades", False), ("trades", True), ("quotes", False), ("quotes", True), ("bars", False), ("bars", True)],
)
def test_every_kind_and_mode_names_its_columns(kind: str, conflated: bool) -> None:
    names = [column.name for column in columns_of(kind, conflated)]

    (message,) = encode(block([tuple(range(1, len(names) + 1))], kind, conflated))

    assert message.get("mode") == ("conflated" if conflated else None)
    assert message.get("interval_s") == (60 if kind == "bars" else None)
    assert [key for key in message if key not in ("type", "channel", "symbol", "mode", "interval_s", "seq")] == names
    assert message["type"] == kind
    assert all(len(message[name]) == 1 for name in names)


def test_a_gap_comes_before_the_rows_behind_it() -> None:
    gap, rows = encode(block([(1, 2, 3)], missed=np.array([700])))

    assert gap == {"type": "gap", "channel": 100, "seq": 1200, "missed": 700}
    assert rows["seq"] == 1200


def test_many_rows_are_several_messages_whose_numbers_go_on() -> None:
    counted = [(i, 1, 1, 1, 1, 1, 1, 2) for i in range(5000)]

    assert [message["seq"] for message in encode(block([row[:3] for row in counted]))] == [1200, 3248, 5296]
    conflated = encode(block(counted, "trades", conflated=True))
    assert [message["seq"] for message in conflated] == [1200, 1200 + 2 * 2048, 1200 + 2 * 4096]
    assert [message["seq"] for message in encode(block(counted, "bars"))] == [1200, 3248, 5296]


def test_the_widest_rows_stay_below_1_mib() -> None:
    widest = [(-(2**62), *[-(2**63)] * 6, 1)] * 2048

    (message,) = encode(block(widest, "trades", conflated=True))

    assert len(message["open"]) == 2048


def test_sums_beyond_64_bits_are_written_in_full() -> None:
    nan = np.nan
    rows = [(1, 1, 1, 1, 1, 10, 99, 1), (1, 1, 1, 1, 1, 20, 7, 2)]
    estimates = (np.array([nan, 2.0**64]), np.array([nan, 2.5e20]))

    (message,) = encode(block(rows, "trades", conflated=True, estimates=estimates))

    assert message["volume"] == [10, 2**64]
    assert message["notional"] == [Decimal("0.99"), Decimal("2500000000000000000")]


def test_in_control_messages_times_are_text_and_a_snapshot_is_a_map() -> None:
    snapshot = Snapshot(("time", "open", "volume"), (6, 2, 0), (1795404000123456, 18930, 1e20))
    message = {"type": "x", "time": Time(1795404000000000001), "list": [1, None, True, "é"], "snapshot": snapshot}

    (data,) = [JsonCodec().control(message)]

    (decoded,) = messages(data)
    assert decoded == {
        "type": "x",
        "time": "2026-11-23T03:20:00.000000001Z",
        "list": [1, None, True, "é"],
        "snapshot": {"time": "2026-11-23T03:20:00.123456Z", "open": Decimal("189.3"), "volume": 10**20},
    }
