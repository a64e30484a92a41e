"""Several files as one stream: by time, stably, of several kinds and intervals at once."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feeds.csv_merge import Run, merge
from feeds.csv_sources import Part
from tests.feeds.csv_rig import DATA, replay
from ticker.model import Series

TRADES, QUOTES = Series("trades"), Series("quotes")


def parts(series: Series, source: int, times: list[int], size: int) -> Iterator[Part]:
    """Yield times as parts of some rows; the codes are the source's number, the second column counts its rows."""
    for start in range(0, len(times), size):
        due = np.array(times[start : start + size], np.int64)
        count = np.arange(start, start + len(due))
        yield Part(series, due, np.full(len(due), source), (due, count))


def in_order(run: Run) -> list[tuple[int, int, int]]:
    """Return a run's rows (time, source, number) in its own order."""
    at = [0] * len(run.parts)
    rows = []
    labels = [0] * len(run) if run.of_part is None else run.of_part.tolist()
    for label in labels:
        part, i = run.parts[label], at[label]
        rows.append((int(part.due[i]), int(part.codes[i]), int(part.columns[1][i])))
        at[label] += 1
    assert run.due.tolist() == [row[0] for row in rows]
    return rows


sources = st.lists(st.lists(st.integers(0, 30), max_size=40).map(sorted), min_size=1, max_size=5)


@given(sources, st.integers(1, 10))
def test_sources_are_merged_by_time_and_equal_times_in_the_order_given(times: list[list[int]], size: int) -> None:
    streams = [parts(TRADES, i, each, size) for i, each in enumerate(times)]

    rows = [row for run in merge(streams) for row in in_order(run)]

    expected = [(time, i, n) for i, each in enumerate(times) for n, time in enumerate(each)]
    assert rows == sorted(expected, key=lambda row: row[0])


@given(sources, st.integers(1, 10))
def test_kinds_stay_apart_and_in_order(times: list[list[int]], size: int) -> None:
    streams = [parts((TRADES, QUOTES)[i % 2], i, each, size) for i, each in enumerate(times)]

    runs = list(merge(streams))

    dues = [time for run in runs for time in run.due.tolist()]
    assert dues == sorted(time for each in times for time in each)
    for run in runs:
        assert len({part.series for part in run.parts}) == len(run.parts)
        in_order(run)


@given(sources, st.lists(st.integers(0, 100)))
def test_cuts_of_a_run_are_cuts_of_each_part(times: list[list[int]], at: list[int]) -> None:
    made = [next(parts((TRADES, QUOTES)[i % 2], i, each, 100)) for i, each in enumerate(times) if each]
    if not made:
        return
    run = Run.of(made)
    cuts = np.array(sorted({0, len(run), *(each for each in at if each < len(run))}))

    positions = run.cuts(cuts)

    for j, cut in enumerate(cuts.tolist()):
        assert sum(each[j] for each in positions) == cut
        earlier = [
            time for part, each in zip(run.parts, positions, strict=True) for time in part.due[: each[j]].tolist()
        ]
        assert sorted(earlier) == run.due[:cut].tolist()


async def test_trades_of_two_days_and_two_symbols_come_in_order_of_time() -> None:
    replayed = await replay(DATA / "20131008_aig_Trade_Tick.csv", DATA / "20131007_ibm_Trade_Tick.csv.gz")

    rows = replayed.rows()
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert [row[0] for row in rows] == ["IBM"] * 24293 + ["AIG"] * 60
    assert replayed.feed.kinds == ("trades",)


async def test_minutes_of_four_symbols_come_minute_by_minute() -> None:
    names = [f"20131008_{symbol}_minute_trade.csv" for symbol in ("spy", "aig", "bac", "ibm")]

    replayed = await replay(*(DATA / name for name in names))

    rows = replayed.rows()
    assert len(rows) == 100
    assert rows == sorted(rows, key=lambda row: (row[1], ("SPY", "AIG", "BAC", "IBM").index(row[0])))


async def test_kinds_and_intervals_may_be_mixed() -> None:
    replayed = await replay(
        DATA / "BTCUSDT-aggTrades-2024-08-08.csv",
        DATA / "usdm-bookticker-ns-2024-08-08.csv",
        DATA / "nt-spy-minute-2011-03.csv",
        DATA / "tesla-stock-price.csv",
        "--on-bad-row",
        "skip",
    )

    assert replayed.feed.kinds == ("trades", "quotes", "bars")
    assert replayed.feed.bars_s == (60, 86400)
    assert {kind: len(replayed.rows(kind)) for kind in replayed.feed.kinds} == {"trades": 50, "quotes": 43, "bars": 88}
    assert list(replayed.instruments) == ["BTCUSDT", "ETHUSDT", "SPY", "TESLA"]
    times = replayed.emit.times
    assert times == sorted(times)


async def test_a_bar_comes_when_it_has_ended_not_when_it_began(tmp_path: Path) -> None:
    (tmp_path / "bar.csv").write_text("time,open,high,low,close,volume\n1723161600,1,3,1,2,10\n")
    (tmp_path / "trade.csv").write_text("time,price,size\n1723161601,1,1\n1723161659,2,1\n1723161660,9,1\n")

    replayed = await replay(tmp_path / "trade.csv", tmp_path / "bar.csv", "--interval-s", 60, "--symbol", "X")

    kinds = [(ticks.kind, len(ticks)) for ticks in replayed.emit.ticks]
    assert kinds == [("trades", 1), ("trades", 1), ("trades", 1), ("bars", 1)]
    assert replayed.rows("bars")[0][1] == 1723161600 * 10**9
    assert replayed.emit.times[-1] == 1723161660 * 10**9


async def test_a_symbol_in_two_files_has_the_most_digits_of_both(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,symbol,price,size\n1723161601,X,1.25,1\n")
    (tmp_path / "b.csv").write_text("time,symbol,price,size\n1723161602.000000001,X,1,0.5\n")

    replayed = await replay(tmp_path / "a.csv", tmp_path / "b.csv")

    instrument = replayed.instruments["X"]
    assert (instrument.price_scale, instrument.size_scale, instrument.time_scale) == (2, 1, 9)
    assert replayed.rows() == [
        ("X", 1723161601 * 10**9, Decimal("1.25"), Decimal(1)),
        ("X", 1723161602 * 10**9 + 1, Decimal(1), Decimal("0.5")),
    ]
