"""The plain iterator, in a thread of its own, against the scripted server."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from ticker.client import CommandRefused, ConnectionFailed, MissedRows, Position, SymbolsRefused, subscribe


async def in_a_thread(use: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(use)


async def test_rows_come_in_order_and_another_run_goes_on_where_one_has_stopped(server: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 3)
        peer.trades(7, 3, 2)
        await peer.gone()

    async def second(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7}, seq=3)
        assert (command["since"], command["epoch"]) == ({"AAPL": 3}, "e1")
        peer.trades(7, 3, 2)
        await peer.gone()

    def use() -> list[tuple[int, int]]:
        with subscribe(server.url, ["AAPL"]) as reader:
            batch = next(reader)
            positions = reader.subscription.positions
        with pytest.raises(StopIteration):
            next(reader)
        with subscribe(server.url, ["AAPL"], since=positions) as reader:
            following = next(reader)
        return [(each.seq, len(each)) for each in (batch, following)]

    server.plays(first, second)
    assert await in_a_thread(use) == [(0, 3), (3, 2)]
    await server.played()


async def test_it_ends_with_the_feed(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        for seq in range(0, 3000, 100):
            peer.trades(7, seq, 100)
        peer.send({"type": "status", "state": "ended", "clock": None})
        await peer.gone()

    def use() -> list[int]:
        return [trade.size for batch in subscribe(server.url, "AAPL", buffer_bytes=5000) for trade in batch]

    server.plays(script)
    assert await in_a_thread(use) == list(range(1, 3001))
    await server.played()


async def test_what_was_missed_is_raised_and_the_next_step_goes_on(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=9, missed=9)
        peer.trades(7, 9, 1)
        await peer.gone()

    def use() -> int:
        with subscribe(server.url, "AAPL", since={"AAPL": Position("another", 5)}) as reader:
            with pytest.raises(MissedRows) as caught:
                next(reader)
            assert caught.value.position == Position("e1", 9)
            return next(reader).seq

    server.plays(script)
    assert await in_a_thread(use) == 9


async def test_a_mistake_is_told_where_the_iterator_is_made(server: Any) -> None:
    async def refusing(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({}, refused={"NOPE": "unknown_symbol"})
        await peer.gone()

    async def complaining(peer: Any) -> None:
        peer.welcome()
        command = await peer.command("subscribe")
        peer.send({"type": "error", "id": command["id"], "code": "bad_request", "message": "interval_s: none of 1, 5"})
        await peer.gone()

    async def welcoming(peer: Any) -> None:
        peer.welcome()
        await peer.gone()

    def use() -> None:
        with pytest.raises(SymbolsRefused, match="unknown_symbol"):
            subscribe(server.url, ["NOPE"])
        with pytest.raises(CommandRefused, match="interval_s"):
            subscribe(server.url, "AAPL", "bars", interval_s=7)
        with pytest.raises(ValueError, match="mode"):
            subscribe(server.url, "AAPL", mode="some")

    server.plays(refusing, complaining, welcoming)
    await in_a_thread(use)
    await server.played()


def test_no_server_is_told_at_once() -> None:
    with pytest.raises(ConnectionFailed):
        subscribe("ws://127.0.0.1:1/stream", "AAPL")


async def test_an_iterator_that_nobody_holds_says_goodbye(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.gone()

    def use() -> bool:
        reader = subscribe(server.url, "AAPL")
        loop = reader._loop
        del reader
        gc.collect()
        return loop.is_closed()

    server.plays(script)
    assert await in_a_thread(use)
    await server.played()


async def test_inside_a_running_loop_it_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match="use connect instead"):
        subscribe("ws://127.0.0.1:1/stream", "AAPL")
