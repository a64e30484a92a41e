"""Merges sources by time, stably: of equal times, the source that was named first comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from feeds.csv_sources import Part, joined
from ticker.columns import Array, Ints


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of one or more series, in order of time over all of them.

    `due` are all rows' times, sorted; `of_part` says for each to which part it belongs (None where there is only one).
    """

    parts: tuple[Part, ...]
    due: Ints
    of_part: Array | None

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Run:
        """Return parts, each sorted, as a run."""
        if len(parts) == 1:
            return cls((parts[0],), parts[0].due, None)
        due = np.concatenate([part.due for part in parts])
        order = np.argsort(due, kind="stable")
        labels = np.repeat(np.arange(len(parts)), [len(part.due) for part in parts])
        return cls(tuple(parts), due[order], labels[order])

    def __len__(self) -> int:
        return len(self.due)

    def cuts(self, at: Ints) -> list[list[int]]:
        """Return for each part the positions at which the run is cut, given those in the whole run (ascending)."""
        if self.of_part is None:
            return [at.tolist()]
        return [np.append(0, np.cumsum(self.of_part == i))[at].tolist() for i in range(len(self.parts))]


def merge(sources: Sequence[Iterator[Part]]) -> Iterator[Run]:
    """Yield the rows of all sources in order of time."""
    if len(sources) == 1:
        for part in sources[0]:
            yield Run.of([part])
        return
    heads: list[Part | None] = [next(source, None) for source in sources]
    while True:
        # What comes up to the head that ends first is complete: later rows of that source are not earlier than its end.
        ends = [(int(head.due[-1]), i) for i, head in enumerate(heads) if head is not None]
        if not ends:
            return
        end, first = min(ends)
        taken: list[Part] = []
        for i, head in enumerate(heads):
            if head is None:
                continue
            stop = int(np.searchsorted(head.due, end, "right" if i <= first else "left"))
            if stop:
                taken.append(head.rows(0, stop))
                heads[i] = head.rows(stop, len(head.due)) if stop < len(head.due) else next(sources[i], None)
        yield Run.of(_by_series(taken))


def _by_series(parts: Sequence[Part]) -> list[Part]:
    """Return parts with those of one series merged into one."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.series, []).append(part)
    merged = []
    for group in groups.values():
        whole = joined(group)
        if len(group) > 1:
            whole = whole.take(np.argsort(whole.due, kind="stable"))
        merged.append(whole)
    return merged
