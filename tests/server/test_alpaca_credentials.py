"""Credentials of Alpaca's clients over sockets, and what their plan allows them."""

from __future__ import annotations

import base64

import pytest

from tests.alpaca_wire import AlpacaWire
from tests.rig import HandFeed, running
from tests.server.alpaca_words import AUTHENTICATED, NOTHING, codecs, error, subscription
from tests.wire import frame
from ticker.clock import ManualClock

# authentication


@codecs
async def test_a_request_may_come_before_the_greeting_is_read(codec: str) -> None:
    async with running(HandFeed()) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.send({"action": "auth", "key": "PK", "secret": "S"})
        await wire.send({"action": "subscribe", "trades": ["AAPL"]})

        assert await wire.control() == {"T": "success", "msg": "connected"}
        assert await wire.control() == AUTHENTICATED
        assert await wire.control() == subscription(trades=["AAPL"])


@pytest.mark.parametrize(
    "headers",
    [
        {"APCA-API-KEY-ID": "PK", "APCA-API-SECRET-KEY": "right"},
        {"Authorization": "Basic " + base64.b64encode(b"PK:right").decode()},
        {"Authorization": "Bearer token"},
    ],
)
async def test_credentials_in_headers_do_and_a_further_auth_is_refused(headers: dict[str, str]) -> None:
    settings = {"alpaca_key": "PK:right,oauth:token"}
    async with running(HandFeed(), **settings) as url, await AlpacaWire.open(url, headers=headers) as wire:
        assert await wire.control() == {"T": "success", "msg": "connected"}
        assert await wire.control() == AUTHENTICATED
        assert await wire.ask(action="auth", key="PK", secret="right") == error(403, "already authenticated")
        assert await wire.ask(action="subscribe") == NOTHING


@codecs
async def test_wrong_credentials_are_answered_late_and_end_the_connection(codec: str) -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock, alpaca_key="PK:right") as url,
        await AlpacaWire.open(url, content_type=codec) as wire,
    ):
        await wire.control()
        await wire.send({"action": "auth", "key": "PK", "secret": "wrong"})
        await wire.send({"action": "auth", "key": "PK", "secret": "right"})
        await wire.write(frame(0x9, b"after"))
        opcode, payload = await wire.receive_frame()
        assert (opcode & 0xF, payload) == (0xA, b"after"), "both requests were read, and none is answered yet"

        await clock.advance(2)

        assert await wire.control() == error(402, "auth failed")
        assert (await wire.ending()).code == 4001


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer wrong"}, {"Authorization": "Basic ?"}])
async def test_wrong_credentials_in_headers_are_refused_alike(headers: dict[str, str]) -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock, alpaca_key="PK:right") as url,
        await AlpacaWire.open(url, headers=headers) as wire,
    ):
        await wire.control()
        await clock.advance(2)
        assert await wire.control() == error(402, "auth failed")
        await wire.ending()


async def test_an_empty_key_is_wrong_even_where_all_are_right() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await AlpacaWire.open(url) as wire:
        await wire.control()
        await wire.send({"action": "auth", "key": "", "secret": "S"})
        await wire.send({})
        await wire.write(frame(0x9))
        await wire.receive_frame()
        await clock.advance(2)
        assert await wire.control() == error(402, "auth failed")


@codecs
async def test_who_does_not_authenticate_in_ten_seconds_is_told_and_closed(codec: str) -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await AlpacaWire.open(url, content_type=codec) as wire:
        await wire.control()
        await clock.advance(9)
        assert await wire.ask(action="subscribe", trades=["AAPL"]) == error(401, "not authenticated")
        await clock.advance(2)

        assert await wire.control() == error(404, "auth timeout")
        assert (await wire.ending()).code == 4001


async def test_who_has_authenticated_may_say_nothing_for_long() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in()
        await clock.advance(15)
        assert await wire.ask(action="subscribe") == NOTHING


# plans and limits


async def test_the_free_plan_has_one_connection_for_a_key_on_each_stream() -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock, alpaca_plan="free") as url,
        await AlpacaWire.open(url) as first,
        await AlpacaWire.open(url, "/iex") as second,
        await AlpacaWire.open(url, "/v1beta3/crypto/us") as coins,
        await AlpacaWire.open(url) as other,
    ):
        await first.log_in()
        await second.control()
        for _ in range(2):
            refusal = await second.ask(action="auth", key="PK", secret="S")
            assert refusal == error(406, "connection limit exceeded")
        await coins.log_in()
        await other.log_in(key="OTHER")

        first.close()

        while (answer := await second.ask(action="auth", key="PK", secret="S")) != AUTHENTICATED:
            assert answer == error(406, "connection limit exceeded")


async def test_who_found_all_places_taken_is_closed_without_a_word_that_would_end_it_for_good() -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock, alpaca_plan="free") as url,
        await AlpacaWire.open(url) as first,
        await AlpacaWire.open(url) as second,
    ):
        await first.log_in()
        await second.control()
        assert (await second.ask(action="auth", key="PK", secret="S"))["code"] == 406
        await clock.advance(12)
        assert (await second.ending()).code == 4001
        assert second.last == []


@codecs
async def test_the_free_plan_has_thirty_symbols_of_trades_and_quotes_and_any_number_of_bars(codec: str) -> None:
    symbols = [f"S{number}" for number in range(31)]
    async with (
        running(HandFeed(), alpaca_plan="free") as url,
        await AlpacaWire.open(url, content_type=codec) as wire,
    ):
        await wire.log_in()
        assert await wire.ask(action="subscribe", trades=symbols) == error(405, "symbol limit exceeded")
        assert await wire.ask(action="subscribe", trades=["*"]) == error(405, "symbol limit exceeded")
        lists = {"trades": symbols[:15], "quotes": symbols[:15], "bars": ["*", *symbols]}
        assert await wire.ask(action="subscribe", **lists) == subscription(**lists)
        assert await wire.ask(action="subscribe", quotes=["S15"]) == error(405, "symbol limit exceeded")
        assert await wire.ask(action="subscribe") == subscription(**lists)


async def test_the_free_plan_has_no_consolidated_feed() -> None:
    async with running(HandFeed(), alpaca_plan="free") as url, await AlpacaWire.open(url, "/v2/sip") as wire:
        await wire.control()
        assert await wire.ask(action="auth", key="PK", secret="S") == error(409, "insufficient subscription")
        assert await wire.ask(action="subscribe") == error(401, "not authenticated")
