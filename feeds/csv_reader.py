"""Reads the rows of a file into columns: whole pieces by pyarrow, and those that it refuses as text, row by row.

pyarrow refuses a block for one bad cell and tells no line. Such a piece is cut smaller and smaller; what is refused
still is read cell by cell with exact arithmetic on the text, which tells each bad row's line and reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feeds.csv_layouts import QUANTITY, ROLES
from feeds.csv_numbers import MOST_DECIMALS, Numbers, exact
from feeds.csv_recognise import Plan
from feeds.csv_text import PIECE_BYTES, BadFileError
from feeds.csv_time_plan import UNITS, TimePlan
from feeds.csv_zones import DAY_NS, EARLIEST_NS, LATEST_NS, midnight_ns
from ticker.columns import Array, Ints

MOST_SYMBOLS = 100_000
PARSERS = 2
"""Threads that parse ahead: pyarrow lets go of the interpreter, so that two cores are used."""
P = TypeVar("P")
WIDE_DECIMAL = 38
_NEVER_NEGATIVE = ("size", "count")
_HIGH, _LOW = (ROLES["bars"].index(role) for role in ("high", "low"))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be replayed: its line in the file, from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one file: UNIX time in nanoseconds, symbol codes, the number columns of the plan's kind.

    A column that the file lacks is None. Bad rows are left out of the columns and listed.
    """

    time: Ints
    codes: Array
    numbers: tuple[Numbers | None, ...]
    bad: tuple[BadRow, ...] = ()
    lines: Callable[[], Ints] = field(default=lambda: np.zeros(0, np.int64))
    """Returns each row's line in the file; it takes its time."""

    def __len__(self) -> int:
        return len(self.time)


class Refused(Exception):
    """A piece that cannot be read as a whole; some row in it is bad, or written in a way that takes the long way."""


class Scales:
    """The decimals at which each quantity of a file is read: fixed, or growing with what is found (in a scan)."""

    def __init__(self, plan: Plan, fixed: dict[str, int] | None = None) -> None:
        self.growing = fixed is None
        self.found = fixed or {"price": plan.price_shift, "size": 0, "notional": 0, "count": 0}
        self._shift = plan.price_shift

    def shift(self, role: str) -> int:
        return self._shift if QUANTITY[role] == "price" else 0

    def text(self, role: str) -> int:
        """Return the decimals of the text of a cell: fewer where prices are whole numbers of a fraction."""
        return max(0, self.found[QUANTITY[role]] - self.shift(role))

    def full(self, role: str) -> int:
        return self.text(role) + self.shift(role)

    def need(self, role: str, decimals: int) -> None:
        """Take in that a number has this many decimals. Raises ValueError if they are too many."""
        quantity, decimals = QUANTITY[role], decimals + self.shift(role)
        if decimals > self.full(role):
            if not self.growing:
                raise ValueError(f"has more than {self.text(role)} decimals")
            if decimals > MOST_DECIMALS:
                raise ValueError(f"has more than {MOST_DECIMALS} decimals")
            self.found[quantity] = decimals


class Reader(ABC, Generic[P]):
    """Reads one file, from its beginning to its end, in pieces P. Symbols get codes as they appear."""

    unit = "line"
    """What the rows of such a file are counted in."""

    def __init__(self, plan: Plan, scales: Scales | None = None) -> None:
        self.plan = plan
        self.scales = scales or Scales(plan)
        self.symbols: dict[str, int] = {}
        self._roles = [(role, plan.roles.get(role)) for role in ROLES[plan.kind]]
        if plan.symbol:
            self.symbols[plan.symbol] = 0
        self.whole_times = True
        """Whether no time that is a number had decimals so far, which is quicker to read."""

    def rows(
        self, on_read: Callable[[int], None] | None = None, size: int = PIECE_BYTES, parsers: int = PARSERS
    ) -> Iterator[Rows]:
        """Yield the file's rows in its order, in parts of about `size` bytes, parsed ahead by some threads.

        `on_read` is told how far the file was read. Raises BadFileError if it cannot be read on.
        """
        if not parsers:
            for piece in self._pieces(on_read, size):
                yield from self._parse(piece, partial(self._columns, piece))
            return
        with ThreadPoolExecutor(parsers, "csv-parse") as pool:
            ahead: deque[tuple[P, Future[dict[int, pa.Array]]]] = deque()
            for piece in self._pieces(on_read, size):
                ahead.append((piece, pool.submit(self._columns, piece)))
                if len(ahead) > parsers:
                    piece, parsed = ahead.popleft()
                    yield from self._parse(piece, parsed.result)
            for piece, parsed in ahead:
                yield from self._parse(piece, parsed.result)

    def _parse(self, piece: P, columns: Callable[[], dict[int, pa.Array]]) -> Iterator[Rows]:
        """Yield the rows of a piece: all at once, or where that is refused by ever smaller pieces."""
        try:
            rows = self._fast(piece, columns())
        except (pa.ArrowInvalid, Refused):
            smaller = list(self._cut(piece))
            if len(smaller) < 2:
                yield self._slow(piece)
            else:
                for each in smaller:
                    yield from self._parse(each, partial(self._columns, each))
        else:
            yield rows

    @abstractmethod
    def _pieces(self, on_read: Callable[[int], None] | None, size: int) -> Iterator[P]:
        """Yield the file in pieces of whole rows."""

    @abstractmethod
    def _cut(self, piece: P) -> Iterator[P]:
        """Yield a piece cut into some smaller ones; at most one if it is small enough to be read row by row."""

    @abstractmethod
    def _columns(self, piece: P) -> dict[int, pa.Array]:
        """Return the plan's columns of a piece: numbers as decimals of `scales.text`, times as the plan's unit says or
        as text, symbols as a dictionary. Raises ArrowInvalid or Refused if any row is out of the ordinary."""

    @abstractmethod
    def _cells(self, piece: P) -> Iterator[tuple[int, list[str]]]:
        """Yield each row of a piece that isn't blank: the line on which it starts, and its cells."""

    def _fast(self, piece: P, columns: dict[int, pa.Array]) -> Rows:
        """Return a piece's rows, given its columns. Raises Refused if any is out of the ordinary."""
        time = self._times(columns)
        numbers = tuple(None if i is None else self._fast_numbers(role, columns[i]) for role, i in self._roles)
        if self.plan.kind == "bars" and _any_below(numbers[_HIGH], numbers[_LOW]):
            raise Refused
        return Rows(time, self._codes(columns, len(time)), numbers, (), lambda: self._lines(piece))

    def _fast_numbers(self, role: str, column: pa.Array) -> Numbers:
        # The column's own scale: that of a scan may have grown since the column was parsed.
        numbers = Numbers.of_decimals(column, column.type.scale + self.scales.shift(role))
        if QUANTITY[role] in _NEVER_NEGATIVE and numbers.any_negative:
            raise Refused
        return numbers

    def _times(self, columns: dict[int, pa.Array]) -> Ints:
        plan = self.plan.time
        first = columns[plan.columns[0]]
        if plan.unit:
            local = _unit_times(first, UNITS[plan.unit])
            if not plan.is_local:
                return local
            if plan.midnight and len(local) and not (int(local.min()) >= 0 and int(local.max()) <= DAY_NS):
                raise Refused
            if plan.day_format:
                local = local + _texts(columns[plan.columns[1]], plan.day_format.parse_column)
        else:
            assert plan.format
            if len(plan.columns) > 1:
                second = columns[plan.columns[1]]
                first = pc.binary_join_element_wise(pc.utf8_trim(first, " "), pc.utf8_trim(second, " "), " ")
            local = _texts(first, plan.format.parse_column)
        if plan.day:
            local = local + midnight_ns(plan.day)
        if len(local) and not (int(local.min()) > EARLIEST_NS and int(local.max()) < LATEST_NS):
            raise Refused
        if not plan.is_local:
            return local
        time, exists = plan.zone.to_utc(local)
        if not exists.all():
            raise Refused
        return time

    def _codes(self, columns: dict[int, pa.Array], count: int) -> Array:
        if self.plan.symbol_column is None:
            return np.full(count, self.symbols[self.plan.symbol], np.int32)
        column = columns[self.plan.symbol_column]
        try:
            known: Array = np.array([self._code(text) for text in column.dictionary.to_pylist()], np.int32)
        except ValueError:
            raise Refused from None
        codes: Array = known[column.indices.to_numpy(zero_copy_only=False)]
        return codes

    def _code(self, text: str) -> int:
        """Return a symbol's code, a new one if it is new. Raises ValueError if it can be none."""
        symbol = text.strip()
        if symbol not in self.symbols:
            if not 1 <= len(symbol) <= 128 or not symbol.isprintable() or "\ufffd" in symbol:
                raise ValueError(f"symbol is not one of 1 to 128 characters of UTF-8: {symbol[:140]!r}")
            if len(self.symbols) >= MOST_SYMBOLS:
                raise BadFileError(f"{self.plan.path}: more than {MOST_SYMBOLS:,} symbols; is that the right column?")
            self.symbols[symbol] = len(self.symbols)
        return self.symbols[symbol]

    def _slow(self, piece: P) -> Rows:
        """Return a piece's rows, read one by one; the bad ones with line and reason."""
        times: list[int] = []
        codes: list[int] = []
        pairs: list[list[tuple[int, int]]] = [[] for _ in self._roles]
        lines: list[int] = []
        bad = []
        for line, cells in self._cells(piece):
            try:
                if len(cells) != self.plan.width:
                    raise ValueError(f"has {len(cells)} cells, not {self.plan.width}")
                time = self._slow_time(cells)
                row = [(0, 0) if i is None else self._slow_number(role, cells[i]) for role, i in self._roles]
                if self.plan.kind == "bars" and _is_below(row[_HIGH], row[_LOW]):
                    high, low = (cells[self.plan.roles[role]].strip() for role in ("high", "low"))
                    raise ValueError(f"high {high} is below low {low}")
                column = self.plan.symbol_column
                code = self.symbols[self.plan.symbol] if column is None else self._code(cells[column])
            except ValueError as error:
                bad.append(BadRow(line, str(error)))
                continue
            times.append(time)
            codes.append(code)
            lines.append(line)
            for into, pair in zip(pairs, row, strict=True):
                into.append(pair)
        numbers = [
            None if i is None else Numbers.of_pairs(column, self.scales.full(role), self.scales.shift(role))
            for (role, i), column in zip(self._roles, pairs, strict=True)
        ]
        line_numbers = np.array(lines, np.int64)
        return Rows(
            np.array(times, np.int64), np.array(codes, np.int32), tuple(numbers), tuple(bad), lambda: line_numbers
        )

    def _lines(self, piece: P) -> Ints:
        return np.array([line for line, _ in self._cells(piece)], np.int64)

    def _slow_number(self, role: str, cell: str) -> tuple[int, int]:
        try:
            whole, decimals = exact(cell, self.plan.decimal_comma)
            if whole < 0 and QUANTITY[role] in _NEVER_NEGATIVE:
                raise ValueError(f"is negative: {cell.strip()!r}")
            self.scales.need(role, decimals)
        except ValueError as error:
            raise ValueError(f"{role} {error}") from None
        return whole, decimals

    def _slow_time(self, cells: list[str]) -> int:
        try:
            time = slow_time(self.plan.time, [cells[i] for i in self.plan.time.columns])
        except ValueError as error:
            raise ValueError(f"time {error}") from None
        if not cells[self.plan.time.columns[0]].strip().isdigit():
            self.whole_times = False
        return time


def slow_time(plan: TimePlan, cells: list[str]) -> int:
    """Return the UNIX nanoseconds of one row's time cells. Raises ValueError that says what is wrong."""
    if plan.unit:
        whole, decimals = exact(cells[0])
        if decimals > UNITS[plan.unit]:
            raise ValueError(f"has more digits than nanoseconds: {cells[0].strip()!r}")
        local = whole * 10 ** (UNITS[plan.unit] - decimals)
        if plan.midnight and not 0 <= local <= DAY_NS:
            raise ValueError(f"is not within a day: {cells[0].strip()!r}")
        if plan.day_format:
            local += plan.day_format.parse(cells[1])
    else:
        assert plan.format
        if not "".join(cells).strip():
            raise ValueError("is empty")
        local = plan.format.parse(" ".join(cell.strip() for cell in cells))
    if plan.day:
        local += midnight_ns(plan.day)
    if not EARLIEST_NS < local < LATEST_NS:
        raise ValueError(f"lies outside of the years 1770 to 2199: {' '.join(cells).strip()!r}")
    if not plan.is_local:
        return int(local)
    time, exists = plan.zone.to_utc(np.array([local], np.int64))
    if not exists[0]:
        raise ValueError(f"{' '.join(cells).strip()!r} never was in {plan.zone.name}: the clocks leapt over it")
    return int(time[0])


def _any_below(high: Numbers | None, low: Numbers | None) -> bool:
    """Tell whether a bar's high may be below its low: surely where both are small and of one scale."""
    if high is None or low is None:
        return False
    return bool(high.wide or low.wide) or high.scale != low.scale or bool((high.values < low.values).any())


def _is_below(high: tuple[int, int], low: tuple[int, int]) -> bool:
    return bool(high[0] * 10 ** low[1] < low[0] * 10 ** high[1])


def _unit_times(column: pa.Array, decimals: int) -> Ints:
    """Return a column of numbers of a unit, whole or with decimals, as nanoseconds."""
    if pa.types.is_decimal(column.type):
        numbers = Numbers.of_decimals(column, decimals)
        if numbers.wide:
            raise Refused
        times, most = numbers.values, LATEST_NS
    else:
        times, most = column.to_numpy(), LATEST_NS // 10**decimals
    if len(times) and not (-most < int(times.min()) and int(times.max()) < most):
        raise Refused
    return times if pa.types.is_decimal(column.type) else times * 10**decimals


def _texts(column: pa.Array, parse: Callable[[pa.Array], Ints]) -> Ints:
    try:
        return parse(column)
    except ValueError:
        raise Refused from None
