"""Which symbols the simulated market has and what each of them is like."""

from __future__ import annotations

import string
from collections.abc import Iterator
from hashlib import blake2b
from math import gcd
from typing import NamedTuple


class Profile(NamedTuple):
    """What a simulated stock is like."""

    symbol: str
    price: int
    """The price around which it moves, in cents."""
    volatility: float
    """Standard deviation of its log return over a trading day of 6.5 hours."""
    load: float
    """Correlation of its return with the market's, so that two stocks correlate by the product of their loads."""
    activity: float
    """How often it trades, in proportion to the others."""


KNOWN = {
    profile.symbol: profile
    for profile in (
        Profile("SPY", 68_000, 0.009, 0.95, 24),
        Profile("QQQ", 62_000, 0.012, 0.92, 20),
        Profile("NVDA", 18_500, 0.021, 0.74, 24),
        Profile("TSLA", 42_000, 0.024, 0.62, 20),
        Profile("AAPL", 27_500, 0.014, 0.72, 16),
        Profile("AMD", 23_000, 0.023, 0.68, 12),
        Profile("AMZN", 23_000, 0.016, 0.72, 12),
        Profile("MSFT", 51_000, 0.013, 0.74, 12),
        Profile("PLTR", 18_000, 0.024, 0.62, 12),
        Profile("AVGO", 35_000, 0.021, 0.70, 10),
        Profile("META", 65_000, 0.017, 0.68, 10),
        Profile("GOOGL", 29_000, 0.015, 0.70, 10),
        Profile("NFLX", 11_000, 0.017, 0.58, 7),
        Profile("INTC", 4_000, 0.022, 0.56, 7),
        Profile("ORCL", 22_000, 0.019, 0.62, 6),
        Profile("BAC", 5_300, 0.013, 0.66, 6),
        Profile("JPM", 30_500, 0.013, 0.68, 5),
        Profile("WMT", 10_500, 0.011, 0.46, 5),
        Profile("XOM", 11_800, 0.013, 0.42, 5),
        Profile("CRM", 24_500, 0.017, 0.62, 4),
        Profile("UNH", 33_000, 0.018, 0.40, 4),
        Profile("CSCO", 7_600, 0.012, 0.62, 4),
        Profile("BA", 19_500, 0.017, 0.56, 4),
        Profile("DIS", 11_000, 0.014, 0.60, 4),
        Profile("GS", 80_000, 0.015, 0.70, 3),
        Profile("V", 34_000, 0.011, 0.62, 3),
        Profile("IBM", 30_500, 0.013, 0.54, 3),
        Profile("KO", 7_200, 0.009, 0.40, 3),
        Profile("JNJ", 20_000, 0.010, 0.40, 3),
        Profile("PG", 15_000, 0.010, 0.42, 3),
        Profile("CAT", 57_000, 0.016, 0.62, 2),
        Profile("COST", 92_000, 0.012, 0.54, 2),
    )
}
"""Well-known US stocks and two funds, the most active first, with prices that are plausible in late 2026."""


def profile(symbol: str) -> Profile:
    """Return what a symbol is like: one we know, else one made up from its name, always the same for the same name."""
    if known := KNOWN.get(symbol):
        return known
    digest = blake2b(symbol.encode(), digest_size=8).digest()
    price, volatility, load, activity = (int.from_bytes(digest[i : i + 2], "little") / 65536 for i in (0, 2, 4, 6))
    return Profile(
        symbol,
        price=round(1_000 * 40**price),  # 10 to 400 dollars, as many below 63 as above
        volatility=0.010 + 0.014 * volatility,
        load=0.50 + 0.30 * load,
        activity=1.0 / (0.05 + activity),  # the busiest trades twenty times as often as the quietest
    )


def made_up(count: int) -> Iterator[str]:
    """Yield `count` different symbols of capital letters, at least four each, always the same ones."""
    letters = string.ascii_uppercase
    length = 4
    while len(letters) ** length < 4 * count:
        length += 1
    names = len(letters) ** length
    stride = int(names * 0.6180339887)  # far apart, so that neighbours look unlike; coprime, so that none comes twice
    while gcd(stride, names) > 1:
        stride += 1
    for i in range(1, count + 1):
        number = i * stride % names
        yield "".join(letters[number // len(letters) ** place % len(letters)] for place in range(length))
