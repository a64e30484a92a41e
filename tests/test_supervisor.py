"""A feed that fails, ends, misbehaves: what the supervisor makes of it. (Silence: see test_supervisor_silence.py.)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from tests.supervised import STALL_S, Door, Scripted, Stage, fail, forever, tick_and_fail, tick_and_wait, trades
from ticker.clock import ManualClock
from ticker.feed import Emit, FatalFeedError, Feed
from ticker.model import Instrument
from ticker.supervisor import Supervisor


async def test_a_feed_is_waiting_until_its_first_ticks() -> None:
    stage = Stage(tick_and_wait)
    assert stage.supervisor.state == "waiting"

    await stage.clock.advance(0)

    assert stage.supervisor.state == "live"
    assert stage.states == ["live"]


async def test_signs_of_life_without_ticks_do_not_make_a_feed_live() -> None:
    async def hello(emit: Emit) -> None:
        emit.instruments([Instrument("AAPL")])
        emit.time(5)
        emit(trades(0))
        await forever(emit)

    stage = Stage(hello)
    await stage.clock.advance(1)

    assert stage.states == []
    assert stage.supervisor.state == "waiting"


async def test_all_that_a_feed_says_goes_through_the_door() -> None:
    async def say_it_all(emit: Emit) -> None:
        emit.instruments([Instrument("AAPL")])
        emit.gap("bars", "AAPL", 7, 60)
        emit(trades(3))
        emit.time(5)
        emit.flush()
        await emit.subscribers(2, 0.25)
        await emit.ready()

    stage = Stage(say_it_all)
    stage.door.clients_keep_up.set()
    await stage.clock.advance(0)

    assert [note for note in stage.notes if note not in ("live", "ended")] == [
        ("instruments", [Instrument("AAPL")]),
        ("gap", "bars", "AAPL", 7, 60),
        ("ticks", 3),
        ("time", 5),
        "flush",
        ("subscribers", 2, 0.25),
        "flush",
    ]


async def test_a_feed_that_returns_has_ended_once_its_last_rows_are_out() -> None:
    async def once(emit: Emit) -> None:
        emit(trades())

    stage = Stage(once)
    await stage.running

    assert stage.notes == [("ticks", 1), "live", "flush", "ended"]
    assert stage.supervisor.state == "ended"
    assert stage.feed.started == 1


async def test_a_fatal_error_ends_a_feed_for_good_and_is_one_line(errors: list[logging.LogRecord]) -> None:
    async def die(emit: Emit) -> None:
        emit(trades())
        raise FatalFeedError("trades.csv, line 7: price is 'x'")

    stage = Stage(die)
    await stage.running

    assert stage.notes == [("ticks", 1), "live", "flush", "failed"]
    assert stage.feed.started == 1
    assert [record.getMessage() for record in errors] == [
        "feed scripted failed for good: trades.csv, line 7: price is 'x'"
    ]
    assert errors[0].exc_info is None
    errors.clear()


async def test_a_feed_that_raises_is_waiting_and_started_again(errors: list[logging.LogRecord]) -> None:
    stage = Stage(tick_and_fail, tick_and_wait)
    await stage.clock.advance(0.99)
    assert stage.states == ["live", "waiting"]
    assert stage.feed.started == 1

    await stage.clock.advance(0.01)

    assert stage.states == ["live", "waiting", "live"]
    assert [record.getMessage() for record in errors] == ["feed scripted failed; next try in 1.0 s"]
    assert "the venue hung up" in str(errors[0].exc_info)
    errors.clear()


@pytest.mark.usefixtures("failures_are_expected")
async def test_back_off_doubles_and_is_capped() -> None:
    stage = Stage(fail)
    starts = await start_times(stage, 130)

    assert starts == pytest.approx([0, 1, 3, 7, 15, 31, 61, 91, 121])


@pytest.mark.usefixtures("failures_are_expected")
async def test_back_off_is_up_to_half_a_matter_of_chance() -> None:
    stage = Stage(fail, jitter=0.0)
    starts = await start_times(stage, 50)

    assert starts == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 45.5])


async def start_times(stage: Stage, seconds: float) -> list[float]:
    """Return when the feed was started during the next `seconds`."""
    starts: list[float] = []
    run = stage.feed.run

    async def note_and_run(emit: Emit) -> None:
        starts.append(stage.clock.monotonic())
        await run(emit)

    stage.feed.run = note_and_run  # type: ignore[method-assign]
    await stage.clock.advance(seconds)
    return starts


@pytest.mark.usefixtures("failures_are_expected")
async def test_back_off_begins_anew_when_the_feed_was_live_for_a_minute() -> None:
    stage: Stage

    async def live_for_a_minute(emit: Emit) -> None:
        emit(trades())
        await stage.clock.sleep(60)
        raise ConnectionError("the venue hung up")

    stage = Stage(fail, fail, fail, live_for_a_minute, fail)
    starts = await start_times(stage, 72)

    assert starts == pytest.approx([0, 1, 3, 7, 68, 70])


@pytest.mark.usefixtures("failures_are_expected")
async def test_a_feed_that_soon_fails_again_is_not_trusted() -> None:
    stage = Stage(tick_and_fail)
    starts = await start_times(stage, 20)

    assert starts == pytest.approx([0, 1, 3, 7, 15])


async def test_the_same_failure_again_and_again_does_not_flood_the_log(
    errors: list[logging.LogRecord], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(fail)

    await stage.clock.advance(30 * 1000)

    assert stage.feed.started > 1000
    assert len(errors) == 1
    assert len(caplog.records) < 15
    assert "for the 512th time (ConnectionError: the venue hung up)" in caplog.text
    errors.clear()


async def test_another_failure_is_told_whole(errors: list[logging.LogRecord]) -> None:
    async def fail_otherwise(emit: Emit) -> None:
        raise ValueError("what is this?")

    stage = Stage(fail, fail, fail_otherwise, forever)
    await stage.clock.advance(100)

    assert [record.exc_info[0] for record in errors if record.exc_info] == [ConnectionError, ValueError]
    errors.clear()


async def test_an_error_of_the_door_is_the_feeds_failure(errors: list[logging.LogRecord]) -> None:
    class Shut(Door):
        def instruments(self, instruments: Sequence[Instrument]) -> None:
            raise ValueError("AAPL: scales never change within an epoch")

    async def announce(emit: Emit) -> None:
        emit.instruments([Instrument("AAPL", price_scale=4)])

    notes: list[str] = []
    clock = ManualClock()
    supervisor = Supervisor(Scripted(announce, forever), Shut([]), clock, STALL_S, notes.append)
    running = asyncio.create_task(supervisor.run())
    await clock.advance(2)

    assert not running.done()
    assert "scales never change" in str(errors[0].exc_info)
    errors.clear()


async def test_what_an_earlier_run_still_does_changes_no_state() -> None:
    left: list[Emit] = []

    async def leave_the_door_open(emit: Emit) -> None:
        left.append(emit)

    stage = Stage(leave_the_door_open)
    await stage.running

    left[0](trades())

    assert stage.supervisor.state == "ended"


async def test_cancelling_the_supervisor_stops_the_feed() -> None:
    stopped: list[str] = []

    async def clean_up(emit: Emit) -> None:
        try:
            await forever(emit)
        finally:
            stopped.append("feed")

    stage = Stage(clean_up)
    await stage.clock.advance(0)

    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.running

    assert stopped == ["feed"]
    assert stage.states == []


@pytest.mark.usefixtures("failures_are_expected")
async def test_cancelling_the_supervisor_ends_its_back_off() -> None:
    stage = Stage(fail)
    await stage.clock.advance(0.5)

    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.running

    assert stage.feed.started == 1


async def test_a_cancellation_inside_the_feed_is_a_failure_like_others(errors: list[logging.LogRecord]) -> None:
    async def await_what_is_cancelled(emit: Emit) -> None:
        lost = asyncio.get_running_loop().create_future()
        lost.cancel()
        await lost

    stage = Stage(await_what_is_cancelled, tick_and_wait)
    await stage.clock.advance(2)

    assert stage.states == ["live"]
    assert stage.feed.started == 2
    assert len(errors) == 1
    errors.clear()


# feeds that misbehave


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("odd")])
async def test_a_feed_that_wants_to_end_the_process_is_started_again(
    error: BaseException, errors: list[logging.LogRecord]
) -> None:
    async def exit_at_once(emit: Emit) -> None:
        raise error

    stage = Stage(exit_at_once, tick_and_wait)
    await stage.clock.advance(2)

    assert stage.states == ["live"]
    assert stage.feed.started == 2
    assert [record.getMessage() for record in errors] == ["feed scripted failed; next try in 1.0 s"]
    errors.clear()


class Generator(Feed):
    """Yields its ticks, as one might think."""

    async def run(self, emit: Emit) -> Any:  # type: ignore[override]
        yield trades()


class Plain(Feed):
    """Is no coroutine."""

    def run(self, emit: Emit) -> Any:
        emit(trades())


class Lazy(Feed):
    """Is no coroutine and yields."""

    def run(self, emit: Emit) -> Any:
        yield trades()


@pytest.mark.parametrize(
    ("feed", "returned"), [(Generator(), "a generator"), (Lazy(), "a generator"), (Plain(), "NoneType")]
)
async def test_a_run_that_cannot_be_awaited_is_told_in_one_line_and_not_tried_again(
    feed: Feed, returned: str, errors: list[logging.LogRecord]
) -> None:
    states: list[str] = []

    await Supervisor(feed, Door([]), ManualClock(), STALL_S, states.append).run()

    assert states[-1] == "failed"
    assert [record.getMessage() for record in errors] == [
        f"feed {feed.name} failed for good: run must be written as `async def`, without `yield`: it returned {returned}"
    ]
    errors.clear()


async def test_what_a_run_returns_is_nobodys_business() -> None:
    async def garbage(emit: Emit) -> Any:
        return {"rows": float("nan")}

    stage = Stage(garbage)
    await stage.running

    assert stage.states == ["ended"]


async def test_what_a_run_emits_when_it_is_over_is_refused_and_told_once(
    errors: list[logging.LogRecord], caplog: pytest.LogCaptureFixture
) -> None:
    left: list[Emit] = []

    async def leave_a_task_behind(emit: Emit) -> None:
        left.append(emit)
        emit(trades())
        raise ConnectionError("the venue hung up")

    stage = Stage(leave_a_task_behind, tick_and_wait)
    await stage.clock.advance(2)
    before = len(stage.notes)

    for _ in range(3):
        left[0](trades(2))
        left[0].time(5)
        left[0].gap("trades", "AAPL", 3)

    assert stage.notes[before:] == [("refused", "late", 2)] * 3
    assert [message for message in caplog.messages if "is over" in message] == [
        "feed scripted emits though its run is over: refused (told once, counted as `late`)"
    ]
    errors.clear()


async def test_a_feed_that_swallows_its_cancellation_is_still_heard_until_it_returns() -> None:
    go_on = asyncio.Event()

    async def deaf(emit: Emit) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                emit(trades())

    stage = Stage(deaf)
    await stage.clock.advance(0)
    stage.running.cancel()
    await stage.clock.advance(0)
    assert not stage.running.done()
    assert ("ticks", 1) in stage.notes

    go_on.set()
    await asyncio.wait({stage.running})

    assert stage.feed.started == 1
