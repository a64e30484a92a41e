"""How late the loop is, and what is said of whoever held it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ticker.server.loop_watch import LoopWatch

HELD_S = 0.3


class Told(logging.Handler):
    """What the watch has said; `told` is set with each line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.event = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.event.set()


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("ticker.server.loop_watch")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def block(told: Told) -> None:
    """Hold the loop until the watch has said something."""
    assert told.event.wait(20)


async def test_whoever_holds_the_loop_is_named_once_for_each_place(told: Told, until: Callable[..., Any]) -> None:
    lags: list[float] = []
    watch = LoopWatch(lags.append, HELD_S)
    watch.start()
    await until(lambda: lags)

    block(told)
    rounds = len(lags)
    await until(lambda: len(lags) > rounds)
    told.event.clear()
    watch._look(HELD_S)  # from this same thread, as if it went on
    watch._look(HELD_S)
    watch.stop()

    assert max(lags) >= HELD_S
    first = told.lines[0]
    assert first.startswith("the event loop has stood still for ")
    assert "test_loop_watch.py:" in first
    assert " in block, called from " in first
    assert all("\n" not in line for line in told.lines)
    assert len([line for line in told.lines if " in block" in line]) == 1


async def test_a_library_that_was_called_is_not_blamed(told: Told, until: Callable[..., Any]) -> None:
    watch = LoopWatch(lambda lag_s: None, HELD_S)
    watch.start()

    json.loads("[1]", object_hook=None, parse_int=lambda digits: block(told))
    watch.stop()

    assert " in block, called from " in told.lines[0]
    assert "json" not in told.lines[0]


async def test_a_lag_that_nobody_saw_is_told_all_the_same(told: Told, until: Callable[..., Any]) -> None:
    lags: list[float] = []
    watch = LoopWatch(lags.append, HELD_S)
    watch._schedule()  # without the thread that looks on

    watch._due_s -= 5
    await until(lambda: lags)
    watch._due_s -= 5
    await until(lambda: len(lags) > 1)
    watch.stop()

    assert [line for line in told.lines if "nobody saw why" in line] == told.lines
    assert len(told.lines) == 1
    assert lags[0] >= 4


async def test_after_stop_nothing_is_noted(until: Callable[..., Any]) -> None:
    lags: list[float] = []
    watch = LoopWatch(lags.append, HELD_S)
    watch.start()
    await until(lambda: lags)

    watch.stop()
    count = len(lags)
    watch._watcher.join(10)
    for _ in range(100):
        await asyncio.sleep(0)

    assert not watch._watcher.is_alive()
    assert len(lags) == count
