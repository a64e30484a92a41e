"""Reads a file through once before it is replayed: symbols, significant decimals, time span, order, bad rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from feeds.csv_layouts import QUANTITY, ROLES
from feeds.csv_numbers import LARGEST, MOST_DECIMALS, Floats
from feeds.csv_reader import BadRow, Rows
from feeds.csv_recognise import Plan
from feeds.csv_sources import Catalogue, Facts, Source, open_reader, without_notional
from feeds.csv_text import BadFileError
from feeds.csv_zones import SECOND_NS
from ticker.columns import Array, Ints

log = logging.getLogger(__name__)

LOGGED_BAD_ROWS = 10
_RARE = 0.01


class BadRows:
    """What to do about bad rows: end at the first, or count them and log the first ten. Shared by scan and replay."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.count = 0

    def take(self, path: str, unit: str, rows: tuple[BadRow, ...]) -> None:
        """Count bad rows. Raises BadFileError for the first one unless they are to be skipped."""
        for row in rows:
            told = f"{path}:{row.line}: {row.reason}" if unit == "line" else f"{path}: row {row.line}: {row.reason}"
            if not self.skip:
                raise BadFileError(f"{told} (--on-bad-row skip leaves such rows out)")
            self.count += 1
            if self.count <= LOGGED_BAD_ROWS:
                log.warning("bad row skipped: %s", told)


def scan(
    plan: Plan,
    bad_rows: BadRows,
    on_read: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Facts:
    """Return the facts about a file. Raises BadFileError if it cannot be replayed, InterruptedError if told to stop."""
    found = _Scan(plan)
    reader = open_reader(plan)
    before = bad_rows.count
    for rows in reader.rows(on_read):
        if should_stop():
            raise InterruptedError
        bad_rows.take(plan.path, reader.unit, rows.bad)
        found.add(rows, len(reader.symbols))
    facts = found.facts(tuple(reader.symbols), reader.scales.found)
    facts.whole_times = reader.whole_times
    if not found.fits(facts):
        # A number too large for the decimals that another of its symbol needs: tell its line.
        checked = Source(facts, Catalogue.of([facts]))
        parts = checked.parts(lambda path, unit, bad: bad_rows.take(path, unit, bad), should_stop)
        bad_rows.count = before
        facts.rows = sum(len(part.due) for part in parts)
    facts.bad_rows = bad_rows.count - before
    return facts


class _Scan:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._roles = [QUANTITY[role] for role in ROLES[plan.kind]]
        self._digits: dict[str, Ints] = {q: np.zeros(0, np.int64) for q in ("price", "size", "notional", "count")}
        self._largest: dict[str, Floats] = {q: np.zeros(0) for q in self._digits}
        self._signed = np.zeros(0, bool)
        self._spacings = Spacings() if plan.kind == "bars" else None
        self._facts = Facts(plan, {})
        self._newest: int | None = None

    def add(self, rows: Rows, symbols: int) -> None:
        if not len(rows):
            return
        facts, time = self._facts, rows.time
        first, last = int(time.min()), int(time.max())
        if self._newest is None:
            facts.first_ns = facts.last_ns = int(time[0])
        elif time[0] < self._newest:
            facts.in_order = False
        facts.in_order = facts.in_order and bool((time[1:] >= time[:-1]).all())
        self._newest = int(time[-1])
        facts.first_ns, facts.last_ns = min(facts.first_ns, first), max(facts.last_ns, last)
        facts.nanoseconds = facts.nanoseconds or bool((time % 1000).any())
        facts.rows += len(rows)
        for quantity, numbers in zip(self._roles, rows.numbers, strict=True):
            if numbers is not None:
                digits = _grown(self._digits[quantity], symbols)
                self._digits[quantity] = numbers.decimals(rows.codes, digits)
                largest = _grown(self._largest[quantity], symbols)
                self._largest[quantity] = numbers.largest(rows.codes, largest)
                if quantity == "price":
                    self._signed = _grown(self._signed, symbols)
                    self._signed[rows.codes[numbers.below(0 if self._plan.kind == "quotes" else 1)]] = True
        if self._spacings:
            self._spacings.add(time, rows.codes, symbols)

    def facts(self, symbols: tuple[str, ...], read_scales: dict[str, int]) -> Facts:
        """Return what was found. Raises BadFileError if that is nothing."""
        facts = self._facts
        if not facts.rows:
            raise BadFileError(f"{facts.plan.path}: no row that can be replayed")
        facts.symbols, facts.read_scales = symbols, read_scales
        facts.price_scales = _grown(self._digits["price"], len(symbols))
        facts.size_scales = _grown(self._digits["size"], len(symbols))
        facts.signed = _grown(self._signed, len(symbols))
        if self._spacings:
            facts.interval_s = self._spacings.interval(facts.plan)
        self._make_room_for_notional(facts)
        return facts

    def _make_room_for_notional(self, facts: Facts) -> None:
        """Let sizes have more decimals where a notional has more than price and size; leave it out if it can't fit."""
        digits = _grown(self._digits["notional"], len(facts.symbols))
        roomy = np.maximum(facts.size_scales, digits - facts.price_scales)
        has_room = bool((roomy <= MOST_DECIMALS).all()) and self._fits("size", roomy)
        if has_room and self._fits("notional", facts.price_scales + roomy):
            facts.size_scales = roomy
        else:
            facts.plan = without_notional(facts.plan)

    def fits(self, facts: Facts) -> bool:
        """Return whether all prices and sizes fit 64 bits at their symbol's scale."""
        return self._fits("price", facts.price_scales) and self._fits("size", facts.size_scales)

    def _fits(self, quantity: str, scales: Ints) -> bool:
        digits, largest = _grown(self._digits[quantity], len(scales)), _grown(self._largest[quantity], len(scales))
        return bool((digits <= scales).all() and (largest * 10.0**scales < LARGEST).all())


def _grown(values: Array, size: int) -> Array:
    return np.append(values, np.zeros(size - len(values), values.dtype)) if len(values) < size else values


class Spacings:
    """Counts the time between neighbouring bars of a symbol, from which their interval shows."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._last = np.zeros(0, np.int64)
        self._seen = np.zeros(0, bool)

    def add(self, time: Ints, codes: Array, symbols: int) -> None:
        self._last, self._seen = _grown(self._last, symbols), _grown(self._seen, symbols)
        order = np.argsort(codes, kind="stable")
        time, codes = time[order], codes[order]
        starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
        before = np.append(time[:1], time[:-1])
        before[starts] = np.where(self._seen[codes[starts]], self._last[codes[starts]], time[starts])
        spacings, counts = np.unique(np.abs(time - before), return_counts=True)
        if len(self._counts) < 100_000:
            self._counts.update(dict(zip(spacings.tolist(), counts.tolist(), strict=True)))
        ends = np.append(starts[1:], len(time)) - 1
        self._last[codes[ends]], self._seen[codes[ends]] = time[ends], True

    def interval(self, plan: Plan) -> int:
        """Return the bars' interval in seconds: what was said, else the shortest spacing that isn't rare.

        Raises BadFileError if nothing tells it, or it is no whole number of seconds.
        """
        if plan.interval_is_said and plan.interval_s:
            return plan.interval_s
        self._counts.pop(0, None)
        enough = sum(self._counts.values()) * _RARE
        usual = [spacing for spacing, count in self._counts.items() if count >= enough]
        named = plan.interval_s
        if named and all(spacing % (named * SECOND_NS) == 0 for spacing in usual):
            return named
        if not usual:
            raise BadFileError(f"{plan.path}: the interval of its bars cannot be told; say it with --interval-s")
        interval, rest = divmod(min(usual), SECOND_NS)
        if rest:
            raise BadFileError(
                f"{plan.path}: bars {min(usual) / SECOND_NS:g} s apart; say their interval with --interval-s"
            )
        return interval


def look_ahead(plan: Plan, scale: Mapping[str, int]) -> Facts:
    """Return what is known of a file without a scan: the scales that the user told, and what its first rows show.

    Raises BadFileError if there is no good row among them.
    """
    reader = open_reader(plan)
    rows = next((rows for rows in reader.rows() if len(rows)), None)
    if rows is None:
        raise BadFileError(f"{plan.path}: no row that can be replayed")
    symbols = (plan.symbol,) if plan.symbol else ()
    facts = Facts(without_notional(plan), {"price": scale["price"], "size": scale["size"], "notional": 0, "count": 0})
    facts.scanned = False
    facts.symbols = symbols
    facts.price_scales = np.full(len(symbols), scale["price"], np.int64)
    facts.size_scales = np.full(len(symbols), scale["size"], np.int64)
    facts.signed = np.ones(len(symbols), bool)  # nobody has looked
    facts.nanoseconds = scale["time"] == 9 if "time" in scale else bool((rows.time % 1000).any())
    facts.first_ns = facts.last_ns = int(rows.time[0])
    if plan.kind == "bars":
        spacings = Spacings()
        spacings.add(rows.time, rows.codes, len(reader.symbols))
        facts.interval_s = spacings.interval(plan)
    return facts
