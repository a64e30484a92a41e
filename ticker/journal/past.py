"""What a journal has: reads and checks its segments, and says whether the same epoch can go on.

It can if nothing that a client may have seen is missing: the process ended, however, but the machine didn't; or the
server was stopped properly; or each flush was on the disk before it was offered.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from ticker.columns import Array
from ticker.feed import Feed
from ticker.journal import JournalError
from ticker.journal.boot import boot_id
from ticker.journal.commits import Commits, End, Flush, Head, Piece, read
from ticker.journal.folder import Folder
from ticker.journal.rows import Rows, instruments_of, state_of
from ticker.model import Instrument, Series

log = logging.getLogger(__name__)


class Lost(Exception):
    """The epoch cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """A segment that is whole."""

    number: int
    commits: Commits
    paths: Sequence[Path]
    """The files of its pieces: that of the symbols, then those of the series."""

    @property
    def head(self) -> Head:
        return self.commits.head

    @property
    def flushes(self) -> list[Flush]:
        return [each for each in self.commits.records if isinstance(each, Flush)]

    def symbols(self) -> pa.Table:
        """Return the file of symbols."""
        return self._table(0)

    def state(self) -> dict[str, Array]:
        """Return the state that it began with."""
        return state_of(self.symbols().to_batches()[0])

    def rows(self, place: int, series: Series, names: pa.StringArray) -> Rows:
        """Return what one of its files has."""
        return Rows.of(series, self._table(place), names)

    def _table(self, place: int) -> pa.Table:
        with pa.memory_map(str(self.paths[place])) as source, pa.ipc.open_stream(source) as stream:
            return stream.read_all()


class Past:
    """The whole segments of an epoch, oldest first."""

    def __init__(self, segments: Sequence[Written]) -> None:
        self.segments = segments
        self.newest = segments[-1]
        head = self.newest.head
        self.epoch = head.epoch
        self.series = tuple(Series(*each) for each in head.series)
        self.instruments: list[Instrument] = instruments_of(self.newest.symbols())
        flushes = self.newest.flushes
        last: Head | Flush = flushes[-1] if flushes else head
        self.clock_ns = last.clock_ns
        self.taken = dict(zip(self.series, last.taken, strict=True))
        self.flushes = self.newest.commits.flushes

    def check(self, feed: Feed, series: Sequence[Series], instruments: Sequence[Instrument]) -> None:
        """Raise Lost if a feed cannot go on with this epoch."""
        head = self.newest.head
        if head.feed != feed.name:
            raise Lost(f"the feed was {head.feed} then")
        if head.identity != feed.identity:
            raise Lost("what is replayed is not the same")
        if feed.replay is not None and feed.identity is None:
            raise Lost("this replay cannot go on in the middle")
        if self.series != tuple(series):
            raise Lost("the feed has other kinds of rows now")
        known = {each.symbol: each for each in self.instruments}
        for each in instruments:
            if known.get(each.symbol, each) != each:
                raise Lost(f"the scales of {each.symbol} have changed")


def recall(folder: Folder, feed: Feed, series: Sequence[Series], instruments: Sequence[Instrument]) -> Past | None:
    """Return what a feed goes on from; None where a new epoch begins, which is logged if there was another. Raises
    JournalError if its files cannot be read at all."""
    try:
        past = find(folder)
        if past is not None:
            past.check(feed, series, instruments)
    except Lost as reason:
        log.warning("journal: a new epoch begins, since the one that was cannot go on: %s", reason)
        return None
    except OSError as error:
        raise JournalError(f"journal {folder.path}: cannot be read ({error.strerror}: {error.filename})") from None
    return past


def find(folder: Folder) -> Past | None:
    """Return what can be gone on from, with torn tails cut off; None if there is nothing. Raises Lost."""
    numbers = folder.numbers
    while numbers and _is_unborn(folder, numbers[-1]):
        folder.remove(numbers.pop(), is_unborn=True)
    if not numbers:
        return None
    newest = _written(folder, numbers[-1])
    _trust(newest.commits)
    _check_pieces(newest)
    _cut(folder, newest)
    segments = [newest]
    for number in reversed(numbers[:-1]):
        try:
            older = _written(folder, number)
            if older.head.epoch != newest.head.epoch or older.commits.has_ended:
                break
            if older.commits.damage or older.commits.torn or older.commits.flushes != segments[0].head.flushes:
                raise Lost("flushes are missing at its end")
            _check_pieces(older)
        except Lost as reason:
            log.warning("journal: segment %d cannot be read, so the history begins behind it: %s", number, reason)
            break
        segments.insert(0, older)
    try:
        return Past(segments)
    except ValueError as error:
        raise Lost(f"its symbols cannot be read ({error})") from None


def _is_unborn(folder: Folder, number: int) -> bool:
    """Tell whether a process was killed while it began this segment: then nothing in it was offered to anyone."""
    path = folder.commits(number)
    if not path.exists():
        return False
    commits = read(path.read_bytes())
    return (
        not commits.records
        and not commits.has_ended
        and (not commits.damage or (not commits.size and commits.is_at_end))
    )


def _written(folder: Folder, number: int) -> Written:
    """Return a segment. Raises Lost if not even its head can be read."""
    try:
        commits = read(folder.commits(number).read_bytes())
    except FileNotFoundError:
        raise Lost(
            f"the commits of segment {number} are not there: its disk was full, or somebody removed them"
        ) from None
    if not commits.records:
        raise Lost(f"segment {number} is damaged: {commits.damage}")
    return Written(number, commits, folder.files(number, tuple(Series(*each) for each in commits.head.series)))


def _trust(commits: Commits) -> None:
    """Raise Lost unless everything that was offered is committed."""
    if commits.has_ended:
        raise Lost("it could not be written any more, by a full disk perhaps, and the server went on without")
    head, boot = commits.head, boot_id()
    is_same_boot = head.boot == boot != ""
    if not (is_same_boot or head.is_synced or isinstance(commits.records[-1], End)):
        raise Lost("the machine was started anew since, so the last rows may not have reached the disk")
    if commits.damage and not (head.is_synced and not is_same_boot and commits.is_at_end):
        raise Lost(commits.damage)


def _check_pieces(segment: Written) -> None:
    """Raise Lost if a file lacks what the commits say, or has something else there."""
    at = [0] * len(segment.paths)
    try:
        files = [memoryview(path.read_bytes()) for path in segment.paths]
    except OSError as error:
        raise Lost(f"{error.filename}: {error.strerror}") from None
    for piece in segment.commits.pieces:
        start = at[piece.file]
        at[piece.file] += piece.size
        data = files[piece.file][start : at[piece.file]]
        if len(data) < piece.size or zlib.crc32(data) != piece.crc:
            raise Lost(f"the CRC of what {segment.paths[piece.file].name} has at byte {start} is wrong")


def _cut(folder: Folder, segment: Written) -> None:
    """Cut off what was written of a flush that isn't whole."""
    ends = _ends(segment.commits.pieces, len(segment.paths))
    ends_of = dict(zip(segment.paths, ends, strict=True)) | {folder.commits(segment.number): segment.commits.size}
    torn = 0
    for path, end in ends_of.items():
        size = path.stat().st_size
        if size > end:
            torn += size - end
            os.truncate(path, end)
    if torn:
        log.warning(
            "journal: the server was killed while it wrote flush %d: %d bytes of it are cut off; it was never offered "
            "to anyone",
            segment.commits.flushes,
            torn,
        )


def _ends(pieces: Sequence[Piece], files: int) -> list[int]:
    """Return where each file ends whose pieces these are."""
    return [
        list(accumulate((piece.size for piece in pieces if piece.file == file), initial=0))[-1] for file in range(files)
    ]
