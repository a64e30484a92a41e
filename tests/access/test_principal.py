"""What a principal may see."""

from __future__ import annotations

import pytest

from ticker.access.principal import ANYONE, Principal


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
    principal = Principal("a", patterns)

    assert all(principal.may_see(symbol) for symbol in seen)
    assert not any(principal.may_see(symbol) for symbol in unseen)
    assert not principal.may_see_all


def test_anyone_may_see_all_for_ever() -> None:
    assert ANYONE.may_see_all
    assert ANYONE.may_see("anything")
    assert not ANYONE.has_expired(1e12)
