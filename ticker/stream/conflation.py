"""What clients in mode `conflated` are due: everything since a position, merged but never dropped.

A conflated client is a position: the number of the last flush that its last update covers. Its next update is the fold
of all that came after. Clients that stand at the same position share the update, so those of one interval share theirs,
and one that joined in between, or was too slow for the last, just stands elsewhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.stream.bars import Bars
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.runs import merge, updates
from ticker.stream.shelf import Shelf
from ticker.stream.tables import Fold, fold_of, join_folds

MOST_ENTRIES = 16
"""Entries beyond those that positions need before neighbours are joined."""
REMEMBERED_FLUSHES = 64
"""Flushes after which what clients are due is merged, though no interval has ended."""


class Conflation:
    """What the clients in mode `conflated` are due, of every series that one of them listens to."""

    def __init__(
        self, directory: Directory, history: History, bars: Bars, positions: Callable[[], Collection[int]]
    ) -> None:
        """Begin with nothing; `positions` returns where the clients stand."""
        self.ticks = {series: TickUpdates() for series in directory.series if series.kind != "bars"}
        self.bars = {
            series: BarUpdates(series, directory, bars, history[series])
            for series in directory.series
            if series.kind == "bars"
        }
        self._updates: Mapping[Series, Updates] = {**self.ticks, **self.bars}
        self._source = bars.source
        self._positions = positions
        self._listeners: Counter[Series] = Counter()
        self._remembered = 0

    def listen(self, series: Series, one: int) -> None:
        """Count one more who listens to a series, or with -1 one less."""
        self._listeners[series] += one
        if not self._listeners[series]:
            del self._listeners[series]
            self._updates[series].keep(())

    def append(self, blocks: Sequence[Block]) -> None:
        """Take in what a flush numbered: the rows, and which bars these changed."""
        if not self._listeners:
            return
        self._remembered += 1
        if self._remembered >= REMEMBERED_FLUSHES:
            self.forget()
        for block in blocks:
            if block.series in self.ticks:
                if self._listeners[block.series]:
                    self.ticks[block.series].append(block)
            elif self._listeners[block.series]:
                self.bars[block.series].append(block)
            if block.series == self._source:
                for series, updates in self.bars.items():
                    if self._listeners[series] and series != block.series:
                        updates.touch(block)

    def since(self, series: Series, number: int) -> Block | None:
        """Return, as conflated rows, all that flushes after `number` brought to a series; None if nothing."""
        return self._updates[series].since(number)

    def forget(self) -> None:
        """Let go of what no client is due any more."""
        self._remembered = 0
        positions = self._positions()
        for series in self._listeners:
            self._updates[series].keep(positions)


class Updates(Protocol):
    """What happened to the channels of one series since any position in use."""

    def since(self, number: int) -> Block | None:
        """Return, as conflated rows, all that flushes after `number` brought; None if they brought nothing."""

    def keep(self, positions: Collection[int]) -> None:
        """Forget what none of these positions needs."""


class _Entry(NamedTuple):
    """What flushes up to `number` brought, from behind the entry before: runs sorted by symbol."""

    number: int
    symbols: Ints
    seqs: Ints
    missed: Ints | None
    fold: Fold


Numbered = TypeVar("Numbered", _Entry, Block)


class TickUpdates:
    """Updates of trades or quotes: what the rows since a position amount to, a row for each channel (more at gaps)."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._like: Block | None = None
        self._cached: dict[int, Block] = {}

    def __len__(self) -> int:
        """How many stretches of flushes are kept apart."""
        return len(self._entries)

    def append(self, block: Block) -> None:
        """Take in what a flush numbered, or what was read from the history, where runs are in the order of time."""
        entry = _Entry(block.number, block.symbols, block.seqs, block.missed, fold_of(block))
        ascending = bool((entry.symbols[1:] > entry.symbols[:-1]).all())
        self._entries.append(entry if ascending else _join([entry]))
        self._like = block
        self._cached.clear()

    def since(self, number: int) -> Block | None:
        newer = [entry for entry in self._entries if entry.number > number]
        if not newer or self._like is None:
            return None
        oldest = newer[0].number
        if oldest not in self._cached:
            entry = newer[0] if len(newer) == 1 else _join(newer)
            self._cached[oldest] = updates(self._like, entry.symbols, entry.seqs, entry.missed, entry.fold)
        return self._cached[oldest]

    def keep(self, positions: Collection[int]) -> None:
        self._cached.clear()
        if not positions:
            self._entries.clear()
            self._like = None
            return
        oldest = min(positions)
        self._entries = [entry for entry in self._entries if entry.number > oldest]
        if len(self._entries) > MOST_ENTRIES + len(positions):
            stretches = _stretches(self._entries, positions)
            self._entries = [each[0] if len(each) == 1 else _join(each) for each in stretches]


class BarUpdates:
    """Updates of the bars of one interval: those that ended since a position, and the running one if it changed."""

    def __init__(self, series: Series, directory: Directory, bars: Bars, shelf: Shelf) -> None:
        self._series = series
        self._directory = directory
        self._bars = bars
        self._shelf = shelf
        self._ended: list[Block] = []
        self._changed = np.zeros(0, np.int64)
        self._number = -1

    def __len__(self) -> int:
        """How many blocks of bars that have ended are kept."""
        return len(self._ended)

    def touch(self, block: Block) -> None:
        """Note that the running bars of the block's symbols changed."""
        self._grow()
        self._changed[block.symbols] = block.number
        self._number = block.number

    def append(self, block: Block) -> None:
        """Take in the bars that a flush ended."""
        self._ended.append(block)
        self._number = block.number

    def since(self, number: int) -> Block | None:
        parts = [block for block in self._ended if block.number > number]
        running = self.running(np.flatnonzero(self._changed > number))
        if running is not None:
            parts.append(running)
        return replace(merge(parts), conflated=True) if parts else None

    def running(self, symbols: Ints) -> Block | None:
        """Return the running bar of each of these symbols that has one, under the number that it will have."""
        symbols, bars = self._bars.running(self._series.interval_s, symbols)
        if not len(symbols):
            return None
        like = Block(self._series, self._directory.epoch, self._number, symbols, symbols, symbols, ())
        return updates(like, symbols, self._shelf.next_seqs(symbols), None, bars)

    def keep(self, positions: Collection[int]) -> None:
        oldest = min(positions, default=self._number)
        self._ended = [block for block in self._ended if block.number > oldest]
        if len(self._ended) > MOST_ENTRIES + len(positions):
            self._ended = [merge(stretch) for stretch in _stretches(self._ended, positions)]

    def _grow(self) -> None:
        more = len(self._directory) - len(self._changed)
        if more > 0:
            self._changed = np.append(self._changed, np.full(more, -1, np.int64))


def _stretches(items: list[Numbered], positions: Collection[int]) -> list[list[Numbered]]:
    """Return items that no position stands between, together. Positions need not be the number of an item."""
    ascending = sorted(positions)
    stretches: list[list[Numbered]] = []
    passed = -1
    for item in items:
        before = bisect_left(ascending, item.number)
        if before != passed:
            stretches.append([])
            passed = before
        stretches[-1].append(item)
    return stretches


def _join(entries: list[_Entry]) -> _Entry:
    """Return what all entries, which follow each other, amount to; a run with a gap before it stays apart."""
    symbols = np.concatenate([entry.symbols for entry in entries])
    order = np.argsort(symbols, kind="stable")
    symbols = symbols[order]
    fresh = np.append(True, symbols[1:] != symbols[:-1])
    missed = None
    if any(entry.missed is not None for entry in entries):
        each = [np.zeros_like(entry.seqs) if entry.missed is None else entry.missed for entry in entries]
        missed = np.concatenate(each)[order]
        fresh |= missed > 0
    firsts = np.flatnonzero(fresh)
    return _Entry(
        entries[-1].number,
        symbols[firsts],
        np.concatenate([entry.seqs for entry in entries])[order][firsts],
        None if missed is None else missed[firsts],
        join_folds([entry.fold for entry in entries]).take(order).fold(firsts),
    )
