"""A supervised feed that does what a test says, on a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from ticker.clock import ManualClock
from ticker.columns import Ticks
from ticker.feed import Emit, Feed
from ticker.model import Instrument
from ticker.supervisor import Supervisor

STALL_S = 30.0

Run = Callable[[Emit], Awaitable[None]]


def trades(rows: int = 1) -> Ticks:
    ones = np.ones(rows, np.int64)
    return Ticks("trades", ("AAPL",), np.zeros(rows, np.int64), (ones, ones, ones))


class Scripted(Feed):
    """A feed whose runs are given one after the other; the last one is repeated."""

    name = "scripted"

    def __init__(self, *runs: Run) -> None:
        super().__init__()
        self.runs = list(runs)
        self.started = 0

    async def run(self, emit: Emit) -> None:
        self.started += 1
        await self.runs[min(self.started, len(self.runs)) - 1](emit)


class Door:
    """An Emit that notes what is called; the waits end when the test says so."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes
        self.clients_keep_up = asyncio.Event()

    def __call__(self, ticks: Ticks) -> None:
        self.notes.append(("ticks", len(ticks)))

    def time(self, time_ns: int) -> None:
        self.notes.append(("time", time_ns))

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        self.notes.append(("instruments", list(instruments)))

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        self.notes.append(("gap", kind, symbol, missed, interval_s))

    def refused(self, code: str, rows: int = 1) -> None:
        self.notes.append(("refused", code, rows))

    def flush(self) -> None:
        self.notes.append("flush")

    async def ready(self) -> None:
        await self.clients_keep_up.wait()

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        self.notes.append(("subscribers", count, quiet_s))
        await self.clients_keep_up.wait()


class Stage:
    """A supervised feed on a manual clock: `notes` holds what came through the door and, as words, the states."""

    def __init__(self, *runs: Run, jitter: float = 1.0) -> None:
        self.clock = ManualClock()
        self.notes: list[Any] = []
        self.door = Door(self.notes)
        self.feed = Scripted(*runs)
        self.supervisor = Supervisor(
            self.feed, self.door, self.clock, STALL_S, self.notes.append, jitter=lambda: jitter
        )
        self.running = asyncio.create_task(self.supervisor.run())

    @property
    def states(self) -> list[str]:
        return [note for note in self.notes if isinstance(note, str) and note != "flush"]


async def forever(emit: Emit) -> None:
    await asyncio.Event().wait()


async def fail(emit: Emit) -> None:
    raise ConnectionError("the venue hung up")


async def tick_and_fail(emit: Emit) -> None:
    emit(trades())
    raise ConnectionError("the venue hung up")


async def tick_and_wait(emit: Emit) -> None:
    emit(trades())
    await forever(emit)
