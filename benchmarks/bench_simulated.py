"""How many ticks a second can the simulated market make, alone, with nobody to send them to?

`python benchmarks/bench_simulated.py [--symbols N] [--rate N] [--seconds S]`: takes rows from the market in pieces, as
the feed does at that rate, five times over, and prints the median and the spread. A tick is a trade; the quote after
each is made, too, and not counted. One thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time

import numpy as np

from feeds.simulated import CADENCE_S, MOST_ROWS
from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile

RUNS = 5


def measure(market: Market, piece: int, seconds: float) -> float:
    """Return ticks a second over `seconds`, taken `piece` by `piece`."""
    ticks, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        market.take(piece)
        ticks += piece
    return ticks / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--symbols", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=1e6, help="the rate it is made for (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of five runs (default: %(default)g)")
    args = parser.parse_args()
    piece = max(1, min(int(args.rate * CADENCE_S), MOST_ROWS))
    market = Market([profile(symbol) for symbol in made_up(args.symbols)], args.rate, seed=1)
    measure(market, piece, 0.2)  # warm

    rates = sorted(measure(market, piece, args.seconds) for _ in range(RUNS))

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{args.symbols} symbols, made for {args.rate:g} ticks a second, {piece} at a time")
    print(
        f"{statistics.median(rates) / 1e6:.1f} million ticks a second ({rates[0] / 1e6:.1f} to {rates[-1] / 1e6:.1f})"
    )


if __name__ == "__main__":
    main()
