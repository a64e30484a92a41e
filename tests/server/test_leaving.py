"""How a server leaves: who reads gets all that waits and then a goodbye, who does not is cut when the drain ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.rig import AAPL, HandFeed, running
from tests.server.served import served
from tests.wire import CLOSE, JSON, MSGPACK, Closed, Wire, frame, kind_of
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, hash_of
from ticker.clock import ManualClock


async def read_to_the_end(wire: Wire) -> tuple[list[Any], int]:
    """Read on and answer the close; return the messages and the close code."""
    messages: list[Any] = []
    try:
        while True:
            messages.append(await wire.receive())
    except Closed as closed:
        if closed.code != 1006:
            await wire.write(frame(CLOSE, struct.pack("!H", closed.code)))
        return messages, closed.code


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("stopped")]


@pytest.mark.parametrize("offer", [MSGPACK, JSON])
async def test_a_slow_reader_gets_all_that_waits_for_it_and_then_the_goodbye(
    offer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, drain_s=60) as url:
        wire = await Wire.open(url, [offer], receive_bytes=4096)
        await wire.subscribe(["AAPL"])
        for seed in range(20):
            feed.flood(2000, seed=seed)
        assert wire.rows == 0
        reading = asyncio.create_task(read_to_the_end(wire))
    messages, code = await reading

    assert wire.rows == 40_000
    assert (kind_of(messages[-1]), messages[-1]["reason"], code) == ("goodbye", "shutdown", 1001)
    assert told(caplog)[0].startswith("stopped: said goodbye to 1 clients in ")
    assert told(caplog)[0].endswith(" s; 0 of them were cut with 0 bytes unsent")


async def test_rows_of_a_resume_that_is_under_way_are_sent_too() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, drain_s=60) as url:
        for seed in range(20):
            feed.flood(2000, seed=seed)
        wire = await Wire.open(url, receive_bytes=4096)
        await wire.subscribe(["AAPL"], since={"AAPL": 0}, epoch=wire.welcome["epoch"])
        reading = asyncio.create_task(read_to_the_end(wire))
    messages, code = await reading

    assert wire.rows == 40_000
    assert (kind_of(messages[-1]), code) == ("goodbye", 1001)


async def test_a_conflated_client_that_was_behind_gets_its_last_update_before_the_goodbye() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, drain_s=60) as url:
        wire = await Wire.open(url, receive_bytes=4096)
        await wire.subscribe(["AAPL"])
        await wire.ask(op="subscribe", symbols=["AAPL"], kind="quotes", mode="conflated", interval_ms=5000)
        for seed in range(20):
            feed.flood(2000, seed=seed)
        feed.quotes(("AAPL", 0, 1, 1, 2, 1), ("AAPL", 1, 3, 1, 4, 1))
        reading = asyncio.create_task(read_to_the_end(wire))
    messages, code = await reading

    assert wire.rows == 40_000 + 2
    assert [kind_of(each) for each in messages[-2:]] == ["data", "goodbye"]
    assert code == 1001


async def test_who_reads_nothing_is_cut_when_the_drain_ends_and_others_are_not_held_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, drain_s=2, outbox_mib=64) as url:
        stuck = [await Wire.open(url, receive_bytes=4096) for _ in range(10)]
        quick = [await Wire.open(url) for _ in range(10)]
        for wire in (*stuck, *quick):
            await wire.subscribe(["AAPL"])
        for seed in range(10):
            feed.flood(10_000, seed=seed)
        ends: list[tuple[str, int, int]] = []

        async def leave(wire: Wire) -> None:
            messages, code = await read_to_the_end(wire)
            ends.append((kind_of(messages[-1]), messages[-1]["reconnect_ms"], code))

        leaving = [asyncio.create_task(leave(wire)) for wire in quick]
        while any(wire.rows < 100_000 for wire in quick):  # the manual clock runs on while they read
            await clock.advance(0.05)
            await asyncio.sleep(0)
        stopped_s = clock.monotonic()
    await asyncio.wait(leaving)

    assert 2 <= clock.monotonic() - stopped_s < 3
    assert {(kind, code) for kind, _, code in ends} == {("goodbye", 1001)}
    assert len({reconnect_ms for _, reconnect_ms, _ in ends}) == 10
    assert told(caplog)[0].startswith("stopped: said goodbye to 20 clients in ")
    assert " 10 of them were cut with " in told(caplog)[0]
    assert not told(caplog)[0].endswith(" 0 bytes unsent")
    for wire in stuck:
        assert (await wire.ending()).code in (1001, 1006)


async def test_without_a_drain_goodbyes_are_sent_and_nobody_is_waited_for() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, drain_s=0) as url:
        wire = await Wire.open(url)
        await wire.subscribe(["AAPL"])
        feed.trades(("AAPL", 0, 1, 1), flush=False)
    messages, code = await read_to_the_end(wire)

    assert [kind_of(each) for each in messages if kind_of(each) != "status"] == ["data", "goodbye"]
    assert code == 1001


async def test_a_client_whose_handshake_ends_while_the_server_leaves_is_told_goodbye_at_once(until: Any) -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, drain_s=60) as url:
        connections = feed.emit._emit._connections  # type: ignore[attr-defined]
        late = await begin_a_handshake(url)
        stuck = await Wire.open(url, receive_bytes=4096)  # once this one is in, so is the one before it
        await stuck.subscribe(["AAPL"])
        for seed in range(20):
            feed.flood(5000, seed=seed)

        async def enter_late() -> tuple[list[Any], int]:
            await until(lambda: connections._is_leaving)
            await late.write(b"Connection: Upgrade\r\n\r\n")
            await late._until(b"\r\n\r\n")
            ending = await read_to_the_end(late)
            await read_to_the_end(stuck)
            return ending

        entering = asyncio.create_task(enter_late())
    messages, code = await entering

    assert [kind_of(each) for each in messages] == ["welcome", "goodbye"]
    assert code == 1001


async def test_a_token_expires_while_the_server_waits_for_one_who_reads_nothing() -> None:
    token, clock, feed = "a-token-for-8-seconds", ManualClock(), HandFeed(instruments=[AAPL])
    soon = Entry(hash_of(token), Principal("soon", expires_s=clock.now() / 1e9 + 8))
    async with served(clock, feed, tokens=[soon], drain_s=60, outbox_mib=64) as (url, node):
        wire = await Wire.open(url, headers={"Authorization": f"Bearer {token}"}, receive_bytes=4096)
        await wire.subscribe(["AAPL"])
        for seed in range(40):
            feed.flood(8000, seed=seed)

    assert node._market.counts.closes == {"unauthenticated": 1}
    assert (await wire.ending()).code in (4001, 1006)
    assert wire.rows < 40 * 8000, "what waited was dropped"


async def begin_a_handshake(url: str) -> Wire:
    """Connect, and send all of the request but its last line."""
    parts = urlsplit(url)
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
    wire = Wire(sock)
    lines = ["GET /stream HTTP/1.1", f"Host: {parts.netloc}", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    await wire.write("\r\n".join([*lines, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", ""]).encode())
    return wire
