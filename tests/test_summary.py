"""The monoid, against plain Python integers, which have no size."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Array, offsets_of
from ticker.summary import Summaries, Summary, concatenate, fits, nearest

TWO_63 = 2**63
SMALL = st.integers(-1000, 1000)
ANY = st.integers(-TWO_63, TWO_63 - 1)
Row = tuple[int, int, int]


def trades(values: st.SearchStrategy[int]) -> st.SearchStrategy[list[Row]]:
    return st.lists(st.tuples(values, values, values), min_size=1, max_size=12)


@st.composite
def cut_trades(draw: st.DrawFn, values: st.SearchStrategy[int]) -> list[list[Row]]:
    """Return runs of trades, one trade at least in each."""
    return draw(st.lists(trades(values), min_size=1, max_size=6))


def summarise(rows: Sequence[Row]) -> Summary:
    """Return the summary of trades as section 4 of the protocol says it, in Python integers."""
    prices = [price for _, price, _ in rows]
    return Summary(
        time=rows[-1][0],
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(size for _, _, size in rows),
        notional=sum(price * size for _, price, size in rows),
        count=len(rows),
    )


def columns(rows: Sequence[Row]) -> list[Array]:
    return [np.array(column, np.int64) for column in zip(*rows, strict=True)]


def of_each(rows: Sequence[Row]) -> Summaries:
    time, price, size = columns(rows)
    return Summaries.of_trades(time, price, size)


def of_runs(runs: Sequence[Sequence[Row]]) -> Summaries:
    time, price, size = columns([row for run in runs for row in run])
    return Summaries.of_runs(time, price, size, offsets_of(np.array([len(run) for run in runs])))


def starts_of(runs: Sequence[Sequence[Row]]) -> Array:
    return offsets_of(np.array([len(run) for run in runs]))[:-1]


def assert_same(found: Summaries, wanted: Sequence[Summary]) -> None:
    """Hold summaries to the true ones: exact where a sum fits 64 bits, else the nearest double but for the last bit."""
    assert found.size == len(wanted)
    estimates = found.estimates()
    for i, each in enumerate(wanted):
        assert tuple(column[i] for column in found[:5]) == each[:5]
        assert found.count[i] == each.count
        for number, true in enumerate((each.volume, each.notional)):
            whole = found[5 + number][i]
            if -TWO_63 <= true < TWO_63:
                assert whole == true
                assert estimates is None or np.isnan(estimates[number][i])
            else:
                assert estimates is not None
                assert estimates[number][i] == pytest.approx(float(true), rel=1e-15, abs=0)


@given(trades(ANY), trades(ANY), trades(ANY))
def test_adding_is_associative(a: list[Row], b: list[Row], c: list[Row]) -> None:
    first, second, third = map(summarise, (a, b, c))

    assert (first + second) + third == first + (second + third) == summarise(a + b + c)


@given(cut_trades(SMALL))
def test_parts_add_up_to_the_whole(runs: list[list[Row]]) -> None:
    whole = [row for run in runs for row in run]

    assert functools.reduce(operator.add, map(summarise, runs)) == summarise(whole)


@given(cut_trades(SMALL))
def test_columns_of_small_sums_are_exact_and_need_no_estimates(runs: list[list[Row]]) -> None:
    found = of_runs(runs)

    assert_same(found, [summarise(run) for run in runs])
    assert found.estimates() is None
    assert found.volume_estimate.tolist() == found.volume.tolist()
    assert found.notional_estimate.tolist() == found.notional.tolist()


@given(cut_trades(ANY))
def test_columns_of_any_sums_are_exact_where_they_fit_and_near_where_they_do_not(runs: list[list[Row]]) -> None:
    assert_same(of_runs(runs), [summarise(run) for run in runs])


@given(cut_trades(ANY))
def test_each_trade_folded_by_run_is_the_runs_summary(runs: list[list[Row]]) -> None:
    whole = [row for run in runs for row in run]

    assert_same(of_each(whole), [summarise([row]) for row in whole])
    assert_same(of_each(whole).fold(starts_of(runs)), [summarise(run) for run in runs])


@given(cut_trades(ANY), st.data())
def test_folds_of_folds_are_the_fold_of_the_whole(runs: list[list[Row]], data: st.DataObject) -> None:
    cuts = sorted({0} | data.draw(st.sets(st.integers(0, len(runs) - 1))))

    refolded = of_runs(runs).fold(np.array(cuts))

    groups = [runs[first:end] for first, end in zip(cuts, [*cuts[1:], len(runs)], strict=True)]
    assert_same(refolded, [summarise([row for run in group for row in run]) for group in groups])


@given(st.lists(st.tuples(trades(ANY), trades(ANY)), min_size=1, max_size=5))
def test_plus_joins_each_with_what_follows_it(pairs: list[tuple[list[Row], list[Row]]]) -> None:
    joined = of_runs([first for first, _ in pairs]).plus(of_runs([second for _, second in pairs]))

    assert_same(joined, [summarise(first + second) for first, second in pairs])


@given(cut_trades(ANY), st.data())
def test_take_and_concatenate_pick_and_join_all_columns(runs: list[list[Row]], data: st.DataObject) -> None:
    picked = data.draw(st.lists(st.integers(0, len(runs) - 1), min_size=1, max_size=6))

    found = concatenate([of_runs(runs).take(np.array(picked)), of_runs(runs)])

    assert_same(found, [summarise(runs[i]) for i in picked] + [summarise(run) for run in runs])


def test_bars_from_columns_keep_sums_that_were_never_told_as_unknown() -> None:
    bar = Summaries.of_columns(tuple(np.array([value]) for value in (60, 1, 3, 0, 2, 500, 0, 0)))

    assert_same(bar.plus(bar), [Summary(60, 1, 3, 0, 2, 1000, 0, 0)])


def test_no_trades_have_no_summaries() -> None:
    nothing = np.zeros(0, np.int64)

    found = Summaries.of_runs(nothing, nothing, nothing, np.zeros(1, np.int64))

    assert found.size == 0
    assert found.estimates() is None


@pytest.mark.parametrize(
    ("sizes", "fit"),
    [
        ([TWO_63 - 1], True),
        ([TWO_63 - 1, 1], False),
        ([TWO_63 - 2, 1], True),
        ([-TWO_63], True),
        ([-TWO_63, -1], False),
        ([TWO_63 - 1, TWO_63 - 1, 2], False),  # 2**64, which is 0 modulo 2**64
        ([TWO_63 - 1, TWO_63 - 1, -TWO_63, 1], True),
        ([-TWO_63] * 4, False),
    ],
)
def test_the_last_sum_that_fits_is_told_from_the_first_that_does_not(sizes: list[int], fit: bool) -> None:
    found = of_runs([[(0, 1, size) for size in sizes]])

    assert_same(found, [summarise([(0, 1, size) for size in sizes])])
    assert (found.estimates() is None) is fit


def test_a_volume_beyond_64_bits_at_a_price_of_zero_is_told_from_one_that_fits() -> None:
    run = [(0, 0, TWO_63 - 1), (0, 0, 1)]

    assert_same(of_runs([run]), [summarise(run)])


def test_millions_of_additions_that_an_estimate_cannot_feel_are_not_lost() -> None:
    start = of_runs([[(0, 1, TWO_63 - 1), (0, 1, TWO_63 - 1), (0, 1, 2)]])
    added = 3_000_000
    # Beyond 2**64 a double's last bit is worth 4096, so that adding 1000 changes nothing.
    assert start.volume_estimate[0] + 1000.0 == start.volume_estimate[0]
    parts = Summaries(*(np.repeat(column, added) for column in of_each([(0, 1, 1000)])))
    unfelt = parts._replace(volume_estimate=np.zeros(added), notional_estimate=np.zeros(added))

    total = concatenate([start, unfelt]).fold(np.array([0]))

    estimates = total.estimates()
    assert estimates is not None
    assert estimates[0].tolist() == [float(2**64 + 1000 * added)]


@given(st.integers(-(2**90), 2**90), st.floats(-0.49, 0.49))
def test_a_true_sum_is_found_from_any_estimate_less_than_half_of_2_to_the_64_off(true: int, error: float) -> None:
    whole = np.array([(true + TWO_63) % 2**64 - TWO_63])
    estimate = np.array([float(true) + error * 2.0**64])

    assert fits(whole, estimate).tolist() == [-TWO_63 <= true < TWO_63]
    assert nearest(whole, estimate)[0] == pytest.approx(float(true), rel=1e-15, abs=0)
