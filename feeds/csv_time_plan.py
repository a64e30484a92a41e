"""Finds out how a file writes the time of a row: in which columns, since when, in which zone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from feeds.csv_layouts import LOOKS
from feeds.csv_names import date_of
from feeds.csv_table import Table
from feeds.csv_text import BadFileError
from feeds.csv_times import TimeFormat, recognise
from feeds.csv_zones import DAY_NS, Zone, midnight_ns

UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Decimal digits that a unit of time is above the nanosecond."""


@dataclass(frozen=True, slots=True)
class TimePlan:
    """How a row's time is written: a number of `unit`s since 1970 or since midnight of `day`, or a text of `format`."""

    columns: tuple[int, ...]
    unit: str = ""
    format: TimeFormat | None = None
    zone: Zone = field(default_factory=lambda: Zone("UTC"))
    midnight: bool = False
    day: date | None = None
    day_format: TimeFormat | None = None
    """With `midnight`: the format of the day, which stands in the second of `columns`."""
    naive: bool = False
    """A number of `unit`s of local time since 1970, as a Parquet timestamp without a zone is."""

    @property
    def is_local(self) -> bool:
        """Whether what stands there is the zone's local time."""
        return self.midnight or self.naive or (self.format is not None and not self.format.has_zone)

    def __str__(self) -> str:
        if self.format:
            return f"'{self.format.text}'".replace("%F", "[.f]") + (
                "" if self.format.has_zone else f" {self.zone.name}"
            )
        return f"{self.unit} since midnight {self.zone.name}" if self.midnight else f"{self.unit} {self.zone.name}"


class SaidTime(NamedTuple):
    """What the user or the layout says about times: a format (or a unit), a zone, the day of those since midnight."""

    format: str
    zone: str
    day: date | None


def time_plan(table: Table, roles: Mapping[str, int], units: Mapping[int, str], said: SaidTime) -> TimePlan:
    """Return how the times are written. `units` are those that headers tell. Raises BadFileError if nothing tells."""
    cells = table.column(roles["time"])
    if not cells:
        raise BadFileError(f"{table.path}: no time in column {roles['time'] + 1}")
    numbers = [float(cell) for cell in cells if LOOKS["number"].fullmatch(cell)]
    if said.format in UNITS and not numbers:
        raise BadFileError(f"{table.path}: its times are not numbers: --time-format {said.format} cannot be")
    is_text = 2 * len(numbers) < len(cells) or _is_compact(cells) or ("date" in roles and _is_hms(cells))
    if said.format in UNITS or (not said.format and not is_text):
        return _number_plan(
            table, roles, said.format if said.format in UNITS else units.get(roles["time"], ""), numbers, said
        )
    return _text_plan(table, roles, said)


def _number_plan(
    table: Table, roles: Mapping[str, int], unit: str, numbers: Sequence[float], said: SaidTime
) -> TimePlan:
    """Return the plan for numbers: since 1970, or where they are below a day's since midnight."""
    column, usual = roles["time"], sorted(numbers)[len(numbers) // 2]  # a bad row among them does no harm
    if usual >= 86400 * 10 ** (9 - UNITS[unit or "ms"]):
        return TimePlan((column,), unit or _unit(usual))
    if not unit:
        unit = "s" if usual < 86400 and any(number % 1 for number in numbers) else "ms"
    zone, day = Zone(said.zone), said.day or date_of(table.path)
    if "date" in roles:
        day_format = _one(table, table.column(roles["date"]))
        return TimePlan((column, roles["date"]), unit, zone=zone, midnight=True, day_format=day_format)
    if day is None:
        raise BadFileError(f"{table.path}: its times are since midnight and its name tells no day; say it with --date")
    return TimePlan((column,), unit, zone=zone, midnight=True, day=day)


def _text_plan(table: Table, roles: Mapping[str, int], said: SaidTime) -> TimePlan:
    format_ = TimeFormat(said.format) if said.format else _one(table, _joined(table, roles))
    columns = (roles["date"], roles["time"]) if "date" in roles else (roles["time"],)
    if format_.has_day:
        # A day alone means that day of UTC, in any zone: bars of a day start at multiples of 86400 s.
        is_days = not format_.has_clock or _are_midnights(format_, _joined(table, roles))
        return TimePlan(columns, format=format_, zone=Zone("UTC" if is_days else said.zone))
    day = said.day or date_of(table.path)
    if day is None:
        raise BadFileError(f"{table.path}: its times tell no day, nor does its name; say it with --date")
    return TimePlan(columns, format=format_, zone=Zone(said.zone), midnight=True, day=day)


def _are_midnights(format_: TimeFormat, cells: Sequence[str]) -> bool:
    """Return whether these are several days, each at midnight."""
    times = {format_.parse(cell) for cell in cells if format_.matches(cell)}
    return len(times) > 1 and not any(time % DAY_NS for time in times)


def _joined(table: Table, roles: Mapping[str, int]) -> list[str]:
    rows = [row for row in table.rows if row[roles["time"]].strip()]
    if "date" not in roles:
        return [row[roles["time"]] for row in rows]
    return [f"{row[roles['date']].strip()} {row[roles['time']].strip()}" for row in rows]


def _one(table: Table, cells: Sequence[str]) -> TimeFormat:
    """Return the one format that fits; of two, the one in which the first row is of the day in the file's name."""
    formats = recognise(cells)
    day = date_of(table.path)
    if len(formats) > 1 and day is not None:
        formats = [each for each in formats if each.parse(cells[0]) // DAY_NS == midnight_ns(day) // DAY_NS] or formats
    if len(formats) == 1:
        return formats[0]
    if not formats:
        raise BadFileError(f"{table.path}: its times are not understood; say how they are written with --time-format")
    raise BadFileError(
        f"{table.path}: its times may be {' or '.join(each.text for each in formats)}; say which with --time-format"
    )


def _is_compact(cells: Sequence[str]) -> bool:
    """Return whether most cells are days such as 20131007, or with a clock, and not UNIX times."""
    days = [c for c in cells if c[:8].isdigit() and len(c) in (8, 12, 14) and c[:2] in ("19", "20") and c[4:6] <= "12"]
    return len(days) >= 0.9 * len(cells) and all(c[6:8] <= "31" and c[4:6] >= "01" for c in days)


def _is_hms(cells: Sequence[str]) -> bool:
    """Return whether all cells are six digits of a clock, such as 093000."""
    return all(c.isdigit() and len(c) == 6 and c[:2] < "24" and c[2:4] < "60" and c[4:] < "60" for c in cells)


def _unit(number: float) -> str:
    """Return the unit in which a UNIX time lies between 1990 and 2100 or so."""
    digits = len(str(int(number)))
    return "s" if digits <= 11 else "ms" if digits <= 14 else "us" if digits <= 17 else "ns"
