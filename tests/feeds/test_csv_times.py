"""Formats of times, zones and daylight saving, against the standard library."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.csv_times import TimeFormat, recognise
from feeds.csv_zones import Zone
from tests.feeds.csv_rig import replay
from ticker.feed import FatalFeedError

MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1))
NEW_YORK = ZoneInfo("America/New_York")
HOUR = 3600 * 10**9


def ns(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo and UTC)
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000


FORMATS = [
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y%m%d %H%M%S",
    "%d-%b-%y",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y-%j",
    "%H:%M:%S",
]


@given(st.lists(MOMENTS, min_size=1, max_size=20), st.sampled_from(FORMATS))
def test_columns_are_parsed_as_strptime_does(moments: list[datetime], text: str) -> None:
    written = [moment.strftime(text) for moment in moments]

    parsed = TimeFormat(text).parse_column(pa.array(written))

    whole_days = 0 if "%d" in text or "%j" in text else ns(datetime(1900, 1, 1))
    assert parsed.tolist() == [ns(datetime.strptime(each, text)) - whole_days for each in written]


@given(MOMENTS, st.integers(0, 999_999_999), st.integers(0, 9), st.sampled_from(["", "Z", "+02:00", "-0530"]))
def test_fractions_of_one_to_nine_digits_and_none_are_exact(
    moment: datetime, fraction: int, digits: int, zone: str
) -> None:
    moment = moment.replace(microsecond=0)
    shown = f"{fraction:09d}"[:digits]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + ("." + shown if shown else "") + zone
    ahead = {"": 0, "Z": 0, "+02:00": 2 * HOUR, "-0530": -11 * HOUR // 2}[zone]

    parsed = TimeFormat("%Y-%m-%dT%H:%M:%S%F" + ("%z" if zone else "")).parse_column(pa.array([text, text]))

    assert parsed.tolist() == [ns(moment) + int(shown.ljust(9, "0")) - ahead] * 2


@pytest.mark.parametrize(
    "text",
    ["2014-06-31 00:00:00", "2014-13-01 00:00:00", "2014-06-23 24:00:00", "2014-06-23 22:60:00", "2014-06-23", "x", ""],
)
def test_what_is_no_such_time_is_refused(text: str) -> None:
    format_ = TimeFormat("%Y-%m-%d %H:%M:%S")

    with pytest.raises(ValueError, match=r"is not a time of the form|no such day"):
        format_.parse(text)
    with pytest.raises(ValueError, match=r"is not a time of the form|no such day"):
        format_.parse_column(pa.array(["2014-06-23 22:00:00", text]))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["31-Dec-10", "5-Jan-10"], "%d-%b-%y"),
        (["2018/10/15"], "%Y/%m/%d"),
        (["20110301 090100"], "%Y%m%d %H%M%S%F"),
        (["2014-06-23 22:00:00", "2014-06-23 22:30:00.5"], "%Y-%m-%d %H:%M:%S%F"),
        (["2024-08-08T23:54:15Z"], "%Y-%m-%dT%H:%M:%S%F%z"),
        (["12/31/2010", "01/04/2010"], "%m/%d/%Y"),
        (["31/12/2010", "04/01/2010"], "%d/%m/%Y"),
        (["01.05.2014 00:00:00.123"], "%d.%m.%Y %H:%M:%S%F"),
        (["Dec 31, 2010"], "%b %d, %Y"),
        (["11:34"] + ["2018/10/15"] * 9, "%Y/%m/%d"),
    ],
)
def test_formats_are_recognised_even_if_a_cell_is_bad(texts: list[str], expected: str) -> None:
    assert [each.text for each in recognise(texts)] == [expected]


def test_two_formats_are_left_where_day_and_month_cannot_be_told_apart() -> None:
    assert {each.text for each in recognise(["03/04/2011", "05/04/2011"])} == {"%m/%d/%Y", "%d/%m/%Y"}
    assert recognise(["tomorrow"]) == []


@given(st.lists(MOMENTS, min_size=1, max_size=50))
def test_new_york_is_as_the_standard_library_has_it(moments: list[datetime]) -> None:
    utc, exists = Zone("America/New_York").to_utc(np.array([ns(moment) for moment in moments], np.int64))

    for moment, time, is_there in zip(moments, utc.tolist(), exists.tolist(), strict=True):
        aware = moment.replace(tzinfo=NEW_YORK)
        assert is_there == (aware.astimezone(UTC).astimezone(NEW_YORK).replace(tzinfo=None) == moment)
        if is_there:
            assert time == ns(aware.astimezone(UTC))


@pytest.mark.parametrize(
    ("name", "hours"), [("UTC", 0), ("UTC-05", -5), ("UTC+05:30", 5.5), ("-04:00", -4), ("gmt+1", 1)]
)
def test_fixed_offsets_are_what_they_say(name: str, hours: float) -> None:
    utc, exists = Zone(name).to_utc(np.array([0], np.int64))

    assert utc.tolist() == [round(-hours * HOUR)]
    assert exists.all()


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "UTC+99", "America", "../etc/passwd"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected UTC, an offset such as UTC-05 or a name such as America/New_York"):
        Zone(name)


def ms_since_midnight(hour: int, minute: int = 0) -> int:
    return (hour * 60 + minute) * 60_000


@pytest.mark.parametrize(
    ("day", "hour", "utc_hour"),
    [
        (date(2013, 3, 8), 9, 14),  # winter
        (date(2013, 3, 11), 9, 13),  # after the clocks went forward
        (date(2013, 3, 10), 1, 6),  # that night, before
        (date(2013, 3, 10), 3, 7),  # and after
        (date(2013, 11, 3), 0, 4),  # the night in which they go back, before
        (date(2013, 11, 3), 1, 5),  # an hour that comes twice: the earlier
        (date(2013, 11, 3), 2, 7),  # after
    ],
)
async def test_milliseconds_since_midnight_are_a_wall_clock_in_new_york(
    tmp_path: Path, day: date, hour: int, utc_hour: int
) -> None:
    path = tmp_path / f"{day:%Y%m%d}_ibm_Trade_Tick.csv"
    path.write_text(f"{ms_since_midnight(hour, 30)},1815200,283,P,20002020,0\n")

    replayed = await replay(path)

    moment = datetime(day.year, day.month, day.day, utc_hour, 30, tzinfo=UTC)
    assert replayed.rows() == [("IBM", ns(moment), Decimal("181.52"), Decimal(283))]


async def test_a_wall_clock_that_the_change_leaps_over_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "20130310_ibm_Trade_Tick.csv"
    good = f"{ms_since_midnight(1)},1815200,283,P,20002020,0\n"
    path.write_text(good + f"{ms_since_midnight(2, 30)},1815200,283,P,20002020,0\n")

    with pytest.raises(FatalFeedError, match=r"csv:2: time '9000000' never was in America/New_York"):
        await replay(path)

    assert len((await replay(path, "--timezone", "UTC")).rows()) == 2


async def test_text_times_follow_the_zone_over_the_change(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price,size\n2013-03-08 09:30:00,1,1\n2013-03-11 09:30:00,1,1\n")

    replayed = await replay(path, "--timezone", "America/New_York")

    expected = [datetime(2013, 3, 8, 14, 30, tzinfo=UTC), datetime(2013, 3, 11, 13, 30, tzinfo=UTC)]
    assert [row[1] for row in replayed.rows()] == [ns(moment) for moment in expected]


async def test_an_offset_in_the_text_beats_the_zone(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price,size\n2013-03-08T09:30:00+02:00,1,1\n")

    replayed = await replay(path, "--timezone", "America/New_York")

    assert replayed.rows()[0][1] == ns(datetime(2013, 3, 8, 9, 30, tzinfo=timezone(timedelta(hours=2))).astimezone(UTC))


async def test_a_day_alone_is_a_day_of_utc_in_any_zone(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("date,open,high,low,close\n2013-03-08,1,1,1,1\n2013-03-11,1,1,1,1\n")

    replayed = await replay(path, "--timezone", "America/New_York", "--interval-s", 86400)

    assert replayed.rows()[0][1] == ns(datetime(2013, 3, 8))


@pytest.mark.parametrize("step", [1, 24])
async def test_days_at_midnight_are_days_of_utc_and_hours_follow_the_zone(tmp_path: Path, step: int) -> None:
    path = tmp_path / "ibm.csv"
    hours = [datetime(2013, 3, 7) + timedelta(hours=step * i) for i in range(3)]
    path.write_text("".join(f"{hour:%Y%m%d %H:%M},1815200,1815200,1815200,1815200,9\n" for hour in hours))

    replayed = await replay(path)

    ahead = 0 if step == 24 else 5 * HOUR
    assert [row[1:3] for row in replayed.rows()] == [(ns(hour) + ahead, Decimal("181.52")) for hour in hours]


@pytest.mark.parametrize(
    ("stamp", "unit", "expected", "scale"),
    [
        ("1723161255", "", 1723161255 * 10**9, 6),
        ("1723161255.25", "", 1723161255 * 10**9 + 25 * 10**7, 6),
        ("1723161255342", "", 1723161255342 * 10**6, 6),
        ("1723161255342.5", "", 1723161255342 * 10**6 + 500_000, 6),
        ("1723161255342123", "", 1723161255342123 * 10**3, 6),
        ("1723161255342123456", "", 1723161255342123456, 9),
        ("1723161255342123000", "", 1723161255342123000, 6),
        ("1723161255.342123456", "", 1723161255342123456, 9),
        ("723161255", "s", 723161255 * 10**9, 6),
        ("2024-08-08T23:54:15.342123456Z", "", 1723161255342123456, 9),
    ],
)
async def test_unix_times_of_any_unit_are_exact_and_nanoseconds_are_kept(
    tmp_path: Path, stamp: str, unit: str, expected: int, scale: int
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"time,price,size\n{stamp},1,1\n")

    replayed = await replay(path, "--time-format", unit)

    assert [row[1] for row in replayed.rows()] == [expected]
    assert replayed.instruments["X"].time_scale == scale


async def test_seconds_since_midnight_with_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "AAPL_2012-06-21_message.csv"
    path.write_text("34200.004241176,1,16113575,18,5853300,1\n34200.025551909,1,16113584,18,5853200,1\n")

    replayed = await replay(path, "--columns", "time=1,size=4,price=5", "--timezone", "America/New_York")

    assert replayed.rows()[0] == (
        "AAPL", ns(datetime(2012, 6, 21, 13, 30, tzinfo=UTC)) + 4241176, Decimal(5853300), Decimal(18))  # fmt: skip
