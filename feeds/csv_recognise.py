"""Finds out how a file is written, from its first rows, its name and what the user said: a Plan for reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from feeds import csv_layouts as layouts
from feeds.csv_layouts import NAMES, ROLES, Layout
from feeds.csv_names import interval_of, symbol_of
from feeds.csv_table import Table, read_table
from feeds.csv_text import BadFileError
from feeds.csv_time_plan import SaidTime, TimePlan, time_plan


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


def plan_of(path: str, hints: Hints) -> Plan:
    """Return the plan for a text file. Raises BadFileError with a line that says what to do."""
    return plan_of_table(read_table(path), hints)


def plan_of_table(table: Table, hints: Hints) -> Plan:
    """Return the plan for a file of which the first rows are known. Raises BadFileError."""
    layout: Layout | None = None
    units: dict[int, str] = {}
    if hints.columns:
        roles = _said_roles(table, hints.columns)
    elif table.header:
        layout = _headed_layout(table, hints)
        roles, units = _headed_roles(table)
        if hints.layout and layout and layout.look and _kind(table, roles, layout) != layout.kind:
            roles = dict(layout.roles)
    else:
        layout = _headless_layout(table, hints)
        roles = dict(layout.roles) if layout else {}
    kind = _kind(table, roles, layout)
    if kind is None:
        raise _unknown(table)
    zone = hints.zone or (layout.zone if layout else "UTC")
    time = time_plan(table, roles, units, SaidTime(hints.time_format, zone, hints.day))
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
                raise BadFileError(
                    f"{table.path}: --columns {role}={said}: columns are counted from 1 to {table.width} here"
                )
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
            if name in names and table.column(names.index(name)):
                roles[role] = names.index(name)
                break
    if "volume" not in roles:
        starts = [i for i, name in enumerate(table.header) if layouts.words(name)[:1] in (["volume"], ["vol"])]
        roles.update({"volume": starts[0]} if starts else {})
    times = {i: rank for i, name in enumerate(table.header) if (rank := layouts.time_rank(name)) and table.column(i)}
    if not times and not table.header[0] and _mostly("time", table.column(0)):
        times[0] = (1, "")  # an index without a name, as pandas writes it
    if not times:
        return {}, {}
    ranked = sorted(times, key=lambda i: (times[i][0], i))
    roles["time"] = ranked[0]
    day = next((i for i in ranked if times[i][0] == 2), None)
    if day is not None and not any(len(cell) > 11 for cell in table.column(day)[:20]):
        others = [i for i in range(table.width) if i != day]
        clocks = [i for i in ranked if i != day and _is_clock(table.column(i))]
        clocks += [i for i in others if _mostly("clock", table.column(i))]
        roles.update({"date": day, "time": clocks[0]} if clocks else {})
    return roles, {i: unit for i, (_, unit) in times.items() if unit}


def _mostly(look: str, cells: Sequence[str]) -> bool:
    return 2 * sum(bool(layouts.LOOKS[look].fullmatch(cell)) for cell in cells) > len(cells)


def _is_clock(cells: Sequence[str]) -> bool:
    """Return whether most cells are a time of day: 9:30, 093000 or a number below a day's milliseconds."""
    clock = layouts.LOOKS["clock"]
    found = [bool(clock.fullmatch(cell)) or (cell.isdigit() and int(cell) < 86_400_000) for cell in cells]
    return sum(found) * 2 > len(found)


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
            raise BadFileError(
                f"{table.path}: --layout {layout.name} has {len(layout.look)} columns, the file {table.width}"
            )
        return layout
    for each in layouts.LAYOUTS:
        is_possible = len(each.look) == table.width and each.separator in ("", table.separator)
        if is_possible and layouts.looks_like(each, table.rows):
            return each
    return None


def _kind(table: Table, roles: Mapping[str, int], layout: Layout | None) -> str | None:
    """Return the kind of rows that these roles make, None if they make none."""
    if layout and not table.header:
        return layout.kind
    has = set(roles)
    if "time" not in has:
        return None
    if {"open", "high", "low", "close"} <= has:
        return "bars"
    is_quote = {"bid_price", "ask_price"} <= has
    if "price" in has and ("size" in has or not is_quote):
        return "trades"
    return "quotes" if is_quote else None


def _unknown(table: Table) -> BadFileError:
    seen = "columns " + ", ".join(filter(None, table.header)) if table.header else "no header, a row such as "
    seen += "" if table.header else table.separator.join(table.rows[0])[:120]
    return BadFileError(
        f"{table.path}: layout not recognised ({seen}); say which column is what, such as "
        "--columns time=1,price=2,size=3 (numbers or header names), or give a --layout"
    )


def _has_decimal_commas(table: Table, columns: Iterable[int]) -> bool:
    """Return whether numbers are written as 1,5: no cell has a point or two commas, and some have one."""
    cells = [cell for i in columns for cell in table.column(i)]
    return any("," in c for c in cells) and not any("." in c or c.count(",") > 1 for c in cells)
