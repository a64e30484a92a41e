"""Tokens on Alpaca's streams: what they permit, what is taken away, and how a connection ends."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stream.conftest import World
from tests.stream.test_alpaca_session import Client
from ticker.access.gate import Gate
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, Tokens, hash_of
from ticker.model import Instrument
from ticker.protocol.alpaca import Credentials
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.messages import CloseCode
from ticker.stream.alpaca_accounts import PLANS, Accounts
from ticker.stream.alpaca_subscriptions import Everything

TOKEN = "a token, long enough"


class Rig:
    """A market whose gate knows one token, for what a test says."""

    def __init__(self, **principal: Any) -> None:
        self.world = World((Instrument("AAPL"), Instrument("MSFT"), Instrument("BTC", asset_class="crypto")))
        self.codec = JsonAlpacaCodec("us_equity", self.world.directory)
        self.principals = {TOKEN: Principal("bot", **principal)}
        tokens = Tokens(lambda: [Entry(hash_of(token), each) for token, each in self.principals.items()])
        self.gate = Gate([tokens], lambda: 1000.0 + self.world.now_s)
        self.accounts = Accounts(gate=self.gate)

    def client(self) -> Client:
        client = Client(self.world, self.codec, self.accounts)
        client.log_in("bot", TOKEN)
        return client

    def change(self, **principal: Any) -> None:
        """Write the file anew, and have it read."""
        self.principals = {TOKEN: Principal("bot", **principal)} if principal else {}
        self.gate.reload()

    def trade(self, *symbols: str) -> None:
        for symbol in symbols:
            self.world.trade(symbol)
        self.world.flush()


def rows(client: Client) -> list[str]:
    """Return the symbols of the trades that came since the last time."""
    symbols = [each["S"] for array in client.arrays for each in array if each["T"] == "t"]
    client.arrays.clear()
    return symbols


def test_everything_is_what_the_token_permits_of_now_and_later() -> None:
    rig = Rig(symbols=("A*", "B*"))
    client = rig.client()
    client.say(action="subscribe", trades=["*"])
    rig.trade("AAPL", "MSFT", "BTC")
    assert rows(client) == ["AAPL"]

    for name in ("AMD", "MU"):
        rig.world.announce(Instrument(name))
        client.session.announce([rig.world.directory.numbers[name]])
    rig.trade("AMD", "MU", "AAPL")

    assert sorted(rows(client)) == ["AAPL", "AMD"]


def test_a_symbol_that_is_not_permitted_is_refused_whether_or_not_there_is_one() -> None:
    client = Rig(symbols=("A*",)).client()
    client.say(action="subscribe", trades=["AAPL"])
    confirmed = client.last

    for symbol in ("MSFT", "NONE"):
        client.say(action="subscribe", trades=["AAPL"], quotes=[symbol])
        assert client.last == {"T": "error", "code": 411, "msg": "insufficient scope"}
    client.say(action="unsubscribe", quotes=["MSFT"])

    assert client.last == confirmed


def test_a_symbol_of_an_odd_name_is_known_to_those_only_who_may_see_it() -> None:
    rig = Rig(symbols=("A*",))
    for name in ("aapl", "Apple"):
        rig.world.batcher.announce([Instrument(name)])
    stranger, client = Client(rig.world, rig.codec, rig.accounts), rig.client()

    for symbol, codes in (("aapl", (400, 400)), ("nosuch", (400, 400)), ("Apple", (400, None))):
        for each, code in zip((stranger, client), codes, strict=True):
            each.say(action="subscribe", trades=[symbol])
            assert each.last.get("code") == code


def test_what_is_not_permitted_any_more_ends_and_the_lists_that_are_left_are_told() -> None:
    rig = Rig()
    client = rig.client()
    client.say(action="subscribe", trades=["AAPL", "MSFT"], quotes=["MSFT"])

    rig.change(symbols=("AAPL",))
    client.tick(1.0)

    assert (client.last["T"], client.last["trades"], client.last["quotes"]) == ("subscription", ["AAPL"], [])
    rig.trade("AAPL", "MSFT")
    assert rows(client) == ["AAPL"]


def test_everything_follows_the_token_without_a_word() -> None:
    rig = Rig(symbols=("MSFT",))
    client = rig.client()
    client.say(action="subscribe", trades=["*"])
    count = len(client.arrays)

    rig.change(symbols=("*",))
    client.tick(1.0)
    rig.trade("AAPL", "MSFT")
    assert len(client.arrays) == count + 1
    assert sorted(rows(client)) == ["AAPL", "MSFT"]
    rig.change(symbols=("A?PL",))
    client.tick(1.0)
    rig.trade("AAPL", "MSFT")

    assert rows(client) == ["AAPL"]


@pytest.mark.parametrize("is_stalled", [False, True])
def test_a_token_that_is_revoked_ends_the_connection_though_it_reads_nothing(is_stalled: bool) -> None:
    rig = Rig()
    client = rig.client()
    client.say(action="subscribe", trades=["AAPL"])
    if is_stalled:
        client.outbox.blocked = True
        rig.trade("AAPL")
        assert client.outbox.queued

    rig.change()
    client.tick(1.0)

    assert client.session.closing is CloseCode.UNAUTHENTICATED
    assert b'"code":402' in client.session.last_words().replace(b" ", b"")
    assert client.outbox.queued == 0
    assert client.outbox.overflowed is is_stalled


def test_a_token_that_expires_ends_the_connection() -> None:
    rig = Rig(expires_s=1005.0)
    client = rig.client()
    client.tick(4.9)
    assert client.session.closing is None

    client.tick(0.1)

    assert client.session.closing is CloseCode.UNAUTHENTICATED
    late = rig.client()
    late.tick(1.0)
    assert late.codes == [402]


def test_connections_are_counted_with_those_of_the_native_stream() -> None:
    rig = Rig(connections=2)
    principal = rig.principals[TOKEN]
    assert rig.gate.enter(principal)
    first, second = rig.client(), rig.client()

    assert second.codes == [406]
    assert rig.world.market.counts.refusals == {"connections_of_principal": 1}
    second.session.close()
    first.session.close()
    assert not rig.gate.is_full(principal)
    rig.gate.leave(principal)
    assert [rig.client().codes for _ in range(3)] == [[], [], [406]]


def test_a_plan_that_is_full_counts_no_connection_of_the_token() -> None:
    rig = Rig(connections=2)
    rig.accounts = Accounts(plan=PLANS["free"], gate=rig.gate)

    clients = [rig.client() for _ in range(3)]

    assert [each.codes for each in clients] == [[], [406], [406]]
    assert rig.gate.enter(rig.principals[TOKEN])
    assert not rig.gate.enter(rig.principals[TOKEN])


def test_a_token_limits_channels_with_everything_counted_as_what_it_is() -> None:
    rig = Rig(channels=3)
    client = rig.client()

    client.say(action="subscribe", trades=["*"], quotes=["AAPL"])
    assert client.last["T"] == "subscription"
    client.say(action="subscribe", quotes=["MSFT"])

    assert client.last["code"] == 405


def test_pairs_are_principals_of_their_own_beside_tokens() -> None:
    rig = Rig(symbols=("A*",))
    accounts = Accounts([Credentials("PK", "right")], gate=rig.gate)
    found = [accounts.grant(Credentials(*pair), True) for pair in (("PK", "right"), ("bot", TOKEN), ("oauth", TOKEN))]

    assert [None if each is None else each.principal.name for each in found] == ["PK", "bot", "bot"]
    assert accounts.grant(Credentials("PK", TOKEN), True) is None
    assert accounts.grant(Credentials("bot", "right"), True) is None
    assert not accounts.is_open


def test_without_tokens_and_pairs_anyone_is_let_in_from_anywhere_only_if_that_is_said() -> None:
    pair = Credentials("any", "thing")

    assert [Accounts().lets_in(is_local) for is_local in (True, False)] == [True, False]
    assert Accounts(is_open_to_all=True).lets_in(False)
    assert Accounts(is_open_to_all=True).grant(pair, False) is not None
    assert Accounts().grant(pair, False) is None
    assert not Accounts([pair], is_open_to_all=True).lets_in(False)


def test_clients_of_the_same_view_share_what_everything_is() -> None:
    rig = Rig()
    everything = Everything(rig.world.directory, "us_equity")
    views = rig.world.market.views

    within = everything.within(views.of(("A*",)))

    assert within is everything.within(views.of(("A*",)))
    assert everything.within(None) is everything
    assert (within.numbers, everything.numbers) == ((0,), (0, 1))
