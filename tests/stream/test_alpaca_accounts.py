"""Credentials, plans and the count of connections."""

from __future__ import annotations

import pytest

from ticker.config import Settings
from ticker.protocol.alpaca import Credentials
from ticker.stream.alpaca_accounts import PLANS, Accounts


@pytest.mark.parametrize(
    ("key", "secret", "is_right"),
    [
        ("PK", "S", True),
        ("PK", "s", False),
        ("pk", "S", False),
        ("PK:S", "", False),
        ("", "PK:S", False),
        ("P", "K:S", False),
    ],
)
def test_key_and_secret_are_compared_as_they_are(key: str, secret: str, is_right: bool) -> None:
    accounts = Accounts([Credentials("OTHER", "X"), Credentials("PK", "S")])

    assert not accounts.is_open
    for is_local in (True, False):
        grant = accounts.grant(Credentials(key, secret), is_local)
        assert (grant.principal.name if grant else None) == ("PK" if is_right else None)


def test_text_that_no_utf_8_has_is_just_wrong() -> None:
    assert not Accounts([Credentials("PK", "S")]).grant(Credentials("\ud800", "S"), is_local=True)


@pytest.mark.parametrize(("key", "secret"), [("", "S"), ("K", ""), ("", "")])
def test_empty_credentials_are_wrong_where_all_others_are_right(key: str, secret: str) -> None:
    assert Accounts().is_open
    assert Accounts().grant(Credentials("K", "S"), is_local=True)
    assert not Accounts().grant(Credentials(key, secret), is_local=True)
    assert not Accounts().grant(Credentials("K", "S"), is_local=False)


def test_a_plan_counts_the_connections_of_each_key_on_each_stream() -> None:
    accounts = Accounts(plan=PLANS["free"])

    assert accounts.enter("K", "iex")
    assert not accounts.enter("K", "iex")
    assert accounts.enter("K", "test")
    assert accounts.enter("L", "iex")
    accounts.leave("K", "iex")
    assert accounts.enter("K", "iex")


def test_without_a_plan_there_are_no_limits() -> None:
    accounts = Accounts()

    assert all(accounts.enter("K", "iex") for _ in range(1000))
    assert PLANS["none"].allows(["*"] * 1000, ["*"])
    assert not PLANS["none"].excluded


@pytest.mark.parametrize(
    ("trades", "quotes", "is_allowed"),
    [(30, 0, True), (0, 30, True), (15, 15, True), (16, 15, False), (31, 0, False), (0, 31, False)],
)
def test_the_free_plan_counts_entries_of_trades_and_quotes(trades: int, quotes: int, is_allowed: bool) -> None:
    symbols = [f"S{number}" for number in range(40)]

    assert PLANS["free"].allows(symbols[:trades], symbols[:quotes]) is is_allowed


def test_the_plans_are_those_that_the_option_takes() -> None:
    assert [Settings("simulated", alpaca_plan=name).alpaca_plan for name in PLANS] == ["none", "free"]
