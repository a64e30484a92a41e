"""Cuts what a request for history asks for into pages: over all its symbols, in alphabetic order, then by time."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple, Protocol

import numpy as np

from ticker.columns import Block, Ints
from ticker.stream.alpaca_history import Span, Timeframe, bars_of, cut, read, rows_within, spans
from ticker.stream.alpaca_subscriptions import SERIES
from ticker.stream.market import Market


class Mark(NamedTuple):
    """Where a page goes on: a symbol, and one of its rows as its source tells rows apart."""

    symbol: str
    row: int

    @classmethod
    def parse(cls, token: str) -> Mark:
        """Return what a token stands for. Raises ValueError."""
        try:
            symbol, _, row = base64.urlsafe_b64decode(token).decode().rpartition("|")
            return cls(symbol, int(row))
        except (binascii.Error, ValueError):
            raise ValueError(f"invalid page_token: {token}") from None

    @property
    def token(self) -> str:
        """The mark as an opaque text."""
        return base64.urlsafe_b64encode(f"{self.symbol}|{self.row}".encode()).decode()


class Page(NamedTuple):
    """Rows, in the order of time, None if there are none; and where the next page goes on, None if there is none."""

    block: Block | None
    next: Mark | None


class Source(Protocol):
    """Rows of the symbols `numbers`: of each those from `firsts` up to `ends` are asked for."""

    numbers: Ints
    firsts: Ints
    ends: Ints

    def rows(self, firsts: Ints, ends: Ints) -> Block | None:
        """Return these rows of each symbol."""

    def mark(self, at: int, row: int) -> int:
        """Return what tells, at any later time, a row of `numbers[at]` from others."""
        ...

    def place(self, at: int, mark: int) -> int:
        """Return the row that a mark stands for."""
        ...


def source_of(market: Market, kind: str, timeframe: Timeframe, names: list[str], span: Span) -> Source:
    """Return where the rows come from; `names` are symbols of the market."""
    numbers = np.array([market.directory.numbers[name] for name in names], np.int64)
    if kind == "bars" and timeframe != Timeframe(1, "Min"):
        return _Folded(market, timeframe, numbers, span)
    return _Streamed(market, kind, numbers, span)


def page(market: Market, source: Source, limit: int, is_descending: bool, mark: Mark | None) -> Page:
    """Return the page that begins at a mark, or the first."""
    names = [market.directory.instruments[number].symbol for number in source.numbers.tolist()]
    firsts, ends = source.firsts.copy(), source.ends.copy()
    for at, name in enumerate(names):
        if mark is not None and name <= mark.symbol:
            row = source.place(at, mark.row) if name == mark.symbol else None
            if is_descending:
                ends[at] = firsts[at] if row is None else max(firsts[at], min(ends[at], row))
            else:
                firsts[at] = ends[at] if row is None else min(ends[at], max(firsts[at], row))
    taken = np.diff(np.minimum(np.cumsum(ends - firsts), limit), prepend=0)
    first_rows = ends - taken if is_descending else firsts
    block = source.rows(first_rows, first_rows + taken) if taken.any() else None
    left = np.flatnonzero(taken < ends - firsts)
    if not len(left):
        return Page(block, None)
    at = int(left[0])
    row = int(first_rows[at] if is_descending else firsts[at] + taken[at])
    return Page(block, Mark(names[at], source.mark(at, row)))


class _Streamed:
    """Rows as they were streamed: their numbers tell them apart."""

    def __init__(self, market: Market, kind: str, numbers: Ints, span: Span) -> None:
        series = SERIES[kind]
        self.numbers = numbers
        self.firsts = self.ends = np.zeros(len(numbers), np.int64)
        if series in market.directory.series:
            self._shelf = market.history[series]
            self.firsts, self.ends = spans(self._shelf, market, numbers, span)

    def rows(self, firsts: Ints, ends: Ints) -> Block | None:
        wanted = ends > firsts
        return read(self._shelf, self.numbers[wanted], firsts[wanted], ends[wanted])

    def mark(self, at: int, row: int) -> int:
        return row

    def place(self, at: int, mark: int) -> int:
        return mark


class _Folded:
    """Bars of another timeframe, summed up for this request: their times tell them apart."""

    def __init__(self, market: Market, timeframe: Timeframe, numbers: Ints, span: Span) -> None:
        self._block = bars_of(market, timeframe, np.sort(numbers))
        self.numbers = self.firsts = self.ends = np.zeros(0, np.int64)
        if self._block is not None:
            has = np.isin(numbers, self._block.symbols)
            self.numbers = numbers[has]
            self._runs = np.searchsorted(self._block.symbols, self.numbers)
            firsts, ends = rows_within(self._block, market, span)
            self.firsts, self.ends = firsts[self._runs], np.maximum(firsts, ends)[self._runs]

    def rows(self, firsts: Ints, ends: Ints) -> Block | None:
        assert self._block is not None
        order = np.argsort(self._runs)
        return cut(self._block, firsts[order], ends[order])

    def mark(self, at: int, row: int) -> int:
        time = self._times(at)
        place = row - self._first(at)
        # Going down, a mark stands behind what is left: the last bar has no time behind it.
        return int(time[place]) if place < len(time) else int(time[-1]) + 1

    def place(self, at: int, mark: int) -> int:
        return self._first(at) + int(np.searchsorted(self._times(at), mark))

    def _first(self, at: int) -> int:
        assert self._block is not None
        return int(self._block.offsets[self._runs[at]])

    def _times(self, at: int) -> Ints:
        assert self._block is not None
        times: Ints = self._block.columns[0][self._first(at) : self._block.offsets[self._runs[at] + 1]]
        return times
