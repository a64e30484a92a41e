"""The limits of a server on Alpaca's streams: requests a second, message size, what is refused at the door."""

from __future__ import annotations

import json

import pytest

from tests.alpaca_wire import AlpacaWire
from tests.server.served import served
from tests.wire import TEXT, fetch, frame
from ticker.clock import ManualClock


@pytest.mark.parametrize("path", ["/v2/iex", "/v2/test"])
async def test_the_limit_of_commands_holds_on_every_stream(path: str) -> None:
    async with served(ManualClock(), max_commands_per_s=2) as (url, _), await AlpacaWire.open(url, path) as wire:
        await wire.log_in()
        answers = [await wire.ask(action="subscribe", bars=["AAPL"]) for _ in range(2 + 20 * 2 + 3)]

        assert [each["T"] for each in answers] == ["subscription"] * 42 + ["error"] * 3
        assert answers[-1] == {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        assert (await wire.ask(action="unsubscribe", bars=["AAPL"]))["bars"] == []
        _, _, metrics = await fetch(url, "/metrics")
        assert b'tickercast_refusals_total{reason="limit"} 3.0' in metrics


@pytest.mark.parametrize(("max_message_kib", "most"), [(4, 1 << 20), (2048, 1 << 21)])
async def test_a_request_may_have_a_mebibyte_or_more_if_that_is_said(max_message_kib: int, most: int) -> None:
    async with (
        served(max_message_kib=max_message_kib) as (url, _),
        await AlpacaWire.open(url, content_type=None) as wire,
    ):
        await wire.log_in()
        request = {"action": "subscribe", "trades": ["AAPL"], "quotes": None}
        padding = " " * (most - len(json.dumps(request)))

        await wire.write(frame(TEXT, (json.dumps(request) + padding).encode()))
        assert (await wire.control())["trades"] == ["AAPL"]
        await wire.write(frame(TEXT, (json.dumps(request) + padding + " ").encode()))

        assert (await wire.ending()).code in (1009, 1006)
