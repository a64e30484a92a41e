"""The text of a file in pieces of whole rows, plain or compressed, with the line that each piece starts at."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

PIECE_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 18
LONGEST_ROW = 1 << 24


class BadFileError(Exception):
    """A file that cannot be replayed; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole rows of a file as bytes. `line` is the number of the first, from 1, as an editor shows it."""

    data: bytes
    line: int

    def cut(self, separator: str, most_bytes: int) -> Iterator[Piece]:
        """Yield the piece cut into smaller ones of whole rows, of about `most_bytes`."""
        at, line = 0, self.line
        while at < len(self.data):
            end = _row_end(self.data, at, at + most_bytes, separator) if at + most_bytes < len(self.data) else 0
            part = self.data[at : end or len(self.data)]
            yield Piece(part, line)
            line += line_breaks(part)
            at += len(part)


def line_breaks(data: bytes) -> int:
    r"""Return how many lines end in `data`: at \n, \r\n or a lone \r."""
    breaks = int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))  # five times as fast as bytes.count
    if b"\r" in data:
        breaks += data.count(b"\r") - data.count(b"\r\n")
    return breaks


def open_bytes(path: str, on_read: Callable[[int], None] | None = None) -> Any:
    """Open a file for reading, decompressed as its first bytes say. `on_read` is told how much of it was read so far.

    Raises BadFileError if it isn't there, is empty, or is an archive.
    """
    try:
        file = pa.PythonFile(_Counted(path, on_read), mode="r") if on_read else pa.OSFile(path, "rb")
        with open(path, "rb") as raw:
            start = raw.read(4)
    except OSError as error:
        raise BadFileError(f"{path}: {error.strerror or error}") from None
    if start[:2] == b"\x1f\x8b":
        return pa.CompressedInputStream(file, "gzip")
    if start == b"\x28\xb5\x2f\xfd":
        return pa.CompressedInputStream(file, "zstd")
    if start[:2] == b"PK" or start[:3] == b"BZh" or start == b"\xfd7zX":
        raise BadFileError(f"{path}: an archive; unpack it, or compress the file with gzip or zstd")
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise BadFileError(f"{path}: UTF-16 text; save it as UTF-8")
    return file


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, path: str, on_read: Callable[[int], None]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 (closed by the stream that reads it)
        self._on_read = on_read
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_read(self._file.tell())
        return data

    def close(self) -> None:
        self.closed = True
        self._file.close()


def read_some(path: str, stream: Any, size: int) -> bytes:
    """Read up to `size` bytes, fewer only at the end. Raises BadFileError for corrupt compressed data."""
    parts = []
    while size > 0:
        try:
            part: bytes = stream.read(size)
        except OSError as error:
            raise BadFileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def sample(path: str) -> tuple[bytes, bool]:
    """Return a file's beginning without its byte order mark, and whether that is all of it. Raises BadFileError."""
    with open_bytes(path) as stream:
        data = read_some(path, stream, SAMPLE_BYTES + 1)
    whole = len(data) <= SAMPLE_BYTES
    data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        raise BadFileError(f"{path}: empty")
    if data[:4096].count(0) > 100:
        raise BadFileError(f"{path}: not text")
    return (data if whole else data[:SAMPLE_BYTES]), whole


def pieces(
    path: str,
    separator: str,
    skip_lines: int = 0,
    size: int = PIECE_BYTES,
    on_read: Callable[[int], None] | None = None,
) -> Iterator[Piece]:
    r"""Yield a file's rows behind its first lines in pieces of about `size` bytes. Raises BadFileError.

    A file whose lines end in a lone \r is given with \n instead.
    """
    with open_bytes(path, on_read) as stream:
        rest, line = read_some(path, stream, size).removeprefix(codecs.BOM_UTF8), 1
        old_mac = b"\r" in rest and b"\n" not in rest
        if old_mac:
            rest = rest.replace(b"\r", b"\n")
        for _ in range(skip_lines):
            rest = rest[_line_end(rest) :]
            line += 1
        more = rest
        while more:
            if end := _row_end(rest, 0, len(rest), separator):
                piece = Piece(rest[:end], line)
                yield piece
                rest = rest[end:]
                line += line_breaks(piece.data)
            elif len(rest) > LONGEST_ROW:
                raise BadFileError(f"{path}:{line}: a row of more than {LONGEST_ROW >> 20} MiB; is a quote missing?")
            more = read_some(path, stream, size)
            rest += more.replace(b"\r", b"\n") if old_mac else more
        if rest:
            yield Piece(rest, line)


def _line_end(data: bytes) -> int:
    found = re.search(rb"\r\n|\n|\r", data)
    return found.end() if found else len(data)


def _row_end(data: bytes, start: int, stop: int, separator: str) -> int:
    """Return where the last row in data[start:stop] ends, 0 if none does. A quoted cell may hold line ends."""
    end = data.rfind(b"\n", start, stop) + 1
    if not end or data.find(b'"', start, end) < 0 or data.count(b'"', start, end) % 2 == 0:
        return end
    # An odd number of quotes: look at each cell that opens with one.
    sign = re.escape(separator.encode())
    quoted = re.compile(rb"(?<![^" + sign + rb'\r\n])"(?:[^"]|"")*(?:"|\Z)')
    spans = [found.span() for found in quoted.finditer(data, start, stop) if b"\n" in found[0]]
    for begin, close in reversed(spans):
        if begin < end <= close:
            end = data.rfind(b"\n", start, begin) + 1
    return end
