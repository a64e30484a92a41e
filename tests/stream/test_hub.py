"""Who gets what of a flush, and when. (That nothing is lost or sent twice: see test_subscriptions.py.)"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgpack
import numpy as np
import pytest

from tests.stream.conftest import CODECS, START_S, Peer, World
from tests.stream.reference import frames, unpack_column
from ticker.columns import Block, Ticks
from ticker.model import Channel, Instrument, Series
from ticker.protocol.codec import Catalogue
from ticker.protocol.messages import CloseCode
from ticker.protocol.native import MsgpackCodec
from ticker.stream.conflation import MOST_ENTRIES
from ticker.stream.outbox import MOST_UNSENT

AAPL, MSFT = Channel("trades", "AAPL"), Channel("trades", "MSFT")


class CountingCodec(MsgpackCodec):
    """Notes what it is asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[list[int]] = []

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        self.encoded.append(block.symbols.tolist())
        return super().encode(block, catalogue)


@pytest.fixture
def codec() -> CountingCodec:
    return CountingCodec()


def updates(peers: Sequence[Peer], channel: Channel = AAPL) -> list[int]:
    """Return how many data messages of a channel each peer got."""
    return [peer.reader.listening[channel].updates for peer in peers]


def test_a_block_is_encoded_once_for_all_audiences_and_only_where_someone_listens(
    world: World, codec: CountingCodec
) -> None:
    for symbols in (["AAPL"], ["AAPL"], ["AAPL", "BTC"], ["BTC"]):
        world.connect(codec).subscribe(*symbols)

    for symbol in ("AAPL", "BTC", "MSFT"):
        world.trade(symbol)
        world.quote(symbol)
    world.flush()

    assert codec.encoded == [[0, 1]]


def test_an_update_is_encoded_once_for_all_of_an_interval(world: World, codec: CountingCodec) -> None:
    peers = [world.connect(codec) for _ in range(4)]
    for peer in peers:
        peer.subscribe("AAPL", mode="conflated", interval_ms=100)
    for _ in range(3):
        world.trade("AAPL")
        world.flush()

    world.hub.conflate(100)

    assert codec.encoded == [[0]]
    assert updates(peers) == [1] * 4


def test_clients_with_the_same_channels_get_the_same_bytes(world: World) -> None:
    peers = [world.connect() for _ in range(3)]
    for peer in peers:
        peer.subscribe("AAPL", "MSFT")
    world.trade("AAPL")
    world.trade("MSFT")

    world.flush()

    assert peers[0].received[-1] is peers[1].received[-1] is peers[2].received[-1]


def test_a_market_without_listeners_encodes_and_remembers_nothing(world: World, codec: CountingCodec) -> None:
    peer = world.connect(codec)
    peer.subscribe("AAPL")
    peer.subscribe("*", kind="bars", interval_s=1, mode="conflated")
    peer.unsubscribe("*")
    peer.unsubscribe("*", kind="bars")

    for _ in range(5):
        world.trade("AAPL")
        world.advance(1)
        world.flush()

    assert codec.encoded == []
    assert world.hub.intervals_ms == []
    assert len(world.hub.conflation.bars[Series("bars", 1)]) == 0


def test_each_interval_ends_for_its_own_clients_only(world: World) -> None:
    peers = [world.connect() for _ in range(2)]
    for peer, interval_ms in zip(peers, (50, 250), strict=True):
        peer.subscribe("AAPL", mode="conflated", interval_ms=interval_ms)
    for _ in range(5):
        world.trade("AAPL")
        world.flush()
        world.hub.conflate(50)

    world.hub.conflate(250)

    assert updates(peers) == [5, 1]
    assert [peer.reader.rows for peer in peers] == [5, 5]
    assert sorted(world.hub.intervals_ms) == [50, 250]


def test_an_interval_that_nobody_listens_at_ends_without_effect(world: World) -> None:
    world.hub.conflate(50)

    assert world.hub.intervals_ms == []


def test_one_who_joins_between_two_ends_of_an_interval_gets_only_what_came_since(world: World) -> None:
    first, second = world.connect(), world.connect()
    first.subscribe("AAPL", mode="conflated")
    world.hub.conflate(250)
    world.trade("AAPL")
    world.flush()
    second.subscribe("AAPL", mode="conflated")
    world.trade("AAPL")
    world.flush()

    world.hub.conflate(250)

    assert (first.reader.rows, second.reader.rows) == (2, 1)
    assert updates([first, second]) == [1, 1]


def test_a_stalled_client_does_not_slow_its_neighbours(world: World) -> None:
    stalled, reading = world.connect(), world.connect()
    for peer in (stalled, reading):
        peer.subscribe("AAPL", mode="conflated", interval_ms=50)
    stalled.block()

    for _ in range(10):
        world.trade("AAPL")
        world.flush()
        world.hub.conflate(50)

    assert updates([reading]) == [10]
    stalled.free()
    world.hub.conflate(50)
    assert updates([stalled, reading]) == [2, 10]
    assert stalled.reader.rows == 10


def test_a_client_whose_socket_holds_what_it_cannot_send_gets_one_update_of_all_when_that_is_gone(world: World) -> None:
    trickling, reading = world.connect(), world.connect()
    for peer in (trickling, reading):
        peer.subscribe("AAPL", mode="conflated", interval_ms=50)
    unsent = MOST_UNSENT + 1
    trickling.outbox.unsent = lambda: unsent

    for _ in range(10):
        world.trade("AAPL")
        world.flush()
        world.hub.conflate(50)

    assert updates([trickling, reading]) == [0, 10]
    unsent = MOST_UNSENT
    world.hub.conflate(50)
    assert updates([trickling, reading]) == [1, 10]
    assert trickling.reader.rows == 10


def test_what_is_remembered_is_bounded_while_clients_stall(world: World) -> None:
    peers = [world.connect() for _ in range(3)]
    for number, peer in enumerate(peers):
        peer.subscribe("AAPL", "MSFT", mode="conflated", interval_ms=50)
        peer.subscribe("AAPL", kind="bars", interval_s=1, mode="conflated", interval_ms=50)
        for _ in range(number):
            world.trade("AAPL")
            world.flush()
            world.hub.conflate(50)
        peer.block()
    most = 0

    for _ in range(300):
        world.trade("AAPL")
        world.trade("MSFT")
        world.advance(0.7)
        world.flush()
        world.hub.conflate(50)
        most = max(
            most, len(world.hub.conflation.ticks[Series("trades")]), len(world.hub.conflation.bars[Series("bars", 1)])
        )

    assert most <= MOST_ENTRIES + 2 * len(peers) + 2
    world.settle_down()
    assert all(count <= 2 for count in updates(peers, MSFT))  # a blocked socket takes one more
    assert len(world.hub.conflation.ticks[Series("trades")]) == 0


def test_what_is_remembered_is_bounded_however_many_flushes_an_interval_has(world: World) -> None:
    peer = world.connect()
    peer.subscribe("AAPL", mode="conflated", interval_ms=5000)
    most = 0

    for _ in range(1000):
        world.trade("AAPL")
        world.flush()
        most = max(most, len(world.hub.conflation.ticks[Series("trades")]))
    world.hub.conflate(5000)

    assert most <= 100
    assert (updates([peer]), peer.reader.rows) == ([1], 1000)


def test_audiences_are_served_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 4)
    world = World(defers=True)
    peers = [world.connect() for _ in range(10)]
    for number, peer in enumerate(peers):
        peer.subscribe(*(["AAPL"] if number < 7 else ["AAPL", "MSFT"]))

    world.trade("AAPL")
    world.flush()
    served = [sum(updates(peers))]
    while world.do_deferred():
        served.append(sum(updates(peers)))

    assert served[0] < 10
    assert served[-1] == 10
    assert all(later - earlier < 2 * 4 for earlier, later in pairwise(served))


def test_an_audience_that_is_reached_late_gets_all_flushes_at_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)
    world = World(defers=True)
    peers = [world.connect() for _ in range(3)]
    for peer, symbols in zip(peers, (["AAPL"], ["AAPL", "BTC"], ["AAPL", "MSFT"]), strict=True):
        peer.subscribe(*symbols)

    for _ in range(5):
        world.trade("AAPL")
        world.flush()
    while world.do_deferred():
        pass

    assert [peer.reader.rows for peer in peers] == [5, 5, 5]
    assert len(peers[2].received) == 3 + 1  # welcome, answer, status, one piece


def test_one_who_leaves_before_its_turn_gets_what_it_is_due_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)
    world = World(defers=True)
    peers = [world.connect() for _ in range(4)]
    for peer in peers:
        peer.subscribe("AAPL")
    world.trade("AAPL")
    world.flush()
    waiting = [peer for peer in peers if not peer.reader.rows]

    for peer in waiting:
        peer.unsubscribe("AAPL")
    while world.do_deferred():
        pass

    assert len(waiting) >= 2
    assert [peer.reader.rows for peer in peers] == [1] * 4
    assert {peer.last["type"] for peer in waiting} == {"unsubscribed"}


def test_one_that_is_widened_while_it_waits_gets_all_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)
    world = World(defers=True)
    peers = [world.connect(CODECS[0]) for _ in range(3)]
    peers[0].subscribe("MSFT")
    for peer in peers[1:]:
        peer.subscribe("*")
        peer.unsubscribe("BTC")
    for _ in range(3):
        world.trade("AAPL")
        world.flush()

    late = world.connect()
    late.subscribe("AAPL")
    world.trade("AAPL")
    world.flush()
    world.announce(Instrument("NEW"))
    world.trade("NEW")
    world.flush()
    world.settle_down()

    assert [peer.reader.rows for peer in (*peers, late)] == [0, 5, 5, 1]


def test_bars_that_the_feed_emits_are_rows_and_what_is_folded_from_them_runs() -> None:
    world = World(kinds=["bars"], intervals_s=(60, 3600), emitted_s=(60,))
    peer = world.connect()
    peer.reader.feed = lambda data: None  # type: ignore[method-assign]  # its truth folds trades
    for interval_s in (60, 3600):
        peer.say(
            {"op": "subscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": interval_s, "mode": "conflated"}
        )
    peer.received.clear()
    start = START_S * 10**6

    for minute, high in enumerate((12, 15, 11)):
        bar = [start + minute * 60_000_000, 10, high, 9, 10, 100, 1000, 7]
        columns = tuple(np.array([value]) for value in bar)
        world.batcher.emit(Ticks("bars", ("AAPL",), np.zeros(1, np.int64), columns, 60))
        world.batcher.flush()
    world.hub.conflate(250)

    hour = START_S // 3600 * 3600 * 10**6
    integers = {world.directory.channel(Series("bars", each), True, 0): each for each in (60, 3600)}
    found = {}
    for _, payload in frames(b"".join(peer.received)):
        integer, seq, n, *packed = msgpack.unpackb(payload)
        columns = [unpack_column(*pair, n) for pair in zip(packed[::2], packed[1::2], strict=True)]
        found[integers[integer]] = (seq, list(zip(*columns, strict=True)))
    assert found == {
        60: (0, [(start + i * 60_000_000, 10, high, 9, 10, 100, 1000, 7) for i, high in enumerate((12, 15, 11))]),
        3600: (0, [(hour, 10, 15, 9, 10, 300, 3000, 21)]),
    }


def flood(world: World, flushes: int) -> None:
    for _ in range(flushes):
        world.trade("AAPL")
        world.flush()


def test_one_that_stalls_is_set_back_and_gets_everything_once_it_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World()
    stalled, healthy = world.connect(), world.connect()
    for peer in (stalled, healthy):
        peer.subscribe("AAPL")
    stalled.block()

    flood(world, 50)
    kept = stalled.outbox.queued
    stalled.free()
    world.hub.serve_late()

    assert kept < 200
    assert (stalled.reader.rows, healthy.reader.rows) == (50, 50)
    assert stalled.outbox.is_free


def test_one_that_is_set_back_is_closed_when_what_it_is_owed_passes_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World()
    stalled, healthy = world.connect(outbox_bytes=2000), world.connect()
    for peer in (stalled, healthy):
        peer.subscribe("AAPL")
    stalled.block()

    flood(world, 30)
    assert not stalled.outbox.overflowed
    flood(world, 60)

    assert stalled.outbox.overflowed
    assert healthy.reader.rows == 90


def test_what_is_kept_for_those_behind_is_bounded_and_then_each_gets_its_own_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World(shared_bytes=5000)
    stalled = world.connect()
    stalled.subscribe("AAPL")
    stalled.block()

    flood(world, 120)

    assert world.hub.behind[1] < 5200
    assert stalled.outbox.queued > 2000
    stalled.free()
    world.hub.serve_late()
    assert stalled.reader.rows == 120


def test_who_lacks_more_than_an_equal_share_of_what_may_be_kept_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World(shared_bytes=5000)
    stalled = [world.connect() for _ in range(50)]
    modest, healthy = world.connect(), world.connect()
    for peer in (*stalled, healthy):
        peer.subscribe("AAPL")
    modest.subscribe("MSFT")
    for peer in (*stalled, modest):
        peer.block()
    for _ in range(3):
        world.trade("MSFT")
        world.flush()

    flood(world, 200)
    for peer in (*stalled, modest):
        peer.session.tick(0.0)

    assert {peer.session.closing for peer in stalled} == {CloseCode.TOO_SLOW}
    assert modest.session.closing is None
    assert world.hub.behind[1] < 5200
    assert sum(peer.outbox.queued for peer in (*stalled, modest)) < 5000
    modest.free()
    world.hub.serve_late()
    assert (modest.reader.rows, healthy.reader.rows) == (3, 200)


def test_who_is_set_back_can_be_given_its_part_before_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World()
    stalled = world.connect()
    stalled.subscribe("AAPL")
    stalled.block()
    flood(world, 20)

    world.hub.settle()
    stalled.send("ping")
    stalled.free()

    assert stalled.last["rows"] == 20
    assert stalled.reader.rows == 20


def test_nobody_is_set_back_where_the_feed_waits_for_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.KEPT_BYTES", 100)
    world = World(is_waited_for=True)
    stalled = world.connect()
    stalled.subscribe("AAPL")
    stalled.block()

    flood(world, 50)

    assert stalled.outbox.queued > 1000
    stalled.free()
    assert stalled.reader.rows == 50


def test_all_who_stand_in_line_are_served_before_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", 1)
    world = World(defers=True)
    peers = [world.connect() for _ in range(6)]
    for number, peer in enumerate(peers):
        conflated = {"mode": "conflated", "interval_ms": 50} if number % 2 else {}
        peer.subscribe(*(["AAPL"] if number < 4 else ["AAPL", "MSFT"]), **conflated)
    flood(world, 3)
    world.hub.conflate(50)
    assert not all(peer.reader.rows for peer in peers)

    world.hub.settle()

    assert [peer.reader.rows for peer in peers] == [3] * 6
    while world.do_deferred():
        pass
    assert [peer.reader.rows for peer in peers] == [3] * 6
