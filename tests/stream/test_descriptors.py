"""How channels are described, and their state as one row. (Any position: see test_shelf.py, test_subscriptions.py.)"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from tests.stream.conftest import CODECS, EPOCH, START_S, World
from tests.stream.reference import frames
from ticker.model import Instrument, Series
from ticker.stream.descriptors import describe, snapshots

TIME = START_S * 10**6


def described(world: World, kind: str, conflated: bool = False, interval_s: int = 0) -> dict[str, Any]:
    """Return the description of AAPL as a msgpack client gets it."""
    peer = world.connect()
    mode = {"mode": "conflated", "interval_ms": 100} if conflated else {"mode": "all"}
    peer.subscribe("AAPL", kind=kind, interval_s=interval_s, **mode)
    return dict(peer.messages[1]["channels"][0])


def test_trades_are_described_with_the_summary_of_the_epoch(world: World) -> None:
    for price, size in ((18931, 100), (19002, 50), (18755, 7)):
        world.trade("AAPL", price, size)
        world.flush()

    description = described(world, "trades")

    notional = 18931 * 100 + 19002 * 50 + 18755 * 7
    assert description.pop("channel") % 2 == 0
    assert description == {
        "kind": "trades",
        "symbol": "AAPL",
        "mode": "all",
        "seq": 3,
        "missed": 0,
        "columns": [["time", 6], ["price", 2], ["size", 0]],
        "snapshot": [TIME, 18931, 19002, 18755, 18755, 157, notional, 3],
    }


def test_the_two_modes_of_a_channel_have_two_integers_that_are_the_same_for_everyone(world: World) -> None:
    integers = [described(world, "trades", conflated)["channel"] for conflated in (False, True, False, True)]

    assert integers[0] != integers[1]
    assert integers[:2] == integers[2:]


def test_quotes_are_described_with_the_latest(world: World) -> None:
    world.quote("AAPL", 1, 2, 3, 4)
    world.quote("AAPL", 5, 6, 7, 8)
    world.flush()

    description = described(world, "quotes", conflated=True)

    assert (description["mode"], description["interval_ms"]) == ("conflated", 100)
    assert [name for name, _ in description["columns"]][-1] == "count"
    assert (description["seq"], description["snapshot"]) == (2, [TIME, 5, 6, 7, 8])


def test_bars_are_described_with_the_running_one_in_mode_conflated_only(world: World) -> None:
    world.trade("AAPL", 10, 1)
    world.advance(6)
    world.trade("AAPL", 12, 2)
    world.flush()

    running = described(world, "bars", conflated=True, interval_s=5)

    assert (running["interval_s"], running["seq"]) == (5, 1)
    assert running["snapshot"] == [TIME + 5_000_000, 12, 12, 12, 12, 2, 24, 1]
    assert described(world, "bars", interval_s=5)["snapshot"] is None


@pytest.mark.parametrize("kind", ["trades", "quotes", "bars"])
def test_a_channel_without_rows_has_no_snapshot(world: World, kind: str) -> None:
    assert described(world, kind, conflated=True, interval_s=1)["snapshot"] is None


def test_scales_are_those_of_the_instrument() -> None:
    world = World([Instrument("AAPL", price_scale=4, size_scale=3, time_scale=9)])

    assert described(world, "trades", conflated=True)["columns"] == [
        ["time", 9],
        ["open", 4],
        ["high", 4],
        ["low", 4],
        ["close", 4],
        ["volume", 3],
        ["notional", 7],
        ["count", 0],
    ]


def test_a_sum_beyond_64_bits_is_a_float_and_others_beside_it_stay_exact(world: World) -> None:
    for _ in range(3):
        world.trade("AAPL", 3, 2**62)
    world.trade("MSFT", 3, 5)
    world.flush()

    trades, others = snapshots(world.market, Series("trades"), np.array([0, 2]))

    assert trades is not None
    assert others is not None
    assert trades.values[5:] == (3 * 2.0**62, 9 * 2.0**62, 3)
    assert isinstance(trades.values[5], float)
    assert others.values[5:] == (5, 15, 1)
    assert isinstance(others.values[5], int)


def test_in_json_a_sum_beyond_64_bits_is_written_in_full(world: World) -> None:
    world.trade("AAPL", 100, 2**62)
    world.trade("AAPL", 100, 2**62)
    world.flush()
    peer = world.connect(CODECS[1])
    peer.reader.feed = lambda data: None  # type: ignore[method-assign]
    peer.say({"op": "subscribe", "symbols": ["AAPL"]})

    answer = next(payload for _, payload in frames(b"".join(peer.received)) if b"subscribed" in payload)
    snapshot = json.loads(answer, parse_float=Decimal, parse_int=Decimal)["channels"][0]["snapshot"]

    assert snapshot["volume"] == 2**63
    assert snapshot["notional"] == 2**63  # 100 is 1.00
    assert snapshot["time"] == "2026-11-23T03:20:00.000000Z"


def test_descriptions_come_in_the_order_asked_for_at_any_rows(world: World) -> None:
    for _ in range(3):
        world.trade("AAPL", 10, 1)
        world.trade("MSFT", 20, 1)
        world.flush()
    numbers, seqs = np.array([2, 1, 0]), np.array([1, 0, 2])

    found = describe(world.market, Series("trades"), 0, numbers, seqs, [None, 0, 5])

    assert [each["symbol"] for each in found] == ["MSFT", "BTC", "AAPL"]
    assert [each["seq"] for each in found] == [1, 0, 2]
    assert [each["missed"] for each in found] == [None, 0, 5]
    counts = [each["snapshot"] and each["snapshot"].values[-1] for each in found]
    assert counts == [1, None, 2]


def test_the_state_now_is_told_for_any_symbols_in_any_order(world: World) -> None:
    world.trade("AAPL", 10, 1)
    world.trade("MSFT", 20, 1)
    world.flush()

    closes = [row and row.values[4] for row in snapshots(world.market, Series("bars", 1), np.array([2, 1, 0]))]

    assert closes == [20, None, 10]
    assert world.market.directory.epoch == EPOCH
