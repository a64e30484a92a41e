"""Blocks as Arrow's batches and back, and instruments with their state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from tests.journal.stage import EPOCH, INSTRUMENTS, rows_of
from ticker.columns import Block
from ticker.journal.rows import Rows, batch_of, instruments_of, schema_of, state_of, symbols_batch, symbols_schema
from ticker.model import Instrument, Series

NAMES = pa.array([each.symbol for each in INSTRUMENTS])
BARS = Series("bars", 60)


def block_of(series: Series, number: int, runs: dict[int, tuple[int, int]], width: int, **more: object) -> Block:
    """Return a block with a run for each symbol: the number of its first row, and how many there are."""
    offsets = np.append(0, np.cumsum([count for _, count in runs.values()]))
    values = np.arange(offsets[-1]) + 100 * number
    return Block(
        series,
        EPOCH,
        number,
        np.array(list(runs)),
        offsets,
        np.array([seq for seq, _ in runs.values()]),
        tuple(values + 1000 * column for column in range(width)),
        **more,  # type: ignore[arg-type]
    )


def read(series: Series, *blocks: Block) -> Rows:
    schema = schema_of(series, EPOCH)
    return Rows.of(series, pa.Table.from_batches([batch_of(block, NAMES, schema) for block in blocks]), NAMES)


def test_a_flush_is_read_as_it_was_written() -> None:
    block = block_of(Series("quotes"), 5, {0: (7, 2), 2: (0, 3)}, 5)

    again = read(Series("quotes"), block).block(0, 5, EPOCH, 5)

    assert again is not None
    assert (again.epoch, again.number) == (EPOCH, 5)
    assert rows_of([again]) == rows_of([block])


def test_flushes_can_be_read_as_one_block_sorted_by_symbol() -> None:
    first = block_of(Series("trades"), 0, {0: (0, 2), 1: (4, 1)}, 3)
    second = block_of(Series("trades"), 1, {0: (2, 1), 2: (0, 1)}, 3)

    both = read(Series("trades"), first, second).block(0, 5, EPOCH, 1)

    assert both is not None
    assert both.symbols.tolist() == [0, 1, 2]
    apart = rows_of([first, second])
    assert {key: [row[2:] for row in rows] for key, rows in rows_of([both]).items()} == {
        key: [row[2:] for row in rows] for key, rows in apart.items()
    }


def test_flushes_between_which_a_symbol_has_a_gap_are_not_read_as_one() -> None:
    first = block_of(Series("trades"), 0, {0: (0, 2)}, 3)
    second = block_of(Series("trades"), 1, {0: (5, 1)}, 3)
    rows = read(Series("trades"), first, second)

    assert rows.block(0, 3, EPOCH, 1) is None
    assert rows.block(2, 3, EPOCH, 1) is not None


def test_sums_that_64_bits_do_not_hold_keep_their_estimates() -> None:
    estimates = (np.array([np.nan, 2.0**70]), np.array([np.nan, np.nan]))
    exact = block_of(BARS, 0, {0: (0, 1)}, 8)
    large = block_of(BARS, 1, {1: (0, 2)}, 8, estimates=estimates)
    rows = read(BARS, exact, large)

    first, second = rows.block(0, 1, EPOCH, 0), rows.block(1, 3, EPOCH, 1)

    assert first is not None
    assert first.estimates is None
    assert second is not None
    assert second.estimates is not None
    np.testing.assert_array_equal(second.estimates, estimates)


def test_a_symbol_that_was_never_announced_is_damage() -> None:
    schema = schema_of(Series("trades"), EPOCH)
    table = pa.Table.from_batches([batch_of(block_of(Series("trades"), 0, {2: (0, 1)}, 3), NAMES, schema)])

    with pytest.raises(ValueError, match="never announced"):
        Rows.of(Series("trades"), table, NAMES[:1])


def test_instruments_keep_all_that_they_say_and_the_state_stands_beside_them() -> None:
    wanted = [*INSTRUMENTS, Instrument("CL/SPREAD", 3, 2, 9, "crypto", signed_prices=True)]
    state = {
        "a.present": np.array([True, False, True, False]),
        "a.next": np.arange(4),
        "a.estimate": np.arange(4) / 2,
    }
    schema = symbols_schema(state, EPOCH)
    batches = [symbols_batch(wanted, state, schema), symbols_batch([Instrument("LATER")], {}, schema)]

    found = instruments_of(pa.Table.from_batches(batches))

    assert [dataclasses.astuple(each) for each in found] == [
        dataclasses.astuple(each) for each in (*wanted, Instrument("LATER"))
    ]
    again = state_of(batches[0])
    assert again.keys() == state.keys()
    for name, values in state.items():
        assert again[name].dtype == values.dtype
        assert again[name].tolist() == values.tolist()
