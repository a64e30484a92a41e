"""A market as a random walk: trades and quotes of any number of stocks as columns, without time, clock or I/O.

A stock's price is its starting price times exp(load x market + own): a walk that all stocks share and one of its own.
Both move with every row, a stock's own one in its own rows only, by as much as its volatility amounts to in the time
that passes between two rows at the wanted rate. So seconds, minutes and days look alike at any rate.

- Fat tails: a step is drawn from Student's t distribution with four degrees of freedom, and the size of all steps
  wanders: there are calm and nervous moments, calm and nervous half hours.
- Prices stay plausible for ever: both walks are pulled back to their start, with a time constant of 30 trading days,
  and no fair price is ever beyond a quarter or four times its start, whatever was drawn.
- A trade happens at the bid or the ask, the likelier the nearer the fair price is to it; the quote after it has both.

Rows are made a block at a time, from the bits of a generator whose stream numpy guarantees. So a seed gives the same
rows however they are taken, whichever numpy is installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feeds.simulated_symbols import Profile
from ticker.columns import Array, Ints

Floats = npt.NDArray[np.float64]

LOT = 100
DAY_S = 23_400.0
REVERSION_S = 30 * DAY_S
LARGEST_MOVE = math.log(4)
SMALLEST_BLOCK, LARGEST_BLOCK = 64, 16_384
MOODS = ((10.0, 0.35), (1200.0, 0.40))
"""How the logarithm of the steps' size wanders: time constants in seconds, and standard deviations."""


class Rows(NamedTuple):
    """Trades, each with the quote after it, as columns of equal length: prices in cents, sizes in shares."""

    codes: Array
    price: Ints
    size: Ints
    bid_price: Ints
    bid_size: Ints
    ask_price: Ints
    ask_size: Ints


def student_t(count: int) -> Floats:
    """Return `count` quantiles of Student's t distribution with four degrees of freedom, scaled to variance one.

    Indexed with random bits they are draws, at a fifth of the price of normal ones. The quantile has a closed form
    (W. T. Shaw, Sampling Student's T distribution, 2006).
    """
    p = (np.arange(count) + 0.5) / count
    root = np.sqrt(4 * p * (1 - p))
    quantiles = np.sign(p - 0.5) * 2 * np.sqrt(np.cos(np.arccos(root) / 3) / root - 1)
    return np.asarray(quantiles / quantiles.std(), np.float64)


def lots(count: int, mean: float, tail: float) -> Ints:
    """Return `count` quantiles of a Pareto distribution in shares: whole lots, about `mean` of them, 250 at most."""
    p = (np.arange(count) + 0.5) / count
    sizes = mean * (tail - 1) / tail * (1 - p) ** (-1 / tail)
    return LOT * np.clip(sizes, 1, 250).astype(np.int64)


STEPS = student_t(1 << 16)
TRADE_SIZES = lots(1 << 16, mean=2.5, tail=1.5)
QUOTE_SIZES = lots(1 << 8, mean=6.0, tail=2.0)


def fractions(bits: Array) -> Floats:
    """Return unsigned integers as fractions of the range of their type: at least 0, below 1."""
    return bits.astype(np.float64) / 2.0 ** (8 * bits.itemsize)


class Market:
    """The endless rows of one simulated market, in order; `codes` number the profiles.

    `rate` is rows a second, which decides how far prices move from row to row. `seed` is a whole number of 0 or more.
    """

    def __init__(self, profiles: Sequence[Profile], rate: float, seed: int) -> None:
        _, price, volatility, load, activity = (np.array(column) for column in zip(*profiles, strict=True))
        # A table that has each code as often as it is active turns random bits into codes. Up to 65,536 symbols they
        # have 16 bits at most, which numpy sorts by radix.
        slots = np.ceil(activity / activity.sum() * max(1 << 16, 16 * len(profiles))).astype(np.int64)
        self._slots = np.repeat(np.arange(len(profiles), dtype=np.min_scalar_type(len(profiles) - 1)), slots)

        row_days = 1 / rate / DAY_S
        own_row_days = row_days * slots.sum() / slots
        self._start = price.astype(np.float64)
        self._load: Floats = volatility * load
        self._own_step: Floats = volatility * np.sqrt((1 - load**2) * own_row_days)
        self._market_step = math.sqrt(row_days)
        self._spread: Floats = price * 1e-4 / np.sqrt(activity)

        self._block_rows = int(min(max(rate, SMALLEST_BLOCK), LARGEST_BLOCK))
        block_s = self._block_rows / rate
        self._reversion = math.exp(-block_s / REVERSION_S)
        self._mood_decay = [math.exp(-block_s / constant_s) for constant_s, _ in MOODS]

        self._random = np.random.SFC64(seed)
        self._mood = [0.0 for _ in MOODS]
        self._market = 0.0
        self._own = np.zeros(len(profiles))
        self._left = self._block()

    def take(self, count: int) -> Rows:
        """Return the next `count` rows, at least one. The arrays are never written to again."""
        parts = []
        while count > 0:
            if not len(self._left.codes):
                self._left = self._block()
            parts.append(Rows(*(column[:count] for column in self._left)))
            self._left = Rows(*(column[count:] for column in self._left))
            count -= len(parts[-1].codes)
        return parts[0] if len(parts) == 1 else Rows(*map(np.concatenate, zip(*parts, strict=True)))

    def _block(self) -> Rows:
        """Make the next rows: 16 bytes of random bits each, looked up in tables."""
        step_size = self._change_mood()
        self._market *= self._reversion
        self._own *= self._reversion

        count = self._block_rows
        bits = self._random.random_raw(2 * count).view(np.uint16).reshape(8, count)
        codes = self._slots.take((fractions(bits[:2].reshape(-1).view(np.uint32)) * len(self._slots)).astype(np.intp))
        market = (STEPS.take(bits[2]) * (step_size * self._market_step)).cumsum() + self._market
        self._market = float(market[-1])
        fair = self._fair_prices(codes, market, STEPS.take(bits[3]) * step_size)

        spread = 1.0 + np.floor(self._spread.take(codes) * (fractions(bits[4]) + 0.5))
        bid = np.floor(fair - (spread - 1) / 2)
        at_ask = (fair - bid) / spread > fractions(bits[5])
        bid_size, ask_size = QUOTE_SIZES.take(bits[7].view(np.uint8).reshape(2, count))
        return Rows(
            codes,
            price=(bid + spread * at_ask).astype(np.int64),
            size=TRADE_SIZES.take(bits[6]),
            bid_price=bid.astype(np.int64),
            bid_size=bid_size,
            ask_price=(bid + spread).astype(np.int64),
            ask_size=ask_size,
        )

    def _fair_prices(self, codes: Array, market: Floats, steps: Floats) -> Floats:
        """Return each row's price in fractions of cents, moving each stock's own walk by its rows' `steps`."""
        order = codes.argsort(kind="stable")
        codes = codes.take(order)
        steps = steps * self._own_step.take(codes)
        walk = steps.cumsum()
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        ends = np.append(starts[1:], len(codes))
        moved = codes.take(starts)
        # One sum runs through all stocks: begin each stock's stretch of it where its own walk stood.
        walk += np.repeat(self._own.take(moved) + steps.take(starts) - walk.take(starts), ends - starts)
        self._own[moved] = walk.take(ends - 1)

        moves = self._load.take(codes) * market.take(order) + walk
        np.clip(moves, -LARGEST_MOVE, LARGEST_MOVE, out=moves)
        fair = np.empty(len(codes))
        fair[order] = self._start.take(codes) * np.exp(moves)
        return fair

    def _change_mood(self) -> float:
        """Return how large the next block's steps are, on average 1 in their square."""
        # 52 bits, so that no fraction is 0 or rounds to 1: there the normal distribution has no quantile.
        uniform = ((self._random.random_raw(len(MOODS)) >> np.uint64(12)).astype(np.float64) + 0.5) / 2**52
        for i, (decay, (_, deviation)) in enumerate(zip(self._mood_decay, MOODS, strict=True)):
            draw = NormalDist().inv_cdf(float(uniform[i]))
            self._mood[i] = decay * self._mood[i] + deviation * math.sqrt(1 - decay**2) * draw
        return math.exp(sum(self._mood) - sum(deviation**2 for _, deviation in MOODS))
