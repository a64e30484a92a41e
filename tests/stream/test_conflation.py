"""What is due since a position, against plain lists of rows, and how little is kept for it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stream.conftest import TRADES, World, block_of
from tests.stream.reference import Row, summary
from ticker.columns import Block
from ticker.model import Channel, Series
from ticker.stream.conflation import MOST_ENTRIES, BarUpdates, TickUpdates

QUOTES = Series("quotes")
Update = tuple[int, int, int, Row]  # symbol, seq, missed, row


def updates_of(block: Block | None) -> list[Update]:
    """Return the rows of a conflated block of one row a run."""
    if block is None:
        return []
    missed = [0] * len(block.symbols) if block.missed is None else block.missed.tolist()
    rows = zip(*(column.tolist() for column in block.columns), strict=True)
    return list(zip(block.symbols.tolist(), block.seqs.tolist(), missed, rows, strict=True))


class Flushes:
    """Flushes of random rows, kept as plain lists."""

    def __init__(self, series: Series, chance: random.Random) -> None:
        self.series = series
        self.chance = chance
        self.number = -1
        self.kept: list[tuple[int, int, int, int, Row]] = []  # flush, symbol, seq, missed before, row
        self.next = [0, 0, 0]

    def another(self) -> Block | None:
        """Return the next flush's block; sometimes a flush has nothing of this series."""
        self.number += 1
        runs = []
        for symbol in range(3):
            if self.chance.random() < 0.5:
                continue
            missed = self.chance.choice([0, 0, 0, 2])
            seq = self.next[symbol] + missed
            width = 2 if self.series == TRADES else 4
            rows = [
                (self.number, *(self.chance.randrange(-5, 6) for _ in range(width)))
                for _ in range(self.chance.randrange(1, 4))
            ]
            runs.append((symbol, seq, missed, rows))
            for place, row in enumerate(rows):
                self.kept.append((self.number, symbol, seq + place, 0 if place else missed, row))
            self.next[symbol] = seq + len(rows)
        return block_of(self.number, runs, self.series) if runs else None

    def since(self, number: int) -> list[Update]:
        """Return what is due to one who has got all flushes up to `number`."""
        due: list[tuple[int, int, int, list[Row]]] = []
        for flush, symbol, seq, missed, row in sorted(self.kept, key=lambda each: each[1:3]):
            if flush <= number:
                continue
            if due and due[-1][0] == symbol and not missed:
                due[-1][3].append(row)
            else:
                due.append((symbol, seq, missed, [row]))
        merge = summary if self.series == TRADES else lambda rows: (*rows[-1], len(rows))
        return [(symbol, seq, missed, merge(rows)) for symbol, seq, missed, rows in due]


@settings(max_examples=200)
@given(chance=st.randoms(use_true_random=False), series=st.sampled_from([TRADES, QUOTES]))
def test_an_update_is_the_summary_of_every_row_since_a_position_between_gaps(
    chance: random.Random, series: Series
) -> None:
    chance = random.Random(chance.randrange(1 << 32))
    flushes, updates = Flushes(series, chance), TickUpdates()
    positions = [-1]

    for _ in range(chance.randrange(1, 60)):
        if block := flushes.another():
            updates.append(block)
        if chance.random() < 0.5:
            moved = chance.randrange(len(positions))
            assert updates_of(updates.since(positions[moved])) == flushes.since(positions[moved])
            positions[moved] = flushes.number
        if chance.random() < 0.2 and len(positions) < 4:
            positions.append(flushes.number)
        if chance.random() < 0.7:
            updates.keep(set(positions))

    for position in positions:
        assert updates_of(updates.since(position)) == flushes.since(position)


def test_entries_are_joined_where_nobody_stands_and_dropped_behind_everybody() -> None:
    flushes, updates = Flushes(TRADES, random.Random(1)), TickUpdates()
    positions = {-1, 50, 90}

    for _ in range(200):
        if block := flushes.another():
            updates.append(block)
        updates.keep(positions)

    assert len(updates) <= MOST_ENTRIES + 2 * len(positions)
    updates.keep({flushes.number})
    assert len(updates) == 0
    updates.keep(())
    assert updates.since(-1) is None


def test_what_was_joined_is_not_mistaken_for_the_last_flush_in_it() -> None:
    updates = TickUpdates()
    newest = MOST_ENTRIES + 4
    for number in range(newest + 1):
        updates.append(block_of(number, [(0, number, 0, [(number, 5, 1)])]))

    last = updates_of(updates.since(newest - 1))  # one client takes the last flush alone
    updates.keep({-1, newest})

    assert len(updates) == 1
    assert last == [(0, newest, 0, (newest, 5, 5, 5, 5, 1, 5, 1))]
    assert updates_of(updates.since(-1)) == [(0, 0, 0, (newest, 5, 5, 5, 5, newest + 1, 5 * newest + 5, newest + 1))]


def test_clients_at_positions_between_which_nothing_came_share_an_update() -> None:
    updates = TickUpdates()
    updates.append(block_of(7, [(0, 0, 0, [(1, 5, 1)])]))

    assert updates.since(2) is updates.since(6)


def test_a_sum_beyond_64_bits_is_told_as_a_float() -> None:
    updates = TickUpdates()
    for number in range(4):
        updates.append(block_of(number, [(0, number, 0, [(1, 3, 2**62)])]))

    block = updates.since(-1)

    assert block is not None
    assert block.estimates is not None
    assert [float(estimate[0]) for estimate in block.estimates] == [4 * 2.0**62, 12 * 2.0**62]
    one = updates.since(2)
    assert one is not None
    assert one.estimates is not None
    assert np.isnan(one.estimates[0][0])  # 2**62 fits
    assert float(one.estimates[1][0]) == 3 * 2.0**62
    assert one.columns[5].tolist() == [2**62]


@pytest.fixture
def bars(world: World) -> BarUpdates:
    """Return the updates of bars of one second, which a client listens to."""
    world.connect().subscribe("*", kind="bars", interval_s=1, mode="conflated")
    return world.hub.conflation.bars[Series("bars", 1)]


def test_the_running_bar_is_due_only_if_it_changed(world: World, bars: BarUpdates) -> None:
    world.trade("AAPL", 10, 1)
    world.trade("MSFT", 20, 1)
    world.flush()
    world.trade("AAPL", 12, 1)
    world.flush()

    (update,) = updates_of(bars.since(0))

    assert (update[0], update[1]) == (0, 0)
    assert update[3][1:] == (10, 12, 10, 12, 2, 22, 2)


def test_a_bar_that_ended_comes_with_the_running_one_behind_it(world: World, bars: BarUpdates) -> None:
    world.trade("AAPL", 10, 1)
    world.flush()
    world.advance(1)
    world.trade("AAPL", 11, 1)
    world.flush()

    block = bars.since(-1)

    assert block is not None
    assert (block.symbols.tolist(), block.seqs.tolist(), block.counts.tolist()) == ([0], [0], [2])
    assert block.columns[4].tolist() == [10, 11]


def test_a_bar_that_the_clock_ended_comes_once_more_under_its_own_number(world: World, bars: BarUpdates) -> None:
    world.trade("AAPL", 10, 1)
    world.flush()
    world.advance(1)
    world.tell_time()
    world.flush()

    assert updates_of(bars.since(0)) == [(0, 0, 0, world.truth.rows[Channel("bars", "AAPL", 1)][0])]


def test_ended_bars_are_joined_where_nobody_stands(world: World, bars: BarUpdates) -> None:
    for _ in range(100):
        world.trade("AAPL", 10, 1)
        world.flush()
        world.advance(1)
    bars.keep({-1})

    block = bars.since(-1)

    assert len(bars) <= MOST_ENTRIES + 2
    assert block is not None
    assert block.counts.tolist() == [100]
    bars.keep({1000})
    assert len(bars) == 0
