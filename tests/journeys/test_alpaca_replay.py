"""Files replayed to clients of Alpaca's streams: every row as the text has it, exactly once, and then as history."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.alpaca_wire import AlpacaWire
from tests.journeys.conftest import Recording
from tests.wire import fetch

STREAMS = {"ibm": ("/v2/iex", "/v2/stocks"), "bitcoin": ("/v1beta3/crypto/us", "/v1beta3/crypto/us")}


@pytest.mark.parametrize("name", STREAMS)
async def test_every_row_of_a_file_comes_once_and_in_order_in_both_codecs_and_as_history(
    name: str, start_server: Any, request: pytest.FixtureRequest
) -> None:
    recording: Recording = request.getfixturevalue(name)
    stream, history = STREAMS[name]
    server = start_server(
        "--feed", "csv", str(recording.path), "--speed", "max", "--wait-for", "2", "--outbox-mib", "1"
    )
    async with (
        await AlpacaWire.open(server.url, stream) as packed,
        await AlpacaWire.open(server.url, stream, content_type=None) as text,
    ):
        for wire in (packed, text):
            await wire.log_in()
            await wire.ask(action="subscribe", trades=["*"])

        first, second = await asyncio.gather(*(wire.rows(len(recording.rows)) for wire in (packed, text)))

    is_coin = name == "bitcoin"
    expected = [(time, float(price), float(size) if is_coin else int(size)) for time, price, size in recording.rows]
    assert [(row["t"].to_unix_nano(), row["p"], row["s"]) for row in first] == expected
    assert [(nanoseconds(row["t"]), row["p"], row["s"]) for row in second] == expected
    assert [row["i"] for row in first] == [row["i"] for row in second]
    assert len({row["i"] for row in first}) == len(expected)
    assert {row["S"] for row in first} == {recording.symbol}
    found = await pages(server.url + history.lstrip("/") + "/trades", recording.symbol)
    assert found == [{key: row[key] for key in row if key not in "TS"} for row in second]


async def pages(url: str, symbol: str) -> list[Any]:
    """Return all trades of a symbol, page by page."""
    rows, query = [], {"symbols": symbol, "limit": "10000", "start": "2000-01-01"}
    while True:
        status, _, body = await fetch(url, f"/{url.split('/', 3)[3]}?{urlencode(query)}")
        assert status == 200
        answer = json.loads(body)
        rows += answer["trades"].get(symbol, [])
        if answer["next_page_token"] is None:
            return rows
        query["page_token"] = answer["next_page_token"]


def nanoseconds(time: str) -> int:
    whole, _, fraction = time.removesuffix("Z").partition(".")
    second = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return second * 10**9 + int(Decimal(f"0.{fraction or 0}").scaleb(9))
