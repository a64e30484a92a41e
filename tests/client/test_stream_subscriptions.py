"""What is asked for, refused, given up and asked for again: names, wildcards and the server's limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.conftest import numbers
from ticker.client import (
    ClientError,
    CommandRefused,
    MissedRows,
    Position,
    SymbolsRefused,
    connect,
)


async def test_refused_symbols_are_told_and_the_others_come(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, refused={"XXXX": "unknown_symbol"})
        peer.trades(7, 0, 1)
        await peer.subscribed({"MSFT": 9}, refused={"YYYY": "limit"})
        peer.trades(9, 0, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        subscription = stream.subscribe(["AAPL", "XXXX"])
        with pytest.raises(SymbolsRefused, match=r"XXXX \(unknown_symbol\)") as caught:
            await subscription
        assert caught.value.symbols == subscription.refused == {"XXXX": "unknown_symbol"}
        assert await numbers(subscription, 1) == [0]

        told: list[SymbolsRefused] = []
        assert await numbers(stream.subscribe(["MSFT", "YYYY"], on_refused=told.append), 1) == [0]
        assert [each.symbols for each in told] == [{"YYYY": "limit"}]


async def test_an_error_as_the_answer_is_raised_to_the_reader(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.command("subscribe")
        peer.send({"type": "error", "id": command["id"], "code": "bad_request", "message": "interval_s: not of 1, 5"})
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        subscription = stream.subscribe("AAPL", kind="bars", interval_s=7)
        with pytest.raises(CommandRefused, match="interval_s: not of 1, 5") as caught:
            await subscription
        assert caught.value.code == "bad_request"
        with pytest.raises(CommandRefused):
            await anext(subscription)
        with pytest.raises(CommandRefused):
            await anext(stream)


async def test_a_command_beyond_the_limit_is_sent_again(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.command("subscribe")
        peer.send({"type": "error", "id": command["id"], "code": "limit", "message": "50 commands a second"})
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL"), 1) == [0]


async def test_commands_keep_to_the_servers_limit(server: Any) -> None:
    arrivals: list[float] = []

    async def script(peer: Any) -> None:
        peer.welcome(limits={"message_bytes": 262144, "channels": 100, "commands_per_s": 10})
        for number in range(20):
            await peer.subscribed({f"S{number}": number})
            arrivals.append(asyncio.get_running_loop().time())
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        subscriptions = [stream.subscribe(f"S{number}") for number in range(20)]
        for subscription in subscriptions:
            await subscription

    assert all(later - earlier > 0.9 for earlier, later in zip(arrivals, arrivals[8:], strict=False))


async def test_several_subscriptions_are_read_apart_or_together(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.subscribed({"MSFT": 9})
        peer.trades(7, 0, 1)
        peer.trades(9, 0, 1)
        peer.trades(9, 1, 1)
        peer.trades(7, 1, 1)
        peer.trades(9, 2, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        apple = stream.subscribe("AAPL")
        microsoft = stream.subscribe("MSFT")

        together = [await anext(stream) for _ in range(4)]
        assert [(batch.channel.symbol, batch.seq) for batch in together] == [
            ("AAPL", 0),
            ("MSFT", 0),
            ("MSFT", 1),
            ("AAPL", 1),
        ]
        assert await numbers(microsoft, 1) == [2]
        assert apple.positions == {"AAPL": Position("e1", 2)}


@pytest.mark.parametrize("symbols", ["AAPL", ["MSFT", "AAPL"], ["*"]])
async def test_one_channel_is_subscribed_once(server: Any, symbols: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.left()

    server.plays(script)
    async with connect(server.url) as stream:
        stream.subscribe("AAPL")
        if symbols == ["*"]:
            stream.subscribe("*")  # stands beside names, but once
        with pytest.raises(ValueError, match="subscribed on this stream already"):
            stream.subscribe(symbols)
        stream.subscribe(symbols, kind="quotes")


async def test_what_no_server_would_take_is_refused_here(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        for wrong in (
            {"symbols": []},
            {"symbols": ["AAPL", "*"]},
            {"symbols": "\ud800"},
            {"symbols": "AAPL", "kind": "tick"},
            {"symbols": "AAPL", "mode": "some"},
            {"symbols": "AAPL", "interval_ms": 0},
            {"symbols": "AAPL", "kind": "bars", "interval_s": 0},
            {"symbols": "AAPL", "since": 5},
        ):
            with pytest.raises(ValueError, match=r"expected|symbol|none of|neither|alone"):
                stream.subscribe(**wrong)
    with pytest.raises(ClientError, match="isn't open"):
        stream.subscribe("AAPL")


async def test_after_unsubscribing_the_iteration_ends_and_nothing_is_asked_for_again(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.subscribed({"MSFT": 9})
        peer.trades(7, 0, 1)
        command = await peer.command("unsubscribe")
        assert command["symbols"] == ["AAPL"]
        peer.trades(7, 1, 1)  # on its way before the barrier
        await peer.send({"type": "unsubscribed", "id": command["id"], "channels": [7]})
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"MSFT": 9}))["symbols"] == ["MSFT"]
        peer.trades(9, 0, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        apple, microsoft = stream.subscribe("AAPL"), stream.subscribe("MSFT")
        assert await numbers(apple, 1) == [0]

        await apple.unsubscribe()

        assert [batch async for batch in apple] == []
        assert await numbers(microsoft, 1) == [0]
    await server.played()


async def test_unsubscribing_the_wildcard_keeps_the_names_beside_it(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.subscribed({"MSFT": 9})
        await peer.trades(7, 0, 2)
        command = await peer.command("unsubscribe")
        assert command["symbols"] == ["*"]
        peer.send({"type": "unsubscribed", "id": command["id"], "channels": [7, 9]})
        assert (await peer.subscribed({"AAPL": 7}, seq=2))["since"] == {"AAPL": 2}
        peer.trades(7, 2, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        apple, everything = stream.subscribe("AAPL"), stream.subscribe("*")
        assert await numbers(apple, 2) == [0, 1]

        await everything.unsubscribe()

        assert await numbers(apple, 1) == [2]
    await server.played()


async def test_a_name_leaves_the_wildcard_and_comes_back_without_a_gap(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7, "MSFT": 9})
        peer.trades(7, 0, 2)
        await peer.subscribed({"AAPL": 7}, seq=2)
        peer.trades(7, 2, 2)
        command = await peer.subscribed({"AAPL": 7}, seq=4)
        assert (command["symbols"], command["since"]) == (["AAPL"], {"AAPL": 4})
        peer.trades(7, 4, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        everything = stream.subscribe("*")
        assert await numbers(everything, 2) == [0, 1]
        apple = stream.subscribe("AAPL")
        assert await numbers(apple, 2) == [2, 3]
        assert set(everything.descriptions) == {"MSFT"}

        await apple.unsubscribe()

        assert await numbers(everything, 1) == [4]


async def test_a_name_comes_back_to_the_wildcard_even_if_the_connection_is_lost_on_the_way(
    server: Any, quick: Any
) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"MSFT": 9})
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        await peer.command("subscribe")
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7}, seq=2)
        assert (command["symbols"], command["since"]) == (["*"], {"AAPL": 2, "MSFT": 0})
        peer.trades(7, 2, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        everything, apple = stream.subscribe("*"), stream.subscribe("AAPL")
        assert await numbers(apple, 2) == [0, 1]

        await apple.unsubscribe()

        assert await numbers(everything, 1) == [2]


async def test_names_are_asked_for_before_the_wildcard_again(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"MSFT": 9})
        await peer.subscribed({"AAPL": 7})
        await peer.send({"type": "channel", **server_entry("TSLA", 11)})
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 7}))["symbols"] == ["AAPL"]
        command = await peer.subscribed({"MSFT": 9, "TSLA": 11})
        assert (command["symbols"], command["since"]) == (["*"], {"MSFT": 0, "TSLA": 0})
        peer.trades(11, 0, 1)
        await peer.gone()

    def server_entry(symbol: str, number: int) -> dict[str, Any]:
        return {
            "channel": number,
            "kind": "trades",
            "symbol": symbol,
            "mode": "all",
            "seq": 0,
            "missed": 0,
            "columns": [["time", 6], ["price", 2], ["size", 0]],
            "snapshot": None,
        }

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        everything = stream.subscribe("*")
        stream.subscribe("AAPL")
        assert await numbers(everything, 1) == [0]
        assert everything.descriptions["TSLA"].scales == (6, 2, 0)


async def test_a_symbol_that_came_up_while_there_was_no_connection_is_told(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 1)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7, "NEWS": 9}, seq=1)
        peer.trades(9, 1, 1)
        await peer.gone()

    server.plays(first, second)
    told: list[MissedRows] = []
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("*", on_missed=told.append), 2) == [0, 1]
    assert [(each.channel.symbol, each.missed) for each in told] == [("NEWS", None)]
