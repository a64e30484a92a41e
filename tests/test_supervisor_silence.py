"""A feed that falls silent, or of which nothing can be taken: when it is stalled, and when it is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from tests.supervised import STALL_S, Door, Scripted, Stage, fail, forever, tick_and_wait, trades
from ticker.clock import ManualClock
from ticker.feed import Emit
from ticker.supervisor import Supervisor


async def test_a_silent_feed_is_stalled_and_its_next_ticks_make_it_live(caplog: pytest.LogCaptureFixture) -> None:
    stage: Stage

    async def pause(emit: Emit) -> None:
        emit(trades())
        await stage.clock.sleep(100)
        emit(trades())
        await forever(emit)

    stage = Stage(pause)
    await stage.clock.advance(29.9)
    assert stage.states == ["live"]

    await stage.clock.advance(0.2)
    assert stage.states == ["live", "stalled"]

    await stage.clock.advance(70)
    assert stage.states == ["live", "stalled", "live"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "feed scripted is stalled: not a sign of life for 30 s"
    ]


async def test_a_feed_that_is_silent_again_is_stalled_again() -> None:
    stage: Stage

    async def every_45_seconds(emit: Emit) -> None:
        while True:
            emit(trades())
            await stage.clock.sleep(45)

    stage = Stage(every_45_seconds)
    await stage.clock.advance(100)

    assert stage.states == ["live", "stalled", "live", "stalled", "live"]


async def test_a_feed_that_never_says_a_word_is_stalled_and_then_waiting_if_only_its_clock_moves() -> None:
    stage: Stage

    async def wake_late(emit: Emit) -> None:
        await stage.clock.sleep(40)
        emit.time(1)
        await stage.clock.sleep(5)
        emit(trades())
        await forever(emit)

    stage = Stage(wake_late)
    await stage.clock.advance(50)

    assert stage.states == ["stalled", "waiting", "live"]


@pytest.mark.parametrize("sign", ["time", "flush", "gap", "instruments", "ticks"])
async def test_any_call_is_a_sign_of_life(sign: str) -> None:
    stage: Stage
    calls: dict[str, Callable[[Emit], None]] = {
        "time": lambda emit: emit.time(1),
        "flush": lambda emit: emit.flush(),
        "gap": lambda emit: emit.gap("trades", "AAPL", 1),
        "instruments": lambda emit: emit.instruments([]),
        "ticks": lambda emit: emit(trades()),
    }

    async def beat(emit: Emit) -> None:
        emit(trades())
        while True:
            await stage.clock.sleep(29)
            calls[sign](emit)

    stage = Stage(beat)
    await stage.clock.advance(300)

    assert stage.states == ["live"]


@pytest.mark.parametrize("wait", ["ready", "subscribers"])
async def test_waiting_for_clients_is_no_silence(wait: str) -> None:
    async def wait_for_clients(emit: Emit) -> None:
        emit(trades())
        await (emit.ready() if wait == "ready" else emit.subscribers(1))
        await forever(emit)

    stage = Stage(wait_for_clients)
    await stage.clock.advance(100)
    assert stage.states == ["live"]

    stage.door.clients_keep_up.set()
    await stage.clock.advance(29)
    assert stage.states == ["live"]

    await stage.clock.advance(40)
    assert stage.states == ["live", "stalled"]


async def test_a_silent_feed_is_never_cancelled_for_it() -> None:
    stage = Stage(tick_and_wait)

    await stage.clock.advance(24 * 3600)

    assert stage.feed.started == 1
    assert stage.states == ["live", "stalled"]


@pytest.mark.usefixtures("failures_are_expected")
async def test_back_off_is_no_silence() -> None:
    stage = Stage(fail)

    await stage.clock.advance(1000)

    assert stage.states == []


async def test_a_feed_of_which_every_row_is_refused_is_stalled_until_one_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken, refused, are_good = 3, 0, False
    clock, states = ManualClock(), list[str]()

    async def beat(emit: Emit) -> None:
        nonlocal taken, refused
        while True:
            emit(trades())
            emit.time(1)
            taken, refused = taken + are_good, refused + (not are_good)
            await clock.sleep(1)

    supervisor = Supervisor(Scripted(beat), Door([]), clock, STALL_S, states.append, rows=lambda: (taken, refused))
    running = asyncio.create_task(supervisor.run())
    await clock.advance(29)
    assert states == ["live"]

    await clock.advance(40)
    assert states == ["live", "stalled"]
    assert [message for message in caplog.messages if "stalled" in message] == [
        "feed scripted is stalled: every row was refused for 30 s"
    ]

    are_good = True
    await clock.advance(3)
    assert states == ["live", "stalled", "live"]

    are_good = False
    await clock.advance(29)
    assert states == ["live", "stalled", "live"]
    await clock.advance(40)
    assert states == ["live", "stalled", "live", "stalled"]
    running.cancel()
    await asyncio.wait({running})


async def test_some_rows_that_are_refused_are_no_stall() -> None:
    taken, refused = 0, 0
    clock, states = ManualClock(), list[str]()

    async def beat(emit: Emit) -> None:
        nonlocal taken, refused
        while True:
            emit(trades())
            refused += 5
            if refused % 100 == 0:  # every twenty seconds
                taken += 1
            await clock.sleep(1)

    supervisor = Supervisor(Scripted(beat), Door([]), clock, STALL_S, states.append, rows=lambda: (taken, refused))
    running = asyncio.create_task(supervisor.run())
    await clock.advance(300)

    assert states == ["live"]
    running.cancel()
    await asyncio.wait({running})


async def test_rows_that_wait_for_their_flush_are_no_stall() -> None:
    stage: Stage

    async def beat(emit: Emit) -> None:
        while True:
            emit(trades())
            await stage.clock.sleep(1)

    stage = Stage(beat)
    await stage.clock.advance(300)

    assert stage.states == ["live"]
