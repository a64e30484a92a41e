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
BURST_S = 0.1
BACKLOG_S = 1.0


class SimulatedFeed(Feed):
    """A simulated stock market: correlated moves, fat tails, a quote after each trade, at any rate.

    Every 10 ms it emits the trades that are due and as many quotes, each the best bid and ask after its trade. When the
    loop stalled it catches up, at most 0.1 s worth of ticks at once and 1 s worth in all; for longer stalls the market
    stood still. Which ticks come is a matter of the seed and the options alone, never of the clock.
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
        return [Instrument(symbol) for symbol in self.symbols]

    async def run(self, emit: Emit) -> None:
        pace = Pace(self.rate)
        last_us, last_s = self.clock.now() // 1000, self.clock.monotonic()
        while True:
            await self.clock.sleep(CADENCE_S)
            # Rows never run backwards in time, not even when someone sets the machine's clock.
            now_us, now_s = max(self.clock.now() // 1000, last_us), self.clock.monotonic()
            if count := pace.due(now_s - last_s):
                self._emit(emit, times(last_us, now_us, count, self.rate))
            emit.time(now_us * 1000)
            last_us, last_s = now_us, now_s

    def _emit(self, emit: Emit, time: Ints) -> None:
        codes, price, size, *quote = self._market.take(len(time))
        emit(Ticks("trades", self.symbols, codes, (time, price, size)))
        emit(Ticks("quotes", self.symbols, codes, (time, *quote)))


class Pace:
    """How many rows are due: `rate` a second; after a stall bounded at once and in all."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._owed = 0.0

    def due(self, elapsed_s: float) -> int:
        """Return the number of rows to emit now, `elapsed_s` after the call before."""
        self._owed = min(self._owed + elapsed_s * self._rate, max(1.0, BACKLOG_S * self._rate))
        count = int(min(self._owed, max(1.0, BURST_S * self._rate)))
        self._owed -= count
        return count


def times(last_us: int, now_us: int, count: int, rate: float) -> Ints:
    """Return `count` UNIX times in microseconds up to now, `rate` a second where `last_us` leaves room for that."""
    span = min(now_us - last_us, int(count / rate * 1e6))
    return np.arange(1, count + 1, dtype=np.int64) * span // count + (now_us - span)


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
