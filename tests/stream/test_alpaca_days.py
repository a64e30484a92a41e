"""Daily bars of Alpaca's streams: the sum of the minutes of New York's day, against adding up trades one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, Ticks
from ticker.model import Instrument, Series
from ticker.protocol.alpaca_rows import DAYS
from ticker.stream.alpaca_days import Days, source_of
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory

NEW_YORK = ZoneInfo("America/New_York")
NOON_S = 1_795_435_200
MINUTE = 60
Trade = tuple[int, int, int, int]
"""Symbol number, UNIX seconds, price, size."""


class Market:
    def __init__(self, intervals_s: Sequence[int] = (60, 3600), symbols: Sequence[str] = ("A", "B")) -> None:
        series = [Series("trades"), *(Series("bars", each) for each in intervals_s)]
        self.symbols = tuple(symbols)
        self.directory = Directory("e", series, [Instrument(symbol, signed_prices=True) for symbol in symbols])
        self.flushes: list[Sequence[Block]] = []
        days = Days(self.directory, self.flushes.append)
        self.batcher = Batcher(self.directory, Bars(self.directory, intervals_s), days.publish)

    def trade(self, *trades: Trade) -> None:
        symbols, seconds, prices, sizes = (np.array(column, np.int64) for column in zip(*trades, strict=True))
        self.batcher.emit(Ticks("trades", self.symbols, symbols, (seconds * 10**6, prices, sizes)))
        self.batcher.flush()

    @property
    def days(self) -> list[tuple[Any, ...]]:
        """The daily bars that came: symbol, time, open, high, low, close, volume, notional, count."""
        blocks = [block for blocks in self.flushes for block in blocks if block.series == DAYS]
        return [
            (self.symbols[number], *row)
            for block in blocks
            for number, *row in zip(np.repeat(block.symbols, block.counts), *block.columns, strict=True)
        ]


def test_a_day_is_told_with_each_minute_that_ends_and_has_no_trade_behind_it() -> None:
    market = Market()
    market.trade((0, NOON_S, 100, 1), (1, NOON_S, 500, 1))
    assert market.days == []

    market.trade((0, NOON_S + MINUTE, 300, 2))
    market.trade((0, NOON_S + 2 * MINUTE, 50, 3), (1, NOON_S + 2 * MINUTE, 600, 1))

    start = 1_795_410_000 * 10**6
    assert market.days == [
        ("A", start, 100, 100, 100, 100, 1, 100, 1),
        ("A", start, 100, 300, 100, 300, 3, 700, 2),
        ("B", start, 500, 500, 500, 500, 1, 500, 1),
    ]


def test_a_day_begins_anew_at_midnight_in_new_york() -> None:
    market = Market()
    midnight = 1_795_410_000
    market.trade((0, midnight - 1, 100, 1))
    market.trade((0, midnight, 200, 2))
    market.trade((0, midnight + MINUTE, 1, 1))

    assert [(row[1] // 10**6, row[2], row[6]) for row in market.days] == [
        (midnight - 86400, 100, 1),
        (midnight, 200, 2),
    ]


def test_minutes_of_several_days_that_end_at_once_are_a_row_each() -> None:
    market = Market()
    market.trade(*((0, NOON_S + day * 86400, 100 + day, 1) for day in range(4)))

    assert [row[2] for row in market.days] == [100, 101, 102]


def test_days_of_symbols_that_appear_later() -> None:
    market = Market()
    market.symbols = ("A", "B", "C")
    market.batcher.announce([Instrument("C")])
    market.trade((2, NOON_S, 100, 1))
    market.trade((2, NOON_S + MINUTE, 100, 1))

    assert [row[0] for row in market.days] == ["C"]


@pytest.mark.parametrize(
    ("intervals_s", "source_s"),
    [((1, 5, 60, 3600, 86400), 60), ((300, 3600, 86400), 300), ((3600, 86400), 3600), ((86400,), 86400), ((5,), None)],
)
def test_days_are_summed_up_from_the_shortest_bars_of_a_minute_or_more(
    intervals_s: tuple[int, ...], source_s: int | None
) -> None:
    directory = Directory("e", [Series("bars", each) for each in intervals_s])

    assert source_of(directory) == (None if source_s is None else Series("bars", source_s))


TRADES = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 50_000), st.integers(-50, 50), st.integers(0, 9)), min_size=1),
    min_size=1,
    max_size=12,
)


@given(TRADES)
def test_the_last_word_on_each_day_is_what_its_minutes_amount_to(
    flushes: list[list[tuple[int, int, int, int]]],
) -> None:
    market = Market()
    time, trades = NOON_S, []
    for flush in flushes:
        rows = []
        for number, step, price, size in flush:
            time += step
            rows.append((number, time, price, size))
        trades += rows
        market.trade(*rows)
    market.batcher.time((time + MINUTE) * 10**9)
    market.batcher.flush()

    last = {(row[0], row[1]): row[2:] for row in market.days}
    expected: dict[tuple[str, int], list[Trade]] = {}
    for trade in trades:
        local = datetime.fromtimestamp(trade[1], NEW_YORK).replace(hour=0, minute=0, second=0, fold=0)
        expected.setdefault(("AB"[trade[0]], int(local.timestamp()) * 10**6), []).append(trade)
    assert last == {key: amount(run) for key, run in expected.items()}


def amount(run: list[Trade]) -> tuple[int, ...]:
    prices, sizes = [trade[2] for trade in run], [trade[3] for trade in run]
    notional = sum(price * size for price, size in zip(prices, sizes, strict=True))
    return prices[0], max(prices), min(prices), prices[-1], sum(sizes), notional, len(run)
