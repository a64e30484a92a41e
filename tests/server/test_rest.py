"""What curl gets: `/healthz`, `/api/symbols`, `/api/snapshot` (docs/protocol.md, section 11)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.rig import AAPL, MSFT, HandFeed, running
from tests.wire import Wire, fetch
from ticker.clock import ManualClock
from ticker.feed import Instrument

NAMES = ["AAPL", "AB", "ABC", "ABD", "B", "Z/Y", "ÄB"]


async def get(url: str, path: str) -> Any:
    """Return the answer's JSON, its numbers as Decimals."""
    status, headers, body = await fetch(url, path)
    assert status == 200, body
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert body.endswith(b"}\n")
    return json.loads(body, parse_float=Decimal)


async def test_healthz_tells_that_the_server_runs_and_how_its_feed_does(errors: list[Any]) -> None:
    feed = HandFeed()
    async with running(feed) as url, await Wire.open(url) as wire:
        first = await get(url, "/healthz")
        feed.trades(("AAPL", 0, 1, 1))
        second = await get(url, "/healthz")
        feed.end()
        await wire.until(lambda message: message.get("state") == "ended")
        third = await get(url, "/healthz")

        assert first == {
            "status": "ok",
            "state": "waiting",
            "server": wire.welcome["server"],
            "feed": "hand",
            "epoch": wire.welcome["epoch"],
        }
        assert [second["state"], third["state"]] == ["live", "ended"]


@pytest.mark.parametrize(
    ("query", "symbols", "more"),
    [
        ("", NAMES, False),
        ("?prefix=&after=&limit=", NAMES, False),
        ("?prefix=AB", ["AB", "ABC", "ABD"], False),
        ("?prefix=AB&limit=2", ["AB", "ABC"], True),
        ("?prefix=AB&after=ABC&limit=2", ["ABD"], False),
        ("?after=ABC&limit=1", ["ABD"], True),
        ("?after=ABB", ["ABC", "ABD", "B", "Z/Y", "ÄB"], False),
        ("?prefix=%C3%84", ["ÄB"], False),
        ("?prefix=Q", [], False),
        ("?after=%F0%9F%98%80", [], False),
        ("?limit=10000&colour=blue", NAMES, False),
    ],
)
async def test_symbols_are_paged_as_the_command_does(query: str, symbols: list[str], more: bool) -> None:
    feed = HandFeed(
        instruments=[Instrument(name, price_scale=2, size_scale=0, time_scale=6) for name in reversed(NAMES)]
    )
    async with running(feed) as url:
        assert await get(url, "/api/symbols" + query) == {"symbols": symbols, "more": more}


async def test_snapshot_is_the_state_of_each_symbol_and_a_position_to_go_on_from() -> None:
    feed, clock = HandFeed(instruments=[AAPL, MSFT]), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        feed.trades(("AAPL", 5, 18931, 100), ("AAPL", 6, 19002, 30), ("AAPL", 7, 18755, 1))
        feed.quotes(("AAPL", 8, 18989, 300, 18991, 200), ("MSFT", 9, 5, 1, 7, 2))

        answer = await get(url, "/api/snapshot?symbols=MSFT,XXXX,AAPL,AAPL")
        goes_on = await wire.subscribe(
            ["AAPL"], since={"AAPL": int(answer["symbols"]["AAPL"]["trades"]["seq"])}, epoch=answer["epoch"]
        )

        summary = {
            "time": "2026-11-23T12:00:00.000007Z",
            "open": Decimal("189.31"),
            "high": Decimal("190.02"),
            "low": Decimal("187.55"),
            "close": Decimal("187.55"),
            "volume": 131,
            "notional": Decimal("189.31") * 100 + Decimal("190.02") * 30 + Decimal("187.55"),
            "count": 3,
        }
        aapl, msft = answer["symbols"]["AAPL"], answer["symbols"]["MSFT"]
        assert list(answer) == ["epoch", "time", "symbols", "refused"]
        assert (answer["epoch"], answer["time"]) == (wire.welcome["epoch"], "2026-11-23T03:20:00.000000000Z")
        assert answer["refused"] == [{"symbol": "XXXX", "code": "unknown_symbol"}]
        assert aapl["trades"] == summary | {"seq": 3}
        assert aapl["quotes"] == {
            "time": "2026-11-23T12:00:00.000008Z",
            "bid_price": Decimal("189.89"),
            "bid_size": 300,
            "ask_price": Decimal("189.91"),
            "ask_size": 200,
            "seq": 1,
        }
        assert aapl["bars"]["60"] == summary | {"time": "2026-11-23T12:00:00.000000Z", "seq": 0}
        assert aapl["bars"]["86400"] == summary | {"time": "2026-11-23T00:00:00.000000Z", "seq": 0}
        assert list(aapl["bars"]) == ["1", "5", "60", "3600", "86400"]
        assert list(msft) == ["quotes"]
        assert (goes_on["channels"][0]["seq"], goes_on["channels"][0]["missed"]) == (3, 0)


async def test_a_bar_that_has_ended_is_no_running_bar_and_the_next_has_the_next_number() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock) as url:
        feed.trades(("AAPL", 0, 100, 1), ("AAPL", 999_999, 101, 1), ("AAPL", 1_000_000, 102, 7))

        bars = (await get(url, "/api/snapshot?symbols=AAPL"))["symbols"]["AAPL"]["bars"]

        assert (bars["1"]["open"], bars["1"]["volume"], bars["1"]["seq"]) == (Decimal("1.02"), 7, 1)
        assert (bars["5"]["open"], bars["5"]["volume"], bars["5"]["seq"]) == (1, 9, 0)


async def test_a_snapshot_of_nothing_known_is_no_error() -> None:
    async with running(HandFeed()) as url:
        answer = await get(url, "/api/snapshot?symbols=XX,AAPL")

        assert answer["symbols"] == {"AAPL": {}}
        assert (await get(url, "/api/snapshot?symbols=XX"))["symbols"] == {}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/symbols?limit=0", "limit: expected an integer from 1 to 10000"),
        ("/api/symbols?limit=10001", "limit: expected an integer from 1 to 10000"),
        ("/api/symbols?limit=-1", "limit: expected an integer from 1 to 10000"),
        ("/api/symbols?limit=1e3", "limit: expected an integer from 1 to 10000"),
        ("/api/symbols?limit=" + "9" * 6000, "limit: expected an integer from 1 to 10000"),
        ("/api/symbols?limit=%D9%A3", "limit: expected an integer from 1 to 10000"),
        ("/api/snapshot", "symbols: expected 1 to 1000 symbols such as AAPL,MSFT"),
        ("/api/snapshot?symbols=,,", "symbols: expected 1 to 1000 symbols such as AAPL,MSFT"),
        (
            "/api/snapshot?symbols=" + ",".join(map(str, range(1001))),
            "symbols: expected 1 to 1000 symbols such as AAPL,MSFT",
        ),
        ("/api/symbols?prefix=%ff", "bad request"),
    ],
)
async def test_what_cannot_be_answered_is_a_400_that_names_the_parameter(path: str, said: str) -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, path)

        assert (status, json.loads(body)) == (400, {"error": said})
        assert headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", ["/healthz", "/api/symbols", "/api/snapshot?symbols=AAPL"])
async def test_head_is_get_without_the_body(path: str) -> None:
    async with running(HandFeed(), ManualClock()) as url:
        _, _, body = await fetch(url, path)

        status, headers, nothing = await fetch(url, path, "HEAD")

        assert (status, int(headers["content-length"]), nothing) == (200, len(body), b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_told_which_there_are(method: str) -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, "/healthz", method)

        assert (status, headers["allow"], json.loads(body)) == (405, "GET, HEAD", {"error": "method not allowed"})
