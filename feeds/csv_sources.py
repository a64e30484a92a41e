"""Turns a file's rows into the columns that are emitted: symbols and scales of the whole replay, sorted by time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from feeds.csv_delimited import DelimitedReader
from feeds.csv_layouts import QUANTITY, ROLES
from feeds.csv_parquet import ParquetReader, is_parquet, plan_of_parquet
from feeds.csv_reader import PARSERS, BadRow, Reader, Rows, Scales
from feeds.csv_recognise import Hints, Plan, plan_of
from feeds.csv_text import PIECE_BYTES, BadFileError
from feeds.csv_zones import SECOND_NS
from ticker.columns import Array, Ints, columns_of
from ticker.model import Instrument, Series

PART_ROWS = 1 << 16
_ROW_BYTES = 128


def recognise_file(path: str, hints: Hints) -> Plan:
    """Return the plan for a file, text or Parquet. Raises BadFileError."""
    return plan_of_parquet(path, hints) if is_parquet(path) else plan_of(path, hints)


def open_reader(plan: Plan, scales: Scales | None = None) -> Reader[Any]:
    """Return a reader of the plan's file, with fixed scales or growing ones."""
    return ParquetReader(plan, scales) if is_parquet(plan.path) else DelimitedReader(plan, scales)


@dataclass(slots=True)
class Facts:
    """What is known about a file before it is replayed, by a scan or from the user. Scales are those of `symbols`."""

    plan: Plan
    read_scales: dict[str, int]
    """The decimals of each quantity over all symbols, at which the file is read."""
    symbols: tuple[str, ...] = ()
    price_scales: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    size_scales: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    signed: Array = field(default_factory=lambda: np.zeros(0, bool))
    """Whether each symbol has prices of zero or below."""
    rows: int = 0
    bad_rows: int = 0
    first_ns: int = 0
    last_ns: int = 0
    """Earliest and latest time, as they stand in the file."""
    in_order: bool = True
    nanoseconds: bool = False
    """Whether a time is finer than a microsecond."""
    interval_s: int = 0
    """Of bars."""
    whole_times: bool = True
    """Whether no time that is a number has decimals."""
    scanned: bool = True

    @property
    def series(self) -> Series:
        return Series(self.plan.kind, self.interval_s)

    @property
    def offset_ns(self) -> int:
        """What is added to a bar's stamp to get its start."""
        return -self.interval_s * SECOND_NS if self.plan.ends else 0

    @property
    def sort_bytes(self) -> int:
        """What sorting the file takes: its columns and symbol codes, and as measured 40 bytes a row for the sort."""
        return self.rows * (8 * len(columns_of(self.plan.kind)) + 4 + 40)


class Catalogue:
    """The symbols of a replay and their scales, over all files. A symbol keeps the first scales that it was given."""

    def __init__(self, time_scale: int) -> None:
        self.time_scale = time_scale
        self._codes: dict[str, int] = {}
        self._symbols: tuple[str, ...] = ()
        self._price: list[int] = []
        self._size: list[int] = []
        self._signed: list[bool] = []

    @classmethod
    def of(cls, facts: Iterable[Facts]) -> Catalogue:
        """Return the catalogue of scanned files: each symbol at the most digits that any of them has."""
        facts = list(facts)
        catalogue = cls(9 if any(each.nanoseconds for each in facts) else 6)
        most: dict[str, tuple[int, int, bool]] = {}
        for each in facts:
            for symbol, price, size, signed in zip(
                each.symbols, each.price_scales, each.size_scales, each.signed, strict=True
            ):
                before = most.get(symbol, (0, 0, False))
                most[symbol] = max(before[0], int(price)), max(before[1], int(size)), before[2] or bool(signed)
        for symbol, found in most.items():
            catalogue.code(symbol, *found)
        return catalogue

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols by code: the same object until one is added."""
        if len(self._symbols) < len(self._codes):
            self._symbols = tuple(self._codes)
        return self._symbols

    def code(self, symbol: str, price_scale: int, size_scale: int, signed: bool = True) -> int:
        """Return a symbol's code; it is added if it is new. `signed`: its prices may be zero and below."""
        if symbol not in self._codes:
            # The reading thread adds symbols while the loop looks at them: scales first.
            self._price.append(price_scale)
            self._size.append(size_scale)
            self._signed.append(signed)
            self._codes[symbol] = len(self._codes)
        return self._codes[symbol]

    def instruments(self, start: int = 0) -> list[Instrument]:
        """Return the instruments from a code on."""
        rows = zip(self.symbols[start:], self._price[start:], self._size[start:], self._signed[start:], strict=False)
        # Files don't tell shares from coins, but only coins are traded in fractions.
        return [
            Instrument(symbol, price, size, self.time_scale, "crypto" if size else "us_equity", signed)
            for symbol, price, size, signed in rows
        ]

    def scales(self, codes: Sequence[int]) -> dict[str, Ints]:
        """Return the scales of each quantity for these codes."""
        price = np.array([self._price[code] for code in codes], np.int64)
        size = np.array([self._size[code] for code in codes], np.int64)
        return {"price": price, "size": size, "notional": price + size, "count": np.zeros(len(codes), np.int64)}


class Part(NamedTuple):
    """Rows of one series in order of `due`: when they happened, for bars their end, at the replay's time scale."""

    series: Series
    due: Ints
    codes: Array
    columns: tuple[Ints, ...]

    def rows(self, start: int, stop: int) -> Part:
        return Part(
            self.series, self.due[start:stop], self.codes[start:stop], tuple(each[start:stop] for each in self.columns)
        )

    def take(self, order: Array) -> Part:
        return Part(self.series, self.due[order], self.codes[order], tuple(each[order] for each in self.columns))


def joined(parts: Sequence[Part]) -> Part:
    """Return parts of one series one behind the other."""
    if len(parts) == 1:
        return parts[0]
    due, codes = np.concatenate([part.due for part in parts]), np.concatenate([part.codes for part in parts])
    return Part(parts[0].series, due, codes, tuple(map(np.concatenate, zip(*(p.columns for p in parts), strict=True))))


class Source:
    """One file as parts in order of time. A file that isn't in order is read whole and sorted first."""

    def __init__(self, facts: Facts, catalogue: Catalogue, size: int = PIECE_BYTES, parsers: int = PARSERS) -> None:
        self.facts = facts
        self._catalogue = catalogue
        self._size = size
        self._parsers = parsers

    def parts(
        self, on_bad: Callable[[str, str, tuple[BadRow, ...]], None], should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Part]:
        """Yield the file's rows in order of time; `on_bad` is told bad rows with the file and what they are counted in.

        Raises BadFileError if it cannot be read (any more), InterruptedError when told to stop.
        """
        parts = _gathered(self._read(on_bad, should_stop), self._size // _ROW_BYTES)
        return parts if self.facts.in_order else _sorted(list(parts))

    def _read(
        self, on_bad: Callable[[str, str, tuple[BadRow, ...]], None], should_stop: Callable[[], bool]
    ) -> Iterator[Part]:
        facts = self.facts
        reader = open_reader(facts.plan, Scales(facts.plan, dict(facts.read_scales)))
        reader.whole_times = facts.whole_times
        converter = _Converter(facts, self._catalogue, reader)
        for rows in reader.rows(None, self._size, self._parsers):
            if should_stop():
                raise InterruptedError
            part, bad = converter.part(rows)
            if bad:
                on_bad(facts.plan.path, reader.unit, tuple(sorted(bad, key=lambda row: row.line)))
            if len(part.due):
                yield part


def _gathered(parts: Iterator[Part], rows: int) -> Iterator[Part]:
    """Yield parts of at least so many rows, but for the last: around bad rows a file is read in crumbs."""
    waiting: list[Part] = []
    for part in parts:
        waiting.append(part)
        if sum(len(each.due) for each in waiting) >= rows:
            yield joined(waiting)
            waiting = []
    if waiting:
        yield joined(waiting)


def _sorted(parts: list[Part]) -> Iterator[Part]:
    """Yield parts sorted by time; equal times keep their order. Takes each column away from `parts` as it goes."""
    series = parts[0].series
    due = np.concatenate([part.due for part in parts])
    order = np.argsort(due, kind="stable")
    is_due = parts[0].columns[0] is parts[0].due
    codes = np.concatenate([part.codes for part in parts])
    count = len(parts[0].columns)
    pending = [[part.columns[i] for part in parts] for i in range(count)]
    parts.clear()
    columns = []
    for i in range(count):
        columns.append(due if is_due and i == 0 else np.concatenate(pending[i]))
        pending[i].clear()
    whole = Part(series, due, codes, tuple(columns))
    for start in range(0, len(order), PART_ROWS):
        yield whole.take(order[start : start + PART_ROWS])


class _Converter:
    """Gives a reader's rows the replay's symbol codes, scales and times; refuses what has changed or doesn't fit."""

    def __init__(self, facts: Facts, catalogue: Catalogue, reader: Reader[Any]) -> None:
        self._facts = facts
        self._catalogue = catalogue
        self._reader = reader
        self._codes = np.zeros(0, np.int32)
        self._scales: dict[str, Ints] = {}
        self._newest = -(2**63)
        self._divisor = 10 ** (9 - catalogue.time_scale)
        interval_ns = facts.interval_s * SECOND_NS
        self._offset_ns = facts.offset_ns
        self._interval = interval_ns // self._divisor

    def part(self, rows: Rows) -> tuple[Part, list[BadRow]]:
        if len(self._reader.symbols) > len(self._codes):
            self._learn()
        bad = list(rows.bad)
        refused = np.zeros(len(rows), bool)
        columns = []
        for role, numbers in zip(ROLES[self._facts.plan.kind], rows.numbers, strict=True):
            if numbers is None:
                columns.append(np.zeros(len(rows), np.int64))
                continue
            values, misfits = numbers.at_scales(rows.codes, self._scales[QUANTITY[role]])
            columns.append(values)
            if misfits is not None:
                self._refuse(rows, misfits & ~refused, f"{role} does not fit 18 digits at the symbol's scale", bad)
                refused |= misfits
        if not self._facts.scanned:
            refused |= self._refuse_unscanned(rows, refused, bad)
        time = (rows.time + self._offset_ns) // self._divisor if self._divisor > 1 else rows.time + self._offset_ns
        due = time + self._interval if self._interval else time
        part = Part(self._facts.series, due, self._codes[rows.codes], (time, *columns))
        return (part.take(np.flatnonzero(~refused)) if refused.any() else part), bad

    def _learn(self) -> None:
        """Take in the reader's new symbols."""
        known, facts = self._catalogue, self._facts
        if facts.scanned and len(self._reader.symbols) > len(facts.symbols):
            raise BadFileError(f"{facts.plan.path}: changed since it was scanned")
        price, size = facts.read_scales["price"], facts.read_scales["size"]
        codes = [known.code(symbol, price, size) for symbol in self._reader.symbols]
        self._codes, self._scales = np.array(codes, np.int32), known.scales(codes)

    def _refuse_unscanned(self, rows: Rows, refused: Array, bad: list[BadRow]) -> Array:
        """Return a mask of rows that a scan would have sorted, or given a finer time scale."""
        fine = (rows.time % self._divisor != 0) & ~refused
        self._refuse(rows, fine, "time is finer than its scale: give --scale time=9", bad)
        before = np.maximum.accumulate(np.append(self._newest, rows.time))
        late = (rows.time < before[:-1]) & ~refused & ~fine
        self._newest = int(before[-1])
        self._refuse(rows, late, "time is earlier than the row before: without --no-scan the file is sorted", bad)
        both: Array = fine | late
        return both

    def _refuse(self, rows: Rows, mask: Array, reason: str, bad: list[BadRow]) -> None:
        if mask.any():
            bad += [BadRow(line, reason) for line in rows.lines()[mask].tolist()]


def without_notional(plan: Plan) -> Plan:
    """Return the plan without the column of a notional."""
    return replace(plan, roles={role: i for role, i in plan.roles.items() if role != "notional"})
