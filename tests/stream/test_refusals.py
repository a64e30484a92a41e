"""What is refused is counted by reason and logged once."""

from __future__ import annotations

import pytest

from ticker.feed import REFUSALS
from ticker.model import Series
from ticker.stream.refusals import REASONS, Refusals

TRADES = Series("trades")


def test_rows_are_counted_by_code_and_only_by_those_there_are() -> None:
    refusals = Refusals("hand")

    refusals.count("price", 3)
    refusals.count("price", 2)
    for code in REFUSALS:
        refusals.count(code, 1)

    assert refusals.counts == dict.fromkeys(REFUSALS, 1) | {"price": 6}
    with pytest.raises(ValueError, match="'whim' is no reason to refuse rows for; one of unknown_kind, "):
        refusals.count("whim", 1)


def test_a_reason_is_told_once_for_each_series_and_symbol(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("hand")

    for _ in range(2):
        for code in ("price", "size"):
            for series in (TRADES, Series("bars", 60)):
                for symbol in ("AAPL", "MSFT", None):
                    refusals.tell(code, series, symbol, "it is 0")

    assert len(caplog.messages) == 12
    assert caplog.messages[0] == "feed hand: trades of 'AAPL' refused: it is 0 (told once, counted as `price`)"
    assert caplog.messages[5] == "feed hand: bars/60s refused: it is 0 (told once, counted as `price`)"


def test_there_is_an_end_to_telling(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("hand")

    for number in range(3 * REASONS):
        refusals.tell("price", TRADES, f"S{number}", "it is 0")

    assert refusals.is_silent
    assert len(caplog.messages) == REASONS + 1
    assert caplog.messages[-1] == f"feed hand: more than {REASONS} refusals were told; others are counted only"


@pytest.mark.parametrize("symbol", ["A\nB", "\x1b[31mred", "X" * 5000])
def test_a_symbol_cannot_forge_or_flood_the_log(symbol: str, caplog: pytest.LogCaptureFixture) -> None:
    Refusals("hand").tell("unknown_symbol", TRADES, symbol, "the feed did not announce it")

    assert len(caplog.messages[0]) < 300
    assert caplog.messages[0].isprintable()
