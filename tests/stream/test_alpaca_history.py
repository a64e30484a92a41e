"""What requests for history find in the History: against lists of rows, whatever was joined or forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, Ticks
from ticker.model import Instrument, Series
from ticker.stream.alpaca_history import Span, Timeframe, bars_of, latest, read, spans
from ticker.stream.alpaca_pages import Mark, page, source_of
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.hub import Hub
from ticker.stream.market import Market

SYMBOLS = ("B", "A", "C")
SCALES = (6, 9, 6)
TRADES = Series("trades")


def a_market(ticks_mib: float = 16, bars_mib: float = 16) -> tuple[Market, Batcher]:
    intervals_s = (1, 60, 3600)
    series = [TRADES, *(Series("bars", each) for each in intervals_s)]
    named = zip(SYMBOLS, SCALES, strict=True)
    instruments = [Instrument(name, time_scale=scale, signed_prices=True) for name, scale in named]
    directory = Directory("e", series, instruments)
    bars = Bars(directory, intervals_s)
    history = History(directory, ticks_mib, 3600, bars_mib)
    market = Market(
        feed_name="test",
        version="1",
        directory=directory,
        history=history,
        bars=bars,
        hub=Hub(directory, history, bars),
        now_ns=lambda: 0,
        feed_clock_ns=lambda: None,
    )
    return market, Batcher(directory, bars, lambda blocks: history.append(blocks, 0.0))


def emit(batcher: Batcher, rows: Sequence[tuple[int, int, int]]) -> None:
    """Emit trades of size 1: symbol number, nanoseconds (whole microseconds), price."""
    codes = np.array([row[0] for row in rows])
    times = np.array([row[1] // 10 ** (9 - SCALES[row[0]]) for row in rows], np.int64)
    prices = np.array([row[2] for row in rows], np.int64)
    batcher.emit(Ticks("trades", SYMBOLS, codes, (times, prices, np.ones_like(prices))))
    batcher.flush()


def prices_of(block: Block | None) -> dict[int, list[int]]:
    if block is None:
        return {}
    runs = zip(block.symbols.tolist(), block.offsets.tolist(), block.offsets[1:].tolist(), strict=False)
    return {number: block.columns[1][first:end].tolist() for number, first, end in runs}


FLUSHES = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6), max_size=15)
BOUND = st.none() | st.integers(-2000, 60_000)


@given(
    flushes=FLUSHES, start=BOUND, end=BOUND, numbers=st.sets(st.integers(0, 2), min_size=1), settle=st.integers(0, 3)
)
def test_a_span_is_the_rows_whose_times_lie_within_it(
    flushes: list[list[tuple[int, int]]], start: int | None, end: int | None, numbers: set[int], settle: int
) -> None:
    market, batcher = a_market()
    rows, time = [], 0
    for at, flush in enumerate(flushes):
        some = []
        for number, step in flush:
            time += step * 1000
            some.append((number, time, len(rows) + len(some)))
        rows += some
        emit(batcher, some)
        if settle and at % settle == 0:
            market.history[TRADES].settle(0.0)
    wanted = np.array(sorted(numbers))
    shelf = market.history[TRADES]

    firsts, ends = spans(shelf, market, wanted, Span(start, end))

    low, high = -1 if start is None else start, 10**9 if end is None else end
    expected = {n: [price for each, t, price in rows if each == n and low <= t <= high] for n in wanted.tolist()}
    assert dict(zip(wanted.tolist(), (ends - firsts).tolist(), strict=True)) == {n: len(p) for n, p in expected.items()}
    found = prices_of(read(shelf, wanted, firsts, ends))
    assert found == {n: prices for n, prices in expected.items() if prices}


@given(
    flushes=FLUSHES,
    limit=st.integers(1, 9),
    is_descending=st.booleans(),
    timeframe=st.sampled_from([None, Timeframe(1, "Min"), Timeframe(7, "Min"), Timeframe(1, "Hour")]),
    later=st.booleans(),
)
def test_pages_together_are_everything_once_in_order(
    flushes: list[list[tuple[int, int]]], limit: int, is_descending: bool, timeframe: Timeframe | None, later: bool
) -> None:
    market, batcher = a_market()
    time = count = 0
    for flush in flushes:
        some = []
        for number, step in flush:
            time, count = time + step * 200 * 10**9, count + 1
            some.append((number, time, count))
        emit(batcher, some)
    kind, names = ("trades", ["A", "B", "C"]) if timeframe is None else ("bars", ["A", "B", "C"])
    span = Span(None, time)

    def next_page(size: int, mark: Mark | None) -> tuple[list[tuple[str, int, int]], Mark | None]:
        source = source_of(market, kind, timeframe or Timeframe(1, "Min"), names, span)
        found = page(market, source, size, is_descending, mark)
        return told(market, found.block, is_descending), found.next

    whole, nothing = next_page(10**6, None)
    pages, mark = [], None
    while True:
        rows, mark = next_page(limit, mark)
        pages.append(rows)
        if later and timeframe is None:
            emit(batcher, [(number, time + 10**9, 7) for number in range(3)])
        if mark is None:
            break
        assert len(rows) == limit
        assert Mark.parse(mark.token) == mark

    assert nothing is None
    assert [row for rows in pages for row in rows] == whole
    assert [row[0] for row in whole] == sorted(row[0] for row in whole)
    for name in names:
        times = [row[1] for row in whole if row[0] == name]
        assert times == sorted(times, reverse=is_descending)


def told(market: Market, block: Block | None, is_descending: bool) -> list[tuple[str, int, int]]:
    """Return rows as an answer has them: by name, then by time, up or down."""
    if block is None:
        return []
    names = [market.directory.instruments[number].symbol for number in block.symbols.tolist()]
    runs = sorted(zip(names, block.offsets.tolist(), block.offsets[1:].tolist(), strict=False))
    rows = []
    for name, first, end in runs:
        some = [(name, int(block.columns[0][i]), int(block.columns[1][i])) for i in range(first, end)]
        rows += some[::-1] if is_descending else some
    return rows


@given(FLUSHES)
def test_the_latest_row_of_each_symbol(flushes: list[list[tuple[int, int]]]) -> None:
    market, batcher = a_market()
    last: dict[int, list[int]] = {}
    count = 0
    for flush in flushes:
        emit(batcher, [(number, 0, count + i) for i, (number, _) in enumerate(flush)])
        last |= {number: [count + i] for i, (number, _) in enumerate(flush)}
        count += len(flush)

    assert prices_of(latest(market.history[TRADES], np.arange(3))) == last


def test_what_the_history_has_forgotten_is_not_found_and_not_missed() -> None:
    market, batcher = a_market(ticks_mib=0.02)
    for i in range(2000):
        emit(batcher, [(0, i * 1000, i)])
    shelf = market.history[TRADES]
    first = int(shelf.first_seqs(np.array([0]))[0])
    assert 0 < first < 2000

    firsts, ends = spans(shelf, market, np.array([0]), Span(0, 1_999_000))
    found = prices_of(read(shelf, np.array([0]), firsts, ends))

    assert found == {0: list(range(first, 2000))}


def test_lost_rows_leave_no_hole_in_a_page() -> None:
    market, batcher = a_market()
    emit(batcher, [(0, 1000, 1), (0, 2000, 2)])
    batcher.gap("trades", "B", 5)
    emit(batcher, [(0, 3000, 3)])

    firsts, ends = spans(market.history[TRADES], market, np.array([0]), Span(2000, None))

    assert sum(map(len, prices_of(read(market.history[TRADES], np.array([0]), firsts, ends)).values())) >= 1
    assert (firsts.tolist(), ends.tolist()) == ([1], [8])


def test_bars_of_an_hour_have_the_running_one_and_those_of_minutes_do_not() -> None:
    market, batcher = a_market()
    emit(batcher, [(0, 0, 5), (0, 61 * 10**9, 6)])

    hours = bars_of(market, Timeframe(1, "Hour"), np.array([0]))
    minutes = bars_of(market, Timeframe(2, "Min"), np.array([0]))

    assert hours is not None
    assert minutes is not None
    assert (hours.columns[1].tolist(), hours.columns[4].tolist(), hours.columns[7].tolist()) == ([5], [6], [2])
    assert minutes.columns[7].tolist() == [1]


@pytest.mark.parametrize("text", ["1Min", "59T", "1Hour", "23H", "1Day", "1D", "1Week", "1W", "6Month", "12M"])
def test_timeframes_have_two_names(text: str) -> None:
    assert Timeframe.parse(text).amount >= 1


@pytest.mark.parametrize(
    "text", ["", "Min", "0Min", "60Min", "24H", "2D", "2Week", "5Month", "4M", "1min", "1m", "-1Min"]
)
def test_other_timeframes_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="timeframe"):
        Timeframe.parse(text)


@pytest.mark.parametrize(
    ("text", "intervals_s", "source_s"),
    [
        ("1Min", (1, 5, 60, 3600), 60),
        ("7Min", (1, 5, 60, 3600), 60),
        ("30Min", (1800, 3600, 86400), 1800),
        ("15Min", (1800, 3600, 86400), None),
        ("4Hour", (60, 3600, 86400), 3600),
        ("1Day", (60, 3600, 86400), 3600),
        ("1Week", (86400,), 86400),
        ("1Hour", (86400,), None),
    ],
)
def test_bars_are_summed_up_from_the_longest_that_fit(
    text: str, intervals_s: Sequence[int], source_s: int | None
) -> None:
    assert Timeframe.parse(text).source(intervals_s) == (None if source_s is None else Series("bars", source_s))


def test_days_of_a_feed_that_has_nothing_shorter_keep_their_dates() -> None:
    starts = Timeframe(1, "Day").starts(Series("bars", 86400), np.array([1_795_392_000]))

    assert starts.tolist() == [1_795_410_000]
