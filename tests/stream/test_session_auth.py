"""Letting a client in, and out again: `auth`, the handshake's token, time limits, revocation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stream.conftest import CODECS, Peer, World
from ticker.access.gate import Gate
from ticker.access.grant import TO_ANYONE
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, Tokens, hash_of
from ticker.model import Instrument
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Limits
from ticker.stream.outbox import Outbox
from ticker.stream.session import Session

GOOD, OTHER, LIMITED = "a good token, long", "another principal's", "a token with limits"


class Guarded(World):
    """A market that asks for a token; `entries` are those that it knows after a `reload`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.entries = {
            GOOD: Principal("bot"),
            OTHER: Principal("other"),
            LIMITED: Principal("bot", connections=1, channels=2, commands_per_s=3),
        }
        tokens = Tokens(lambda: [Entry(hash_of(token), principal) for token, principal in self.entries.items()])
        self.market.gate = Gate([tokens], lambda: 1000.0 + self.now_s, connections=2)

    def knock(self, token: str, **more: Any) -> Peer:
        """Return a client that has sent a token."""
        peer = self.connect(CODECS[0])
        peer.say({"op": "auth", "token": token, **more})
        return peer


@pytest.fixture
def world() -> Guarded:
    return Guarded()


COMMANDS: list[dict[str, Any]] = [
    {"op": "subscribe", "symbols": ["AAPL"]},
    {"op": "subscribe", "symbols": ["*"], "since": {"AAPL": 0}, "epoch": "9f2c51d0"},
    {"op": "unsubscribe", "symbols": ["AAPL"]},
    {"op": "symbols"},
    {"op": "what"},
    {"op": "subscribe"},
    {"op": ["auth"]},
    {},
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_but_two_is_refused_until_a_token_has_come(
    world: Guarded, peer: Peer, command: dict[str, Any]
) -> None:
    assert peer.last["auth"] is True

    peer.say({"id": 7, **command})
    assert (peer.last["type"], peer.last["code"], peer.last["id"]) == ("error", "unauthenticated", 7)
    peer.say({"op": "ping", "id": 8})
    assert (peer.last["type"], peer.last["id"]) == ("pong", 8)

    assert peer.session.closing is None
    assert len(peer.session.subscriptions) == 0


def test_a_good_token_lets_in_and_tells_what_it_allows(world: Guarded, peer: Peer) -> None:
    world.entries[GOOD] = Principal("bot", expires_s=1_795_404_000.25, channels=30)
    world.market.gate.reload()

    peer.say({"op": "auth", "id": "a", "token": GOOD})

    answer = peer.last
    expires = "2026-11-23T03:20:00.250000000Z" if peer.is_text else 1_795_404_000_250_000_000
    assert answer.pop("limits") == {"message_bytes": 262_144, "channels": 30, "commands_per_s": 50}
    assert answer == {"type": "authenticated", "id": "a", "name": "bot", "expires": expires}
    peer.subscribe("AAPL")
    assert peer.reader.listening


@pytest.mark.parametrize("expires_s", [9.3e9, 1e12])
def test_a_time_that_nanoseconds_do_not_reach_is_told_as_the_latest_that_is(
    world: Guarded, peer: Peer, expires_s: float
) -> None:
    world.entries[GOOD] = Principal("bot", expires_s=expires_s)
    world.market.gate.reload()

    peer.say({"op": "auth", "token": GOOD})

    assert peer.last["expires"] == ("2255-03-14T16:00:00.000000000Z" if peer.is_text else 9_000_000_000 * 10**9)


def test_a_bad_token_is_told_and_ends_the_connection(world: Guarded, peer: Peer) -> None:
    peer.say({"op": "auth", "id": 1, "token": GOOD + "x"})

    answer = {"type": "error", "id": 1, "code": "unauthenticated", "message": "token: not known here"}
    assert peer.last == answer
    assert peer.session.closing is CloseCode.UNAUTHENTICATED
    assert world.market.counts.refusals == {"token": 1}
    peer.say({"op": "auth", "token": GOOD})
    assert peer.last == answer


@pytest.mark.parametrize(("token", "code"), [(None, "bad_request"), (5, "bad_request"), ([GOOD], "bad_request")])
def test_what_is_no_token_is_a_bad_request(world: Guarded, peer: Peer, token: Any, code: str) -> None:
    peer.say({"op": "auth", "token": token})

    assert (peer.last["type"], peer.last["code"]) == ("error", code)
    assert peer.session.closing is None


def test_who_sends_no_token_in_time_is_told_why_and_closed(world: Guarded, peer: Peer) -> None:
    other = world.knock(GOOD)
    for session in (peer.session, other.session):
        session.tick(9.9)
    assert peer.session.closing is None

    for session in (peer.session, other.session):
        session.tick(10.0)

    assert peer.session.closing is CloseCode.UNAUTHENTICATED
    assert b"no auth within 10 s" in peer.session.last_words()
    assert other.session.closing is None
    assert world.market.counts.refusals == {"unauthenticated": 1}


def test_strangers_are_told_nothing_of_the_feed(world: Guarded, peer: Peer) -> None:
    before = len(peer.messages)

    world.announce(Instrument("NEW"))
    peer.session.tell_status()
    peer.session.tick(5.0)

    assert len(peer.messages) == before


def test_commands_of_strangers_are_counted_as_all_others_are(world: Guarded, peer: Peer) -> None:
    codes = []
    for _ in range(52):
        peer.say({"op": "symbols"})
        codes.append(peer.last["code"])

    assert codes == ["unauthenticated"] * 50 + ["limit"] * 2


def test_where_nobody_is_asked_any_token_is_right_and_nothing_is_told() -> None:
    world = World()
    peer = world.connect()
    assert peer.last["auth"] is False

    peer.say({"op": "auth", "id": 1, "token": "anything"})

    assert peer.last == {"type": "authenticated", "id": 1}


def test_the_handshakes_token_is_enough(world: Guarded) -> None:
    grant = world.market.gate.authenticate(LIMITED)
    outbox, sent = Outbox(1 << 20, world.pressure), bytearray()
    outbox.write = lambda data, taken: sent.extend(data) or len(data)  # type: ignore[func-returns-value]
    session = Session(world.market, CODECS[1], outbox, world.pressure, 0.0, grant)

    session.open()
    session.receive('{"op": "subscribe", "symbols": ["AAPL"]}', 0.0)

    assert b'"auth":false' in sent.replace(b" ", b"")
    assert b'"name":"bot"' in sent.replace(b" ", b"")
    assert b'"channels":2' in sent.replace(b" ", b"")
    assert b"subscribed" in sent


def test_one_that_shakes_hands_while_others_take_the_last_place_is_told_and_ends(world: Guarded) -> None:
    outbox, sent = Outbox(1 << 20, world.pressure), bytearray()
    outbox.write = lambda data, taken: sent.extend(data) or len(data)  # type: ignore[func-returns-value]
    grant = world.market.gate.authenticate(LIMITED)
    world.knock(LIMITED)

    session = Session(world.market, CODECS[1], outbox, world.pressure, 0.0, grant)
    session.open()

    assert session.closing is CloseCode.LIMIT
    assert b'"code":"limit"' in session.last_words().replace(b" ", b"")
    assert not sent
    session.close()
    assert world.market.gate.is_full(grant.principal)


def test_a_token_has_its_own_limits(world: Guarded) -> None:
    peer = world.knock(LIMITED)

    peer.say({"op": "subscribe", "symbols": ["AAPL", "BTC", "MSFT"]})
    answer = peer.reader.of_type("subscribed")[-1]
    peer.say({"op": "ping"})
    peer.say({"op": "ping", "id": 9})

    assert answer["refused"] == [{"symbol": "MSFT", "code": "limit"}]
    assert (peer.last["code"], peer.last["message"]) == ("limit", "more than 3 commands in a second")
    peer.say({"op": "unsubscribe", "symbols": ["AAPL"]})
    assert peer.last["type"] == "unsubscribed"


def test_a_principal_has_so_many_connections_and_no_more(world: Guarded) -> None:
    first, second, third = (world.knock(GOOD, id=1) for _ in range(3))

    assert [each.session.closing for each in (first, second, third)] == [None, None, CloseCode.LIMIT]
    assert (third.last["type"], third.last["code"], third.last["id"]) == ("error", "limit", 1)
    third.session.close()
    first.session.close()
    first.session.close()
    assert world.knock(GOOD).session.closing is None
    assert world.knock(GOOD).session.closing is CloseCode.LIMIT
    assert world.knock(OTHER).session.closing is None
    assert world.market.counts.refusals == {"connections_of_principal": 2}


def test_to_authenticate_again_is_no_other_connection(world: Guarded) -> None:
    peer = world.knock(LIMITED)
    for _ in range(2):
        peer.say({"op": "auth", "token": LIMITED})

    assert peer.last["type"] == "authenticated"
    assert world.knock(LIMITED).session.closing is CloseCode.LIMIT
    peer.session.close()
    assert world.knock(LIMITED).session.closing is None


def test_another_principals_token_changes_nothing(world: Guarded) -> None:
    peer = world.knock(GOOD)
    peer.subscribe("AAPL")

    peer.say({"op": "auth", "id": 5, "token": OTHER})

    assert (peer.last["type"], peer.last["code"], peer.last["id"]) == ("error", "bad_request", 5)
    assert peer.session.closing is None
    world.trade("AAPL")
    world.flush()
    assert peer.reader.rows == 1


def test_a_bad_token_ends_a_connection_that_had_a_good_one(world: Guarded) -> None:
    peer = world.knock(GOOD)

    peer.say({"op": "auth", "token": "wrong"})

    assert (peer.last["type"], peer.last["code"]) == ("error", "unauthenticated")
    assert peer.session.closing is CloseCode.UNAUTHENTICATED


def test_a_fresh_token_is_in_force_from_then_on(world: Guarded) -> None:
    world.entries[GOOD] = Principal("bot", expires_s=1010.0)
    world.entries[OTHER] = Principal("bot", expires_s=1020.0)
    world.market.gate.reload()
    peer = world.knock(GOOD)
    world.advance(9.0)
    peer.say({"op": "auth", "token": OTHER})

    world.advance(1.0)
    peer.session.tick(10.0)
    assert peer.session.closing is None
    world.advance(10.0)
    peer.session.tick(20.0)

    assert peer.session.closing is CloseCode.UNAUTHENTICATED


def test_a_token_that_is_taken_out_of_the_file_ends_its_connections_and_no_others(world: Guarded) -> None:
    peer, other = world.knock(GOOD), world.knock(OTHER)

    del world.entries[GOOD]
    world.market.gate.reload()
    for each in (peer, other):
        each.session.tick(1.0)

    assert peer.session.closing is CloseCode.UNAUTHENTICATED
    assert b"expired, or was revoked" in peer.session.last_words()
    assert other.session.closing is None


def test_a_token_that_is_changed_in_the_file_is_followed(world: Guarded) -> None:
    peer = world.knock(GOOD)
    peer.subscribe("*")
    channels = {each["symbol"]: each["channel"] for each in peer.reader.of_type("subscribed")[-1]["channels"]}

    world.entries[GOOD] = Principal("bot", ("AAPL",))
    world.market.gate.reload()
    peer.session.tick(1.0)
    assert peer.last == {"type": "revoked", "channels": [channels["BTC"], channels["MSFT"]]}
    world.trade("AAPL")
    peer.received.clear()
    peer.reader.feed = lambda data: None  # type: ignore[method-assign]
    world.trade("MSFT")
    world.flush()
    assert len(peer.received) == 1

    world.entries[GOOD] = Principal("bot")
    world.market.gate.reload()
    peer.received.clear()
    peer.session.tick(2.0)
    assert b"BTC" in b"".join(peer.received)
    assert b"revoked" not in b"".join(peer.received)


def test_what_waits_for_a_client_that_is_let_in_no_longer_is_dropped() -> None:
    world = Guarded(limits=Limits())
    peer = world.knock(GOOD)
    peer.subscribe("AAPL")
    peer.block()
    world.trade("AAPL")
    world.flush()
    world.trade("AAPL")
    world.flush()
    assert peer.outbox.queued

    del world.entries[GOOD]
    world.market.gate.reload()
    peer.session.tick(1.0)

    assert not peer.outbox.queued
    assert peer.session.closing is CloseCode.UNAUTHENTICATED


def test_a_session_of_anyone_never_ends_by_itself() -> None:
    world = World()
    peer = world.connect()

    peer.session.tick(1e9)

    assert peer.session.closing is None
    assert world.market.gate.renewed(TO_ANYONE) is TO_ANYONE
