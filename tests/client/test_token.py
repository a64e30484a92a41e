"""Tokens: how they are sent, what happens when one is refused, and fresh ones before the old one expires."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.client.conftest import numbers
from ticker.client import ConnectionFailed, SymbolsRefused, Unauthenticated, connect
from ticker.client.token import fresh, refresh_delay

SECOND_NS = 1_000_000_000


async def test_a_token_is_sent_as_a_header_and_not_again_where_that_was_enough(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome(name="bot", expires=None)
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.left()

    server.plays(script)
    async with connect(server.url, token="secret") as stream:
        assert await numbers(stream.subscribe("AAPL"), 1) == [0]

    assert server.authorizations == ["Bearer secret"]
    await server.played()


async def test_without_a_token_no_header_is_sent(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.left()

    server.plays(script)
    async with connect(server.url):
        pass

    assert server.authorizations == [None]
    await server.played()


async def test_a_server_that_did_not_see_the_header_is_told_by_command(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome(auth=True)
        command = await peer.command("auth")
        assert command["token"] == "secret"
        peer.send({"type": "authenticated", "id": command["id"]})
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.left()

    server.plays(script)
    async with connect(server.url, token="secret") as stream:
        assert await numbers(stream.subscribe("AAPL"), 1) == [0]
    await server.played()


async def test_a_token_that_the_handshake_refuses_is_told_and_not_tried_again(refusing_server: Any) -> None:
    with pytest.raises(Unauthenticated, match="token: it has expired") as caught:
        async with connect(refusing_server.url, token="old"):
            pass

    assert caught.value.code == 4001
    assert "old" not in str(caught.value)
    assert refusing_server.asked == ["Bearer old"]


async def test_each_connection_has_a_fresh_token(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 2)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7}, seq=2)
        assert command["since"] == {"AAPL": 2}
        peer.trades(7, 2, 1)
        await peer.left()

    tokens = iter(["one", "two"])
    server.plays(first, second)
    async with connect(server.url, token=lambda: next(tokens), backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 3) == [0, 1, 2]

    assert server.authorizations == ["Bearer one", "Bearer two"]
    await server.played()


async def test_a_fresh_token_is_sent_before_the_old_one_expires_and_no_row_is_lost(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome(expires=peer_time + SECOND_NS // 10)
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        command = await peer.command("auth")
        assert command["token"] == "two"
        peer.trades(7, 1, 1)
        peer.send({"type": "authenticated", "id": command["id"], "expires": None})
        peer.trades(7, 2, 1)
        await peer.left()

    async def token() -> str:
        await asyncio.sleep(0)
        return next(tokens)

    peer_time = 1_795_404_000_000_000_000
    tokens = iter(["one", "two"])
    server.plays(script)
    async with connect(server.url, token=token) as stream:
        assert await numbers(stream.subscribe("AAPL"), 3) == [0, 1, 2]
        assert stream.reconnects == 0
    await server.played()


async def test_one_whose_token_has_expired_comes_back_with_a_fresh_one(server: Any, quick: Any) -> None:
    async def expired(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 1)
        peer.close(4001)

    async def renewed(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=1)
        peer.trades(7, 1, 1)
        await peer.left()

    server.plays(expired, renewed)
    async with connect(server.url, token=lambda: "fresh", backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 2) == [0, 1]
    await server.played()


async def test_one_that_has_no_other_token_is_told_that_it_expired(server: Any) -> None:
    async def expired(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.send({"type": "error", "code": "unauthenticated", "message": "the token has expired, or was revoked"})
        peer.close(4001)

    server.plays(expired)
    async with connect(server.url, token="only") as stream:
        with pytest.raises(Unauthenticated, match="expired, or was revoked"):
            await anext(stream.subscribe("AAPL"))
    await server.played()


async def test_symbols_that_a_token_permits_no_longer_are_told_and_the_others_go_on(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7, "MSFT": 9})
        peer.trades(9, 0, 1)
        peer.send({"type": "revoked", "channels": [9, 555]})
        peer.trades(7, 0, 1)
        await peer.left()

    told: list[SymbolsRefused] = []
    server.plays(script)
    async with connect(server.url, token="secret") as stream:
        subscription = stream.subscribe(["AAPL", "MSFT"], on_refused=told.append)
        symbols = [(await anext(subscription)).channel.symbol for _ in range(2)]

        assert symbols == ["MSFT", "AAPL"]
        assert [each.symbols for each in told] == [{"MSFT": "forbidden"}]
        assert set(subscription.descriptions) == {"AAPL"}
    await server.played()


async def test_a_function_that_fails_is_as_good_as_no_server(server: Any) -> None:
    def token() -> str:
        raise OSError("no network")

    with pytest.raises(ConnectionFailed, match="no network"):
        async with connect(server.url, token=token):
            pass
    assert server.authorizations == []


async def test_a_function_that_fails_on_the_way_is_asked_again(
    server: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.left()

    def token() -> str:
        calls.append(len(calls))
        if len(calls) == 2:
            raise OSError("no network")
        return "good"

    calls: list[int] = []
    server.plays(first, second)
    with caplog.at_level(logging.WARNING):
        async with connect(server.url, token=token, backoff=quick) as stream:
            assert await numbers(stream.subscribe("AAPL"), 1) == [0]
    assert len(calls) == 3
    assert "no network" in caplog.text
    await server.played()


@pytest.mark.parametrize("given", [None, "", 5])
async def test_what_is_no_token_is_not_sent(given: Any) -> None:
    with pytest.raises(ConnectionFailed, match="expected a string"):
        await fresh(lambda: given)


@pytest.mark.parametrize(("left_s", "delay_s"), [(3600, 3540), (300, 240), (10, 8), (0.1, 0.25), (-5, 0.25)])
def test_a_token_is_renewed_a_minute_before_it_ends_or_after_four_fifths_of_a_short_life(
    left_s: float, delay_s: float
) -> None:
    assert refresh_delay(left_s) == delay_s
