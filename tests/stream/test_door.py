"""What the Batcher refuses, or puts in order, of what a feed emits: told once, counted, and no neighbour is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.stream.batching import MINUTES, QUOTES, SYMBOLS, TRADES, Stage
from ticker.columns import Ticks
from ticker.model import Instrument, Series


def test_a_symbol_that_was_not_announced_is_refused_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(SYMBOLS[:1])

    for _ in range(3):
        stage.emit(("TSLA", (1, 2, 3)), ("AAPL", (4, 5, 6)), ("MSFT", (7, 8, 9)), ("TSLA", (1, 2, 3)))
    stage.batcher.flush()

    assert [cells for _, cells in stage.rows(TRADES, "AAPL")] == [(4, 5, 6)] * 3
    assert stage.batcher.refusals.counts == {"unknown_symbol": 9}
    assert sorted(caplog.messages) == [
        "feed hand: trades of 'MSFT' refused: the feed did not announce it (told once, counted as `unknown_symbol`)",
        "feed hand: trades of 'TSLA' refused: the feed did not announce it (told once, counted as `unknown_symbol`)",
    ]


def test_ticks_of_unknown_symbols_alone_are_no_block() -> None:
    stage = Stage(SYMBOLS[:1])

    stage.emit(("TSLA", (1, 2, 3)))
    stage.batcher.flush()

    assert stage.flushes == []


def test_what_a_feed_did_not_announce_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(series=[TRADES, Series("bars", 1), MINUTES], folded=[1])

    stage.emit(("AAPL", (1,) * 5), series=QUOTES)
    stage.emit(("AAPL", (1,) * 8), series=Series("bars", 300))
    stage.emit(("AAPL", (1,) * 8), series=Series("bars", 1))  # folded here, so not the feed's to emit
    stage.emit(("AAPL", (1,) * 8), series=MINUTES)
    stage.batcher.flush()

    assert [block.series for block in stage.blocks] == [MINUTES]
    assert stage.batcher.refusals.counts == {"unknown_kind": 3}
    assert caplog.messages == [
        f"feed hand: {series} refused: the feed did not say that it has them (told once, counted as `unknown_kind`)"
        for series in ("quotes", "bars/300s", "bars/1s")
    ]


@pytest.mark.parametrize(
    ("codes", "dtype"), [([0, -1, 0], "i1"), ([1, 0, 0], "u4"), ([0, 0, 2**31], "i8"), ([0, 2**64 - 1, 0], "u8")]
)
def test_a_code_outside_of_the_symbols_is_refused_and_its_neighbours_are_taken(
    codes: list[int], dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    columns = tuple(np.array(column) for column in ([1, 2, 3], [4, 5, 6], [7, 8, 9]))

    for _ in range(2):
        stage.batcher.emit(Ticks("trades", ("AAPL",), np.array(codes, dtype), columns))
    stage.batcher.flush()

    taken = [(time, time + 3, time + 6) for time, code in enumerate(codes, 1) if code == 0]
    assert [cells[1:] for _, cells in stage.rows(TRADES, "AAPL")] == [cells[1:] for cells in taken] * 2
    assert stage.batcher.refusals.counts == {"code": 2}
    (wrong,) = set(codes) - {0}
    assert caplog.messages[0] == (
        f"feed hand: trades refused: code {wrong} lies outside of the 1 symbols (told once, counted as `code`)"
    )


@pytest.mark.parametrize("ticks", [None, {"AAPL": 1.0}, [1, 2], "AAPL"])
def test_what_is_no_ticks_is_a_type_error_that_says_so(ticks: Any) -> None:
    with pytest.raises(TypeError, match=f"emit: expected Ticks, not {type(ticks).__name__}"):
        Stage().batcher.emit(ticks)


def test_a_feed_with_endless_reasons_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    names = tuple(f"X{number}" * 1000 for number in range(3000))

    for _ in range(2):
        stage.emit(*((name, (1, 2, 3)) for name in names), symbols=names)

    assert stage.batcher.refusals.counts == {"unknown_symbol": 6000}
    assert len(caplog.records) == 101
    assert max(map(len, caplog.messages)) < 300


def test_a_symbol_may_be_announced_after_its_first_row_was_refused() -> None:
    stage = Stage(SYMBOLS[:1])
    stage.emit(("MSFT", (1, 2, 3)))

    assert stage.batcher.announce([Instrument("MSFT"), Instrument("AAPL")]) == [1]
    stage.emit(("MSFT", (4, 5, 6)))
    stage.batcher.flush()

    assert stage.rows(TRADES, "MSFT") == [(0, (4, 5, 6))]


def test_a_feed_that_makes_its_symbols_anew_each_time_is_understood_and_costs_no_memory() -> None:
    stage = Stage()

    for number in range(500):
        first, second = SYMBOLS[number % 5], SYMBOLS[(number + 1) % 5]
        stage.emit((first, (number, 1, 1)), (second, (number, 2, 2)), symbols=(second, first))
    stage.batcher.flush()

    assert len(stage.batcher._translations) <= 64
    for symbol in range(5):
        prices = [cells[1] for _, cells in stage.rows(TRADES, SYMBOLS[symbol])]
        assert prices == ([1] + [2, 1] * 99 + [2] if symbol == 0 else [2, 1] * 100)


def test_times_that_run_backwards_are_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()

    stage.emit(
        ("MSFT", (10, 1, 1)), ("AAPL", (5, 1, 1)), ("MSFT", (8, 1, 1)), ("MSFT", (9, 1, 1)), ("MSFT", (12, 1, 1))
    )
    stage.batcher.flush()
    stage.emit(("MSFT", (11, 1, 1)), ("AAPL", (6, 1, 1)), ("AAPL", (-6, 1, 1)))
    stage.batcher.flush()

    assert [cells[0] for _, cells in stage.rows(TRADES, "MSFT")] == [10, 10, 10, 12, 12]
    assert [cells[0] for _, cells in stage.rows(TRADES, "AAPL")] == [5, 6, 6]
    assert stage.batcher.restamped == 4
    assert [record.getMessage() for record in caplog.records] == [
        "trades of MSFT: a time ran backwards and was set to its predecessor's"
    ]


def test_times_of_one_channel_do_not_touch_those_of_another() -> None:
    stage = Stage()

    stage.emit(("AAPL", (50, 1, 1)), ("MSFT", (10, 1, 1)))
    stage.emit(("AAPL", (7, 1, 1, 1, 1)), series=QUOTES)
    stage.batcher.flush()

    assert stage.batcher.restamped == 0
    assert [cells[0] for _, cells in stage.rows(QUOTES, "AAPL")] == [7]


EARLIEST, LATEST = -(2**63 - 1) // 1000 + 1, (2**63 - 1) // 1000
EXTREME = [EARLIEST, LATEST, EARLIEST, 0, LATEST, LATEST, -1]


def test_times_at_the_ends_of_what_nanoseconds_hold_are_put_in_order_too() -> None:
    stage = Stage()

    stage.emit(*((symbol, (time, 1, 1)) for time in EXTREME for symbol in SYMBOLS))
    stage.batcher.flush()

    for symbol in SYMBOLS:
        assert [cells[0] for _, cells in stage.rows(TRADES, symbol)] == [EARLIEST, *[LATEST] * 6]
    assert stage.batcher.restamped == 3 * len(SYMBOLS)
