"""What has arrived and was not read yet: bounded, so that the server feels a slow reader, not this process's memory."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

STUCK_S = 5.0
"""How long a reader may wait for rows while others fill the inbox, until the log says so."""


class Shelf:
    """A subscription's part of the inbox: its items in the order of their arrival, each with its ticket and size."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: deque[tuple[int, Any, int]] = deque()


class Inbox:
    """Hands items from the one task that receives to the tasks that read, and makes the first wait for the others.

    Sizes are bytes. One item may pass the limit, so the inbox holds less than the limit and the largest message.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held = 0
        self._tickets = itertools.count()
        self._readers: dict[Shelf | None, list[asyncio.Future[None]]] = {}
        self._room: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        return self._held >= self._limit

    def put(self, shelf: Shelf, item: Any, size: int = 0) -> None:
        """Add an item and wake whoever waits for it."""
        shelf.items.append((next(self._tickets), item, size))
        self._held += size
        if self._readers:
            self._wake(shelf)
            self._wake(None)

    def take(self, shelf: Shelf) -> Any:
        """Return the oldest item of a shelf that is not empty."""
        _, item, size = shelf.items.popleft()
        self._held -= size
        if self._room is not None and self._held < self._limit:
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
        return item

    def drop(self, shelf: Shelf) -> None:
        """Forget what a shelf holds."""
        while shelf.items:
            self.take(shelf)

    async def arrival(self, shelf: Shelf | None) -> None:
        """Return when something was put on this shelf (on any, for None), or when `wake_all` was called."""
        waiter = asyncio.get_running_loop().create_future()
        waiters = self._readers.setdefault(shelf, [])
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in waiters:  # cancelled
                waiters.remove(waiter)
                if not waiters and self._readers.get(shelf) is waiters:
                    del self._readers[shelf]

    def wake_all(self) -> None:
        """Let every reader look again: something else than an arrival has changed."""
        for shelf in list(self._readers):
            self._wake(shelf)

    async def room(self, shelves: Callable[[], list[Shelf]]) -> None:
        """Return when the inbox isn't full."""
        loop = asyncio.get_running_loop()
        while self.is_full:
            self._room = loop.create_future()
            warning = loop.call_later(STUCK_S, self._warn, shelves)
            try:
                await self._room
            finally:
                warning.cancel()

    def _wake(self, shelf: Shelf | None) -> None:
        for waiter in self._readers.pop(shelf, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _warn(self, shelves: Callable[[], list[Shelf]]) -> None:
        if self._readers:
            full = max(shelves(), key=lambda shelf: sum(size for _, _, size in shelf.items))
            log.warning(
                "a reader waits, but nothing is received while %s isn't read: its rows fill the buffer", full.name
            )
