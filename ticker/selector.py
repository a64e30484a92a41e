"""An event loop that takes ready sockets some at a time, so that timers and flushes never wait for thousands of them.

asyncio asks the kernel for all that are ready at once, and calls every one before anything else gets a turn: when five
thousand connections end in the same instant, or as many send a command, the loop is away until the last is served. The
kernel hands out ready descriptors in turn, so those left over come next (epoll_wait(2), `maxevents`).
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import selectors
import sys

AT_ONCE = 64
"""Descriptors that are served before others get a turn: some 10 ms where each brings a `subscribe`."""

if sys.platform == "linux":

    class FairSelector(selectors.EpollSelector):
        """Returns AT_ONCE descriptors at most."""

        def __init__(self) -> None:
            super().__init__()
            self._epoll = select.epoll.fromfd(os.dup(self.fileno()))  # the same one in the kernel

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """Wait at most `timeout` seconds, None for as long as it takes; return what is ready, and for what."""
            # In whole milliseconds, as the kernel counts: rounded down, a timer that is almost due would make it spin.
            wait_s = -1 if timeout is None else max(0, math.ceil(timeout * 1e3)) / 1e3
            try:
                found = self._epoll.poll(wait_s, AT_ONCE)
            except InterruptedError:
                return []
            keys = self.get_map()
            ready = []
            for fd, bits in found:
                try:
                    key = keys[fd]
                except KeyError:
                    continue
                events = selectors.EVENT_WRITE if bits & ~select.EPOLLIN else 0  # an error is for both
                events |= selectors.EVENT_READ if bits & ~select.EPOLLOUT else 0
                ready.append((key, events & key.events))
            return ready

        def close(self) -> None:
            """Release it."""
            self._epoll.close()
            super().close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that serves ready sockets some at a time on Linux, elsewhere one as it comes."""
    return asyncio.SelectorEventLoop(FairSelector()) if sys.platform == "linux" else asyncio.new_event_loop()
