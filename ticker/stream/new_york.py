"""Days of the US market: New York's dates and midnights on whole columns, daylight saving included."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from ticker.columns import Ints

log = logging.getLogger(__name__)

HOUR_S, DAY_S = 3600, 86400
# Some 300 years around 1970: clocks of other centuries are taken for those of the nearest.
_EARLIEST_HOUR, _LATEST_HOUR = -2_600_000, 2_600_000


@cache
def _zone() -> tzinfo:
    try:
        return ZoneInfo("America/New_York")
    except (ZoneInfoNotFoundError, OSError):
        log.warning("this machine has no time zones (install tzdata): days begin at 05:00 UTC all year")
        return timezone(timedelta(hours=-5))


@cache
def _ahead_at(hour: int) -> int:
    """Return how many seconds New York's clocks are ahead of UTC in an hour of UNIX time."""
    hour = min(max(hour, _EARLIEST_HOUR), _LATEST_HOUR)
    offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=hour)).astimezone(_zone()).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@cache
def _midnight_of(day: int) -> int:
    """Return the UNIX time at which a day, counted from 1970-01-01, begins in New York."""
    local = day * DAY_S
    ahead = _ahead_at(local // HOUR_S + 5)
    # Clocks are changed at two in the morning, so the offset at midnight is that of some hours before.
    return local - _ahead_at((local - ahead) // HOUR_S)


def days(seconds: Ints) -> Ints:
    """Return New York's dates at these UNIX times, as days since 1970-01-01."""
    return (seconds + _looked_up(_ahead_at, seconds // HOUR_S)) // DAY_S


def midnights(days: Ints) -> Ints:
    """Return the UNIX times at which these days begin in New York."""
    return _looked_up(_midnight_of, days)


def _looked_up(function: Callable[[int], int], keys: Ints) -> Ints:
    distinct, places = np.unique(keys, return_inverse=True)
    return np.array([function(key) for key in distinct.tolist()], np.int64)[places.reshape(-1)]
