"""Who may use Alpaca's streams: credentials, the vendor's plans, and how many connections each account has."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from ticker.protocol.alpaca import Credentials


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may do; None is no limit. `symbols` counts the entries of trades and quotes together."""

    connections: int | None = None
    symbols: int | None = None
    excluded: frozenset[str] = frozenset()
    """Feeds that are not part of it."""

    def allows(self, trades: Collection[str], quotes: Collection[str]) -> bool:
        """Tell whether these may be subscribed together; `*` is more than any limit."""
        if self.symbols is None:
            return True
        return "*" not in trades and "*" not in quotes and len(trades) + len(quotes) <= self.symbols


PLANS = {"none": Plan(), "free": Plan(connections=1, symbols=30, excluded=frozenset(("sip",)))}
MOST_STRANGERS = 2000
"""Connections from one address that have yet to authenticate. Old SDKs come back at once after each refusal."""


class Accounts:
    """The accounts of a server. Without `keys`, any key and secret are right for those on this machine."""

    def __init__(self, keys: Collection[Credentials] = (), plan: Plan = PLANS["none"]) -> None:
        self._keys = tuple(keys)
        self.plan = plan
        self._connections: Counter[tuple[str, str]] = Counter()
        self._strangers: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether nobody on this machine needs credentials."""
        return not self._keys

    def know(self, credentials: Credentials, is_local: bool) -> bool:
        """Tell whether these credentials are right."""
        if not credentials.key or not credentials.secret:
            return False
        if not self._keys:
            return is_local
        given = f"{credentials.key}:{credentials.secret}".encode(errors="replace")
        known = [f"{each.key}:{each.secret}".encode() for each in self._keys]
        return sum(hmac.compare_digest(given, each) for each in known) > 0  # each is compared, as long as that takes

    def enter(self, key: str, endpoint: str) -> bool:
        """Count a connection of an account; return whether it may have one more."""
        most = self.plan.connections
        if most is not None and self._connections[key, endpoint] >= most:
            return False
        self._connections[key, endpoint] += 1
        return True

    def leave(self, key: str, endpoint: str) -> None:
        """Count one less."""
        self._connections[key, endpoint] -= 1
        if not self._connections[key, endpoint]:
            del self._connections[key, endpoint]

    def greet(self, peer: str) -> None:
        """Count a connection from an address that has yet to authenticate."""
        self._strangers[peer] += 1

    def part(self, peer: str) -> None:
        """Count one less: it has authenticated, or has gone."""
        self._strangers[peer] -= 1
        if not self._strangers[peer]:
            del self._strangers[peer]

    def are_too_many(self, peer: str) -> bool:
        """Tell whether one more from this address is too much."""
        return self._strangers[peer] >= MOST_STRANGERS
