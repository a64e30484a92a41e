"""Brings the parts of a server to where they were: the newest checkpoint, then each flush as if it came now.

The rows themselves go to the History, from as far back as it keeps any; there the flushes of about half a second are
taken together, which is quicker. Bars and the days of Alpaca need each flush by itself, with the clock that it had, but
only from the newest checkpoint on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from ticker.clock import Clock
from ticker.columns import Block
from ticker.journal import JournalError
from ticker.journal.commits import Flush, Gap
from ticker.journal.parts import Parts
from ticker.journal.past import Past, Written
from ticker.model import Series
from ticker.stream.history import History
from ticker.stream.kept import gather, share, spread

log = logging.getLogger(__name__)

TOGETHER_NS = 500_000_000
"""Flushes of so long, by the machine's clock and by the feed's, are joined for the History: its order is right to a
second."""


def restore(past: Past, parts: Parts, clock: Clock, history_s: float) -> None:
    """Bring the parts to where they were when the journal ended. Raises JournalError if another version wrote it."""
    began = time.monotonic()
    state = past.newest.state()
    if state.keys() != gather(parts.kept).keys():
        raise JournalError("the journal was written by another version; choose an empty directory with --journal")
    names = pa.array([each.symbol for each in past.instruments], pa.string())
    rows = _restore_history(past, parts.history, names, clock, history_s)

    spread({"batcher": parts.batcher, "bars": parts.bars, "days": parts.days}, state)
    reader = _Reader(past.newest, past, names, past.series)
    for record in past.newest.commits.records:
        if isinstance(record, Flush):
            (blocks,) = reader.read([record])
            parts.batcher.follow(blocks, record.clock_ns)
            parts.days.follow(blocks)
        elif isinstance(record, Gap):
            parts.batcher.skip(past.series[record.series - 1], record.symbol, record.missed)
    parts.batcher.resume(past.flushes, past.clock_ns, past.taken)
    log.info(
        "journal: epoch %s goes on behind flush %d; %d rows were read for the history, in %.1f s",
        past.epoch,
        past.flushes - 1,
        rows,
        time.monotonic() - began,
    )


def _restore_history(past: Past, history: History, names: pa.StringArray, clock: Clock, history_s: float) -> int:
    """Give the history its rows: bars as far back as there are any, ticks as far back as it keeps them."""
    now_ns, now_s = clock.now(), clock.monotonic()
    begun: list[Series] = []
    rows = 0
    for segment in past.segments:
        flushes = segment.flushes
        last_ns = flushes[-1].at_ns if flushes else segment.head.at_ns
        wants_ticks = segment is past.newest or now_ns - last_ns < history_s * 1e9
        state = share(segment.state(), "history")
        for series in past.series:
            if series not in begun and (series.kind == "bars" or wants_ticks):
                history[series].restore(share(state, str(series)))
                begun.append(series)
        reader = _Reader(segment, past, names, begun)
        for group in _groups(flushes):
            age_s = max(0.0, (now_ns - group[-1].at_ns) / 1e9)
            for blocks in reader.read(group):
                whole = [_with_missed(block, history) for block in blocks]
                history.append(whole, now_s - age_s)
                rows += sum(map(len, whole))
    return rows


def _with_missed(block: Block, history: History) -> Block:
    """Return a block with how many rows were lost before each of its runs: numbers that no row has."""
    missed = block.seqs - history[block.series].next_seqs(block.symbols)
    return replace(block, missed=missed) if missed.any() else block


def _groups(flushes: Sequence[Flush]) -> Iterator[list[Flush]]:
    """Yield flushes that the History may take together."""
    group: list[Flush] = []
    for flush in flushes:
        if group and not _are_near(group[0], flush):
            yield group
            group = []
        group.append(flush)
    if group:
        yield group


def _are_near(first: Flush, flush: Flush) -> bool:
    if not 0 <= flush.at_ns - first.at_ns < TOGETHER_NS:
        return False
    return (flush.clock_ns or 0) - (first.clock_ns or 0) < TOGETHER_NS


class _Reader:
    """Reads a segment's flushes as blocks, in order; of these series only."""

    def __init__(self, segment: Written, past: Past, names: pa.StringArray, wanted: Sequence[Series]) -> None:
        places = {place: series for place, series in enumerate(past.series, 1) if series in wanted}
        self._epoch = past.epoch
        self._rows = {place: segment.rows(place, series, names) for place, series in places.items()}
        self._at = dict.fromkeys(places, 0)

    def read(self, flushes: Sequence[Flush]) -> list[list[Block]]:
        """Return the next flushes as one, or each by itself where rows are missing in between."""
        counts: Counter[int] = Counter()
        for flush in flushes:
            counts.update({piece.file: piece.rows for piece in flush.pieces if piece.file in self._rows})
        blocks = []
        for place, count in counts.items():
            at = self._at[place]
            block = self._rows[place].block(at, at + count, self._epoch, flushes[-1].number)
            if block is None:
                return [blocks for flush in flushes for blocks in self.read([flush])]
            blocks.append(block)
        for place, count in counts.items():
            self._at[place] += count
        return [blocks]
