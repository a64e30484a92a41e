"""Keeps what lives as long as its connection out of the garbage collector's sight.

Ten thousand connections are some million objects that are no garbage. A full collection looks at all of them, for a
third of a second, in which nobody is served (measured by `benchmarks/bench_connections.py`).
"""

from __future__ import annotations

import gc

MANY = 256


class LongLived:
    """Freezes what is alive when many connections have come; looks for garbage in it when most of them have gone."""

    def __init__(self) -> None:
        self._frozen = 0

    def note(self, connections: int) -> None:
        """Take note of how many connections are open. To be called about once a second."""
        if connections >= self._frozen + MANY:
            gc.freeze()
            self._frozen = connections
        elif connections < self._frozen // 2:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._frozen = connections
