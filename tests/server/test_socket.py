"""The stream's socket as a client meets it: who is let in, what comes first, what keeps a connection alive."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import msgpack
import pytest

from tests.rig import AAPL, MSFT, HandFeed, running
from tests.wire import (
    BINARY,
    CONTINUATION,
    JSON,
    MSGPACK,
    PING,
    TEXT,
    Closed,
    Wire,
    fetch,
    frame,
    is_data,
    kind_of,
    rows_of,
)
from ticker.clock import ManualClock

TRADES = [["time", 6], ["price", 2], ["size", 0]]


# who is let in


@pytest.mark.parametrize(
    ("offers", "query", "chosen", "is_json"),
    [
        ((MSGPACK,), "", MSGPACK, False),
        ((JSON,), "", JSON, True),
        ((MSGPACK, JSON), "", MSGPACK, False),
        ((JSON, MSGPACK), "", JSON, True),
        (("chat", "ticker.v9.msgpack", JSON, MSGPACK), "", JSON, True),
        ("chat,ticker.v1.json", "", JSON, True),
        (None, "", None, False),
        (None, "?format=msgpack", None, False),
        (None, "?format=json", None, True),
        ((MSGPACK,), "?format=json", MSGPACK, False),
        ((JSON,), "?format=nonsense", JSON, True),
    ],
)
async def test_the_first_known_offer_is_taken_and_beats_the_format(
    offers: Any, query: str, chosen: str | None, is_json: bool
) -> None:
    async with running(HandFeed()) as url, await Wire.open(url, offers, query=query) as wire:
        assert wire.status == 101
        assert wire.headers.get("sec-websocket-protocol") == chosen
        assert isinstance(wire.welcome["time"], str if is_json else int)


@pytest.mark.parametrize(
    ("offers", "query", "said"),
    [
        (("chat",), "", b"ticker.v1.msgpack, ticker.v1.json"),
        (("TICKER.V1.JSON",), "", b"ticker.v1.msgpack, ticker.v1.json"),
        (("ticker.v2.json",), "?format=json", b"ticker.v1.msgpack, ticker.v1.json"),
        (None, "?format=xml", b"msgpack or json"),
        (None, "?format=", b"msgpack or json"),
        (None, "?format=%ff", b""),
    ],
)
async def test_what_cannot_be_agreed_on_is_a_400_that_says_what_would_be_right(
    offers: Any, query: str, said: bytes
) -> None:
    async with running(HandFeed()) as url:
        wire = await Wire.open(url, offers, query=query)

        assert wire.status == 400
        assert said in wire.body


async def test_compression_is_offered_by_the_client_in_vain() -> None:
    async with (
        running(HandFeed()) as url,
        await Wire.open(url, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}) as wire,
    ):
        assert wire.status == 101
        assert "sec-websocket-extensions" not in wire.headers


async def test_a_browser_that_only_looks_at_the_stream_is_told_what_it_is_for() -> None:
    async with running(HandFeed()) as url:
        status, _, body = await fetch(url, "/stream")

        assert status == 400
        assert b"WebSocket" in body


# what is said


async def test_the_server_speaks_first() -> None:
    async with running(HandFeed(), ManualClock(), heartbeat_s=7) as url, await Wire.open(url) as wire:
        welcome = wire.welcome

        assert len(welcome.pop("epoch")) >= 8
        assert welcome == {
            "type": "welcome",
            "protocol": 1,
            "server": welcome["server"],
            "time": 1_795_404_000_000_000_000,
            "feed": "hand",
            "kinds": ["trades", "quotes", "bars"],
            "intervals": [1, 5, 60, 3600, 86400],
            "auth": False,
            "clock": None,
            "heartbeat_s": 7,
            "limits": {"message_bytes": 262144, "channels": 100000, "commands_per_s": 50},
        }


@pytest.mark.parametrize("offer", [MSGPACK, JSON])
async def test_rows_come_in_order_after_the_answer_and_the_status(offer: str) -> None:
    feed = HandFeed()
    async with running(feed) as url, await Wire.open(url, [offer]) as wire:
        feed.trades(("AAPL", 0, 10000, 5))
        answer = await wire.subscribe(["AAPL", "XXXX"], id="mine")
        feed.trades(("AAPL", 1, 18931, 7), ("MSFT", 1, 1, 1), ("AAPL", 2, 18929, 100))
        message = await wire.data()

        (channel,) = answer["channels"]
        assert (answer["id"], channel["symbol"], channel["seq"], channel["columns"]) == ("mine", "AAPL", 1, TRADES)
        assert answer["refused"] == [{"symbol": "XXXX", "code": "unknown_symbol"}]
        rows = rows_of(message, TRADES)
        assert [(str(price), int(size)) for _, price, size in rows] == [("189.31", 7), ("189.29", 100)]
        if offer == JSON:
            assert message["seq"] == 1
            assert message["time"] == ["2026-11-23T12:00:00.000001Z", "2026-11-23T12:00:00.000002Z"]
        else:
            assert message[:3] == [channel["channel"], 1, 2]


async def test_every_command_gets_one_answer_in_order() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        commands: list[dict[str, Any]] = [
            {"op": "ping", "id": 1},
            {"op": "symbols", "id": 2},
            {"op": "auth", "id": 3, "token": "any"},
            {"op": "dance", "id": 4},
            {"op": "subscribe", "id": 5, "symbols": "AAPL"},
            {"op": "subscribe", "id": 6, "symbols": ["AAPL"]},
            {"op": "unsubscribe", "id": 7, "symbols": ["AAPL"]},
            {"op": "ping"},
        ]
        await wire.write(b"".join(frame(BINARY, msgpack.packb(each)) for each in commands))

        answers = [await wire.answer() for _ in commands]

        assert [answer.get("id") for answer in answers] == [1, 2, 3, 4, 5, 6, 7, None]
        types = ["pong", "symbols", "authenticated", "error", "error", "subscribed", "unsubscribed", "pong"]
        assert [answer["type"] for answer in answers] == types
        assert [answer["code"] for answer in answers[3:5]] == ["unknown_op", "bad_request"]


async def test_a_heartbeat_comes_after_each_quiet_time_and_tells_the_rows() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, heartbeat_s=10) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        feed.trades(("AAPL", 0, 1, 1), ("AAPL", 0, 1, 1), ("AAPL", 0, 1, 1))
        await wire.data()

        await clock.advance(12)
        first = await wire.receive()
        await clock.advance(10)
        second = await wire.until(lambda message: kind_of(message) == "heartbeat")

        assert (first["type"], first["rows"]) == ("heartbeat", 3)
        assert second["time"] - first["time"] >= 9_000_000_000


async def test_no_heartbeat_while_there_is_data() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, heartbeat_s=10) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        for second in range(30):
            await clock.advance(1)
            feed.trades(("AAPL", second, 1, 1))
        await wire.send({"op": "ping", "id": "last"})

        seen: list[str] = []
        while "pong" not in seen:
            seen.append(kind_of(await wire.receive()))

        assert set(seen) == {"data", "status", "pong"}
        assert seen.count("data") == 30


async def test_an_answer_tells_the_rows_that_came() -> None:
    feed = HandFeed()
    async with running(feed) as url, await Wire.open(url) as wire:
        await wire.subscribe(["*"])
        await wire.subscribe(["*"], kind="quotes")
        for i in range(20):
            feed.trades(("AAPL", i, 1, 1), ("MSFT", i, 1, 1))
            feed.quotes(("AAPL", i, 1, 1, 2, 1))

        answer = await wire.ask(op="ping")

        assert answer["rows"] == wire.rows == 60


# one socket, many things


async def test_fragments_are_one_message_with_pings_between_them() -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [JSON]) as wire:
        text = json.dumps({"op": "symbols", "id": 1, "pad": "x" * 900})
        pieces = [text[i : i + 1].encode() for i in range(len(text))]
        frames = [frame(TEXT, pieces[0], final=False)]
        frames += [frame(CONTINUATION, piece, final=False) for piece in pieces[1:]]
        frames.insert(500, frame(PING, b"between"))
        await wire.write(b"".join(frames) + frame(CONTINUATION))

        answer = await wire.answer(1)

        assert len(frames) > 900
        assert answer["symbols"] == ["AAPL", "MSFT"]
        assert wire.pongs == [b"between"]


async def test_a_flood_of_pings_is_answered_with_the_newest_and_harms_nobody(until: Any) -> None:
    feed = HandFeed()
    async with running(feed) as url, await Wire.open(url) as flooder, await Wire.open(url) as neighbour:
        await neighbour.subscribe(["AAPL"])
        await flooder.write(b"".join(frame(PING, struct.pack("!I", i)) for i in range(5000)))
        await flooder.send({"op": "ping", "id": "after"})
        feed.trades(("AAPL", 0, 1, 1))

        assert is_data(await neighbour.data())
        await flooder.answer("after")
        assert flooder.pongs[-1] == struct.pack("!I", 4999)
        assert flooder.pongs == sorted(set(flooder.pongs))


async def test_a_pong_overtakes_the_data_that_wait() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, outbox_mib=64) as url, await Wire.open(url, receive_bytes=4096) as wire:
        await wire.subscribe(["AAPL"])
        for seed in range(15):
            feed.flood(60_000, seed=seed)
        await wire.write(frame(PING, b"quick"))
        await asyncio.sleep(0)

        before = wire.rows
        while not wire.pongs:
            await wire.receive()
        rows_before_the_pong = wire.rows - before

        assert rows_before_the_pong < 50_000, "it waited for a whole flush"
        while wire.rows < 15 * 60_000:
            await wire.receive()


async def test_a_cut_in_the_middle_of_a_frame_disturbs_nobody() -> None:
    feed = HandFeed()
    async with running(feed) as url, await Wire.open(url) as neighbour:
        await neighbour.subscribe(["AAPL"])
        whole = frame(BINARY, msgpack.packb({"op": "subscribe", "symbols": ["AAPL"], "pad": "x" * 1000}))
        for size in (1, 2, 3, 4, 7, 8, 500, len(whole) - 1):
            for end in ("close", "reset"):
                wire = await Wire.open(url)
                await wire.subscribe(["*"], mode="conflated")
                await wire.write(whole[:size])
                getattr(wire, end)()
        feed.trades(("AAPL", 0, 1, 1))

        message = await neighbour.data()

        assert message[1:3] == [0, 1]
        assert json.loads((await fetch(url, "/healthz"))[2])["status"] == "ok"


async def test_a_symbol_that_appears_later_is_announced_under_the_wildcard_before_its_rows() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed) as url, await Wire.open(url) as every, await Wire.open(url) as named:
        await every.subscribe(["*"])
        await named.subscribe(["AAPL"])
        feed.emit.instruments([MSFT])
        feed.trades(("MSFT", 1, 4200, 3))
        feed.trades(("AAPL", 2, 1, 1))

        channel = await every.until(lambda message: kind_of(message) in ("channel", "data"))
        message = await every.data()
        only = await named.data()

        assert (channel["type"], channel["symbol"], channel["seq"]) == ("channel", "MSFT", 0)
        assert message[:3] == [channel["channel"], 0, 1]
        assert rows_of(only, TRADES)[0][2] == 1


async def test_the_status_reaches_clients_whenever_it_changes(errors: list[Any]) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, stall_s=5) as url, await Wire.open(url) as wire:
        await wire.ask(op="subscribe", symbols=["AAPL"])
        states = [(await wire.receive())["state"]]
        feed.trades(("AAPL", 0, 1, 1))
        states.append((await wire.until(lambda m: kind_of(m) == "status"))["state"])
        await clock.advance(6)
        states.append((await wire.until(lambda m: kind_of(m) == "status"))["state"])
        feed.trades(("AAPL", 1, 1, 1))
        states.append((await wire.until(lambda m: kind_of(m) == "status"))["state"])
        feed.end()
        states.append((await wire.until(lambda m: kind_of(m) == "status"))["state"])
        await wire.ask(op="ping")

        assert states == ["waiting", "live", "stalled", "live", "ended"]


async def test_a_feed_that_fails_is_started_again_and_no_client_loses_its_subscription(errors: list[Any]) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        feed.trades(("AAPL", 0, 1, 1))
        await wire.data()
        feed.end(RuntimeError("the exchange hung up"))
        waiting = await wire.until(lambda m: kind_of(m) == "status")
        await clock.advance(2)
        await feed.runs_now.wait()
        feed.trades(("AAPL", 1, 1, 1))

        message = await wire.data()

        assert (feed.runs, waiting["state"], message[1:3]) == (2, "waiting", [1, 1])
        assert ["the exchange hung up" in str(record.exc_info) for record in errors] == [True]
        errors.clear()


async def test_what_a_client_sends_after_its_own_close_is_ignored() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(0x8, struct.pack("!H", 1000)) + frame(BINARY, msgpack.packb({"op": "ping"})))

        with pytest.raises(Closed) as closed:
            await wire.receive()

        assert closed.value.code == 1000
