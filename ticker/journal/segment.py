"""One segment while it is written: its files, each write, and when they are on the disk."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ticker.columns import Block
from ticker.journal import commits
from ticker.journal.commits import Flush, Head, Piece, Record, Symbols
from ticker.journal.folder import Folder
from ticker.journal.rows import batch_of, head_of, schema_of, symbols_batch, symbols_schema
from ticker.model import Series
from ticker.stream.directory import Directory
from ticker.stream.kept import Columns

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Segment:
    """A segment that grows. What a method writes is there once it returned: OSError means that it isn't.

    The record of commits is written last, so what is cut short leaves pieces without a record, or half a record.
    `sync` may be called in another thread.
    """

    def __init__(self, folder: Folder, number: int, directory: Directory, columns: Columns, head: Head) -> None:
        """Begin a segment with this state; the head's pieces are filled in."""
        self.number = number
        self.flushes = 0
        """Flushes written."""
        self._directory = directory
        self._commits_path = folder.commits(number)
        self._fds: list[int] = []
        self._commits = -1
        self._written: dict[int, int] = {}
        self._synced: dict[int, int] = {}
        self._schemas = {series: schema_of(series, head.epoch) for series in directory.series}
        self._places = {series: place for place, series in enumerate(directory.series, 1)}
        self._symbols_schema = symbols_schema(columns, head.epoch)
        self._names = pa.array([], pa.string())
        self._known = 0
        try:
            # The commits come first: a number without them is a segment that somebody took apart.
            self._commits = self._created(self._commits_path)
            self._write(self._commits, commits.OPEN)
            for path in folder.files(number, directory.series):
                self._fds.append(self._created(path))
            pieces = [self._put(0, head_of(self._symbols_schema), 0)]
            pieces += [self._put(place, head_of(self._schemas[series]), 0) for series, place in self._places.items()]
            pieces.append(self._put_symbols(columns))
            self._commit(head._replace(pieces=pieces))
        except OSError:
            self.close()
            raise
        self.head_size = self.size
        """Bytes that it began with."""

    @property
    def size(self) -> int:
        """Bytes written."""
        return sum(self._written.values())

    def append(self, blocks: Sequence[Block], flush: Flush) -> None:
        """Write a flush, whole or not at all; its pieces are filled in."""
        self.announce()
        pieces = []
        for block in blocks:
            batch = batch_of(block, self._names, self._schemas[block.series])
            pieces.append(self._put(self._places[block.series], batch.serialize(), len(block)))
        self._commit(flush._replace(pieces=pieces))
        self.flushes += 1

    def announce(self) -> None:
        """Write the symbols that are new in the directory, if there are any."""
        if len(self._directory) > self._known:
            self._commit(Symbols([self._put_symbols({})]))

    def note(self, record: Record) -> None:
        """Write a record that has no pieces."""
        self._commit(record)

    def place(self, series: Series) -> int:
        """Return the number of a series among the segment's files."""
        return self._places[series]

    def sync(self) -> None:
        """Have everything that was written so far on the disk, the commits last."""
        for fd in (*self._fds, self._commits):
            written = self._written[fd]
            if written > self._synced[fd]:
                _sync(fd)
                self._synced[fd] = written

    def mark_as_ended(self) -> None:
        """Make known that rows were offered that are not in here. Raises OSError where no way leads to that."""
        try:
            if os.pwrite(self._commits, commits.ENDED, 0) == len(commits.ENDED):
                _sync(self._commits)
                return
        except OSError:
            pass
        # Where even that needs room (file systems that copy on write), a number without commits says the same.
        os.unlink(self._commits_path)

    def close(self) -> None:
        """Close the files."""
        fds, self._fds, self._commits = [*self._fds, self._commits], [], -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def _put_symbols(self, columns: Columns) -> Piece:
        fresh = self._directory.instruments[self._known :]
        batch = symbols_batch(fresh, columns, self._symbols_schema)
        piece = self._put(0, batch.serialize(), len(fresh))
        self._names = pa.concat_arrays([self._names, pa.array([each.symbol for each in fresh], pa.string())])
        self._known += len(fresh)
        return piece

    def _put(self, place: int, data: pa.Buffer, rows: int) -> Piece:
        self._write(self._fds[place], data)
        return Piece(place, data.size, zlib.crc32(data), rows)

    def _commit(self, record: Record) -> None:
        self._write(self._commits, commits.pack(record))

    def _write(self, fd: int, data: bytes | pa.Buffer) -> None:
        left = memoryview(data)
        while left:
            left = left[write_some(fd, left) :]
        self._written[fd] += len(memoryview(data))

    def _created(self, path: Path) -> int:
        fd = os.open(path, _NEW, 0o644)
        self._written[fd] = self._synced[fd] = 0
        return fd


def write_some(fd: int, data: memoryview) -> int:
    """Write as much of the data as the system takes; return how many bytes that was. All writes go through here."""
    return os.write(fd, data)


def _sync(fd: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves data in the disk's own cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)
