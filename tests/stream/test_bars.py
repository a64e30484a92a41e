"""Bars, against a slow reference that follows section 3 of the protocol sentence by sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, Ticks
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.summary import Summaries, Summary

TWO_63 = 2**63
SECOND_NS = 10**9
MICROSECONDS = Instrument("MICRO", time_scale=6, signed_prices=True)
NANOSECONDS = Instrument("NANO", time_scale=9, signed_prices=True)
SYMBOLS = (MICROSECONDS.symbol, NANOSECONDS.symbol)
Row = tuple[int, int, Summary]  # symbol, its time in nanoseconds, what it is worth (its own time not counted)


@dataclass
class Flush:
    """What comes between two flushes: rows in order, then the clock if it moved."""

    rows: list[Row] = field(default_factory=list)
    clock_ns: int | None = None


@dataclass
class SlowBars:
    """The bars of one symbol and interval as the protocol tells them; times are nanoseconds."""

    length_ns: int
    running: dict[int, Summary] = field(default_factory=dict)
    sent: list[tuple[int, Summary]] = field(default_factory=list)

    def trade(self, time_ns: int, worth: Summary) -> None:
        # Bars start at multiples of the interval. What comes after its bar was sent counts in the first bar of a later
        # interval that isn't sent yet.
        start = time_ns // self.length_ns * self.length_ns
        while start in dict(self.sent):
            start += self.length_ns
        # A bar is sent when a trade of a later interval comes.
        self.send([earlier for earlier in self.running if earlier < start])
        self.running[start] = self.running[start] + worth if start in self.running else worth

    def clock(self, time_ns: int) -> None:
        # Or after the feed's clock has passed its end.
        self.send([start for start in self.running if start + self.length_ns <= time_ns])

    def send(self, starts: list[int]) -> None:
        self.sent += [(start, self.running.pop(start)) for start in sorted(starts)]


def slow_bars(flushes: Sequence[Flush], intervals_s: Sequence[int]) -> dict[tuple[int, int], SlowBars]:
    """Return the bars by symbol and interval."""
    bars = {(s, i): SlowBars(i * SECOND_NS) for s in range(len(SYMBOLS)) for i in intervals_s}
    latest, clock_ns = {}, None
    for flush in flushes:
        for symbol, own_time_ns, worth in flush.rows:
            # A row older than its predecessor is given its predecessor's time.
            latest[symbol] = max(own_time_ns, latest.get(symbol, own_time_ns))
            for interval_s in intervals_s:
                bars[symbol, interval_s].trade(latest[symbol], worth)
        if flush.clock_ns is not None:
            clock_ns = flush.clock_ns if clock_ns is None else max(clock_ns, flush.clock_ns)
        if clock_ns is not None:
            for each in bars.values():
                each.clock(clock_ns)
    return bars


class Stage:
    """A Batcher with bars of these intervals, folded from trades or from `bars/source_s`, and what it published."""

    def __init__(self, intervals_s: Sequence[int], source_s: int = 0) -> None:
        self.source = Series("bars", source_s) if source_s else Series("trades")
        self.intervals_s = tuple(intervals_s)
        series = (self.source, *(Series("bars", interval_s) for interval_s in intervals_s))
        self.directory = Directory("e", series, [MICROSECONDS, NANOSECONDS])
        self.bars = Bars(self.directory, intervals_s)
        self.flushes: list[list[Block]] = []
        self.batcher = Batcher(self.directory, self.bars, self.flushes.append)

    def play(self, flushes: Sequence[Flush]) -> None:
        for flush in flushes:
            if flush.rows:
                self.emit(flush.rows)
            if flush.clock_ns is not None:
                self.batcher.time(flush.clock_ns)
            self.batcher.flush()

    def emit(self, rows: Sequence[Row]) -> None:
        units_ns = [10 ** (9 - each.time_scale) for each in (MICROSECONDS, NANOSECONDS)]
        times = [time_ns // units_ns[symbol] for symbol, time_ns, _ in rows]
        if self.source.kind == "trades":
            cells = [(time, row[2].open, row[2].volume) for time, row in zip(times, rows, strict=True)]
        else:
            cells = [(time, *row[2][1:]) for time, row in zip(times, rows, strict=True)]
        columns = tuple(np.array(column, np.int64) for column in zip(*cells, strict=True))
        codes = np.array([symbol for symbol, _, _ in rows])
        self.batcher.emit(Ticks(self.source.kind, SYMBOLS, codes, columns, self.source.interval_s))

    def sent(self, symbol: int, interval_s: int) -> list[tuple[int, Summary]]:
        """Return the bars of a symbol that were sent: start in nanoseconds, and the rest as a Summary of time 0."""
        found = []
        for block in (block for flush in self.flushes for block in flush):
            if block.series == Series("bars", interval_s):
                for run in np.flatnonzero(block.symbols == symbol):
                    rows = slice(int(block.offsets[run]), int(block.offsets[run + 1]))
                    assert block.seqs[run] == len(found), "bars are numbered without gap"
                    found += self._bars(symbol, [column[rows].tolist() for column in block.columns])
        return found

    def running(self, symbol: int, interval_s: int) -> dict[int, Summary]:
        """Return the running bar of a symbol by its start in nanoseconds, if there is one."""
        symbols, bars = self.bars.running(interval_s, np.array([symbol]))
        assert symbols.tolist() == [symbol][: bars.size]
        return dict(self._bars(symbol, [column.tolist() for column in bars[:8]]))

    def _bars(self, symbol: int, columns: list[list[int]]) -> list[tuple[int, Summary]]:
        unit_ns = 10 ** (9 - self.directory.instruments[symbol].time_scale)
        return [(row[0] * unit_ns, Summary(0, *row[1:])) for row in zip(*columns, strict=True)]


def trade(price: int, size: int) -> Summary:
    return Summary(0, price, price, price, price, size, price * size, 1)


def at(seconds: float, price: int = 100, size: int = 1, symbol: int = 0) -> Row:
    return symbol, int(seconds * SECOND_NS), trade(price, size)


TRADES = st.builds(trade, st.integers(-50, 50), st.integers(0, 9))
BARS = st.builds(
    Summary, st.just(0), *[st.integers(-50, 50)] * 4, st.integers(0, 9), st.just(0), st.integers(0, 1)
).map(lambda bar: bar._replace(high=max(bar.high, bar.low), low=min(bar.high, bar.low)))  # notional was never told
TIMES = st.integers(-280, 280).map(lambda quarters: quarters * SECOND_NS // 4)


def sequences(worth: st.SearchStrategy[Summary], step_ns: int = 1) -> st.SearchStrategy[list[Flush]]:
    """Return flushes; their rows mostly go forward in time, and may be late for the clock or for their predecessor."""
    rows = st.lists(st.tuples(st.integers(0, 1), TIMES.map(lambda time: time * step_ns), worth), max_size=6)
    clock = st.none() | TIMES.map(lambda time: time * step_ns)
    flush = st.builds(Flush, rows | rows.map(lambda rows: sorted(rows, key=lambda row: row[1])), clock)
    flushes = st.lists(flush, min_size=1, max_size=8)

    def forward(flushes: list[Flush]) -> list[Flush]:
        first = [flush.rows[0][1] if flush.rows else flush.clock_ns or 0 for flush in flushes]
        return [flushes[i] for i in sorted(range(len(flushes)), key=lambda i: first[i])]

    return flushes | flushes.map(forward)


def assert_same(stage: Stage, slow: dict[tuple[int, int], SlowBars]) -> None:
    for (symbol, interval_s), bars in slow.items():
        assert stage.sent(symbol, interval_s) == bars.sent, (symbol, interval_s)
        assert stage.running(symbol, interval_s) == bars.running, (symbol, interval_s)


@given(sequences(TRADES))
def test_bars_of_trades_are_those_of_the_protocol(flushes: list[Flush]) -> None:
    stage = Stage((1, 5, 60))

    stage.play(flushes)

    assert_same(stage, slow_bars(flushes, stage.intervals_s))


@given(sequences(BARS, step_ns=60))
def test_bars_of_shorter_bars_are_those_of_the_protocol(flushes: list[Flush]) -> None:
    stage = Stage((300, 3600), source_s=60)

    stage.play(flushes)

    assert_same(stage, slow_bars(flushes, stage.intervals_s))


@given(sequences(TRADES), st.data())
def test_without_a_clock_the_bars_do_not_depend_on_where_flushes_cut(flushes: list[Flush], data: st.DataObject) -> None:
    rows = [row for flush in flushes for row in flush.rows]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows)))))
    pieces = [rows[first:end] for first, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    whole, cut = Stage((1, 5, 60)), Stage((1, 5, 60))

    whole.play([Flush(rows)])
    cut.play([Flush(piece) for piece in pieces])

    for symbol in (0, 1):
        for interval_s in (1, 5, 60):
            assert cut.sent(symbol, interval_s) == whole.sent(symbol, interval_s)
            assert cut.running(symbol, interval_s) == whole.running(symbol, interval_s)


@given(sequences(TRADES))
def test_every_trade_is_in_one_bar_of_each_interval_and_no_bar_is_empty(flushes: list[Flush]) -> None:
    stage = Stage((1, 5, 60))

    stage.play([*flushes, Flush(clock_ns=10**6 * SECOND_NS)])

    rows = [row for flush in flushes for row in flush.rows]
    for symbol in (0, 1):
        for interval_s in stage.intervals_s:
            bars = stage.sent(symbol, interval_s)
            assert sum(bar.count for _, bar in bars) == sum(row[0] == symbol for row in rows)
            assert sum(bar.volume for _, bar in bars) == sum(row[2].volume for row in rows if row[0] == symbol)
            assert all(bar.count for _, bar in bars)
            starts = [start for start, _ in bars]
            assert starts == sorted(set(starts))
            assert stage.running(symbol, interval_s) == {}


def test_a_bar_is_sent_with_the_trade_of_a_later_interval_and_not_before() -> None:
    stage = Stage((1, 5))

    stage.play([Flush([at(0.0, 100), at(0.999, 105)])])
    assert stage.sent(0, 1) == []
    stage.play([Flush([at(1.0, 102)])])

    assert stage.sent(0, 1) == [(0, trade(100, 1) + trade(105, 1))]
    assert stage.sent(0, 5) == []
    assert stage.running(0, 1) == {SECOND_NS: trade(102, 1)}
    assert stage.running(0, 5) == {0: trade(100, 1) + trade(105, 1) + trade(102, 1)}


def test_a_bar_is_sent_when_the_clock_reaches_its_end_and_not_before() -> None:
    stage = Stage((1, 5))

    stage.play([Flush([at(3.5)]), Flush(clock_ns=4 * SECOND_NS - 1)])
    assert stage.sent(0, 1) == []
    stage.play([Flush(clock_ns=4 * SECOND_NS)])

    assert stage.sent(0, 1) == [(3 * SECOND_NS, trade(100, 1))]
    assert stage.running(0, 1) == {}
    assert stage.running(0, 5) == {0: trade(100, 1)}


def test_a_longer_bar_ends_with_a_trade_of_a_later_interval_though_no_shorter_one_runs() -> None:
    stage = Stage((1, 60))

    stage.play([Flush([at(10)], clock_ns=30 * SECOND_NS), Flush([at(60, 200)])])

    assert stage.sent(0, 60) == [(0, trade(100, 1))]
    assert stage.running(0, 60) == {60 * SECOND_NS: trade(200, 1)}


def test_a_late_trade_counts_in_the_first_later_bar_that_is_not_sent_yet() -> None:
    stage = Stage((1, 5))

    stage.play([Flush([at(0.5)], clock_ns=SECOND_NS), Flush([at(0.7, 200), at(1.2, 300)])])

    assert stage.running(0, 1) == {SECOND_NS: trade(200, 1) + trade(300, 1)}
    assert stage.running(0, 5) == {0: trade(100, 1) + trade(200, 1) + trade(300, 1)}


@pytest.mark.parametrize("interval_s", [1, 86400])
def test_a_bar_that_is_late_as_a_whole_is_sent_at_once(interval_s: int) -> None:
    stage = Stage((interval_s,))
    now = 100 * interval_s

    stage.play([Flush(clock_ns=now * SECOND_NS), Flush([at(now - 2 * interval_s)])])

    assert stage.sent(0, interval_s) == [((now - 2 * interval_s) * SECOND_NS, trade(100, 1))]


def test_a_time_before_1970_lies_in_the_interval_that_began_before_it() -> None:
    stage = Stage((60,))

    stage.play([Flush([at(-0.25), at(-60, symbol=1)]), Flush(clock_ns=0)])

    assert stage.sent(0, 60) == stage.sent(1, 60) == [(-60 * SECOND_NS, trade(100, 1))]


def test_one_clock_ends_the_bars_of_symbols_in_microseconds_and_nanoseconds() -> None:
    stage = Stage((1,))

    stage.play([Flush([at(0.5), at(0.5, symbol=1), at(1.5, symbol=1)], clock_ns=SECOND_NS)])

    (flush,) = stage.flushes
    bars = flush[-1]
    assert bars.symbols.tolist() == [0, 1]
    assert [stage.sent(symbol, 1) for symbol in (0, 1)] == [[(0, trade(100, 1))]] * 2


def test_what_one_flush_ends_by_trade_and_by_clock_is_one_block_of_each_interval_shortest_first() -> None:
    stage = Stage((1, 5, 60))

    stage.play([Flush([at(0), at(1, symbol=1)]), Flush([at(7), at(8)], clock_ns=60 * SECOND_NS)])

    blocks = stage.flushes[-1]
    assert [block.series for block in blocks] == [Series("trades"), *(Series("bars", i) for i in (1, 5, 60))]
    assert [block.counts.tolist() for block in blocks[1:]] == [[3, 1], [2, 1], [1, 1]]
    assert {block.number for block in blocks} == {1}


def test_a_symbol_that_is_announced_later_has_bars_too() -> None:
    stage = Stage((1, 5))
    stage.play([Flush([at(0)])])

    stage.batcher.announce([Instrument("LATER")])
    columns = tuple(np.array([value]) for value in (1_500_000, 7, 3))
    stage.batcher.emit(Ticks("trades", ("LATER",), np.array([0]), columns))
    stage.batcher.flush()

    assert stage.running(2, 5) == {0: trade(7, 3)}
    assert stage.running(0, 5) == {0: trade(100, 1)}


def test_running_bars_are_told_of_those_that_have_one_before_any_row_came() -> None:
    stage = Stage((1, 5))

    symbols, bars = stage.bars.running(5, np.array([0, 1]))

    assert (symbols.tolist(), bars.size) == ([], 0)


def test_an_interval_that_is_not_folded_has_no_running_bar() -> None:
    stage = Stage((3600,), source_s=1800)
    stage.play([Flush([at(0)])])

    symbols, bars = stage.bars.running(1800, np.array([0, 1]))

    assert (symbols.tolist(), bars.size) == ([], 0)
    assert bars.estimates() is None


def test_bars_whose_number_of_trades_is_unknown_fold_to_bars_of_unknown_number() -> None:
    untold = Summary(0, 5, 9, 4, 6, 100, 0, 0)
    stage = Stage((3600,), source_s=60)

    stage.play([Flush([(0, 0, untold), (0, 60 * SECOND_NS, untold)], clock_ns=3600 * SECOND_NS)])

    assert stage.sent(0, 3600) == [(0, Summary(0, 5, 9, 4, 6, 200, 0, 0))]


@pytest.mark.parametrize(
    ("series", "folded", "source"),
    [
        ([Series("quotes"), Series("trades"), Series("bars", 1), Series("bars", 60)], [60], Series("trades")),
        ([Series("bars", 60), Series("bars", 1800), Series("bars", 3600)], [3600], Series("bars", 60)),
        ([Series("bars", 7), Series("bars", 60), Series("bars", 3600)], [3600], Series("bars", 60)),
        ([Series("bars", 86400)], [], Series("bars", 86400)),
        ([Series("quotes")], [], None),
    ],
)
def test_bars_are_folded_from_trades_or_from_the_shortest_bars_that_all_are_multiples_of(
    series: list[Series], folded: list[int], source: Series | None
) -> None:
    bars = Bars(Directory("e", series), folded)

    assert bars.source == source
    assert [each.interval_s for each in series if bars.folds(each)] == folded


def test_intervals_that_do_not_divide_one_another_are_refused() -> None:
    with pytest.raises(ValueError, match="bars of 60 s cannot be folded from those of 7 s"):
        Bars(Directory("e", []), (60, 7))


@pytest.mark.parametrize("flushed_each", [True, False])
def test_sums_beyond_64_bits_are_kept_while_a_bar_runs_and_when_it_is_sent(flushed_each: bool) -> None:
    stage = Stage((1, 5, 60))
    largest = TWO_63 - 1
    rows = [at(0.5, 2, largest), at(0.6, 2, largest), at(3, 2, 5), at(7, 1, 1), at(60, 1, largest)]
    volume, notional = 2 * largest + 6, 2 * (2 * largest + 5) + 1

    stage.play([Flush([row]) for row in rows[:-1]] if flushed_each else [Flush(rows[:-1])])

    _, running = stage.bars.running(60, np.array([0]))
    estimates = running.estimates()
    assert estimates is not None
    assert [column.tolist() for column in estimates] == [[float(volume)], [float(notional)]]
    stage.play([Flush(rows[-1:])])
    sent = {block.series.interval_s: block for block in stage.flushes[-1] if block.series.kind == "bars"}
    assert sent[60].estimates is not None
    assert [column.tolist() for column in sent[60].estimates] == [[float(volume)], [float(notional)]]
    assert sent[5].estimates is None
    assert stage.running(0, 60) == {60 * SECOND_NS: trade(1, largest)}


def test_a_block_is_folded_once_for_all_who_need_it() -> None:
    stage = Stage((1,))

    stage.play([Flush([at(0, 5), at(0.5, 9), at(0.2, 7, symbol=1)]), Flush([at(3, 1, 2), at(4, 8, 2)])])

    within, across = (flush[0] for flush in stage.flushes)
    for block, highs, counts in ((within, [9, 7], [2, 1]), (across, [8], [2])):
        (fold,) = block.folded
        assert isinstance(fold, Summaries)
        assert (fold.high.tolist(), fold.count.tolist()) == (highs, counts)
        assert fold.time.tolist() == block.columns[0][block.offsets[1:] - 1].tolist()
