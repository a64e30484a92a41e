"""What signals do to a server: SIGINT and SIGTERM stop it, in time; SIGHUP lets it read its files anew."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

log = logging.getLogger(__name__)

STOP_MARGIN_S = 1.5
"""How long stopping may take beyond --drain-s before the process is ended regardless: the feed has a second of it."""
AFTER_STOP_S = 1.0
"""How long the process may go on once all is stopped, for what is deaf to its cancellation."""
_HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # Windows has none


class Signals:
    """While entered, SIGINT and SIGTERM end `wait`; `stop_s` later, or with a second signal, they end the process.

    SIGHUP does the same unless the server `rereads` files: then it calls what `on_hangup` was given. The handler is a
    plain one, and the deadline a thread's: they hold even while something blocks the loop.
    """

    def __init__(self, *, rereads: bool, stop_s: float) -> None:
        self._rereads = rereads
        self._stop_s = stop_s
        self._first = threading.Event()
        self._stopped = threading.Event()
        self._wake: Callable[[], object] | None = None
        self._reread: Callable[[], object] | None = None
        self._missed_hangup = False
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self._hold_the_deadline, name="stop-deadline", daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM, *_HANGUP):
            if number in _HANGUP and not self._rereads and signal.getsignal(number) is signal.SIG_IGN:
                continue  # started with nohup
            self._replaced[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._first.is_set():  # else they stay until the process has ended
            for number, handler in self._replaced.items():
                signal.signal(number, handler)

    async def wait(self) -> None:
        """Return after the first signal."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(came.set)
        if not self._first.is_set():
            await came.wait()

    def on_hangup(self, reread: Callable[[], object]) -> None:
        """Let SIGHUP call `reread` on this loop from now on; one that came before does at once."""
        loop = asyncio.get_running_loop()
        self._reread = lambda: loop.call_soon_threadsafe(reread)
        if self._missed_hangup:
            self._reread()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number in _HANGUP and self._rereads:
            self._hang_up()
            return
        if self._first.is_set():
            os._exit(128 + number)
        self._first.set()
        if self._wake is not None:
            self._wake()

    def _hang_up(self) -> None:
        if self._reread is None:
            self._missed_hangup = True
        elif not self._first.is_set():
            self._reread()

    def note_stopped(self) -> None:
        """Let the process end soon, now that all is stopped."""
        self._stopped.set()

    def _hold_the_deadline(self) -> None:
        self._first.wait()
        if self._stopped.wait(self._stop_s):
            time.sleep(AFTER_STOP_S)
            told = "stopped, but something goes on, such as a feed that is deaf to its cancellation: ended regardless"
        else:
            told = f"the stop took longer than {self._stop_s:g} s and was cut short"
        # In a thread of its own: whatever blocks the others may hold the lock of the log.
        telling = threading.Thread(target=log.warning, args=(told,), name="stop-told", daemon=True)
        telling.start()
        telling.join(0.5)
        os._exit(0)
