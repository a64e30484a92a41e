"""Local time to UTC on whole columns, daylight saving included."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from ticker.columns import Array, Ints

SECOND_NS = 1_000_000_000
DAY_NS = 86400 * SECOND_NS
_STEP_S = 900
_EPOCH = datetime(1970, 1, 1)
_NOWHERE = 1 << 40

# int64 nanoseconds end in 1677 and 2262; what a market wrote lies well inside.
EARLIEST_NS = -200 * 365 * DAY_NS
LATEST_NS = 230 * 365 * DAY_NS


class Zone:
    """A time zone by name: `UTC`, a fixed offset such as `UTC-05` or `+05:30`, or one of the IANA names.

    A local time that happens twice, when clocks are put back, is taken as the earlier. One that never happens, when
    they are put forward, has no UTC: the zone must be another one. Raises ValueError for an unknown name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._zone = _zone(name)
        self._fixed = self._zone.utcoffset(None)
        self._known: dict[int, int] = {}

    def to_utc(self, local_ns: Ints) -> tuple[Ints, Array]:
        """Return UNIX nanoseconds of local ones, and a mask of those that exist."""
        if self._fixed is not None:
            return local_ns - int(self._fixed.total_seconds()) * SECOND_NS, np.ones(len(local_ns), bool)
        # Offsets change at quarters of an hour: one look-up for each run of rows within the same quarter.
        steps = local_ns // (_STEP_S * SECOND_NS)
        starts = np.flatnonzero(np.append(True, steps[1:] != steps[:-1])) if len(steps) else np.zeros(0, np.int64)
        offsets = np.array([self._offset(step) for step in steps[starts].tolist()], np.int64)
        offset = np.repeat(offsets, np.diff(np.append(starts, len(steps))))
        return local_ns - offset * SECOND_NS, offset != _NOWHERE

    def _offset(self, step: int) -> int:
        """Return the seconds that a quarter of an hour is ahead of UTC, _NOWHERE if clocks leap over it."""
        if step not in self._known:
            local = _EPOCH + timedelta(seconds=step * _STEP_S)
            aware = local.replace(tzinfo=self._zone)
            exists = aware.astimezone(UTC).astimezone(self._zone).replace(tzinfo=None) == local
            ahead = aware.utcoffset() or timedelta(0)
            self._known[step] = int(ahead.total_seconds()) if exists else _NOWHERE
        return self._known[step]


def _zone(name: str) -> tzinfo:
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if fixed := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?([0-5]\d)?", name, re.IGNORECASE):
        ahead = timedelta(hours=int(fixed[2]), minutes=int(fixed[3] or 0))
        if ahead < timedelta(hours=24):
            return timezone(-ahead if fixed[1] == "-" else ahead)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"expected UTC, an offset such as UTC-05 or a name such as America/New_York, got {name!r}"
        ) from None


def midnight_ns(day: date) -> int:
    """Return a day's local midnight in nanoseconds of local time."""
    return (day - date(1970, 1, 1)).days * DAY_NS
