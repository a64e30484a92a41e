"""A whole server whose node a test may look into: what it has counted, who is connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.rig import HandFeed
from ticker.clock import Clock, ManualClock, SystemClock
from ticker.config import Settings
from ticker.node import Node


@asynccontextmanager
async def served(
    clock: Clock | None = None, feed: HandFeed | None = None, **settings: Any
) -> AsyncIterator[tuple[str, Node]]:
    """Run a node; yield its URL and itself, for what it has counted."""
    clock, feed = clock or SystemClock(), feed or HandFeed()
    node = Node(Settings("hand", port=0, **settings), feed, clock)
    url = await node.start()
    await feed.runs_now.wait()
    try:
        yield url, node
    finally:
        stopping = asyncio.create_task(node.stop())
        while not stopping.done():
            await (clock.advance(0.05) if isinstance(clock, ManualClock) else asyncio.sleep(0.005))
        await stopping
