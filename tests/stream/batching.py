"""A Batcher by itself: what is emitted, and what it publishes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ticker.columns import Block, Ticks, columns_of
from ticker.model import Instrument, Series
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory

TRADES, QUOTES, MINUTES = Series("trades"), Series("quotes"), Series("bars", 60)
SYMBOLS = ("AAPL", "MSFT", "TSLA", "BRK.B", "IBM")
Cells = tuple[int, ...]


class Stage:
    """A Batcher and what it published. The first symbols are announced; the rest may be, later."""

    def __init__(
        self, symbols: Sequence[str] = SYMBOLS, series: Sequence[Series] = (TRADES, QUOTES, MINUTES), folded: Any = ()
    ) -> None:
        self.directory = Directory("e", series, [Instrument(symbol) for symbol in symbols])
        self.flushes: list[list[Block]] = []
        self.batcher = Batcher(self.directory, Bars(self.directory, folded), self.flushes.append, feed="hand")

    @property
    def blocks(self) -> list[Block]:
        return [block for flush in self.flushes for block in flush]

    def emit(
        self, *rows: tuple[str, Cells], series: Series = TRADES, dtype: str = "i8", symbols: tuple[str, ...] = SYMBOLS
    ) -> None:
        self.batcher.emit(ticks(rows, series, dtype, symbols))

    def rows(self, series: Series, symbol: str) -> list[tuple[int, Cells]]:
        """Return the rows of a channel that were published, each with its number."""
        return [row for block in self.blocks if block.series == series for row in self._rows(block, symbol)]

    def missed(self, series: Series, symbol: str) -> dict[int, int]:
        """Return how many rows were missed, by the number of the row after them."""
        return {
            int(block.seqs[run]): int(block.missed[run])
            for block in self.blocks
            if block.series == series and block.missed is not None
            for run in np.flatnonzero((block.symbols == self.directory.numbers[symbol]) & (block.missed > 0))
        }

    def _rows(self, block: Block, symbol: str) -> Iterator[tuple[int, Cells]]:
        for run in np.flatnonzero(block.symbols == self.directory.numbers[symbol]):
            rows = slice(int(block.offsets[run]), int(block.offsets[run + 1]))
            cells = zip(*(column[rows].tolist() for column in block.columns), strict=True)
            yield from enumerate(cells, int(block.seqs[run]))


def ticks(
    rows: Sequence[tuple[str, Cells]], series: Series = TRADES, dtype: str = "i8", symbols: tuple[str, ...] = SYMBOLS
) -> Ticks:
    codes = np.array([symbols.index(symbol) for symbol, _ in rows], dtype)
    width = len(columns_of(series.kind))
    columns = np.array([cells for _, cells in rows], np.int64).reshape(-1, width).T.copy()
    return Ticks(series.kind, symbols, codes, tuple(columns), series.interval_s)
