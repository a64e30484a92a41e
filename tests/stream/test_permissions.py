"""What a client reads whose token changes while it listens, held against the slow model in reference.py."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.conftest import CODECS, EPOCH, Peer, World
from tests.stream.reference import Listening, Reader
from tests.stream.test_subscriptions import Day
from ticker.access.gate import Gate
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, Tokens, hash_of
from ticker.model import Channel, Instrument
from ticker.protocol.codec import Codec
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Limits

PATTERNS: dict[str, tuple[str, ...]] = {
    "everything": ("*",),
    "nothing": (),
    "apples": ("AAPL", "NEW*"),
    "others": ("B*", "MS?T", "NEW[1-4]"),
    "three": ("AAPL", "BTC", "MSFT"),
    "numbers": ("*[0-9]", "MSFT"),
}
TOKENS = {name: f"a token for {name}" for name in PATTERNS}


def gate() -> Gate:
    """Return a gate that knows a token for each of the patterns, all of one principal."""
    entries = [Entry(hash_of(TOKENS[name]), Principal("bot", patterns)) for name, patterns in PATTERNS.items()]
    return Gate([Tokens(lambda: entries)])


class TokenReader(Reader):
    """A strict client that knows what its token permits."""

    permitted: tuple[str, ...] = ("*",)

    def may_see(self, symbol: str) -> bool:
        return any(fnmatchcase(symbol, pattern) for pattern in self.permitted)

    def may_have(self, symbol: str) -> bool:
        return super().may_have(symbol) and self.may_see(symbol)

    def expect(self, command: dict[str, Any]) -> None:
        if command["op"] == "auth":
            self._expect_permitted(PATTERNS[command["token"].removeprefix("a token for ")])
            self._answers.append(self._check_authenticated)
        else:
            super().expect(command)

    def expect_announced(self, symbol: str) -> None:
        if self.may_see(symbol):
            super().expect_announced(symbol)

    def _resolve(
        self, symbols: list[str], series: tuple[str, int], mode: str
    ) -> tuple[list[str], list[dict[str, str]]]:
        found, refused = super()._resolve(symbols, series, mode)
        if symbols != ["*"]:
            codes = {each["symbol"]: each["code"] for each in refused}
            codes |= {each: "forbidden" for each in symbols if not self.may_see(each)}
            refused = [{"symbol": each, "code": codes[each]} for each in dict.fromkeys(symbols) if each in codes]
        return [each for each in found if self.may_see(each)], refused

    def _expect_permitted(self, patterns: tuple[str, ...]) -> None:
        before = [each for each in self.truth.instruments if self.may_see(each)]
        self.permitted = patterns
        self._ending = [each for each in self.wanted if not self.may_see(each.symbol)]
        for channel in self._ending:
            del self.wanted[channel]
            if wildcard := self.wildcards.get((channel.kind, channel.interval_s)):
                wildcard.named.discard(channel.symbol)
        self._widening = []
        for (kind, interval_s), wildcard in self.wildcards.items():
            for symbol in self.truth.instruments:
                channel = Channel(kind, symbol, interval_s)
                is_wanted = self.may_see(symbol) and symbol not in before and symbol not in wildcard.excluded
                if is_wanted and len(self.wanted) < self.room:
                    self.wanted[channel] = wildcard.mode
                    seq, running = self.truth.next_seq(channel), None
                    if kind == "bars" and wildcard.mode == "conflated":
                        running = self.truth.running_bar(channel)
                    self._widening.append(partial(self._check_widened, channel, wildcard.mode, seq, running))

    def _check_widened(self, channel: Channel, mode: str, seq: int, running: Any, description: dict[str, Any]) -> None:
        self._described(description, channel, mode)
        assert (description["seq"], description["missed"]) == (seq, 0)
        self.listening[channel].snapshot_seq = seq
        self._check_snapshot(channel, mode, description, running)

    def _check_authenticated(self, answer: dict[str, Any]) -> None:
        assert answer["type"] == "authenticated", answer
        assert answer["name"] == "bot"
        assert not self._ending, "what is not permitted ends before the answer"
        self._announced[:0] = self._widening  # what was announced since comes behind

    def _control(self, message: dict[str, Any]) -> None:
        if message["type"] == "revoked":
            ended: dict[int, Listening] = {self.listening[each].integer: self.listening[each] for each in self._ending}
            assert message["channels"]
            assert sorted(message["channels"]) == sorted(ended)
            for channel in self._ending:
                self._forget(channel)
            self._ending = []
        super()._control(message)
        if message["type"] == "authenticated":
            self._answers.pop(0)(message)


def connect(world: World, token: str, codec: Codec = CODECS[0]) -> Peer:
    """Return a client that authenticates with a token."""
    peer = world.connect(codec)
    peer.reader = TokenReader(world.truth, EPOCH, peer.is_text, peer.reader.room)
    peer.send("auth", token=TOKENS[token])
    return peer


class TokenDay(Day):
    """A day on which clients authenticate again and again, with tokens that permit other symbols."""

    gate: Gate | None = None

    def come(self) -> None:
        self.gate = self.world.market.gate = self.gate or gate()
        connect(self.world, self.chance.choice(list(TOKENS)), self.chance.choice(CODECS))

    def ping(self) -> None:
        peer = self.peer()
        if peer and not peer.reader.awaits:
            peer.send("auth", token=TOKENS[self.chance.choice(list(TOKENS))])

    def lose(self) -> None:
        super().lose()
        self.ping()
        self.ping()


@pytest.fixture
def guarded() -> World:
    """Return a market that asks for a token."""
    world = World()
    world.market.gate = gate()
    return world


@pytest.fixture(autouse=True)
def _small_sizes(monkeypatch: pytest.MonkeyPatch, shelf_sizes: Callable[..., None]) -> None:
    shelf_sizes(rows=12, flushes=4, slice_rows=5)
    monkeypatch.setattr("ticker.stream.conflation.MOST_ENTRIES", 1)
    monkeypatch.setattr("ticker.stream.conflation.REMEMBERED_FLUSHES", 3)
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), defers=st.booleans(), channels=st.sampled_from([5, 100_000]))
def test_whatever_tokens_follow_one_another_no_row_that_they_permit_is_lost_and_no_other_comes(
    seed: int, defers: bool, channels: int
) -> None:
    day = TokenDay(seed, defers=defers, channels=channels)

    day.run()

    assert not day.closed


def test_a_wider_token_brings_a_kind_of_which_nothing_was_left(guarded: World) -> None:
    peer = connect(guarded, "apples")
    peer.subscribe("*")
    peer.subscribe("*", kind="quotes")
    peer.unsubscribe("AAPL")

    peer.send("auth", token=TOKENS["three"])
    guarded.trade("MSFT")
    guarded.trade("AAPL")
    guarded.flush()

    assert peer.reader.rows == 1
    guarded.settle_down()


def test_a_symbol_that_is_excluded_before_a_token_permits_it_stays_so(guarded: World) -> None:
    peer = connect(guarded, "apples")
    peer.subscribe("*")
    peer.unsubscribe("BTC")

    peer.send("auth", token=TOKENS["three"])
    guarded.trade("BTC")
    guarded.trade("MSFT")
    guarded.flush()

    assert peer.reader.rows == 1
    guarded.settle_down()


def test_clients_whose_tokens_permit_the_same_are_served_together(guarded: World) -> None:
    peers = [connect(guarded, "apples") for _ in range(3)]
    for peer in peers:
        peer.subscribe("*")
    guarded.announce(Instrument("NEW"))
    guarded.trade("AAPL")
    guarded.trade("NEW")
    guarded.trade("BTC")
    guarded.flush()

    pieces = [peer.received[-1] for peer in peers]

    assert pieces[0] is pieces[1] is pieces[2]
    assert [peer.reader.rows for peer in peers] == [2, 2, 2]


def test_one_that_may_see_nothing_is_subscribed_to_nothing_until_it_may(guarded: World) -> None:
    peer = connect(guarded, "nothing")
    peer.subscribe("*")
    guarded.announce(Instrument("NEW1"))
    guarded.trade("NEW1")
    guarded.flush()
    assert peer.reader.rows == 0

    peer.send("auth", token=TOKENS["numbers"])
    guarded.trade("NEW1")
    guarded.flush()

    assert [each["symbol"] for each in peer.reader.of_type("channel")] == ["MSFT", "NEW1"]
    assert peer.reader.rows == 1


def test_a_channel_that_catches_up_ends_in_the_middle_when_it_is_not_permitted_any_more(guarded: World) -> None:
    peer = connect(guarded, "everything")
    for _ in range(30):
        guarded.trade("AAPL")
        guarded.trade("MSFT")
        guarded.flush()
    peer.subscribe("AAPL", "MSFT", since={"AAPL": 0, "MSFT": 0}, epoch=EPOCH)
    peer.session.step()

    peer.send("auth", token=TOKENS["apples"])
    peer.catch_up()

    assert peer.reader.listening.keys() == {Channel("trades", "AAPL")}
    assert peer.reader.listening[Channel("trades", "AAPL")].expected == 30
    assert guarded.pressure.count == 0


def test_what_a_smaller_limit_leaves_is_kept_and_nothing_is_added(guarded: World) -> None:
    entries = [Entry(hash_of(f"token of {most:020}"), Principal("bot", channels=most)) for most in (3, 1)]
    guarded.market.gate = Gate([Tokens(lambda: entries)])
    peer = guarded.connect()
    peer.say({"op": "auth", "token": f"token of {3:020}"})
    peer.subscribe("AAPL", "BTC")

    peer.say({"op": "auth", "token": f"token of {1:020}"})
    peer.say({"op": "subscribe", "symbols": ["MSFT", "AAPL"]})

    answer = peer.reader.of_type("subscribed")[-1]
    assert [each["symbol"] for each in answer["channels"]] == ["AAPL"]
    assert answer["refused"] == [{"symbol": "MSFT", "code": "limit"}]


@pytest.mark.parametrize("symbol", ["MSFT", "NONE"])
def test_whether_a_forbidden_symbol_exists_is_not_told(guarded: World, symbol: str) -> None:
    peer = connect(guarded, "apples")

    peer.subscribe(symbol, "AAPL", since={symbol: 0, "AAPL": 0}, epoch=EPOCH)

    assert peer.reader.of_type("subscribed")[-1]["refused"] == [{"symbol": symbol, "code": "forbidden"}]


def test_symbols_are_listed_as_far_as_they_are_permitted(guarded: World) -> None:
    peer = connect(guarded, "apples")
    for name in ("NEW2", "ODD", "NEW1"):
        guarded.announce(Instrument(name))

    pages = []
    for question in ({}, {"prefix": "N"}, {"after": "AAPL", "limit": 1}, {"prefix": "M"}):
        peer.say({"op": "symbols", **question})
        pages.append((peer.last["symbols"], peer.last["more"]))

    assert pages == [(["AAPL", "NEW1", "NEW2"], False), (["NEW1", "NEW2"], False), (["NEW1"], True), ([], False)]


def test_a_token_that_expires_ends_the_connection_though_it_reads_nothing(guarded: World) -> None:
    now = [100.0]
    entries = [Entry(hash_of("the only token here"), Principal("bot", expires_s=110.0))]
    guarded.market.gate = Gate([Tokens(lambda: entries)], lambda: now[0])
    peer = guarded.connect()
    peer.say({"op": "auth", "token": "the only token here"})
    peer.subscribe("AAPL")
    peer.block()
    for _ in range(3):
        guarded.trade("AAPL")
        guarded.flush()
    waiting = peer.outbox.queued
    peer.session.tick(9.9)
    assert (peer.session.closing, peer.outbox.queued > 0) == (None, True)

    now[0] = 110.0
    peer.session.tick(10.0)

    assert waiting
    assert peer.session.closing is CloseCode.UNAUTHENTICATED
    assert peer.outbox.queued == 0
    assert peer.outbox.overflowed
    assert b"the token has expired, or was revoked" in peer.session.last_words()
    guarded.trade("AAPL")
    guarded.flush()
    assert peer.outbox.queued == 0


def test_a_limit_of_channels_counts_for_what_a_wider_token_brings(guarded: World) -> None:
    guarded = World(limits=Limits(channels=2))
    guarded.market.gate = gate()
    peer = connect(guarded, "apples")
    peer.subscribe("*")

    peer.send("auth", token=TOKENS["three"])

    assert [each["symbol"] for each in peer.reader.of_type("channel")] == ["BTC"]
