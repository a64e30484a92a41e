"""What a session does as time goes by: commands a second, and heartbeats."""

from __future__ import annotations

from tests.stream.conftest import EPOCH, Peer, World, heartbeats_in
from ticker.protocol.messages import CloseCode

# Limits in time


def test_fifty_commands_a_second_are_answered_and_the_others_refused(world: World, peer: Peer) -> None:
    for number in range(60):
        peer.say({"op": "ping", "id": number})
    world.advance(1)
    peer.say({"op": "ping"})

    types = [message["type"] for message in peer.messages[1:]]
    assert types == ["pong"] * 50 + ["error"] * 10 + ["pong"]
    assert {message["code"] for message in peer.reader.of_type("error")} == {"limit"}
    assert [message["id"] for message in peer.reader.of_type("error")] == list(range(50, 60))


def test_unsubscribing_is_never_refused_and_never_counted(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    for _ in range(100):
        peer.unsubscribe("AAPL")
    for _ in range(49):
        peer.say({"op": "ping"})
    for _ in range(5):
        peer.say({"op": "ping"})
    peer.unsubscribe("AAPL")

    assert len(peer.reader.of_type("unsubscribed")) == 101
    assert len(peer.reader.of_type("pong")) == 49


def commands_beyond_the_limit(peer: Peer) -> None:
    for _ in range(51):
        peer.say({"op": "ping"})


def test_who_passes_the_limit_for_ten_seconds_on_end_is_closed(world: World, peer: Peer) -> None:
    for _ in range(9):
        commands_beyond_the_limit(peer)
        world.advance(1)
    assert peer.session.closing is None

    commands_beyond_the_limit(peer)

    assert peer.session.closing == CloseCode.LIMIT
    assert (peer.last["type"], peer.last["code"]) == ("error", "limit")


def test_a_second_within_the_limit_begins_the_ten_anew(world: World, peer: Peer) -> None:
    for second in range(25):
        if second != 9 and second != 17:
            commands_beyond_the_limit(peer)
        world.advance(1)

    assert peer.session.closing is None


# Heartbeats


def test_a_quiet_connection_gets_a_heartbeat_with_its_rows(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    peer.subscribe("BTC", mode="conflated")
    for symbol in ("AAPL", "BTC", "BTC"):
        world.trade(symbol)
    world.flush()
    world.conflate_all()

    assert heartbeats_in(world, peer, 40) in (3, 4)
    assert peer.last["rows"] == peer.reader.rows == 3
    assert set(peer.last) == {"type", "time", "rows"}


def test_a_heartbeat_comes_between_the_updates_of_a_longer_interval_and_counts_what_was_sent() -> None:
    world = World(heartbeat_s=2)
    peer = world.connect()
    peer.subscribe("AAPL", mode="conflated", interval_ms=5000)
    for _ in range(2):
        world.trade("AAPL")
        world.flush()
        world.conflate_all()
    world.trade("AAPL")  # for the update that is due when the interval ends
    world.flush()

    assert heartbeats_in(world, peer, 4) in (1, 2)
    assert peer.last["rows"] == peer.reader.rows == 2
    world.conflate_all()
    assert peer.reader.rows == 3


def test_a_connection_that_is_not_quiet_gets_none(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    for _ in range(30):
        world.trade("AAPL")
        world.flush()
        assert heartbeats_in(world, peer, 1) == 0


def test_a_connection_for_which_something_waits_gets_none(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    peer.block()
    for _ in range(2):
        world.trade("AAPL")
        world.flush()

    assert heartbeats_in(world, peer, 30) == 0
    assert peer.outbox.queued == len(peer.received[-1])  # the second row, and no heartbeat behind it
    peer.free()
    assert heartbeats_in(world, peer, 12) == 1


def test_a_connection_that_catches_up_gets_none(world: World, peer: Peer) -> None:
    world.trade("AAPL")
    world.flush()
    peer.subscribe("AAPL", since={"AAPL": 0}, epoch=EPOCH)

    assert heartbeats_in(world, peer, 30) == 0
    peer.catch_up()
    assert heartbeats_in(world, peer, 12) == 1
