"""The nouns of market data as plain values, without numpy.

Prices and sizes are whole numbers everywhere inside: 189.31 is 18931 at scale 2 (value = integer / 10**scale).
Times are UNIX time as whole numbers, at scale 6 (microseconds) or 9 (nanoseconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

KINDS = ("trades", "quotes", "bars")
INTERVALS_S = (1, 5, 60, 3600, 86400)
"""Bars that are folded from trades, in seconds; each divides the one after it."""

MOST_CHARACTERS = 128
"""The length of the longest symbol."""

ASSET_CLASSES = ("us_equity", "crypto")


class Series(NamedTuple):
    """What is numbered together in a Block: a kind and, for bars, their interval in seconds (else 0)."""

    kind: str
    interval_s: int = 0

    def __str__(self) -> str:
        return f"{self.kind}/{self.interval_s}s" if self.interval_s else self.kind


class Channel(NamedTuple):
    """One kind of one symbol: what a client subscribes to. Its rows are numbered 0, 1, 2, …"""

    kind: str
    symbol: str
    interval_s: int = 0


class Position(NamedTuple):
    """The next row a reader wants. A number alone deceives: row 1200 is another after a restart, hence the epoch."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol and the scales (decimal digits) of its whole numbers, which never change within an epoch.

    Raises ValueError where the symbol is no printable text of 1 to 128 characters, or is `*`, which means all symbols.
    """

    symbol: str
    price_scale: int = 2
    size_scale: int = 0
    time_scale: int = 6
    asset_class: str = "us_equity"
    """One of ASSET_CLASSES. What trades in shares has whole sizes for dialects that know no others."""
    signed_prices: bool = False
    """Whether zero and negative prices are real: of spreads, rates, power, oil on 2020-04-20. Else trades and bars at
    such a price are refused at the feed's door, and quotes below zero (at zero it is a side without orders)."""

    def __post_init__(self) -> None:
        if not self.symbol or len(self.symbol) > MOST_CHARACTERS:
            raise ValueError(f"a symbol has 1 to {MOST_CHARACTERS} characters, not {len(self.symbol)}")
        # Lone surrogates, which no UTF-8 has, aren't printable either.
        if not self.symbol.isprintable() or self.symbol == "*":
            raise ValueError(f"{self.symbol!r} cannot be a symbol: expected printable characters, and not `*` alone")
        if self.time_scale not in (6, 9):
            raise ValueError(f"{self.symbol}: time_scale is 6 or 9, not {self.time_scale}")
        if not (0 <= self.price_scale <= 18 and 0 <= self.size_scale <= 18):
            raise ValueError(f"{self.symbol}: price_scale and size_scale lie between 0 and 18")
        if self.asset_class not in ASSET_CLASSES:
            raise ValueError(f"{self.symbol}: asset_class is one of {', '.join(ASSET_CLASSES)}")

    def scale(self, quantity: str) -> int:
        """Return the scale of a `time`, `price`, `size`, `notional` or `count` of this instrument."""
        if quantity == "time":
            return self.time_scale
        if quantity == "price":
            return self.price_scale
        if quantity == "size":
            return self.size_scale
        return self.price_scale + self.size_scale if quantity == "notional" else 0


class Trade(NamedTuple):
    """One trade. The numbers are of the reader's choice: exact integers, floats or Decimals."""

    time: Any
    price: Any
    size: Any


class Quote(NamedTuple):
    """Best bid and ask at a time."""

    time: Any
    bid_price: Any
    bid_size: Any
    ask_price: Any
    ask_size: Any


class Bar(NamedTuple):
    """The summary of the trades of one interval, whose start is `time`; or of those that one conflated update merges,
    whose last has `time`."""

    time: Any
    open: Any
    high: Any
    low: Any
    close: Any
    volume: Any
    notional: Any
    count: Any


class QuoteUpdate(NamedTuple):
    """The newest of `count` quotes."""

    time: Any
    bid_price: Any
    bid_size: Any
    ask_price: Any
    ask_size: Any
    count: Any
