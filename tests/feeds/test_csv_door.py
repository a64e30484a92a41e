"""A replay at the feed's door: all of a file that can be is taken, to the last row; what cannot is told by its line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.feeds.csv_rig import Replayed, replay
from ticker.feed import FatalFeedError
from ticker.model import Series
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory

OIL = """time,symbol,price,size
2020-04-20T18:08:00Z,CLK20,0.01,3
2020-04-20T18:08:30Z,CLK20,0.00,1
2020-04-20T18:28:00Z,CLK20,-37.63,10
2020-04-20T18:29:00Z,CLM20,20.43,5
"""
SPREADS = """time,symbol,bid_price,bid_size,ask_price,ask_size
1723161255342,CLZ4-CLF5,-0.12,5,-0.10,3
1723161255343,AAPL,0,0,189.31,100
1723161255344,AAPL,189.33,100,189.31,100
"""
POWER = """date,open,high,low,close,volume
1962-01-02,-5.5,3.25,-60.01,0,0
1962-01-03,0,0,0,0,10
1962-01-04,7,7.5,6.5,7,3
"""


def write(folder: Path, text: str, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def at_the_door(replayed: Replayed) -> tuple[int, dict[str, int]]:
    """Return how many rows of a replay the door takes, and what it refuses."""
    feed, instruments = replayed.feed, replayed.emit.known
    series = [Series(kind) for kind in feed.kinds if kind != "bars"] + [Series("bars", each) for each in feed.bars_s]
    directory = Directory("e", series, list(instruments.values()))
    batcher = Batcher(directory, Bars(directory, []), lambda blocks: None, ahead_s=feed.ahead_s)
    for ticks in replayed.emit.ticks:
        batcher.emit(ticks)
    batcher.flush()
    return batcher.rows, dict(batcher.refusals.counts)


@pytest.mark.parametrize(
    ("text", "signed", "rows"),
    [
        (OIL, {"CLK20": True, "CLM20": False}, 4),
        (SPREADS, {"CLZ4-CLF5": True, "AAPL": False}, 3),
        (POWER, {"POWER": True}, 3),
    ],
)
async def test_zero_and_negative_prices_of_a_file_are_replayed(
    tmp_path: Path, text: str, signed: dict[str, bool], rows: int
) -> None:
    replayed = await replay(write(tmp_path, text, "POWER.csv"))

    assert {each.symbol: each.signed_prices for each in replayed.instruments.values()} == signed
    assert len(replayed.rows()) == rows
    assert at_the_door(replayed) == (rows, {})


async def test_a_symbol_has_such_prices_if_any_of_its_files_has(tmp_path: Path) -> None:
    first = write(tmp_path, "time,symbol,price,size\n1587405000000,CLK20,1.5,1\n", "first.csv")

    replayed = await replay(write(tmp_path, OIL), first)

    assert {each.symbol: each.signed_prices for each in replayed.instruments.values()} == {
        "CLK20": True,
        "CLM20": False,
    }


async def test_without_a_scan_any_price_is_taken(tmp_path: Path) -> None:
    replayed = await replay(write(tmp_path, OIL), "--no-scan", "--scale", "price=2,size=0")

    assert at_the_door(replayed) == (4, {})


async def test_a_restamped_file_may_run_ahead_of_the_clock(tmp_path: Path) -> None:
    replayed = await replay(write(tmp_path, POWER, "POWER.csv"), "--restamp")

    assert replayed.feed.replay is None
    assert at_the_door(replayed) == (3, {})


BAD_BARS = POWER + "1962-01-05,7,6.5,6.75,7,3\n" + "1962-01-08,8,8.5,7.5,8,4\n"


async def test_a_bar_whose_high_is_below_its_low_is_told_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, BAD_BARS, "POWER.csv")

    with pytest.raises(FatalFeedError) as caught:
        await replay(path)

    assert str(caught.value).startswith(f"{path}:5: high 6.5 is below low 6.75 ")


async def test_such_a_bar_is_skipped_if_bad_rows_are_and_no_other(tmp_path: Path) -> None:
    replayed = await replay(write(tmp_path, BAD_BARS, "POWER.csv"), "--on-bad-row", "skip")

    assert [str(row[2]) for row in replayed.rows()] == ["-5.50", "0.00", "7.00", "8.00"]
    assert replayed.feed.bad_rows.count == 1
    assert at_the_door(replayed) == (4, {})


async def test_such_a_bar_is_found_in_parquet_too(tmp_path: Path) -> None:
    times = pa.array([1_587_405_000 + 60 * each for each in range(3)], pa.int64())
    columns = {"open": [5.5, 6, 7], "high": [6, 5.5, 7], "low": [5, 6, 7], "close": [6, 6, 7], "volume": [1, 2, 3]}
    path = tmp_path / "POWER-1m.parquet"
    pq.write_table(pa.table({"time": times, **columns}), path)

    with pytest.raises(FatalFeedError) as caught:
        await replay(path)

    assert "row 2: high 5.5 is below low 6" in str(caught.value)
