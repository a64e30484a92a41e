"""What is refused at the door of a feed: counted by reason, each reason logged once with its context."""

from __future__ import annotations

import logging
from collections import Counter

from ticker.feed import REFUSALS
from ticker.model import Series

log = logging.getLogger(__name__)

REASONS = 100
"""Refusals of different reasons, series or symbols that are logged; a feed that finds more has them counted only."""
SHOWN = 128
"""Characters of a symbol that a log line shows."""


class Refusals:
    """Counts rows that are refused. `feed` is the feed's name for the log."""

    def __init__(self, feed: str = "") -> None:
        self.counts: Counter[str] = Counter()
        """Rows refused so far, by one of REFUSALS."""
        self._feed = feed
        self._told: set[tuple[str, str, str]] = set()

    @property
    def is_silent(self) -> bool:
        """Whether so much was logged that nothing more will be."""
        return len(self._told) > REASONS

    def count(self, code: str, rows: int) -> None:
        """Count rows. Raises ValueError if the code is none of REFUSALS."""
        if code not in REFUSALS:
            raise ValueError(f"{code!r} is no reason to refuse rows for; one of {', '.join(REFUSALS)}")
        self.counts[code] += rows

    def tell(self, code: str, what: Series | str, symbol: object, said: str) -> None:
        """Log why rows of a series (and of a symbol, unless that is None) are refused, if it wasn't logged before."""
        whose = "" if symbol is None else f" of {repr(symbol)[:SHOWN]}"
        key = (code, str(what), whose)
        if self.is_silent or key in self._told:
            return
        self._told.add(key)
        if self.is_silent:
            log.warning("feed %s: more than %d refusals were told; others are counted only", self._feed, REASONS)
        else:
            log.warning("feed %s: %s%s refused: %s (told once, counted as `%s`)", self._feed, what, whose, said, code)
