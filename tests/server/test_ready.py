"""`/readyz` says whether clients should be sent here, `/healthz` only that the server is alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tests.rig import HandFeed, running
from tests.wire import fetch
from ticker.clock import ManualClock, SystemClock
from ticker.config import Settings
from ticker.feed import FatalFeedError
from ticker.node import Node


async def ready(url: str) -> tuple[int, dict[str, Any]]:
    status, headers, body = await fetch(url, "/readyz")
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert (await fetch(url, "/healthz"))[0] == 200
    return status, json.loads(body)


async def test_it_is_ready_once_the_feed_is_live_and_after_a_replay_has_ended(until: Callable[..., Any]) -> None:
    feed = HandFeed()
    async with running(feed) as url:
        waiting = await ready(url)
        feed.trades(("AAPL", 0, 1, 1))
        live = await ready(url)
        feed.end()
        while (ended := await ready(url))[1]["state"] == "live":
            pass

    assert waiting == (503, {"status": "unready", "state": "waiting", "reason": "the feed is waiting"})
    assert live == (200, {"status": "ready", "state": "live"})
    assert ended == (200, {"status": "ready", "state": "ended"})


async def test_it_is_not_while_the_feed_is_silent() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, stall_s=5) as url:
        feed.trades(("AAPL", 0, 1, 1))
        await clock.advance(6)
        stalled = await ready(url)
        feed.trades(("AAPL", 1, 1, 1))
        again = await ready(url)

    assert stalled == (503, {"status": "unready", "state": "stalled", "reason": "the feed is stalled"})
    assert again[0] == 200


async def test_it_is_not_when_the_feed_has_failed_for_good(errors: list[Any]) -> None:
    feed = HandFeed()
    async with running(feed) as url:
        feed.trades(("AAPL", 0, 1, 1))
        feed.end(FatalFeedError("no such file"))
        while (failed := await ready(url))[1]["state"] == "live":
            pass

    assert failed == (503, {"status": "unready", "state": "failed", "reason": "the feed is failed"})
    assert [record.getMessage() for record in errors] == ["feed hand failed for good: no such file"]
    errors.clear()


async def test_one_that_asks_while_the_server_leaves_is_told(until: Callable[..., Any]) -> None:
    feed = HandFeed()
    node = Node(Settings("hand", port=0), feed, SystemClock())
    url = await node.start()
    await feed.runs_now.wait()
    feed.trades(("AAPL", 0, 1, 1))
    host, _, port = url.removeprefix("http://").strip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = f"GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()

    async def ask() -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        return head.split(b"\r\n")[0] + await reader.readexactly(size)

    before = await ask()
    node._readiness.is_leaving = True
    after = await ask()
    writer.close()
    await node.stop()

    assert b"200" in before
    assert b"503" in after
    assert b"the server is stopping" in after


async def test_one_that_takes_no_connections_is_not_ready(until: Callable[..., Any]) -> None:
    feed = HandFeed()
    node = Node(Settings("hand", port=0), feed, SystemClock())
    await node.start()
    await feed.runs_now.wait()
    feed.trades(("AAPL", 0, 1, 1))
    assert node._readiness.why_not() is None
    assert node._server is not None

    node._server.stop_accepting()

    assert node._readiness.why_not() == "the server takes no connections: it has too many open files"
    await node.stop()
    assert node._readiness.why_not() == "the server is stopping"
