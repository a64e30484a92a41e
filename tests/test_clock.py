"""The clock that a test moves by hand, and the machine's."""

from __future__ import annotations

import asyncio
import time

from ticker.clock import Clock, ManualClock, SystemClock


async def test_time_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(start_ns=1_000_000_000)
    sleeper = asyncio.create_task(clock.sleep(1.5))
    await asyncio.sleep(0)

    await clock.advance(1.25)
    assert not sleeper.done()
    assert (clock.now(), clock.monotonic()) == (2_250_000_000, 1.25)

    await clock.advance(0.25)
    assert sleeper.done()
    assert (clock.now(), clock.monotonic()) == (2_500_000_000, 1.5)


async def test_each_sleeper_wakes_at_its_own_time_in_the_order_of_deadlines() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    sleepers = [asyncio.create_task(sleep(*each)) for each in (("late", 3.0), ("early", 1.0), ("early too", 1.0))]
    await clock.advance(5)
    await asyncio.gather(*sleepers)

    assert woken == [("early", 1.0), ("early too", 1.0), ("late", 3.0)]
    assert clock.monotonic() == 5.0


async def test_who_sleeps_again_and_again_wakes_each_time_on_the_way() -> None:
    clock = ManualClock()
    times: list[float] = []

    async def beat() -> None:
        while True:
            await clock.sleep(0.25)
            times.append(clock.monotonic())

    beating = asyncio.create_task(beat())
    await clock.advance(1.0)
    beating.cancel()

    assert times == [0.25, 0.5, 0.75, 1.0]


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)

    sleeper.cancel()
    await clock.advance(2)

    assert sleeper.cancelled()


async def check_that_others_have_their_turn(clock: Clock) -> None:
    turns: list[float] = []
    for seconds in (0, -1):

        async def other(seconds: float = seconds) -> None:
            turns.append(seconds)

        task = asyncio.create_task(other())
        await clock.sleep(seconds)
        assert task.done()

    assert turns == [0, -1]


async def test_not_sleeping_at_all_lets_others_have_their_turn() -> None:
    await check_that_others_have_their_turn(ManualClock())
    await check_that_others_have_their_turn(SystemClock())


async def test_the_machines_clock_tells_unix_time_and_waits() -> None:
    clock = SystemClock()
    before, started = time.time_ns(), clock.monotonic()

    await clock.sleep(0.01)

    assert before <= clock.now() <= time.time_ns()
    assert clock.monotonic() - started >= 0.009
