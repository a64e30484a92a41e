"""Messages of strangers: what is a value is read, what is deeper or wider than a message can be is not even begun."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.protocol.messages import CommandError, MessageError, parse
from ticker.protocol.native import MsgpackCodec
from ticker.protocol.text import JsonCodec
from ticker.protocol.untrusted import DEPTH, MOST_CONTAINERS, Unreadable, read_json, read_msgpack

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(allow_nan=False)
WITH_BYTES = SCALARS | st.binary() | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary())
VALUES = st.recursive(
    WITH_BYTES,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text() | st.integers(0, 2**32), inner, max_size=20),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def containers_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(containers_of, value.values()))
    return 1 + sum(map(containers_of, value)) if isinstance(value, list) else 0


@given(VALUES)
def test_what_msgpack_writes_is_read_back_if_it_is_not_too_deep(value: Any) -> None:
    data = msgpack.packb(value)
    if depth_of(value) > DEPTH or containers_of(value) > MOST_CONTAINERS:
        with pytest.raises(Unreadable):
            read_msgpack(data)
    else:
        assert read_msgpack(data) == value


@given(VALUES, st.integers(0, 200))
def test_what_is_cut_off_is_no_value(value: Any, cut: int) -> None:
    data = msgpack.packb(value)
    if 0 < cut <= len(data):
        with pytest.raises(Unreadable):
            read_msgpack(data[:-cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_unreadable(data: bytes) -> None:
    try:
        expected = msgpack.unpackb(data, strict_map_key=False)
    except Exception:
        expected = ...
    try:
        assert read_msgpack(data) == expected or expected != expected
    except Unreadable:
        assert expected is ... or depth_of(expected) > DEPTH or containers_of(expected) > MOST_CONTAINERS


@pytest.mark.parametrize("reader", [read_msgpack, read_json])
def test_eight_levels_are_read_and_nine_are_not(reader: Any) -> None:
    write = msgpack.packb if reader is read_msgpack else json.dumps
    for kind in ("list", "map"):
        value: Any = 1
        for _ in range(DEPTH):
            value = [value] if kind == "list" else {"a": value}

        assert reader(write(value)) == value
        with pytest.raises(Unreadable):
            reader(write([value]))


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf", b"\xdc", b"\xde", b"\x9f", b"\x8f"])
def test_arrays_that_declare_what_never_comes_take_no_memory(head: bytes) -> None:
    count = {0xDD: struct.pack(">I", 200_000), 0xDF: struct.pack(">I", 200_000)}.get(head[0], b"")
    count = count or (b"\xff\xff" if head[0] >= 0xDC else b"")
    bomb = b"\x81\xa1x" + (head + count) * (250_000 // (1 + len(count)))
    tracemalloc.start()

    with pytest.raises(Unreadable):
        read_msgpack(bomb)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("count", [b"\xff\xff\xff\xff", b"\x00\x03\xff\xff"])
def test_one_array_that_declares_too_much_is_refused(count: bytes) -> None:
    with pytest.raises(Unreadable):
        read_msgpack(b"\x81\xa1x\xdd" + count + b"\xc0" * 1000)


@pytest.mark.parametrize(
    "text", ["[" * 250_000, '{"a":' * 50_000, "[" * 9 + "]" * 9, '{"a":' * 9 + "1" + "}" * 9, "[" + "[]," * 9]
)
def test_deep_json_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read_json(text)


def test_brackets_within_strings_are_no_depth() -> None:
    message = {"op": "subscribe", "symbols": ["[" * 100, "{[" * 50] * 10}

    assert read_json(json.dumps(message)) == message


def test_bytes_of_other_alphabets_are_no_containers() -> None:
    message = {"op": "subscribe", "symbols": ["ܐܒܓ߀߁߂" * 20] * 100, "since": {"ݐ": 0xDDDDDDDD}}

    assert read_msgpack(msgpack.packb(message)) == message


@pytest.mark.parametrize(("codec", "write"), [(MsgpackCodec(), msgpack.packb), (JsonCodec(), json.dumps)])
def test_both_codecs_end_what_is_too_deep_and_name_the_limit(codec: Any, write: Any) -> None:
    deep: Any = "x"
    for _ in range(DEPTH):
        deep = [deep]

    with pytest.raises(MessageError, match=str(DEPTH)):
        codec.decode(write({"op": "ping", "x": deep}))


def test_a_timestamp_and_other_extensions_are_no_command() -> None:
    for value in (msgpack.Timestamp(1), msgpack.ExtType(5, b"x" * 16)):
        for key in ("op", "id", "symbols", "kind", "since", "token"):
            message = read_msgpack(msgpack.packb({"op": "subscribe", "symbols": ["AAPL"], key: value}))
            if key != "token":
                with pytest.raises(CommandError):
                    parse(message)


@pytest.mark.parametrize("name", ["kind", "mode", "epoch", "prefix", "after", "token"])
def test_a_text_that_is_too_long_is_named(name: str) -> None:
    op = {"prefix": "symbols", "after": "symbols", "token": "auth"}.get(name, "subscribe")

    with pytest.raises(CommandError, match=f"{name}: expected at most") as caught:
        parse({"op": op, "id": 7, "symbols": ["AAPL"], "since": {}, "epoch": "e", name: "x" * 10_000})

    assert (caught.value.code, caught.value.id) == ("bad_request", 7)


def test_a_command_with_too_many_keys_is_refused() -> None:
    parse({"op": "ping"} | {f"k{number}": number for number in range(63)})

    with pytest.raises(CommandError, match="at most 64 keys") as caught:
        parse({"op": "ping", "id": "a"} | {f"k{number}": number for number in range(63)})

    assert caught.value.id == "a"
