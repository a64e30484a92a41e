"""What a reader is told when connections are lost, rows come twice or are missing, and numbering begins anew."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.client.conftest import numbers
from ticker.client import (
    Channel,
    MissedRows,
    Position,
    connect,
)


async def test_a_lost_connection_is_made_again_and_resumed_by_position(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 3)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7}, seq=3)
        assert (command["since"], command["epoch"]) == ({"AAPL": 3}, "e1")
        peer.trades(7, 3, 2)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 5) == [0, 1, 2, 3, 4]
        assert stream.reconnects == 1
    await server.played()


async def test_half_a_frame_before_the_cut_is_no_row(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 3)
        peer.send_raw(b"\x82\x7e\x01\x00\x99\x07\x03")
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 7}, seq=3))["since"] == {"AAPL": 3}
        peer.trades(7, 3, 2)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 5) == [0, 1, 2, 3, 4]


async def test_rows_that_come_twice_are_delivered_once(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 3)
        peer.trades(7, 0, 3)
        peer.trades(7, 1, 4)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL"), 5) == [0, 1, 2, 3, 4]


async def test_what_was_received_but_not_read_is_kept_over_a_reconnect(server: Any, quick: Any, until: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 3)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome("e2")
        command = await peer.subscribed({"AAPL": 7}, seq=0)
        assert (command["since"], command["epoch"]) == ({"AAPL": 0}, "e2")
        peer.trades(7, 0, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        subscription = await stream.subscribe("AAPL")
        await until(lambda: stream.reconnects)

        assert await numbers(subscription, 3) == [0, 1, 2]
        assert subscription.positions == {"AAPL": Position("e1", 3)}


async def test_a_new_epoch_is_an_unknown_number_of_missed_rows_and_a_snapshot(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 3)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome("e2")
        snapshot = [5, 18931, 19002, 18755, 18990, 120345, 2278391200, 400]
        await peer.subscribed({"AAPL": 9}, seq=400, missed=400, snapshot=snapshot)
        peer.trades(9, 400, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        subscription = stream.subscribe("AAPL")
        assert await numbers(subscription, 3) == [0, 1, 2]

        with pytest.raises(MissedRows, match="AAPL trades: an unknown number of rows missed") as caught:
            await anext(subscription)

        assert caught.value.missed is None
        assert caught.value.position == Position("e2", 400)
        assert caught.value.channel == Channel("trades", "AAPL")
        assert caught.value.snapshot is not None
        assert [str(price) for price in caught.value.snapshot.decimals("high")] == ["190.02"]
        assert subscription.missed is None
        assert await numbers(subscription, 1) == [400]


async def test_rows_that_left_the_history_are_counted_and_iterating_goes_on(server: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 3)
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=10, missed=7)
        peer.trades(7, 10, 2)
        await peer.gone()

    server.plays(first, second)
    told: list[MissedRows] = []
    async with connect(server.url, backoff=quick) as stream:
        subscription = stream.subscribe("AAPL", on_missed=told.append)

        assert await numbers(subscription, 5) == [0, 1, 2, 10, 11]
        assert [(each.missed, each.position) for each in told] == [(7, Position("e1", 10))]
        assert subscription.missed == 7


async def test_a_resume_that_begins_later_than_asked_is_told_even_if_the_server_does_not_say_so(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=8, missed=0)
        peer.trades(7, 8, 1)
        await peer.gone()

    server.plays(script)
    told: list[MissedRows] = []
    async with connect(server.url) as stream:
        subscription = stream.subscribe("AAPL", since={"AAPL": Position("e1", 5)}, on_missed=told.append)
        assert await numbers(subscription, 1) == [8]
    assert [each.missed for each in told] == [3]


async def test_a_resume_that_begins_earlier_than_asked_is_cut(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=3, missed=0)
        peer.trades(7, 3, 4)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL", since={"AAPL": Position("e1", 5)}), 2) == [5, 6]


async def test_a_gap_is_told_at_its_place(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        peer.send({"type": "gap", "channel": 7, "seq": 9, "missed": 7})
        peer.trades(7, 9, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        subscription = stream.subscribe("AAPL")
        assert await numbers(subscription, 2) == [0, 1]
        with pytest.raises(MissedRows, match="7 rows missed before row 9"):
            await anext(subscription)
        assert await numbers(subscription, 1) == [9]


async def test_a_jump_without_a_gap_message_is_told_all_the_same(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        peer.trades(7, 3, 1)
        await peer.gone()

    server.plays(script)
    told: list[MissedRows] = []
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL", on_missed=told.append), 3) == [0, 1, 3]
    assert [each.missed for each in told] == [1]


async def test_a_position_from_an_earlier_run_resumes(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7, "MSFT": 9}, seq=5)
        assert (command["since"], command["epoch"]) == ({"AAPL": 5, "MSFT": 0}, "e1")
        peer.trades(7, 5, 1)
        await peer.gone()

    server.plays(script)
    told: list[MissedRows] = []
    since = {"AAPL": Position("e1", 5), "MSFT": Position("e0", 99), "TSLA": Position("e1", 1)}
    async with connect(server.url) as stream:
        subscription = stream.subscribe(["AAPL", "MSFT"], since=since, on_missed=told.append)
        assert await numbers(subscription, 1) == [5]

    assert [(each.channel.symbol, each.missed) for each in told] == [("MSFT", None)]


async def test_since_0_asks_for_everything_and_a_wildcard_lists_the_symbols_first(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        question = await peer.command("symbols")
        peer.send({"type": "symbols", "id": question["id"], "symbols": ["AAPL"], "more": True})
        question = await peer.command("symbols")
        assert question["after"] == "AAPL"
        peer.send({"type": "symbols", "id": question["id"], "symbols": ["MSFT"], "more": False})
        command = await peer.subscribed({"AAPL": 7, "MSFT": 9})
        assert command["symbols"] == ["*"]
        assert (command["since"], command["epoch"]) == ({"AAPL": 0, "MSFT": 0}, "e1")
        peer.trades(9, 0, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("*", since=0), 1) == [0]


async def test_connecting_again_is_said_in_the_log(server: Any, quick: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "ticker.client")

    async def first(peer: Any) -> None:
        peer.welcome()
        peer.close(1001)

    async def second(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 1) == [0]
    assert "connection lost (code 1001); trying again in" in caplog.text
    assert "connected again" in caplog.text
