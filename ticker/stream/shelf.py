"""The recent rows of one series, and the state of its channels at any of them.

Flushes come in as small blocks; some hundred of them are joined to one, so that a long history is searched quickly and
costs little besides its rows. What the rows before a joined block amount to is kept with it: the snapshot at any row is
that plus a part of one block.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ticker.columns import Array, Block, Ints
from ticker.model import Series
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns, fill
from ticker.stream.runs import ends_of, folds_by_symbol, merge, rows_before
from ticker.stream.tables import Fold, QuoteUpdates, Table, fold_of
from ticker.summary import Summaries

SETTLED_ROWS = 1 << 14
SETTLED_FLUSHES = 256
"""When the blocks of flushes are joined: at so many rows, or so many blocks."""
SETTLED_ROWS_OF_A_SYMBOL = 8
"""Where there are many symbols, more rows are waited for, lest what is kept with a joined block outweighs its rows."""
NOWHERE = 2**62
"""A position that no row reaches."""


class _Part(NamedTuple):
    """A block that isn't joined any more; `before` is what the rows before it amount to, of the symbols in it."""

    block: Block
    stored_s: float
    before: Table | None
    symbols: Ints  # of `before`, ascending; its rows are numbered by their place here

    @property
    def nbytes(self) -> int:
        tables = sum(column.nbytes for column in self.before.columns) if self.before else 0
        return self.block.nbytes + tables + self.symbols.nbytes + 500


class Shelf:
    """The recent rows of one series. `row_limit` is how many a channel may ask for at most, None for all there are."""

    def __init__(self, series: Series, directory: Directory, row_limit: int | None = None) -> None:
        self.series = series
        self._directory = directory
        self._row_limit = row_limit
        self._parts: list[_Part] = []
        self._tail: list[Block] = []
        self._joined_tail: Block | None = None
        self._tail_rows = 0
        self._tail_since_s = 0.0
        self._next = np.zeros(0, np.int64)
        self._first = np.zeros(0, np.int64)
        self._tail_from = np.zeros(0, np.int64)
        row = QuoteUpdates if series.kind == "quotes" else Summaries
        self._state = Table(row) if series.kind != "bars" else None
        self._before_tail = Table(row) if series.kind != "bars" else None
        self.nbytes = 0
        """What the rows occupy, with all that is kept beside them."""

    def append(self, block: Block, now_s: float) -> None:
        """Keep what a flush numbered. `now_s` is a monotonic time in seconds."""
        self._grow()
        if not self._tail:
            self._tail_since_s = now_s
        self._tail.append(block)
        self._joined_tail = None
        self._tail_rows += len(block)
        self.nbytes += block.nbytes
        self._next[block.symbols] = ends_of(block)
        if self._state is not None:
            self._state.add(block.symbols, fold_of(block))
        enough = max(SETTLED_ROWS, SETTLED_ROWS_OF_A_SYMBOL * len(self._next))
        if self._tail_rows >= enough or len(self._tail) >= SETTLED_FLUSHES:
            self.settle(now_s)

    @property
    def size(self) -> int:
        """One more than the largest symbol number."""
        self._grow()
        return len(self._next)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._tail_rows + sum(len(part.block) for part in self._parts)

    def next_seqs(self, symbols: Ints) -> Ints:
        """Return the number of the next row of each symbol."""
        self._grow()
        return self._next[symbols]

    def kept_from(self, symbols: Ints) -> Ints:
        """Return for each symbol the number behind the last row that was forgotten."""
        self._grow()
        return self._first[symbols]

    def first_seqs(self, symbols: Ints) -> Ints:
        """Return for each symbol the number of the oldest row that can be had; its next one if there is none."""
        first = self.kept_from(symbols)
        return first if self._row_limit is None else np.maximum(first, self._next[symbols] - self._row_limit)

    def state(self, symbols: Ints) -> tuple[Array, Fold]:
        """Return whether these symbols had rows in this epoch, and what all of them amount to. Not for bars."""
        self._grow()
        assert self._state is not None
        return self._state.present[symbols], self._state.get(symbols)

    def state_before(self, symbols: Ints, seqs: Ints) -> tuple[Array, Fold]:
        """Return the same for the rows before `seqs`, none of which lies before `first_seqs`. Not for bars."""
        present, state = self.state(symbols)
        past = seqs < self._next[symbols]
        if not past.any():
            return present, state
        assert self._state is not None
        assert self._before_tail is not None
        table = Table(type(state))
        table.grow(len(self._next))
        table.put(symbols[present & ~past], state.take(present & ~past))
        positions = np.full(len(self._next), -1, np.int64)
        positions[symbols[past]] = seqs[past]

        behind = symbols[past][seqs[past] >= self._tail_from[symbols[past]]]
        if len(behind):
            self._add_state(table, self._join_tail(), positions, behind, self._before_tail, behind)
        positions[behind] = -1
        for part in reversed(self._parts):
            if (positions < 0).all():
                break
            found = _holding(part.block, positions)
            places = np.searchsorted(part.symbols, found)
            assert part.before is not None
            self._add_state(table, part.block, positions, found, part.before, places)
            positions[found] = -1
        return table.present[symbols], table.get(symbols)

    def blocks_after(self, number: int) -> list[Block]:
        """Return, oldest first, the blocks with what flushes after `number` numbered (and perhaps rows before that)."""
        return [block for block in self._blocks() if block.number > number]

    def number_before(self, positions: Ints) -> int:
        """Return a flush number behind which lie all rows from `positions` (by symbol number) on."""
        wanted = np.flatnonzero(positions < self._next)
        left = int((self._next[wanted] - positions[wanted]).sum())
        blocks = self._blocks()
        for i in range(len(blocks) - 1, -1, -1):
            if left <= 0:
                return blocks[i].number
            block = blocks[i]
            starts = block.seqs if block.missed is None else block.seqs - block.missed
            left -= int(np.clip(ends_of(block) - np.maximum(starts, positions[block.symbols]), 0, None).sum())
        return -1

    def checkpoint(self) -> Columns:
        """Return where the channels stand: their next rows, and what all rows so far amount to."""
        self._grow()
        return {"next_seq": self._next, **({} if self._state is None else self._state.checkpoint(len(self._next)))}

    def restore(self, columns: Columns) -> None:
        """Begin from there, without the rows themselves."""
        self._grow()
        for seqs in (self._next, self._first, self._tail_from):
            fill(seqs, columns["next_seq"])
        for table in (self._state, self._before_tail):
            if table is not None:
                table.restore(columns)

    def settle(self, now_s: float) -> None:
        """Join the blocks of the last flushes."""
        if not self._tail:
            return
        block = self._join_tail()
        self.nbytes -= sum(each.nbytes for each in self._tail)
        symbols = np.unique(block.symbols)
        before = None
        if self._state is not None and self._before_tail is not None:
            before = Table(type(self._state.get(symbols[:0])))
            before.grow(len(symbols))
            known = np.flatnonzero(self._before_tail.present[symbols])
            before.put(known, self._before_tail.get(symbols[known]))
            self._before_tail.put(symbols, self._state.get(symbols))
        part = _Part(block, now_s, before, symbols)
        self._tail_from[symbols] = self._next[symbols]
        self._parts.append(part)
        self._tail, self._tail_rows, self._joined_tail = [], 0, None
        self.nbytes += part.nbytes

    @property
    def oldest(self) -> int | None:
        """The number of the flush that the oldest block ends with, None if there is nothing."""
        if self._parts:
            return self._parts[0].block.number
        return self._tail[0].number if self._tail else None

    def evict(self, now_s: float) -> None:
        """Forget the oldest block."""
        if not self._parts:
            self.settle(now_s)
        if self._parts:
            part = self._parts.pop(0)
            self.nbytes -= part.nbytes
            np.maximum.at(self._first, part.block.symbols, ends_of(part.block))

    def trim(self, now_s: float, age_s: float) -> None:
        """Forget blocks that are older than `age_s` seconds, and those of which no channel may ask for a row."""
        if self._tail and now_s - self._tail_since_s >= min(60.0, age_s):
            self.settle(now_s)
        while self._parts and (now_s - self._parts[0].stored_s > age_s or self._is_beyond_limit(self._parts[0].block)):
            self.evict(now_s)

    def _blocks(self) -> list[Block]:
        """Return all blocks, oldest first."""
        tail = self._tail if self._joined_tail is None else [self._joined_tail]
        return [*(part.block for part in self._parts), *tail]

    def _join_tail(self) -> Block:
        """Return the tail as one block, made once between two flushes: thousands may resume there, all cut at once."""
        if self._joined_tail is None:
            is_bars = self.series.kind == "bars"
            units = None if is_bars else self._directory.time_units(np.arange(len(self._directory)))
            self._joined_tail = merge(self._tail, units)
        return self._joined_tail

    def _is_beyond_limit(self, block: Block) -> bool:
        return self._row_limit is not None and bool((ends_of(block) <= self.first_seqs(block.symbols)).all())

    @staticmethod
    def _add_state(table: Table, block: Block, positions: Ints, symbols: Ints, before: Table, places: Ints) -> None:
        """Put into `table` the state of `symbols` at their positions, which lie in a block.

        Rows `places` of `before` are their state where the block begins.
        """
        if not len(symbols):
            return
        known = before.present[places]
        table.put(symbols[known], before.get(places[known]))
        mine = np.full_like(positions, -1)
        mine[symbols] = positions[symbols]
        head = rows_before(block, mine)
        if head is not None:
            table.add(*folds_by_symbol([head]))

    def _grow(self) -> None:
        size = len(self._directory)
        if size > len(self._next):
            more = np.zeros(size - len(self._next), np.int64)
            self._next = np.append(self._next, more)
            self._first = np.append(self._first, more)
            self._tail_from = np.append(self._tail_from, more)
            for table in (self._state, self._before_tail):
                if table is not None:
                    table.grow(size)


def _holding(block: Block, positions: Ints) -> Ints:
    """Return the symbols whose position lies in the block or in what was lost directly before a run of it."""
    starts = block.seqs if block.missed is None else block.seqs - block.missed
    at = positions[block.symbols]
    return np.unique(block.symbols[(starts <= at) & (at < ends_of(block))])
