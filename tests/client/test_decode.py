"""The client's decoder against the golden frames and against what a server may get wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.client import ProtocolError
from ticker.client.decode import Description, columns, describe, head, unpack, welcome_epoch
from ticker.columns import Batch
from ticker.model import Channel, Instrument

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "frames.json").read_text())
ENTRY: dict[str, Any] = {
    "channel": 7,
    "kind": "trades",
    "symbol": "AAPL",
    "mode": "all",
    "seq": 1200,
    "missed": 0,
    "columns": [["time", 6], ["price", 2], ["size", 0]],
    "snapshot": [1795404000123456, 18931, 19002, 18755, 18990, 120345, 2278391200, 1200],
}


@pytest.mark.parametrize("vector", [each for each in VECTORS if each["descriptor"]], ids=lambda vector: vector["name"])
def test_golden_rows_are_read_as_their_decimals(vector: dict[str, Any]) -> None:
    description = describe(vector["descriptor"], "e1")
    message = unpack(bytes.fromhex(vector["frame_hex"]))
    assert isinstance(message, list)

    number, seq, n = head(message)
    values = columns(message, n, len(description.scales))
    batch = Batch(description.channel, "e1", seq, values, description.scales, description.conflated)

    expect = vector["expect"]
    assert (number, seq, n) == (expect["channel"], expect["seq"], expect["n"])
    assert number == description.number
    for name, texts in expect["columns"].items():
        assert batch.decimals(name) == [Decimal(text) for text in texts]
        if batch.integers(name).dtype == np.int64:
            assert [f"{value:f}" for value in batch.decimals(name)] == texts


@pytest.mark.parametrize(
    "vector", [each for each in VECTORS if not each["descriptor"]], ids=lambda vector: vector["name"]
)
def test_golden_control_messages_are_read_as_maps(vector: dict[str, Any]) -> None:
    assert unpack(bytes.fromhex(vector["frame_hex"])) == vector["expect"]["message"]


INT64 = st.integers(-(2**63), 2**63 - 1)


@given(base=INT64, width=st.sampled_from([1, 2, 4, 8]), data=st.data())
def test_any_base_and_offsets_add_up_modulo_2_64(base: int, width: int, data: Any) -> None:
    offsets = data.draw(st.lists(st.integers(0, 2 ** (8 * width) - 1), min_size=1, max_size=5))
    packed = b"".join(offset.to_bytes(width, "little") for offset in offsets)

    (values,) = columns([7, 0, len(offsets), base, packed], len(offsets), 1)

    assert values.dtype == np.int64
    assert values.tolist() == [(base + offset + 2**63) % 2**64 - 2**63 for offset in offsets]


def test_a_row_count_that_takes_four_bytes_costs_nothing_on_the_wire() -> None:
    message = unpack(msgpack.packb([7, 0, 70_000, 5, b"", 6, b"\x01" * 70_000]))
    assert isinstance(message, list)

    same, other = columns(message, head(message)[2], 2)

    assert (same == 5).all()
    assert (other == 7).all()
    assert len(same) == len(other) == 70_000


def test_a_description_tells_scales_and_the_state_before_its_first_row() -> None:
    description = describe(ENTRY, "e1")

    assert description.channel == Channel("trades", "AAPL")
    assert description.instrument == Instrument("AAPL", 2, 0, 6)
    assert (description.number, description.seq, description.missed) == (7, 1200, 0)
    assert description.snapshot is not None
    (summary,) = description.snapshot
    assert (summary.open, summary.high, summary.low) == (Decimal("189.31"), Decimal("190.02"), Decimal("187.55"))
    assert (summary.volume, summary.notional, summary.count) == (120345, Decimal("22783912.00"), 1200)
    assert (description.snapshot.seq, description.snapshot.next_seq) == (0, 1200)


def test_the_scales_of_a_snapshot_are_those_of_a_summary() -> None:
    entry = ENTRY | {"columns": [["time", 9], ["price", 8], ["size", 3]]}

    description = describe(entry, "e1")

    assert description.snapshot is not None
    assert description.snapshot.scales == (9, 8, 8, 8, 8, 3, 11, 0)


def test_a_sum_beyond_64_bits_in_a_snapshot_is_a_float() -> None:
    description = describe(ENTRY | {"snapshot": [1, 1, 1, 1, 1, 5, 2.5e20, 9]}, "e1")

    assert description.snapshot is not None
    assert description.snapshot.floats("notional").tolist() == [2.5e18]
    assert description.snapshot.integers("volume").tolist() == [5]


def test_a_quotes_snapshot_is_a_quote_and_a_bars_one_the_running_bar() -> None:
    quotes = [["time", 6], ["bid_price", 2], ["bid_size", 0], ["ask_price", 2], ["ask_size", 0]]
    quote = describe(ENTRY | {"kind": "quotes", "columns": quotes, "snapshot": [1, 18930, 3, 18932, 2]}, "e1")
    summaries = ["time", "open", "high", "low", "close", "volume", "notional", "count"]
    bars = {
        "kind": "bars",
        "mode": "conflated",
        "interval_s": 60,
        "interval_ms": 250,
        "columns": [[name, 2 if 1 <= i <= 4 or i == 6 else 6 * (i == 0)] for i, name in enumerate(summaries)],
    }
    bar = describe(ENTRY | bars, "e1")

    assert quote.snapshot is not None
    assert [(each.bid_price, each.ask_size) for each in quote.snapshot] == [(Decimal("189.30"), 2)]
    assert bar.channel == Channel("bars", "AAPL", 60)
    assert bar.snapshot is not None
    assert bar.snapshot.seq == 1200
    assert (bar.interval_ms, bar.conflated) == (250, True)


@pytest.mark.parametrize("missing", [key for key in ENTRY if key != "snapshot"])
def test_a_description_that_lacks_something_is_refused(missing: str) -> None:
    with pytest.raises(ProtocolError, match=f"lacks '{missing}'"):
        describe({key: value for key, value in ENTRY.items() if key != missing}, "e1")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "news"},
        {"kind": ["trades"]},
        {"mode": "some"},
        {"symbol": 5},
        {"symbol": ""},
        {"channel": "7"},
        {"seq": -1},
        {"seq": 2**63},
        {"seq": True},
        {"missed": -1},
        {"columns": [["time", 6], ["price", 2]]},
        {"columns": [["time", 6], ["size", 0], ["price", 2]]},
        {"columns": [["time", 3], ["price", 2], ["size", 0]]},
        {"columns": [["time", 6], ["price", "2"], ["size", 0]]},
        {"columns": 5},
        {"columns": [5]},
        {"snapshot": [1, 2, 3]},
        {"snapshot": [1, 1, 1, 1, 1, 1, 1, None]},
        {"snapshot": [2**63, 1, 1, 1, 1, 1, 1, 1]},
        {"snapshot": {"time": 1}},
        {"snapshot": 5},
    ],
)
def test_a_description_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        describe(ENTRY | change, "e1")


@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3), st.lists))
def test_no_description_raises_anything_else(entry: Any) -> None:
    with pytest.raises(ProtocolError):
        describe(entry, "e1")


@given(
    st.dictionaries(
        st.sampled_from([*ENTRY, "interval_s", "interval_ms"]),
        st.none()
        | st.integers(-(2**64), 2**64)
        | st.floats()
        | st.sampled_from(["trades", "bars", "all"])
        | st.just([]),
    )
)
def test_no_part_of_a_description_raises_anything_else(change: dict[str, Any]) -> None:
    try:
        assert isinstance(describe(ENTRY | change, "e1"), Description)
    except ProtocolError:
        return


@given(st.lists(st.integers(-2, 2**65) | st.floats() | st.binary(max_size=9) | st.none(), max_size=9))
def test_no_data_message_raises_anything_else(message: list[Any]) -> None:
    try:
        _, _, n = head(message)
        assert len(columns(message, n, 3)) == 3
    except ProtocolError:
        return


@given(st.binary(max_size=50))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        assert isinstance(unpack(data), dict | list)
    except ProtocolError:
        return


def test_more_rows_than_a_server_can_mean_are_not_believed() -> None:
    with pytest.raises(ProtocolError, match="n 1099511627776"):
        head([7, 0, 1 << 40, 0, b"", 0, b"", 0, b""])


def test_a_welcome_of_another_version_is_refused() -> None:
    assert welcome_epoch({"protocol": 1, "epoch": "e1"}) == "e1"
    with pytest.raises(ProtocolError, match="version 2"):
        welcome_epoch({"protocol": 2, "epoch": "e1"})
    with pytest.raises(ProtocolError, match="without an epoch"):
        welcome_epoch({"protocol": 1})
