"""The nouns: what an instrument may be, and the scales of what is measured of it."""

from __future__ import annotations

import itertools

import pytest

from ticker.model import INTERVALS_S, Instrument, Series


def test_each_interval_divides_the_one_after_it() -> None:
    for shorter, longer in itertools.pairwise(INTERVALS_S):
        assert longer % shorter == 0


def test_an_instrument_knows_the_scale_of_everything_measured_of_it() -> None:
    instrument = Instrument("BTCUSDT", price_scale=2, size_scale=5, time_scale=9)

    scales = {quantity: instrument.scale(quantity) for quantity in ("time", "price", "size", "notional", "count")}

    assert scales == {"time": 9, "price": 2, "size": 5, "notional": 7, "count": 0}


@pytest.mark.parametrize("symbol", ["A", "BRK.B", "EUR/USD", "ES 12-26", "x" * 128, "^GSPC", "株", "**"])
def test_a_symbol_is_any_short_printable_text(symbol: str) -> None:
    assert Instrument(symbol).symbol == symbol


@pytest.mark.parametrize("symbol", ["", "x" * 129, "*", "AAPL\n", "\x00", "\ud800"])
def test_a_symbol_that_no_client_could_name_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match="symbol"):
        Instrument(symbol)


@pytest.mark.parametrize(
    "scales", [{"time_scale": 3}, {"price_scale": -1}, {"price_scale": 19}, {"size_scale": -1}, {"size_scale": 19}]
)
def test_a_scale_out_of_range_is_refused_with_the_name_of_symbol_and_scale(scales: dict[str, int]) -> None:
    (name,) = scales

    with pytest.raises(ValueError, match=f"AAPL: .*{name}"):
        Instrument("AAPL", **scales)


def test_a_series_reads_well_in_a_log() -> None:
    assert [str(Series("trades")), str(Series("bars", 60))] == ["trades", "bars/60s"]


def test_an_asset_class_is_a_known_one() -> None:
    assert Instrument("AAPL").asset_class == "us_equity"
    assert Instrument("BTC/USD", asset_class="crypto").asset_class == "crypto"
    with pytest.raises(ValueError, match="us_equity, crypto"):
        Instrument("AAPL", asset_class="stock")
