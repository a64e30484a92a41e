"""How fast are rows encoded for Alpaca's streams, against the libraries that pack a map for each row?

    python benchmarks/bench_alpaca_encoding.py                 flushes of 1,000 trades of 500 symbols, and of 50,000
    python benchmarks/bench_alpaca_encoding.py --rows 10000

Both get the same rows in the same process, in turn: columns for ours, as a flush has them; maps that are made
beforehand for msgpack's Packer and for json.dumps, which is the smaller part of their work. The bytes are decoded once
and compared. Rounds alternate, and the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
from harness import machine, median

from ticker.columns import Block, offsets_of
from ticker.model import Instrument, Series
from ticker.protocol.alpaca_codec import AlpacaCodec
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.alpaca_msgpack import MsgpackAlpacaCodec
from ticker.stream.directory import Directory

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def made_up(rows: int, symbols: int) -> tuple[Directory, Block]:
    """Return a flush of trades: microseconds, cents, lots of random symbols of two to four letters."""
    chance = np.random.default_rng(1)
    names = ["".join(chance.choice(list(LETTERS), 2 + i % 3)) + LETTERS[i % 26] + str(i) for i in range(symbols)]
    directory = Directory("9f2c51d0", [Series("trades")], [Instrument(name[-4:]) for name in dict.fromkeys(names)])
    row_symbols = np.sort(chance.integers(0, len(directory), rows))
    found, counts = np.unique(row_symbols, return_counts=True)
    start = 1_795_404_000_000_000
    return directory, Block(
        Series("trades"),
        directory.epoch,
        0,
        found,
        offsets_of(counts),
        chance.integers(0, 10**6, len(found)),
        (
            start + chance.integers(1, 50_000, rows),
            chance.integers(1_000, 100_000, rows),
            chance.integers(1, 20, rows) * 100,
        ),
    )


def rate(rows: int, work: Callable[[], Any], seconds: float) -> float:
    """Return how many rows a second some work does."""
    times, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        work()
        times += 1
    return rows * times / (time.perf_counter() - begun)


def compare(name: str, rows: int, ours: Callable[[], Any], theirs: Callable[[], Any], args: argparse.Namespace) -> None:
    """Print both rates, and their ratio."""
    rounds = [(rate(rows, ours, args.seconds), rate(rows, theirs, args.seconds)) for _ in range(args.rounds)]
    one, other = (median(each[i] for each in rounds) for i in (0, 1))
    ratios = sorted(each[0] / each[1] for each in rounds)
    print(
        f"  {name:28} {one / 1e6:8.2f} million rows a second, the library alone {other / 1e6:6.2f}: "
        f"{median(ratios):5.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 50_000], help="rows of a flush")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(" ".join(f"{name} {value}" for name, value in machine().items()))
    for rows in args.rows:
        directory, block = made_up(rows, args.symbols)
        counts = block.counts.tolist()

        def joined(codec: AlpacaCodec, block: Block = block, counts: list[int] = counts) -> list[bytes]:
            return codec.encode(block, directory)  # noqa: B023

        packed, text = MsgpackAlpacaCodec("us_equity", directory), JsonAlpacaCodec("us_equity", directory)
        maps = [each for part in joined(packed) for each in _unpacked(part)]
        assert [(each["i"] & 0xFFFFFFFF, each["s"], round(each["p"] * 100)) for each in maps] == _rows(block)
        lines = [json.loads(line) for part in joined(text) for line in part.decode().split(",\n") if line]
        assert [each["p"] for each in lines] == [each["p"] for each in maps]
        pack = msgpack.Packer(use_bin_type=True).pack
        print(f"{rows:,} trades of {len(directory)} symbols in a flush")
        compare("msgpack", rows, lambda: joined(packed), lambda: [pack(each) for each in maps], args)  # noqa: B023
        compare("JSON", rows, lambda: joined(text), lambda: [json.dumps(each) for each in lines], args)  # noqa: B023


def _rows(block: Block) -> list[tuple[int, int, int]]:
    """Return number, size and price of each row."""
    numbers = np.repeat(block.seqs - block.offsets[:-1], block.counts) + np.arange(len(block))
    return list(zip(numbers.tolist(), block.columns[2].tolist(), block.columns[1].tolist(), strict=True))


def _unpacked(part: bytes) -> list[dict[str, Any]]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(part)
    return list(unpacker)


if __name__ == "__main__":
    main()
