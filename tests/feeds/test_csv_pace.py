"""When rows are handed over: at their own time or a multiple, as clients take them, by windows, again and again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feeds import csv_delimited, csv_replay
from feeds.csv_merge import Run
from feeds.csv_pace import CHUNK_ROWS, Pace
from feeds.csv_recognise import Hints, plan_of
from feeds.csv_replay import CsvFeed
from feeds.csv_scan import BadRows, scan
from feeds.csv_sources import Catalogue, Part
from tests.feeds.csv_rig import Recorder, make, replay
from ticker.clock import ManualClock
from ticker.columns import Ticks
from ticker.feed import Replay
from ticker.model import Series

START_S = 1723161600
Until = Callable[..., Any]


def trades(folder: Path, *seconds: float, name: str = "x.csv") -> Path:
    """Write a file of trades at seconds after START_S; prices count them."""
    path = folder / name
    rows = "".join(f"{START_S + second},{i},1\n" for i, second in enumerate(seconds))
    path.write_text("time,price,size\n" + rows)
    return path


def bars(folder: Path, count: int, interval_s: int = 60, start_s: int = START_S) -> Path:
    path = folder / "b.csv"
    rows = "".join(f"{start_s + i * interval_s},1,1,1,1,1\n" for i in range(count))
    path.write_text("time,open,high,low,close,volume\n" + rows)
    return path


@asynccontextmanager
async def playing(feed: CsvFeed) -> AsyncIterator[Recorder]:
    """Run a feed in the background. The clock is the test's, and the reading thread is not."""
    emit = Recorder({each.symbol: each for each in await feed.prepare()})
    task = asyncio.create_task(feed.run(emit))
    emit.task = task  # type: ignore[attr-defined]
    try:
        yield emit
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def seconds(emit: Recorder) -> list[float]:
    """Return the times of the rows in seconds after START_S."""
    return [(row[1] - START_S * 10**9) / 10**9 for row in emit.rows()]


@pytest.mark.parametrize("speed", [1, 0.5, 10])
async def test_rows_come_at_their_own_time(tmp_path: Path, until: Until, speed: float) -> None:
    clock = ManualClock()
    feed = make(trades(tmp_path, 0, 2, 2, 4, 4.5), "--speed", speed, clock=clock)

    async with playing(feed) as emit:
        await until(lambda: seconds(emit) == [0])
        await clock.advance(1.99 / speed)
        assert seconds(emit) == [0]
        await clock.advance(0.02 / speed + 0.005)
        assert seconds(emit) == [0, 2, 2]
        await clock.advance(2 / speed)
        assert seconds(emit) == [0, 2, 2, 4]
        await clock.advance(1 / speed)
        assert seconds(emit) == [0, 2, 2, 4, 4.5]

    assert feed.replay == Replay(speed)


async def test_the_clock_goes_on_in_a_long_gap_once_a_second_of_real_time(tmp_path: Path, until: Until) -> None:
    clock = ManualClock()
    feed = make(trades(tmp_path, 0, 5000), "--speed", 100, clock=clock)

    async with playing(feed) as emit:
        await until(lambda: emit.times)
        await clock.advance(10)

    assert [time // 10**9 - START_S for time in emit.times][-10:] == [100 * i for i in range(1, 11)]


async def test_rows_close_together_are_handed_over_together(tmp_path: Path, until: Until) -> None:
    clock = ManualClock()
    feed = make(trades(tmp_path, *(i / 10_000 for i in range(2000))), clock=clock)

    async with playing(feed) as emit:
        await until(lambda: emit.ticks)
        await clock.advance(0.1)

    assert 950 <= len(emit.rows()) <= 1001
    assert len(emit.ticks) <= 21


async def test_the_end_tells_the_last_time_flushes_and_returns(tmp_path: Path) -> None:
    replayed = await replay(trades(tmp_path, 0, 7))

    assert replayed.emit.calls[-2:] == [("time", (START_S + 7) * 10**9), ("flush", None)]


def windows(emit: Recorder) -> list[list[float]]:
    """Return the times of the rows between flushes, in seconds after START_S."""
    found: list[list[float]] = [[]]
    for what, value in emit.calls:
        if what == "flush":
            found.append([])
        elif what == "ticks":
            found[-1] += [(row[1] - START_S * 10**9) / 10**9 for row in emit.rows_of(value)]
    return [each for each in found if each]


@pytest.mark.parametrize("speed", ["max", 1e6])
async def test_each_window_of_event_time_is_flushed_by_itself(tmp_path: Path, speed: object) -> None:
    path = trades(tmp_path, 0, 0.5, 0.999, 1, 1.5, 7, 7.25, 8)
    feed = make(path, "--speed", speed, "--replay-window-ms", 1000, clock=None)
    if speed != "max":
        clock = ManualClock()
        feed = make(path, "--speed", speed, "--replay-window-ms", 1000, clock=clock)
    emit = Recorder({each.symbol: each for each in await feed.prepare()})

    running = asyncio.create_task(feed.run(emit))
    while not running.done():
        await asyncio.sleep(0)
        if speed != "max":
            await clock.advance(0.01)
    await running

    assert windows(emit) == [[0, 0.5, 0.999], [1, 1.5], [7, 7.25], [8]]


async def test_windows_may_be_switched_off(tmp_path: Path) -> None:
    replayed = await replay(trades(tmp_path, 0, 5, 10, 86400), "--replay-window-ms", 0)

    assert windows(replayed.emit) == [[0, 5, 10, 86400]]


async def test_at_full_speed_clients_are_waited_for_before_each_chunk(tmp_path: Path) -> None:
    rows = 3 * CHUNK_ROWS
    path = trades(tmp_path, *(i / 1000 for i in range(rows)))
    since_ready = [0]
    feed = make(path, "--speed", "max", "--replay-window-ms", 0)
    emit = Recorder({each.symbol: each for each in await feed.prepare()})

    def count(ticks: Ticks) -> None:
        since_ready[0] += len(ticks)
        assert since_ready[0] <= CHUNK_ROWS

    emit.on_emit = count
    emit.on_ready = lambda: since_ready.__setitem__(0, 0)
    await feed.run(emit)

    assert sum(map(len, emit.ticks)) == rows
    assert np.array_equal(np.concatenate([ticks.columns[1] for ticks in emit.ticks]), np.arange(rows))


async def test_at_full_speed_nothing_comes_while_a_client_is_behind(tmp_path: Path, until: Until) -> None:
    feed = make(trades(tmp_path, 0, 1), "--speed", "max")
    behind: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async with playing(feed) as emit:
        emit.on_ready = lambda: behind
        await until(lambda: ("ready", None) in emit.calls)
        assert not emit.ticks
        behind.set_result(None)
        await until(lambda: len(emit.rows()) == 2)


async def test_at_a_finite_speed_nobody_is_waited_for(tmp_path: Path, until: Until) -> None:
    async with playing(make(trades(tmp_path, 0))) as emit:
        await until(lambda: emit.rows())

    assert ("ready", None) not in emit.calls


async def test_the_replay_waits_for_its_subscribers(tmp_path: Path, until: Until) -> None:
    feed = make(trades(tmp_path, 0, 1), "--speed", "max", "--wait-for", 3)
    subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    emit = Recorder({each.symbol: each for each in await feed.prepare()}, subscribed=subscribed)

    running = asyncio.create_task(feed.run(emit))
    await until(lambda: emit.calls)
    assert emit.calls == [("subscribers", 3)]
    subscribed.set_result(None)
    await running

    assert seconds(emit) == [0, 1]


async def rounds(feed: CsvFeed, until: Until, rows: int) -> list[float]:
    """Return the times of the first rows of an endless replay."""
    async with playing(feed) as emit:
        await until(lambda: len(emit.rows()) >= rows)
        return seconds(emit)[:rows]


async def test_each_round_of_a_loop_is_shifted_by_the_span(tmp_path: Path, until: Until) -> None:
    feed = make(trades(tmp_path, 0, 1, 3), "--speed", "max", "--loop")

    assert await rounds(feed, until, 9) == [0, 1, 3, 3, 4, 6, 6, 7, 9]


async def test_a_loop_goes_on_in_time(tmp_path: Path, until: Until) -> None:
    clock = ManualClock()
    feed = make(trades(tmp_path, 0, 1, 3), "--loop", clock=clock)

    async with playing(feed) as emit:
        for second, expected in ((0, [0]), (1, [0, 1]), (2, [0, 1]), (3, [0, 1, 3, 3]), (4, [0, 1, 3, 3, 4])):
            await clock.advance(second - clock.monotonic())
            await until(lambda expected=expected: seconds(emit) == expected)


async def test_bars_of_a_next_round_begin_where_the_last_one_ended(tmp_path: Path, until: Until) -> None:
    feed = make(bars(tmp_path, 3), "--speed", "max", "--loop")

    assert await rounds(feed, until, 7) == [0, 60, 120, 180, 240, 300, 360]


async def test_rounds_of_minutes_and_days_keep_both_on_their_grid(tmp_path: Path, until: Until) -> None:
    day = tmp_path / "daily.csv"
    day.write_text(f"time,open,high,low,close\n{START_S},1,1,1,1\n")
    feed = make(bars(tmp_path, 3), day, "--speed", "max", "--loop", "--symbol", "A,B")

    async with playing(feed) as emit:
        await until(lambda: len(emit.rows()) > 20)

    for ticks in emit.ticks:
        assert not (ticks.columns[0] % (ticks.interval_s * 10**6)).any()


async def test_a_single_row_loops_once_a_second(tmp_path: Path, until: Until) -> None:
    assert await rounds(make(trades(tmp_path, 0), "--speed", "max", "--loop"), until, 3) == [0, 1, 2]


async def test_a_loop_ends_before_time_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"time,price,size\n0{10**8},1,1\n{START_S},2,1\n")

    replayed = await replay(path, "--loop", "--time-format", "s")

    assert "--loop ends" in caplog.text
    assert replayed.rows()[-1][1] < 7258118400 * 10**9


async def test_restamped_rows_begin_now_and_keep_their_distances(tmp_path: Path, until: Until) -> None:
    clock = ManualClock()
    feed = make(trades(tmp_path, 0, 1, 3), "--restamp", clock=clock)
    assert feed.replay is None

    async with playing(feed) as emit:
        await until(lambda: emit.rows())
        await clock.advance(3)
        await until(lambda: len(emit.rows()) == 3)

    started = clock.now() - 3 * 10**9
    assert [row[1] - started for row in emit.rows()] == [0, 10**9, 3 * 10**9]


async def test_restamped_bars_stay_on_the_grid_of_their_interval(tmp_path: Path) -> None:
    replayed = await replay(bars(tmp_path, 3, 300), "--restamp")

    now = ManualClock().now()
    times = [row[1] for row in replayed.rows()]
    assert all(time % (300 * 10**9) == 0 for time in times)
    assert now - 600 * 10**9 < times[0] <= now - 300 * 10**9  # it has just ended
    assert times[1] - times[0] == 300 * 10**9


async def test_restamping_and_looping_go_together(tmp_path: Path, until: Until) -> None:
    feed = make(trades(tmp_path, 0, 2), "--restamp", "--loop", "--speed", "max")

    async with playing(feed) as emit:
        await until(lambda: len(emit.rows()) >= 6)

    first = emit.rows()[0][1]
    assert first == ManualClock().now() // 1000 * 1000
    assert [(row[1] - first) // 10**9 for row in emit.rows()[:6]] == [0, 2, 2, 4, 4, 6]


async def test_stopping_leaves_no_thread_that_reads_on(tmp_path: Path, until: Until) -> None:
    feed = make(trades(tmp_path, *range(1000)))

    async with playing(feed) as emit:
        await until(lambda: emit.rows())

    assert emit.task.cancelled()  # type: ignore[attr-defined]


async def test_a_scan_ends_when_the_start_is_called_off(tmp_path: Path, until: Until) -> None:
    path = trades(tmp_path, *range(200_000))
    feed = make(path, "--on-bad-row", "skip")
    preparing = asyncio.create_task(feed.prepare())
    await until(lambda: any("csv-scan" in thread.name for thread in threading.enumerate()))

    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing

    assert not any("csv-scan" in thread.name for thread in threading.enumerate())
    with pytest.raises(InterruptedError):
        scan(plan_of(str(path), Hints()), BadRows(False), should_stop=lambda: True)


async def test_while_rows_are_read_the_feed_gives_signs_of_life(
    tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_on = threading.Event()
    slow_disk = csv_delimited.pieces

    def pieces(*arguments: Any) -> Any:
        read_on.wait(10)
        return slow_disk(*arguments)

    feed = make(trades(tmp_path, 5, 6), "--speed", "max")
    known = {each.symbol: each for each in await feed.prepare()}
    monkeypatch.setattr(csv_delimited, "pieces", pieces)
    monkeypatch.setattr(csv_replay, "STEP_S", 0.01)
    emit = Recorder(known)
    running = asyncio.create_task(feed.run(emit))

    await until(lambda: len(emit.times) > 2)
    assert emit.calls == [("time", (START_S + 5) * 10**9)] * len(emit.calls)
    read_on.set()
    await running

    assert seconds(emit) == [5, 6]


async def test_a_feed_that_is_run_again_begins_again(tmp_path: Path) -> None:
    feed = make(trades(tmp_path, 0, 1), "--speed", "max")
    known = {each.symbol: each for each in await feed.prepare()}

    for _ in range(2):
        emit = Recorder(dict(known))
        await feed.run(emit)
        assert seconds(emit) == [0, 1]


async def test_others_get_their_turn_while_tiny_windows_are_handed_over() -> None:
    catalogue = Catalogue(6)
    catalogue.code("X", 0, 0)
    due = np.arange(20_000, dtype=np.int64) * 10**7
    emit = Recorder()
    pace = Pace(emit, catalogue, ManualClock(), None, 1000)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(other())
    await pace.replay(Run.of([Part(Series("trades"), due, np.zeros(len(due), np.int32), (due, due, due))]))
    task.cancel()

    assert turns >= 2
    assert sum(map(len, emit.ticks)) == len(due)
