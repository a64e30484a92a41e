"""A market whose every row is known in advance: what a trial compares with what arrives, value by value.

Row `seq` of a symbol is a function of its number, so that the feed (`tape_feed.py`), which plays it, and the clients,
which check it, need nothing in common but the numbers of a Tape. Nothing here is the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

PRICE_SCALE, SIZE_SCALE, TIME_SCALE = 2, 0, 6
NOTIONAL_SCALE = PRICE_SCALE + SIZE_SCALE
_SHUFFLES = 7
"""Rounds until the order of symbols within one comes again."""


@dataclass(frozen=True)
class Tape:
    """`symbols` symbols, `rate` trades a second over all and as many quotes, from `start_us` (UNIX) on.

    It goes in rounds. In each the symbols have 1, 2, 4 or 8 rows by turns, quiet ones beside busy ones, in an order
    that differs from round to round.
    """

    symbols: int
    rate: float
    start_us: int

    @property
    def names(self) -> tuple[str, ...]:
        """The symbols."""
        return tuple(f"S{number:04}" for number in range(self.symbols))

    @cached_property
    def weights(self) -> Ints:
        """Rows of each symbol in a round."""
        weights: Ints = 1 << (np.arange(self.symbols) % 4)
        return weights

    @cached_property
    def round_rows(self) -> int:
        """Rows of a round."""
        return int(self.weights.sum())

    @cached_property
    def _orders(self) -> list[Ints]:
        """The symbol of each row of a round, for each order."""
        chance = np.random.default_rng(20_261_124)
        rows = np.repeat(np.arange(self.symbols), self.weights)
        return [chance.permutation(rows) for _ in range(_SHUFFLES)]

    @cached_property
    def _places(self) -> list[Ints]:
        """Where in a round each symbol's rows are, symbol after symbol, for each order."""
        return [np.argsort(order, kind="stable") for order in self._orders]

    @cached_property
    def _firsts(self) -> Ints:
        return np.cumsum(self.weights) - self.weights

    def time(self, symbol: int, seqs: Ints) -> Ints:
        """Return when rows of a symbol happen, in UNIX microseconds."""
        weight = int(self.weights[symbol])
        rounds, nth = seqs // weight, seqs % weight
        places = np.stack([place[self._firsts[symbol] :][:weight] for place in self._places])
        rows = rounds * self.round_rows + places[rounds % _SHUFFLES, nth]
        return self.start_us + (rows * (1e6 / self.rate)).astype(np.int64)

    def trades(self, symbol: int, first: int, end: int) -> tuple[Ints, Ints, Ints]:
        """Return time, price and size of some rows."""
        seqs = np.arange(first, end)
        return self.time(symbol, seqs), *self._trade(np.full(len(seqs), symbol), seqs)

    def quotes(self, symbol: int, first: int, end: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Return time, bid, its size, ask and its size of some rows."""
        seqs = np.arange(first, end)
        return self.time(symbol, seqs), *self._quote(np.full(len(seqs), symbol), seqs)

    def rows(self, kind: str, symbol: int, first: int, end: int) -> tuple[Ints, ...]:
        """Return some rows of a channel, the time first."""
        return (self.trades if kind == "trades" else self.quotes)(symbol, first, end)

    def round(self, number: int) -> tuple[Ints, Ints, tuple[Ints, Ints], tuple[Ints, Ints, Ints, Ints]]:
        """Return what happens in a round, in the order of time: symbol and time of each row, its trade, its quote."""
        symbols, places = self._orders[number % _SHUFFLES], self._places[number % _SHUFFLES]
        seqs = np.empty(self.round_rows, np.int64)
        seqs[places] = np.concatenate([number * weight + np.arange(weight) for weight in self.weights])
        rows = number * self.round_rows + np.arange(self.round_rows)
        time = self.start_us + (rows * (1e6 / self.rate)).astype(np.int64)
        return symbols, time, self._trade(symbols, seqs), self._quote(symbols, seqs)

    def produced(self, symbol: int, rounds: int) -> int:
        """Return how many rows of each kind a symbol has after some rounds."""
        return int(self.weights[symbol]) * rounds

    def _trade(self, symbols: Ints, seqs: Ints) -> tuple[Ints, Ints]:
        return 10_000 + 100 * symbols + _mixed(symbols, seqs, 1) % 2000, 1 + _mixed(symbols, seqs, 2) % 900

    def _quote(self, symbols: Ints, seqs: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        bid = 10_000 + 100 * symbols + _mixed(symbols, seqs, 3) % 2000
        ask = bid + 1 + _mixed(symbols, seqs, 4) % 30
        return bid, 1 + _mixed(symbols, seqs, 5) % 900, ask, 1 + _mixed(symbols, seqs, 6) % 900


def summary(rows: tuple[Ints, ...]) -> tuple[int, ...]:
    """Return the summary of a run of trades: time, open, high, low, close, volume, notional, count."""
    time, price, size = rows
    return (
        int(time[-1]),
        int(price[0]),
        int(price.max()),
        int(price.min()),
        int(price[-1]),
        int(size.sum()),
        int((price * size).sum()),
        len(time),
    )


def _mixed(symbols: Ints, seqs: Ints, salt: int) -> Ints:
    """Return a number below 2**31 for each row, by chance to look at (the end of splitmix64, by Sebastiano Vigna)."""
    with np.errstate(over="ignore"):
        mixed = (symbols.astype(np.uint64) << np.uint64(40)) + (seqs.astype(np.uint64) << np.uint64(4))
        mixed = (mixed + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(33)).astype(np.int64)
