"""How late the loop is, and what is said of whoever held it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ticker.server.loop_watch import LoopWatch

HELD_S = 0.3


class Told(logging.Handler):
    """What the watch has said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def of(self, function: str) -> list[str]:
        """The lines that name a function: a machine that is busy otherwise may hold the loop elsewhere, too."""
        return [line for line in self.lines if f" in {function}" in line]


@pytest.fixture
def told() -> Iterator[Told]:
    handler = Told()
    logger = logging.getLogger("ticker.server.loop_watch")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def block(watch: LoopWatch) -> None:
    """Hold the loop until the watch has looked."""
    deadline_s = time.monotonic() + 20
    while watch._looked_at != watch._round:
        assert time.monotonic() < deadline_s


async def test_whoever_holds_the_loop_is_named_once_for_each_place(told: Told, until: Callable[..., Any]) -> None:
    lags: list[float] = []
    watch = LoopWatch(lags.append, HELD_S)
    watch.start()

    for turn in range(1, 3):
        await until(lambda turn=turn: len(lags) > turn)
        block(watch)
    rounds = len(lags)
    await until(lambda: len(lags) > rounds)
    watch.stop()
    watch._watcher.join(10)

    assert max(lags) >= HELD_S
    (line,) = told.of("block")
    assert line.startswith("the event loop has stood still for ")
    assert f"{__file__}:" in line
    assert f", called from {__file__}:" in line
    assert "\n" not in line


async def test_a_library_that_was_called_is_not_blamed(told: Told) -> None:
    watch = LoopWatch(lambda lag_s: None, HELD_S)
    watch.start()

    json.loads("[1]", parse_int=lambda digits: block(watch))
    watch.stop()
    watch._watcher.join(10)

    (line,) = told.of("block")
    assert "json" not in line


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
