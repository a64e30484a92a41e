"""How late the event loop is, and what held it: a feed that computes for a second must not do so unseen.

A callback notes ten times a second how late it was called. A thread looks on: when the loop has not come round for a
second it looks where the loop's thread is, and says so, once for each place.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

TICK_S = 0.1
HELD_S = 1.0
LOOK_S = 0.25
CALLERS = 3
"""Lines next to the loop that are named: the supervisor's, a feed's `run`, and what that called."""
MOST_TOLD = 50
"""Places that are told at most."""
_LIBRARY = tuple(str(Path(path)) for name in ("stdlib", "platstdlib") if (path := sysconfig.get_path(name)) is not None)


class LoopWatch:
    """Watches the running loop between `start` and `stop`. `observe` is given each lag, in seconds."""

    def __init__(self, observe: Callable[[float], object], held_s: float = HELD_S) -> None:
        self._observe = observe
        self._held_s = held_s
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._ended = threading.Event()
        self._told: set[tuple[object, ...]] = set()
        self._round = 0
        self._looked_at = -1
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._schedule()
        self._watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End; nothing is called any more."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        self._due_s = time.monotonic() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        lag_s = max(0.0, time.monotonic() - self._due_s)
        self._observe(lag_s)
        if lag_s >= self._held_s and self._looked_at != self._round and self._is_new(("unseen",)):
            log.warning(
                "the event loop stood still for %.1f s; nobody saw why: the machine slept or swapped, or C code kept"
                " the interpreter to itself",
                lag_s,
            )
        self._round += 1
        self._schedule()

    def _watch(self) -> None:
        looked_s = time.monotonic()
        while not self._ended.wait(LOOK_S):
            now_s = time.monotonic()
            # One who overslept knows nothing about others: the whole process had no turn.
            if now_s - looked_s < 2 * LOOK_S and now_s - self._due_s >= self._held_s:
                self._look(now_s - self._due_s)
            looked_s = now_s

    def _look(self, lag_s: float) -> None:
        if self._looked_at == self._round:
            return
        frame = sys._current_frames().get(self._thread_id)
        if frame is None:
            return
        self._looked_at = self._round
        place, key = place_of(frame)
        if self._is_new(key):
            log.warning("the event loop has stood still for %.1f s: %s", lag_s, place)

    def _is_new(self, key: tuple[object, ...]) -> bool:
        if key in self._told or len(self._told) >= MOST_TOLD:
            return False
        self._told.add(key)
        return True


def place_of(frame: FrameType) -> tuple[str, tuple[object, ...]]:
    """Return where a thread is, in words, and a key for the place.

    Named are the innermost line that is not the standard library's, and those next to the loop that led there.
    """
    frames: list[FrameType] = []
    walk: FrameType | None = frame
    while walk is not None and not walk.f_code.co_filename.endswith(("asyncio/events.py", "asyncio\\events.py")):
        frames.append(walk)
        walk = walk.f_back
    ours = [each for each in frames if not each.f_code.co_filename.startswith(_LIBRARY) or _is_installed(each)]
    inner, *outer = ours or frames
    place = _line(inner)
    if outer:
        place += ", called from " + ", ".join(map(_line, outer[-CALLERS:]))
    return place, (inner.f_code, *(each.f_code for each in outer[-CALLERS:]))


def _is_installed(frame: FrameType) -> bool:
    return "site-packages" in frame.f_code.co_filename


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
