"""The directory of a journal: its lock, its files' names, what belongs to which segment.

00000007.commits            what was written, in order (commits.py)
00000007.symbols.arrows     the instruments, and the state that the segment goes on with
00000007.trades.arrows      rows; quotes, bars-1s, bars-60s, … likewise: streams in Arrow's IPC format
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Self

from ticker.journal import JournalError
from ticker.model import Series

_NAME = re.compile(r"([0-9]{8,})\.(commits|[a-z0-9-]+\.arrows)")
_LOCK = "lock"
_NOT_OURS_BUT_FINE = ("lost+found",)


class Folder:
    """A directory that this process alone keeps a journal in. Raises JournalError where that cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        try:
            path.mkdir(parents=True, exist_ok=True)
            strangers = sorted(name for name in os.listdir(path) if not _belongs(name))
            if strangers:
                raise JournalError(
                    f"journal {path}: there are files in it that are no journal's, such as {strangers[0]!r}; "
                    "choose an empty directory with --journal"
                )
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._take_lock()
        except OSError as error:
            self.close()
            raise JournalError(f"journal {path}: cannot be written here ({error.strerror})") from None

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
            self.close()
            raise JournalError(
                f"journal {self.path}: another server (process {owner or 'unknown'}) keeps its journal here; "
                "choose another directory with --journal"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let others have it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def numbers(self) -> list[int]:
        """The numbers of all segments, oldest first."""
        return sorted({number for number, _ in self._files()})

    def sizes(self) -> dict[int, int]:
        """Return how many bytes each segment occupies, oldest first."""
        sizes = dict.fromkeys(self.numbers, 0)
        for number, path in self._files():
            sizes[number] += path.stat().st_size
        return sizes

    def remove(self, number: int, *, is_unborn: bool = False) -> None:
        """Delete a segment; first its commits, so that a half of it is never taken for a whole. Those of one that never
        had a flush go last: without them it would seem to have had some."""
        paths = [path for each, path in self._files() if each == number]
        for path in sorted(paths, key=lambda path: (path.suffix != ".commits") != is_unborn):
            path.unlink(missing_ok=True)

    def commits(self, number: int) -> Path:
        """Return the file of a segment's commits."""
        return self.path / f"{number:08d}.commits"

    def files(self, number: int, series: tuple[Series, ...]) -> list[Path]:
        """Return the files of a segment's pieces: that of the symbols, then those of the series."""
        names = ["symbols", *(file_name(each) for each in series)]
        return [self.path / f"{number:08d}.{name}.arrows" for name in names]

    def sync(self) -> None:
        """Have the directory itself on the disk."""
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _files(self) -> list[tuple[int, Path]]:
        found = ((_NAME.fullmatch(name), name) for name in os.listdir(self.path))
        return [(int(match[1]), self.path / name) for match, name in found if match is not None]


def file_name(series: Series) -> str:
    """Return how the files of a series are called: `trades`, `bars-60s`."""
    return str(series).replace("/", "-")


def _belongs(name: str) -> bool:
    return name == _LOCK or name.startswith(".") or name in _NOT_OURS_BUT_FINE or _NAME.fullmatch(name) is not None
