"""Views: what patterns permit, of the symbols of now and of those to come."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.model import Instrument, Series
from ticker.stream.directory import Directory
from ticker.stream.views import MOST_VIEWS, Matcher, View, Views, why_not

names = st.text("AB1*?[]!-.", min_size=1, max_size=4)
symbols_of_all_sorts = names.filter(lambda name: name != "*")
TRADES = Series("trades")


def directory(*symbols: str) -> Directory:
    return Directory("e", [TRADES], [Instrument(symbol) for symbol in symbols])


@pytest.mark.parametrize(
    ("patterns", "seen", "unseen"),
    [
        (("AAPL",), ["AAPL"], ["aapl", "AAPL2", "A", ""]),
        (("BTC*", "ETH?"), ["BTC", "BTCUSD", "ETH2"], ["XBTC", "ETH", "ETHUS"]),
        (("[A-C]X",), ["AX", "CX"], ["DX", "X"]),
        ((), [], ["AAPL", "*"]),
        (("?*",), ["A", "AAPL"], [""]),
    ],
)
def test_one_pattern_that_matches_is_enough(patterns: tuple[str, ...], seen: list[str], unseen: list[str]) -> None:
    matches = Matcher(patterns)

    assert all(map(matches, seen))
    assert not any(map(matches, unseen))


@given(
    patterns=st.lists(names, max_size=5),
    first=st.lists(symbols_of_all_sorts, unique=True, max_size=8),
    later=st.lists(symbols_of_all_sorts, unique=True, max_size=8),
)
def test_a_view_permits_what_fnmatch_does(patterns: list[str], first: list[str], later: list[str]) -> None:
    known = directory(*first)
    view = View(known, patterns)

    for symbols in ([], later):
        known.add([Instrument(symbol) for symbol in symbols])
        permitted = [each.symbol for each in known.instruments if any(fnmatchcase(each.symbol, p) for p in patterns)]
        assert [known.instruments[number].symbol for number in view.numbers] == permitted
        assert [number for number in range(len(known)) if view.has(number)] == list(view.numbers)
        assert all(view.may_see(symbol) == (symbol in permitted) for symbol in known.numbers)
        assert view.page("", "", 100) == (sorted(permitted), False)


@given(
    symbols=st.lists(symbols_of_all_sorts, unique=True, max_size=10),
    prefix=st.text("AB", max_size=2),
    after=names,
    limit=st.integers(1, 4),
)
def test_pages_of_a_view_of_everything_are_those_of_the_directory(
    symbols: list[str], prefix: str, after: str, limit: int
) -> None:
    known = directory(*symbols)

    assert View(known, ["?*"]).page(prefix, after, limit) == known.page(prefix, after, limit)
    assert View(known, ["?*"]).page(prefix, "", limit) == known.page(prefix, "", limit)


def test_clients_of_the_same_patterns_share_a_view_and_those_that_see_all_need_none() -> None:
    views = Views(directory("AAPL"))

    assert views.of(("A*",)) is views.of(("A*",))
    assert views.of(("*",)) is None
    assert views.of(("A", "*")) is None
    assert views.of(()) is not None


def test_only_the_views_in_use_are_kept() -> None:
    views = Views(directory("AAPL"))
    first = views.of(("first",))
    for number in range(MOST_VIEWS - 1):
        views.of((f"S{number}",))
        assert views.of(("first",)) is first

    for number in range(MOST_VIEWS):
        views.of((f"T{number}",))

    assert views.of(("first",)) is not first


def test_forbidden_comes_before_unknown() -> None:
    known = directory("AAPL", "MSFT")
    view = View(known, ["A*"])

    assert [why_not(known, view, each) for each in ("AAPL", "AXX", "MSFT", "XXX")] == [
        None,
        "unknown_symbol",
        "forbidden",
        "forbidden",
    ]
    assert [why_not(known, None, each) for each in ("AAPL", "XXX")] == [None, "unknown_symbol"]
