"""Whatever a client sends, the server raises nothing and no neighbour notices. (An error in the log fails a test.)"""

from __future__ import annotations

import contextlib
import json
import math
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from tests.rig import HandFeed, running
from tests.wire import ANSWERS, BINARY, JSON, MSGPACK, TEXT, Wire, fetch, frame, is_data, kind_of
from ticker.clock import ManualClock


@pytest.fixture
def chance() -> Iterator[random.Random]:
    """Return a seeded source of chance; the seed is printed where a test fails."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


@asynccontextmanager
async def undisturbed(feed: HandFeed, clock: ManualClock, url: str) -> AsyncIterator[None]:
    """Have neighbours in both modes and codecs; see at the end that they were sent just what they asked for."""
    neighbours = [await Wire.open(url, [offer]) for offer in (MSGPACK, JSON)]
    for wire in neighbours:
        await wire.subscribe(["*"])
        await wire.subscribe(["*"], kind="quotes", mode="conflated", interval_ms=50)
    yield
    feed.trades(("AAPL", 10**9, 1, 1), ("MSFT", 10**9, 1, 1))
    feed.quotes(("AAPL", 10**9, 1, 1, 2, 1))
    await clock.advance(0.1)
    for wire in neighbours:
        await wire.send({"op": "ping", "id": "neighbour"})
        types: list[str] = []
        while types[-1:] != ["pong"]:
            types.append(kind_of(await wire.receive()))
        assert sorted(each for each in types if each not in ("status", "heartbeat")) == ["data"] * 3 + ["pong"]
        assert wire.rows == 3
        wire.close()
    assert json.loads((await fetch(url, "/healthz"))[2])["status"] == "ok"


# Frames


def some_frames(chance: random.Random) -> bytes:
    """Return bytes that are almost what a client may send."""
    good = frame(BINARY, msgpack.packb({"op": "subscribe", "symbols": ["*"], "kind": "trades"}))
    data = b""
    for _ in range(chance.randrange(1, 6)):
        kind = chance.randrange(6)
        if kind == 0:
            data += chance.randbytes(chance.randrange(1, 300))
        elif kind == 1:
            payload = chance.randbytes(chance.choice((0, 1, 2, 3, 125, 126, 127, 1000, 70_000)))
            final, masked = chance.random() < 0.7, chance.random() < 0.9
            data += frame(chance.randrange(16), payload, final=final, masked=masked)
        elif kind == 2:
            data += bytes([chance.randrange(256), chance.choice((254, 255, 126, 127))]) + struct.pack(
                "!Q", chance.choice((0, 1, 2**16, 2**31, 2**63, 2**64 - 1))
            )
        elif kind == 3:
            broken = bytearray(good)
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
            data += bytes(broken)
        elif kind == 4:
            data += good[: chance.randrange(len(good))]
        else:
            data += good
    return data


async def test_frames_of_any_kind_disturb_nobody(chance: random.Random) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, undisturbed(feed, clock, url):
        for _ in range(250):
            wire = await Wire.open(url, [chance.choice((MSGPACK, JSON))])
            with contextlib.suppress(ConnectionError):
                await wire.write(some_frames(chance))
                if chance.random() < 0.5:
                    wire.sock.shutdown(socket.SHUT_WR)
                    while await wire.take(65536):
                        pass
            chance.choice((wire.close, wire.reset))()


NO_FRAMES = {
    "reserved opcode": frame(0x3, b"reserved"),
    "close of one byte": frame(0x8, b"\x03"),
    "close reason of no UTF-8": frame(0x8, b"\x03\xe8\xff\xfe"),
    "close code 0": frame(0x8, struct.pack("!H", 0)),
    "close code 1005": frame(0x8, struct.pack("!H", 1005)),
    "fragmented ping": frame(0x9, b"x", final=False),
    "nothing to continue": frame(0x0, b"nothing to continue"),
    "message within a message": frame(TEXT, b"a", final=False) + frame(TEXT, b"b"),
    "text of no UTF-8": frame(TEXT, b"\xff\xfe"),
    "reserved bits": b"\xf1\x80\x00\x00\x00\x00",
    "long ping": b"\x89\xfe\x00\x7e" + bytes(130),
    "16 exbibytes": b"\x82\xff" + b"\xff" * 12,
}


@pytest.mark.parametrize("data", NO_FRAMES.values(), ids=NO_FRAMES)
async def test_what_no_frame_may_be_ends_the_connection_and_nothing_else(data: bytes) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, undisturbed(feed, clock, url), await Wire.open(url, [JSON]) as wire:
        await wire.write(data)

        assert (await wire.ending()).code != 1000


# Commands

OPS = [
    "subscribe",
    "unsubscribe",
    "symbols",
    "ping",
    "auth",
    "dance",
    "",
    "SUBSCRIBE",
    None,
    1,
    ["ping"],
    {"op": "ping"},
]
FIELDS = ["symbols", "kind", "interval_s", "mode", "interval_ms", "since", "epoch", "prefix", "after", "limit", "token"]
PLAUSIBLE: dict[str, list[Any]] = {
    "symbols": [["AAPL"], ["AAPL", "MSFT"], ["*"], ["*", "AAPL"], [], ["XXXX"], ["AAPL"] * 50, ["\0", "", "💹" * 9]],
    "kind": ["trades", "quotes", "bars"],
    "interval_s": [1, 5, 60, 3600, 86400, 7],
    "mode": ["all", "conflated"],
    "interval_ms": [0, 1, 50, 0.5, 250.5, 10**9, -1],
    "since": [{"AAPL": 0}, {"AAPL": 2**63}, {"AAPL": -1}, {"AAPL": 1.5}, {"XXXX": 3}, {}, {"AAPL": True}],
    "epoch": ["other", ""],
    "prefix": ["A", "", "\uffff"],
    "after": ["AAPL", "ZZZ"],
    "limit": [1, 10_000, 10_001, 0],
    "token": ["secret"],
}
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    1.5,
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    [{}],
    [None],
]
ODD_IN_MSGPACK: list[Any] = [math.nan, math.inf, b"bytes", msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)]
ODD_IN_JSON: list[Any] = [10**300, -(10**300), 1e300]


def some_command(chance: random.Random, odd: list[Any]) -> dict[Any, Any]:
    """Return a map that is almost a command."""
    command: dict[Any, Any] = {"op": chance.choice(OPS[:3] if chance.random() < 0.7 else OPS)}
    for name in chance.sample(FIELDS, chance.randrange(len(FIELDS))) + ["symbols"] * (chance.random() < 0.6):
        command[name] = chance.choice(PLAUSIBLE[name] if chance.random() < 0.75 else odd)
    if chance.random() < 0.3:
        command["id"] = chance.choice(odd)
    if chance.random() < 0.1:
        del command["op"]
    if chance.random() < 0.1:
        command[chance.choice(["extra", "é", "OP"])] = chance.choice(odd)
    return command


@pytest.mark.parametrize("offer", [MSGPACK, JSON])
async def test_any_map_gets_exactly_one_answer(offer: str, chance: random.Random) -> None:
    feed, clock = HandFeed(), ManualClock()
    odd = ODD + (ODD_IN_JSON if offer == JSON else ODD_IN_MSGPACK)
    async with (
        running(feed, clock) as url,
        undisturbed(feed, clock, url),
        await Wire.open(url, [offer]) as wire,
    ):
        for number in range(600):
            command = some_command(chance, odd)
            if number % 20 == 0:
                await clock.advance(1)
            await wire.send(command)
            await wire.send({"op": "ping", "id": f"after {number}"})
            answers = []
            while not answers or answers[-1].get("id") != f"after {number}":
                message = await wire.receive()
                if not is_data(message) and message["type"] in ANSWERS:
                    answers.append(message)

            assert len(answers) == 2, f"{command} was answered {answers}"
            assert answers[0].get("code") not in ("limit",), "the test is too quick"


async def test_integers_as_keys_and_bytes_as_names_are_taken_for_unknown_keys() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(BINARY, msgpack.packb({1: 2, b"op": "subscribe", "op": "ping", "id": 7, None: []})))

        assert (await wire.answer(7))["type"] == "pong"


@pytest.mark.parametrize("offer", [MSGPACK, JSON])
async def test_a_command_as_long_as_may_be_is_answered_in_less_than_a_mebibyte(offer: str) -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [offer]) as wire:
        for symbols in (
            [f"{number:x}" for number in range(30_000)],
            ["é" * 60 + str(number) for number in range(1900)],  # six bytes each, where an answer escapes them
            ["x" * 250_000],
            ["é" * 60_000 + str(number) for number in range(2)],
        ):
            command = {"op": "subscribe", "symbols": symbols, "id": "é" * 100}
            text = json.dumps(command, ensure_ascii=False).encode()
            await wire.write(frame(TEXT, text) if offer == JSON else frame(BINARY, msgpack.packb(command)))

            assert (await wire.answer("é" * 100))["type"] in ("subscribed", "error")

        assert (await wire.ask(op="ping"))["type"] == "pong"


async def test_half_of_a_surrogate_pair_is_a_name_like_any_other() -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [JSON]) as wire:
        await wire.write(frame(TEXT, rb'{"op": "subscribe", "symbols": ["\ud800"], "id": "\udfff"}'))
        await wire.write(frame(TEXT, rb'{"op": "symbols", "prefix": "\ud800", "after": "\udfff"}'))
        await wire.write(frame(TEXT, rb'{"op": "\ud800"}'))

        answers = [await wire.answer() for _ in range(3)]

        assert [answer["type"] for answer in answers] == ["subscribed", "symbols", "error"]
        assert answers[0]["refused"] == [{"symbol": "\ud800", "code": "unknown_symbol"}]
