"""Requests of Alpaca's clients, what is wrong with them, and what is confirmed."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.protocol.alpaca import (
    CRYPTO,
    STOCKS,
    AlpacaError,
    Credentials,
    Subscribe,
    Unsubscribe,
    parse,
)

GO_LISTS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "imbalances", "lulds", "cancelErrors")
GO_LISTS += ("corrections", "orderbooks", "news")


def refusal(message: dict[Any, Any]) -> int:
    with pytest.raises(AlpacaError) as error:
        parse(message)
    return error.value.code


def test_credentials_are_a_key_and_a_secret_and_a_token_has_two_names() -> None:
    assert parse({"action": "auth", "key": "K", "secret": "S"}) == Credentials("K", "S")
    assert parse({"action": "auth", "key": "oauth", "secret": "T"}) == Credentials("oauth", "T")
    assert parse({"action": "auth", "key": "access_token", "secret": "T"}) == Credentials("oauth", "T")


def test_lists_keep_the_clients_order_and_name_each_symbol_once() -> None:
    request = parse({"action": "subscribe", "trades": ["MSFT", "AAPL", "MSFT"], "bars": ["*"]})

    assert request == Subscribe({"trades": ("MSFT", "AAPL"), "bars": ("*",)})


def test_lists_that_are_null_or_empty_mean_nothing_whatever_their_name() -> None:
    lists = dict.fromkeys(GO_LISTS) | {"trades": ["AAPL"], "pricing": [], "novelties": None}

    assert parse({"action": "unsubscribe", **lists}) == Unsubscribe({"trades": ("AAPL",)})


def test_corrections_cannot_be_set_on_their_own() -> None:
    assert parse({"action": "subscribe", "corrections": ["AAPL"], "cancelErrors": ["*"]}) == Subscribe({})


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"action": None},
        {"action": 7},
        {"action": "listen"},
        {"action": "auth"},
        {"action": "auth", "key": "K"},
        {"action": "auth", "key": 1, "secret": "S"},
        {"action": "subscribe", "trades": "AAPL"},
        {"action": "subscribe", "trades": {"AAPL": 1}},
        {"action": "subscribe", "trades": ["AAPL", 7]},
        {"action": "subscribe", "trades": ["aapl"]},
        {"action": "subscribe", "trades": [""]},
        {"action": "subscribe", "trades": ["A" * 129]},
        {"action": "subscribe", "novelties": ["AAPL"]},
        {"action": "subscribe", b"trades": ["AAPL"]},
        {"action": "unsubscribe", "trades": ["A\nB"]},
        {"T": "subscribe"},
    ],
)
def test_what_cannot_be_understood_is_invalid_syntax(message: dict[Any, Any]) -> None:
    assert refusal(message) == 400


def test_a_symbol_that_the_feed_has_is_right_whatever_it_looks_like() -> None:
    message = {"action": "subscribe", "trades": ["bitstampUSD"]}

    assert parse(message, {"bitstampUSD"}.__contains__) == Subscribe({"trades": ("bitstampUSD",)})


@pytest.mark.parametrize(
    ("offer", "channel", "is_offered"),
    [
        (STOCKS, "statuses", True),
        (STOCKS, "imbalances", True),
        (STOCKS, "orderbooks", False),
        (STOCKS, "news", False),
        (STOCKS, "pricing", False),
        (CRYPTO, "orderbooks", True),
        (CRYPTO, "statuses", False),
        (CRYPTO, "lulds", False),
    ],
)
def test_a_list_for_a_channel_of_another_stream_is_an_invalid_subscribe_action(
    offer: Any, channel: str, is_offered: bool
) -> None:
    request = parse({"action": "subscribe", channel: ["BTC/USD"]})
    assert isinstance(request, Subscribe)

    if is_offered:
        offer.check(request.lists)
    else:
        with pytest.raises(AlpacaError, match="invalid subscribe action for this feed") as error:
            offer.check(request.lists)
        assert error.value.code == 410


def test_a_confirmation_lists_all_channels_and_begins_with_its_type() -> None:
    message = STOCKS.confirmation({"trades": ("AAPL",), "quotes": ("AMD", "CLDR"), "bars": ("*",)})

    assert next(iter(message)) == "T"
    assert message == {
        "T": "subscription",
        "trades": ["AAPL"],
        "quotes": ["AMD", "CLDR"],
        "bars": ["*"],
        "updatedBars": [],
        "dailyBars": [],
        "statuses": [],
        "lulds": [],
        "imbalances": [],
        "corrections": ["AAPL"],
        "cancelErrors": ["AAPL"],
    }
    assert list(CRYPTO.confirmation({})) == ["T", "trades", "quotes", "bars", "updatedBars", "dailyBars", "orderbooks"]


def test_errors_have_the_vendors_texts_and_begin_with_their_type() -> None:
    message = AlpacaError(402).message

    assert list(message.items()) == [("T", "error"), ("code", 402), ("msg", "auth failed")]
    assert AlpacaError(409).message["msg"] == "insufficient subscription"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=3),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["action", "trades", "key", "secret", *GO_LISTS]) | st.text(), VALUES))
def test_no_map_raises_anything_but_an_error_of_the_dialect(message: dict[Any, Any]) -> None:
    for action in (message.get("action"), "auth", "subscribe"):
        with contextlib.suppress(AlpacaError):
            parse({**message, "action": action})
