"""The gate: who is let in, for how long, and how many times at once."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from ticker.access.errors import AccessError, BadToken
from ticker.access.grant import TO_ANYONE, Grant, Source
from ticker.access.principal import Principal

log = logging.getLogger(__name__)

MOST_CHARACTERS = 8192
"""The longest token that is looked at."""


class Gate:
    """Asks for a token where there are `sources` that know some; without, everyone is let in.

    `now_s` is UNIX time in seconds. `connections` is how many a principal may have unless its token says otherwise.
    """

    def __init__(
        self, sources: Sequence[Source] = (), now_s: Callable[[], float] = time.time, connections: int = 1000
    ) -> None:
        self._sources = tuple(sources)
        self._now_s = now_s
        self._most = connections
        self._connections: Counter[str] = Counter()
        self._expiries: set[float] = set()

    @property
    def is_required(self) -> bool:
        """Whether a token is asked for."""
        return bool(self._sources)

    def authenticate(self, token: str) -> Grant:
        """Return what a token gives. Raises BadToken; where no token is asked for, each is right."""
        if not self._sources:
            return TO_ANYONE
        if len(token) > MOST_CHARACTERS:
            raise BadToken("token: too long")
        now_s = self._now_s()
        for source in self._sources:
            grant = source.authenticate(token, now_s)
            if grant is not None:
                self._note(grant)
                return grant
        raise BadToken("token: not known here")

    def renewed(self, grant: Grant) -> Grant | None:
        """Return what a grant is now: itself, or another if a re-read has changed it; None if it has expired or was
        revoked."""
        if grant.source is not None:
            renewed = grant.source.renewed(grant)
            if renewed is None:
                return None
            if renewed is not grant:
                self._note(renewed)
                grant = renewed
        return None if grant.principal.has_expired(self._now_s()) else grant

    def next_expiry_s(self) -> float:
        """Return in how many seconds the next of those that were let in may expire: 0 if now, infinite if never."""
        now_s = self._now_s()
        if not self._expiries:
            return math.inf
        first = min(self._expiries)
        if first <= now_s:
            self._expiries = {each for each in self._expiries if each > now_s}
        return max(0.0, first - now_s)

    def is_full(self, principal: Principal) -> bool:
        """Tell whether a principal has all the connections that it may have. Whoever isn't asked has no limit here."""
        most = self._most if principal.connections is None else principal.connections
        return self.is_required and self._connections[principal.name] >= most

    def enter(self, principal: Principal) -> bool:
        """Count a connection of a principal; return whether it may have one more."""
        if self.is_full(principal):
            return False
        self._connections[principal.name] += 1
        return True

    def leave(self, principal: Principal) -> None:
        """Count one less."""
        self._connections[principal.name] -= 1
        if self._connections[principal.name] <= 0:
            del self._connections[principal.name]

    def reload(self) -> None:
        """Read tokens and keys again. What cannot be read is logged, and what was known of it stays."""
        for source in self._sources:
            try:
                source.reload()
            except AccessError as error:
                log.error("not read again, what was known stays: %s", error)
            else:
                log.info("read again: %s", source.summary)

    def _note(self, grant: Grant) -> None:
        """Remember when it ends, to a quarter of a second: there are only so many of them."""
        if grant.principal.expires_s is not None:
            self._expiries.add(math.ceil(4 * grant.principal.expires_s) / 4)
