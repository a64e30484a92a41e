"""New York's days, against the time zone database asked one by one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ticker.stream import new_york

NEW_YORK = ZoneInfo("America/New_York")
# Before 1901 the place had local mean time.
SECONDS = st.integers(-2_000_000_000, 4_000_000_000)


@given(st.lists(SECONDS, min_size=1))
def test_dates_are_those_of_clocks_in_new_york(seconds: list[int]) -> None:
    days = new_york.days(np.array(seconds))

    epoch = date(1970, 1, 1)
    expected = [datetime.fromtimestamp(each, NEW_YORK).date() for each in seconds]
    assert [epoch + timedelta(days=int(day)) for day in days] == expected


@given(st.lists(st.integers(-20_000, 40_000), min_size=1))
def test_midnights_are_those_of_clocks_in_new_york(days: list[int]) -> None:
    found = new_york.midnights(np.array(days))

    for day, seconds in zip(days, found.tolist(), strict=True):
        local = datetime(1970, 1, 1) + timedelta(days=day)
        assert seconds == int(local.replace(tzinfo=NEW_YORK).timestamp())


def test_a_day_is_23_or_25_hours_long_when_clocks_change() -> None:
    spring, autumn = (date(2026, 3, 8) - date(1970, 1, 1)).days, (date(2026, 11, 1) - date(1970, 1, 1)).days

    starts = new_york.midnights(np.array([spring, spring + 1, autumn, autumn + 1]))

    assert (starts[1] - starts[0], starts[3] - starts[2]) == (23 * 3600, 25 * 3600)


def test_times_beyond_the_calendar_have_a_day_too() -> None:
    far = np.array([-(2**62) // 10**9 * 1000, 2**62 // 10**9 * 1000])

    assert (new_york.midnights(new_york.days(far)) <= far).all()
