"""What a client of an Alpaca stream may ask in a second, and what its refusals are counted as."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stream.conftest import World
from tests.stream.test_alpaca_session import LOCAL, Client
from ticker.access.gate import Gate
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, Tokens, hash_of
from ticker.model import Instrument
from ticker.protocol.alpaca import Credentials
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.messages import CloseCode
from ticker.stream.alpaca_accounts import PLANS, Accounts
from ticker.stream.alpaca_session import Guest
from ticker.stream.market import Limits

STARTING = 20 * 50
"""Requests beyond the limit of 50 that a client may make at its start."""


def client_of(accounts: Accounts | None = None, *, guest: Guest = LOCAL, feed: str = "iex", **limits: int) -> Client:
    """Return a client that is connected to a market of its own."""
    world = World((Instrument("AAPL"), Instrument("MSFT")), limits=Limits(**limits))
    return Client(world, JsonAlpacaCodec("us_equity", world.directory), accounts or Accounts(), guest, feed)


def refusals(client: Client) -> dict[str, int]:
    return dict(client.world.market.counts.refusals)


def subscribe(client: Client, times: int) -> None:
    for _ in range(times):
        client.say(action="subscribe", trades=["AAPL"])


@pytest.fixture
def started() -> Client:
    """A client that has used up what it may ask beyond the limit at its start."""
    client = client_of()
    client.log_in()
    subscribe(client, STARTING + 50)
    assert client.codes == []
    client.world.advance(1)
    client.arrays.clear()
    return client


def test_fifty_requests_a_second_are_answered_and_the_others_refused(started: Client) -> None:
    subscribe(started, 60)
    assert started.codes == [405] * 10
    assert started.last == {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
    assert refusals(started) == {"limit": 10}

    started.world.advance(1)
    started.say(action="subscribe", trades=["MSFT"])

    assert started.last["trades"] == ["AAPL", "MSFT"], "the connection and its lists are as they were"


def test_a_bot_that_asks_for_a_thousand_symbols_one_by_one_gets_them() -> None:
    client = client_of()
    client.log_in()
    names = [f"S{number}" for number in range(1000)]
    for last in range(len(names)):
        client.say(action="subscribe", trades=names[last : last + 1])

    assert client.codes == []
    assert client.last["trades"] == names


def test_unsubscribing_is_never_refused_and_never_counted(started: Client) -> None:
    for _ in range(200):
        started.say(action="unsubscribe", trades=["AAPL"])
    assert started.codes == []
    subscribe(started, 51)
    started.say(action="unsubscribe", trades=["AAPL"])

    assert started.codes == [405]
    assert started.last["trades"] == []


def test_who_was_refused_others_may_still_authenticate() -> None:
    client = client_of(commands_per_s=5)
    subscribe(client, 7)
    client.log_in()

    assert client.codes == [401] * 5 + [405] * 2
    assert client.last["msg"] == "authenticated"
    assert refusals(client) == {"unauthenticated": 5, "limit": 2}


def test_attempts_to_authenticate_have_a_limit_of_their_own(started: Client) -> None:
    for _ in range(52):
        started.log_in()
    assert started.codes == [403] * 50 + [405] * 2

    subscribe(started, 50)

    assert started.last["T"] == "subscription"


def test_what_cannot_be_understood_counts_as_well(started: Client) -> None:
    for data in ("{", b"\xff", "[]", json.dumps({"action": "dance"})) * 15:
        started.session.receive(data, started.world.now_s)

    assert started.codes == [400] * 50 + [405] * 10
    assert refusals(started) == {"bad_request": 50, "limit": 10}


@pytest.mark.parametrize("action", ["subscribe", "auth"])
def test_who_passes_the_limit_for_ten_seconds_on_end_is_closed(started: Client, action: str) -> None:
    def ask() -> None:
        for _ in range(51):
            started.say(action=action, key="PK", secret="S")

    for _ in range(9):
        ask()
        started.world.advance(1)
    assert started.session.closing is None

    ask()

    assert started.session.closing is CloseCode.LIMIT
    assert started.codes[-1] == 405


def test_a_second_within_the_limit_begins_the_ten_anew(started: Client) -> None:
    for second in range(25):
        if second != 9 and second != 17:
            subscribe(started, 51)
        started.world.advance(1)

    assert started.session.closing is None


def test_a_token_has_its_own_limit_and_what_it_forbids_is_counted() -> None:
    token, limits = "a token, long enough", {"commands_per_s": 2}

    def entries() -> list[Entry]:
        return [Entry(hash_of(token), Principal("bot", ("A*",), **limits))]

    gate = Gate([Tokens(entries)])
    client = client_of(Accounts(gate=gate))
    client.log_in("bot", token)
    subscribe(client, 2 + 20 * 2 + 1)
    assert client.codes == [405]

    limits["commands_per_s"] = 4
    gate.reload()
    client.tick(1)
    subscribe(client, 5)

    assert client.codes == [405] * 2

    client.world.advance(1)
    client.say(action="subscribe", trades=["MSFT"])

    assert client.codes[-1] == 411
    assert refusals(client) == {"limit": 2, "forbidden": 1}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"action": "subscribe", "trades": "AAPL"}, "bad_request"),
    ({"action": "auth", "key": "PK", "secret": "S"}, "bad_request"),
    ({"action": "subscribe", "trades": [f"S{number}" for number in range(31)]}, "channels"),
    ({"action": "subscribe", "orderbooks": ["AAPL"]}, "unknown_kind"),
]


@pytest.mark.parametrize(("request_", "reason"), BAD)
def test_a_refusal_is_counted_by_its_reason(request_: dict[str, Any], reason: str) -> None:
    client = client_of(Accounts(plan=PLANS["free"]))
    client.log_in()
    client.say(**request_)

    assert len(client.codes) == 1
    assert refusals(client) == {reason: 1}


def test_so_are_those_of_the_door() -> None:
    free = Accounts(plan=PLANS["free"])
    first, second, third = client_of(free), client_of(free), client_of(free, feed="sip")
    for client in (first, second, third):
        client.log_in()
    wrong = client_of(guest=Guest("192.0.2.7", False, Credentials("PK", "S")))
    late = client_of()
    for client in (second, wrong, late):
        client.tick(11)

    assert [client.codes for client in (first, second, third, wrong, late)] == [[], [406], [409], [402], [404]]
    assert [refusals(client) for client in (first, second, third, wrong, late)] == [
        {},
        {"connections_of_principal": 1},
        {"forbidden": 1},
        {"token": 1},
        {"unauthenticated": 1},
    ]
