"""Writes every flush to disk before anyone is offered it: segments, their size, when they are forced to the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ticker.clock import Clock
from ticker.columns import Block
from ticker.feed import Feed
from ticker.journal import JournalError
from ticker.journal.boot import boot_id
from ticker.journal.commits import End, Flush, Gap, Head
from ticker.journal.folder import Folder
from ticker.journal.parts import Parts
from ticker.journal.past import Past, recall
from ticker.journal.recovery import restore
from ticker.journal.segment import Segment
from ticker.model import Instrument, Series
from ticker.stream.history import MIB
from ticker.stream.kept import gather

log = logging.getLogger(__name__)

SEGMENTS = 8
"""Segments that a full journal consists of, or so."""
SEGMENT_FLUSHES = 4096
"""Flushes after which a segment ends early: those of the newest are gone through one by one at a start."""
HEAD_SHARE = 4
"""How many times its own beginning it holds by then at least, so that state does not outweigh rows."""


class Journal:
    """The consumer of the Broker that comes first, `publish`, and last, `settle`.

    When a write fails the journal ends, for this run of the server, which goes on: that is logged once, and written
    over the segment's beginning, so that the next start begins a new epoch. Where not even that can be written, the
    flush is not offered and `on_stuck` is called, which should end the server: after a restart it might give the same
    numbers to other rows.
    """

    def __init__(
        self, path: Path, clock: Clock, *, limit_mib: float, fsync_s: float, on_stuck: Callable[[], None]
    ) -> None:
        """Take possession of a directory. Raises JournalError."""
        self._folder = Folder(path)
        self._clock = clock
        self._limit = int(limit_mib * MIB)
        self._fsync_s = fsync_s
        self._on_stuck = on_stuck
        self._is_stuck = self._is_closed = False
        self._boot = boot_id()
        self._syncing = ThreadPoolExecutor(1, "journal-fsync")
        self._trouble: OSError | None = None  # of a thread
        self._older = self._folder.sizes()
        self._feed: Feed
        self._parts: Parts
        self._segment: Segment
        self.rows = 0
        """Rows written."""
        self.fsync_s = 0.0
        """How long it took last to force everything to the disk."""
        self.failed = False
        """Whether the journal has ended before the server."""

    def begin(self, parts: Parts, feed: Feed, past: Past | None, history_s: float) -> None:
        """Bring the parts to where the past (see `recall`) ended, and go on from there. Raises JournalError."""
        self._parts, self._feed = parts, feed
        if past is not None:
            restore(past, parts, self._clock, history_s)
            if feed.identity is not None:
                feed.resume(past.taken)
        try:
            self._older = self._folder.sizes()
            self._segment = self._begun(parts.batcher.flushes, None)
            self._sync(self._segment)  # else a clean end before it might be taken for the last word
            self._folder.sync()
        except OSError as error:
            raise JournalError(f"journal {self._folder.path}: cannot be written ({error.strerror})") from None
        if SEGMENTS * self._segment.head_size > self._limit:
            least = -(-SEGMENTS * self._segment.head_size // MIB)
            self.close()
            raise JournalError(f"--journal-mib: {least} at least are needed for {len(parts.directory):,} symbols")
        parts.batcher.on_gap = self._note_gap

    def recall(self, feed: Feed, series: Sequence[Series], instruments: Sequence[Instrument]) -> Past | None:
        """Return the epoch that a feed goes on with; None where a new one begins."""
        return recall(self._folder, feed, series, instruments)

    @property
    def bytes(self) -> int:
        """What the journal occupies."""
        return sum(self._older.values()) + self._segment.size

    def publish(self, blocks: Sequence[Block]) -> None:
        """Write a flush. Raises JournalError where it must not be offered."""
        if self._is_closed:
            raise JournalError("the journal is closed")
        if self.failed:
            self._refuse_if_stuck()
            return
        try:
            if self._trouble is not None:
                raise self._trouble
            self._segment.append(blocks, self._flush(blocks[0].number))
            if not self._fsync_s:
                self._sync(self._segment)
        except Exception as error:  # a full disk, or whatever else: what is offered must not depend on it
            self._give_up(error)
        else:
            self.rows += sum(map(len, blocks))

    def settle(self, blocks: Sequence[Block]) -> None:
        """Begin another segment if this one is full. To be called when all have taken in the flush."""
        segment = self._segment
        is_long = segment.flushes >= SEGMENT_FLUSHES and segment.size >= HEAD_SHARE * segment.head_size
        if self.failed or not (is_long or segment.size >= self._room(segment.head_size)):
            return
        try:
            self._segment = self._begun(blocks[0].number + 1, segment)
            if self._fsync_s:
                self._syncing.submit(self._finish, segment)
            else:
                self._sync(self._segment)
                self._folder.sync()
                segment.close()
        except Exception as error:
            self._give_up(error)
        else:
            self._older[segment.number] = segment.size

    def note_symbols(self) -> None:
        """Write symbols that were just announced, before any client is told of them."""
        if not self.failed:
            try:
                self._segment.announce()
            except OSError as error:
                self._give_up(error)

    async def sync_on_time(self) -> None:
        """Force to the disk what was written, again and again. Not needed where each flush is."""
        while self._fsync_s and not self.failed:
            await self._clock.sleep(self._fsync_s)
            try:
                await asyncio.get_running_loop().run_in_executor(self._syncing, self._sync, self._segment)
            except OSError as error:
                self._give_up_late(error)

    def close(self) -> None:
        """End it in a way that the next start recognises. What is published now is not to be offered to anyone."""
        self._is_closed = True
        self._syncing.shutdown()
        if not self.failed:
            try:
                if self._trouble is not None:
                    raise self._trouble
                self._segment.note(End())
                self._sync(self._segment)
                self._folder.sync()
            except OSError as error:
                self._give_up(error)
        self._segment.close()
        self._folder.close()

    def _room(self, head_size: int) -> int:
        """Return how many bytes a segment should have that begins with so many."""
        return max(self._limit // SEGMENTS, 2 * head_size)

    def _begun(self, flushes: int, before: Segment | None) -> Segment:
        """Return a new segment behind all others, having made room for it."""
        room = self._room(0 if before is None else before.head_size)
        used = sum(self._older.values()) + (0 if before is None else before.size)
        for number in sorted(self._older):
            if used + room <= self._limit:
                break
            self._folder.remove(number)
            used -= self._older.pop(number)
        series = [(each.kind, each.interval_s) for each in self._parts.directory.series]
        flush = self._flush(flushes)
        head = Head(
            epoch=self._parts.directory.epoch,
            series=series,
            feed=self._feed.name,
            identity=self._feed.identity,
            boot=self._boot,
            is_synced=not self._fsync_s,
            flushes=flushes,
            at_ns=flush.at_ns,
            clock_ns=flush.clock_ns,
            taken=flush.taken,
            pieces=[],
        )
        number = max(self._folder.numbers, default=0) + 1
        return Segment(self._folder, number, self._parts.directory, gather(self._parts.kept), head)

    def _flush(self, number: int) -> Flush:
        taken = [self._parts.batcher.taken[series] for series in self._parts.directory.series]
        return Flush(number, self._clock.now(), self._parts.batcher.clock_ns, taken, [])

    def _note_gap(self, series: Series, symbol: int, missed: int) -> None:
        if not self.failed:
            try:
                self._segment.announce()
                self._segment.note(Gap(self._segment.place(series), symbol, missed))
            except OSError as error:
                self._give_up(error)

    def _sync(self, segment: Segment) -> None:
        began = time.perf_counter()
        segment.sync()
        self.fsync_s = time.perf_counter() - began

    def _finish(self, segment: Segment) -> None:
        """Force a segment to the disk for the last time. Runs in a thread."""
        try:
            segment.sync()
        except OSError as error:
            self._trouble = error
        segment.close()

    def _give_up_late(self, error: BaseException) -> None:
        try:
            self._give_up(error)
        except JournalError:
            pass  # it is logged, and no flush is offered any more

    def _give_up(self, error: BaseException) -> None:
        """End the journal. Raises JournalError where that cannot be written down."""
        if self.failed:
            self._refuse_if_stuck()
            return
        self.failed = True
        try:
            self._segment.mark_as_ended()
        except OSError as another:
            self._is_stuck = True
            log.critical(
                "the journal cannot be written (%s), and that cannot be noted in it (%s): the server stops, because "
                "after a restart it might give the same numbers to other rows",
                error,
                another,
            )
            self._on_stuck()
            self._refuse_if_stuck()
        log.error(
            "the journal has ended, and the server goes on without: %s; the next start begins a new epoch",
            error,
            exc_info=None if isinstance(error, OSError) else error,
        )

    def _refuse_if_stuck(self) -> None:
        if self._is_stuck:
            raise JournalError("the journal can neither be written nor be marked as ended")
