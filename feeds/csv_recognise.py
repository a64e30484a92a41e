"""Finds out how a file is written, from its first rows, its name and what the user said: a Plan for reading it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from feeds import csv_layouts as layouts
from feeds.csv_layouts import NAMES, OPTIONAL, ROLES, Cells, Layout
from feeds.csv_names import date_of, interval_of, symbol_of
from feeds.csv_text import BadFileError, sample
from feeds.csv_times import TimeFormat, recognise
from feeds.csv_zones import DAY_NS, Zone, midnight_ns

UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Decimal digits that a unit of time is above the nanosecond."""
_SAMPLE_ROWS = 500
_PREAMBLE_ROWS = 10


@dataclass(frozen=True, slots=True)
class Hints:
    """What the user said about files, where they cannot tell it themselves."""

    layout: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Roles to header names or to numbers, counted from 1; with these nothing is guessed."""
    time_format: str = ""
    zone: str = ""
    day: date | None = None
    symbol: str = ""
    interval_s: int | None = None


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
            return f"'{self.format.text}'".replace("%F", "[.f]") + ("" if self.format.has_zone else f" {self.zone.name}")
        return f"{self.unit} since midnight {self.zone.name}" if self.midnight else f"{self.unit} {self.zone.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is read: where its rows begin, which column is what, how times and prices are written."""

    path: str
    layout: str
    kind: str
    time: TimePlan
    roles: Mapping[str, int]
    """The number columns by role, counted from 0; roles that the file lacks are not in it."""
    symbol: str
    symbol_column: int | None
    width: int
    separator: str = ","
    decimal_comma: bool = False
    skip_lines: int = 0
    price_shift: int = 0
    ends: bool = False
    interval_s: int | None = None
    """The interval of bars where the user or the name tells it."""
    interval_is_said: bool = False

    @property
    def shown(self) -> str:
        """The file's name without its folder."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a file, and the header above them (empty if there is none)."""

    path: str
    header: tuple[str, ...]
    rows: Sequence[Cells]
    separator: str = ","
    skip_lines: int = 0

    @property
    def width(self) -> int:
        return len(self.header or self.rows[0])

    def column(self, i: int) -> list[str]:
        return [row[i].strip() for row in self.rows if row[i].strip()]


def plan_of(path: str, hints: Hints) -> Plan:
    """Return the plan for a text file. Raises BadFileError with a line that says what to do."""
    return plan_of_table(read_table(path), hints)


def read_table(path: str) -> Table:
    """Return the first rows of a text file. Raises BadFileError."""
    data, whole = sample(path)
    text = data.decode("utf-8", "replace")
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
            if len(rows) >= _SAMPLE_ROWS:
                break
    except csv.Error as error:
        raise BadFileError(f"{path}:{reader.line_num}: {error}") from None
    width = Counter(len(row) for row in rows[1:] or rows).most_common(1)[0][0]
    for i, row in enumerate(rows[: _PREAMBLE_ROWS + 1]):
        if _is_header(row) and len(row) in (width, width - 1, width + 1):
            header = tuple(cell.strip().strip("<>") for cell in (*row, "")[:width])
            body = [row for row in rows[i + 1 :] if len(row) == width]
            if not body:
                raise BadFileError(f"{path}: a header and no rows")
            return Table(path, header, body, separator, lines[i])
        if len(row) == width and not row[0].startswith("#"):
            break
    skip = next((lines[i - 1] if i else 0 for i, row in enumerate(rows) if len(row) == width), 0)
    return Table(path, (), [row for row in rows if len(row) == width], separator, skip)


def _separator(text: str) -> str:
    """Return the sign that cuts most lines into the same number of cells."""
    lines = [line for line in text[:20000].splitlines() if line.strip()][:100]

    def score(sign: str) -> tuple[int, int]:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=sign))
        cells, times = max(counts.items(), key=lambda item: (item[0] > 1, item[1]))
        return (times if cells > 1 else 0), cells

    # Semicolons and tabs first: commas may stand in numbers.
    return max((";", "\t", ",", "|"), key=lambda sign: (score(sign)[0], sign in ";\t"))


def _is_header(row: Cells) -> bool:
    cells = [cell.strip() for cell in row if cell.strip()]
    return len(cells) > 1 and all(any(sign.isalpha() for sign in cell) for cell in cells) and not any(map(_is_data, cells))


def _is_data(cell: str) -> bool:
    return any(look.fullmatch(cell) for name, look in layouts.LOOKS.items() if name not in ("venue", "hex", "yes"))


def plan_of_table(table: Table, hints: Hints) -> Plan:
    """Return the plan for a file of which the first rows are known. Raises BadFileError."""
    layout: Layout | None = None
    units: dict[int, str] = {}
    if hints.columns:
        roles = _said_roles(table, hints.columns)
    elif table.header:
        layout = _headed_layout(table, hints)
        roles, units = _headed_roles(table)
    else:
        layout = _headless_layout(table, hints)
        roles = dict(layout.roles) if layout else {}
    kind = _kind(table, roles, layout)
    if kind is None:
        raise _unknown(table)
    time = _time_plan(table, roles, units, layout, hints)
    symbol_column = None if hints.symbol else roles.get("symbol")
    symbol = hints.symbol or ("" if symbol_column is not None else symbol_of(table.path))
    if not symbol and symbol_column is None:
        raise BadFileError(f"{table.path}: neither a column nor the file's name tells the symbol; say it with --symbol")
    numbers = {role: roles[role] for role in ROLES[kind] if role in roles}
    return Plan(
        table.path,
        layout.name if layout else ("columns" if hints.columns else "header"),
        kind,
        time,
        numbers,
        symbol,
        symbol_column,
        table.width,
        table.separator,
        table.separator != "," and _has_decimal_commas(table, numbers.values()),
        table.skip_lines,
        layout.price_shift if layout else 0,
        layout.ends if layout else False,
        hints.interval_s or interval_of(table.path),
        hints.interval_s is not None,
    )


def _said_roles(table: Table, columns: Mapping[str, str]) -> dict[str, int]:
    """Return the roles of --columns as column numbers from 0."""
    roles: dict[str, int] = {}
    names = [layouts.plain(name) for name in table.header]
    for role, said in columns.items():
        if said in table.header:
            roles[role] = table.header.index(said)
        elif said.isdigit():
            if not 1 <= int(said) <= table.width:
                raise BadFileError(f"{table.path}: --columns {role}={said}: columns are counted from 1 to {table.width} here")
            roles[role] = int(said) - 1
        elif layouts.plain(said) in names:
            roles[role] = names.index(layouts.plain(said))
        else:
            seen = f"its header has {', '.join(filter(None, table.header))}" if table.header else "it has no header"
            raise BadFileError(f"{table.path}: --columns {role}={said}: no such column; {seen}")
    if len(set(roles.values())) < len(roles):
        raise BadFileError(f"{table.path}: --columns: expected each column once, got {dict(columns)}")
    return roles


def _headed_roles(table: Table) -> tuple[dict[str, int], dict[int, str]]:
    """Return what a header says: roles to columns, and units of the times that tell theirs."""
    names = [layouts.plain(name) for name in table.header]
    roles: dict[str, int] = {}
    for role, known in NAMES.items():
        for name in known:
            if name in names:
                roles[role] = names.index(name)
                break
    if "volume" not in roles:
        starts = [i for i, name in enumerate(table.header) if layouts.words(name)[:1] in (["volume"], ["vol"])]
        roles.update({"volume": starts[0]} if starts else {})
    times = {i: rank for i, name in enumerate(table.header) if (rank := layouts.time_rank(name)) and table.column(i)}
    if not times:
        return {}, {}
    ranked = sorted(times, key=lambda i: (times[i][0], i))
    roles["time"] = ranked[0]
    day = next((i for i in ranked if times[i][0] == 2), None)
    clock = next((i for i in ranked if i != day and _is_clock(table.column(i))), None)
    if day is not None and clock is not None and not any(len(cell) > 11 for cell in table.column(day)[:20]):
        roles.update(date=day, time=clock)
    return roles, {i: unit for i, (_, unit) in times.items() if unit}


def _is_clock(cells: Sequence[str]) -> bool:
    """Return whether most cells are a time of day: 9:30, 093000 or a number below a day's seconds or milliseconds."""
    return sum(bool(layouts.LOOKS["clock"].fullmatch(c)) or (c.isdigit() and int(c) < 86_400_000) for c in cells) * 2 > len(cells)


def _headed_layout(table: Table, hints: Hints) -> Layout | None:
    if hints.layout:
        return layouts.BY_NAME[hints.layout]
    names = {layouts.plain(name) for name in table.header}
    return next((each for each in layouts.LAYOUTS if each.marks and each.marks <= names), None)


def _headless_layout(table: Table, hints: Hints) -> Layout | None:
    if hints.layout:
        layout = layouts.BY_NAME[hints.layout]
        if not layout.look:
            raise BadFileError(f"{table.path}: --layout {layout.name} is one with a header, and there is none")
        if max(layout.roles.values()) >= table.width:
            raise BadFileError(f"{table.path}: --layout {layout.name} has {len(layout.look)} columns, the file {table.width}")
        return layout
    fitting = (each for each in layouts.LAYOUTS if len(each.look) == table.width)
    fitting = (each for each in fitting if each.separator in ("", table.separator))
    return next((each for each in fitting if layouts.looks_like(each, table.rows)), None)


def _kind(table: Table, roles: Mapping[str, int], layout: Layout | None) -> str | None:
    """Return the kind of rows that these roles make, None if they make none."""
    if layout and not table.header:
        return layout.kind
    has = set(roles)
    if "time" not in has:
        return None
    bars = {"open", "high", "low", "close"} <= has
    if bars:
        return "bars"
    if "price" in has:
        return "trades"
    return "quotes" if {"bid_price", "ask_price"} <= has else None


def _unknown(table: Table) -> BadFileError:
    seen = "columns " + ", ".join(filter(None, table.header)) if table.header else "no header, a row such as "
    seen += "" if table.header else table.separator.join(table.rows[0])[:120]
    return BadFileError(
        f"{table.path}: layout not recognised ({seen}); say which column is what, such as "
        "--columns time=1,price=2,size=3 (numbers or header names), or give a --layout"
    )


def _time_plan(
    table: Table, roles: Mapping[str, int], units: Mapping[int, str], layout: Layout | None, hints: Hints
) -> TimePlan:
    column = roles["time"]
    cells = table.column(column)
    if not cells:
        raise BadFileError(f"{table.path}: no time in column {column + 1}")
    zone = Zone(hints.zone or (layout.zone if layout and not table.header else "UTC"))
    day = hints.day or date_of(table.path)
    unit = hints.time_format if hints.time_format in UNITS else units.get(column, "")
    numbers = [cell for cell in cells if layouts.LOOKS["number"].fullmatch(cell)]
    whole = hints.time_format in UNITS or (len(numbers) >= 0.9 * len(cells) and not _is_compact(cells) and not hints.time_format)
    if whole and numbers and not ("date" in roles and _is_hms(cells)):
        largest = max(float(cell) for cell in numbers)
        midnight = largest < 86400 * 10 ** (9 - UNITS[unit or "ms"])
        if not midnight:
            return TimePlan((column,), unit or _unit(largest), zone=Zone("UTC"))
        if not unit and largest < 86400 and any("." in cell for cell in numbers):
            unit = "s"
        if "date" in roles:
            days = table.column(roles["date"])
            return TimePlan((column, roles["date"]), unit or "ms", zone=zone, midnight=True, day_format=_one(table, days))
        if day is None:
            raise BadFileError(f"{table.path}: its times are since midnight and no day stands in its name; say it with --date")
        return TimePlan((column,), unit or "ms", zone=zone, midnight=True, day=day)
    if hints.time_format and hints.time_format not in UNITS:
        format_ = TimeFormat(hints.time_format)
    else:
        format_ = _one(table, _joined(table, roles))
    columns = (roles["date"], column) if "date" in roles else (column,)
    if not format_.has_day:
        return _clock_plan(table, column, format_, zone, day)
    # A day alone means that day of UTC, in any zone: bars of a day start at multiples of 86400 s.
    return TimePlan(columns, format=format_, zone=zone if format_.has_clock else Zone("UTC"))


def _clock_plan(table: Table, column: int, format_: TimeFormat, zone: Zone, day: date | None) -> TimePlan:
    if day is None:
        raise BadFileError(f"{table.path}: its times have no day and none stands in its name; say it with --date")
    return TimePlan((column,), format=format_, zone=zone, midnight=True, day=day)


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
    """Return whether all cells are six digits of a clock, such as 093000, and go beyond what a second of it can be."""
    return all(c.isdigit() and len(c) == 6 and c[:2] < "24" and c[2:4] < "60" and c[4:] < "60" for c in cells)


def _unit(number: float) -> str:
    """Return the unit in which a UNIX time lies between 1990 and 2100 or so."""
    digits = len(str(int(number)))
    return "s" if digits <= 11 else "ms" if digits <= 14 else "us" if digits <= 17 else "ns"


def _has_decimal_commas(table: Table, columns: object) -> bool:
    """Return whether numbers are written as 1,5: no cell has a point or two commas, and some have one."""
    assert hasattr(columns, "__iter__")
    cells = [cell for i in columns for cell in table.column(i)]
    return any("," in c for c in cells) and not any("." in c or c.count(",") > 1 for c in cells)
