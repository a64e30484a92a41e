"""Alpaca's own Python SDK, pointed at this server by its `url_override` and by nothing else."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.journeys.bots import BTC, HERE, MINUTE_US, Bot, Until, port_of, serving, snippet, stream_of
from tests.rig import AAPL, MSFT, NOON_US, HandFeed
from ticker.feed import Replay


def bot(until: Until) -> Bot:
    return Bot([sys.executable, str(HERE / "alpaca_bot.py")], os.environ, until)


def utc(microseconds: int) -> str:
    """Return a time after noon as the SDK's `datetime` prints it."""
    return str(datetime.fromtimestamp((NOON_US + microseconds) / 1e6, UTC))


async def test_a_bot_of_shares_and_coins_subscribes_and_unsubscribes_while_it_runs(until: Until) -> None:
    feed = HandFeed((AAPL, MSFT, BTC), replay=Replay(1.0))
    async with serving(feed) as node, bot(until) as sdk:
        await sdk.ask("open", name="shares", sort="stock", url=stream_of(node))
        await sdk.ask("open", name="coins", sort="crypto", url=stream_of(node, "v1beta3/crypto/us"))
        await sdk.ask("subscribe", name="shares", channel="trades", symbols=["AAPL"])
        await sdk.ask("subscribe", name="coins", channel="trades", symbols=["*"])
        await sdk.ask("run", name="shares")
        await sdk.ask("run", name="coins")
        await sdk.logged("subscribed to trades: ['AAPL']")
        await sdk.logged("subscribed to trades: ['*']")
        feed.trades(
            ("AAPL", 0, 18931, 100), ("MSFT", 1, 42000, 5), ("AAPL", 3, 18932, 7), ("BTC/USD", 4, 9_500_000, 1234)
        )

        first, second = await sdk.rows("shares", "trades", 2)
        (coin,) = await sdk.rows("coins", "trades", 1)
        assert (first["symbol"], first["price"], first["size"], first["timestamp"]) == ("AAPL", 189.31, 100.0, utc(0))
        assert (second["price"], second["size"], second["id"]) == (189.32, 7.0, first["id"] + 1)
        assert (first["exchange"], first["conditions"], first["tape"]) == ("V", ["@"], "C")
        assert (coin["symbol"], coin["price"], coin["size"], coin["conditions"]) == ("BTC/USD", 95000.0, 0.1234, None)

        await sdk.ask("subscribe", name="shares", channel="quotes", symbols=["MSFT"])
        await sdk.ask("subscribe", name="shares", channel="bars", symbols=["*"])
        await sdk.ask("subscribe", name="shares", channel="dailyBars", symbols=["AAPL"])
        await sdk.logged("quotes: ['MSFT'], bars: ['*'], dailyBars: ['AAPL']")
        await sdk.ask("unsubscribe", name="shares", channel="trades", symbols=["AAPL"])
        await sdk.logged("subscribed to quotes: ['MSFT'], bars: ['*'], dailyBars: ['AAPL']")
        feed.trades(("AAPL", MINUTE_US, 19000, 1), ("MSFT", MINUTE_US, 42001, 1))
        feed.quotes(("MSFT", MINUTE_US, 42000, 200, 42002, 300), ("AAPL", MINUTE_US, 1, 1, 2, 2))

        (quote,) = await sdk.rows("shares", "quotes", 1)
        assert (quote["bid_price"], quote["bid_size"], quote["ask_price"], quote["ask_size"]) == (
            420.0,
            200,
            420.02,
            300,
        )
        bars = {bar["symbol"]: bar for bar in await sdk.rows("shares", "bars", 2)}
        assert bars["AAPL"]["timestamp"] == utc(0)
        assert [bars["AAPL"][key] for key in ("open", "high", "low", "close")] == [189.31, 189.32, 189.31, 189.32]
        assert (bars["AAPL"]["volume"], bars["AAPL"]["trade_count"]) == (107.0, 2.0)
        assert bars["AAPL"]["vwap"] == pytest.approx((189.31 * 100 + 189.32 * 7) / 107)
        (day,) = await sdk.rows("shares", "dailyBars", 1)
        assert (day["timestamp"], day["volume"], day["close"]) == ("2026-11-23 05:00:00+00:00", 107.0, 189.32)
        assert len(sdk.data("shares", "trades")) == 2

        many = [f"S{number:05}" for number in range(12_000)]
        await sdk.ask("subscribe", name="shares", channel="quotes", symbols=many)
        await sdk.logged(many[-1])


async def test_a_bot_comes_back_by_itself_after_a_cut_and_after_a_restart(until: Until) -> None:
    feed = HandFeed((AAPL, MSFT))
    async with bot(until) as sdk:
        async with serving(feed) as node:
            url, port = stream_of(node), port_of(node)
            await sdk.ask("open", name="a", sort="stock", url=url)
            await sdk.ask("subscribe", name="a", channel="trades", symbols=["AAPL", "MSFT"])
            await sdk.ask("run", name="a")
            await sdk.logged("subscribed to trades")
            feed.trades(("AAPL", 0, 100, 1))
            await sdk.rows("a", "trades", 1)

            for connection in list(node._connections._open):
                connection.abort()
            feed.trades(("AAPL", 1, 150, 1), ("MSFT", 1, 175, 1))
            await sdk.logged("subscribed to trades", 2)
            feed.trades(("MSFT", 2, 200, 1))
            live = await sdk.rows("a", "trades", 2)
            hole = {"what": "trades", "symbols": ["AAPL", "MSFT"], "start": live[0]["timestamp"]}
            found = (await sdk.ask("history", url=node.url.rstrip("/"), **hole))["rows"]
            assert [row["price"] for name in ("AAPL", "MSFT") for row in found[name]] == [1.0, 1.5, 1.75, 2.0]
            assert {row["id"] for row in live} <= {row["id"] for rows in found.values() for row in rows}
        again = HandFeed((AAPL, MSFT))
        async with serving(again, port):
            await sdk.logged("subscribed to trades", 3)
            again.trades(("AAPL", 2, 300, 1))

            rows = await sdk.rows("a", "trades", 3)
    assert [row["price"] for row in rows] == [1.0, 2.0, 3.0]
    assert rows[0]["id"] != rows[2]["id"], "a new epoch has ids of its own"


async def test_a_wrong_key_is_told_late_so_that_no_bot_hammers(until: Until) -> None:
    feed = HandFeed()
    async with serving(feed, alpaca_key="PK:right") as node, bot(until) as sdk:
        await sdk.ask("open", name="a", sort="stock", url=stream_of(node), key="PK", secret="wrong")
        await sdk.ask("subscribe", name="a", channel="trades", symbols=["AAPL"])
        started = time.monotonic()
        await sdk.ask("run", name="a")
        await until(lambda: any(each.get("error") == "ValueError: auth failed" for each in sdk.events))
        assert time.monotonic() - started >= 0.5
        await sdk.ask("open", name="b", sort="stock", url=stream_of(node), key="PK", secret="right")
        await sdk.ask("subscribe", name="b", channel="trades", symbols=["AAPL"])
        await sdk.ask("run", name="b")
        await sdk.logged("subscribed to trades")
        refused = await sdk.ask("history", url=node.url.rstrip("/"), what="trades", symbols=["AAPL"])
        assert "forbidden" in refused["error"]


async def test_history_goes_on_where_the_stream_began(until: Until) -> None:
    feed = HandFeed((AAPL, MSFT, BTC), replay=Replay(1.0))
    async with serving(feed) as node, bot(until) as sdk:
        url = node.url.rstrip("/")
        before = [("AAPL", i * 1000, 10_000 + i, 1 + i % 9) for i in range(12_000)]
        feed.trades(*before, ("MSFT", 5, 42000, 3), ("BTC/USD", 7, 9_000_000, 10))
        feed.quotes(("AAPL", 9, 100, 1, 200, 2))
        await sdk.ask("open", name="a", sort="stock", url=stream_of(node))
        await sdk.ask("subscribe", name="a", channel="trades", symbols=["AAPL"])
        await sdk.ask("run", name="a")
        await sdk.logged("subscribed to trades")
        feed.trades(("AAPL", 13_000_000, 30_000, 1), ("AAPL", 13_000_001, 30_001, 2))
        live = await sdk.rows("a", "trades", 2)
        start = "2026-11-23T12:00:00+00:00"

        trades = (await sdk.ask("history", url=url, what="trades", symbols=["AAPL", "MSFT"], start=start))["rows"]
        quotes = (await sdk.ask("history", url=url, what="quotes", symbols=["AAPL"], start=start))["rows"]
        coins = (await sdk.ask("history", url=url, what="crypto trades", symbols=["BTC/USD"], start=start))["rows"]
        coin = (await sdk.ask("history", url=url, what="crypto snapshots", symbols=["BTC/USD"]))["rows"]
        latest = (await sdk.ask("history", url=url, what="latest trades", symbols=["AAPL", "MSFT"]))["rows"]
        newest = (await sdk.ask("history", url=url, what="latest quotes", symbols=["AAPL"]))["rows"]
        states = (await sdk.ask("history", url=url, what="snapshots", symbols=["AAPL", "MSFT", "NONE"]))["rows"]
        hours = (await sdk.ask("history", url=url, what="bars", symbols=["AAPL"], start=start, timeframe=[1, "Hour"]))[
            "rows"
        ]

        ids = [row["id"] for row in trades["AAPL"]]
        assert len(ids) == 12_002
        assert ids == list(range(ids[0], ids[0] + 12_002))
        assert ids[-2:] == [row["id"] for row in live]
        assert [row["price"] for row in trades["AAPL"][:-2]] == [row[2] / 100 for row in before]
        assert (trades["MSFT"][0]["price"], trades["MSFT"][0]["timestamp"]) == (420.0, utc(5))
        assert (quotes["AAPL"][0]["bid_price"], quotes["AAPL"][0]["ask_size"]) == (1.0, 2.0)
        assert (coins["BTC/USD"][0]["price"], coins["BTC/USD"][0]["size"]) == (90000.0, 0.001)
        assert coin["BTC/USD"][0]["latest_trade"]["id"] == coins["BTC/USD"][0]["id"]
        assert (latest["AAPL"][0]["price"], latest["MSFT"][0]["price"]) == (300.01, 420.0)
        assert newest["AAPL"][0]["ask_price"] == 2.0
        assert states.keys() == {"AAPL", "MSFT"}
        assert states["AAPL"][0]["daily_bar"]["trade_count"] == 12_002
        assert (hours["AAPL"][0]["timestamp"], hours["AAPL"][0]["trade_count"]) == (utc(0), 12_002)


async def test_the_bot_of_the_documentation_runs(until: Until, tmp_path: Path) -> None:
    feed = HandFeed()
    async with serving(feed) as node:
        file = tmp_path / "bot.py"
        file.write_text(snippet("python").replace("127.0.0.1:8888", f"127.0.0.1:{port_of(node)}"))
        async with Bot([sys.executable, str(file)], os.environ, until, says_ready=False) as sdk:
            await until(
                lambda: any(session.subscriptions.wants_every_row for session in node._connections.sessions), 20
            )
            feed.trades(("AAPL", 5, 18931, 100))

            await until(lambda: sdk.lines, 20)
            assert sdk.lines == [f"AAPL 189.31 100.0 {utc(5)}"]
