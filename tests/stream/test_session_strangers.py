"""What strangers send: absurd commands, any maps, any bytes. Each is answered once, and no neighbour is disturbed."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.conftest import CODECS, EPOCH, Peer, World
from tests.stream.reference import frames
from ticker.model import Channel, Instrument
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Limits

ANSWERS = {"subscribed", "unsubscribed", "symbols", "pong", "authenticated", "error"}
MEBIBYTE = 1 << 20


def answers_of(peer: Peer, data: list[bytes]) -> list[dict[str, Any]]:
    """Return the answers among whole frames, each of which is checked to be at most 1 MiB."""
    answers = []
    for _, payload in frames(b"".join(data)):
        message = json.loads(payload) if peer.is_text else msgpack.unpackb(payload)
        if isinstance(message, dict) and message.get("type") in ANSWERS:
            answers.append(message)
    return answers


def stranger_of(world: World, codec: int) -> Peer:
    """Return a client whose messages nobody reads."""
    peer = world.connect(CODECS[codec])
    peer.reader.feed = lambda data: None  # type: ignore[method-assign]
    peer.received.clear()
    return peer


LONG = [f"{number:05}" for number in range(20_000)]
WIDE = "\N{PILE OF POO}" * 128
ABSURD: list[dict[str, Any]] = [
    {"op": "symbols", "limit": 10_000},
    {"op": "symbols", "prefix": "\N{PILE OF POO}", "limit": 10_000},
    {"op": "subscribe", "symbols": ["*"]},
    {"op": "subscribe", "symbols": LONG},
    {"op": "unsubscribe", "symbols": LONG},
    {"op": "subscribe", "symbols": [WIDE[:100] + name for name in LONG[:500]]},
    {"op": "subscribe", "symbols": ["x" * 200_000]},
    {"op": "subscribe", "symbols": [chr(number) for number in range(256, 50_000)]},
    {"op": "subscribe", "symbols": ["AAPL"], "since": dict.fromkeys(LONG, 2**63), "epoch": "e" * 100_000},
    {"op": "x" * 200_000},
    {"op": "ping", "id": "\N{PILE OF POO}" * 60_000},
    {"op": "what", "id": "\N{PILE OF POO}" * 60_000},
    {"op": "symbols", "prefix": "y" * 200_000, "after": "z" * 50_000},
    {"op": "subscribe", "symbols": ["AAPL"], "kind": "k" * 200_000},
    {"op": "subscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": 2**63},
]


@pytest.mark.parametrize("codec", [0, 1], ids=["msgpack", "json"])
def test_a_command_whose_refusals_do_not_fit_an_answer_changes_nothing(world: World, codec: int) -> None:
    peer = stranger_of(world, codec)

    peer.say({"op": "subscribe", "symbols": ["AAPL", *LONG]})

    (answer,) = answers_of(peer, peer.received)
    assert (answer["type"], answer["code"]) == ("error", "bad_request")
    assert answer["message"].startswith("symbols: ")
    assert len(peer.session.subscriptions) == 0


@pytest.mark.parametrize("codec", [0, 1], ids=["msgpack", "json"])
def test_a_command_names_all_that_it_refuses(world: World, codec: int) -> None:
    peer = stranger_of(world, codec)

    peer.say({"op": "subscribe", "symbols": ["AAPL", *LONG[:10_000]]})

    (answer,) = answers_of(peer, peer.received)
    assert [each["symbol"] for each in answer["refused"]] == LONG[:10_000]


@pytest.fixture(scope="module", params=[100_000, 300], ids=["wide", "limited"])
def large(request: pytest.FixtureRequest) -> World:
    """Return a market of symbols as long as they may be, in letters as wide as there are."""
    instruments = [Instrument(f"{number:05}{WIDE[:123]}") for number in range(3000)]
    return World(instruments, kinds=["trades", "bars"], limits=Limits(channels=request.param))


@pytest.mark.parametrize("codec", [0, 1], ids=["msgpack", "json"])
@pytest.mark.parametrize("command", ABSURD, ids=lambda each: json.dumps(each)[:50])
def test_answers_stay_below_a_mebibyte_whatever_is_asked(large: World, codec: int, command: dict[str, Any]) -> None:
    peer = stranger_of(large, codec)

    peer.say(command)

    assert len(answers_of(peer, peer.received)) == 1
    assert all(len(payload) <= MEBIBYTE for _, payload in frames(b"".join(peer.received)))
    peer.session.close()


names = st.sampled_from(["AAPL", "BTC", "NONE", "*", "", "é"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    names,
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=6,
)
fields = {
    "id": values,
    "symbols": st.one_of(st.just(["*"]), st.lists(names, max_size=4), values),
    "kind": st.one_of(st.sampled_from(["trades", "quotes", "bars"]), values),
    "interval_s": st.one_of(st.sampled_from([1, 5]), values),
    "mode": st.one_of(st.sampled_from(["all", "conflated"]), values),
    "interval_ms": st.one_of(st.integers(1, 6000), values),
    "since": st.one_of(st.dictionaries(names, st.integers(0, 10)), values),
    "epoch": st.one_of(st.just(EPOCH), values),
    "prefix": values,
    "after": values,
    "limit": st.one_of(st.integers(0, 10), values),
    "token": values,
    "color": values,
}
ops = st.one_of(st.sampled_from(["subscribe", "subscribe", "unsubscribe", "symbols", "ping", "auth"]), values)
commands = st.fixed_dictionaries({"op": ops}, optional=fields)


@settings(max_examples=150)
@given(codec=st.sampled_from([0, 1]), wishes=st.lists(commands, min_size=1, max_size=12))
def test_any_map_is_answered_once_and_disturbs_no_neighbour(codec: int, wishes: list[dict[str, Any]]) -> None:
    world = World(limits=Limits(commands_per_s=1 << 30))
    neighbour = world.connect()
    neighbour.subscribe("*")
    neighbour.subscribe("AAPL", kind="bars", interval_s=1, mode="conflated")
    stranger = stranger_of(world, codec)

    for number, wish in enumerate(wishes, 1):
        stranger.say(wish)
        world.trade("AAPL")
        world.quote("BTC")
        world.advance(0.4)
        world.flush()
        stranger.catch_up()
        world.conflate_all()
        assert len(answers_of(stranger, stranger.received)) == number

    assert stranger.session.closing is None
    world.peers.remove(stranger)
    world.settle_down()
    assert neighbour.reader.listening[Channel("trades", "AAPL")].expected == len(wishes)


@settings(max_examples=300)
@given(codec=st.sampled_from([0, 1]), data=st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_any_bytes_are_answered_or_end_the_connection(codec: int, data: str | bytes) -> None:
    world = World()
    stranger = stranger_of(world, codec)

    stranger.session.receive(data, world.now_s)

    assert len(answers_of(stranger, stranger.received)) == 1
    assert stranger.session.closing in (None, CloseCode.BAD_MESSAGE)


@settings(max_examples=200)
@given(codec=st.sampled_from([0, 1]), wish=commands, changes=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_commands_with_bytes_changed_on_the_way_never_raise(
    codec: int, wish: dict[str, Any], changes: list[tuple[int, int]]
) -> None:
    world = World()
    stranger = stranger_of(world, codec)
    data = bytearray(json.dumps(wish).encode() if codec else msgpack.packb(wish))
    for place, value in changes[:4]:
        data[place % len(data)] = value

    stranger.session.receive(data.decode(errors="replace") if codec else bytes(data), world.now_s)

    assert len(answers_of(stranger, stranger.received)) == 1
