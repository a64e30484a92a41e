"""The recent rows of one series against plain lists: what can be had, the state at any row, and what it costs."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.conftest import EPOCH, START_S, block_of
from tests.stream.reference import Row, summary
from ticker.columns import Block, Ints, offsets_of
from ticker.model import Instrument, Series
from ticker.stream.cursor import Cursor, FellOff
from ticker.stream.directory import Directory
from ticker.stream.shelf import Shelf

TRADES, QUOTES, BARS = Series("trades"), Series("quotes"), Series("bars", 60)
WIDTHS = {TRADES: 2, QUOTES: 4, BARS: 7}
SYMBOLS = 3


class Books:
    """A shelf, and beside it every row that was ever put on it: `rows[symbol][seq]`, None where it was lost."""

    def __init__(self, series: Series, seed: int, row_limit: int | None = None) -> None:
        self.chance = random.Random(seed)
        self.series = series
        self.directory = Directory(EPOCH, [series], [Instrument(f"S{number}") for number in range(SYMBOLS)])
        self.shelf = Shelf(series, self.directory, row_limit)
        self.rows: list[list[Row | None]] = [[] for _ in range(SYMBOLS)]
        self.number = -1
        self.now_s = 0.0

    @property
    def all(self) -> Ints:
        """The numbers of all symbols."""
        return np.arange(len(self.directory))

    @property
    def following(self) -> list[int]:
        return [len(rows) for rows in self.rows]

    @property
    def kept_from(self) -> list[int]:
        return self.shelf.kept_from(self.all).tolist()

    def flush(self) -> None:
        """Append a flush of some rows of some symbols."""
        self.number += 1 + (self.chance.random() < 0.2)  # some flushes have nothing of this series
        runs = []
        for symbol in sorted(self.chance.sample(range(len(self.rows)), self.chance.randrange(1, len(self.rows) + 1))):
            missed = self.chance.choice([0, 0, 0, 0, 2])
            seq = len(self.rows[symbol]) + missed
            time = START_S * 10**6 + int(self.now_s * 1e6)
            width = WIDTHS[self.series]
            rows = [
                (time, *(self.chance.randrange(-9, 10) for _ in range(width)))
                for _ in range(self.chance.randrange(1, 5))
            ]
            self.rows[symbol] += [*[None] * missed, *rows]
            runs.append((symbol, seq, missed, rows))
        self.shelf.append(block_of(self.number, runs, self.series), self.now_s)

    def announce(self) -> None:
        self.directory.add([Instrument(f"S{len(self.rows)}")])
        self.rows.append([])

    def state(self, symbol: int, seq: int) -> Row | None:
        """Return what the rows before `seq` amount to."""
        rows = [row for row in self.rows[symbol][:seq] if row is not None]
        if not rows:
            return None
        return summary(rows) if self.series == TRADES else (*rows[-1], len(rows))

    def position(self, symbol: int) -> int:
        """Return a number, any, that can still be had."""
        return self.chance.randint(self.kept_from[symbol], self.following[symbol])

    def some(self) -> list[int]:
        """Return some symbols, ascending."""
        return sorted(self.chance.sample(range(len(self.rows)), self.chance.randrange(1, len(self.rows) + 1)))


class Reading:
    """A cursor, and where it must be."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.at = {symbol: books.position(symbol) for symbol in books.some()}
        units = None if books.series == BARS else books.directory.time_units(books.all)
        self.cursor = Cursor(books.shelf, np.array(list(self.at)), np.array(list(self.at.values())), units)

    @property
    def is_lost(self) -> bool:
        return any(self.books.kept_from[symbol] > at for symbol, at in self.at.items())

    def read(self) -> bool:
        """Read a slice and check it; return whether there was one."""
        if self.is_lost:
            with pytest.raises(FellOff):
                self.cursor.read()
            return False
        block = self.cursor.read()
        if block is None:
            assert all(self.books.following[symbol] == at for symbol, at in self.at.items())
            return False
        self._check(block)
        return True

    def _check(self, block: Block) -> None:
        rows = list(zip(*(column.tolist() for column in block.columns), strict=True))
        missed = [0] * len(block.symbols) if block.missed is None else block.missed.tolist()
        for run, symbol in enumerate(block.symbols.tolist()):
            mine = rows[block.offsets[run] : block.offsets[run + 1]]
            seq = int(block.seqs[run])
            assert self.at[symbol] == seq - missed[run]
            assert self.books.rows[symbol][self.at[symbol] : seq + len(mine)] == [*[None] * missed[run], *mine]
            self.at[symbol] = seq + len(mine)
            assert self.cursor.position(symbol) >= self.at[symbol]


@pytest.fixture(autouse=True)
def _small_sizes(shelf_sizes: Callable[..., None]) -> None:
    shelf_sizes(rows=24, flushes=5, slice_rows=12)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), series=st.sampled_from([TRADES, QUOTES, BARS]))
def test_every_row_that_was_not_forgotten_can_be_read_from_any_position_while_others_come(
    seed: int, series: Series
) -> None:
    books = Books(series, seed)
    readings: list[Reading] = []
    for _ in range(80):
        match books.chance.choice(["flush"] * 6 + ["read"] * 4 + ["begin", "settle", "evict", "announce", "drop"]):
            case "flush":
                books.now_s += books.chance.choice([0.05, 0.5])
                books.flush()
            case "begin" if len(readings) < 4:
                readings.append(Reading(books))
            case "read" if readings:
                books.chance.choice(readings).read()
            case "settle":
                books.shelf.settle(books.now_s)
            case "evict":
                before = books.kept_from
                books.shelf.evict(books.now_s)
                assert all(now >= was for now, was in zip(books.kept_from, before, strict=True))
            case "announce" if len(books.rows) < 6:
                books.announce()
            case "drop" if readings and len((reading := readings[-1]).at) > 1:
                symbol = next(iter(reading.at))
                del reading.at[symbol]
                reading.cursor.drop(np.array([symbol]))

    for reading in readings:
        while reading.read():
            pass
        assert reading.is_lost or all(books.following[symbol] == at for symbol, at in reading.at.items())
    assert books.shelf.next_seqs(books.all).tolist() == books.following


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), series=st.sampled_from([TRADES, QUOTES]))
def test_the_state_at_any_row_is_what_all_rows_before_it_amount_to(seed: int, series: Series) -> None:
    books = Books(series, seed)
    for _ in range(40):
        books.flush()
        if books.chance.random() < 0.1:
            books.shelf.evict(books.now_s)
        if books.chance.random() < 0.05:
            books.announce()
        symbols = books.chance.sample(range(len(books.rows)), books.chance.randrange(1, len(books.rows) + 1))
        seqs = [books.position(symbol) for symbol in symbols]

        present, fold = books.shelf.state_before(np.array(symbols), np.array(seqs))

        rows = list(zip(*(column.tolist() for column in fold), strict=True))
        found = [row[:8] if has else None for has, row in zip(present.tolist(), rows, strict=True)]
        assert found == [books.state(symbol, seq) for symbol, seq in zip(symbols, seqs, strict=True)]


@pytest.mark.parametrize("series", [TRADES, QUOTES, BARS])
def test_what_it_occupies_is_nothing_again_once_all_is_forgotten(series: Series) -> None:
    books = Books(series, seed=7)
    for _ in range(100):
        books.flush()
    assert books.shelf.nbytes > 0

    while books.shelf.oldest is not None:
        books.shelf.evict(books.now_s)

    assert books.shelf.nbytes == 0
    assert books.kept_from == books.following


@pytest.mark.parametrize("rows", [1, 20], ids=["few-rows", "many-rows"])
@pytest.mark.parametrize("is_settled", [False, True], ids=["tail", "settled"])
def test_what_it_says_to_occupy_is_about_what_it_does(
    rows: int, is_settled: bool, shelf_sizes: Callable[..., None]
) -> None:
    shelf_sizes(rows=1 << 40, flushes=1 << 40)
    directory = Directory(EPOCH, [TRADES], [Instrument(f"S{number}") for number in range(100)])
    shelf = Shelf(TRADES, directory)
    shelf.next_seqs(np.arange(100))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(200):
            size = 100 * rows
            block = Block(
                TRADES,
                EPOCH,
                number,
                np.arange(100),
                offsets_of(np.full(100, rows)),
                np.full(100, number * rows),
                tuple(np.arange(size) + column for column in range(3)),
            )
            shelf.append(block, 0.0)
            del block
        if is_settled:
            shelf.settle(0.0)
        occupied = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert 0.8 < shelf.nbytes / occupied < 1.25


@pytest.mark.parametrize("pause", [1, 25], ids=["busy", "quiet"])
def test_rows_are_kept_for_their_age_and_a_minute_longer_at_most(pause: int) -> None:
    books = Books(TRADES, seed=3)
    at = [(0.0, books.following)]
    for _ in range(600):
        books.now_s += 1
        if books.now_s % pause == 0:
            books.flush()
        books.shelf.trim(books.now_s, age_s=100)
        at.append((books.now_s, books.following))

        old = [counts for time, counts in at if time < books.now_s - 100]
        too_old = [counts for time, counts in at if time < books.now_s - 100 - 61]
        for symbol, kept in enumerate(books.kept_from):
            assert kept <= (old[-1][symbol] if old else 0)
            assert kept >= (too_old[-1][symbol] if too_old else 0)


def test_a_market_that_falls_silent_forgets_all_in_time() -> None:
    books = Books(TRADES, seed=3)
    books.flush()

    for _ in range(70):
        books.now_s += 1
        books.shelf.trim(books.now_s, age_s=5)

    assert books.kept_from == books.following
    assert books.shelf.nbytes == 0


def test_a_channel_may_ask_for_its_last_rows_only_and_what_nobody_may_ask_for_goes() -> None:
    books = Books(BARS, seed=5, row_limit=50)
    for _ in range(300):
        books.now_s += 1
        books.flush()
        books.shelf.trim(books.now_s, age_s=float("inf"))

    following, first = books.following, books.shelf.first_seqs(books.all).tolist()

    assert first == [each - 50 for each in following]
    assert all(kept > each - 200 for kept, each in zip(books.kept_from, following, strict=True))
    assert all(kept <= each - 50 for kept, each in zip(books.kept_from, following, strict=True))
