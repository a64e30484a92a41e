"""Numbering and the batching window, against lists of plain numbers. (What is refused: see test_door.py.)"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stream.batching import MINUTES, QUOTES, SYMBOLS, TRADES, Cells, Stage, ticks
from ticker.columns import Ticks, columns_of
from ticker.model import Instrument, Series
from ticker.stream.batcher import FLUSH_ROWS, MOST_MISSED

# Numbering, against a slow reference


@dataclass
class SlowChannel:
    """The rows of one channel, by the words of the protocol."""

    rows: list[tuple[int, Cells]] = field(default_factory=list)
    missed: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    restamped: int = 0

    def row(self, cells: Cells) -> None:
        last_seq, last_cells = self.rows[-1] if self.rows else (-1, cells)
        seq = last_seq + 1 + self.lost
        if self.lost:
            self.missed[seq] = self.lost
        self.restamped += cells[0] < last_cells[0]
        self.rows.append((seq, (max(cells[0], last_cells[0]), *cells[1:])))
        self.lost = 0


def possible(cells: Cells) -> Cells:
    """Return cells of a row as one that can be: a bar's high is no lower than its low."""
    return cells if len(cells) < 8 else (*cells[:2], max(cells[2:4]), min(cells[2:4]), *cells[4:])


def cells_of(series: Series) -> st.SearchStrategy[Cells]:
    numbers = [st.integers(1, 30)] * (len(columns_of(series.kind)) - 1)
    return st.tuples(st.integers(-3, 30), *numbers).map(possible)


ROWS = {
    series: st.lists(st.tuples(st.sampled_from(SYMBOLS), cells_of(series)), max_size=8)
    for series in (TRADES, QUOTES, MINUTES)
}
EMIT = st.one_of(
    [st.tuples(st.just(series), rows, st.sampled_from(["i1", "u1", "i4", "u8"])) for series, rows in ROWS.items()]
)
GAP = st.tuples(st.sampled_from(list(ROWS)), st.sampled_from(SYMBOLS), st.integers(1, 5))
STEPS = st.lists(EMIT | GAP | st.sampled_from(["flush", "announce"]), max_size=12)


@given(STEPS)
def test_rows_are_numbered_without_gap_in_their_order_and_with_times_that_never_run_backwards(steps: list[Any]) -> None:
    stage, slow, announced = Stage(SYMBOLS[:3]), defaultdict[Any, SlowChannel](SlowChannel), list(SYMBOLS[:3])
    refused = 0

    for step in steps:
        if step == "flush":
            stage.batcher.flush()
        elif step == "announce":
            announced = list(SYMBOLS)
            stage.batcher.announce([Instrument(symbol) for symbol in SYMBOLS])
        elif isinstance(step[1], str):
            series, symbol, missed = step
            stage.batcher.gap(series.kind, symbol, missed, series.interval_s)
            refused += missed * (symbol not in announced)
            slow[series, symbol].lost += missed * (symbol in announced)
        else:
            series, rows, dtype = step
            stage.emit(*rows, series=series, dtype=dtype)
            refused += sum(symbol not in announced for symbol, _ in rows)
            for symbol, cells in rows:
                if symbol in announced:
                    slow[series, symbol].row(cells)
    stage.batcher.flush()

    for series in ROWS:
        for symbol in announced:
            assert stage.rows(series, symbol) == slow[series, symbol].rows
            assert stage.missed(series, symbol) == slow[series, symbol].missed
    assert stage.batcher.rows == sum(len(channel.rows) for channel in slow.values())
    assert stage.batcher.restamped == sum(channel.restamped for channel in slow.values())
    assert stage.batcher.refusals.counts.total() == refused


@given(STEPS)
def test_every_flush_is_numbered_and_holds_sorted_blocks_none_of_them_empty(steps: list[Any]) -> None:
    stage = Stage()
    for step in steps:
        if step == "flush":
            stage.batcher.flush()
        elif step != "announce" and not isinstance(step[1], str):
            stage.emit(*step[1], series=step[0], dtype=step[2])
    stage.batcher.flush()

    assert [[block.number for block in flush] for flush in stage.flushes] == [
        [number] * len(flush) for number, flush in enumerate(stage.flushes)
    ]
    assert all(flush for flush in stage.flushes)
    for block in stage.blocks:
        assert (np.diff(block.symbols) > 0).all()
        assert len(block) == block.offsets[-1] > 0
        assert (block.counts > 0).all()
        assert {len(column) for column in block.columns} == {len(block)}
        assert block.epoch == "e"


# Flushing


def test_nothing_is_published_before_the_flush_and_nothing_when_nothing_came() -> None:
    stage = Stage()

    stage.emit(("AAPL", (1, 2, 3)))
    assert stage.flushes == []
    stage.batcher.flush()
    stage.batcher.flush()

    assert [[block.series for block in flush] for flush in stage.flushes] == [[TRADES]]


def test_a_flush_publishes_trades_and_quotes_then_bars_from_the_shortest_interval() -> None:
    series = [Series("bars", 300), MINUTES, QUOTES, TRADES]
    stage = Stage(series=series)

    for each in series:
        stage.emit(("AAPL", (1,) * len(columns_of(each.kind))), series=each)
    stage.batcher.flush()

    (flush,) = stage.flushes
    assert {block.series for block in flush[:2]} == {TRADES, QUOTES}
    assert [block.series for block in flush[2:]] == [MINUTES, Series("bars", 300)]


def test_no_ticks_are_no_block() -> None:
    stage = Stage()

    stage.emit()
    stage.batcher.flush()

    assert stage.flushes == []
    assert stage.batcher.rows == 0


def test_a_feed_may_write_to_its_arrays_as_soon_as_they_are_emitted() -> None:
    stage, source = Stage(), ticks([("AAPL", (1, 2, 3)), ("MSFT", (4, 5, 6))])

    for price in (10, 20, 30):
        source.columns[1][:] = price
        stage.batcher.emit(source)
    stage.batcher.flush()
    source.columns[1][:] = -1
    source.codes[:] = 0
    stage.batcher.emit(ticks([("AAPL", (7, 8, 9))] * 4000))
    stage.batcher.flush()

    assert stage.rows(TRADES, "AAPL")[:4] == [(0, (1, 10, 3)), (1, (1, 20, 3)), (2, (1, 30, 3)), (3, (7, 8, 9))]
    assert stage.rows(TRADES, "MSFT") == [(0, (4, 10, 6)), (1, (4, 20, 6)), (2, (4, 30, 6))]
    assert len(stage.rows(TRADES, "AAPL")) == 4003


def test_columns_that_overlap_or_cannot_be_written_are_taken() -> None:
    stage, table = Stage(), np.arange(1, 13).reshape(4, 3)
    table.setflags(write=False)
    codes = np.zeros(4, np.int8)

    stage.batcher.emit(Ticks("trades", SYMBOLS, codes, (table[:, 0], table[:, 1], table[::-1, 2])))
    stage.batcher.emit(Ticks("trades", SYMBOLS, codes[:1], (table[3, :1],) * 3))
    stage.batcher.flush()

    assert [cells for _, cells in stage.rows(TRADES, "AAPL")] == [
        (1, 2, 12),
        (4, 5, 9),
        (7, 8, 6),
        (10, 11, 3),
        (10, 10, 10),
    ]


def burst(rows: int) -> Ticks:
    numbers = np.arange(rows)
    return Ticks("trades", SYMBOLS, numbers % len(SYMBOLS), (numbers, numbers + 1, numbers))


def test_a_burst_is_flushed_before_the_window_ends_so_that_blocks_stay_small() -> None:
    stage = Stage()

    stage.batcher.emit(burst(FLUSH_ROWS - 1))
    assert stage.flushes == []
    stage.batcher.emit(burst(1))

    assert [len(block) for block in stage.blocks] == [FLUSH_ROWS]


def test_ticks_of_a_large_burst_are_more_blocks_not_a_larger_one() -> None:
    stage = Stage()

    stage.batcher.emit(burst(2 * FLUSH_ROWS + 10))
    stage.batcher.flush()

    assert [len(block) for block in stage.blocks] == [FLUSH_ROWS, FLUSH_ROWS, 10]
    prices = [cells[1] for _, cells in stage.rows(TRADES, "AAPL")]
    assert prices == list(range(1, 2 * FLUSH_ROWS + 11, len(SYMBOLS)))


@pytest.mark.parametrize("count", [10_000, 70_000])  # beyond 65,536 symbols rows are sorted another way
def test_a_row_of_each_of_many_symbols_finds_its_channel(count: int) -> None:
    names = tuple(f"S{number:05d}" for number in range(count))
    stage = Stage(names, [TRADES])
    codes = np.random.default_rng(5).permutation(count)
    rows = Ticks("trades", names, codes.astype(np.int32), (codes * 0, codes + 7, codes * 0 + 1))

    stage.batcher.emit(rows)
    stage.batcher.emit(rows)
    stage.batcher.flush()

    assert all((np.diff(block.symbols) > 0).all() for block in stage.blocks)
    symbols = np.concatenate([np.repeat(block.symbols, block.counts) for block in stage.blocks])
    prices = np.concatenate([block.columns[1] for block in stage.blocks])
    assert len(symbols) == 2 * count
    assert (prices == symbols + 7).all()
    last = {
        int(s): int(q) for block in stage.blocks for s, q in zip(block.symbols, block.seqs + block.counts, strict=True)
    }
    assert set(last.values()) == {2}


# Gaps


def test_a_gap_stands_before_the_next_row_and_after_all_that_came() -> None:
    stage = Stage()
    stage.emit(("AAPL", (1, 1, 1)), ("MSFT", (1, 1, 1)))

    stage.batcher.gap("trades", "AAPL", 700)
    stage.batcher.gap("trades", "AAPL", 50)
    stage.batcher.gap("trades", "MSFT", 4)
    stage.emit(("MSFT", (2, 2, 2)))
    stage.batcher.flush()
    stage.emit(("AAPL", (2, 2, 2)), ("AAPL", (3, 3, 3)))
    stage.batcher.flush()
    stage.emit(("AAPL", (4, 4, 4)))
    stage.batcher.flush()

    assert [seq for seq, _ in stage.rows(TRADES, "AAPL")] == [0, 751, 752, 753]
    assert [seq for seq, _ in stage.rows(TRADES, "MSFT")] == [0, 5]
    assert stage.missed(TRADES, "AAPL") == {751: 750}
    assert stage.missed(TRADES, "MSFT") == {5: 4}
    assert [block.missed is None for block in stage.blocks] == [True, False, False, True]


def test_a_gap_of_what_was_not_announced_is_refused_and_a_gap_of_nothing_is_an_error() -> None:
    stage = Stage(SYMBOLS[:1], series=[TRADES, MINUTES], folded=[60])

    stage.batcher.gap("trades", "MSFT", 3)
    stage.batcher.gap("quotes", "AAPL", 2)
    stage.batcher.gap("bars", "AAPL", 1, 60)

    assert stage.batcher.refusals.counts.total() == 6


@pytest.mark.parametrize("missed", [0, -1, MOST_MISSED + 1, 2**64, 1.5, float("nan"), "7", None])
def test_a_gap_that_cannot_be_is_an_error(missed: Any) -> None:
    with pytest.raises(ValueError, match="missed: expected a whole number from 1 to 1,099,511,627,776, not "):
        Stage().batcher.gap("trades", "AAPL", missed)


# The feed's clock, and bars


def test_the_clock_never_runs_backwards() -> None:
    stage = Stage()
    assert stage.batcher.clock_ns is None

    for time_ns in (-5, 10, 7, -20):
        stage.batcher.time(time_ns)

    assert stage.batcher.clock_ns == 10


@pytest.mark.parametrize("time", [None, "noon", 1.5e18, float("nan")])
def test_a_clock_that_is_no_whole_number_is_a_type_error(time: Any) -> None:
    with pytest.raises(TypeError, match="time: expected a whole number of nanoseconds, not "):
        Stage().batcher.time(time)


def test_a_clock_that_lies_too_far_ahead_is_refused_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.batcher.time(5)

    stage.batcher.time(10**30)
    stage.batcher.time(2**63 + 1000)

    assert stage.batcher.clock_ns == 5
    assert stage.batcher.refusals.counts == {"time": 2}
    assert len(caplog.messages) == 1


def test_the_clock_alone_makes_a_flush_when_a_bar_ends() -> None:
    stage = Stage(series=[TRADES, MINUTES], folded=[60])
    stage.emit(("AAPL", (59_000_000, 10, 2)), ("AAPL", (59_500_000, 12, 3)))
    stage.batcher.flush()

    stage.batcher.time(59_999_999_999)
    stage.batcher.flush()
    assert len(stage.flushes) == 1
    stage.batcher.time(60_000_000_000)
    stage.batcher.flush()
    stage.batcher.flush()

    assert [[block.series for block in flush] for flush in stage.flushes] == [[TRADES], [MINUTES]]
    assert stage.rows(MINUTES, "AAPL") == [(0, (0, 10, 12, 10, 12, 5, 56, 2))]
    assert stage.blocks[-1].number == 1
    assert stage.batcher.rows == 2


def test_bars_that_a_feed_emits_beside_its_trades_are_passed_on_and_the_others_folded_from_the_trades() -> None:
    hours = Series("bars", 3600)
    stage = Stage(series=[TRADES, MINUTES, hours], folded=[3600])
    emitted = (0, 5, 9, 4, 6, 100, 0, 0)

    stage.emit(("AAPL", (1_000_000, 10, 2)))
    stage.emit(("AAPL", emitted), series=MINUTES)
    stage.batcher.time(3600 * 10**9)
    stage.batcher.flush()

    assert stage.rows(MINUTES, "AAPL") == [(0, emitted)]
    assert stage.rows(hours, "AAPL") == [(0, (0, 10, 10, 10, 10, 2, 20, 1))]


def test_longer_bars_are_folded_from_the_shortest_that_all_are_multiples_of() -> None:
    sevens, minutes, hours, days = (Series("bars", interval_s) for interval_s in (7, 60, 3600, 86400))
    stage = Stage(series=[sevens, minutes, hours, days], folded=[3600, 86400])

    stage.emit(("AAPL", (0, 1, 1, 1, 1, 1, 0, 0)), series=sevens)
    stage.emit(("AAPL", (0, 5, 9, 4, 6, 100, 0, 0)), ("AAPL", (60_000_000, 6, 7, 3, 5, 11, 0, 0)), series=minutes)
    stage.batcher.time(86400 * 10**9)
    stage.batcher.flush()

    assert stage.rows(hours, "AAPL") == stage.rows(days, "AAPL") == [(0, (0, 5, 9, 3, 5, 111, 0, 0))]


def test_a_bar_whose_sums_pass_64_bits_carries_them_as_floats() -> None:
    stage = Stage(series=[TRADES, MINUTES], folded=[60])

    stage.emit(("AAPL", (0, 1, 2**62)), ("AAPL", (0, 1, 2**62)), ("MSFT", (0, 2, 3)))
    stage.batcher.time(60 * 10**9)
    stage.batcher.flush()

    bars = stage.blocks[-1]
    assert bars.estimates is not None
    assert [column.tolist()[0] for column in bars.estimates] == [2.0**63, 2.0**63]
    assert [np.isnan(column).tolist() for column in bars.estimates] == [[False, True], [False, True]]
