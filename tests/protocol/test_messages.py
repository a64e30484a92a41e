"""Every command and every error of sections 3, 4 and 10 of the protocol page, and messages that are no commands."""

from __future__ import annotations

import json
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.protocol.messages import (
    Auth,
    Command,
    CommandError,
    MessageError,
    Ping,
    Subscribe,
    Symbols,
    Unsubscribe,
    parse,
)
from ticker.protocol.native import MsgpackCodec
from ticker.protocol.text import JsonCodec


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ({"op": "ping"}, Ping()),
        ({"op": "ping", "id": 7}, Ping(id=7)),
        ({"op": "ping", "id": "a"}, Ping(id="a")),
        ({"op": "ping", "id": 0, "unknown": [1]}, Ping(id=0)),
        ({"op": "auth", "token": "t"}, Auth(token="t")),
        ({"op": "symbols"}, Symbols(prefix="", after="", limit=1000)),
        ({"op": "symbols", "prefix": "A", "after": "AA", "limit": 10000}, Symbols(prefix="A", after="AA", limit=10000)),
        (
            {"op": "subscribe", "symbols": ["AAPL", "MSFT", "AAPL"]},
            Subscribe(kind="trades", symbols=("AAPL", "MSFT"), interval_ms=0),
        ),
        ({"op": "subscribe", "symbols": []}, Subscribe(kind="trades", symbols=())),
        ({"op": "subscribe", "symbols": ["*"], "kind": "quotes"}, Subscribe(kind="quotes", symbols=None)),
        ({"op": "subscribe", "symbols": ["A"], "kind": "bars"}, Subscribe(kind="bars", symbols=("A",))),
        (
            {"op": "subscribe", "symbols": ["A"], "kind": "bars", "interval_s": 5},
            Subscribe(kind="bars", symbols=("A",), interval_s=5),
        ),
        (
            {"op": "subscribe", "symbols": ["A"], "kind": "quotes", "interval_s": "ignored"},
            Subscribe(kind="quotes", symbols=("A",)),
        ),
        (
            {"op": "subscribe", "symbols": ["A"], "since": {"A": 0, "B": 5}, "epoch": "e"},
            Subscribe(kind="trades", symbols=("A",), since={"A": 0, "B": 5}, epoch="e"),
        ),
        (
            {"op": "subscribe", "symbols": ["A"], "epoch": "e"},
            Subscribe(kind="trades", symbols=("A",), epoch="e"),
        ),
        ({"op": "unsubscribe", "symbols": ["*"]}, Unsubscribe(kind="trades", symbols=None)),
        (
            {"op": "unsubscribe", "symbols": ["A"], "kind": "bars", "interval_s": 60},
            Unsubscribe(kind="bars", symbols=("A",), interval_s=60),
        ),
        (
            {"op": "unsubscribe", "symbols": ["A"], "interval_s": "ignored"},
            Unsubscribe(kind="trades", symbols=("A",)),
        ),
        ({"op": "ping", "id": None}, Ping()),
        (
            {"op": "subscribe", "symbols": ["A"], "kind": None, "mode": None, "since": None, "interval_ms": None},
            Subscribe(kind="trades", symbols=("A",)),
        ),
    ],
)
def test_each_command_is_understood(message: dict[str, Any], command: Command) -> None:
    assert parse(message) == command


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (1, 50),
        (50, 50),
        (50.5, 100),
        (51, 100),
        (None, 250),
        (250, 250),
        (251, 500),
        (999, 1000),
        (1001, 5000),
        (5000, 5000),
        (10**30, 5000),
        (math.inf, 5000),
    ],
)
def test_a_conflation_interval_is_rounded_up_to_one_that_is_granted(asked: float | None, granted: int) -> None:
    message = {"op": "subscribe", "symbols": ["A"], "mode": "conflated", "interval_ms": asked}

    assert parse(message) == Subscribe(kind="trades", symbols=("A",), interval_ms=granted)


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        ({}, "bad_request", "op"),
        ({"op": None}, "bad_request", "op"),
        ({"op": 5}, "bad_request", "op"),
        ({"op": b"ping"}, "bad_request", "op"),
        ({"op": "pong"}, "unknown_op", "op"),
        ({"op": "x" * 1000}, "unknown_op", "op"),
        ({"op": "ping", "id": 1.5}, "bad_request", "id"),
        ({"op": "ping", "id": True}, "bad_request", "id"),
        ({"op": "ping", "id": [1]}, "bad_request", "id"),
        ({"op": "auth"}, "bad_request", "token"),
        ({"op": "auth", "token": 5}, "bad_request", "token"),
        ({"op": "symbols", "prefix": 5}, "bad_request", "prefix"),
        ({"op": "symbols", "after": ["A"]}, "bad_request", "after"),
        ({"op": "symbols", "limit": 0}, "bad_request", "limit"),
        ({"op": "symbols", "limit": 10001}, "bad_request", "limit"),
        ({"op": "symbols", "limit": True}, "bad_request", "limit"),
        ({"op": "symbols", "limit": 5.0}, "bad_request", "limit"),
        ({"op": "subscribe"}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": "AAPL"}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": {"AAPL": 1}}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": [1]}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": [b"AAPL"]}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": ["*", "AAPL"]}, "bad_request", "symbols"),
        ({"op": "subscribe", "symbols": ["A"], "kind": "news"}, "unknown_kind", "kind"),
        ({"op": "subscribe", "symbols": ["A"], "kind": 1}, "bad_request", "kind"),
        ({"op": "subscribe", "symbols": ["A"], "mode": "some"}, "unknown_mode", "mode"),
        ({"op": "subscribe", "symbols": ["A"], "mode": []}, "bad_request", "mode"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": 0}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": -5}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": 0.99}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": math.nan}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": True}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "interval_ms": "250"}, "bad_request", "interval_ms"),
        ({"op": "subscribe", "symbols": ["A"], "kind": "bars", "interval_s": 1.5}, "bad_request", "interval_s"),
        ({"op": "subscribe", "symbols": ["A"], "kind": "bars", "interval_s": True}, "bad_request", "interval_s"),
        ({"op": "subscribe", "symbols": ["A"], "since": {"A": 5}}, "bad_request", "epoch"),
        ({"op": "subscribe", "symbols": ["A"], "since": {}}, "bad_request", "epoch"),
        ({"op": "subscribe", "symbols": ["A"], "since": {"A": 5}, "epoch": 7}, "bad_request", "epoch"),
        ({"op": "subscribe", "symbols": ["A"], "since": [5], "epoch": "e"}, "bad_request", "since"),
        ({"op": "subscribe", "symbols": ["A"], "since": {"A": -1}, "epoch": "e"}, "bad_request", "since"),
        ({"op": "subscribe", "symbols": ["A"], "since": {"A": 1.0}, "epoch": "e"}, "bad_request", "since"),
        ({"op": "subscribe", "symbols": ["A"], "since": {"A": True}, "epoch": "e"}, "bad_request", "since"),
        ({"op": "subscribe", "symbols": ["A"], "since": {5: 5}, "epoch": "e"}, "bad_request", "since"),
        ({"op": "unsubscribe"}, "bad_request", "symbols"),
        ({"op": "unsubscribe", "symbols": ["A"], "kind": "news"}, "unknown_kind", "kind"),
        ({"op": "unsubscribe", "symbols": ["A"], "kind": "bars", "interval_s": "60"}, "bad_request", "interval_s"),
    ],
)
def test_what_is_wrong_is_named(message: dict[Any, Any], code: str, named: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(message)

    assert caught.value.code == code
    assert caught.value.message.startswith(f"{named}: ")
    assert len(caught.value.message) < 200


def test_an_error_repeats_the_id_of_its_command() -> None:
    with pytest.raises(CommandError) as caught:
        parse({"op": "subscribe", "id": "x7"})

    assert caught.value.id == "x7"


def test_an_id_that_is_too_long_is_not_repeated_in_an_error_either() -> None:
    with pytest.raises(CommandError) as caught:
        parse({"op": "what", "id": "x" * 1001})

    assert (caught.value.code, caught.value.id) == ("bad_request", None)
    assert caught.value.message == "id: expected at most 1000 characters"


# Messages that nobody would send on purpose

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from(["*", "AAPL", "bars", "all", "conflated", "subscribe"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = (
    "id",
    "kind",
    "symbols",
    "mode",
    "interval_s",
    "interval_ms",
    "since",
    "epoch",
    "prefix",
    "after",
    "limit",
    "token",
)
MESSAGES = st.builds(
    lambda op, fields: {"op": op, **fields},
    st.sampled_from(["subscribe", "unsubscribe", "symbols", "ping", "auth"]) | SCALARS,
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)


def understood(codec: MsgpackCodec | JsonCodec, data: str | bytes) -> Command | None:
    """Return what a message comes to; None where it is refused in one of the two ways that there are."""
    try:
        return parse(codec.decode(data))
    except (CommandError, MessageError):
        return None


@given(MESSAGES)
def test_no_msgpack_map_raises_anything_but_a_refusal(message: dict[Any, Any]) -> None:
    command = understood(MsgpackCodec(), msgpack.packb(message))

    assert command is None or isinstance(command, Command)


@given(MESSAGES)
def test_no_json_map_raises_anything_but_a_refusal(message: dict[Any, Any]) -> None:
    understood(JsonCodec(), json.dumps(message, default=lambda value: value.hex()))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    understood(MsgpackCodec(), data)


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_a_refusal(data: str) -> None:
    understood(JsonCodec(), data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x80\x80",  # two messages
        b"\x81\xa2op",  # cut
        b"\x90",
        b"\x2a",
        b"\xc0",
        b"\x81\xa2op\xa4\xff\xff\xff\xff",  # not UTF-8
        b"\x81\xa1\xff\xc0",  # a key that isn't
        b"\x81\x90\xc0",  # an array as a key
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa1a" * 100_000 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xc4\x01a",
        "{}",
    ],
)
def test_what_is_no_msgpack_map_is_told_apart(data: str | bytes) -> None:
    with pytest.raises(MessageError):
        MsgpackCodec().decode(data)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        "[]",
        "5",
        "null",
        '"op"',
        '{"op": NaN}',
        '{"op": Infinity}',
        '{"op": "ping"} {}',
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"id": 1' + "0" * 5000 + "}",
        b"{}",
    ],
)
def test_what_is_no_json_map_is_told_apart(data: str | bytes) -> None:
    with pytest.raises(MessageError):
        JsonCodec().decode(data)


@pytest.mark.parametrize(
    "message",
    [
        {"op": "ping", b"bytes": 1, 5: 2, None: 3},
        {"op": "ping", "x": msgpack.ExtType(5, b"data")},
        {"op": "ping", "x": msgpack.Timestamp(0)},
        {"op": "ping", "x": math.nan},
        {"op": "ping", "x": 2**64 - 1},
    ],
)
def test_odd_values_beside_a_command_are_ignored(message: dict[Any, Any]) -> None:
    assert parse(MsgpackCodec().decode(msgpack.packb(message))) == Ping()


def test_a_lone_surrogate_can_be_said_in_json_and_answered() -> None:
    command = parse(JsonCodec().decode('{"op": "subscribe", "id": "\\ud800", "symbols": ["\\udfff"]}'))

    answer = JsonCodec().control({"type": "subscribed", "id": command.id, "channels": [], "refused": []})

    assert json.loads(answer[2:].decode("ascii"))["id"] == "\ud800"
