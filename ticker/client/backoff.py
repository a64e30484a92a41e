"""How long to wait before connecting again: jittered and capped, so that a server that restarts isn't run over."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ticker.protocol.messages import CloseCode

FINAL = frozenset({CloseCode.TOO_BIG, CloseCode.BAD_MESSAGE, CloseCode.UNAUTHENTICATED})
"""Close codes after which connecting again in the same way would end in the same way."""


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first_s` up to `cap_s`, each cut to a random part of itself."""

    first_s: float = 0.25
    cap_s: float = 30.0
    limited_s: float = 10.0
    """The least delay after close code 4029."""
    random: random.Random = field(default_factory=random.Random)
    _failures: int = 0

    def delay(self, close_code: int | None, reconnect_ms: int | None, made_progress: bool) -> float:
        """Return the seconds to wait after a connection that ended, or that never came about.

        `reconnect_ms` is what the server's goodbye asked for; it has spread its clients already.
        """
        if made_progress:
            self._failures = 0
        longest = min(self.cap_s, self.first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        if reconnect_ms is not None:
            return min(reconnect_ms / 1000, 10 * self.cap_s)
        if close_code == CloseCode.LIMIT:
            return self.limited_s + self.random.uniform(0, self.limited_s)
        return self.random.uniform(0, longest)
