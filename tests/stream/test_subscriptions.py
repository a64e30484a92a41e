"""What clients read, however the market and they take turns, held against the slow model in reference.py."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.conftest import CODECS, EPOCH, INSTRUMENTS, Peer, World
from ticker.model import Channel, Instrument
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Limits

INTERVALS_MS = (50, 100, 5000)
SERIES = (("trades", 0), ("quotes", 0), ("bars", 1), ("bars", 5))
MODES: tuple[dict[str, Any], ...] = (
    {"mode": "all"},
    {"mode": "all"},
    *({"mode": "conflated", "interval_ms": interval_ms} for interval_ms in INTERVALS_MS),
)
CLIENTS = 3
STEPS = 200

KIBIBYTES = 1 / 1024
SIGNED = [replace(each, signed_prices=True) for each in INSTRUMENTS]


class Day:
    """A day at the market by chance: what happens is drawn from a seed. Each client's Reader checks what it reads."""

    def __init__(self, seed: int, *, defers: bool = False, channels: int = 100_000, **limits: Any) -> None:
        self.chance = random.Random(seed)
        of_commands = Limits(channels=channels, commands_per_s=1 << 60)
        self.world = World(SIGNED, limits=of_commands, defers=defers, **limits)
        self.log: list[str] = []
        self.closed: Counter[CloseCode] = Counter()
        self.read = 0
        for _ in range(CLIENTS):
            self.come()

    def run(self) -> None:
        """Let it happen, and hold what was read against the truth in the end."""
        happenings: list[tuple[int, Callable[[], None]]] = [
            (14, self.trade),
            (4, self.flush),
            (2, self.let_time_pass),
            (2, self.lose),
            (1, self.announce),
            (4, self.end_an_interval),
            (4, self.subscribe),
            (4, self.resume),
            (2, self.unsubscribe),
            (2, self.block),
            (4, self.free),
            (6, self.catch_up),
            (1, self.ping),
            (1, self.reconnect),
            (3, self.do_deferred),
        ]
        weights, actions = zip(*happenings, strict=True)
        for action in self.chance.choices(actions, weights, k=STEPS):
            self.log.append(action.__name__)
            action()
        self.world.settle_down()
        for peer in list(self.world.peers):
            self.go(peer)
        while self.world.do_deferred():
            pass
        assert self.world.pressure.count == 0
        assert not self.world.hub.intervals_ms

    def trade(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            if self.chance.random() < 0.7:
                self.world.trade(self.symbol(), self.chance.randrange(-3, 4), self.chance.randrange(6))
            else:
                self.world.quote(self.symbol(), self.chance.randrange(1, 4))
        if self.chance.random() < 0.5:
            self.world.flush()

    def flush(self) -> None:
        self.world.flush()

    def let_time_pass(self) -> None:
        self.world.advance(self.chance.choice([0.1, 0.5, 1.0, 3.0]))
        if self.chance.random() < 0.5:
            self.world.tell_time()
        self.world.history.trim(self.world.now_s)

    def lose(self) -> None:
        self.world.lose(self.chance.choice(["trades", "quotes"]), self.symbol(), self.chance.randrange(1, 4))

    def announce(self) -> None:
        known = len(self.world.directory)
        if known < 6:
            self.world.announce(Instrument(f"NEW{known}", size_scale=1, signed_prices=True))

    def end_an_interval(self) -> None:
        self.world.hub.conflate(self.chance.choice(INTERVALS_MS))

    def subscribe(self) -> None:
        if peer := self.peer():
            kind, interval_s = self.chance.choice(SERIES)
            peer.subscribe(*self.symbols(), kind=kind, interval_s=interval_s, **self.chance.choice(MODES))

    def resume(self) -> None:
        if peer := self.peer():
            kind, interval_s = self.chance.choice(SERIES)
            following = {each: self.world.truth.next_seq(Channel(kind, each, interval_s)) for each in self.known()}
            some = self.chance.sample(self.known(), self.chance.randrange(1, 4))
            since = {each: max(0, following[each] - self.chance.randrange(-1, 20)) for each in some}
            epoch = EPOCH if self.chance.random() < 0.9 else "another"
            mode = self.chance.choice(MODES)
            peer.subscribe(*self.symbols(), kind=kind, interval_s=interval_s, since=since, epoch=epoch, **mode)

    def unsubscribe(self) -> None:
        if peer := self.peer():
            kind, interval_s = self.chance.choice(SERIES)
            interval = {"interval_s": interval_s} if self.chance.random() < 0.5 else {}
            peer.unsubscribe(*self.symbols(), kind=kind, **interval)

    def block(self) -> None:
        if peer := self.peer():
            peer.block(self.chance.randrange(4))

    def free(self) -> None:
        if peer := self.peer():
            peer.free(self.chance.choice([None, None, 1, 2, 4]))

    def catch_up(self) -> None:
        if peer := self.peer():
            peer.session.step()

    def ping(self) -> None:
        if peer := self.peer():
            peer.send("ping")

    def reconnect(self) -> None:
        self.go(self.chance.choice(self.world.peers))
        self.come()

    def do_deferred(self) -> None:
        self.world.do_deferred()

    def come(self) -> None:
        self.world.connect(self.chance.choice(CODECS))

    def go(self, peer: Peer) -> None:
        if peer.session.closing:
            self.closed[peer.session.closing] += 1
        self.read += peer.reader.rows
        peer.session.close()
        self.world.peers.remove(peer)

    def peer(self) -> Peer | None:
        peer = self.chance.choice(self.world.peers)
        return peer if peer.session.closing is None else None

    def known(self) -> list[str]:
        return [each.symbol for each in self.world.directory.instruments]

    def symbol(self) -> str:
        return self.chance.choice(self.known())

    def symbols(self) -> list[str]:
        if self.chance.random() < 0.25:
            return ["*"]
        to_come = f"NEW{len(self.known())}"
        return self.chance.sample([*self.known(), "NONE", to_come], self.chance.randrange(1, 4))


@pytest.fixture(autouse=True)
def _small_sizes(monkeypatch: pytest.MonkeyPatch, shelf_sizes: Callable[..., None]) -> None:
    """Join blocks and entries, and end slices, so early that a few rows are enough to see it."""
    shelf_sizes(rows=12, flushes=4, slice_rows=5)
    monkeypatch.setattr("ticker.stream.conflation.MOST_ENTRIES", 1)
    monkeypatch.setattr("ticker.stream.conflation.REMEMBERED_FLUSHES", 3)
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)


seeds = st.integers(0, 2**32)


@settings(max_examples=60)
@given(
    seed=seeds,
    defers=st.booleans(),
    channels=st.sampled_from([5, 100_000]),
    kept=st.sampled_from([0, 100, 1 << 15]),
)
def test_every_client_reads_each_row_of_its_channels_exactly_once(
    seed: int, defers: bool, channels: int, kept: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", kept)
        day = Day(seed, defers=defers, channels=channels)

        day.run()

    assert not day.closed


@settings(max_examples=30)
@given(seed=seeds, defers=st.booleans(), shared=st.sampled_from([0, 500, 3000, 10_000]))
def test_a_client_that_lacks_more_than_its_share_is_closed_and_others_read_on(
    seed: int, defers: bool, shared: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 0)
        day = Day(seed, defers=defers, shared_bytes=shared)

        day.run()

    assert day.closed.keys() <= {CloseCode.TOO_SLOW}


@settings(max_examples=30)
@given(seed=seeds, defers=st.booleans())
def test_a_client_that_falls_off_the_history_is_closed_and_others_read_on(seed: int, defers: bool) -> None:
    day = Day(seed, defers=defers, ticks_mib=12 * KIBIBYTES, bars_mib=8 * KIBIBYTES)

    day.run()

    assert day.closed.keys() <= {CloseCode.TOO_SLOW}


def test_a_slow_reader_of_the_history_is_closed_once_what_it_needs_is_gone() -> None:
    world = World(ticks_mib=6 * KIBIBYTES)
    for _ in range(20):
        world.trade("AAPL")
        world.flush()
    peer = world.connect()
    peer.subscribe("AAPL", since={"AAPL": 19}, epoch=EPOCH)
    peer.block()

    for _ in range(200):
        world.trade("AAPL")
        world.flush()
    peer.free()
    peer.catch_up()

    assert peer.session.closing == CloseCode.TOO_SLOW
    assert world.pressure.count == 0


def test_a_conflated_channel_that_is_resumed_gets_one_update_for_all_it_missed(world: World, peer: Peer) -> None:
    for _ in range(30):
        world.advance(0.7)
        world.trade("AAPL")
        world.flush()

    peer.subscribe("AAPL", mode="conflated", since={"AAPL": 4}, epoch=EPOCH)
    peer.catch_up()

    listening = peer.reader.listening[Channel("trades", "AAPL")]
    assert (listening.updates, listening.expected) == (1, 30)


def test_a_conflated_channel_gets_one_update_an_interval_however_much_happens(world: World, peer: Peer) -> None:
    peer.subscribe("*", mode="conflated", interval_ms=100)
    for _ in range(10):
        for _ in range(5):
            world.trade("AAPL")
            world.trade("BTC")
            world.flush()
        world.hub.conflate(100)

    assert [peer.reader.listening[Channel("trades", name)].updates for name in ("AAPL", "BTC")] == [10, 10]


def test_a_symbol_that_appears_does_not_hasten_an_update(world: World, peer: Peer) -> None:
    peer.subscribe("*", mode="conflated")
    world.trade("AAPL")
    world.flush()

    world.announce(Instrument("NEW"))

    assert peer.reader.rows == 0
    assert peer.last["type"] == "channel"


def test_a_client_at_its_limit_is_sent_nothing_of_a_symbol_that_appears() -> None:
    world = World(limits=Limits(channels=3))
    peer = world.connect()
    peer.subscribe("*")

    world.announce(Instrument("NEW"))
    world.trade("NEW")
    world.trade("AAPL")
    world.flush()

    assert peer.reader.rows == 1
    assert peer.reader.of_type("channel") == []


def test_a_symbol_that_is_excluded_before_it_appears_stays_silent(world: World, peer: Peer) -> None:
    peer.subscribe("*")
    peer.subscribe("*", kind="quotes")
    peer.unsubscribe("NEW")

    world.announce(Instrument("NEW"))
    world.trade("NEW")
    world.quote("NEW")
    world.trade("AAPL")
    world.flush()

    assert [each["channel"] for each in peer.reader.of_type("channel")] == [
        peer.reader.listening[Channel("quotes", "NEW")].integer
    ]
    assert peer.reader.rows == 2


@pytest.mark.parametrize("again", ["*", "NEW"])
def test_a_symbol_that_was_excluded_before_it_appeared_can_be_had_again(world: World, peer: Peer, again: str) -> None:
    peer.subscribe("*")
    peer.unsubscribe("NEW")
    world.announce(Instrument("NEW"))

    peer.subscribe(again)
    world.trade("NEW")
    world.flush()

    assert peer.reader.rows == 1


def test_subscribing_everything_again_forgets_what_was_excluded_before_it_appeared(world: World, peer: Peer) -> None:
    peer.subscribe("*")
    peer.unsubscribe("NEW")
    peer.subscribe("*")

    world.announce(Instrument("NEW"))
    world.trade("NEW")
    world.flush()

    assert peer.reader.rows == 1


def test_of_symbols_that_do_not_exist_so_many_are_excluded_and_no_more(world: World, peer: Peer) -> None:
    peer.subscribe("*")
    peer.unsubscribe("x" * 129, *(f"NONE{number}" for number in range(999)), "LAST")
    peer.unsubscribe("BEYOND")
    peer.reader.wildcards["trades", 0].excluded.discard("BEYOND")  # by section 12 of the page

    for symbol in ("LAST", "BEYOND"):
        world.announce(Instrument(symbol))
        world.trade(symbol)
    world.flush()

    assert peer.reader.rows == 1


def test_named_symbols_that_are_all_there_are_do_not_stand_for_those_that_appear(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL", "BTC", "MSFT")
    peer.subscribe("*", mode="conflated")

    world.announce(Instrument("NEW"))
    world.trade("NEW")
    world.flush()

    assert peer.reader.rows == 0


def test_a_stalled_conflated_client_gets_one_update_a_channel_when_it_is_free(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL", "MSFT", mode="conflated", interval_ms=50)
    world.trade("AAPL")
    world.flush()
    peer.block()
    world.hub.conflate(50)

    for _ in range(500):
        world.trade("AAPL")
        world.trade("MSFT")
        world.flush()
        world.hub.conflate(50)
    peer.free()
    world.hub.conflate(50)

    assert [peer.reader.listening[Channel("trades", name)].updates for name in ("AAPL", "MSFT")] == [2, 1]
    assert peer.reader.rows == 1001


def test_bars_that_are_resumed_are_two_thousand_at_most_and_then_the_running_one() -> None:
    world = World(intervals_s=(1,))
    peer = world.connect()
    for _ in range(2100):
        world.trade("AAPL")
        world.advance(1)
        world.flush()

    peer.subscribe("AAPL", kind="bars", interval_s=1, since={"AAPL": 0}, epoch=EPOCH, mode="conflated")
    peer.catch_up()

    described = peer.reader.of_type("subscribed")[0]["channels"][0]
    assert (described["seq"], described["missed"]) == (99, 99)
    assert peer.reader.rows == 2000 + 1


def test_a_thousand_channels_are_described_in_the_answer_and_the_rest_before_their_rows() -> None:
    world = World([Instrument(f"S{number:04}") for number in range(1203)], kinds=["trades"])
    peer = world.connect()
    world.trade("S1202")
    world.flush()
    peer.subscribe("*", since={"S1202": 0}, epoch=EPOCH)
    world.trade("S1201")
    world.flush()
    world.settle_down()

    types = [message["type"] for message in peer.messages]
    assert types == ["welcome", "subscribed", "status", *["channel"] * 203, "pong"]
    assert len(peer.messages[1]["channels"]) == 1000
    assert peer.reader.rows == 2


def test_what_waits_for_a_client_that_reads_nothing_is_bounded_however_it_subscribes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ticker.stream.outbox.MOST_EXEMPT", 1 << 19)
    world = World([Instrument(f"S{number:04}") for number in range(1500)], kinds=["trades"])
    peer = world.connect(outbox_bytes=1 << 19)
    peer.block()
    most = 0

    while peer.session.closing is None:
        world.advance(1)
        peer.say({"op": "subscribe", "symbols": ["*"]})
        most = max(most, peer.outbox.queued)

    assert peer.session.closing == CloseCode.TOO_SLOW
    assert 1 << 19 < most <= 1 << 20
