"""What a file's name tells: the symbol, the day and the interval of its bars."""

from __future__ import annotations

import re
from datetime import date
from pathlib import PurePath

_EXTENSIONS = {".csv", ".tsv", ".txt", ".gz", ".zst", ".zstd", ".parquet", ".pq", ".dat"}
_SPARE_WORDS = frozenset("""
    trade trades aggtrade aggtrades tick ticks quote quotes bar bars candle candles kline klines ohlc ohlcv bookticker
    book top bbo nbbo best bid ask minute minutes min hour hourly day daily second seconds week weekly month monthly
    stock stocks price prices share shares data dataset history historical hist export download demo sample samples
    test malformed finance googlefinance google yahoo nasdaq quandl stooq kibot finam nt ninjatrader lean fxcm dat ascii
    spot futures perp usdm coinm um cm ns us ms utc est edt new copy final raw full all csv file ticker market
    intraday eod adjusted unadjusted part
    """.split())  # noqa: SIM905 (a list of words reads better without a hundred quotes)  # fmt: skip
_CURRENCIES = frozenset("""
    USD USDT USDC BUSD EUR GBP JPY CHF AUD CAD NZD CNY HKD SGD KRW TRY BRL INR MXN SEK NOK DKK PLN ZAR BTC XBT ETH BNB
    DAI TUSD FDUSD PERP
    """.split())  # noqa: SIM905  # fmt: skip
_INTERVAL = re.compile(
    r"(\d+)(s|sec|secs|m|min|mins|minute|minutes|h|hour|hours|d|day|days)|([mhd])(\d+)", re.IGNORECASE
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INTERVAL_WORDS = {"second": 1, "minute": 60, "hour": 3600, "hourly": 3600, "day": 86400, "daily": 86400, "eod": 86400}


def stem(path: str) -> str:
    """Return a path's last part without the endings that say how it is written."""
    name = PurePath(path).name
    while (suffix := PurePath(name).suffix).lower() in _EXTENSIONS:
        name = name[: -len(suffix)]
    return name


def symbol_of(path: str) -> str:
    """Return the symbol that a file's name holds, "" if none.

    The name is cut at blanks, `-` and `_`. Numbers and dates, intervals (`30min`, `M1`) and words such as `trades` or
    `daily` are left out; the first part that remains is the symbol, in capitals. A currency right behind it stays with
    it as written (`BTC-USD`, `EUR_USD`).
    """
    parts = re.split(r"([-_\s()]+)", stem(path))
    names, signs = parts[::2], parts[1::2]
    for i, name in enumerate(names):
        if _is_spare(name):
            continue
        symbol = name.upper()
        if i + 1 < len(names) and names[i + 1].upper() in _CURRENCIES and signs[i] in ("-", "_"):
            symbol += signs[i] + names[i + 1].upper()
        return symbol
    return ""


def _is_spare(name: str) -> bool:
    return (
        not re.search(r"[A-Za-z]", name)
        or name.lower() in _SPARE_WORDS
        or _INTERVAL.fullmatch(name) is not None
        or re.fullmatch(r"\d{8}T?\d*Z?", name) is not None
    )


def date_of(path: str) -> date | None:
    """Return the day in a file's name (`20131007`, `2013-10-07`, `2013_10_07`), None if there is none."""
    for found in re.finditer(r"(?<!\d)(\d{4})([-_.]?)(\d\d)\2(\d\d)(?!\d)", stem(path)):
        year, month, day = int(found[1]), int(found[3]), int(found[4])
        try:
            if 1900 <= year <= 2200:
                return date(year, month, day)
        except ValueError:
            continue
    return None


def interval_of(path: str) -> int | None:
    """Return the interval of bars in seconds that a file's name holds (`minute`, `30min`, `H1`, `daily`), or None."""
    for name in re.split(r"[-_\s()]+", stem(path)):
        if name.lower() in _INTERVAL_WORDS:
            return _INTERVAL_WORDS[name.lower()]
        if found := _INTERVAL.fullmatch(name):
            unit, count = (found[2], found[1]) if found[1] else (found[3], found[4])
            if 0 < int(count) < 100_000:
                return int(count) * _SECONDS[unit[0].lower()]
    return None
