"""Who is who: numbers that never change, integers of channels, pages of symbols."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.model import Instrument, Series
from ticker.stream.directory import Directory

SERIES = (Series("trades"), Series("quotes"), Series("bars", 1), Series("bars", 60))
NAMES = st.text("ABÄ.", min_size=1, max_size=3)


def directory(*symbols: str) -> Directory:
    return Directory("e", SERIES, [Instrument(symbol) for symbol in symbols])


def test_symbols_are_numbered_as_they_come() -> None:
    known = directory("MSFT", "AAPL")

    fresh = known.add([Instrument("AAPL"), Instrument("TSLA"), Instrument("TSLA"), Instrument("AMD")])

    assert fresh == [2, 3]
    assert known.numbers == {"MSFT": 0, "AAPL": 1, "TSLA": 2, "AMD": 3}
    assert [each.symbol for each in known.instruments] == ["MSFT", "AAPL", "TSLA", "AMD"]
    assert len(known) == 4


@pytest.mark.parametrize(
    "instruments",
    [
        [Instrument("TSLA"), Instrument("AAPL", price_scale=4)],
        [Instrument("TSLA"), Instrument("TSLA", size_scale=1)],
        [Instrument("TSLA"), Instrument("AAPL", time_scale=9)],
    ],
)
def test_scales_that_change_are_refused_and_nothing_is_added(instruments: list[Instrument]) -> None:
    known = directory("AAPL")

    with pytest.raises(ValueError, match="scales never change within an epoch"):
        known.add(instruments)

    assert known.numbers == {"AAPL": 0}
    assert known.page("", "", 10) == (["AAPL"], False)


def test_seconds_have_as_many_units_as_a_symbols_time_scale_says() -> None:
    known = Directory("e", SERIES, [Instrument("A", time_scale=6), Instrument("B", time_scale=9)])
    known.add([Instrument("C", time_scale=6)])

    assert known.time_units(np.array([2, 1, 0])).tolist() == [10**6, 10**9, 10**6]


def test_every_channel_of_both_modes_has_an_integer_of_its_own_that_stays() -> None:
    known = directory("A", "B")
    before = {(s, mode, n): known.channel(s, mode, n) for s in SERIES for mode in (False, True) for n in (0, 1)}

    known.add([Instrument("C")])

    after = {(s, mode, n): known.channel(s, mode, n) for s in SERIES for mode in (False, True) for n in (0, 1, 2)}
    assert len(set(after.values())) == len(after) == 24
    assert before.items() <= after.items()
    for series in SERIES:
        for mode in (False, True):
            wanted = [after[series, mode, number] for number in (2, 0, 1)]
            assert known.channels(series, mode, np.array([2, 0, 1])).tolist() == wanted


def test_kinds_and_intervals_are_those_of_its_series() -> None:
    known = directory()

    assert known.kinds == ("trades", "quotes", "bars")
    assert known.intervals == (1, 60)


@given(st.lists(NAMES, max_size=12), NAMES | st.just(""), NAMES | st.just(""), st.integers(1, 5))
def test_a_page_is_the_sorted_symbols_with_the_prefix_behind_the_last(
    symbols: list[str], prefix: str, after: str, limit: int
) -> None:
    known = directory(*symbols[:3])
    for symbol in symbols[3:]:
        known.add([Instrument(symbol)])

    page, more = known.page(prefix, after, limit)

    matching = sorted(symbol for symbol in set(symbols) if symbol.startswith(prefix) and symbol > after)
    assert page == matching[:limit]
    assert more is (len(matching) > limit)


@given(st.lists(NAMES, max_size=12), NAMES | st.just(""), st.integers(1, 3))
def test_pages_one_after_the_other_have_every_symbol_once(symbols: list[str], prefix: str, limit: int) -> None:
    known, seen, more = directory(*symbols), list[str](), True

    while more:
        page, more = known.page(prefix, seen[-1] if seen else "", limit)
        seen += page

    assert seen == sorted(symbol for symbol in set(symbols) if symbol.startswith(prefix))
