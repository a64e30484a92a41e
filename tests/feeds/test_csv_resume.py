"""A replay that begins in the middle: what was emitted before a restart of the server is left out, row for row."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from feeds.csv_replay import CsvFeed
from tests.feeds.csv_rig import Recorder, make
from ticker.clock import ManualClock
from ticker.columns import Ticks
from ticker.model import Series

START_S = 1723161600
TRADES, QUOTES = Series("trades"), Series("quotes")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a file of trades and one of quotes, whose times are mixed."""
    trades, quotes = tmp_path / "trades.csv", tmp_path / "quotes.csv"
    trades.write_text(
        "time,symbol,price,size\n" + "".join(f"{START_S + i},{'AB'[i % 2]},{i + 1},1\n" for i in range(40))
    )
    quotes.write_text(
        "time,symbol,bid_price,bid_size,ask_price,ask_size\n"
        + "".join(f"{START_S + i * 2},A,{i + 1},1,{i + 2},1\n" for i in range(20))
    )
    return trades, quotes


async def played(feed: CsvFeed, taken: dict[Series, int] | None = None) -> Recorder:
    """Return what a feed emits, to its end, without the rows that it is told to leave out."""
    emit = Recorder({each.symbol: each for each in await feed.prepare()})
    if taken is not None:
        feed.resume(taken)
    await feed.run(emit)
    return emit


@pytest.mark.parametrize("taken", [(0, 0), (1, 0), (7, 3), (40, 5), (39, 20)])
async def test_each_series_goes_on_behind_its_own_rows(files: tuple[Path, Path], taken: tuple[int, int]) -> None:
    whole = await played(make(*files, "--speed", "max"))

    rest = await played(make(*files, "--speed", "max"), {TRADES: taken[0], QUOTES: taken[1]})

    assert rest.rows("trades") == whole.rows("trades")[taken[0] :]
    assert rest.rows("quotes") == whole.rows("quotes")[taken[1] :]


async def test_a_replay_that_had_ended_emits_nothing_more(files: tuple[Path, Path]) -> None:
    rest = await played(make(*files, "--speed", "max"), {TRADES: 40, QUOTES: 20})

    assert rest.ticks == []


@pytest.mark.parametrize("taken", [10, 40, 41, 130])
async def test_rounds_that_were_replayed_are_left_out_and_times_go_on(
    tmp_path: Path, files: tuple[Path, Path], taken: int
) -> None:
    async def first_rows(count: int, left_out: int) -> list[Any]:
        feed = make(files[0], "--speed", "max", "--loop")
        emit = Recorder({each.symbol: each for each in await feed.prepare()})
        feed.resume({TRADES: left_out})
        enough, came = asyncio.Event(), 0

        def wait_when_enough(ticks: Ticks) -> None:
            nonlocal came
            came += len(ticks)
            if came >= count:
                enough.set()

        emit.on_emit = wait_when_enough
        emit.on_ready = lambda: asyncio.Event().wait() if enough.is_set() else None
        task = asyncio.create_task(feed.run(emit))
        await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return emit.rows("trades")[:count]

    assert await first_rows(20, taken) == (await first_rows(taken + 20, 0))[taken:]


async def test_restamped_rows_go_on_at_the_present_time(files: tuple[Path, Path]) -> None:
    clock = ManualClock()

    rest = await played(make(files[0], "--speed", "max", "--restamp", clock=clock), {TRADES: 7})

    times = [time_ns for _, time_ns, *_ in rest.rows()]
    assert times == [clock.now() + second * 10**9 for second in range(33)]


async def test_it_is_another_replay_if_a_file_or_the_way_it_is_read_has_changed(files: tuple[Path, Path]) -> None:
    async def identity(*options: object) -> str | None:
        feed = make(*options)
        await feed.prepare()
        return feed.identity

    first = await identity(files[0])
    assert first == await identity(files[0], "--speed", "10") is not None
    assert first != await identity(files[0], "--symbol", "C")
    assert first != await identity(*files)
    os.utime(files[0], ns=(0, 0))
    assert first != await identity(files[0])


async def test_endless_rounds_at_the_present_time_are_no_replay_to_go_on_with(files: tuple[Path, Path]) -> None:
    feed = make(files[0], "--loop", "--restamp")
    await feed.prepare()

    assert feed.identity is None
