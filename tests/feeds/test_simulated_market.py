"""The laws of the simulated market: what its rows are like, whatever the seed and however long it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.simulated_market import LARGEST_MOVE, LOT, Market, Rows, lots, student_t
from feeds.simulated_symbols import KNOWN, Profile, made_up, profile

WELL_KNOWN = list(KNOWN.values())
DAY_S = 6.5 * 3600
DEFAULT_RATE = 200.0


def closes(market: Market, symbols: int, rows: int, steps: int) -> npt.NDArray[np.float64]:
    """Return the last price of each symbol after each of `steps` times `rows` rows; the first steps warm up."""
    last = np.full(symbols, np.nan)
    table = np.empty((steps, symbols))
    for step in range(steps):
        taken = market.take(rows)
        last[taken.codes] = taken.price  # of equal codes the last one stays
        table[step] = last
    return table[~np.isnan(table).any(axis=1)]


def returns(profiles: Sequence[Profile], rate: float, step_s: float, steps: int) -> npt.NDArray[np.float64]:
    """Return the log returns of each symbol over each of `steps` times `step_s` seconds."""
    market = Market(profiles, rate, seed=7)
    return np.diff(np.log(closes(market, len(profiles), int(rate * step_s), steps)), axis=0)


def correlations(moves: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the correlation of each two symbols' returns."""
    table: npt.NDArray[np.float64] = np.asarray(np.corrcoef(moves.T))
    return table[np.triu_indices(len(table), 1)]


@pytest.fixture(scope="module")
def minutes() -> npt.NDArray[np.float64]:
    """Two days of one-minute returns of the well-known symbols."""
    return returns(WELL_KNOWN, rate=20, step_s=60, steps=800)


def assert_it_is_a_market(rows: Rows) -> None:
    assert (rows.bid_price < rows.ask_price).all()
    assert ((rows.price == rows.bid_price) | (rows.price == rows.ask_price)).all()
    assert (rows.bid_price > 0).all()
    for sizes in (rows.size, rows.bid_size, rows.ask_size):
        assert (sizes >= LOT).all()
        assert (sizes % LOT == 0).all()
    for column in rows[1:]:
        assert column.dtype == np.int64


def start_prices(profiles: Sequence[Profile]) -> npt.NDArray[np.int64]:
    return np.array([each.price for each in profiles])


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_trades_happen_at_the_bid_or_the_ask_and_sizes_are_lots(seed: int) -> None:
    assert_it_is_a_market(Market(WELL_KNOWN, DEFAULT_RATE, seed).take(100_000))


def test_the_bid_is_below_the_ask_for_any_number_of_symbols_at_any_rate() -> None:
    for symbols, rate in ((1, 1e-6), (2, 1.0), (5000, 1e6), (70_000, 1e7)):
        profiles = [profile(symbol) for symbol in made_up(symbols)]

        assert_it_is_a_market(Market(profiles, rate, 1).take(50_000))


def test_spreads_are_a_few_hundredths_of_a_percent() -> None:
    rows = Market(WELL_KNOWN, DEFAULT_RATE, 1).take(50_000)

    assert ((rows.ask_price - rows.bid_price) / rows.price).max() < 5e-4


def test_a_day_moves_prices_by_what_their_volatility_says() -> None:
    rows = Market(WELL_KNOWN, rate=4.0, seed=3).take(int(4 * DAY_S))
    start = start_prices(WELL_KNOWN)[rows.codes]

    moves = np.abs(np.log(rows.price / start))

    assert 0.005 < moves.max() < 0.15


@pytest.mark.parametrize("seed", range(3))
def test_prices_stay_plausible_for_the_time_of_a_billion_ticks(seed: int) -> None:
    # How far prices go is a matter of the time that passes. This is the time of 10^9 rows at the default rate, in a
    # five-thousandth of the rows: some 214 trading days.
    slowness = 5000
    market = Market(WELL_KNOWN, DEFAULT_RATE / slowness, seed)

    rows = market.take(1_000_000_000 // slowness)

    assert_it_is_a_market(rows)
    moves = np.abs(np.log(rows.price / start_prices(WELL_KNOWN)[rows.codes]))
    assert 0.1 < moves.max() < 0.7


class Extreme:
    """Random bits with the largest step of all, up or down, drawn in every row."""

    def __init__(self, upwards: bool) -> None:
        self._bits = np.random.SFC64(1)
        self._step = 0xFFFF if upwards else 0

    def random_raw(self, count: int) -> Any:
        bits = self._bits.random_raw(count)
        if count > 64:  # a block, not a mood
            bits.view(np.uint16).reshape(8, -1)[2:4] = self._step  # the market's own and the symbols' own steps
        return bits


CHEAPEST = Profile("LOW", price=1000, volatility=0.024, load=0.5, activity=1 / 1.05)
DEAREST = Profile("HIGH", price=100_000, volatility=0.024, load=0.8, activity=1 / 1.05)


@pytest.mark.parametrize("upwards", [True, False])
def test_no_draw_whatsoever_makes_a_price_implausible_however_often_it_is_drawn(upwards: bool) -> None:
    profiles = [*WELL_KNOWN, CHEAPEST, DEAREST]
    market = Market(profiles, rate=0.01, seed=1)
    market._random = Extreme(upwards)  # type: ignore[assignment]
    market.take(20_000)  # whatever was drawn before is over; the walks are at their worst

    rows = market.take(20_000)

    assert_it_is_a_market(rows)
    furthest = start_prices(profiles)[rows.codes] * (4.0 if upwards else 0.25)
    spread = rows.ask_price - rows.bid_price
    assert math.exp(LARGEST_MOVE) == pytest.approx(4)
    assert (np.abs(rows.price - furthest) <= spread + 1).all()  # it got as far as it can, and no further


def test_the_symbols_of_any_name_are_dear_enough_for_the_law_above() -> None:
    profiles = [profile(symbol) for symbol in made_up(5_000)]

    assert min(each.price for each in profiles) >= CHEAPEST.price
    assert max(each.volatility for each in profiles) <= CHEAPEST.volatility
    assert min(each.activity for each in profiles) >= CHEAPEST.activity - 1e-9


def test_returns_have_fat_tails(minutes: npt.NDArray[np.float64]) -> None:
    scaled = (minutes - minutes.mean(axis=0)) / minutes.std(axis=0)
    kurtosis = (scaled**4).mean(axis=0)  # 3 where they are normal

    assert np.median(kurtosis) > 4
    assert kurtosis.min() > 3.2
    assert np.abs(scaled).max() > 5


def test_returns_are_as_volatile_as_the_profile_says(minutes: npt.NDArray[np.float64]) -> None:
    day = minutes.std(axis=0) * math.sqrt(DAY_S / 60)

    ratio = day / np.array([each.volatility for each in WELL_KNOWN])

    assert 0.7 < np.median(ratio) < 1.4
    assert ratio.min() > 0.5
    assert ratio.max() < 2


def test_returns_correlate_as_those_of_a_market_do(minutes: npt.NDArray[np.float64]) -> None:
    correlation = correlations(minutes)

    assert 0.2 < correlation.mean() < 0.6
    assert correlation.max() > 0.7  # SPY and QQQ
    assert correlation.min() < 0.3


def test_symbols_that_are_made_up_correlate_too() -> None:
    moves = returns([profile(symbol) for symbol in made_up(200)], rate=20, step_s=300, steps=250)

    correlation = correlations(moves)

    assert 0.2 < correlation.mean() < 0.6


def test_there_are_calm_and_nervous_moments(minutes: npt.NDArray[np.float64]) -> None:
    size = np.abs(minutes).mean(axis=1)

    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.15


def test_symbols_trade_as_often_as_they_are_active() -> None:
    rows = Market(WELL_KNOWN, DEFAULT_RATE, 5).take(200_000)

    share = np.bincount(rows.codes, minlength=len(WELL_KNOWN)) / 200_000

    activity = np.array([each.activity for each in WELL_KNOWN])
    assert share == pytest.approx(activity / activity.sum(), rel=0.1)


@given(counts=st.lists(st.integers(1, 400), min_size=1, max_size=30), seed=st.integers(0, 2**64))
@settings(max_examples=30)
def test_the_same_seed_gives_the_same_rows_however_they_are_taken(counts: list[int], seed: int) -> None:
    pieces = Market(WELL_KNOWN, DEFAULT_RATE, seed)
    whole = Market(WELL_KNOWN, DEFAULT_RATE, seed).take(sum(counts))

    taken = [pieces.take(count) for count in counts]

    assert [len(rows.codes) for rows in taken] == counts
    for column, expected in zip(map(np.concatenate, zip(*taken, strict=True)), whole, strict=True):
        assert np.array_equal(column, expected)


def test_another_seed_gives_other_rows() -> None:
    one, other = (Market(WELL_KNOWN, DEFAULT_RATE, seed).take(1000) for seed in (1, 2))

    assert not any(np.array_equal(left, right) for left, right in zip(one, other, strict=True))


def test_rows_that_were_taken_never_change() -> None:
    market = Market(WELL_KNOWN, DEFAULT_RATE, 1)
    rows = market.take(150)
    copies = [column.copy() for column in rows]

    market.take(10_000)

    for column, copy in zip(rows, copies, strict=True):
        assert np.array_equal(column, copy)


def test_steps_have_the_quantiles_of_students_distribution() -> None:
    # Printed tables give 0.741, 1.533, 2.132, 2.776, 3.747 for four degrees of freedom, whose variance is 2.
    quantiles = student_t(100_000)

    assert quantiles.std() == pytest.approx(1)
    assert quantiles == pytest.approx(-quantiles[::-1])
    for p, value in ((0.75, 0.741), (0.9, 1.533), (0.95, 2.132), (0.975, 2.776), (0.99, 3.747)):
        assert quantiles[int(p * 100_000)] == pytest.approx(value / math.sqrt(2), rel=0.01)


def test_sizes_are_lots_most_of_them_small() -> None:
    sizes = lots(1 << 16, mean=2.5, tail=1.5)

    assert (sizes.min(), sizes.max()) == (LOT, 250 * LOT)
    assert np.median(sizes) <= 2 * LOT
    assert 1.5 * LOT < sizes.mean() < 2.5 * LOT
