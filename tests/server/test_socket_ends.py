"""How connections end, as a client sees it: close codes, goodbyes, and peers that answer nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from tests.rig import AAPL, HandFeed, running
from tests.wire import BINARY, CLOSE, CONTINUATION, JSON, MSGPACK, TEXT, Closed, Wire, frame, is_data, kind_of
from ticker.clock import ManualClock
from ticker.feed import Instrument, Replay

MESSAGE_BYTES = 262_144
THOUSANDS = [Instrument(f"S{number:04}", price_scale=2, size_scale=0, time_scale=6) for number in range(2000)]


@asynccontextmanager
async def reading(wire: Wire) -> AsyncIterator[list[Any]]:
    """Read in the background; yield what came, with a Closed at the end once it ends."""
    came: list[Any] = []

    async def read() -> None:
        try:
            while True:
                came.append(await wire.receive())
        except Closed as closed:
            came.append(closed)

    task = asyncio.create_task(read())
    try:
        yield came
    finally:
        task.cancel()
        await asyncio.wait([task])


# what a client did wrong


@pytest.mark.parametrize("size", [MESSAGE_BYTES + 1, 8 << 20])
async def test_a_message_that_is_too_big_is_closed_with_1009_and_not_reset(size: int) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(BINARY, bytes(size)))

        closed = await wire.ending()

        assert (closed.code, closed.reason) == (1009, "message too big")


async def test_fragments_that_are_too_big_together_are_closed_with_1009_and_not_reset() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(BINARY, bytes(1000), final=False))
        for _ in range(3000):
            await wire.write(frame(CONTINUATION, bytes(1000), final=False))

        assert (await wire.ending()).code == 1009


async def test_a_message_of_just_the_limit_is_taken() -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [JSON]) as wire:
        text = json.dumps({"op": "ping", "id": 1, "pad": ""})
        text = text.replace('"pad": ""', f'"pad": "{"x" * (MESSAGE_BYTES - len(text))}"')
        await wire.write(frame(TEXT, text.encode()))

        assert len(text) == MESSAGE_BYTES
        assert (await wire.answer(1))["type"] == "pong"


@pytest.mark.parametrize(
    ("offer", "opcode", "payload"),
    [
        (MSGPACK, TEXT, b'{"op": "ping"}'),
        (MSGPACK, BINARY, b"\xc1"),
        (MSGPACK, BINARY, b""),
        (MSGPACK, BINARY, b"\x81\xa2op"),
        (MSGPACK, BINARY, msgpack.packb({"op": "ping"}) + b"\x00"),
        (MSGPACK, BINARY, msgpack.packb(["op", "ping"])),
        (MSGPACK, BINARY, msgpack.packb(None)),
        (MSGPACK, BINARY, b"\x91" * 100_000 + b"\x00"),
        (JSON, BINARY, b'{"op": "ping"}'),
        (JSON, TEXT, b"{op: ping}"),
        (JSON, TEXT, b""),
        (JSON, TEXT, b'{"op": "ping", "id": NaN}'),
        (JSON, TEXT, b'["op", "ping"]'),
        (JSON, TEXT, b'"ping"'),
        (JSON, TEXT, b"[" * 100_000),
        (JSON, TEXT, b'{"op": "ping", "id": ' + b"9" * 10_000 + b"}"),
    ],
)
async def test_what_is_no_map_is_an_error_and_then_4000(offer: str, opcode: int, payload: bytes) -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [offer]) as wire:
        await wire.write(frame(opcode, payload))

        error = await wire.receive()
        closed = await wire.ending()

        assert (error["type"], error["code"], closed.code) == ("error", "bad_request", 4000)


@pytest.mark.parametrize(
    ("mistake", "code"),
    [(frame(TEXT, b"not msgpack"), 4000), (frame(BINARY, bytes(MESSAGE_BYTES + 1)), 1009)],
    ids=["not msgpack", "too big"],
)
async def test_nothing_follows_a_close(mistake: bytes, code: int) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, heartbeat_s=1) as url, await Wire.open(url) as wire:
        await wire.subscribe(["*"])
        await wire.subscribe(["*"], kind="quotes", mode="conflated")
        feed.quotes(("AAPL", 0, 1, 1, 2, 1))
        await wire.write(mistake)
        closed = await wire.ending()
        feed.trades(("AAPL", 0, 1, 1))
        feed.quotes(("AAPL", 0, 1, 1, 2, 1))
        await clock.advance(11)
        feed.end()
        await clock.advance(1)
        wire.sock.shutdown(socket.SHUT_WR)

        with pytest.raises(Closed, match="end of stream"):
            await wire.read(1)
        assert closed.code == code


async def test_a_connection_that_is_closing_takes_nothing_from_its_neighbours() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock, heartbeat_s=5) as url:
        closing = [await Wire.open(url) for _ in range(20)]
        neighbours = [await Wire.open(url) for _ in range(5)]
        for wire in closing:
            await wire.write(frame(TEXT, b"not msgpack"))
            assert (await wire.ending()).code == 4000  # and it never answers the close
        await clock.advance(11)

        for wire in neighbours:
            assert kind_of(await wire.receive()) == "heartbeat"
            wire.close()


async def test_ten_seconds_of_too_many_commands_are_closed_with_4029() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await Wire.open(url) as wire:
        refused = []
        for second in range(10):
            await wire.write(frame(BINARY, msgpack.packb({"op": "ping"})) * 50)
            await wire.write(frame(BINARY, msgpack.packb({"op": "ping", "id": second})))
            refused.append(await wire.answer(second))
            if second < 9:
                await clock.advance(1)

        assert [each["code"] for each in refused] == ["limit"] * 10
        assert (await wire.ending()).code == 4029


async def test_too_many_commands_in_nine_seconds_and_a_pause_are_forgiven() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await Wire.open(url) as wire:
        for second in range(20):
            if second != 9:
                await wire.write(frame(BINARY, msgpack.packb({"op": "ping"})) * 51)
            await wire.write(frame(BINARY, msgpack.packb({"op": "unsubscribe", "symbols": ["*"], "id": second})))
            assert (await wire.answer(second))["type"] == ("unsubscribed" if second < 19 else "error")
            await clock.advance(1)
            if second == 18:
                break

        assert (await wire.ask(op="ping", id="still here"))["type"] == "pong"


# slow and dead clients


async def test_a_client_in_mode_all_that_takes_nothing_is_told_4008_when_its_outbox_is_full() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with (
        running(feed, clock, outbox_mib=1) as url,
        await Wire.open(url, receive_bytes=4096) as wire,
        await Wire.open(url) as neighbour,
    ):
        await wire.subscribe(["AAPL"])
        await neighbour.subscribe(["AAPL"])
        async with reading(neighbour) as came:
            for seed in range(20):
                feed.flood(5000, seed=seed)
                while neighbour.rows < 5000 * (seed + 1):
                    await asyncio.sleep(0)
            await clock.advance(1)
            closed = await wire.ending()

        assert (closed.code, closed.reason) == (4008, "too_slow")
        assert 0 < wire.rows < neighbour.rows
        assert not any(isinstance(each, Closed) for each in came)


async def test_a_client_that_reads_again_a_minute_later_learns_that_it_was_too_slow() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, outbox_mib=1) as url, await Wire.open(url, receive_bytes=4096) as wire:
        await wire.subscribe(["AAPL"])
        for seed in range(20):
            feed.flood(5000, seed=seed)
        await clock.advance(1)
        (connection,) = connections_of(feed)
        connection.abort()  # as Tornado does some seconds after a close that is not answered

        assert (await wire.ending()).code == 4008


@pytest.mark.parametrize("mode", ["all", "conflated", None])
async def test_a_peer_that_neither_answers_nor_takes_anything_is_gone_after_30_seconds(mode: str | None) -> None:
    feed, clock = HandFeed(instruments=THOUSANDS), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url, receive_bytes=4096) as wire:
        if mode is not None:
            await wire.subscribe(["*"], mode=mode)
        for second in range(29):
            feed.trades(*((each.symbol, second, second, 1) for each in THOUSANDS))
            await clock.advance(1)
        before = len(connections_of(feed))
        await clock.advance(16)  # the kernel took its last bytes some seconds after the first, on its own account
        closed = await wire.ending()

        assert before == 1
        assert closed.code == (4008 if mode == "all" else 1006)


async def test_a_peer_that_answers_pings_stays_however_quiet_it_is() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock, heartbeat_s=3600, stall_s=3600) as url, await Wire.open(url) as wire:
        async with reading(wire) as came:
            for _ in range(120):
                await clock.advance(1)
                await asyncio.sleep(0)

        assert not came
        assert len(wire.pings) == 12
        assert (await wire.ask(op="ping"))["type"] == "pong"


async def test_a_conflated_client_that_trickles_is_never_closed_and_loses_no_sum() -> None:
    feed, clock = HandFeed(instruments=THOUSANDS), ManualClock()
    async with running(feed, clock, stall_s=3600) as url, await Wire.open(url, [JSON], receive_bytes=4096) as wire:
        wire.answers_pings = False
        await wire.subscribe(["*"], mode="conflated", interval_ms=1000)
        await wire.until(lambda message: message.get("symbol") == THOUSANDS[-1].symbol)
        trickle = 0
        for second in range(50):
            feed.trades(*((each.symbol, second, second + 1, 2) for each in THOUSANDS))
            await clock.advance(1)
            if second % 10 == 0:
                trickle += len(await wire.take(60_000))
        waited = await wire.ask(op="ping")
        await clock.advance(1)
        while wire.rows < 50 * len(THOUSANDS):
            await wire.receive()
        answer = await wire.ask(op="ping")

        assert waited["rows"] < answer["rows"] == wire.rows == 50 * len(THOUSANDS)
        assert trickle < wire.received / 4


async def test_a_replay_waits_for_a_client_that_reads_nothing_until_it_is_closed_as_slow() -> None:
    feed, clock = HandFeed(instruments=[AAPL], replay=Replay(None)), ManualClock()
    async with (
        running(feed, clock, outbox_mib=1) as url,
        await Wire.open(url, receive_bytes=4096) as stuck,
        await Wire.open(url) as quick,
    ):
        await stuck.subscribe(["AAPL"])
        await quick.subscribe(["AAPL"])
        sent = 0

        async def replay() -> None:
            nonlocal sent
            for seed in range(40):
                await feed.emit.ready()
                feed.flood(5000, seed=seed)
                sent += 5000

        async with reading(quick) as came:
            running_feed = asyncio.create_task(replay())
            await clock.advance(20)
            while quick.rows < sent:
                await asyncio.sleep(0)
            waits_at = sent
            await clock.advance(9)
            still = sent
            await clock.advance(20)
            await running_feed
            while quick.rows < 200_000:
                await asyncio.sleep(0)
        closed = await stuck.ending()

        assert 5000 < waits_at == still < 200_000
        assert closed.code == 4008
        assert not any(isinstance(each, Closed) for each in came)


# leaving


async def test_all_rows_then_goodbye_then_1001_each_with_another_time_to_come_back() -> None:
    feed = HandFeed()
    async with running(feed) as url:
        wires = [await Wire.open(url, [JSON if number % 2 else MSGPACK]) for number in range(60)]
        for number, wire in enumerate(wires):
            await wire.subscribe(["AAPL"], mode="conflated" if number % 3 else "all", interval_ms=5000)
        feed.trades(("AAPL", 0, 1, 1), flush=False)

        async def leave(wire: Wire) -> tuple[list[Any], Closed]:
            async with wire:
                messages: list[Any] = []
                try:
                    while True:
                        messages.append(await wire.receive())
                except Closed as closed:
                    await wire.write(frame(CLOSE, struct.pack("!H", closed.code)))
                    return messages, closed

        leaving = [asyncio.create_task(leave(wire)) for wire in wires]
    ends = [await each for each in leaving]

    goodbyes = [messages[-1] for messages, _ in ends]
    delays = sorted(each["reconnect_ms"] for each in goodbyes)
    assert all(is_data(messages[-2]) for messages, _ in ends)
    assert {(each["type"], each["reason"]) for each in goodbyes} == {("goodbye", "shutdown")}
    assert {closed.code for _, closed in ends} == {1001}
    assert len(set(delays)) == 60
    assert max(later - earlier for earlier, later in itertools.pairwise(delays)) <= 151


async def test_clients_that_never_read_do_not_hold_up_the_end() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, outbox_mib=64) as url:
        stuck = [await Wire.open(url, receive_bytes=4096) for _ in range(3)]
        for wire in stuck:
            await wire.subscribe(["AAPL"])
        for seed in range(20):
            feed.flood(20_000, seed=seed)
        quick = await Wire.open(url)
        started_s = clock.monotonic()

    assert (await quick.ending()).code == 1001
    assert clock.monotonic() - started_s < 4
    for wire in stuck:
        assert (await wire.ending()).code in (1001, 1006)


def connections_of(feed: HandFeed) -> list[Any]:
    """Return the server's connections, through the door that the feed was given."""
    return list(feed.emit._emit._connections._open)
