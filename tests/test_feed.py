"""What a feed has without writing it, and values becoming whole numbers, checked with Decimal."""

from __future__ import annotations

import argparse
import logging
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ticker.clock import ManualClock, SystemClock
from ticker.columns import Ticks
from ticker.feed import Feed, InexactError, TickWriter, exact
from ticker.model import Instrument

TIME = 1_795_404_000_123_456_789
SMALLEST, LARGEST = -(2**63), 2**63 - 1

decimals = st.decimals(allow_nan=False, allow_infinity=False)
scales = st.integers(0, 18)


class Door:
    """An Emit that keeps what it is given."""

    def __init__(self) -> None:
        self.ticks: list[Ticks] = []
        self.codes: list[str] = []

    def refused(self, code: str, rows: int = 1) -> None:
        self.codes += [code] * rows

    def __call__(self, ticks: Ticks) -> None:
        self.ticks.append(ticks)

    def rows(self, kind: str) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (ticks.symbols[code], tuple(int(column[i]) for column in ticks.columns))
            for ticks in self.ticks
            if ticks.kind == kind
            for i, code in enumerate(ticks.codes)
        ]


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def writer(door: Any) -> TickWriter:
    return TickWriter(door, [Instrument("AAPL"), Instrument("BTC", price_scale=1, size_scale=8, time_scale=9)])


def fits(value: Decimal, scale: int) -> bool:
    """Say whether `value` is a whole number of 64 bits at `scale`, by fractions, which know no rounding."""
    numerator, denominator = value.as_integer_ratio()
    shifted, rest = divmod(numerator * 10**scale, denominator)
    return not rest and SMALLEST <= shifted <= LARGEST


@given(whole=st.integers(SMALLEST, LARGEST), scale=scales)
def test_the_text_of_a_decimal_becomes_its_whole_number(whole: int, scale: int) -> None:
    text = f"{Decimal(whole).scaleb(-scale):f}"

    assert exact(text, scale) == whole


@given(value=decimals, scale=scales)
@example(value=Decimal("1." + "0" * 100), scale=2)
@example(value=Decimal("1E+30"), scale=0)
@example(value=Decimal("0E+999999"), scale=2)
@example(value=Decimal("1E-999999"), scale=2)
@example(value=Decimal("-9.223372036854775808"), scale=18)
@example(value=Decimal("9.223372036854775808"), scale=18)
def test_a_decimal_is_taken_exactly_or_refused(value: Decimal, scale: int) -> None:
    if not fits(value, scale):
        with pytest.raises(InexactError):
            exact(str(value), scale)
        return

    assert Decimal(exact(value, scale)) == value * Decimal(10) ** scale
    assert exact(str(value), scale) == exact(value, scale)


@given(value=st.floats(-1e6, 1e6), kind=st.sampled_from([float, np.float64]))
def test_a_float_means_its_shortest_decimal(value: float, kind: type) -> None:
    text = np.format_float_positional(value, unique=True, trim="0")
    digits = len(text.partition(".")[2])

    if digits <= 10:
        assert exact(kind(value), 10) == Decimal(text) * 10**10
    else:
        with pytest.raises(InexactError, match="more than 10 decimals"):
            exact(kind(value), 10)


@pytest.mark.parametrize(
    ("value", "scale", "whole"),
    [
        ("189.31", 2, 18931),
        (189.31, 2, 18931),
        (Decimal("189.31"), 2, 18931),
        (189, 2, 18900),
        (np.int64(7), 0, 7),
        (np.float32(0.1), 1, 1),
        ("-37.63", 2, -3763),
        (" 1.50 ", 1, 15),
        ("1e3", 0, 1000),
        ("12E-1", 1, 12),
        ("1.10000", 1, 11),
        ("-0.0", 2, 0),
    ],
)
def test_numbers_of_any_kind_are_taken(value: object, scale: int, whole: int) -> None:
    assert exact(value, scale) == whole


@pytest.mark.parametrize(
    "value", ["", "-", "abc", "1,000.5", "1_000", "0x10", "nan", "inf", "-Infinity", "sNaN", "NaN123", None, True, b"1"]
)
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InexactError, match="not a number") as refusal:
        exact(value, 2)

    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), Decimal("NaN")])
def test_a_number_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        exact(value, 2)


def test_a_price_is_never_rounded() -> None:
    with pytest.raises(ValueError, match=r"more than 2 decimals: '189\.315'"):
        exact("189.315", 2)


def test_ticks_of_all_symbols_leave_as_one_message_for_each_kind(writer: TickWriter, door: Door) -> None:
    writer.trade("AAPL", TIME, "189.31", 100)
    writer.trade("BTC", TIME, 61234.5, "0.00100000")
    writer.quote("AAPL", TIME + 1000, "189.30", 200, "189.32", 300)
    writer.trade("AAPL", TIME + 2000, "189.32", 50)

    writer.flush()

    assert [ticks.kind for ticks in door.ticks] == ["trades", "quotes"]
    assert door.rows("trades") == [
        ("AAPL", (TIME // 1000, 18931, 100)),
        ("BTC", (TIME, 612345, 100_000)),
        ("AAPL", (TIME // 1000 + 2, 18932, 50)),
    ]
    assert door.rows("quotes") == [("AAPL", (TIME // 1000 + 1, 18930, 200, 18932, 300))]


def test_a_flush_without_ticks_emits_nothing(writer: TickWriter, door: Door) -> None:
    writer.trade("AAPL", TIME, "1.00", 1)

    writer.flush()
    writer.flush()

    assert len(door.ticks) == 1


def test_a_flush_that_is_refused_is_not_repeated() -> None:
    class ClosedDoor(Door):
        def __call__(self, ticks: Ticks) -> None:
            super().__call__(ticks)
            raise ValueError("closed")

    door: Any = ClosedDoor()
    writer = TickWriter(door, [Instrument("AAPL")])
    writer.trade("AAPL", TIME, "1.00", 1)
    with pytest.raises(ValueError, match="closed"):
        writer.flush()

    writer.flush()

    assert len(door.ticks) == 1


@pytest.mark.parametrize(
    ("tick", "code", "reason"),
    [
        (("MSFT", TIME, "1.00", 1), "unknown_symbol", "'MSFT' refused: no such instrument"),
        (("AAPL", TIME, "1.005", 1), "decimals", "'AAPL' refused: price: more than 2 decimals: '1.005'"),
        (("AAPL", TIME, "1e30", 1), "decimals", "'AAPL' refused: price: does not fit 64 bits at scale 2: '1e30'"),
        (("AAPL", TIME, float("nan"), 1), "nan", "'AAPL' refused: price: not a number: nan"),
        (("AAPL", TIME, "1.00", "1.5"), "decimals", "'AAPL' refused: size: more than 0 decimals: '1.5'"),
        (("AAPL", 2**63, "1.00", 1), "time", f"'AAPL' refused: time: no UNIX time in nanoseconds: {2**63}"),
        (("AAPL", float("nan"), "1.00", 1), "time", "'AAPL' refused: time: no UNIX time in nanoseconds: nan"),
        (("AAPL", "noon", "1.00", 1), "time", "'AAPL' refused: time: no UNIX time in nanoseconds: 'noon'"),
        (("AAPL", None, "1.00", 1), "time", "'AAPL' refused: time: no UNIX time in nanoseconds: None"),
    ],
)
def test_a_tick_that_cannot_be_is_refused_counted_and_logged(
    tick: tuple[Any, ...], code: str, reason: str, writer: TickWriter, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    taken = writer.trade(*tick)
    writer.flush()

    assert not taken
    assert writer.refused == 1
    assert door.codes == [code]
    assert not door.ticks
    assert caplog.messages == [f"tick of {reason}"]


def test_a_quote_with_one_bad_value_is_refused_whole(writer: TickWriter, door: Door) -> None:
    assert not writer.quote("AAPL", TIME, "1.00", 1, "bad", 1)
    writer.flush()

    assert not door.ticks


def test_a_reason_is_logged_once_and_counted_always(writer: TickWriter, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(50):
        writer.trade("AAPL", TIME, f"1.00{i}1", 1)
    writer.trade("BTC", TIME, "1.001", 1)

    assert writer.refused == 51
    assert len(caplog.messages) == 2


def test_complaints_end_where_nobody_would_read_them(writer: TickWriter, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(1000):
        writer.trade(f"NEW{i}", TIME, "1.00", 1)

    assert writer.refused == 1000
    assert len(caplog.messages) == 100
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_symbol_or_a_value_of_any_length_is_a_short_line(
    writer: TickWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer.trade("X" * 10_000, TIME, "1.00", 1)
    writer.trade("AAPL", TIME, "9" * 10_000 + "x", 1)

    assert [len(message) < 300 for message in caplog.messages] == [True, True]


class Shortest(Feed):
    """Says nothing.

    At length.
    """

    instruments = (Instrument("AAPL"),)


async def test_a_feed_that_writes_only_run_has_all_the_rest() -> None:
    feed = Shortest.from_options(argparse.Namespace(), ManualClock())

    assert (feed.name, feed.summary) == ("shortest", "Says nothing.")
    assert (feed.kinds, feed.bars_s, feed.replay) == (("trades",), (), None)
    assert await feed.prepare() == (Instrument("AAPL"),)
    assert await Feed().prepare() == ()
    assert isinstance(feed.clock, ManualClock)
    assert isinstance(Shortest().clock, SystemClock)


def test_a_feed_may_name_and_describe_itself() -> None:
    class Named(Feed):
        """A feed."""

        name = "kraken"
        summary = "Trades of a venue"

    class Child(Named):
        pass

    assert (Named.name, Named.summary) == ("kraken", "Trades of a venue")
    assert (Child.name, Child.summary) == ("child", "")


@pytest.mark.parametrize(
    ("kinds", "bars_s", "intervals"),
    [
        (["trades", "quotes"], [], (1, 5, 60, 3600, 86400)),
        (["trades", "bars"], [30], (1, 5, 30, 60, 3600, 86400)),
        (["bars"], [1800], (1800, 3600, 86400)),
        (["bars"], [60], (60, 3600, 86400)),
        (["bars"], [7], (7,)),
        (["bars"], [86400], (86400,)),
        (["quotes"], [], ()),
    ],
)
def test_bars_can_be_had_in_intervals_that_the_source_allows(
    kinds: list[str], bars_s: list[int], intervals: tuple[int, ...]
) -> None:
    assert Feed.intervals(kinds, bars_s) == intervals
