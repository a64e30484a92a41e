"""What a run of trades amounts to, and its one operation: summaries of neighbours add up to the summary of both.

Bars, snapshots, conflated updates and the dashboard's candles are all this monoid. `Summary` is one of them as a value,
`Summaries` many of them as columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ticker.columns import Array, Ints


class Summary(NamedTuple):
    """What a run of trades amounts to. Whole numbers at the instrument's scales; `time` is the last trade's."""

    time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    notional: int
    count: int  # type: ignore[assignment]

    def __add__(self, later: Summary) -> Summary:  # type: ignore[override]
        """Return the summary of both runs; `later` follows self directly."""
        return Summary(
            time=later.time,
            open=self.open,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            close=later.close,
            volume=self.volume + later.volume,
            notional=self.notional + later.notional,
            count=self.count + later.count,
        )


class Summaries(NamedTuple):
    """Many summaries as columns of equal length.

    `volume` and `notional` are kept modulo 2**64 beside a float64 estimate. The pair tells the true sum exactly as long
    as the estimate is less than 2**63 off, which sums below 2**90 don't reach in billions of additions.
    """

    time: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    notional: Ints
    count: Ints  # type: ignore[assignment]
    volume_estimate: Array
    notional_estimate: Array

    @classmethod
    def of_trades(cls, time: Ints, price: Ints, size: Ints) -> Summaries:
        """Return the summary of each trade by itself."""
        sizes = size.astype(np.float64)
        ones = np.ones_like(time)
        return cls(time, price, price, price, price, size, price * size, ones, sizes, price * sizes)

    @classmethod
    def of_runs(cls, time: Ints, price: Ints, size: Ints, offsets: Ints) -> Summaries:
        """Return the summary of each run of trades: run i, of one trade at least, is `offsets[i]:offsets[i + 1]`."""
        starts, lasts = offsets[:-1], offsets[1:] - 1
        if len(starts) == len(time):
            return cls.of_trades(time, price, size)
        add = np.add.reduceat
        counts = offsets[1:] - starts
        high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
        volume, notional = add(size, starts), add(price * size, starts)
        largest_size = max(int(size.max()), -int(size.min()))
        largest_price = max(int(high.max()), -int(low.min()))
        if largest_size * max(1, largest_price) * int(counts.max()) < 2**63:
            volume_estimate, notional_estimate = volume.astype(np.float64), notional.astype(np.float64)
        else:
            sizes = size.astype(np.float64)
            volume_estimate, notional_estimate = add(sizes, starts), add(price * sizes, starts)
        return cls(
            time[lasts],
            price[starts],
            high,
            low,
            price[lasts],
            volume,
            notional,
            counts,
            volume_estimate,
            notional_estimate,
        )

    @classmethod
    def of_columns(cls, columns: tuple[Array, ...]) -> Summaries:
        """Return summaries from the eight columns of bars, whose sums fit 64 bits."""
        return cls._make((*columns, columns[5].astype(np.float64), columns[6].astype(np.float64)))

    @property
    def size(self) -> int:
        """How many summaries these are."""
        return len(self.time)

    def take(self, indices: Array | slice) -> Summaries:
        """Return the summaries at `indices` (integers, a mask or a slice)."""
        return Summaries._make([column[indices] for column in self])

    def fold(self, starts: Ints) -> Summaries:
        """Add up runs of neighbours: run i begins at `starts[i]` (ascending from 0) and ends where the next begins."""
        if len(starts) == self.size:
            return self
        lasts = np.append(starts[1:], self.size) - 1
        add = np.add.reduceat
        return Summaries(
            self.time[lasts],
            self.open[starts],
            np.maximum.reduceat(self.high, starts),
            np.minimum.reduceat(self.low, starts),
            self.close[lasts],
            add(self.volume, starts),
            add(self.notional, starts),
            add(self.count, starts),
            add(self.volume_estimate, starts),
            add(self.notional_estimate, starts),
        )

    def plus(self, later: Summaries) -> Summaries:
        """Add each summary to the one at the same place in `later`, which follows it directly."""
        return Summaries(
            later.time,
            self.open,
            np.maximum(self.high, later.high),
            np.minimum(self.low, later.low),
            later.close,
            self.volume + later.volume,
            self.notional + later.notional,
            self.count + later.count,
            self.volume_estimate + later.volume_estimate,
            self.notional_estimate + later.notional_estimate,
        )

    def estimates(self) -> tuple[Array, Array] | None:
        """Return the float64 values of `volume` and `notional` where they don't fit 64 bits and NaN elsewhere; None if
        all fit."""
        volume_fits = fits(self.volume, self.volume_estimate)
        notional_fits = fits(self.notional, self.notional_estimate)
        if volume_fits.all() and notional_fits.all():
            return None
        return (
            np.where(volume_fits, np.nan, nearest(self.volume, self.volume_estimate)),
            np.where(notional_fits, np.nan, nearest(self.notional, self.notional_estimate)),
        )


def concatenate(parts: list[Summaries]) -> Summaries:
    """Return all parts as one, in order."""
    return parts[0] if len(parts) == 1 else Summaries._make(map(np.concatenate, zip(*parts, strict=True)))


def fits(whole: Ints, estimate: Array) -> Array:
    """Tell for each sum whether it fits 64 bits: else it differs from `whole`, kept modulo 2**64, by 2**64 at least."""
    return np.abs(estimate - whole) < 2.0**63


def nearest(whole: Ints, estimate: Array) -> Array:
    """Return the true sums as float64, free of the rounding errors that the estimates have gathered."""
    return np.rint((estimate - whole) / 2.0**64) * 2.0**64 + whole
