"""Cursors against a slow reference: a row at a time, by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.client import ProtocolError
from ticker.client.cursor import CountedCursor, Cursor, RunningCursor, Step, cursor_for


def columns(n: int) -> tuple[Any, ...]:
    return (np.zeros(n, np.int64),)


def counts(*values: int) -> tuple[Any, ...]:
    return (np.array(values, np.int64),)


@pytest.mark.parametrize(
    ("seq", "n", "step", "after"),
    [
        (10, 3, Step(missed=0, cut=0, rows=3), 13),
        (12, 3, Step(missed=2, cut=0, rows=3), 15),
        (8, 3, Step(missed=0, cut=2, rows=3), 11),
        (7, 3, Step(missed=0, cut=3, rows=3), 10),
        (0, 3, Step(missed=0, cut=3, rows=3), 10),
    ],
)
def test_rows_are_taken_once_and_a_jump_is_counted(seq: int, n: int, step: Step, after: int) -> None:
    cursor = Cursor(10)

    assert cursor.advance(seq, columns(n)) == step
    assert cursor.seq == after


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=12))
def test_every_row_is_either_taken_in_order_or_counted_as_missed_or_was_here(messages: list[tuple[int, int]]) -> None:
    cursor = Cursor(5)
    taken: list[int] = []
    missed = 0

    for seq, n in messages:
        step = cursor.advance(seq, columns(n))
        taken += range(seq + step.cut, seq + n)
        missed += step.missed

    assert taken == sorted(set(taken))
    assert len(taken) + missed == cursor.seq - 5
    everything = {row for seq, n in messages for row in range(seq, seq + n)}
    assert cursor.seq == max([5, *(row + 1 for row in everything)])


def test_a_gap_is_counted_from_the_row_that_was_expected() -> None:
    cursor = Cursor(10)

    assert cursor.skip(15) == 5
    assert cursor.skip(12) == 0
    assert cursor.advance(15, columns(1)) == Step(0, 0, 1)


def test_a_conflated_row_stands_for_its_count() -> None:
    cursor = CountedCursor(10)

    assert cursor.advance(10, counts(5)) == Step(0, 0, 5)
    assert cursor.advance(15, counts(1, 4, 2)) == Step(0, 0, 7)
    assert cursor.seq == 22
    assert cursor.advance(25, counts(1)) == Step(3, 0, 1)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_conflated_rows_that_were_here_are_cut_at_their_ends(values: list[int], data: Any) -> None:
    had = data.draw(st.integers(0, len(values)))
    expected = 100 + sum(values[:had])
    cursor = CountedCursor(expected)

    assert cursor.advance(100, counts(*values)) == Step(0, had, sum(values))
    assert cursor.seq == max(expected, 100 + sum(values))


@pytest.mark.parametrize(("seq", "values"), [(8, (5,)), (6, (2, 4)), (8, (1, 3, 2))])
def test_a_conflated_row_of_which_a_part_was_here_can_be_neither_taken_nor_left(
    seq: int, values: tuple[int, ...]
) -> None:
    with pytest.raises(ProtocolError, match="before row 10"):
        CountedCursor(10).advance(seq, counts(*values))


@pytest.mark.parametrize("values", [(0,), (-1,), (5, 0), (3, -2)])
def test_a_conflated_row_stands_for_something(values: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="stands for"):
        CountedCursor(10).advance(10, counts(*values))


def test_the_running_bar_comes_again_until_the_next_one_begins() -> None:
    cursor = RunningCursor(4)

    assert cursor.advance(4, columns(1)) == Step(0, 0, 1)
    assert cursor.advance(4, columns(1)) == Step(0, 0, 1)
    assert cursor.seq == 4
    assert cursor.advance(5, columns(1)) == Step(0, 0, 1)
    assert cursor.seq == 5
    assert cursor.advance(5, columns(3)) == Step(0, 0, 3)
    assert cursor.seq == 7
    assert cursor.advance(6, columns(2)) == Step(0, 1, 2)
    assert cursor.advance(3, columns(2)) == Step(0, 2, 2)
    assert cursor.seq == 7


def test_a_bar_that_never_came_is_missed() -> None:
    assert RunningCursor(4).advance(5, columns(1)) == Step(1, 0, 1)
    assert RunningCursor(4, seen=True).advance(5, columns(1)) == Step(0, 0, 1)
    assert RunningCursor(4, seen=True).advance(8, columns(1)) == Step(3, 0, 1)


def test_a_gap_in_running_bars_begins_behind_the_one_that_was_seen() -> None:
    cursor = RunningCursor(4, seen=True)

    assert cursor.skip(9) == 4
    assert cursor.skip(9) == 0
    assert cursor.advance(9, columns(1)) == Step(0, 0, 1)

    assert cursor.skip(12) == 2
    assert cursor.advance(13, columns(1)) == Step(1, 0, 1)


@pytest.mark.parametrize(
    ("kind", "conflated", "expected"),
    [
        ("trades", False, Cursor),
        ("bars", False, Cursor),
        ("trades", True, CountedCursor),
        ("quotes", True, CountedCursor),
        ("bars", True, RunningCursor),
    ],
)
def test_each_kind_and_mode_has_its_cursor(kind: str, conflated: bool, expected: type[Cursor]) -> None:
    assert type(cursor_for(kind, conflated, 5)) is expected
