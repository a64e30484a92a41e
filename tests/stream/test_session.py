"""One client's conversation: commands and their answers, and how it ends. (Time passes in test_session_time.py.)"""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from tests.stream.conftest import CODECS, EPOCH, START_S, Peer, World, heartbeats_in
from ticker.feed import Replay
from ticker.model import Instrument
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Limits

ANSWERS = {"subscribed", "unsubscribed", "symbols", "pong", "authenticated", "error"}


def test_the_server_speaks_first(world: World) -> None:
    peer = world.connect()

    assert peer.messages == [
        {
            "type": "welcome",
            "protocol": 1,
            "server": "1.0.0",
            "epoch": EPOCH,
            "time": START_S * 10**9,
            "feed": "test",
            "kinds": ["trades", "quotes", "bars"],
            "intervals": [1, 5],
            "auth": False,
            "clock": None,
            "heartbeat_s": 10.0,
            "limits": {"message_bytes": 262_144, "channels": 100_000, "commands_per_s": 50},
        }
    ]


def test_the_clock_of_a_replay_is_told_in_welcome_and_status(world: World) -> None:
    world.market.replay = Replay(10)
    world.tell_time()
    world.flush()
    peer = world.connect()
    peer.subscribe("AAPL")

    clock = {"time": START_S * 10**9, "speed": 10}
    assert [message["clock"] for message in peer.messages if "clock" in message] == [clock, clock]


def test_times_in_json_are_text_with_nine_digits(world: World) -> None:
    peer = world.connect(CODECS[1])
    peer.say({"op": "ping"})

    assert peer.last["time"] == peer.messages[0]["time"] == "2026-11-23T03:20:00.000000000Z"


@pytest.mark.parametrize("id", [7, "seven", 0, "", -1, None])
def test_an_answer_repeats_the_id_of_its_command(peer: Peer, id: int | str | None) -> None:
    command = {"op": "auth", "token": ""} | ({} if id is None else {"id": id})

    peer.say(command)

    expected = {"type": "authenticated"} | ({} if id is None else {"id": str(id) if peer.is_text and id == -1 else id})
    assert peer.last == expected


def test_answers_come_in_the_order_of_the_commands(peer: Peer) -> None:
    for number, op in enumerate(["ping", "symbols", "what", "unsubscribe", "subscribe", "ping"]):
        peer.say({"op": op, "id": number, "symbols": ["AAPL"]})

    answers = [message for message in peer.messages if message["type"] in ANSWERS]
    assert [answer["id"] for answer in answers] == list(range(6))
    assert [answer["type"] for answer in answers] == [
        "pong",
        "symbols",
        "error",
        "unsubscribed",
        "subscribed",
        "pong",
    ]


def test_a_status_comes_right_after_each_subscribed_and_whenever_it_changes(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    peer.subscribe("NONE")
    world.market.state = "live"
    peer.session.tell_status()

    assert [message["type"] for message in peer.messages[1:]] == ["subscribed", "status"] * 2 + ["status"]
    assert [message["state"] for message in peer.reader.of_type("status")] == ["waiting", "waiting", "live"]


@pytest.mark.parametrize(
    ("asked", "granted"),
    [(None, 250), (1, 50), (1.5, 50), (50, 50), (51, 100), (250.5, 500), (999, 1000), (5000, 5000), (86_400_000, 5000)],
)
def test_a_conflation_interval_is_rounded_up_to_one_that_is_granted(
    world: World, asked: float | None, granted: int
) -> None:
    peer = world.connect()
    peer.subscribe("AAPL", mode="conflated", **({} if asked is None else {"interval_ms": asked}))

    assert peer.messages[1]["channels"][0]["interval_ms"] == granted


@pytest.mark.parametrize(("intervals_s", "granted"), [((1, 60), 60), ((5, 3600), 5)])
def test_bars_are_of_a_minute_or_the_shortest_unless_asked_otherwise(
    intervals_s: tuple[int, ...], granted: int
) -> None:
    peer = World(intervals_s=intervals_s).connect()
    peer.say({"op": "subscribe", "symbols": ["AAPL"], "kind": "bars"})

    assert peer.messages[1]["channels"][0]["interval_s"] == granted


def test_an_interval_is_ignored_for_other_kinds(peer: Peer) -> None:
    peer.say({"op": "subscribe", "symbols": ["AAPL"], "kind": "quotes", "interval_s": "seven"})
    peer.say({"op": "unsubscribe", "symbols": ["AAPL"], "kind": "quotes", "interval_s": 7})

    assert [message["type"] for message in peer.messages[1:]] == ["subscribed", "status", "unsubscribed"]
    assert len(peer.last["channels"]) == 1


def test_unsubscribing_bars_without_an_interval_ends_them_all(peer: Peer) -> None:
    for interval_s, mode in ((1, "all"), (5, "conflated")):
        peer.subscribe("AAPL", kind="bars", interval_s=interval_s, mode=mode)

    peer.unsubscribe("AAPL", kind="bars")

    assert len(peer.last["channels"]) == 2


def test_unsubscribing_what_is_not_subscribed_is_no_error(peer: Peer) -> None:
    peer.unsubscribe("AAPL", "NONE")
    peer.unsubscribe("*", kind="bars")

    assert [message["channels"] for message in peer.messages[1:]] == [[], []]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({}, "bad_request", "op"),
    ({"op": None}, "bad_request", "op"),
    ({"op": 7}, "bad_request", "op"),
    ({"op": ["subscribe"]}, "bad_request", "op"),
    ({"op": "buy"}, "unknown_op", "op"),
    ({"op": "auth"}, "bad_request", "token"),
    ({"op": "auth", "token": 7}, "bad_request", "token"),
    ({"op": "symbols", "limit": 0}, "bad_request", "limit"),
    ({"op": "symbols", "limit": 10_001}, "bad_request", "limit"),
    ({"op": "symbols", "limit": True}, "bad_request", "limit"),
    ({"op": "symbols", "prefix": 7}, "bad_request", "prefix"),
    ({"op": "symbols", "after": []}, "bad_request", "after"),
    ({"op": "subscribe"}, "bad_request", "symbols"),
    ({"op": "subscribe", "symbols": "AAPL"}, "bad_request", "symbols"),
    ({"op": "subscribe", "symbols": [7]}, "bad_request", "symbols"),
    ({"op": "subscribe", "symbols": ["*", "AAPL"]}, "bad_request", "symbols"),
    ({"op": "subscribe", "symbols": ["AAPL"], "kind": "options"}, "unknown_kind", "kind"),
    ({"op": "subscribe", "symbols": ["AAPL"], "kind": 7}, "bad_request", "kind"),
    ({"op": "subscribe", "symbols": ["AAPL"], "mode": "some"}, "unknown_mode", "mode"),
    ({"op": "subscribe", "symbols": ["AAPL"], "mode": "conflated", "interval_ms": 0}, "bad_request", "interval_ms"),
    ({"op": "subscribe", "symbols": ["AAPL"], "mode": "conflated", "interval_ms": 0.9}, "bad_request", "interval_ms"),
    ({"op": "subscribe", "symbols": ["AAPL"], "mode": "conflated", "interval_ms": "x"}, "bad_request", "interval_ms"),
    ({"op": "subscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": 7}, "bad_request", "interval_s"),
    ({"op": "subscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": 2**63}, "bad_request", "interval_s"),
    ({"op": "subscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": 5.0}, "bad_request", "interval_s"),
    ({"op": "subscribe", "symbols": ["AAPL"], "since": {"AAPL": 0}}, "bad_request", "epoch"),
    ({"op": "subscribe", "symbols": ["AAPL"], "since": {"AAPL": -1}, "epoch": EPOCH}, "bad_request", "since"),
    ({"op": "subscribe", "symbols": ["AAPL"], "since": {"AAPL": 1.0}, "epoch": EPOCH}, "bad_request", "since"),
    ({"op": "subscribe", "symbols": ["AAPL"], "since": [1], "epoch": EPOCH}, "bad_request", "since"),
    ({"op": "subscribe", "symbols": ["AAPL"], "since": {}, "epoch": 7}, "bad_request", "epoch"),
    ({"op": "unsubscribe"}, "bad_request", "symbols"),
    ({"op": "unsubscribe", "symbols": ["AAPL"], "kind": "options"}, "unknown_kind", "kind"),
    ({"op": "unsubscribe", "symbols": ["AAPL"], "kind": "bars", "interval_s": 7}, "bad_request", "interval_s"),
]


@pytest.mark.parametrize(("command", "code", "field"), BAD, ids=lambda each: json.dumps(each)[:60])
def test_a_bad_command_is_answered_with_an_error_that_names_the_field(
    world: World, peer: Peer, command: dict[str, Any], code: str, field: str
) -> None:
    peer.subscribe("AAPL")

    peer.say(command | {"id": 3})
    world.trade("AAPL")
    world.flush()

    assert (peer.last["type"], peer.last["id"], peer.last["code"]) == ("error", 3, code)
    assert peer.last["message"].startswith(f"{field}: ")
    assert (peer.session.closing, peer.reader.rows) == (None, 1)  # connection and subscriptions are as they were


@pytest.mark.parametrize("id", [[], {}, 1.5, True, "i" * 1001])
def test_an_id_that_is_none_is_a_bad_request(peer: Peer, id: object) -> None:
    peer.say({"op": "ping", "id": id})

    assert (peer.last["type"], peer.last["code"]) == ("error", "bad_request")
    assert peer.last["message"].startswith("id: ")
    assert "id" not in peer.last


@pytest.mark.parametrize("kinds", [["trades"], ["quotes"], ["quotes", "bars"]])
@pytest.mark.parametrize("op", ["subscribe", "unsubscribe"])
def test_a_kind_that_the_feed_does_not_have_is_unknown(kinds: list[str], op: str) -> None:
    peer = World(kinds=kinds).connect()

    for kind in ("trades", "quotes", "bars"):
        peer.say({"op": op, "id": kind, "kind": kind, "symbols": ["AAPL"]})
        expected = f"{op}d" if kind in kinds else "error"
        assert [message["type"] for message in peer.messages if message["type"] != "status"][-1] == expected
        if kind not in kinds:
            assert (peer.last["code"], peer.last["id"]) == ("unknown_kind", kind)


def test_unknown_keys_are_ignored(peer: Peer) -> None:
    peer.say({"op": "ping", "color": "blue", "7": [1, {"a": None}]})

    assert peer.last["type"] == "pong"


def test_symbols_are_listed_page_by_page(world: World, peer: Peer) -> None:
    world.announce(Instrument("AMD"))
    pages = []
    for after in ("", "AAPL", "AMD", "MSFT"):
        peer.say({"op": "symbols", "after": after, "limit": 2})
        pages.append((peer.last["symbols"], peer.last["more"]))
    peer.say({"op": "symbols", "prefix": "A"})

    assert pages == [(["AAPL", "AMD"], True), (["AMD", "BTC"], True), (["BTC", "MSFT"], False), ([], False)]
    assert (peer.last["symbols"], peer.last["more"]) == (["AAPL", "AMD"], False)


def test_channels_beyond_the_limit_are_refused_and_the_others_subscribed() -> None:
    world = World(limits=Limits(channels=2))
    peer = world.connect()
    peer.subscribe("AAPL", kind="quotes")

    peer.subscribe("MSFT", "NONE", "BTC", "AAPL")
    refused = peer.messages[-2]["refused"]
    peer.unsubscribe("AAPL", kind="quotes")
    peer.subscribe("*")

    assert refused == [
        {"symbol": "NONE", "code": "unknown_symbol"},
        {"symbol": "BTC", "code": "limit"},
        {"symbol": "AAPL", "code": "limit"},
    ]
    assert peer.messages[-2]["refused"] == [{"symbol": "BTC", "code": "limit"}]


# The end


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (0, "{}"),
        (0, b""),
        (0, b"\xc1"),
        (0, msgpack.packb([1])),
        (0, msgpack.packb({"op": "ping"}) + b"\x00"),
        (0, b"\xdf\xff\xff\xff\xff"),
        (0, b"\x81" * 100_000),
        (0, b"\x81\xa2op\xa1\xff"),
        (1, b"{}"),
        (1, ""),
        (1, "[]"),
        (1, "{"),
        (1, '{"op": NaN}'),
        (1, "[" * 100_000),
        (1, '{"id": ' + "9" * 5000 + "}"),
    ],
    ids=lambda each: repr(each)[:30],
)
def test_what_is_no_map_is_told_and_ends_the_connection(world: World, codec: int, data: str | bytes) -> None:
    peer = world.connect(CODECS[codec])
    peer.subscribe("AAPL")

    peer.session.receive(data, world.now_s)
    told = len(peer.messages)
    peer.session.receive(data, world.now_s)
    world.trade("AAPL")
    world.flush()
    heartbeats_in(world, peer, 30)
    peer.session.tell_status()

    assert peer.session.closing == CloseCode.BAD_MESSAGE
    assert (peer.last["type"], peer.last["code"]) == ("error", "bad_request")
    assert len(peer.messages) == told  # and not a word more
    assert peer.reader.rows == 0


def test_who_is_too_slow_in_mode_all_is_closed_and_sent_nothing_more(world: World) -> None:
    peer = world.connect(outbox_bytes=1000)
    peer.subscribe("AAPL")
    peer.block()
    for _ in range(100):
        world.trade("AAPL")
        world.flush()
    read = peer.reader.rows

    peer.free()
    world.trade("AAPL")
    world.flush()
    peer.session.tick(world.now_s)

    assert peer.session.closing == CloseCode.TOO_SLOW
    assert peer.reader.rows == read
    assert world.pressure.count == 0


def test_a_client_that_speaks_after_its_queue_overflowed_is_closed_at_once(world: World) -> None:
    peer = world.connect(outbox_bytes=10)
    peer.subscribe("AAPL")
    peer.block()
    for _ in range(3):
        world.trade("AAPL")
        world.flush()

    peer.say({"op": "ping"})

    assert peer.session.closing == CloseCode.TOO_SLOW


def test_rows_of_a_resume_beyond_the_limit_close_nobody(world: World) -> None:
    for _ in range(300):
        world.trade("AAPL")
    world.flush()
    peer = world.connect(outbox_bytes=500)
    peer.subscribe("AAPL", since={"AAPL": 0}, epoch=EPOCH)
    peer.block()

    peer.catch_up()
    world.trade("AAPL")
    world.flush()
    world.settle_down()

    assert peer.session.closing is None
    assert peer.reader.rows == 301


def test_a_conflated_update_beyond_the_limit_closes_nobody(world: World) -> None:
    peer = world.connect(outbox_bytes=100)
    peer.subscribe("*", mode="conflated")
    peer.subscribe("*", mode="conflated", kind="bars", interval_s=1)
    peer.block()
    for symbol in ("AAPL", "BTC", "MSFT"):
        world.trade(symbol)
    world.flush()

    world.hub.conflate(250)
    world.settle_down()

    assert peer.session.closing is None


def test_a_goodbye_is_the_last_word(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")

    peer.session.say_goodbye(2300)
    peer.session.say_goodbye(1)
    world.trade("AAPL")
    world.flush()
    peer.session.tell_status()

    assert peer.last == {"type": "goodbye", "reason": "shutdown", "reconnect_ms": 2300}
    assert (peer.session.closing, peer.reader.rows) == (CloseCode.GOING_AWAY, 0)


def test_one_that_is_gone_leaves_nothing_behind(world: World, peer: Peer) -> None:
    world.trade("AAPL")
    world.flush()
    peer.subscribe("*", since={"AAPL": 0}, epoch=EPOCH)
    peer.subscribe("*", kind="quotes", mode="conflated")
    assert (world.pressure.count, world.hub.intervals_ms) == (1, [250])

    peer.session.close()
    peer.session.close()

    assert (world.pressure.count, world.hub.intervals_ms) == (0, [])
    assert not peer.session.subscriptions.wants_every_row
