"""The simulated feed on a clock moved by hand: how many ticks come when, and that the clock changes none of them."""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.simulated import MOST_ROWS, Pace, SimulatedFeed, parse_rate, parse_seed, parse_symbols
from feeds.simulated_symbols import KNOWN
from ticker.clock import ManualClock
from ticker.columns import Ticks
from ticker.model import Instrument


class Door:
    """An Emit that keeps what it is given."""

    def __init__(self) -> None:
        self.ticks: list[Ticks] = []
        self.time_ns = 0

    def __call__(self, ticks: Ticks) -> None:
        self.ticks.append(ticks)

    def time(self, time_ns: int) -> None:
        assert time_ns >= self.time_ns
        self.time_ns = time_ns

    def column(self, kind: str, index: int) -> npt.NDArray[np.int64]:
        return np.concatenate([ticks.columns[index] for ticks in self.ticks if ticks.kind == kind])

    def codes(self, kind: str) -> npt.NDArray[np.int64]:
        return np.concatenate([ticks.codes for ticks in self.ticks if ticks.kind == kind])

    def rows(self, kind: str) -> int:
        return sum(len(ticks) for ticks in self.ticks if ticks.kind == kind)


class Stage:
    """A feed that runs on a manual clock."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.door = Door()
        door: Any = self.door
        self.feed = SimulatedFeed(clock=self.clock, **{"seed": 1, **options})
        self.running = asyncio.create_task(self.feed.run(door))

    async def advance(self, *seconds: float) -> None:
        for each in seconds:
            await self.clock.advance(each)
        for _ in range(200):  # what a stall left over
            await asyncio.sleep(0)


async def test_as_many_trades_as_wanted_come_each_second_and_a_quote_after_each() -> None:
    stage = Stage(rate=200.0)

    await stage.advance(10)

    assert stage.door.rows("trades") == pytest.approx(2000, abs=2)
    assert stage.door.rows("quotes") == stage.door.rows("trades")
    assert np.array_equal(stage.door.codes("quotes"), stage.door.codes("trades"))
    assert np.array_equal(stage.door.column("quotes", 0), stage.door.column("trades", 0))


@pytest.mark.parametrize("rate", [0.5, 37.0, 1e6])
async def test_any_rate_is_held(rate: float) -> None:
    stage = Stage(rate=rate)
    seconds = max(1.0, 5 / rate)

    await stage.advance(seconds)

    assert stage.door.rows("trades") == pytest.approx(rate * seconds, abs=max(1, rate * 0.011))


async def test_a_trade_is_at_the_bid_or_the_ask_of_the_quote_after_it() -> None:
    stage = Stage(rate=5000.0)
    await stage.advance(1)

    price, bid, ask = (stage.door.column(*each) for each in (("trades", 1), ("quotes", 1), ("quotes", 3)))

    assert (bid < ask).all()
    assert ((price == bid) | (price == ask)).all()


async def test_times_are_evenly_spaced_and_never_in_the_future() -> None:
    stage = Stage(rate=400.0)
    start_us = stage.clock.now() // 1000

    await stage.advance(2)

    times = stage.door.column("trades", 0)
    assert times[0] >= start_us
    assert times[-1] <= stage.clock.now() // 1000
    assert np.abs(np.diff(times) - 2500).max() <= 1


async def test_the_feeds_clock_moves_though_no_trade_comes() -> None:
    stage = Stage(rate=0.001)

    await stage.advance(5)

    assert stage.door.rows("trades") == 0
    assert stage.door.time_ns == pytest.approx(stage.clock.now(), abs=20_000_000)


async def test_the_same_seed_gives_the_same_ticks_however_the_clock_cuts_them() -> None:
    smooth, bumpy = Stage(rate=1000.0), Stage(rate=1000.0)

    await smooth.advance(3)
    for seconds in (0.001, 0.5, 0.013, 0.9, 0.2, 1.0, 0.4):
        await stall(bumpy, seconds)

    rows = min(smooth.door.rows("trades"), bumpy.door.rows("trades"))
    assert rows > 2500
    assert len(bumpy.door.ticks) < len(smooth.door.ticks) / 5
    for kind, index in (("trades", 1), ("trades", 2), ("quotes", 1), ("quotes", 2), ("quotes", 3), ("quotes", 4)):
        assert np.array_equal(smooth.door.column(kind, index)[:rows], bumpy.door.column(kind, index)[:rows])
    assert np.array_equal(smooth.door.codes("trades")[:rows], bumpy.door.codes("trades")[:rows])


async def stall(stage: Stage, seconds: float) -> None:
    """Let `seconds` pass in one jump, as when something blocks the loop for so long."""
    await asyncio.sleep(0)
    stage.clock._elapsed += seconds
    await stage.advance(0.011)


async def test_after_a_stall_the_market_catches_up_for_one_second() -> None:
    stage = Stage(rate=1000.0)
    await stage.advance(1)
    before = stage.door.rows("trades")

    await stall(stage, 60)

    assert stage.door.rows("trades") - before == pytest.approx(1000, abs=25)
    times = stage.door.column("trades", 0)
    assert (np.diff(times) >= 0).all()
    assert times[before] >= stage.clock.now() // 1000 - 1_030_000


async def test_a_burst_is_emitted_in_pieces_that_let_others_have_their_turn() -> None:
    stage = Stage(rate=200_000.0)
    await stage.advance(0.01)
    turns: list[int] = []
    counting = asyncio.create_task(count_turns(turns, stage))

    await stall(stage, 1)
    counting.cancel()

    assert stage.door.rows("trades") == pytest.approx(200_000, abs=5000)
    assert max(len(ticks) for ticks in stage.door.ticks) == MOST_ROWS
    assert len(set(turns)) > 200_000 / MOST_ROWS


async def count_turns(turns: list[int], stage: Stage) -> None:
    while True:
        turns.append(len(stage.door.ticks))
        await asyncio.sleep(0)


async def test_times_never_run_backwards_though_the_machines_clock_is_set_back() -> None:
    stage = Stage(rate=1000.0)
    await stage.advance(1)

    stage.clock._start_ns -= 3_600_000_000_000
    stage.door.time_ns = 0
    await stage.advance(1)

    assert (np.diff(stage.door.column("trades", 0)) >= 0).all()
    assert stage.door.rows("trades") == pytest.approx(2000, abs=20)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.floats(1e-3, 1e5))
def test_no_row_is_lost_or_early_whatever_the_pauses(pauses: list[float], rate: float) -> None:
    pace, now_us, elapsed = Pace(rate), 10**15, 0.0
    times: list[int] = []

    for pause in pauses:
        elapsed += min(pause, max(1.0, 1 / rate))
        now_us += int(pause * 1e6) + 1
        due = pace.due(pause, now_us)
        while len(due):
            times += due.tolist()
            assert times[-1] <= now_us
            due = pace.due(0.0, now_us)

    assert times == sorted(times)
    assert len(times) <= elapsed * rate + 1
    if all(pause <= 0.5 for pause in pauses) and rate >= 2:
        assert len(times) == pytest.approx(elapsed * rate, abs=1.001)


async def test_well_known_symbols_are_announced_unless_others_are_named() -> None:
    assert await SimulatedFeed(seed=1).prepare() == [Instrument(symbol) for symbol in KNOWN]
    assert await SimulatedFeed(["MSFT", "BRK.B"], seed=1).prepare() == [Instrument("MSFT"), Instrument("BRK.B")]


async def test_a_seed_that_nobody_chose_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    feed = SimulatedFeed(rate=50.0)
    with caplog.at_level("INFO"):
        await feed.prepare()

    logged = re.fullmatch(r"simulating 32 symbols at 50 trades a second, --seed ([0-9]+)", caplog.messages[0])

    assert logged is not None
    again = SimulatedFeed(rate=50.0, seed=int(logged[1]))
    assert np.array_equal(again._market.take(500).price, feed._market.take(500).price)
    assert SimulatedFeed().seed != SimulatedFeed().seed


def feed_of(*words: str) -> SimulatedFeed:
    parser = argparse.ArgumentParser()
    SimulatedFeed.options(parser.add_argument_group())
    return SimulatedFeed.from_options(parser.parse_args(words), ManualClock())


def test_options_make_the_feed() -> None:
    feed = feed_of("--symbols", "aapl, brk.b,BTC-USD", "--rate", "1e5", "--seed", "0")

    assert (feed.symbols, feed.rate, feed.seed) == (("AAPL", "BRK.B", "BTC-USD"), 100_000.0, 0)
    assert isinstance(feed.clock, ManualClock)


def test_without_options_it_is_a_market_of_well_known_symbols() -> None:
    feed = feed_of()

    assert (feed.symbols, feed.rate) == (tuple(KNOWN), 200.0)
    assert (feed.name, feed.kinds, feed.replay) == ("simulated", ("trades", "quotes"), None)


def test_a_number_of_symbols_makes_them_up() -> None:
    symbols = parse_symbols("5000")

    assert len(set(symbols)) == 5000


@pytest.mark.parametrize("text", ["", ",", "AAPL,", "A B", "ÄÖ", "-1", "A" * 33, "AAPL;MSFT", "*"])
def test_what_is_no_symbol_is_refused(text: str) -> None:
    expected = re.escape(f"--symbols: expected symbols such as AAPL,MSFT or a number of them, got {text!r}")

    with pytest.raises(ValueError, match=f"^{expected}$"):
        parse_symbols(text)


@pytest.mark.parametrize("text", ["0", "100001", "99999999999999999999"])
def test_a_number_of_symbols_has_bounds(text: str) -> None:
    with pytest.raises(ValueError, match=f"^--symbols: expected a number between 1 and 100,000, got {text}$"):
        parse_symbols(text)


def test_a_symbol_is_named_once() -> None:
    with pytest.raises(ValueError, match=r"^--symbols: expected each symbol once, got AAPL twice$"):
        parse_symbols("AAPL,MSFT,aapl")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", "", "10000001", "1e-7"])
def test_a_rate_that_cannot_be_is_refused(text: str) -> None:
    expected = re.escape(f"--rate: expected a number above 0, at most 10,000,000, got {text}")

    with pytest.raises(ValueError, match=f"^{expected}$"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "9" * 41])
def test_a_seed_that_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^--seed: expected a whole number of 0 or more, got {re.escape(text)}$"):
        parse_seed(text)
