"""Joining, cutting and folding blocks, against plain lists of rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.conftest import EPOCH, Run, block_of
from tests.stream.reference import Row, summary
from ticker.columns import Block
from ticker.model import Series
from ticker.stream.runs import conflated, ends_of, first_rows, folds_by_symbol, merge, rows_before, rows_from
from ticker.summary import Summaries

SYMBOLS = 3


def runs_of(block: Block | None) -> list[Run]:
    """Return the runs of a block."""
    if block is None:
        return []
    rows = list(zip(*(column.tolist() for column in block.columns), strict=True))
    missed = [0] * len(block.symbols) if block.missed is None else block.missed.tolist()
    bounds = zip(block.offsets[:-1].tolist(), block.offsets[1:].tolist(), strict=True)
    each = zip(block.symbols.tolist(), block.seqs.tolist(), missed, bounds, strict=True)
    return [(symbol, seq, lost, rows[first:end]) for symbol, seq, lost, (first, end) in each]


def rows_of(blocks: Sequence[Block]) -> list[tuple[int, int, int, Row]]:
    """Return each row with its symbol, its number and what was lost directly before it."""
    return [
        (symbol, seq + place, 0 if place else missed, row)
        for block in blocks
        for symbol, seq, missed, rows in runs_of(block)
        for place, row in enumerate(rows)
    ]


@st.composite
def flushes(draw: st.DrawFn) -> list[Block]:
    """Return the blocks of some flushes of trades, with gaps; a flush takes some 400 ms."""
    following, time = [0] * SYMBOLS, 0
    blocks = []
    for number in range(draw(st.integers(1, 6))):
        runs: list[Run] = []
        for symbol in sorted(draw(st.sets(st.integers(0, SYMBOLS - 1), min_size=1))):
            missed = draw(st.sampled_from([0, 0, 0, 3]))
            rows = [
                (time + 100_000 * place, draw(st.integers(-9, 9)), draw(st.integers(0, 9)))
                for place in range(draw(st.integers(1, 4)))
            ]
            runs.append((symbol, following[symbol] + missed, missed, rows))
            following[symbol] += missed + len(rows)
        blocks.append(block_of(number, runs))
        time += 400_000
    return blocks


positions = st.lists(st.integers(0, 30), min_size=SYMBOLS, max_size=SYMBOLS)


@given(flushes(), st.booleans())
def test_joined_blocks_hold_the_same_rows_in_the_same_order_within_each_channel(
    blocks: list[Block], by_second: bool
) -> None:
    joined = merge(blocks, np.full(SYMBOLS, 1_000_000) if by_second else None)

    assert joined.number == blocks[-1].number
    for symbol in range(SYMBOLS):
        wanted = [row for row in rows_of(blocks) if row[0] == symbol]
        assert [row for row in rows_of([joined]) if row[0] == symbol] == wanted


@given(flushes())
def test_joined_runs_are_sorted_by_symbol_and_are_two_only_at_a_gap(blocks: list[Block]) -> None:
    runs = runs_of(merge(blocks)) if len(blocks) > 1 else []

    assert [run[0] for run in runs] == sorted(run[0] for run in runs)
    for (symbol, _, _, _), (later, _, missed, _) in pairwise(runs):
        assert later > symbol or missed


@given(flushes())
def test_blocks_joined_by_second_have_their_runs_in_the_order_of_the_seconds_in_which_they_begin(
    blocks: list[Block],
) -> None:
    runs = runs_of(merge(blocks, np.full(SYMBOLS, 1_000_000))) if len(blocks) > 1 else []
    order = [(rows[0][0] // 1_000_000, symbol) for symbol, _, _, rows in runs]

    assert order == sorted(order)


@given(flushes(), positions)
def test_rows_from_a_position_are_all_from_it_on_with_what_is_left_of_a_gap(
    blocks: list[Block], where: list[int]
) -> None:
    block = merge(blocks)
    wanted = [
        (symbol, seq, max(0, min(missed, seq - where[symbol])), row)
        for symbol, seq, missed, row in rows_of([block])
        if seq >= where[symbol]
    ]

    found = rows_from(block, np.array(where))

    assert rows_of([found] if found else []) == wanted


@given(flushes(), positions)
def test_rows_before_a_position_are_the_others(blocks: list[Block], where: list[int]) -> None:
    block = merge(blocks)

    found = rows_before(block, np.array(where))

    wanted = [row for row in rows_of([block]) if row[1] < where[row[0]]]
    assert rows_of([found] if found else []) == wanted


@given(flushes(), st.integers(1, 40))
def test_the_first_rows_of_a_block_are_cut_off_within_a_run_too(blocks: list[Block], rows: int) -> None:
    block = merge(blocks)

    assert rows_of([first_rows(block, rows)]) == rows_of([block])[:rows]


def test_a_block_of_which_every_row_is_wanted_is_not_copied() -> None:
    block = block_of(0, [(0, 5, 0, [(1, 2, 3)])])

    assert rows_from(block, np.array([5])) is block
    assert merge([block]) is block


@given(flushes())
def test_a_conflated_block_has_the_summary_of_each_run(blocks: list[Block]) -> None:
    block = merge(blocks)

    found = conflated(block)

    wanted = [(symbol, seq, missed, [summary(rows)]) for symbol, seq, missed, rows in runs_of(block)]
    assert runs_of(found) == wanted
    assert ends_of(found).tolist() == ends_of(block).tolist()


def test_conflated_bars_are_the_bars() -> None:
    bar = (60, 5, 6, 4, 5, 100, 500, 7)
    block = block_of(0, [(0, 5, 0, [bar, bar])], Series("bars", 60))

    found = conflated(block)

    assert found.conflated
    assert (runs_of(found), found.rows.tolist()) == (runs_of(block), [2])


@given(flushes())
def test_all_rows_of_a_symbol_fold_to_one(blocks: list[Block]) -> None:
    symbols, folds = folds_by_symbol(blocks)

    rows = {symbol: [row for each, _, _, row in rows_of(blocks) if each == symbol] for symbol in range(SYMBOLS)}
    found = zip(*(column.tolist() for column in folds[:8]), strict=True)
    assert dict(zip(symbols.tolist(), found, strict=True)) == {
        symbol: summary(each) for symbol, each in rows.items() if each
    }


def test_sums_beyond_64_bits_keep_their_floats_when_blocks_are_joined_and_cut() -> None:
    large = Summaries.of_trades(*(np.array([value], np.int64) for value in (1, 4, 2**62)))
    bars = [
        Block(
            Series("bars", 60),
            EPOCH,
            number,
            np.array([0]),
            np.array([0, 1]),
            np.array([number]),
            tuple(column.copy() for column in large[:8]),
            estimates=large.estimates() if number else None,
        )
        for number in range(3)
    ]

    tail = rows_from(merge(bars), np.array([1]))

    assert tail is not None
    assert tail.estimates is not None
    assert tail.estimates[1].tolist() == [2.0**64] * 2
    head = rows_before(merge(bars), np.array([2]))
    assert head is not None
    assert head.estimates is not None
    assert head.estimates[1].tolist() == [pytest.approx(float("nan"), nan_ok=True), 2.0**64]
