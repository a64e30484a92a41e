"""A progress bar for the scan, on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TextIO

_WIDTH = 30
_EVERY_S = 0.1


class Progress:
    """Shows how far the files were read, in place on one line; nothing where `stream` is no terminal."""

    def __init__(self, paths: tuple[str, ...], stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._total = max(1, sum(os.path.getsize(path) for path in paths if os.path.exists(path)))
        self._before = 0
        self._next_s = 0.0

    @contextmanager
    def of(self, path: str) -> Iterator[Callable[[int], None]]:
        """Return what shows that so many bytes of a file were read; at the end the line is cleared."""
        try:
            yield partial(self._show, path)
        finally:
            self._before += os.path.getsize(path)
            if self._stream is not None:
                self._stream.write("\r\x1b[K")
                self._stream.flush()

    def _show(self, path: str, done: int) -> None:
        now = time.monotonic()
        if self._stream is None or now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        share = min(1.0, (self._before + done) / self._total)
        bar = "█" * round(share * _WIDTH)
        self._stream.write(f"\r{bar:·<{_WIDTH}} {share:4.0%} {path.rsplit('/', 1)[-1][:40]}\x1b[K")
        self._stream.flush()
