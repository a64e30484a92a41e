"""Writes scripts for the peers: finished messages, so that they pay for nothing but bringing them to their clients.

The bytes are our own codec's, of our own simulated market (the format of the file: `peers/play.py`).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile
from ticker.columns import Block, Ticks
from ticker.model import Instrument, Series
from ticker.protocol.native import MsgpackCodec
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory

Entry = tuple[int, bytes]
TRADES = Series("trades")


def tick(channel: int, seq: int, time_us: int, price: int, size: int) -> bytes:
    """Return the data message of one trade, every number in a field of fixed width: a stamp can be put in its place."""
    head = struct.pack(">BBBIBBQ", 0x99, 0x7F & channel, 0xCE, seq, 1, 0xCF, time_us)
    return head + struct.pack(">BBBIBBBIBB", 0xC4, 0, 0xCE, price, 0xC4, 0, 0xCE, size, 0xC4, 0)


def segment(interval_s: float, limit_s: float, flushes: Sequence[Iterable[Entry]], stamped: bool = False) -> bytes:
    """Return a segment of a script."""
    parts = [struct.pack("<IIII", round(interval_s * 1e6), round(limit_s * 1e6), stamped, len(flushes))]
    for flush in flushes:
        entries = list(flush)
        parts.append(struct.pack("<I", len(entries)))
        parts += [struct.pack("<HH", topic, len(payload)) + payload for topic, payload in entries]
    return b"".join(parts)


class Recorder:
    """Records what our server would send of a simulated market."""

    def __init__(self, symbols: int) -> None:
        names = list(made_up(symbols))
        self._symbols = tuple(names)
        self._directory = Directory("00000000", [TRADES], [Instrument(name) for name in names])
        self._batcher = Batcher(self._directory, Bars(self._directory, []), self._publish)
        self._blocks: list[Block] = []
        self._codec = MsgpackCodec()
        self._now_us = time.time_ns() // 1000

    def blocks(self, rate: float, flushes: int, flush_s: float) -> list[Block]:
        """Return the trades of some flushes."""
        market = Market([profile(symbol) for symbol in self._symbols], rate, seed=1)
        self._blocks = []
        rows = max(1, round(rate * flush_s))
        for _ in range(flushes):
            codes, price, size, *_ = market.take(rows)
            times = self._now_us + np.linspace(0, flush_s * 1e6, rows, endpoint=False).astype(np.int64)
            self._batcher.emit(Ticks("trades", self._symbols, codes, (times, price, size)))
            self._batcher.flush()
            self._now_us += round(flush_s * 1e6)
        return self._blocks

    def joined(self, block: Block) -> list[Entry]:
        """Return a flush as we send it: a message for each channel that had rows."""
        frames = self._codec.encode(block, self._directory)
        return [(symbol, _payload(frame)) for symbol, frame in zip(block.symbols.tolist(), frames, strict=True)]

    def ticks(self, block: Block) -> list[Entry]:
        """Return a flush in the order of time, a message for each tick."""
        symbols = np.repeat(block.symbols, block.counts)
        seqs = np.repeat(block.seqs, block.counts) + np.arange(len(block)) - np.repeat(block.offsets[:-1], block.counts)
        channels = self._directory.channels(TRADES, False, symbols)
        order = np.argsort(block.columns[0], kind="stable")
        rows = zip(*(column[order].tolist() for column in (symbols, channels, seqs, *block.columns)), strict=True)
        return [(symbol, self._tick(*row)) for symbol, *row in rows]

    def _tick(self, channel: int, seq: int, time: int, price: int, size: int) -> bytes:
        row = [channel, seq, 1, time, b"", price, b"", size, b""]
        return bytes(self._codec._pack(row))

    def _publish(self, blocks: list[Block]) -> None:
        self._blocks += [block for block in blocks if block.series == TRADES]


def _payload(frame: bytes) -> bytes:
    """Return a frame without its header."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def write(name: str, folder: Path, segments: Sequence[bytes]) -> Path:
    """Write a script; return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.script"
    path.write_bytes(b"".join(segments))
    return path
