"""h) How fast is the codec alone, on one core?

    python benchmarks/bench_encoding.py

A block of 500 channels with 1, 10 or 100 rows each, of the simulated market, is encoded to frames again and again.
Counted: ticks for each CPU second.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
from figures import Figure, Measured, arguments, save, take_turns
from harness import SERVER_CORE

from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile
from ticker.columns import Block
from ticker.model import Instrument, Series
from ticker.protocol.native import MsgpackCodec
from ticker.stream.directory import Directory

CHANNELS = 500
CASES = {1: (1.2, 2.0), 10: (7.0, 12.0), 100: (50.0, 100.0)}
"""Rows a channel: what must be reached and what is aimed at, in millions."""


def block_of(rows: int, directory: Directory) -> Block:
    """Return a block with as many rows for each channel."""
    market = Market([profile(each.symbol) for each in directory.instruments], CHANNELS * rows * 20.0, seed=1)
    taken: list[tuple[np.ndarray, ...]] = []
    while not taken or np.bincount(np.concatenate([codes for codes, *_ in taken]), minlength=CHANNELS).min() < rows:
        taken.append(market.take(16_384)[:3])
    codes, price, size = map(np.concatenate, zip(*taken, strict=True))
    order = np.argsort(codes, kind="stable")
    firsts = np.searchsorted(codes[order], np.arange(CHANNELS))
    mine = order[(firsts[:, None] + np.arange(rows)).ravel()]
    time_us = time.time_ns() // 1000 + np.sort(np.random.default_rng(1).integers(0, 50_000, (CHANNELS, rows))).ravel()
    symbols = np.arange(CHANNELS)
    seqs = np.full(CHANNELS, 1_000_000)
    columns = (time_us, price[mine], size[mine])
    return Block(Series("trades"), directory.epoch, 0, symbols, np.arange(CHANNELS + 1) * rows, seqs, columns)


def measure(args: argparse.Namespace, block: Block, directory: Directory) -> Measured:
    """Return million ticks a CPU second."""
    codec, ticks, began = MsgpackCodec(), 0, time.process_time()
    while (elapsed := time.process_time() - began) < args.seconds:
        for _ in range(10):
            codec.encode(block, directory)
        ticks += 10 * len(block)
    return {"millions": ticks / elapsed / 1e6, "shown": f"{ticks / elapsed / 1e6:.2f} million ticks a CPU second"}


@contextmanager
def tied() -> Iterator[None]:
    """Tie this process to the server's core meanwhile."""
    if SERVER_CORE is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(args: argparse.Namespace) -> None:
    """Measure, and write encoding.json."""
    directory = Directory("00000000", [Series("trades")], [Instrument(symbol) for symbol in made_up(CHANNELS)])
    contenders = {f"{rows} rows": partial(measure, args, block_of(rows, directory), directory) for rows in CASES}
    with tied():
        turns = take_turns(contenders, args.rounds)
    figures = [
        Figure(
            "h",
            f"encoding alone, {CHANNELS} channels with {rows} row{'s' * (rows > 1)} each",
            "million ticks a second",
            turns.values(f"{rows} rows", "millions"),
            *bounds,
        )
        for rows, bounds in CASES.items()
    ]
    save("encoding", figures, vars(args), turns, measured=turns.measured)


def main() -> None:
    run(arguments(__doc__, seconds=0.3).parse_args())


if __name__ == "__main__":
    main()
