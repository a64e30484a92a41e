"""What rows are on Alpaca's streams: which fields each message has, and their values as columns.

Prices and coins are float64, shares are whole numbers. What no feed of ours knows is a plausible constant: the
exchange, the tape and the conditions of a regular trade or quote.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ticker.columns import Array, Block, Ints
from ticker.model import Series
from ticker.protocol.codec import Catalogue

DAYS = Series("days", 86400)
"""Daily bars of the New York day so far: a series that only this dialect has."""
EXCHANGE, TAPE = "V", "C"
"""IEX, and the tape of securities that are listed at Nasdaq."""
ID_BITS = 32
"""Bits of a trade's id that are its row number."""

WHOLE32, WHOLE64, FLOAT = "ce", "cf", "cb"
"""How a field is written, named by its msgpack type."""


class Field(NamedTuple):
    """A key and how its value is written; or the value itself, if it is always the same."""

    key: str
    form: str = ""
    constant: str | list[str] = ""


class Layout(NamedTuple):
    """A message: its type and its fields, behind which comes the time `t`."""

    type: str
    fields: tuple[Field, ...]

    @property
    def variable(self) -> list[Field]:
        """The fields that have values of their own in each row, in order."""
        return [field for field in self.fields if field.form]


def _bars(volume: str) -> tuple[Field, ...]:
    prices = (Field(key, FLOAT) for key in ("o", "h", "l", "c"))
    return (*prices, Field("v", volume), Field("n", WHOLE64), Field("vw", FLOAT))


_X, _C, _Z = Field("x", constant=EXCHANGE), Field("c", constant=["@"]), Field("z", constant=TAPE)
_STOCK_TRADE = (Field("i", WHOLE64), _X, Field("p", FLOAT), Field("s", WHOLE32), _C, _Z)
_STOCK_QUOTE = (
    Field("bx", constant=EXCHANGE),
    Field("bp", FLOAT),
    Field("bs", WHOLE32),
    Field("ax", constant=EXCHANGE),
    Field("ap", FLOAT),
    Field("as", WHOLE32),
    Field("c", constant=["R"]),
    _Z,
)
_COIN_TRADE = (Field("i", WHOLE64), Field("p", FLOAT), Field("s", FLOAT), Field("tks", constant="-"))
_COIN_QUOTE = tuple(Field(key, FLOAT) for key in ("bp", "bs", "ap", "as"))

LAYOUTS: Mapping[str, Mapping[str, Layout]] = {
    "us_equity": {
        "trades": Layout("t", _STOCK_TRADE),
        "quotes": Layout("q", _STOCK_QUOTE),
        "bars": Layout("b", _bars(WHOLE64)),
        "days": Layout("d", _bars(WHOLE64)),
    },
    "crypto": {
        "trades": Layout("t", _COIN_TRADE),
        "quotes": Layout("q", _COIN_QUOTE),
        "bars": Layout("b", _bars(FLOAT)),
        "days": Layout("d", _bars(FLOAT)),
    },
}
"""By asset class and kind."""


class Scales:
    """The powers of ten of all symbols' scales, by symbol number; grown as symbols come."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.price = self.size = self.second = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.price)

    def grow(self) -> None:
        """Learn what has appeared."""
        fresh = self._catalogue.instruments[len(self) :]
        if fresh:
            self.price = np.append(self.price, [10**each.price_scale for each in fresh])
            self.size = np.append(self.size, [10**each.size_scale for each in fresh])
            self.second = np.append(self.second, [10**each.time_scale for each in fresh])


def values(block: Block, scales: Scales, layout: Layout) -> tuple[list[Array], Ints, Ints]:
    """Return the columns of the layout's variable fields; and the times, as seconds and nanoseconds.

    Raises nothing: what doesn't fit a field is its largest or smallest number.
    """
    counts = block.counts

    def rows(units: Ints) -> Array:
        """Return each row's power of ten, or one for all."""
        of_runs = units[block.symbols]
        return of_runs[:1] if (of_runs == of_runs[0]).all() else np.repeat(of_runs, counts)

    price, size, second = rows(scales.price), rows(scales.size), rows(scales.second)
    time, *columns = block.columns
    if block.series.kind == "trades":
        made = [_ids(block), columns[0] / price, columns[1]]
        sizes = [2]
    elif block.series.kind == "quotes":
        made = [columns[0] / price, columns[1], columns[2] / price, columns[3]]
        sizes = [1, 3]
    else:
        made = [*(column / price for column in columns[:4]), *_sums(block, price)]
        sizes = [4]
    for at in sizes:
        made[at] = _amounts(made[at], size, layout.variable[at].form)
    seconds = time // second
    return made, seconds, (time - seconds * second) * (10**9 // second)


def _ids(block: Block) -> Ints:
    """Return the id of each trade: its row number, above it some bits that tell epochs apart. Exact in a double."""
    first = np.repeat(block.seqs - block.offsets[:-1], block.counts)
    return id_base(block.epoch) + first + np.arange(len(block))


def id_base(epoch: str) -> int:
    """Return the id of row 0 in an epoch."""
    return (zlib.crc32(epoch.encode()) & 0xFFFFF) << ID_BITS


def _sums(block: Block, price: Array) -> list[Array]:
    """Return volume, number of trades and their average price, which is 0 where it isn't known."""
    volume, notional, count = block.columns[5:8]
    if block.estimates is not None:
        volume, notional = (
            np.where(np.isnan(estimate), whole, estimate)
            for whole, estimate in zip((volume, notional), block.estimates, strict=True)
        )
    known = volume > 0
    average = np.where(known, notional / np.where(known, volume, 1), 0.0) / price
    return [volume, np.maximum(count, 0), average]


_LARGEST = {WHOLE32: 2**32 - 1, WHOLE64: 2**63 - 1}
_LARGEST_DOUBLE = float(2**63 - 1024)


def _amounts(sizes: Array, unit: Array, form: str) -> Array:
    """Return sizes in shares, rounded down, or in coins."""
    if form == FLOAT:
        return sizes / unit
    if sizes.dtype.kind == "f":
        sizes = np.minimum(sizes, _LARGEST_DOUBLE).astype(np.int64)
    whole: Array = np.clip(sizes // unit, 0, _LARGEST[form])
    return whole
