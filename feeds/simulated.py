"""The feed `simulated`: a market that never closes, at any rate, the same for the same seed."""

from __future__ import annotations

import argparse
import logging
import re
import secrets
from collections.abc import Sequence
from typing import Self

import numpy as np

from feeds.simulated_market import Market
from feeds.simulated_symbols import KNOWN, made_up, profile
from ticker.clock import Clock
from ticker.columns import Ints, Ticks
from ticker.feed import Emit, Feed
from ticker.model import Instrument

log = logging.getLogger(__name__)

DEFAULT_RATE = 200.0
SLOWEST_RATE, FASTEST_RATE = 1e-6, 1e7
MOST_SYMBOLS = 100_000
CADENCE_S = 0.01
BACKLOG_S = 1.0
MOST_ROWS = 16_384
"""Rows of a kind in one turn of the loop, so that no turn is longer than some milliseconds."""


class SimulatedFeed(Feed):
    """A simulated stock market: correlated moves, fat tails, a quote after each trade, at any rate.

    Every 10 ms it emits the trades that are due and as many quotes, each the best bid and ask after its trade. When the
    loop stalled it catches up, for one second at most; for longer stalls the market stood still. Which ticks come is a
    matter of the seed and the options alone, never of the clock.
    """

    name = "simulated"
    kinds = ("trades", "quotes")

    def __init__(
        self,
        symbols: Sequence[str] = tuple(KNOWN),
        rate: float = DEFAULT_RATE,
        seed: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.symbols = tuple(symbols)
        self.rate = rate
        self.seed = secrets.randbits(32) if seed is None else seed
        self._market = Market([profile(symbol) for symbol in self.symbols], rate, self.seed)

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        parser.add_argument(
            "--symbols",
            metavar="LIST|N",
            default=None,
            help=f"symbols such as AAPL,MSFT, or how many to make up (default: {len(KNOWN)} well-known US ones)",
        )
        parser.add_argument(
            "--rate",
            metavar="N",
            default=DEFAULT_RATE,
            help="trades a second over all symbols; as many quotes come on top (default: %(default)g)",
        )
        parser.add_argument(
            "--seed",
            metavar="N",
            default=None,
            help="whole number: the same seed and options give the same ticks (default: another one each time, logged)",
        )

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        return cls(parse_symbols(args.symbols), parse_rate(args.rate), parse_seed(args.seed), clock)

    async def prepare(self) -> Sequence[Instrument]:
        log.info("simulating %d symbols at %g trades a second, --seed %d", len(self.symbols), self.rate, self.seed)
        return [instrument(symbol) for symbol in self.symbols]

    async def run(self, emit: Emit) -> None:
        pace, last_s = Pace(self.rate), self.clock.monotonic()
        while True:
            await self.clock.sleep(0.0 if pace.is_behind else CADENCE_S)
            now_us, now_s = self.clock.now() // 1000, self.clock.monotonic()
            time = pace.due(now_s - last_s, now_us)
            last_s = now_s
            if len(time):
                codes, price, size, *quote = self._market.take(len(time))
                emit(Ticks("trades", self.symbols, codes, (time, price, size)))
                emit(Ticks("quotes", self.symbols, codes, (time, *quote)))
            if not pace.is_behind:
                emit.time(now_us * 1000)


def instrument(symbol: str) -> Instrument:
    """Return a symbol's scales. Those with a slash, such as BTC/USD, are coins, whose lots are hundredths of one."""
    if "/" in symbol:
        return Instrument(symbol, size_scale=4, asset_class="crypto")
    return Instrument(symbol)


class Pace:
    """Which rows are due, and when they happened: `rate` a second, after a stall BACKLOG_S worth of them at most."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._owed = 0.0
        self._last_us = 0

    @property
    def is_behind(self) -> bool:
        """Whether more rows are due already."""
        return self._owed >= 1.0

    def due(self, elapsed_s: float, now_us: int) -> Ints:
        """Return the times of the rows to emit now, MOST_ROWS at most: UNIX microseconds, evenly spaced.

        `elapsed_s` is the time since the call before. Times never run backwards, not even when someone sets the
        machine's clock.
        """
        self._owed = min(self._owed + elapsed_s * self._rate, max(1.0, BACKLOG_S * self._rate))
        count = int(min(self._owed, MOST_ROWS))
        if count == 0:
            return np.empty(0, np.int64)
        ago_us = (self._owed - np.arange(1, count + 1)) * (1e6 / self._rate)
        self._owed -= count
        time = np.maximum(now_us - ago_us.astype(np.int64), self._last_us)
        self._last_us = int(time[-1])
        return time


def parse_symbols(text: object) -> tuple[str, ...]:
    """Return the symbols of `--symbols`. Raises ValueError."""
    if text is None:
        return tuple(KNOWN)
    words = [word.strip() for word in str(text).upper().split(",")]
    if len(words) == 1 and re.fullmatch(r"[0-9]+", words[0]):
        if not 1 <= int(words[0]) <= MOST_SYMBOLS:
            raise ValueError(f"--symbols: expected a number between 1 and {MOST_SYMBOLS:,}, got {text}")
        return tuple(made_up(int(words[0])))
    for word in words:
        if not re.fullmatch(r"[A-Z0-9][A-Z0-9./:_-]{0,31}", word):
            raise ValueError(f"--symbols: expected symbols such as AAPL,MSFT or a number of them, got {text!r}")
    if len(set(words)) < len(words):
        twice = next(word for i, word in enumerate(words) if word in words[:i])
        raise ValueError(f"--symbols: expected each symbol once, got {twice} twice")
    return tuple(words)


def parse_rate(text: object) -> float:
    """Return the rows a second of `--rate`. Raises ValueError."""
    try:
        rate = float(str(text))
    except ValueError:
        rate = 0.0
    if not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise ValueError(f"--rate: expected a number above 0, at most {FASTEST_RATE:,.0f}, got {text}")
    return rate


def parse_seed(text: object) -> int | None:
    """Return the seed of `--seed`, None where none is given. Raises ValueError."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,40}", str(text)):
        raise ValueError(f"--seed: expected a whole number of 0 or more, got {text}")
    return int(str(text))
