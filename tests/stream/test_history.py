"""All shelves together: bounded by memory and age, what is oldest first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.stream.conftest import EPOCH, World
from ticker.model import Channel, Series
from ticker.stream.history import BARS_OF_A_CHANNEL, MIB, History

TRADES, QUOTES = Series("trades"), Series("quotes")
AAPL = np.array([0])


def kept(history: History, series: Series) -> int:
    """Return how many rows of AAPL can be had."""
    shelf = history[series]
    return int((shelf.next_seqs(AAPL) - shelf.first_seqs(AAPL))[0])


def fill(world: World, flushes: int, quotes: bool = True) -> None:
    """Let some flushes pass, a second each."""
    for _ in range(flushes):
        world.trade("AAPL")
        if quotes:
            world.quote("AAPL")
        world.advance(1)
        world.flush()


@pytest.fixture(autouse=True)
def _small_sizes(shelf_sizes: Callable[..., None]) -> None:
    shelf_sizes(rows=100, flushes=10, slice_rows=50)


def test_ticks_and_bars_stay_within_their_bytes() -> None:
    world = World(ticks_mib=0.05, bars_mib=0.04, intervals_s=(1, 5))
    ticks, bars = 0, 0
    for _ in range(300):
        fill(world, 1)
        ticks = max(ticks, sum(world.history[series].nbytes for series in (TRADES, QUOTES)))
        bars = max(bars, world.history[Series("bars", 1)].nbytes)

    assert 0.03 * MIB < ticks <= 0.05 * MIB
    assert 0.01 * MIB < bars <= 0.02 * MIB  # equal shares of two intervals
    assert world.history.nbytes <= 0.09 * MIB
    assert 0 < kept(world.history, Series("bars", 1)) < 300


def test_trades_and_quotes_share_their_bytes_and_the_older_goes_first() -> None:
    world = World(ticks_mib=0.05)
    fill(world, 20)
    quotes = kept(world.history, QUOTES)

    fill(world, 400, quotes=False)

    assert quotes == 20
    assert kept(world.history, QUOTES) == 0
    assert kept(world.history, TRADES) > 20


def test_without_room_for_history_only_the_state_is_kept() -> None:
    world = World(ticks_mib=0, bars_mib=0)
    fill(world, 30)

    assert world.history.nbytes == 0
    assert kept(world.history, TRADES) == 0
    peer = world.connect()
    for kind in ("trades", "quotes"):
        peer.subscribe("AAPL", kind=kind, since={"AAPL": 3}, epoch=EPOCH)
        channel = peer.reader.of_type("subscribed")[-1]["channels"][0]
        assert (channel["seq"], channel["missed"]) == (30, 27)
    world.settle_down()
    fill(world, 3)

    assert peer.reader.rows == 6


def test_what_is_too_old_goes_of_ticks_but_not_of_bars() -> None:
    world = World(age_s=30, intervals_s=(1,))
    for _ in range(200):
        fill(world, 1)
        world.history.trim(world.now_s)

    assert 30 <= kept(world.history, TRADES) <= 30 + 60
    assert kept(world.history, Series("bars", 1)) == world.truth.next_seq(Channel("bars", "AAPL", 1)) > 190


def test_two_thousand_bars_of_a_channel_can_be_had() -> None:
    world = World(intervals_s=(1, 5), kinds=("trades", "bars"), ticks_mib=1)
    fill(world, 2500, quotes=False)

    assert BARS_OF_A_CHANNEL == 2000
    assert kept(world.history, Series("bars", 1)) == 2000
    assert kept(world.history, Series("bars", 5)) == world.truth.next_seq(Channel("bars", "AAPL", 5))
