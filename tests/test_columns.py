"""Columns: what gets in, what a Batch reads back exactly, and the laws of a Block's layout."""

from __future__ import annotations

import decimal
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Array, Batch, Block, Ticks, columns_of, offsets_of, run_indices, run_starts, scales_of
from ticker.model import Bar, Channel, Instrument, Quote, QuoteUpdate, Series, Trade

INT64 = st.integers(-(2**63), 2**63 - 1)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def trades(*rows: tuple[int, int, int], scales: tuple[int, int, int] = (6, 2, 0)) -> Batch:
    return Batch(Channel("trades", "AAPL"), "e", 7, tuple(ints(*column) for column in zip(*rows, strict=True)), scales)


# Ticks


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_codes_may_be_integers_of_any_width(dtype: str) -> None:
    ticks = Ticks("trades", ("AAPL", "MSFT"), np.array([1, 0], dtype), (ints(1, 2), ints(3, 4), ints(5, 6)))

    assert len(ticks) == 2


def test_ticks_may_be_empty() -> None:
    assert len(Ticks("trades", (), ints(), (ints(), ints(), ints()))) == 0


@pytest.mark.parametrize(
    ("codes", "columns", "reason"),
    [
        (ints(0), (ints(1), ints(2)), "trades have 3 columns, not 2"),
        (ints(0), (ints(1), np.array([float("nan")]), ints(3)), "price: expected int64, not float64"),
        (ints(0), (ints(1), ints(2), np.array([3], np.int32)), "size: expected int64, not int32"),
        (ints(0), (ints(1), np.array([2], ">i8"), ints(3)), "price: expected int64, not >i8"),
        (ints(0, 0), (ints(1, 1), ints(2, 2), ints(3)), "size: 1 rows beside 2 codes"),
        (ints(0), (ints(1), ints(2), ints(3).reshape(1, 1)), "size: 1 rows beside 1 codes"),
        (ints(0).reshape(1, 1), (ints(1).reshape(1, 1),) * 3, "codes: expected integers, not int64, in one dimension"),
        (np.array([0.0]), (ints(1), ints(2), ints(3)), "codes: expected integers, not float64"),
        (np.array([True]), (ints(1), ints(2), ints(3)), "codes: expected integers, not bool"),
        ([0], (ints(1), ints(2), ints(3)), "codes: expected integers, not list"),
        (ints(0), (ints(1), [2], ints(3)), "price: expected int64, not list"),
        (ints(0), (ints(1), None, ints(3)), "price: expected int64, not NoneType"),
        (ints(0), (ints(1), np.array([1.5]), ints(3)), "float64: floats are no exact numbers, a TickWriter takes them"),
        (ints(0), (ints(1), np.array(["x"]), ints(3)), "price: expected int64, not <U1"),
    ],
)
def test_ticks_of_another_shape_are_refused_with_the_reason(
    codes: Array, columns: tuple[Array, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Ticks("trades", ("AAPL",), codes, columns)


@pytest.mark.parametrize("symbols", [["AAPL"], "AAPL", {"AAPL": 0}, None])
def test_symbols_are_a_tuple_since_a_list_might_change(symbols: Any) -> None:
    with pytest.raises(ValueError, match=f"symbols: expected a tuple, not {type(symbols).__name__}"):
        Ticks("trades", symbols, ints(0), (ints(1), ints(2), ints(3)))


def test_ticks_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="kind: expected one of trades, quotes, bars, not 'candles'"):
        Ticks("candles", ("AAPL",), ints(0), (ints(1),) * 8)


# Kinds


def test_a_conflated_row_has_a_scale_for_each_of_its_columns() -> None:
    instrument = Instrument("BTCUSDT", price_scale=2, size_scale=5, time_scale=9)

    assert scales_of(instrument, "trades") == (9, 2, 5)
    assert scales_of(instrument, "trades", conflated=True) == (9, 2, 2, 2, 2, 5, 7, 0)
    assert scales_of(instrument, "bars") == scales_of(instrument, "bars", conflated=True) == (9, 2, 2, 2, 2, 5, 7, 0)
    assert scales_of(instrument, "quotes", conflated=True) == (9, 2, 5, 2, 5, 0)


@pytest.mark.parametrize(
    ("kind", "conflated", "row"),
    [
        ("trades", False, Trade),
        ("trades", True, Bar),
        ("quotes", False, Quote),
        ("quotes", True, QuoteUpdate),
        ("bars", False, Bar),
        ("bars", True, Bar),
    ],
)
def test_a_row_has_a_field_for_each_column(kind: str, conflated: bool, row: Any) -> None:
    names = tuple(column.name for column in columns_of(kind, conflated))
    batch = Batch(Channel(kind, "X"), "e", 0, (ints(1),) * len(names), (6,) * len(names), conflated)

    assert batch.names == row._fields == names
    assert [type(each) for each in batch] == [row]


# Batch


def test_a_batch_reads_as_rows_with_times_in_nanoseconds_and_exact_decimals() -> None:
    batch = trades((1_795_404_000_123_456, 18931, 100), (1_795_404_000_123_457, -5, 0))

    assert list(batch) == [
        Trade(1_795_404_000_123_456_000, Decimal("189.31"), Decimal("100")),
        Trade(1_795_404_000_123_457_000, Decimal("-0.05"), Decimal("0")),
    ]
    assert (len(batch), batch.next_seq) == (2, 9)


@given(st.lists(INT64, min_size=1, max_size=5), st.integers(0, 36))
def test_decimals_are_exact_whatever_the_callers_context(values: list[int], scale: int) -> None:
    batch = trades(*((0, value, 0) for value in values), scales=(6, scale, 0))

    with decimal.localcontext(decimal.Context(prec=3)):
        decimals = batch.decimals("price")

    assert [Fraction(each) for each in decimals] == [Fraction(value, 10**scale) for value in values]


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=5), st.integers(0, 22))
def test_floats_are_the_doubles_nearest_to_the_decimals(values: list[int], scale: int) -> None:
    batch = trades(*((0, value, 0) for value in values), scales=(6, scale, 0))

    assert batch.floats("price").tolist() == [float(Fraction(value, 10**scale)) for value in values]


@given(INT64, st.integers(0, 36))
def test_floats_of_any_integer_are_good_to_fifteen_digits(value: int, scale: int) -> None:
    (found,) = trades((0, value, 0), scales=(6, scale, 0)).floats("price").tolist()

    assert found == pytest.approx(float(Fraction(value, 10**scale)), rel=1e-15, abs=0)


@given(INT64)
def test_a_time_of_any_size_becomes_nanoseconds_exactly(time: int) -> None:
    (trade,) = trades((time, 1, 1))

    assert trade.time == time * 1000


def test_integers_are_the_columns_themselves() -> None:
    batch = trades((1, 18931, 100))

    assert batch.integers("price") is batch.columns[1]


def test_a_sum_beyond_64_bits_reads_as_the_double_that_came() -> None:
    columns = (*(ints(1) for _ in range(5)), ints(1), np.array([2.0**100]), ints(1))
    batch = Batch(Channel("bars", "X", 60), "e", 0, columns, (6, 2, 2, 2, 2, 0, 2, 0))

    assert [Fraction(each) for each in batch.decimals("notional")] == [Fraction(2**100, 100)]
    assert batch.floats("notional").tolist() == [2.0**100 / 100]


def test_a_conflated_batch_stands_for_as_many_rows_as_it_counts_and_bars_for_themselves() -> None:
    columns = (*(ints(1, 1) for _ in range(7)), ints(3, 4))

    conflated = Batch(Channel("trades", "X"), "e", 10, columns, (0,) * 8, conflated=True)
    bars = Batch(Channel("bars", "X", 60), "e", 10, columns, (0,) * 8, conflated=True)

    assert (conflated.next_seq, bars.next_seq) == (17, 12)


# Layout

RUNS = st.lists(st.integers(0, 5), max_size=8)


@given(RUNS)
def test_offsets_hold_runs_one_behind_the_other(counts: list[int]) -> None:
    offsets = offsets_of(ints(*counts)).tolist()

    assert offsets == [sum(counts[:i]) for i in range(len(counts) + 1)]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_run_indices_name_every_row_of_every_run(runs: list[tuple[int, int]]) -> None:
    indices = run_indices(ints(*(start for start, _ in runs)), ints(*(count for _, count in runs)))

    assert indices.tolist() == [row for start, count in runs for row in range(start, start + count)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
def test_a_run_starts_where_any_key_changes(keys: list[tuple[int, int]]) -> None:
    first, second = ints(*(key[0] for key in keys)), ints(*(key[1] for key in keys))

    assert run_starts(first, second).tolist() == [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    assert run_starts(first).tolist() == [i for i in range(len(keys)) if i == 0 or keys[i][0] != keys[i - 1][0]]


# Block


def summaries(counts: list[int], missed: bool = False, estimates: bool = False, conflated: bool = False) -> Block:
    """Return a block of runs of these lengths in which every cell has a value of its own."""
    rows, runs = sum(counts), len(counts)
    return Block(
        Series("trades" if conflated else "bars", 0 if conflated else 60),
        "e",
        3,
        symbols=np.arange(runs) * 2,
        offsets=offsets_of(ints(*counts)),
        seqs=np.arange(runs) * 100,
        columns=tuple(np.arange(rows) + 1000 * number for number in range(8)),
        missed=np.arange(runs) + 5 if missed else None,
        conflated=conflated,
        estimates=(np.arange(rows) + 0.5, np.arange(rows) + 0.25) if estimates else None,
    )


def rows_by_symbol(block: Block) -> dict[int, Any]:
    """Return everything that a block says, by symbol, by plain slicing."""
    missed = [None] * len(block.symbols) if block.missed is None else block.missed.tolist()
    sums = block.estimates or ()
    return {
        symbol: (seq, lost, [column[first:end].tolist() for column in (*block.columns, *sums)])
        for symbol, seq, lost, first, end in zip(
            block.symbols.tolist(), block.seqs.tolist(), missed, block.offsets[:-1], block.offsets[1:], strict=True
        )
    }


@given(
    st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=8),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_select_keeps_all_of_the_wanted_runs_and_nothing_else(
    runs: list[tuple[int, bool]], missed: bool, estimates: bool, conflated: bool
) -> None:
    block = summaries([count for count, _ in runs], missed, estimates, conflated)
    wanted = np.array([chosen for _, chosen in runs])

    selected = block.select(wanted)

    kept = {symbol for symbol, chosen in zip(block.symbols.tolist(), wanted.tolist(), strict=True) if chosen}
    assert rows_by_symbol(selected) == {s: rows for s, rows in rows_by_symbol(block).items() if s in kept}
    assert (selected.series, selected.epoch, selected.number) == (block.series, "e", 3)
    assert selected.conflated is conflated
    assert len(selected) == selected.offsets[-1] == sum(selected.counts)


def test_selecting_everything_costs_nothing() -> None:
    block = summaries([1, 2])

    assert block.select(np.array([True, True])) is block


def test_a_block_counts_the_rows_that_conflated_ones_stand_for() -> None:
    conflated, bars = summaries([2, 1], conflated=True), replace(summaries([2, 1]), conflated=True)

    assert conflated.counts.tolist() == [2, 1]
    assert conflated.rows.tolist() == [7000 + 7001, 7002]
    assert bars.rows.tolist() == [2, 1]


def test_a_block_never_changes_once_it_is_made() -> None:
    block = summaries([2, 1], missed=True, estimates=True).select(np.array([True, False]))
    assert block.missed is not None
    assert block.estimates is not None

    for array in (block.symbols, block.offsets, block.seqs, *block.columns, block.missed, *block.estimates):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_block_tells_at_least_the_memory_of_all_that_it_holds() -> None:
    plain, full = summaries([400, 600]), summaries([400, 600], missed=True, estimates=True)

    assert plain.nbytes >= 1000 * 8 * 8
    assert full.nbytes >= plain.nbytes + 1000 * 2 * 8
    plain.folded.append((np.zeros(5000, np.int64),))
    assert plain.nbytes >= 1000 * 8 * 8 + 5000 * 8


def test_what_a_block_was_folded_to_is_not_taken_for_a_part_of_it() -> None:
    block = summaries([1, 2])
    block.folded.append((ints(1, 2),))

    assert block.select(np.array([True, False])).folded == []
