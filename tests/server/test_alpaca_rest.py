"""Alpaca's requests for history: shapes, pages, times and credentials, against the rows that were emitted."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.alpaca_wire import AlpacaWire
from tests.rig import AAPL, MSFT, HandFeed, running
from tests.wire import fetch
from ticker.feed import Instrument, Replay

BTC = Instrument("BTC/USD", size_scale=4, asset_class="crypto")
NOON = "2026-11-23T12:00:00Z"
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


def feed_of(*instruments: Instrument) -> HandFeed:
    return HandFeed(instruments or (AAPL, MSFT), replay=Replay(1.0))


async def get(url: str, path: str, headers: dict[str, str] | None = None, **query: Any) -> tuple[int, Any]:
    status, found, body = await fetch(url, f"{path}?{urlencode(query)}", headers=headers)
    assert found["content-type"].startswith("application/json")
    return status, json.loads(body)


async def ask(url: str, path: str, **query: Any) -> Any:
    status, answer = await get(url, path, **query)
    assert status == 200, answer
    return answer


async def pages(url: str, path: str, kind: str, **query: Any) -> list[dict[str, list[Any]]]:
    """Return all pages, each by symbol."""
    found, token = [], None
    while True:
        answer = await ask(url, path, **query, **({"page_token": token} if token else {}))
        assert answer.keys() == {kind, "next_page_token"}
        found.append(answer[kind])
        token = answer["next_page_token"]
        if token is None:
            return found


async def test_trades_of_several_symbols_are_those_of_the_stream_without_type_and_symbol() -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url, content_type=None) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", trades=["*"], quotes=["*"])
        feed.trades(("MSFT", 1, 42000, 3), ("AAPL", 0, 18931, 100), ("AAPL", 123_456, 18932, 7))
        feed.quotes(("AAPL", 5, 18930, 1, 18932, 2))
        streamed = await wire.rows(4)

        trades = await ask(url, "/v2/stocks/trades", symbols="MSFT,AAPL,NEVER")
        quotes = await ask(url, "/v2/stocks/quotes", symbols="AAPL")

    expected: dict[str, dict[str, list[Any]]] = {"t": {}, "q": {}}
    for row in streamed:
        expected[row.pop("T")].setdefault(row.pop("S"), []).append(row)
    assert trades == {"trades": expected["t"], "next_page_token": None}
    assert list(trades["trades"]) == ["AAPL", "MSFT"]
    assert quotes == {"quotes": expected["q"], "next_page_token": None}


async def test_one_symbol_has_a_shape_of_its_own() -> None:
    feed = feed_of()
    async with running(feed) as url:
        feed.trades(("AAPL", 0, 18931, 100))
        answer = await ask(url, "/v2/stocks/AAPL/trades")
        empty = await ask(url, "/v2/stocks/NEVER/quotes")

    assert list(answer) == ["trades", "symbol", "next_page_token"]
    assert ([row["p"] for row in answer["trades"]], answer["symbol"]) == ([189.31], "AAPL")
    assert empty == {"quotes": [], "symbol": "NEVER", "next_page_token": None}


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 4, 7, 100])
async def test_pages_go_on_by_symbol_then_time_while_rows_keep_coming(sort: str, limit: int) -> None:
    feed = feed_of(AAPL, MSFT, Instrument("F"))
    rows = [(symbol, i, 100 + i, 1) for i in range(7) for symbol in ("MSFT", "AAPL", "F") if i < 5 or symbol != "F"]
    async with running(feed) as url:
        for row in rows:
            feed.trades(row)
        query = {"symbols": "F,MSFT,AAPL", "limit": limit, "sort": sort, "end": "2026-11-23T12:00:00.000006Z"}

        found = []
        token: str | None = ""
        while token is not None:
            answer = await ask(url, "/v2/stocks/trades", **query, page_token=token)
            feed.trades(("AAPL", 100, 1, 1), ("MSFT", 100, 1, 1))
            found.append(answer["trades"])
            token = answer["next_page_token"]

    step = -1 if sort == "desc" else 1
    expected = [(s, row[2] / 100) for s in ("AAPL", "F", "MSFT") for row in [r for r in rows if r[0] == s][::step]]
    flat = [(symbol, row["p"]) for page in found for symbol, some in page.items() for row in some]
    assert flat == expected
    assert [sum(map(len, page.values())) for page in found[:-1]] == [limit] * (len(found) - 1)


@pytest.mark.parametrize(
    ("query", "prices"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"start": "2026-11-23T12:00:01Z"}, [2, 3, 4, 5]),
        ({"start": "2026-11-23T12:00:01.000000001Z"}, [3, 4, 5]),
        ({"start": "2026-11-23T07:00:01-05:00", "end": "2026-11-23T12:00:03+00:00"}, [2, 3, 4]),
        ({"end": "2026-11-23T12:00:02.999999999Z"}, [1, 2, 3]),
        ({"start": "2026-11-23", "end": "2026-11-23"}, [1, 2, 3, 4, 5]),
        ({"start": "2026-11-24"}, []),
        ({"end": "2026-11-22"}, []),
        ({"start": "2026-11-23T12:00:04Z", "end": "2026-11-23T12:00:01Z"}, []),
    ],
)
async def test_times_are_inclusive_to_the_nanosecond(query: dict[str, str], prices: list[int]) -> None:
    feed = feed_of()
    async with running(feed) as url:
        feed.trades(*(("AAPL", i * SECOND, (i + 1) * 100, 1) for i in range(3)), ("MSFT", 0, 1, 1))
        feed.trades(*(("AAPL", i * SECOND, (i + 1) * 100, 1) for i in range(3, 5)))
        answer = await ask(url, "/v2/stocks/AAPL/trades", **query)

    assert [row["p"] for row in answer["trades"]] == prices


async def test_without_a_start_the_feeds_day_in_new_york_is_meant() -> None:
    feed = feed_of()
    async with running(feed) as url:
        feed.trades(("AAPL", -8 * HOUR, 100, 1), ("AAPL", -7 * HOUR, 200, 1), ("AAPL", 0, 300, 1))
        feed.emit.time(1_795_435_200_000_000_000)
        today = await ask(url, "/v2/stocks/AAPL/trades")
        all_days = await ask(url, "/v2/stocks/AAPL/trades", start="2026-01-01")

    assert [row["p"] for row in today["trades"]] == [2.0, 3.0]
    assert [row["p"] for row in all_days["trades"]] == [1.0, 2.0, 3.0]


async def test_minute_bars_are_those_of_the_stream_and_longer_ones_are_summed_up() -> None:
    feed = feed_of()
    async with running(feed) as url, await AlpacaWire.open(url, content_type=None) as wire:
        await wire.log_in()
        await wire.ask(action="subscribe", bars=["AAPL"])
        for i in range(13):
            feed.trades(("AAPL", i * 10 * MINUTE, 100 + i, i + 1))
        streamed = await wire.rows(12)

        minutes = await ask(url, "/v2/stocks/AAPL/bars", timeframe="1Min")
        halves = await ask(url, "/v2/stocks/AAPL/bars", timeframe="30Min")
        hours = await ask(url, "/v2/stocks/bars", symbols="AAPL,MSFT", timeframe="1Hour")
        some = await pages(url, "/v2/stocks/bars", "bars", symbols="AAPL", timeframe="30T", limit=3, sort="desc")
        pair = await ask(url, "/v2/stocks/AAPL/bars", timeframe="1H", start="2026-11-23T12:30:00Z")

    assert minutes["bars"] == [{key: row[key] for key in row if key not in "TS"} for row in streamed]
    assert [(bar["t"][11:16], bar["o"], bar["h"], bar["c"], bar["v"], bar["n"]) for bar in halves["bars"]] == [
        ("12:00", 1.00, 1.02, 1.02, 6, 3),
        ("12:30", 1.03, 1.05, 1.05, 15, 3),
        ("13:00", 1.06, 1.08, 1.08, 24, 3),
        ("13:30", 1.09, 1.11, 1.11, 33, 3),
    ]
    assert [(bar["t"][11:16], bar["v"], bar["n"]) for bar in hours["bars"]["AAPL"]] == [
        ("12:00", 21, 6),
        ("13:00", 57, 6),
        ("14:00", 13, 1),
    ]
    assert [[bar["t"][11:16] for bar in page["AAPL"]] for page in some] == [["13:30", "13:00", "12:30"], ["12:00"]]
    assert [bar["t"][11:16] for bar in pair["bars"]] == ["13:00", "14:00"]


@pytest.mark.parametrize(
    ("timeframe", "starts"),
    [
        ("1Day", ["2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"]),
        ("1D", ["2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"]),
        ("1Week", ["2026-11-16T05:00:00Z", "2026-11-23T05:00:00Z"]),
        ("1Month", ["2026-11-01T04:00:00Z"]),
        ("3Month", ["2026-10-01T04:00:00Z"]),
        ("12M", ["2026-01-01T05:00:00Z"]),
        ("23Hour", ["2026-11-22T05:00:00Z", "2026-11-23T04:00:00Z", "2026-11-23T05:00:00Z"]),
    ],
)
async def test_long_bars_follow_the_calendar_of_new_york(timeframe: str, starts: list[str]) -> None:
    feed = feed_of()
    async with running(feed) as url:
        feed.trades(("AAPL", -8 * HOUR - 1, 500, 1), ("AAPL", -8 * HOUR, 100, 1), ("AAPL", -7 * HOUR, 200, 2))
        feed.trades(("AAPL", 0, 300, 4))
        answer = await ask(url, "/v2/stocks/AAPL/bars", timeframe=timeframe, start="2025-01-01")

    assert [bar["t"] for bar in answer["bars"]] == starts
    assert sum(bar["v"] for bar in answer["bars"]) == 8


async def test_the_latest_rows_and_the_state_of_a_symbol() -> None:
    feed = feed_of()
    day = 24 * HOUR
    async with running(feed) as url:
        feed.trades(("AAPL", -day, 100, 1), ("AAPL", 0, 200, 2), ("MSFT", 0, 500, 1))
        feed.trades(("AAPL", MINUTE, 300, 3))
        feed.quotes(("AAPL", 5, 100, 1, 200, 2), ("AAPL", 6, 300, 3, 400, 4))
        trades = await ask(url, "/v2/stocks/trades/latest", symbols="AAPL,MSFT,NEVER")
        quotes = await ask(url, "/v2/stocks/quotes/latest", symbols="AAPL,MSFT")
        bars = await ask(url, "/v2/stocks/bars/latest", symbols="AAPL")
        one = await ask(url, "/v2/stocks/AAPL/trades/latest")
        states = await ask(url, "/v2/stocks/snapshots", symbols="AAPL,MSFT,NEVER")
        state = await ask(url, "/v2/stocks/AAPL/snapshot")

    assert {name: row["p"] for name, row in trades["trades"].items()} == {"AAPL": 3.0, "MSFT": 5.0}
    assert {name: row["ap"] for name, row in quotes["quotes"].items()} == {"AAPL": 4.0}
    assert bars["bars"]["AAPL"]["c"] == 2.0
    assert one == {"symbol": "AAPL", "trade": trades["trades"]["AAPL"]}
    assert states.keys() == {"AAPL", "MSFT"}
    assert state == {"symbol": "AAPL", **states["AAPL"]}
    apple = states["AAPL"]
    assert apple["latestTrade"]["p"] == 3.0
    assert apple["latestQuote"]["ap"] == 4.0
    assert apple["minuteBar"] == bars["bars"]["AAPL"]
    assert (apple["dailyBar"]["t"], apple["dailyBar"]["v"]) == ("2026-11-23T05:00:00Z", 5)
    assert (apple["prevDailyBar"]["t"], apple["prevDailyBar"]["c"]) == ("2026-11-22T05:00:00Z", 1.0)
    assert states["MSFT"].keys() == {"latestTrade", "dailyBar"}


async def test_coins_have_addresses_of_their_own() -> None:
    feed = feed_of(AAPL, BTC)
    async with running(feed) as url:
        feed.trades(("BTC/USD", 0, 9_500_000, 1234), ("AAPL", 0, 100, 1))
        trades = await ask(url, "/v1beta3/crypto/us/trades", symbols="BTC/USD,AAPL")
        latest = await ask(url, "/v1beta3/crypto/us/latest/trades", symbols="BTC/USD")
        states = await ask(url, "/v1beta3/crypto/us/snapshots", symbols="BTC/USD")
        shares = await ask(url, "/v2/stocks/trades", symbols="BTC/USD,AAPL")
        one = await ask(url, f"/v2/stocks/{quote('BTC/USD', safe='')}/trades")

    assert trades["trades"].keys() == {"BTC/USD"}
    assert trades["trades"]["BTC/USD"][0]["s"] == 0.1234
    assert (
        latest["trades"]["BTC/USD"] == trades["trades"]["BTC/USD"][0] == states["snapshots"]["BTC/USD"]["latestTrade"]
    )
    assert shares["trades"].keys() == {"AAPL"}
    assert one["trades"] == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v2/stocks/trades", {}),
        ("/v2/stocks/trades", {"symbols": ","}),
        ("/v2/stocks/AAPL/trades", {"limit": 0}),
        ("/v2/stocks/AAPL/trades", {"limit": 10_001}),
        ("/v2/stocks/AAPL/trades", {"limit": "many"}),
        ("/v2/stocks/AAPL/trades", {"sort": "up"}),
        ("/v2/stocks/AAPL/trades", {"start": "yesterday"}),
        ("/v2/stocks/AAPL/trades", {"start": "2026-02-30"}),
        ("/v2/stocks/AAPL/trades", {"end": "2026-11-23T12:00:00"}),
        ("/v2/stocks/AAPL/trades", {"start": "9999-12-31"}),
        ("/v2/stocks/AAPL/trades", {"page_token": "?"}),
        ("/v2/stocks/AAPL/trades", {"page_token": "QUFQTA=="}),
        ("/v2/stocks/AAPL/trades", {"feed": "pigeon"}),
        ("/v2/stocks/AAPL/trades", {"currency": "XXX"}),
        *(("/v2/stocks/AAPL/bars", {"timeframe": each}) for each in ("0Min", "60Min", "24Hour", "2Day", "5Month", "1")),
        ("/v2/stocks/AAPL/bars", {"adjustment": "none"}),
    ],
)
async def test_a_parameter_that_makes_no_sense_is_named(path: str, query: dict[str, Any]) -> None:
    async with running(HandFeed()) as url:
        status, answer = await get(url, path, **query)

    if query.get("start") == "9999-12-31":
        assert status == 200
    else:
        assert status == 400
        assert answer.keys() == {"message"}
        assert next(iter(query), "symbols") in answer["message"]


async def test_what_there_is_none_of_is_not_found() -> None:
    async with running(HandFeed()) as url:
        assert await get(url, "/v2/stocks/NEVER/trades/latest") == (404, {"message": "no trade found for NEVER"})
        assert await get(url, "/v2/stocks/AAPL/snapshot") == (404, {"message": "no snapshot found for AAPL"})
        assert (await fetch(url, "/v2/stocks/AAPL/trades", method="POST"))[0] == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"APCA-API-KEY-ID": "PK"}, 403),
        ({"APCA-API-KEY-ID": "PK", "APCA-API-SECRET-KEY": "wrong"}, 403),
        ({"APCA-API-KEY-ID": "PK", "APCA-API-SECRET-KEY": "right"}, 200),
        ({"Authorization": "Bearer token"}, 200),
        ({"Authorization": "Bearer other"}, 403),
        ({"Authorization": "Basic UEs6cmlnaHQ="}, 200),
    ],
)
async def test_with_keys_of_ones_own_history_is_for_those_who_have_them(headers: dict[str, str], status: int) -> None:
    async with running(HandFeed(), alpaca_key="PK:right,oauth:token") as url:
        assert (await get(url, "/v2/stocks/AAPL/trades", headers))[0] == status


async def test_a_feed_without_quotes_has_no_history_of_them() -> None:
    feed = HandFeed(kinds=("trades",), replay=Replay(1.0))
    async with running(feed) as url:
        feed.trades(("AAPL", 0, 100, 1))
        assert (await ask(url, "/v2/stocks/AAPL/quotes"))["quotes"] == []
        assert await ask(url, "/v2/stocks/quotes/latest", symbols="AAPL") == {"quotes": {}}
