"""State by symbol number, against a plain dict."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Array, Block, offsets_of
from ticker.model import Series
from ticker.stream.tables import Fold, QuoteUpdates, Table, fold_of, join_folds
from ticker.summary import Summaries, Summary

Quote = tuple[int, ...]
Quotes = tuple[Quote, int]  # the newest quote, and how many it stands for

NUMBERS = st.integers(0, 1000)
TRADE = st.tuples(NUMBERS, NUMBERS, NUMBERS)
QUOTE = st.tuples(*[NUMBERS] * 5)


def columns(rows: list[Any], width: int) -> tuple[Array, ...]:
    return tuple(np.array(rows, np.int64).reshape(-1, width).T.copy())


def summary(trade: tuple[int, int, int]) -> Summary:
    time, price, size = trade
    return Summary(time, price, price, price, price, size, price * size, 1)


def rows(fold: Fold) -> list[tuple[int, ...]]:
    """Return a fold's rows, without the estimates of summaries."""
    return list(zip(*(column.tolist() for column in fold[:8]), strict=True))


def block(kind: str, runs: list[list[Any]]) -> Block:
    counts = np.array([len(run) for run in runs])
    flat = columns([row for run in runs for row in run], 3 if kind == "trades" else 5)
    numbers = np.arange(len(runs))
    return Block(Series(kind), "e", 0, numbers, offsets_of(counts), numbers * 0, flat)


@given(st.lists(st.lists(TRADE, min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_block_of_trades_folds_to_the_summary_of_each_run(runs: list[list[tuple[int, int, int]]]) -> None:
    assert rows(fold_of(block("trades", runs))) == [
        functools.reduce(lambda a, b: a + b, map(summary, run)) for run in runs
    ]


@given(st.lists(st.lists(QUOTE, min_size=1, max_size=4), min_size=1, max_size=5))
def test_a_block_of_quotes_folds_to_the_newest_of_each_run_and_their_number(runs: list[list[Quote]]) -> None:
    assert rows(fold_of(block("quotes", runs))) == [(*run[-1], len(run)) for run in runs]


def test_a_block_that_was_folded_is_not_folded_again() -> None:
    trades = block("trades", [[(1, 2, 3)]])
    known = fold_of(trades)
    trades.folded.append(known)

    assert fold_of(trades) is known


@given(st.lists(QUOTE, min_size=1, max_size=10), st.data())
def test_quotes_fold_in_any_stages_to_the_same(quotes: list[Quote], data: st.DataObject) -> None:
    each = QuoteUpdates(*columns(quotes, 5), np.ones(len(quotes), np.int64))
    cuts = np.array(sorted({0} | data.draw(st.sets(st.integers(0, len(quotes) - 1)))))
    halves = [each.take(slice(None, 1)), each.take(np.arange(1, len(quotes)))]

    staged = join_folds(halves).fold(cuts)

    ends = [*cuts[1:].tolist(), len(quotes)]
    assert rows(staged) == [(*quotes[end - 1], end - first) for first, end in zip(cuts.tolist(), ends, strict=True)]
    assert rows(staged.fold(np.array([0]))) == [(*quotes[-1], len(quotes))]
    first, last = staged.take(slice(0, 1)), staged.take(slice(-1, None))
    assert rows(first.plus(last)) == [(*quotes[-1], int(first.count[0] + last.count[0]))]


UPDATES = st.lists(
    st.tuples(st.booleans(), st.dictionaries(st.integers(0, 7), TRADE, max_size=5)), min_size=1, max_size=6
)


@given(UPDATES)
def test_a_table_holds_for_each_symbol_what_all_its_rows_amount_to(
    updates: list[tuple[bool, dict[int, tuple[int, int, int]]]],
) -> None:
    table, slow = Table(Summaries), dict[int, Summary]()
    for forget_first, trades in updates:
        table.grow(8)
        symbols = np.array(sorted(trades), np.int64)
        if forget_first:
            table.clear(symbols)
            slow = {symbol: known for symbol, known in slow.items() if symbol not in trades}
        known_before = [(i, slow[symbol]) for i, symbol in enumerate(sorted(trades)) if symbol in slow]

        before = table.add(symbols, Summaries.of_trades(*columns([trades[symbol] for symbol in sorted(trades)], 3)))

        assert [rows(before)[i] for i, _ in known_before] == [known for _, known in known_before]
        for symbol, trade in trades.items():
            slow[symbol] = slow[symbol] + summary(trade) if symbol in slow else summary(trade)

    present = np.flatnonzero(table.present)
    assert present.tolist() == sorted(slow)
    assert rows(table.get(present)) == [slow[symbol] for symbol in sorted(slow)]


@pytest.mark.parametrize("make", [Summaries, QuoteUpdates])
def test_a_table_keeps_what_it_has_while_it_grows(make: Any) -> None:
    table = Table(make)
    table.grow(1)
    first = make._make(column + np.ones(1, column.dtype) for column in table.get(np.array([0])))
    table.put(np.array([0]), first)

    for size in (2, 3, 1000, 10):
        table.grow(size)

    assert len(table.present) >= 1000
    assert table.present[:1000].sum() == 1
    assert [column.tolist() for column in table.get(np.array([0]))] == [column.tolist() for column in first]
    assert [column.dtype for column in table.get(np.array([999]))] == [column.dtype for column in first]


def test_sums_beyond_64_bits_survive_a_table() -> None:
    table = Table(Summaries)
    table.grow(1)
    largest = Summaries.of_trades(*(np.array([value]) for value in (0, 1, 2**63 - 1)))

    for _ in range(3):
        table.add(np.array([0]), largest)

    total = table.get(np.array([0]))
    assert isinstance(total, Summaries)
    estimates = total.estimates()
    assert estimates is not None
    assert estimates[0].tolist() == [float(3 * (2**63 - 1))]
