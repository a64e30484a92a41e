"""Double entry: what listeners are owed, counted by row numbers, against what became of each row.

    due = delivered + merged + missed + abandoned + owed

`due` is counted here, from the numbers at which subscriptions begin and end, and knows nothing of frames. What became
of the rows is counted by the outboxes, as pieces go out, and knows nothing of numbers. `owed` is what is left, rows
that are on their way; when none are, it is 0, and anything else is a bug.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.outbox import Outbox

Mode = tuple[Series, bool]
"""A series, and whether it is conflated."""


class Ledger:
    """Who listens to what, counted by channel, and how many rows were produced there meanwhile.

    Where symbol numbers are asked for, None stands for all there are, those to come too.
    """

    def __init__(self, directory: Directory, history: History) -> None:
        self._directory = directory
        self._history = history
        self._listeners: dict[Mode, Ints] = {}
        self._of_everything: dict[Mode, int] = {}
        self._unshelved: dict[Series, Ints] = {}
        self._settled = 0

    def published(self, blocks: Sequence[Block]) -> None:
        """Count the rows of series that no history numbers."""
        for block in blocks:
            if block.series not in self._directory.series:
                rows = self._unshelved[block.series] = self._grown(self._unshelved.get(block.series))
                rows[block.symbols] += block.counts

    def begin(
        self, outbox: Outbox, mode: Mode, numbers: Collection[int] | Ints | None, first: Ints | None = None
    ) -> None:
        """Let a client be owed what comes from the rows `first` on; None is the next ones."""
        seqs = self._next_seqs(mode[0], numbers) if first is None else first
        self._count(mode, numbers, 1)
        start = int(seqs.sum())
        self._settled -= start
        outbox.promised -= start

    def end(self, outbox: Outbox, mode: Mode, numbers: Collection[int] | Ints | None, owed: int = 0) -> None:
        """Let a client be owed nothing more of these channels. `owed` rows of them will never be sent."""
        stop = int(self._next_seqs(mode[0], numbers).sum())
        self._count(mode, numbers, -1)
        self._settled += stop
        outbox.promised += stop
        outbox.abandon(owed)

    @property
    def due(self) -> int:
        """Rows produced so far in channels while someone listened, each as often as there were listeners."""
        due = self._settled
        for mode, counts in self._listeners.items():
            listened = np.flatnonzero(counts)
            due += int(counts[listened] @ self._next_seqs(mode[0], listened))
        for mode, count in self._of_everything.items():
            due += count * int(self._next_seqs(mode[0], None).sum())
        return due

    @property
    def subscriptions(self) -> Mapping[Mode, int]:
        """How many channels are listened to, each as often as it has listeners."""
        found = {mode: int(counts.sum()) for mode, counts in self._listeners.items()}
        for mode, count in self._of_everything.items():
            found[mode] = found.get(mode, 0) + count * len(self._directory)
        return found

    def _count(self, mode: Mode, numbers: Collection[int] | Ints | None, one: int) -> None:
        if numbers is None:
            self._of_everything[mode] = self._of_everything.get(mode, 0) + one
        elif len(numbers):
            counts = self._listeners[mode] = self._grown(self._listeners.get(mode))
            counts[_array(numbers)] += one

    def _next_seqs(self, series: Series, numbers: Collection[int] | Ints | None) -> Ints:
        wanted = np.arange(len(self._directory)) if numbers is None else _array(numbers)
        if series in self._directory.series:
            return self._history[series].next_seqs(wanted)
        rows = self._unshelved[series] = self._grown(self._unshelved.get(series))
        return rows[wanted]

    def _grown(self, column: Ints | None) -> Ints:
        """Return a column with a place for every symbol."""
        if column is None:
            return np.zeros(len(self._directory), np.int64)
        more = len(self._directory) - len(column)
        return np.append(column, np.zeros(more, np.int64)) if more > 0 else column


def _array(numbers: Collection[int] | Ints) -> Ints:
    return numbers if isinstance(numbers, np.ndarray) else np.fromiter(numbers, np.int64, len(numbers))
