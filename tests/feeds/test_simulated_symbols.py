"""The symbols of the simulated market and what each is like."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.simulated import instrument
from feeds.simulated_symbols import KNOWN, made_up, profile


def test_some_thirty_well_known_symbols_have_plausible_profiles() -> None:
    assert 28 <= len(KNOWN) <= 35
    assert {"AAPL", "MSFT", "NVDA", "TSLA", "SPY"} <= KNOWN.keys()
    for symbol, each in KNOWN.items():
        assert each.symbol == symbol
        assert 1_000 <= each.price <= 100_000  # 10 to 1,000 dollars
        assert 0.005 <= each.volatility <= 0.03
        assert 0.3 <= each.load < 1
        assert each.activity >= 1


def test_a_known_symbol_has_its_own_profile_and_another_always_the_same_one() -> None:
    assert profile("AAPL") is KNOWN["AAPL"]
    assert profile("XXXX") == profile("XXXX")
    assert profile("XXXX") != profile("XXXY")


@given(st.text(min_size=1, max_size=32))
def test_any_symbol_has_a_plausible_profile(symbol: str) -> None:
    each = profile(symbol)

    assert each.symbol == symbol
    assert 1_000 <= each.price <= 100_000
    assert 0.005 <= each.volatility <= 0.03
    assert 0.3 <= each.load < 1
    assert 0.9 <= each.activity <= 24


@pytest.mark.parametrize("count", [1, 2, 500, 5000, 100_000])
def test_made_up_symbols_are_all_different_and_always_the_same(count: int) -> None:
    symbols = list(made_up(count))

    assert len(symbols) == len(set(symbols)) == count
    assert all(re.fullmatch(r"[A-Z]{4,5}", symbol) for symbol in symbols)
    assert list(made_up(count)) == symbols


def test_a_symbol_with_a_slash_is_a_coin_and_trades_in_fractions() -> None:
    coin, share = instrument("BTC/USD"), instrument("AAPL")

    assert (coin.asset_class, coin.size_scale) == ("crypto", 4)
    assert (share.asset_class, share.size_scale) == ("us_equity", 0)
