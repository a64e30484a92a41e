"""The layouts of market data files: what vendors call their columns, and how those look that name none.

Data and the small functions that read it; no file is opened here. To add a vendor whose files have a header, add its
words to the tables below; for one without, add a Layout with the look of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Cells = Sequence[str]

ROLES = {
    "trades": ("price", "size"),
    "quotes": ("bid_price", "bid_size", "ask_price", "ask_size"),
    "bars": ("open", "high", "low", "close", "volume", "notional", "count"),
}
"""The number columns of each kind, in the order of `ticker.columns.columns_of`."""
QUANTITY = {
    **dict.fromkeys(("price", "bid_price", "ask_price", "open", "high", "low", "close"), "price"),
    **dict.fromkeys(("size", "bid_size", "ask_size", "volume"), "size"),
    "notional": "notional",
    "count": "count",
}

NAMES: Mapping[str, Sequence[str]] = {
    "symbol": ("symbol", "sym", "ticker", "stock", "pair", "currencypair", "instrumentname", "instrument", "instid",
               "instrumentid", "productid", "product", "contract", "security", "ric", "symroot"),
    "price": ("price", "tradeprice", "lastprice", "lasttradeprice", "execprice", "px", "p", "last", "lastpx"),
    "size": ("size", "tradesize", "lastsize", "qty", "quantity", "tradeqty", "tradequantity", "execqty", "amount",
             "baseamount", "baseqty", "basesize", "basevolume", "volume", "vol", "tradevolume", "lastqty", "shares",
             "sz", "contracts", "lots", "q", "s", "v"),
    "bid_price": ("bidprice", "bestbidprice", "bid", "bestbid", "bidpx", "bidpx00", "bidprice0", "bidprice1", "bid1",
                  "bids0price", "bp"),
    "bid_size": ("bidsize", "bestbidsize", "bidqty", "bestbidqty", "bidquantity", "bidamount", "bidvolume", "bidvol",
                 "bidsz", "bidsz00", "bidsize0", "bidsize1", "bids0amount", "bids0size", "bs"),
    "ask_price": ("askprice", "bestaskprice", "ask", "bestask", "askpx", "askpx00", "askprice0", "askprice1", "ask1",
                  "asks0price", "offer", "offerprice", "ofr", "ap"),
    "ask_size": ("asksize", "bestasksize", "askqty", "bestaskqty", "askquantity", "askamount", "askvolume", "askvol",
                 "asksz", "asksz00", "asksize0", "asksize1", "asks0amount", "asks0size", "offersize", "ofrsiz", "as"),
    "open": ("open", "openprice", "o", "first"),
    "high": ("high", "highprice", "h", "max"),
    "low": ("low", "lowprice", "l", "min"),
    "close": ("close", "closeprice", "c", "closelast", "last", "price"),
    "volume": ("volume", "vol", "v", "tickvol", "tickvolume", "basevolume", "qty", "quantity", "size"),
    "notional": ("notional", "quotevolume", "quoteassetvolume", "turnover", "dollarvolume"),
    "count": ("count", "trades", "tradecount", "tradescount", "numberoftrades", "numtrades", "transactions", "n"),
}  # fmt: skip
"""What header cells say, without case, blanks and signs (see `words`); the first that a file has counts."""

_CLOCK_WORDS = {"time", "ts", "timestamp", "datetime", "stamp", "at", "t", "dt"}
_VENUE_WORDS = {"exch", "exchange", "venue", "event", "transact", "transaction", "trade", "participant", "matching"}
_LOCAL_WORDS = {"local", "recv", "receive", "received", "receipt", "arrival", "sip", "client", "server", "ingest"}
_PLAIN_WORDS = {"open", "start", "begin", "bar", "candle", "window", "unix", "epoch", "gmt", "utc", "date", "and", "of",
                "quote", "tick", "created", "executed"}  # fmt: skip
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "usec", "micro", "micros", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nsec", "nano", "nanos", "nanosecond", "nanoseconds"), "ns"),
}


def words(header: str) -> list[str]:
    """Return the words of a header cell in lower case: `exch_ts_ms`, `transactTime` and `Date Time` have some each."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", header)
    return re.findall(r"[a-z0-9]+", spaced.lower())


def plain(header: str) -> str:
    """Return a header cell's words joined: what NAMES holds."""
    return "".join(words(header))


def time_rank(header: str) -> tuple[int, str] | None:
    """Return how much a header cell is the time of a row, 0 first, and its unit if it says so; None if it is no time.

    Where a file has two, the venue's counts before one that doesn't say whose it is, and that before the recorder's.
    """
    cell = words(header)
    unit = ""
    if len(cell) > 1 and cell[-1] in _UNITS:
        unit = _UNITS[cell.pop()]
    if cell in (["window", "start"], ["minute"], ["unix"], ["epoch"], ["unixtime"], ["unixtimestamp"], ["opentime"]):
        return 1, unit
    if cell in (["date"], ["day"], ["tradingday"]):
        return 2, unit
    if not cell or not set(cell) & _CLOCK_WORDS:
        return None
    rest = set(cell) - _CLOCK_WORDS
    if rest & _LOCAL_WORDS:
        return (3, unit) if rest <= _LOCAL_WORDS else None
    if rest & _VENUE_WORDS:
        return (0, unit) if rest <= _VENUE_WORDS | _PLAIN_WORDS else None
    return (1, unit) if rest <= _PLAIN_WORDS else None


@dataclass(frozen=True, slots=True)
class Layout:
    """One way of writing market data down.

    Without a header, `look` describes each cell by a name of LOOKS and `roles` says what the columns are, counted from
    0. With one, `marks` are header words that only this vendor has; the roles come from NAMES.
    """

    name: str
    kind: str
    about: str
    look: tuple[str, ...] = ()
    roles: Mapping[str, int] = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    zone: str = "UTC"
    price_shift: int = 0
    """Prices are whole numbers of 10**-price_shift."""
    ends: bool = False
    """Bars are stamped at their end."""
    separator: str = ""
    check: str = ""
    """What must hold in most rows besides: a name of _CHECKS."""


_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
LOOKS = {
    "int": re.compile(r"[+-]?\d+"),
    "number": re.compile(_NUMBER),
    "epoch": re.compile(r"\d{9,19}(?:\.\d+)?"),
    "midnight": re.compile(r"[0-8]?\d{1,7}(?:\.\d+)?"),
    "yes": re.compile(r"true|false|[tf01]", re.IGNORECASE),
    "venue": re.compile(r"[A-Za-z]{1,8}"),
    "hex": re.compile(r"[0-9A-Fa-f]*"),
    "flag": re.compile(r"[01]"),
    "compact": re.compile(r"\d{8} \d{6}"),
    "minutes": re.compile(r"\d{8} \d\d:\d\d"),
    "pair": re.compile(r"[A-Za-z]{3,5}/[A-Za-z]{3,5}"),
    "date": re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}|\d{8}"),
    "clock": re.compile(r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?"),
    "time": re.compile(r"\d{9,19}(?:\.\d+)?|\d{8}|\d{1,4}[-/. ](?:\d{1,2}|[A-Za-z]{3})[-/. ]\d{2,4}.*|\d{8}[ T-]\d.*"),
}

_OHLC = {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4}
_OHLCV = {**_OHLC, "volume": 5}

LAYOUTS = (
    Layout("binance-trades", "trades", "Binance spot `trades` dump",
           ("int", "number", "number", "number", "epoch", "yes", "yes"), {"time": 4, "price": 1, "size": 2}),
    Layout("binance-futures-trades", "trades", "Binance futures `trades` dump",
           ("int", "number", "number", "number", "epoch", "yes"), {"time": 4, "price": 1, "size": 2},
           marks=frozenset({"isbuyermaker", "quoteqty"})),
    Layout("binance-aggtrades", "trades", "Binance `aggTrades` dump",
           ("int", "number", "number", "int", "int", "epoch", "yes", "yes"), {"time": 5, "price": 1, "size": 2},
           marks=frozenset({"aggtradeid"})),
    Layout("binance-futures-aggtrades", "trades", "Binance futures `aggTrades` dump",
           ("int", "number", "number", "int", "int", "epoch", "yes"), {"time": 5, "price": 1, "size": 2}),
    Layout("binance-klines", "bars", "Binance `klines` dump",
           ("epoch", *["number"] * 5, "epoch", "number", "int", *["number"] * 3),
           {**_OHLCV, "notional": 7, "count": 8}),
    Layout("usdm-trades", "trades", "recorded trades of Binance futures, two clocks",
           marks=frozenset({"localtsns", "exchtsms", "price"})),
    Layout("usdm-bookticker", "quotes", "recorded best bid and ask of Binance futures, two clocks",
           marks=frozenset({"localtsns", "exchtsms", "bidprice"})),
    Layout("lean-trade-ticks", "trades", "QuantConnect LEAN US equity trades",
           ("midnight", "int", "int", "venue", "hex", "flag"), {"time": 0, "price": 1, "size": 2},
           zone="America/New_York", price_shift=4),
    Layout("lean-equity-minutes", "bars", "QuantConnect LEAN US equity bars",
           ("midnight", *["int"] * 5), _OHLCV, zone="America/New_York", price_shift=4, check="bars"),
    Layout("lean-bars", "bars", "QuantConnect LEAN bars with decimal prices",
           ("midnight", "number", "number", "number", "number", "number"), _OHLCV, check="bars"),
    Layout("lean-equity-daily", "bars", "QuantConnect LEAN US equity bars of a day or an hour",
           ("minutes", *["int"] * 5), _OHLCV, zone="America/New_York", price_shift=4, check="bars"),
    Layout("lean-quote-ticks", "quotes", "QuantConnect LEAN FXCM quotes",
           ("midnight", "number", "number"), {"time": 0, "bid_price": 1, "ask_price": 2},
           zone="UTC-05", check="quotes"),
    Layout("lean-crypto-ticks", "trades", "QuantConnect LEAN crypto trades",
           ("midnight", "number", "number"), {"time": 0, "price": 1, "size": 2}),
    Layout("ninjatrader-minutes", "bars", "NinjaTrader export of minute bars",
           ("compact", *["number"] * 5), _OHLCV, ends=True, separator=";", check="bars"),
    Layout("bitcoincharts", "trades", "bitcoincharts dump, and any other time, price, size",
           ("time", "number", "number"), {"time": 0, "price": 1, "size": 2}),
    Layout("truefx", "quotes", "TrueFX quotes",
           ("pair", "time", "number", "number"), {"symbol": 0, "time": 1, "bid_price": 2, "ask_price": 3}),
    Layout("kibot", "bars", "date, clock and bar, as Kibot writes them",
           ("date", "clock", "number", "number", "number", "number", "number"),
           {"date": 0, "time": 1, "open": 2, "high": 3, "low": 4, "close": 5, "volume": 6},
           zone="America/New_York", check="bars"),
    Layout("bars", "bars", "time, open, high, low, close, volume",
           ("time", "number", "number", "number", "number", "number"), _OHLCV, check="bars"),
    Layout("bars-without-volume", "bars", "time, open, high, low, close",
           ("time", "number", "number", "number", "number"), _OHLC, check="bars"),
    Layout("quandl", "bars", "Quandl WIKI daily bars of many stocks", marks=frozenset({"exdividend", "splitratio"})),
    Layout("bitstamp-bars", "bars", "bars as pyalgotrade writes them", marks=frozenset({"datetime", "adjclose"})),
    Layout("yahoo", "bars", "Yahoo Finance download", marks=frozenset({"date", "adjclose"})),
)  # fmt: skip
"""Tried in this order. Those of headed files only lend their name: any header that NAMES understands will do."""

BY_NAME = {layout.name: layout for layout in LAYOUTS}


def looks_like(layout: Layout, rows: Sequence[Cells]) -> bool:
    """Return whether most rows look like a layout that has no header. A few bad rows do no harm."""
    for i, look in enumerate(layout.look):
        if sum(_cell_looks(look, row[i]) for row in rows) < 0.9 * len(rows):
            return False
    if not layout.check:
        return bool(layout.look)
    return sum(_CHECKS[layout.check](layout, row) for row in rows) >= 0.9 * len(rows)


def _cell_looks(look: str, cell: str) -> bool:
    cell = cell.strip()
    return LOOKS[look].fullmatch(cell) is not None and (look != "midnight" or float(cell) < 86_400_000)


def _is_bar(layout: Layout, row: Cells) -> bool:
    """Return whether open and close lie between low and high."""
    try:
        opened, high, low, closed = (float(row[layout.roles[role]]) for role in ("open", "high", "low", "close"))
    except ValueError:
        return False
    return low <= min(opened, closed) and max(opened, closed) <= high


def _is_quote(layout: Layout, row: Cells) -> bool:
    """Return whether the ask is the bid or little more."""
    try:
        bid, ask = (float(row[layout.roles[role]]) for role in ("bid_price", "ask_price"))
    except ValueError:
        return False
    return bid <= ask <= bid * 1.05


_CHECKS = {"bars": _is_bar, "quotes": _is_quote}
