"""A progress bar for the scan, on a terminal."""

from __future__ import annotations

import os
import time
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

    def read(self, path: str, done: int) -> None:
        """Show that `done` bytes of a file were read."""
        now = time.monotonic()
        if self._stream is None or now < self._next_s:
            return
        self._next_s = now + _EVERY_S
        share = min(1.0, (self._before + done) / self._total)
        bar = "█" * round(share * _WIDTH)
        self._stream.write(f"\r{bar:·<{_WIDTH}} {share:4.0%} {path.rsplit('/', 1)[-1][:40]}\x1b[K")
        self._stream.flush()

    def finished(self, path: str) -> None:
        """Take a file as read and clear the line."""
        self._before += os.path.getsize(path)
        self.close()

    def close(self) -> None:
        """Clear the line."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
