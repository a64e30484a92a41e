"""s) What does a journal cost?

    python benchmarks/bench_journal.py

Flushes of 5,000 ticks of 500 symbols (as many trades as quotes) go through the batcher, the history and the encoding
of each channel in msgpack, with a journal on this machine's disk and without one. Counted: ticks for each CPU second of
the thread that does it, and the time that a flush takes. Then a server begins again from what was written: how long
that takes for each million rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from figures import Figure, Measured, arguments, median, save, take_turns

from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile
from ticker.broker.memory import MemoryBroker
from ticker.clock import SystemClock
from ticker.columns import Ticks
from ticker.feed import Feed
from ticker.journal.journal import Journal
from ticker.journal.parts import Parts
from ticker.model import INTERVALS_S, Instrument, Series
from ticker.protocol.native import MsgpackCodec
from ticker.stream.alpaca_days import Days
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import History

SYMBOLS, TICKS, WINDOW_S = 500, 5000, 0.05
SERIES = (Series("trades"), Series("quotes"), *(Series("bars", interval_s) for interval_s in INTERVALS_S))


class Stream:
    """All that a flush goes through but the sockets; with a folder, a journal too."""

    def __init__(self, folder: Path | None, fsync_s: float) -> None:
        instruments = [Instrument(symbol) for symbol in made_up(SYMBOLS)]
        clock, feed = SystemClock(), Feed()
        self.journal = None
        if folder is not None:
            self.journal = Journal(folder, clock, limit_mib=4096, fsync_s=fsync_s, on_stuck=lambda: None)
        past = None if self.journal is None else self.journal.recall(feed, SERIES, instruments)
        directory = Directory("00000000" if past is None else past.epoch, SERIES, instruments)
        bars, broker, codec = Bars(directory, INTERVALS_S), MemoryBroker(), MsgpackCodec()
        history = History(directory, 256, 3600, 128)
        self.batcher = Batcher(directory, bars, broker.publish)
        days = Days(directory, lambda blocks: [codec.encode(block, directory) for block in blocks[:2]])
        if self.journal is not None:
            self.journal.begin(Parts(directory, self.batcher, bars, days, history), feed, past, 3600)
            broker.subscribe(self.journal.publish)
        broker.subscribe(lambda blocks: history.append(blocks, clock.monotonic()))
        broker.subscribe(days.publish)
        if self.journal is not None:
            broker.subscribe(self.journal.settle)


def measure(args: argparse.Namespace, has_journal: bool, fsync_s: float = 1.0) -> Measured:
    """Run one round."""
    market = Market([profile(symbol) for symbol in made_up(SYMBOLS)], TICKS / 2 / WINDOW_S, seed=1)
    symbols, time_us = tuple(made_up(SYMBOLS)), time.time_ns() // 1000
    with tempfile.TemporaryDirectory(prefix="journal-", dir=args.folder) as folder:
        stream = Stream(Path(folder) if has_journal else None, fsync_s)
        cpu_s, took = 0.0, []
        for _ in range(args.flushes):
            codes, price, size, *quote = market.take(TICKS // 2)
            time_us += round(WINDOW_S * 1e6)
            times = np.full(len(codes), time_us)
            began_s, began_cpu_s = time.perf_counter(), time.thread_time()
            stream.batcher.emit(Ticks("trades", symbols, codes, (times, price, size)))
            stream.batcher.emit(Ticks("quotes", symbols, codes, (times, *quote)))
            stream.batcher.time(time_us * 1000)
            stream.batcher.flush()
            cpu_s += time.thread_time() - began_cpu_s
            took.append((time.perf_counter() - began_s) * 1e3)
        measured: Measured = {
            "ticks": args.flushes * TICKS / cpu_s,
            "ms": median(took),
            "p99_ms": np.quantile(took, 0.99),
        }
        shown = f"{measured['ticks'] / 1e6:.2f} million ticks a CPU second, a flush {measured['ms']:.2f} ms"
        if stream.journal is not None:
            rows, size = stream.journal.rows, stream.journal.bytes
            stream.journal.close()
            began_s = time.perf_counter()
            again = Stream(Path(folder), fsync_s)
            restart_s = time.perf_counter() - began_s
            assert again.journal is not None
            assert again.batcher.flushes == stream.batcher.flushes
            again.journal.close()
            measured |= {"bytes": size / rows, "restart_s": restart_s / rows * 1e6}
            shown += f", {size / rows:.0f} bytes a row, {rows:,} rows read again in {restart_s:.1f} s"
    return {**measured, "shown": shown}


def run(args: argparse.Namespace) -> None:
    """Measure, and write journal.json."""
    contenders = {
        "without": partial(measure, args, False),
        "with": partial(measure, args, True),
        "fsync": partial(measure, args, True, 0.0),
    }
    turns = take_turns(contenders, args.rounds)
    others = {"without": turns.values("without", "ms"), "forced to the disk each time": turns.values("fsync", "ms")}
    figures = [
        Figure("s", "with a journal", "of the ticks a CPU second without", turns.ratios("with", "without", "ticks")),
        Figure("s", "with a journal: a flush of 5,000 ticks", "ms", turns.values("with", "ms"), more_is_better=False,
               others=others),
        Figure("s", "a journal's size", "bytes a row", turns.values("with", "bytes"), more_is_better=False),
        Figure("s", "beginning again", "s for a million rows", turns.values("with", "restart_s"), more_is_better=False),
    ]  # fmt: skip
    save("journal", figures, vars(args), turns, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=0)
    parser.add_argument("--flushes", type=int, default=400, help="of each round (default: %(default)s)")
    parser.add_argument("--folder", help="where the journal is written (default: that of temporary files)")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
