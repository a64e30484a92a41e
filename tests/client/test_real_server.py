"""The client and the server, as users start them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from ticker.client import MissedRows, connect


async def test_every_kind_and_mode_comes_whole_on_one_connection_each(start_server: Callable[..., Any]) -> None:
    server = start_server("--feed", "simulated", "--rate", "2000", "--symbols", "AAPL,MSFT")
    told: list[MissedRows] = []

    for mode in ("all", "conflated"):
        async with connect(server.url) as stream:
            wanted = {
                kind: stream.subscribe("*", kind, mode, interval_s=1, interval_ms=50, since=0, on_missed=told.append)
                for kind in ("trades", "quotes", "bars")
            }
            following: dict[Any, int] = {}
            seen: set[str] = set()
            async for batch in stream:
                expected = following.get(batch.channel, 0)
                if batch.channel.kind == "bars" and mode == "conflated":
                    assert batch.seq in (expected, max(0, expected - 1))
                else:
                    assert batch.seq == expected
                following[batch.channel] = batch.next_seq
                seen.add(batch.channel.kind)
                if len(seen) == 3 and batch.channel.kind == "bars":
                    break
            assert await stream.ping() > 0
            assert stream.reconnects == 0
            assert await stream.symbols("M") == ["MSFT"]
            for subscription in wanted.values():
                assert set(subscription.descriptions) == {"AAPL", "MSFT"}
                await subscription.unsubscribe()
    assert told == []


async def test_a_server_that_is_killed_and_started_again_is_a_new_epoch(
    start_server: Callable[..., Any], quick: Any
) -> None:
    options = ("--feed", "simulated", "--rate", "2000", "--symbols", "AAPL")
    server = start_server(*options)
    port = server.url.rsplit(":", 1)[1].strip("/")
    told: list[MissedRows] = []
    async with connect(server.url, backoff=quick) as stream:
        subscription = stream.subscribe("AAPL", on_missed=told.append)
        first = await anext(subscription)

        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        start_server(*options, "--port", port)
        batch = first
        while batch.epoch == first.epoch:
            batch = await anext(subscription)

        assert [each.missed for each in told] == [None]
        assert (batch.epoch, batch.seq) == told[0].position
        assert stream.epoch == batch.epoch
        assert subscription.missed is None
