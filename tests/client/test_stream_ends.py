"""How a stream ends or goes on: goodbyes, close codes, broken rules, the end of the feed, slow readers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.conftest import numbers
from ticker.client import (
    ConnectionClosed,
    ConnectionFailed,
    ProtocolError,
    connect,
)


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
