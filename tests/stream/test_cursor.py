"""A reader that catches up: slices, the order between channels, and falling off. (Any position: see test_shelf.py.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.stream.conftest import EPOCH, TRADES, block_of
from ticker.columns import Block
from ticker.model import Instrument
from ticker.stream.cursor import Cursor, FellOff
from ticker.stream.directory import Directory
from ticker.stream.shelf import Shelf

INSTRUMENTS = (Instrument("AAPL"), Instrument("BTC", time_scale=9), Instrument("MSFT"))
SECOND = np.array([10**6, 10**9, 10**6])


@pytest.fixture
def shelf() -> Shelf:
    """Return an empty shelf of trades of three symbols."""
    return Shelf(TRADES, Directory(EPOCH, [TRADES], INSTRUMENTS))


def put(shelf: Shelf, number: int, *times_s: float, symbols: Sequence[int] = (0, 1, 2)) -> None:
    """Append a flush that has for each symbol one trade at each of these times."""
    runs = []
    for symbol in symbols:
        rows = [(round(time_s * int(SECOND[symbol])), 1, 1) for time_s in times_s]
        runs.append((symbol, int(shelf.next_seqs(np.array([symbol]))[0]), 0, rows))
    shelf.append(block_of(number, runs), 0.0)


def starts_s(block: Block | None) -> list[float]:
    """Return the times, in seconds, at which the runs of a block begin."""
    assert block is not None
    return (block.columns[0][block.offsets[:-1]] / SECOND[block.symbols]).tolist()


@pytest.fixture(params=["settled", "tail", "joined"])
def fill(request: pytest.FixtureRequest, shelf: Shelf, shelf_sizes: Callable[..., None]) -> Callable[..., None]:
    """Return what puts flushes with these times into the shelf, which keeps them in one of three ways."""

    def fill(slice_rows: int, flushes: Sequence[Sequence[float]]) -> None:
        shelf_sizes(rows=1 << 40, flushes=4 if request.param == "settled" else 256, slice_rows=slice_rows)
        for number, times_s in enumerate(flushes):
            put(shelf, number, *times_s)
        if request.param == "joined":  # as it is once someone has asked for a state before its end
            shelf.state_before(np.array([0]), np.array([1]))

    return fill


@pytest.fixture
def order(shelf: Shelf, fill: Callable[..., None]) -> list[float]:
    """Return when the runs of ten seconds begin, in the order in which they are read."""
    fill(30, [[0.25 * number] for number in range(40)])
    cursor = Cursor(shelf, np.arange(3), np.zeros(3, np.int64), SECOND)
    times: list[float] = []
    while (block := cursor.read()) is not None:
        times += starts_s(block)
    return times


def test_channels_are_read_in_order_to_a_second(order: list[float]) -> None:
    newest = -1.0
    for time in order:
        assert time > newest - 1
        newest = max(newest, time)
    assert newest >= 9


@pytest.mark.parametrize("size", [1, 4, 10, 1000])
def test_a_slice_holds_so_many_rows_at_most_and_no_fewer_while_there_are_more(
    shelf: Shelf, fill: Callable[..., None], size: int
) -> None:
    fill(size, [[0.0, 0.1]] * 10)
    cursor = Cursor(shelf, np.arange(3), np.zeros(3, np.int64), SECOND)

    sizes = []
    while (block := cursor.read()) is not None:
        sizes.append(len(block))

    assert sizes == [min(size, 60 - place) for place in range(0, 60, size)]


def test_rows_that_come_while_it_reads_are_read_too(shelf: Shelf) -> None:
    put(shelf, 0, 0.0)
    cursor = Cursor(shelf, np.array([1]), np.array([0]), SECOND)

    first = cursor.read()
    assert cursor.read() is None
    put(shelf, 1, 1.0, 2.0)
    second = cursor.read()

    assert first is not None
    assert second is not None
    assert (first.seqs.tolist(), first.counts.tolist()) == ([0], [1])
    assert (second.symbols.tolist(), second.seqs.tolist(), second.counts.tolist()) == ([1], [1], [2])
    assert cursor.position(1) == 3


def test_a_channel_that_is_dropped_is_read_no_more_and_cannot_fall_off(shelf: Shelf) -> None:
    put(shelf, 0, 0.0)
    cursor = Cursor(shelf, np.arange(3), np.zeros(3, np.int64), SECOND)

    cursor.drop(np.array([0, 2]))
    block = cursor.read()
    shelf.evict(0.0)
    put(shelf, 1, 1.0, symbols=[0])
    shelf.evict(0.0)

    assert block is not None
    assert (block.symbols.tolist(), cursor.symbols.tolist()) == ([1], [1])
    assert cursor.read() is None


def test_who_needs_a_row_that_was_forgotten_is_told(shelf: Shelf) -> None:
    put(shelf, 0, 0.0)
    behind = Cursor(shelf, np.array([0]), np.array([0]), SECOND)
    ahead = Cursor(shelf, np.array([0]), np.array([1]), SECOND)

    shelf.evict(0.0)

    with pytest.raises(FellOff):
        behind.read()
    assert ahead.read() is None


def test_a_reader_in_the_middle_of_a_gap_is_told_what_is_left_of_it(shelf: Shelf) -> None:
    put(shelf, 0, 0.0)
    shelf.append(block_of(1, [(0, 6, 5, [(1, 1, 1)])]), 0.0)
    cursor = Cursor(shelf, np.array([0]), np.array([4]), SECOND)

    block = cursor.read()

    assert block is not None
    assert block.missed is not None
    assert (block.seqs.tolist(), block.missed.tolist()) == ([6], [2])


def test_symbols_that_appear_while_it_reads_do_not_disturb_it() -> None:
    directory = Directory(EPOCH, [TRADES], INSTRUMENTS)
    shelf = Shelf(TRADES, directory)
    put(shelf, 0, 0.0)
    cursor = Cursor(shelf, np.array([0]), np.array([1]), SECOND)

    directory.add([Instrument("NEW")])
    shelf.append(block_of(1, [(0, 1, 0, [(1, 1, 1)]), (3, 0, 0, [(1, 1, 1)])]), 0.0)
    block = cursor.read()

    assert block is not None
    assert block.symbols.tolist() == [0]
