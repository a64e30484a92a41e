"""Conversations on Alpaca's streams without a socket: what is said when, and to whom rows go."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.conftest import World
from ticker.model import Instrument
from ticker.protocol.alpaca import STOCKS, Credentials
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.messages import CloseCode
from ticker.stream.alpaca_accounts import PLANS, Accounts
from ticker.stream.alpaca_session import AlpacaSession, Endpoint, Guest
from ticker.stream.alpaca_subscriptions import Everything
from ticker.stream.outbox import Outbox

SYMBOLS = ("AAPL", "MSFT", "LATE")
LOCAL = Guest("127.0.0.1", True)


class Client:
    """A session whose socket takes everything, and the arrays that it took."""

    def __init__(
        self,
        world: World,
        codec: JsonAlpacaCodec,
        accounts: Accounts,
        guest: Guest = LOCAL,
        feed: str = "iex",
        limit: int = 1 << 20,
    ) -> None:
        self.world = world
        self.arrays: list[list[dict[str, Any]]] = []
        self.outbox = Outbox(limit, world.pressure)
        self.outbox.write = self._write
        endpoint = Endpoint(feed, world.market, STOCKS, Everything(world.directory, STOCKS.asset_class))
        self.session = AlpacaSession(endpoint, codec, self.outbox, accounts, guest, world.now_s)
        self.session.open()

    def say(self, **message: Any) -> None:
        self.session.receive(json.dumps(message), self.world.now_s)

    def log_in(self, key: str = "PK", secret: str = "S") -> None:
        self.say(action="auth", key=key, secret=secret)

    def tick(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.session.tick(self.world.now_s)

    @property
    def codes(self) -> list[int]:
        """The errors that came."""
        return [message["code"] for (message, *_) in self.arrays if message["T"] == "error"]

    @property
    def last(self) -> Any:
        return self.arrays[-1][0]

    def _write(self, data: bytes, _taken: int = 0) -> int:
        rest = data
        while rest:
            size, head = rest[1], 2
            if size > 125:
                head = 4 if size == 126 else 10
                size = int.from_bytes(rest[2:head], "big")
            self.arrays.append(json.loads(rest[head : head + size]))
            rest = rest[head + size :]
        return len(data)


@pytest.fixture
def world() -> World:
    return World((Instrument("AAPL"), Instrument("MSFT")), intervals_s=(1, 60, 3600))


@pytest.fixture
def codec(world: World) -> JsonAlpacaCodec:
    return JsonAlpacaCodec("us_equity", world.directory)


OPEN, KEYS = Accounts(), (Credentials("PK", "right"),)


def test_any_key_is_right_for_this_machine_and_none_for_others(world: World, codec: JsonAlpacaCodec) -> None:
    here = Client(world, codec, Accounts())
    there = Client(world, codec, Accounts(), Guest("192.0.2.7", False))
    for client in (here, there):
        client.log_in("anything", "whatever")
    there.tick(1)

    assert here.last == {"T": "success", "msg": "authenticated"}
    assert (there.codes, there.session.closing) == ([402], CloseCode.UNAUTHENTICATED)


def test_a_key_of_ones_own_is_right_from_anywhere_and_no_other_is(world: World, codec: JsonAlpacaCodec) -> None:
    accounts = Accounts(KEYS)
    right = Client(world, codec, accounts, Guest("192.0.2.7", False))
    wrong = Client(world, codec, accounts)
    right.log_in("PK", "right")
    wrong.log_in("PK", "righ")
    wrong.tick(1)

    assert right.last["msg"] == "authenticated"
    assert wrong.codes == [402]


def test_a_refusal_waits_for_a_tick_half_a_second_later_and_nothing_is_heard_meanwhile(
    world: World, codec: JsonAlpacaCodec
) -> None:
    client = Client(world, codec, Accounts(KEYS))
    client.log_in("PK", "wrong")
    client.log_in("PK", "right")
    client.tick(0.4)
    assert client.codes == []

    client.tick(0.1)
    client.tick(20)

    assert client.codes == [402]


def test_a_second_login_is_told_so_and_changes_nothing(world: World, codec: JsonAlpacaCodec) -> None:
    client = Client(world, codec, Accounts())
    client.log_in()
    client.log_in("PK", "")

    assert client.codes == [403]
    client.tick(60)
    assert client.session.closing is None


def test_a_place_is_free_again_once_its_holder_has_gone(world: World, codec: JsonAlpacaCodec) -> None:
    accounts = Accounts(plan=PLANS["free"])
    first, second = Client(world, codec, accounts), Client(world, codec, accounts)
    first.log_in()
    second.log_in()
    assert second.codes == [406]

    first.session.close()
    first.session.close()
    second.log_in()

    assert second.last["msg"] == "authenticated"


def test_strangers_are_counted_until_they_log_in_or_go(
    world: World, codec: JsonAlpacaCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticker.stream.alpaca_accounts.MOST_STRANGERS", 2)
    accounts = Accounts()
    first, second = Client(world, codec, accounts), Client(world, codec, accounts)
    assert accounts.are_too_many("127.0.0.1")
    assert not accounts.are_too_many("::1")

    first.log_in()
    assert not accounts.are_too_many("127.0.0.1")
    first.session.close()
    second.session.close()
    third = Client(world, codec, accounts)
    assert not accounts.are_too_many("127.0.0.1")
    third.session.close()


def test_a_slow_client_is_told_with_its_last_words(world: World, codec: JsonAlpacaCodec) -> None:
    client = Client(world, codec, Accounts(), limit=500)
    client.log_in()
    client.say(action="subscribe", trades=["*"])
    client.outbox.blocked = True
    for _ in range(20):
        world.trade("AAPL")
        world.flush()
    client.tick(1)

    assert client.session.closing is CloseCode.TOO_SLOW
    assert b"slow client" in client.session.last_words()
    assert not client.session.subscriptions.wants_every_row


def test_who_leaves_for_another_reason_has_no_last_words(world: World, codec: JsonAlpacaCodec) -> None:
    client = Client(world, codec, Accounts())
    client.session.say_goodbye(1000)

    assert client.session.closing is CloseCode.GOING_AWAY
    assert client.session.last_words() == b""
    before = len(client.arrays)
    client.session.tell_status()
    client.log_in()
    assert len(client.arrays) == before


def test_only_channels_with_rows_hold_up_a_replay(world: World, codec: JsonAlpacaCodec) -> None:
    client = Client(world, codec, Accounts())
    client.log_in()
    client.say(action="subscribe", statuses=["*"], updatedBars=["*"], lulds=["AAPL"])
    assert not client.session.subscriptions.wants_every_row

    client.say(action="subscribe", quotes=["AAPL"])
    assert client.session.subscriptions.wants_every_row


CLIENTS = st.integers(0, 2)
LISTS = st.dictionaries(
    st.sampled_from(["trades", "quotes"]), st.lists(st.sampled_from(["*", *SYMBOLS]), max_size=3), max_size=2
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), CLIENTS, LISTS)
    | st.tuples(st.sampled_from(["trades", "quotes"]), st.none(), st.sampled_from(SYMBOLS))
    | st.tuples(st.sampled_from(["announce", "later"]), st.none(), st.none()),
    max_size=30,
)


@given(STEPS, st.sampled_from([1, 512]))
def test_rows_go_to_those_who_had_them_in_their_lists_when_they_were_flushed(
    steps: list[tuple[str, Any, Any]], slice_clients: int
) -> None:
    with mock.patch("ticker.stream.hub.SLICE_CLIENTS", slice_clients):
        world = World((Instrument("AAPL"), Instrument("MSFT")), intervals_s=(60,), defers=slice_clients == 1)
        accounts, codec = Accounts(), JsonAlpacaCodec("us_equity", world.directory)
        clients = [Client(world, codec, accounts) for _ in range(3)]
        lists: list[dict[str, list[str]]] = [{"trades": [], "quotes": []} for _ in clients]
        expected: list[list[Any]] = [[] for _ in clients]
        for client in clients:
            client.log_in()
        price = 0
        for step, number, what in steps:
            if step == "later":
                world.do_deferred()
            elif step == "announce":
                if "LATE" not in world.directory.numbers:
                    world.truth.instruments["LATE"] = Instrument("LATE")
                    fresh = world.batcher.announce([Instrument("LATE")])
                    for client in clients:
                        client.session.announce(fresh)
            elif number is not None:
                clients[number].say(action=step, **what)
                mine = lists[number]
                for channel, symbols in what.items():
                    kept = [each for each in mine[channel] if step == "subscribe" or each not in symbols]
                    mine[channel] = list(dict.fromkeys([*kept, *(symbols if step == "subscribe" else [])]))
                expected[number].append(("subscription", mine["trades"], mine["quotes"]))
            elif what in world.directory.numbers:
                price += 1
                {"trades": world.trade, "quotes": world.quote}[step](what, price)
                world.flush()
                for mine, rows in zip(lists, expected, strict=True):
                    if what in mine[step] or "*" in mine[step]:
                        rows.append((step[0], what, price / 100))
        while world.do_deferred():
            pass

    for client, rows in zip(clients, expected, strict=True):
        assert [summary(message) for array in client.arrays[2:] for message in array] == rows


def summary(message: dict[str, Any]) -> tuple[Any, ...]:
    if message["T"] == "subscription":
        return "subscription", message["trades"], message["quotes"]
    return message["T"], message["S"], message.get("p", message.get("bp"))


@pytest.mark.parametrize("first", [0, 1])
def test_what_is_due_by_the_old_lists_comes_before_the_new_ones_are_confirmed(first: int) -> None:
    with mock.patch("ticker.stream.hub.SLICE_CLIENTS", 1):
        world = World((Instrument("AAPL"), Instrument("MSFT")), intervals_s=(60,), defers=True)
        codec = JsonAlpacaCodec("us_equity", world.directory)
        clients = [Client(world, codec, Accounts()) for _ in range(2)]
        for client, symbols in zip(clients, (["AAPL"], ["AAPL", "MSFT"]), strict=True):
            client.log_in()
            client.say(action="subscribe", trades=symbols)
        world.trade("AAPL", 100)
        world.flush()
        waiting = [client for client in clients if client.last["T"] == "subscription"]
        assert len(waiting) == 1, "one is served at once, the other has to wait"

        for client in (*clients[first:], *clients[:first]):
            client.say(action="unsubscribe", trades=["AAPL"])

    for client in clients:
        assert [array[0]["T"] for array in client.arrays[3:]] == ["t", "subscription"]


@given(st.lists(st.binary() | st.text() | st.dictionaries(st.text(), st.none() | st.text())))
def test_no_message_disturbs_a_session(messages: list[Any]) -> None:
    world = World((Instrument("AAPL"),), intervals_s=(60,))
    client = Client(world, JsonAlpacaCodec("us_equity", world.directory), Accounts())
    client.log_in()
    client.say(action="subscribe", trades=["AAPL"])
    for message in messages:
        data = json.dumps(message) if isinstance(message, dict) else message
        client.session.receive(data, world.now_s)
        client.session.receive(msgpack.packb(message), world.now_s)
    assert client.codes == [400] * 2 * len(messages)
    world.trade("AAPL")
    world.flush()
    assert client.last["T"] == "t"
