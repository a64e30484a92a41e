"""A client that reads too slowly for mode `all`: closed, told why, and none the poorer once it resumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.rig import AAPL, HandFeed, running
from tests.wire import Closed, Wire, columns_of, is_data

TOTAL = 90_000


async def test_a_client_closed_as_too_slow_resumes_where_it_stopped_and_has_every_row_once() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed, outbox_mib=1) as url:
        slow = await Wire.open(url, receive_bytes=4096)
        await slow.subscribe(["AAPL"])
        for seed in range(30):
            feed.flood(TOTAL // 30, seed=seed)
        rows: list[tuple[Any, ...]] = []
        closed = await read(slow, rows)
        slow.close()

        assert closed is not None
        assert (closed.code, closed.reason) == (4008, "too_slow")
        assert 0 < len(rows) < TOTAL

        epoch, cut = slow.welcome["epoch"], len(rows)
        async with await Wire.open(url) as again:
            answer = await again.subscribe(["AAPL"], since={"AAPL": cut}, epoch=epoch)
            assert (answer["channels"][0]["seq"], answer["channels"][0]["missed"]) == (cut, 0)
            assert await read(again, rows, lambda: len(rows) >= TOTAL) is None

        whole: list[tuple[Any, ...]] = []
        async with await Wire.open(url) as other:
            await other.subscribe(["AAPL"], since={"AAPL": 0}, epoch=epoch)
            assert await read(other, whole, lambda: len(whole) >= TOTAL) is None
        assert rows == whole


async def read(wire: Wire, rows: list[tuple[Any, ...]], is_enough: Callable[[], bool] = lambda: False) -> Closed | None:
    """Append the rows that come until there are enough; return how the connection ended if it did before."""
    try:
        while not is_enough():
            message = await wire.receive()
            if is_data(message):
                rows += zip(*columns_of(message), strict=True)
    except Closed as closed:
        return closed
    return None
