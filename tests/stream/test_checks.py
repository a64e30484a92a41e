"""What no row can be, column by column; and many rows at once, against a slow reference that looks at one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Ticks, columns_of
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory

NAN = -(2**63)
"""What numpy makes of a float's NaN, and of NaT, as int64."""
NOW_S = 1_795_435_200
YEAR_1990_S = 631_152_000
STOCK, FUTURE = Instrument("AAPL"), Instrument("CL", signed_prices=True)
COIN = Instrument("BTC", price_scale=1, size_scale=8, time_scale=9)
SERIES = {"trades": Series("trades"), "quotes": Series("quotes"), "bars": Series("bars", 7)}
GOOD: dict[str, tuple[int, ...]] = {
    "trades": (NOW_S * 10**6, 18931, 100),
    "quotes": (NOW_S * 10**6, 18930, 2, 18932, 3),
    "bars": (NOW_S * 10**6, 5, 9, 3, 6, 10, 0, 0),
}


class Door:
    """A Batcher of a live feed, or of a replay, and the rows that it published."""

    def __init__(self, *instruments: Instrument, live: bool = True, ahead_s: float | None = 86_400.0) -> None:
        self.directory = Directory("e", list(SERIES.values()), instruments or [STOCK, FUTURE])
        self.symbols = tuple(self.directory.numbers)
        self.rows: list[tuple[str, str, tuple[int, ...]]] = []
        now_ns = (lambda: NOW_S * 10**9) if live else None
        self.batcher = Batcher(
            self.directory, Bars(self.directory, []), self._publish, feed="hand", now_ns=now_ns, ahead_s=ahead_s
        )

    @property
    def counts(self) -> Counter[str]:
        return self.batcher.refusals.counts

    def emit(self, kind: str, *rows: tuple[str, tuple[int, ...]]) -> None:
        """Emit rows, each with its symbol, and flush."""
        columns = np.array([cells for _, cells in rows], np.int64).T.copy()
        codes = np.array([self.symbols.index(symbol) for symbol, _ in rows])
        self.batcher.emit(Ticks(kind, self.symbols, codes, tuple(columns), SERIES[kind].interval_s))
        self.batcher.flush()

    def _publish(self, blocks: Any) -> None:
        for block in blocks:
            symbols = np.repeat(block.symbols, block.counts).tolist()
            cells = zip(*(column.tolist() for column in block.columns), strict=True)
            for symbol, row in zip(symbols, cells, strict=True):
                self.rows.append((block.series.kind, self.symbols[symbol], row))


def changed(kind: str, **cells: int) -> tuple[int, ...]:
    """Return a good row of a kind with some cells changed, by column."""
    names = [column.name for column in columns_of(kind)]
    return tuple(cells.get(name, value) for name, value in zip(names, GOOD[kind], strict=True))


@pytest.mark.parametrize(
    ("kind", "symbol", "cells", "code", "said"),
    [
        ("trades", "AAPL", {"price": 0}, "price", "price 0.00 is not above 0, and signed_prices is not set"),
        ("trades", "AAPL", {"price": -3763}, "price", "price -37.63 is not above 0, and signed_prices is not set"),
        ("trades", "AAPL", {"price": NAN}, "nan", "price is no number"),
        ("trades", "CL", {"price": NAN}, "nan", "price is no number"),
        ("trades", "AAPL", {"size": -1}, "size", "size -1 is not at least 0"),
        ("trades", "CL", {"size": -1}, "size", "size -1 is not at least 0"),
        ("trades", "AAPL", {"size": NAN}, "nan", "size is no number"),
        (
            "quotes",
            "AAPL",
            {"bid_price": -1},
            "price",
            "bid_price -0.01 is not at least 0, and signed_prices is not set",
        ),
        ("quotes", "AAPL", {"ask_price": NAN}, "nan", "ask_price is no number"),
        ("quotes", "AAPL", {"bid_size": -1}, "size", "bid_size -1 is not at least 0"),
        ("quotes", "CL", {"ask_size": -5}, "size", "ask_size -5 is not at least 0"),
        ("bars", "AAPL", {"low": 0}, "price", "low 0.00 is not above 0, and signed_prices is not set"),
        ("bars", "AAPL", {"high": 2}, "range", "high 2 is below low 3 (whole numbers)"),
        ("bars", "CL", {"high": -4}, "range", "high -4 is below low 3 (whole numbers)"),
        ("bars", "AAPL", {"volume": -1}, "size", "volume -1 is not at least 0"),
        ("bars", "AAPL", {"count": -1}, "size", "count -1 is not at least 0"),
        (
            "trades",
            "AAPL",
            {"time": NOW_S},
            "time",
            "time 1970-01-01T00:29:55.435200+00:00 does not lie between 1990-01-01T00:00:00+00:00 and "
            "2026-11-24T12:00:00+00:00",
        ),
        (
            "trades",
            "AAPL",
            {"time": NOW_S * 10**9},
            "time",
            "time 1,795,435,200,000,000,000 us does not lie between 1990-01-01T00:00:00+00:00 and "
            "2026-11-24T12:00:00+00:00",
        ),
    ],
)
def test_a_row_that_cannot_be_is_refused_and_its_neighbours_are_taken(
    kind: str, symbol: str, cells: dict[str, int], code: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    door, bad = Door(), changed(kind, **cells)

    for _ in range(3):
        door.emit(kind, ("AAPL", GOOD[kind]), (symbol, bad), ("CL", GOOD[kind]))

    assert sorted(door.rows) == sorted([(kind, "AAPL", GOOD[kind]), (kind, "CL", GOOD[kind])] * 3)
    assert door.counts == {code: 3}
    assert caplog.messages == [
        f"feed hand: {SERIES[kind]} of '{symbol}' refused: {said} (told once, counted as `{code}`)"
    ]


@pytest.mark.parametrize(
    ("kind", "symbol", "cells"),
    [
        ("trades", "CL", {"price": -3763}),
        ("trades", "CL", {"price": 0}),
        ("trades", "AAPL", {"size": 0}),
        ("trades", "AAPL", {"price": 2**63 - 1, "size": 2**63 - 1}),
        ("quotes", "AAPL", {"bid_price": 0, "bid_size": 0}),
        ("quotes", "AAPL", {"bid_price": 18940}),  # crossed
        ("quotes", "CL", {"bid_price": -5, "ask_price": -3}),
        ("bars", "AAPL", {"open": 20}),  # beyond high: files of adjusted prices have such
        ("bars", "CL", {"open": -5, "high": -1, "low": -9, "close": -3, "notional": -100}),
        ("bars", "AAPL", {"notional": -1}),  # a sum modulo 2**64
        ("trades", "AAPL", {"time": YEAR_1990_S * 10**6}),
        ("trades", "AAPL", {"time": (NOW_S + 86_400) * 10**6}),
    ],
)
def test_a_row_that_is_rare_but_real_is_taken(kind: str, symbol: str, cells: dict[str, int]) -> None:
    door, row = Door(), changed(kind, **cells)

    door.emit(kind, (symbol, row))

    assert door.rows == [(kind, symbol, row)]
    assert not door.counts


def test_what_numpy_makes_of_a_nan_never_gets_in() -> None:
    door = Door()
    prices = np.array([189.31, np.nan, 189.33])
    times = np.array(["2026-11-23T12:00:00", "NaT", "2026-11-23T12:00:01"], "datetime64[us]").astype(np.int64)

    with np.errstate(invalid="ignore"):
        whole = np.round(prices * 100).astype(np.int64)
    door.emit("trades", *(("CL", (NOW_S * 10**6, price, 1)) for price in whole.tolist()))
    door.emit("trades", *(("AAPL", (time, 100, 1)) for time in times.tolist()))

    assert [cells[1] for _, symbol, cells in door.rows if symbol == "CL"] == [18931, 18933]
    assert len(door.rows) == 4
    assert door.counts == {"nan": 1, "time": 1}


def test_a_row_that_is_wrong_in_many_ways_is_counted_once() -> None:
    door = Door()

    door.emit("bars", ("AAPL", (5, -1, -9, 0, NAN, -3, 0, -2)), ("AAPL", GOOD["bars"]))

    assert door.rows == [("bars", "AAPL", GOOD["bars"])]
    assert door.counts == {"time": 1}


def test_a_flush_in_which_no_row_can_be_is_no_block() -> None:
    door = Door()

    door.emit("trades", *[("AAPL", changed("trades", price=0))] * 4)

    assert door.rows == []
    assert door.batcher.rows == 0
    assert door.batcher.flushes == 0


def test_the_number_of_a_row_that_is_refused_is_given_to_the_next_one() -> None:
    seqs: list[int] = []
    door = Door()
    door.batcher._publish = lambda blocks: seqs.extend(int(block.seqs[0]) for block in blocks)

    for price in (1, 0, 2, -1, 3):
        door.emit("trades", ("AAPL", changed("trades", price=price)))

    assert seqs == [0, 1, 2]


# times


@pytest.mark.parametrize("instrument", [STOCK, COIN])
def test_times_are_measured_at_the_symbols_own_scale(instrument: Instrument) -> None:
    door, unit = Door(instrument), 10**instrument.time_scale
    names = [instrument.symbol]
    seconds = [YEAR_1990_S - 1, YEAR_1990_S, NOW_S + 86_400, NOW_S + 86_401]

    door.emit("trades", *((names[0], (second * unit, 10, 1)) for second in seconds))

    assert [cells[0] // unit for *_, cells in door.rows] == seconds[1:3]
    assert door.counts == {"time": 2}


def test_times_of_symbols_with_different_scales_are_measured_each_at_its_own() -> None:
    door = Door(STOCK, COIN)
    rows = [
        (each.symbol, (second * 10**each.time_scale, 10, 1))
        for second in (YEAR_1990_S - 1, NOW_S, NOW_S + 86_401)
        for each in (STOCK, COIN)
    ]

    door.emit("trades", *rows)

    assert sorted(door.rows) == sorted(("trades", *row) for row in rows[2:4])
    assert door.counts == {"time": 4}


def test_an_instrument_that_appears_later_is_known_to_the_checks() -> None:
    door = Door(STOCK)
    door.emit("trades", ("AAPL", GOOD["trades"]))
    door.batcher.announce([FUTURE, COIN])
    door.symbols = tuple(door.directory.numbers)

    door.emit("trades", ("CL", changed("trades", price=-1)), ("BTC", (NOW_S * 10**9, 1, 1)))
    door.emit("trades", ("AAPL", changed("trades", price=-1)), ("BTC", (NOW_S * 10**6, 1, 1)))

    assert [symbol for _, symbol, _ in door.rows] == ["AAPL", "CL", "BTC"]
    assert door.counts == {"price": 1, "time": 1}


def test_a_replay_may_be_of_any_year_that_nanoseconds_hold() -> None:
    door = Door(STOCK, COIN, live=False)
    ends_us = (-(2**63 - 1) // 1000 + 1, 0, (2**63 - 1) // 1000)

    door.emit("trades", *(("AAPL", (us, 10, 1)) for us in ends_us))
    door.emit("trades", *(("BTC", (us * 1000, 10, 1)) for us in ends_us))
    door.emit("trades", *(("AAPL", (us, 10, 1)) for us in (NAN, ends_us[0] - 1, ends_us[2] + 1, 2**63 - 1)))
    door.emit("trades", ("BTC", (NAN, 10, 1)))

    assert len(door.rows) == 6
    assert door.counts == {"time": 5}


def test_a_feed_may_say_that_its_times_run_ahead() -> None:
    bold, careful = Door(ahead_s=None), Door(ahead_s=1.5)
    times = [NOW_S * 10**6 + each for each in (0, 1_500_000, 1_500_001, 10**15)]

    for door in (bold, careful):
        door.emit("trades", *(("AAPL", (time, 10, 1)) for time in times))

    assert [cells[0] for *_, cells in bold.rows] == times
    assert [cells[0] for *_, cells in careful.rows] == times[:2]


def test_a_row_from_the_future_does_not_freeze_the_time_of_its_channel() -> None:
    door = Door()

    door.emit("trades", ("AAPL", changed("trades", time=2**62)), ("AAPL", GOOD["trades"]))

    assert door.rows == [("trades", "AAPL", GOOD["trades"])]
    assert door.batcher.restamped == 0


# all at once

CELLS = {
    "time": st.sampled_from([NOW_S * 10**6, NOW_S * 10**6 + 1, NOW_S, 2**62, NAN]),
    "price": st.integers(-2, 6) | st.just(NAN),
    "size": st.integers(-1, 3) | st.just(NAN),
    "count": st.integers(-1, 3),
    "notional": st.integers(-5, 5),
}


def rows_of(kind: str) -> st.SearchStrategy[list[Any]]:
    cells = st.tuples(*(CELLS[column.quantity] for column in columns_of(kind)))
    return st.lists(st.tuples(st.sampled_from(["AAPL", "CL"]), cells), min_size=1, max_size=8)


def can_be(kind: str, symbol: str, row: tuple[int, ...]) -> bool:
    """Tell by the words of the door whether a row can be."""
    least = -(2**63) + 1 if symbol == "CL" else 0 if kind == "quotes" else 1
    bounds = {"time": YEAR_1990_S * 10**6, "price": least, "size": 0, "count": 0, "notional": -(2**63)}
    enough = all(value >= bounds[column.quantity] for column, value in zip(columns_of(kind), row, strict=True))
    return enough and row[0] <= (NOW_S + 86_400) * 10**6 and (kind != "bars" or row[2] >= row[3])


@given(st.data(), st.sampled_from(list(SERIES)))
def test_of_any_rows_those_are_taken_that_can_be(data: Any, kind: str) -> None:
    door = Door()
    flushes = data.draw(st.lists(rows_of(kind), max_size=4))

    for rows in flushes:
        door.emit(kind, *rows)

    emitted = [(kind, *row) for rows in flushes for row in rows]
    expected = [row for row in emitted if can_be(*row)]
    ordered = [(each, symbol, cells[1:]) for each, symbol, cells in door.rows]  # times may have been put in order
    assert sorted(ordered) == sorted((each, symbol, cells[1:]) for each, symbol, cells in expected)
    assert door.counts.total() == len(emitted) - len(expected)
