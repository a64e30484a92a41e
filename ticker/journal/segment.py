"""One segment while it is written: its files, each write, and when they are on the disk."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ticker.columns import Block
from ticker.journal import ledger
from ticker.journal.folder import Folder
from ticker.journal.ledger import Flush, Head, Piece, Record, Symbols
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
        self.size = 0
        """Bytes written."""
        self.flushes = 0
        """Flushes written."""
        self._directory = directory
        self._commits_path = folder.commits(number)
        self._fds: list[int] = []
        self._commits = -1
        self._dirty: set[int] = set()
        self._schemas = {series: schema_of(series, head.epoch) for series in directory.series}
        self._places = {series: place for place, series in enumerate(directory.series, 1)}
        self._symbols_schema = symbols_schema(columns, head.epoch)
        self._names = pa.array([], pa.string())
        self._known = 0
        try:
            # The commits come first: a number without them is a segment that somebody took apart.
            self._commits = os.open(self._commits_path, _NEW, 0o644)
            self._write(self._commits, ledger.OPEN)
            for path in folder.files(number, directory.series):
                self._fds.append(_created(path))
            pieces = [self._put(0, head_of(self._symbols_schema), 0)]
            pieces += [self._put(place, head_of(self._schemas[series]), 0) for series, place in self._places.items()]
            pieces.append(self._put_symbols(columns))
            self._commit(head._replace(pieces=pieces))
        except OSError:
            self.close()
            raise
        self.head_size = self.size
        """Bytes that it began with."""

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
        dirty, self._dirty = self._dirty, set()
        for fd in sorted(dirty, key=lambda fd: fd == self._commits):
            _sync(fd)

    def mark_as_ended(self) -> None:
        """Make known that rows were offered that are not in here. Raises OSError where no way leads to that."""
        try:
            if os.pwrite(self._commits, ledger.ENDED, 0) == len(ledger.ENDED):
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
        self._write(self._commits, ledger.pack(record))

    def _write(self, fd: int, data: bytes | pa.Buffer) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        self._dirty.add(fd)
        self.size += len(memoryview(data))


def _created(path: Path) -> int:
    return os.open(path, _NEW, 0o644)


def _sync(fd: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync leaves data in the disk's own cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)
