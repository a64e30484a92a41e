"""The stream against a scripted server: reconnecting, resuming, back-pressure, and what is told on the way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ticker.client import (
    Backoff,
    Batch,
    Channel,
    ClientError,
    CommandRefused,
    ConnectionClosed,
    ConnectionFailed,
    MissedRows,
    Position,
    ProtocolError,
    SymbolsRefused,
    Unauthenticated,
    connect,
)


async def numbers(subscription: Any, n: int) -> list[int]:
    """Return the sequence numbers of the next rows, `n` at least, proving that each row is what its number says."""
    found: list[int] = []
    async for batch in subscription:
        for i, price in enumerate(batch.integers("price").tolist(), batch.seq):
            assert price == i
            found.append(i)
        if len(found) >= n:
            return found
    return found


async def test_rows_come_in_order_with_exact_numbers(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7})
        assert command == {"op": "subscribe", "id": 1, "kind": "trades", "symbols": ["AAPL"], "mode": "all"}
        peer.trades(7, 0, 2)
        peer.trades(7, 2, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        batches = [batch async for batch, _ in zip_async(stream.subscribe(["AAPL"]), 2)]

    assert [(batch.seq, len(batch)) for batch in batches] == [(0, 2), (2, 1)]
    assert batches[0].channel == Channel("trades", "AAPL")
    assert [str(price) for price in batches[0].decimals("price")] == ["0.00", "0.01"]
    assert [trade.size for trade in batches[0]] == [1, 2]
    assert server.subprotocols == [["ticker.v1.msgpack"]]
    await server.played()


async def zip_async(subscription: Any, n: int) -> Any:
    for i in range(n):
        yield await anext(subscription), i


async def test_the_address_that_the_server_prints_will_do(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome(feed="scripted")
        await peer.gone()

    server.plays(script)
    async with connect(f"http://127.0.0.1:{server.port}/") as stream:
        assert stream.welcome["feed"] == "scripted"
        assert stream.epoch == "e1"
        assert stream.is_connected
    await server.played()


@pytest.mark.parametrize("url", ["127.0.0.1:8888", "ftp://host/stream", "ws://", ""])
def test_an_address_of_no_stream_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="expected an address"):
        connect(url)


async def test_no_server_is_told_at_once(server: Any) -> None:
    await server.stop()

    with pytest.raises(ConnectionFailed, match="Connection refused"):
        async with connect(server.url):
            pass


async def test_a_page_that_is_no_stream_is_told_at_once(server: Any) -> None:
    with pytest.raises(ConnectionFailed, match="404"):
        async with connect(server.url + "/elsewhere"):
            pass


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


async def test_the_goodbyes_delay_is_kept(server: Any) -> None:
    times: list[float] = []

    async def first(peer: Any) -> None:
        peer.welcome()
        peer.send({"type": "goodbye", "reason": "shutdown", "reconnect_ms": 80})
        times.append(asyncio.get_running_loop().time())
        peer.close(1001)

    async def second(peer: Any) -> None:
        times.append(asyncio.get_running_loop().time())
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL"), 1) == [0]
    assert times[1] - times[0] >= 0.08


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4008, 4029, 4999])
async def test_these_close_codes_are_followed_by_another_connection(server: Any, quick: Any, code: int) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        peer.close(code)

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 7}, seq=1))["since"] == {"AAPL": 1}
        peer.trades(7, 1, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 2) == [0, 1]


@pytest.mark.parametrize("code", [1009, 4000])
async def test_these_close_codes_end_the_stream_behind_what_has_come(server: Any, code: int) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        peer.send({"type": "error", "code": "bad_request", "message": "not a map"})
        peer.close(code)

    server.plays(script)
    async with connect(server.url) as stream:
        subscription = stream.subscribe("AAPL")
        assert await numbers(subscription, 1) == [0]
        with pytest.raises(ConnectionClosed, match=f"{code} after bad_request: not a map") as caught:
            await anext(subscription)
        assert caught.value.code == code
        with pytest.raises(ConnectionClosed):
            await anext(stream)
        with pytest.raises(ConnectionClosed):
            await stream.ping()


async def test_a_token_is_sent_first_and_a_bad_one_is_told(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome(auth=True)
        command = await peer.command("auth")
        assert command["token"] == "secret"
        peer.send({"type": "error", "id": command["id"], "code": "unauthenticated", "message": "bad token"})
        peer.close(4001)

    async def without(peer: Any) -> None:
        peer.welcome(auth=True)
        peer.close(4001)

    server.plays(script, without)
    for token, why in (("secret", "bad token"), (None, "valid token")):
        with pytest.raises(Unauthenticated, match=why):
            async with connect(server.url, token=token) as stream:
                await anext(stream.subscribe("AAPL"))


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\xc1", "not msgpack"),
        ("{}", "text message"),
        (5, "neither a map nor an array"),
        ([8, 0, 1, 0, b"", 0, b"", 0, b""], "channel 8, which was not described"),
        ([7, 0, 1, 0, b"", 0, b""], "2 columns where 3"),
        ([7, 0, 2, 0, b"", 0, b"abc", 0, b""], "3 bytes of offsets for 2 rows"),
        ([7, 0, 0, 0, b"", 0, b"", 0, b""], "n 0"),
        ([7, 0, 1, 0, b"", 0.0, b"\0" * 8, 0, b""], "base is 0.0"),
        ([7, 0, 1, 1 << 63, b"", 0, b"", 0, b""], "cannot be read"),
        ({"type": "gap", "channel": 8, "seq": 1, "missed": 1}, "gap in channel 8"),
        ({"type": "pong", "id": 77, "time": 0, "rows": 0}, "not asked"),
        ({"type": "welcome", "protocol": 1, "epoch": "x"}, "a second welcome"),
    ],
)
async def test_what_the_protocol_does_not_allow_ends_the_stream(server: Any, message: Any, complaint: str) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.send(message)
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        with pytest.raises(ProtocolError, match=complaint):
            await anext(stream.subscribe("AAPL"))


async def test_rows_that_a_heartbeat_counts_and_that_did_not_come_are_asked_for_again(
    server: Any, quick: Any, caplog: Any
) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        peer.send({"type": "heartbeat", "time": 0, "rows": 2})
        peer.send({"type": "heartbeat", "time": 0, "rows": 3})
        await peer.gone()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 7}, seq=2))["since"] == {"AAPL": 2}
        peer.trades(7, 2, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 3) == [0, 1, 2]
    assert "2 rows arrived of 3" in caplog.text
    await server.played()


async def test_a_ping_proves_that_all_rows_are_here(server: Any, wire: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.subscribed({"MSFT": 9})
        peer.trades(7, 0, 2)
        peer.send(wire.rows(9, 0, (wire.START, 1, 1, 1, 1, 9, 9, 5)))  # one row that stands for five
        question = await peer.command("ping")
        peer.send({"type": "pong", "id": question["id"], "time": 123, "rows": 7})
        question = await peer.command("ping")
        peer.send({"type": "pong", "id": question["id"], "time": 124, "rows": 8})
        await peer.gone()

    async def second(peer: Any) -> None:
        peer.welcome()
        question = await peer.command("ping")
        peer.send({"type": "pong", "id": question["id"], "time": 125, "rows": 0})
        await peer.left()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        stream.subscribe("AAPL")
        stream.subscribe("MSFT", mode="conflated")
        assert await stream.ping() == 123
        assert await stream.ping() == 125


async def test_the_symbols_are_listed_page_by_page(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        question = await peer.command("symbols")
        assert question["prefix"] == "A"
        peer.send({"type": "symbols", "id": question["id"], "symbols": ["AAPL", "AMD"], "more": True})
        question = await peer.command("symbols")
        assert question["after"] == "AMD"
        peer.send({"type": "symbols", "id": question["id"], "symbols": ["AMZN"], "more": False})
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await stream.symbols("A") == ["AAPL", "AMD", "AMZN"]


async def test_the_iteration_ends_with_the_feed(server: Any) -> None:
    clock = {"time": 5, "speed": None}

    async def script(peer: Any) -> None:
        peer.welcome(clock=clock)
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        peer.send({"type": "status", "state": "ended", "clock": clock})
        await peer.gone()

    server.plays(script)
    states: list[str] = []
    async with connect(server.url, on_status=lambda status: states.append(status.state)) as stream:
        subscription = stream.subscribe("AAPL")

        assert await numbers(subscription, 99) == [0, 1]
        assert stream.status is not None
        assert (stream.status.state, stream.status.clock) == ("ended", clock)
        assert states == ["live", "ended"]
        assert [batch async for batch in stream] == []


async def test_a_feed_that_had_ended_gives_its_history_until_a_heartbeat_says_that_it_is_all(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, state="ended")
        question = await peer.command("ping")
        peer.send({"type": "pong", "id": question["id"], "time": 0, "rows": 0})
        await peer.command("ping")
        peer.trades(7, 0, 2)
        peer.trades(7, 2, 1)
        peer.send({"type": "heartbeat", "time": 0, "rows": 3})
        await peer.left()

    server.plays(script)
    async with connect(server.url) as stream:
        subscription = await stream.subscribe("AAPL", since=0)
        await stream.ping()
        assert not subscription.is_finished
        again = asyncio.ensure_future(stream.ping())

        assert await numbers(subscription, 99) == [0, 1, 2]
        again.cancel()


async def test_who_has_caught_up_ends_with_the_feed_at_once(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 2)
        peer.send({"type": "heartbeat", "time": 0, "rows": 2})
        peer.trades(7, 2, 1)
        peer.send({"type": "status", "state": "ended", "clock": None})
        await peer.gone()

    server.plays(script)
    async with connect(server.url) as stream:
        assert await numbers(stream.subscribe("AAPL", since=0), 99) == [0, 1, 2]


async def test_a_slow_reader_makes_the_server_wait(server: Any, until: Any) -> None:
    taken: list[int] = []

    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        for number in range(200):
            await peer.trades(7, number * 4000, 4000)  # 96 KiB
            taken.append(number)
        await peer.gone()

    server.plays(script)
    async with connect(server.url, buffer_bytes=100_000) as stream:
        subscription = await stream.subscribe("AAPL")
        await until(lambda: subscription.shelf.items)
        for _ in range(5000):  # turns of the loop, many more than taking all of it would need
            await asyncio.sleep(0)

        assert len(taken) < 200
        assert sum(len(batch) for _, batch, _ in subscription.shelf.items) <= 8000
        assert await numbers(subscription, 800_000) == list(range(800_000))


async def test_a_reader_that_waits_behind_rows_that_nobody_reads_is_told_so(
    server: Any, until: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticker.client.inbox.STUCK_S", 0.01)

    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.subscribed({"MSFT": 9})
        peer.trades(7, 0, 100)
        peer.trades(9, 0, 1)
        await peer.gone()

    server.plays(script)
    async with connect(server.url, buffer_bytes=1000) as stream:
        apple, microsoft = stream.subscribe("AAPL"), stream.subscribe("MSFT")
        waiting = asyncio.ensure_future(numbers(microsoft, 1))

        await until(lambda: "while trades of AAPL isn't read" in caplog.text)

        assert len(await numbers(apple, 100)) == 100
        assert await waiting == [0]


async def test_patience_has_an_end(server: Any, quick: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.trades(7, 0, 1)
        await server.stop()
        peer.cut()

    server.plays(script)
    async with connect(server.url, patience_s=0.05, backoff=quick) as stream:
        subscription = stream.subscribe("AAPL")
        assert await numbers(subscription, 1) == [0]
        with pytest.raises(ConnectionFailed, match=r"for 0.05 s"):
            await anext(subscription)


async def test_a_server_that_falls_silent_is_left(server: Any, quick: Any, caplog: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome(heartbeat_s=0.1)
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.gone()

    async def second(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7}, seq=1)
        peer.trades(7, 1, 1)
        await peer.gone()

    server.plays(first, second)
    async with connect(server.url, backoff=quick) as stream:
        assert await numbers(stream.subscribe("AAPL"), 2) == [0, 1]
    assert "nothing came for" in caplog.text


async def test_leaving_ends_every_iteration_and_says_goodbye(server: Any, until: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        await peer.left()

    server.plays(script)
    stream = connect(server.url)
    async with stream:
        subscription = await stream.subscribe("AAPL")
        apart = asyncio.ensure_future(numbers(subscription, 1))
        together = asyncio.ensure_future(anext(stream, None))
        question = asyncio.ensure_future(stream.ping())
        await asyncio.sleep(0)

    assert await apart == []
    assert await together is None
    with pytest.raises(ClientError, match="closed"):
        await question
    await server.played()
    with pytest.raises(ClientError, match="once"):
        await stream.__aenter__()


async def test_conflated_rows_advance_by_their_count(server: Any, wire: Any, quick: Any) -> None:
    async def first(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 8}))["interval_ms"] == 500
        peer.send(wire.rows(8, 0, (wire.START, 10, 12, 9, 11, 30, 330, 5)))
        await peer.send(wire.rows(8, 5, (wire.START, 11, 11, 11, 11, 1, 11, 1), (wire.START, 12, 12, 12, 12, 2, 24, 2)))
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 8}, seq=8))["since"] == {"AAPL": 8}
        peer.send(wire.rows(8, 8, (wire.START, 13, 13, 13, 13, 1, 13, 1)))
        await peer.gone()

    server.plays(first, second)
    batches: list[Batch] = []
    async with connect(server.url, backoff=quick) as stream:
        async for batch in stream.subscribe("AAPL", mode="conflated", interval_ms=500):
            batches.append(batch)
            if len(batches) == 3:
                break

    assert [(batch.seq, batch.next_seq) for batch in batches] == [(0, 5), (5, 8), (8, 9)]
    assert [bar.count for batch in batches for bar in batch] == [5, 1, 2, 1]


async def test_the_running_bar_comes_again_and_is_asked_for_again(server: Any, wire: Any, quick: Any) -> None:
    def bar(seq: int, count: int) -> list[Any]:
        return wire.rows(12, seq, (60_000_000 * seq, 10, 12, 9, 11, count, count * 10, count))

    async def first(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 12}, seq=4)
        assert command["interval_s"] == 60
        peer.send(bar(4, 1), bar(4, 2), bar(5, 1))
        await peer.send(bar(5, 3))
        peer.cut()

    async def second(peer: Any) -> None:
        peer.welcome()
        assert (await peer.subscribed({"AAPL": 12}, seq=5))["since"] == {"AAPL": 5}
        peer.send(bar(5, 4), bar(6, 1), bar(8, 1))
        await peer.gone()

    server.plays(first, second)
    told: list[MissedRows] = []
    seen: list[tuple[int, int]] = []
    async with connect(server.url, backoff=quick) as stream:
        subscription = stream.subscribe("AAPL", kind="bars", mode="conflated", on_missed=told.append)
        async for batch in subscription:
            seen.append((batch.seq, int(batch.integers("count")[0])))
            if batch.seq == 5:
                assert subscription.positions == {"AAPL": Position("e1", 5)}
            if batch.seq == 8:
                break

    assert seen == [(4, 1), (4, 2), (5, 1), (5, 3), (5, 4), (6, 1), (8, 1)]
    assert [(each.missed, each.position.seq) for each in told] == [(1, 8)]


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


async def test_giving_up_while_connecting_leaves_nothing_behind(until: Any, quick: Any) -> None:
    accepted: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(lambda reader, writer: accepted.append(writer), "127.0.0.1", 0)
    stream = connect(f"ws://127.0.0.1:{mute.sockets[0].getsockname()[1]}/stream", backoff=quick)
    opening = asyncio.ensure_future(stream.__aenter__())
    await until(lambda: accepted)

    opening.cancel()
    await asyncio.wait([opening])

    assert opening.cancelled()
    with pytest.raises(ClientError, match="isn't open"):
        stream.subscribe("AAPL")
    for writer in accepted:
        writer.close()
    mute.close()


async def test_leaving_while_there_is_no_connection_ends_at_once(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.close(1001)

    server.plays(script)
    async with connect(server.url, backoff=Backoff(first_s=1000.0, cap_s=1000.0)) as stream:
        subscription = await stream.subscribe("AAPL")
        waiting = asyncio.ensure_future(anext(subscription, None))
        while stream.is_connected:
            await asyncio.sleep(0)

    assert await waiting is None
