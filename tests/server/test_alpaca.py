"""Alpaca's streams over sockets, by the vendor's documentation: message by message, in both codecs."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest

from tests.alpaca_wire import AlpacaWire
from tests.rig import AAPL, HandFeed, running
from tests.server.alpaca_words import AUTHENTICATED, BTC, JSON, NOTHING, codecs, error, feed_of, subscription
from tests.server.served import served
from tests.wire import BINARY, TEXT, Wire, fetch, frame
from ticker.clock import ManualClock
from ticker.feed import Instrument, Replay

# addresses


@pytest.mark.parametrize(
    "path",
    [
        *(f"/v2/{feed}" for feed in ("iex", "sip", "delayed_sip", "test")),
        *(f"/v1beta3/crypto/{loc}" for loc in ("us", "us-1", "us-2", "bs-1", "global")),
        *("/", "/iex", "/sip", "/delayed_sip", "/test"),
    ],
)
async def test_each_address_greets_who_asks_for_a_websocket(path: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, path) as wire:
        assert wire.status == 101
        assert await wire.control() == {"T": "success", "msg": "connected"}


@pytest.mark.parametrize("path", ["/v2/other", "/other", "/v2/", "/v1beta3/crypto/mars", "/v1beta1/news"])
async def test_what_is_no_known_feed_is_not_found(path: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, path) as wire:
        assert wire.status == 404


async def test_the_root_is_the_page_for_all_others() -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, "/")

        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"<html" in body


async def test_a_page_of_another_origin_is_refused() -> None:
    async with (
        running(HandFeed()) as url,
        await AlpacaWire.open(url, headers={"Origin": "http://elsewhere.example"}) as foreign,
        await AlpacaWire.open(url, content_type=None, headers={"Origin": url.rstrip("/")}) as own,
    ):
        assert (foreign.status, own.status) == (403, 101)


# codecs


@pytest.mark.parametrize("content_type", [JSON, "text/plain", None, "application/json; charset=utf-8"])
async def test_who_does_not_ask_for_msgpack_gets_json_in_text_frames(content_type: str | None) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=content_type) as wire:
        assert (await wire.receive_frame())[0] == TEXT


async def test_the_codec_follows_the_header_and_not_the_frames_of_the_client() -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url, content_type=None) as wire:
        await wire.control()
        await wire.send({"action": "auth", "key": "PK", "secret": "S"}, opcode=BINARY)
        assert await wire.control() == AUTHENTICATED
        await wire.send({"action": "subscribe", "trades": ["AAPL"]}, opcode=BINARY)
        assert await wire.control() == subscription(trades=["AAPL"])
        feed.trades(("AAPL", 0, 18931, 1))

        (row,) = await wire.rows(1)

        assert row["t"] == "2026-11-23T12:00:00Z"


@codecs
async def test_compression_that_a_client_offers_is_not_agreed_to(codec: str) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec, headers=offer) as wire:
        assert wire.status == 101
        assert "Sec-WebSocket-Extensions" not in wire.headers
        await wire.log_in()


# subscriptions


@codecs
async def test_lists_grow_and_shrink_and_each_answer_has_the_whole_state(codec: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()

        answer = await wire.ask(action="subscribe", trades=["AAPL"], quotes=["AMD", "CLDR"], bars=["*"])
        assert answer == subscription(trades=["AAPL"], quotes=["AMD", "CLDR"], bars=["*"])
        answer = await wire.ask(action="subscribe", trades=["MSFT", "AAPL", "*"], updatedBars=["*"], statuses=["AAPL"])
        assert answer == subscription(
            trades=["AAPL", "MSFT", "*"],
            quotes=["AMD", "CLDR"],
            bars=["*"],
            updatedBars=["*"],
            statuses=["AAPL"],
        )
        answer = await wire.ask(action="unsubscribe", trades=["*", "NEVER"], bars=["*"], lulds=["AAPL"], quotes=["AMD"])
        assert answer == subscription(trades=["AAPL", "MSFT"], quotes=["CLDR"], updatedBars=["*"], statuses=["AAPL"])


@codecs
async def test_a_whole_list_again_changes_nothing_and_disturbs_no_row(codec: str) -> None:
    feed = feed_of()
    async with running(feed, flush_ms=10_000) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["AAPL"])
        feed.trades(("AAPL", 1, 100, 1))
        await wire.send({"action": "subscribe", "trades": ["AAPL"]})
        (row,) = await wire.rows(1)
        assert await wire.control() == subscription(trades=["AAPL"])
        feed.trades(("AAPL", 2, 200, 1))
        assert [each["p"] for each in (row, *await wire.rows(1))] == [1.0, 2.0]


@codecs
async def test_null_lists_mean_nothing_as_those_of_go(codec: str) -> None:
    names = ("quotes", "bars", "updatedBars", "dailyBars", "statuses", "imbalances", "lulds", "cancelErrors")
    lists = {"trades": ["AAPL"], **dict.fromkeys((*names, "corrections", "orderbooks"))}
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        assert await wire.ask(action="subscribe", **lists) == subscription(trades=["AAPL"])


@codecs
async def test_requests_come_in_fragments_with_an_empty_one_at_the_end(codec: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.send_in_pieces({"action": "subscribe", "trades": ["AAPL"], "bars": ["*"]}, [3, 1, 7])
        assert await wire.control() == subscription(trades=["AAPL"], bars=["*"])
        await wire.send_in_pieces({"action": "unsubscribe", "bars": ["*"]}, [])
        assert await wire.control() == subscription(trades=["AAPL"])


@codecs
@pytest.mark.parametrize("count", [12_000, 30_000])
async def test_a_request_may_name_thousands_of_symbols(codec: str, count: int) -> None:
    symbols = [f"S{number:05}" for number in range(count)]
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        message = {"action": "subscribe", "trades": symbols}
        assert len(wire.pack(message)) > 80_000

        await wire.send_in_pieces(message, [32_768, 32_768])

        assert await wire.control() == subscription(trades=symbols)


async def test_more_than_a_confirmation_can_tell_is_beyond_the_limit_of_symbols() -> None:
    symbols = [f"S{number:05}" for number in range(100_000)]
    async with running(HandFeed(), max_channels=1_000_000) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in()
        for channel in ("quotes", "bars"):
            assert (await wire.ask(action="subscribe", **{channel: symbols}))["T"] == "subscription"
            symbols = symbols[:20_000]
        assert await wire.ask(action="subscribe", trades=symbols) == error(405, "symbol limit exceeded")
        assert (await wire.ask(action="subscribe"))["trades"] == []


async def test_the_servers_limit_of_channels_holds_and_what_was_subscribed_stays() -> None:
    async with running(HandFeed(), max_channels=2) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in()
        assert await wire.ask(action="subscribe", trades=["AAPL"], quotes=["*"]) == error(405, "symbol limit exceeded")
        subscribed = subscription(trades=["AAPL", "MSFT"])
        assert await wire.ask(action="subscribe", trades=["AAPL", "MSFT"]) == subscribed
        assert await wire.ask(action="subscribe", bars=["AAPL"]) == error(405, "symbol limit exceeded")
        assert await wire.ask(action="subscribe") == subscribed


@codecs
@pytest.mark.parametrize(
    "message",
    [
        {"action": "subscribe", "trades": "AAPL"},
        {"action": "subscribe", "trades": [1]},
        {"action": "subscribe", "trades": ["aapl"]},
        {"action": "subscribe", "other": ["AAPL"]},
        {"action": "other"},
        {"no": "action"},
        ["subscribe"],
        "subscribe",
        None,
    ],
)
async def test_what_makes_no_sense_is_invalid_syntax_and_the_connection_lives_on(codec: str, message: Any) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["AAPL"])
        await wire.send(message)
        assert await wire.control() == error(400, "invalid syntax")
        assert await wire.ask(action="subscribe") == subscription(trades=["AAPL"])


@codecs
async def test_bytes_that_nobody_can_decode_are_invalid_syntax_too(codec: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        for data in (b"", b"\xc1", b"\x81", b"{", b"\xff\xfe"):
            await wire.write(frame(BINARY, data))
            assert await wire.control() == error(400, "invalid syntax")
        await wire.write(frame(TEXT, b"plain words"))
        assert await wire.control() == error(400, "invalid syntax")
        assert await wire.ask(action="subscribe") == NOTHING


@codecs
async def test_channels_of_another_stream_are_an_invalid_action_and_nothing_of_the_request_is_done(codec: str) -> None:
    async with running(feed_of(AAPL, BTC)) as url:
        for path, channel in (("/v2/iex", "orderbooks"), ("/v2/iex", "news"), ("/v1beta3/crypto/us", "statuses")):
            async with await AlpacaWire.open(url, path, content_type=codec) as wire:
                await wire.log_in()
                answer = await wire.ask(action="subscribe", trades=["AAPL"], **{channel: ["AAPL"]})
                assert answer == error(410, "invalid subscribe action for this feed")
                assert (await wire.ask(action="subscribe"))["trades"] == []


# data


@codecs
async def test_the_confirmation_comes_before_any_row_and_rows_of_a_flush_share_a_frame(codec: str) -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        feed.trades(("AAPL", 0, 1, 1))
        await wire.send({"action": "subscribe", "trades": ["AAPL", "MSFT"], "quotes": ["MSFT"]})
        assert (await wire.control())["T"] == "subscription"
        feed.quotes(("MSFT", 1, 41999, 10, 42001, 20), ("AAPL", 1, 1, 1, 1, 1), flush=False)
        feed.trades(("MSFT", 1, 42000, 5), ("AAPL", 2, 18931, 7), ("AAPL", 3, 18932, 8))

        array = await wire.receive()

        told = [(row["T"], row["S"], row.get("p", row.get("bp"))) for row in array]
        assert told == [("t", "AAPL", 189.31), ("t", "AAPL", 189.32), ("t", "MSFT", 420.0), ("q", "MSFT", 419.99)]


@codecs
async def test_a_row_that_matches_a_symbol_and_the_wildcard_is_sent_once(codec: str) -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["*", "AAPL"])
        feed.trades(("AAPL", 0, 100, 1), ("MSFT", 0, 200, 1))
        assert [row["S"] for row in await wire.rows(2)] == ["AAPL", "MSFT"]
        await wire.ask(action="unsubscribe", trades=["*"])
        feed.trades(("MSFT", 1, 300, 1), ("AAPL", 1, 400, 1))
        assert [row["p"] for row in await wire.rows(1)] == [4.0]


@codecs
async def test_a_symbol_that_nobody_knows_is_confirmed_and_heard_of_once_it_appears(codec: str) -> None:
    feed = feed_of(AAPL)
    async with running(feed) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["NEW", "AAPL"], quotes=["*"])
        feed.emit.instruments([Instrument("NEW"), Instrument("COIN/USD", asset_class="crypto")])
        feed.quotes(("COIN/USD", 0, 1, 1, 1, 1), ("NEW", 1, 100, 1, 200, 1), flush=False)
        feed.trades(("NEW", 1, 500, 1), ("AAPL", 1, 600, 1))

        rows = await wire.rows(3)

        assert [(row["T"], row["S"]) for row in rows] == [("t", "AAPL"), ("t", "NEW"), ("q", "NEW")]


async def test_shares_and_coins_are_each_on_their_own_stream() -> None:
    feed = feed_of(AAPL, BTC)
    async with (
        running(feed) as url,
        await AlpacaWire.open(url) as shares,
        await AlpacaWire.open(url, "/v1beta3/crypto/us") as coins,
    ):
        for wire in (shares, coins):
            await wire.log_in()
            await wire.ask(action="subscribe", trades=["*", "AAPL", "BTC/USD"])
        feed.trades(("BTC/USD", 0, 9_500_000, 1), ("AAPL", 0, 100, 1))

        assert [row["S"] for row in await shares.rows(1)] == ["AAPL"]
        assert [(row["S"], row["s"]) for row in await coins.rows(1)] == [("BTC/USD", 0.0001)]


@codecs
async def test_bars_come_once_after_their_minute_and_the_day_so_far_with_them(codec: str) -> None:
    feed = feed_of()
    minute = 60_000_000
    async with running(feed) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", bars=["AAPL"], dailyBars=["*"], updatedBars=["*"])
        feed.trades(("AAPL", 0, 100, 1), ("MSFT", 1, 900, 2), ("AAPL", 2, 300, 3))
        feed.trades(("AAPL", minute, 200, 4))
        first = await wire.rows(2)
        feed.emit.time(1_795_435_200_000_000_000 + 2 * minute * 1000)
        feed.emit.flush()
        second = await wire.rows(3)

    bar, day = first
    assert (bar["T"], bar["S"], bar["o"], bar["h"], bar["c"], bar["v"], bar["n"]) == ("b", "AAPL", 1.0, 3.0, 3.0, 4, 2)
    assert bar["vw"] == (100 * 1 + 300 * 3) / 4 / 100
    assert (day["T"], day["S"], day["v"], day["c"]) == ("d", "AAPL", 4, 3.0)
    assert [(row["T"], row["S"], row["v"]) for row in second] == [("b", "AAPL", 4), ("d", "AAPL", 8), ("d", "MSFT", 2)]
    if codec == JSON:
        assert (bar["t"], day["t"]) == ("2026-11-23T12:00:00Z", "2026-11-23T05:00:00Z")
    else:
        assert isinstance(bar["t"], msgpack.Timestamp)
        assert day["t"].to_unix_nano() == 1_795_410_000 * 10**9


async def test_the_test_stream_has_a_symbol_of_its_own_that_nobody_else_has() -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock) as url,
        await AlpacaWire.open(url, "/v2/test") as wire,
        await AlpacaWire.open(url) as other,
        await Wire.open(url) as native,
    ):
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["FAKEPACA"], quotes=["*"])
        await other.log_in()
        await other.ask(action="subscribe", trades=["*"])
        await clock.advance(0.6)

        rows = await wire.rows(4)

        assert {row["S"] for row in rows} == {"FAKEPACA"}
        assert sorted(row["T"] for row in rows) == ["q", "q", "t", "t"]
        assert (await native.ask(op="symbols"))["symbols"] == ["AAPL", "MSFT"]
        assert await other.ask(action="subscribe") == subscription(trades=["*"])


# ends


@pytest.mark.parametrize("replay", [None, Replay(1.0)])
async def test_who_does_not_keep_up_is_told_and_closed(replay: Replay | None) -> None:
    feed = HandFeed(replay=replay)
    clock = ManualClock()
    async with running(feed, clock, outbox_mib=1) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["AAPL"])
        for seed in range(8):
            feed.flood(20_000, seed=seed)
        await clock.advance(2)

        assert (await wire.ending()).code == 4008
        assert wire.last == [error(407, "slow client")]


async def test_a_server_that_goes_away_just_closes() -> None:
    async with running(HandFeed()) as url:
        wire = await AlpacaWire.open(url)
        await wire.log_in()
        ending = asyncio.create_task(wire.ending())
    assert (await ending).code == 1001
    wire.close()


async def test_a_client_is_counted_among_those_that_a_replay_waits_for() -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["AAPL"])

        await feed.emit.subscribers(1, quiet_s=0.0)


async def test_too_many_who_have_yet_to_authenticate_are_sent_away_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticker.stream.alpaca_accounts.MOST_STRANGERS", 1)
    async with served() as (url, node), await AlpacaWire.open(url) as first:
        async with await AlpacaWire.open(url) as second:
            assert second.status == 429
        assert node._market.counts.refusals == {"strangers": 1}
        await first.log_in()
        async with await AlpacaWire.open(url) as third:
            assert third.status == 101
