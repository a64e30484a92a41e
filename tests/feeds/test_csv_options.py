"""The options of the feed: what they mean, and the one line that tells of a bad one."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
from datetime import date
from pathlib import Path

import pytest

from feeds.csv_options import add_options, parse_options
from feeds.csv_replay import CsvFeed
from tests.feeds.csv_rig import make, replay
from ticker.clock import ManualClock
from ticker.feed import Replay


def parsed(*arguments: str, **defaults: object) -> argparse.Namespace:
    """Return parsed arguments; defaults are set as the command line sets those of environment variables."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_options(parser.add_argument_group())
    parser.set_defaults(**defaults)
    return parser.parse_args(arguments)


def test_defaults_replay_once_at_the_speed_of_life() -> None:
    options = parse_options(parsed("a.csv", "b.csv.gz"))

    assert options.files == ("a.csv", "b.csv.gz")
    assert (options.speed, options.loop, options.wait_for, options.restamp) == (1.0, False, 0, False)
    assert (options.scan, options.skip_bad_rows, options.sort_mib, options.window_ms) == (True, False, 512, 1000)


def test_options_may_come_as_text_from_the_environment() -> None:
    arguments = parsed(files="a.csv 'b c.csv'", speed="max", loop="1", restamp="no", no_scan="true", wait_for="2")
    arguments.scale = "price=2, size=0"

    options = parse_options(arguments)

    assert options.files == ("a.csv", "b c.csv")
    assert (options.speed, options.loop, options.restamp, options.scan) == (None, True, False, False)
    assert options.wait_for == 2
    assert options.scale == {"price": 2, "size": 0}


def test_hints_are_what_was_said() -> None:
    hints = parse_options(
        parsed("x", "--columns", "time=Wann, bid=2,ask=3", "--time-format", "%Y%m%d", "--date", "2013-10-07",
               "--timezone", "America/New_York", "--interval-s", "60")
    ).hints  # fmt: skip

    assert hints.columns == {"time": "Wann", "bid_price": "2", "ask_price": "3"}
    assert (hints.time_format, hints.zone, hints.day) == ("%Y%m%d", "America/New_York", date(2013, 10, 7))
    assert hints.interval_s == 60


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "FILE: expected one or more files"),
        (["x", "--speed", "fast"], "--speed: expected a number above 0, such as 0.5 or 10, or max, got fast"),
        (["x", "--speed", "0"], "--speed: expected a number above 0"),
        (["x", "--speed", "-1"], "--speed: expected a number above 0"),
        (["x", "--speed", "nan"], "--speed: expected a number above 0"),
        (["x", "--speed", "inf"], "--speed: expected a number above 0"),
        (["x", "--wait-for", "-1"], "--wait-for: expected a whole number between 0 and 100,000, got -1"),
        (["x", "--wait-for", "many"], "--wait-for: expected a whole number"),
        (["x", "--layout", "csv"], "--layout: expected one of bars, "),
        (["x", "--layout", "bars", "--columns", "time=1,price=2"], "--layout: expected alone, not with --columns"),
        (["x", "--columns", "price=1"], "--columns: expected time and price"),
        (["x", "--columns", "time=1"], "--columns: expected time and price"),
        (["x", "--columns", "time=1,prize=2"], "--columns: expected pairs such as time=1,price=2 of time, date"),
        (["x", "--columns", "time=1,price"], "--columns: expected pairs"),
        (["x", "--columns", "time=1,price=2,price=3"], "--columns: expected each role once, got price twice"),
        (["x", "--time-format", "iso"], "--time-format: expected s, ms, us, ns or words of strptime"),
        (["x", "--time-format", "%Q"], "--time-format: expected words of strptime"),
        (["x", "--time-format", "%Y%Y"], "--time-format: expected each word once"),
        (["x", "--timezone", "Mars"], "--timezone: expected UTC, an offset such as UTC-05 or a name"),
        (["x", "--date", "7.10.2013"], "--date: expected a day such as 2013-10-07, got '7.10.2013'"),
        (["x", "y", "--symbol", "A,B,C"], "--symbol: expected one, or one for each of 2 files, got 3"),
        (["x", "--symbol", "A" * 129], "--symbol: expected 1 to 128 characters"),
        (["x", "--interval-s", "0"], "--interval-s: expected a whole number between 1 and"),
        (["x", "--scale", "price=2,size=0"], "--scale: expected only with --no-scan"),
        (["x", "--no-scan"], "--scale: expected price=N,size=N with --no-scan, got nothing"),
        (["x", "--no-scan", "--scale", "price=2"], "--scale: expected price=N,size=N with --no-scan, got price=2"),
        (["x", "--no-scan", "--scale", "price=19,size=0"], "--scale: expected price=N,size=N of 0 to 18"),
        (["x", "--no-scan", "--scale", "price=1,size=0,time=3"], "--scale: expected price=N,size=N of 0 to 18"),
        (["x", "--on-bad-row", "ignore"], "--on-bad-row: expected stop or skip, got ignore"),
        (["x", "--sort-mib", "1.5"], "--sort-mib: expected a whole number"),
        (["x", "--replay-window-ms", "x"], "--replay-window-ms: expected a whole number"),
    ],
)
def test_a_bad_option_is_told_in_a_line_that_begins_with_its_name(arguments: list[str], line: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse_options(parsed(*arguments))

    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_flag_that_is_neither_yes_nor_no_is_told() -> None:
    with pytest.raises(ValueError, match="--loop: expected 1 or 0, got maybe"):
        parse_options(parsed("x", loop="maybe"))


def test_every_option_is_explained() -> None:
    parser = argparse.ArgumentParser()
    group = parser.add_argument_group()
    add_options(group)

    for action in group._group_actions:
        assert action.help
    assert "%Y%m%d" in parser.format_help()


def test_the_feed_is_found_under_its_name_and_says_what_it_is() -> None:
    (found,) = importlib.metadata.entry_points(group="ticker.feeds", name="csv")

    assert found.load() is CsvFeed
    assert CsvFeed.name == "csv"
    assert (CsvFeed.__doc__ or "").startswith("Replay of trades, quotes or bars")


def test_the_speed_is_told_unless_times_are_now() -> None:
    assert make("x", "--speed", "max").replay == Replay(None)
    assert make("x", "--speed", 10).replay == Replay(10)
    assert make("x", "--restamp", clock=ManualClock()).replay is None


async def test_one_line_tells_what_was_recognised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("time,symbol,price\n1723161255342,B,1.50\n1723161255341,A,1\n")
    caplog.set_level(logging.INFO)

    await replay(path)

    assert [record.message for record in caplog.records if record.name == "feeds.csv_replay"] == [
        "trades.csv: header: trades of B, A; 2 rows; 2024-08-08T23:54:15.341Z to 2024-08-08T23:54:15.342Z; "
        "price scale 0 to 1, size scale 0; sorted by time; time ms UTC; no size: 0"
    ]
