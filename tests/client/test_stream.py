"""The stream against a scripted server: rows, addresses, pings, pages of symbols, silence, leaving."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.conftest import numbers
from ticker.client import (
    Backoff,
    Batch,
    Channel,
    ClientError,
    ConnectionFailed,
    MissedRows,
    Position,
    Unauthenticated,
    connect,
)


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
    for token, why in (("secret", "bad token"), (None, "none was given")):
        with pytest.raises(Unauthenticated, match=why):
            async with connect(server.url, token=token) as stream:
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
