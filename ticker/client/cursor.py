"""Which row of a channel comes next: proves that none is missing and none comes twice. No I/O.

A cursor takes the rows of one channel in the order of their arrival. `seq` is always the row to ask for on resuming.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ticker.client.errors import ProtocolError
from ticker.columns import Array


class Step(NamedTuple):
    """What a run of rows amounts to: `missed` before it, `cut` that were here already, `rows` that it stands for.

    `rows` are counted as the server counts them for its heartbeat, those that are cut included.
    """

    missed: int
    cut: int
    rows: int


class Cursor:
    """Follows a channel in which each row is one row: everything in mode `all`."""

    __slots__ = ("seq",)

    def __init__(self, seq: int) -> None:
        self.seq = seq

    def advance(self, seq: int, columns: tuple[Array, ...]) -> Step:
        """Take rows that begin with number `seq`; afterwards the row behind them is expected."""
        rows = len(columns[0])
        expected = self.seq
        if seq == expected:
            self.seq = seq + rows
            return Step(0, 0, rows)
        self.seq = max(expected, seq + rows)
        return Step(max(0, seq - expected), min(rows, max(0, expected - seq)), rows)

    def skip(self, seq: int) -> int:
        """Take a `gap`: the next row is `seq`. Return how many rows that were expected are lost."""
        lost = max(0, seq - self.seq)
        self.seq = max(self.seq, seq)
        return lost


class CountedCursor(Cursor):
    """Follows conflated trades or quotes: a row stands for `count` rows, which its last column tells."""

    __slots__ = ()

    def advance(self, seq: int, columns: tuple[Array, ...]) -> Step:
        """Take rows that begin with number `seq`.

        Raises ProtocolError if a row stands for nothing, or for rows of which only some were here already: it could be
        neither taken nor left.
        """
        counts = columns[-1]
        expected = self.seq
        if len(counts) == 1:
            rows = least = int(counts[0])
        else:
            rows, least = int(counts.sum()), int(counts.min())
        if least < 1:
            raise ProtocolError(f"a conflated row stands for {least} rows")
        self.seq = max(expected, seq + rows)
        if seq >= expected:
            return Step(seq - expected, 0, rows)
        ends = seq + np.cumsum(counts)
        cut = int(np.searchsorted(ends, expected, side="right"))
        if cut < len(counts) and (seq if cut == 0 else int(ends[cut - 1])) != expected:
            raise ProtocolError(f"a conflated row begins before row {expected}, which is the next, and ends behind it")
        return Step(0, cut, rows)


class RunningCursor(Cursor):
    """Follows conflated bars: the running bar comes again and again under the number that it will have when it ends.

    `seq` is the running bar's number: until a later one comes nobody can tell that it has ended, so a resume asks for
    it again. `seen` says that the bar was here in some state, so that the next one may follow.
    """

    __slots__ = ("seen",)

    def __init__(self, seq: int, seen: bool = False) -> None:
        super().__init__(seq)
        self.seen = seen

    def advance(self, seq: int, columns: tuple[Array, ...]) -> Step:
        """Take bars that begin with number `seq`; the last of them is the running one from now on."""
        rows = len(columns[0])
        cut = min(rows, max(0, self.seq - seq))
        if cut == rows:
            return Step(0, cut, rows)
        missed = max(0, seq - self.seq - self.seen)
        self.seq = seq + rows - 1
        self.seen = True
        return Step(missed, cut, rows)

    def skip(self, seq: int) -> int:
        """Take a `gap`: the next bar is `seq`. Return how many bars that were expected are lost."""
        lost = max(0, seq - self.seq - self.seen)
        if seq > self.seq:
            self.seq, self.seen = seq, False
        return lost


def cursor_for(kind: str, conflated: bool, seq: int, seen: bool = False) -> Cursor:
    """Return the cursor that a channel of this kind and mode needs."""
    if not conflated:
        return Cursor(seq)
    return RunningCursor(seq, seen) if kind == "bars" else CountedCursor(seq)
