"""Who may use Alpaca's streams: credentials, the vendor's plans, and how many connections each account has."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from ticker.access.errors import BadToken
from ticker.access.gate import Gate
from ticker.access.grant import TO_ANYONE, Grant
from ticker.access.principal import Principal
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
    """The accounts of a server: those of the gate, by name and token, and `keys`, pairs for these streams alone.

    Where there are neither, any key and secret are right for those on this machine, or for all if `is_open_to_all`.
    """

    def __init__(
        self,
        keys: Collection[Credentials] = (),
        plan: Plan = PLANS["none"],
        gate: Gate | None = None,
        *,
        is_open_to_all: bool = False,
        auth_s: float = 10.0,
    ) -> None:
        """Make the accounts. `auth_s` is how long a client may take to authenticate."""
        self._keys = tuple(keys)
        self.plan = plan
        self.gate = gate or Gate()
        self.auth_s = auth_s
        self._is_open_to_all = is_open_to_all
        self._connections: Counter[tuple[str, str]] = Counter()
        self._strangers: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        """Whether nobody on this machine needs credentials."""
        return not self._keys and not self.gate.is_required

    def lets_in(self, is_local: bool) -> bool:
        """Tell whether someone needs no credentials."""
        return self.is_open and (is_local or self._is_open_to_all)

    def grant(self, credentials: Credentials, is_local: bool) -> Grant | None:
        """Return what credentials give, None if they are wrong. A token is the secret of the key that is its name, or
        of the key `oauth`."""
        key, secret = credentials.key, credentials.secret
        if not key or not secret:
            return None
        if self.is_open:
            return TO_ANYONE if self.lets_in(is_local) else None
        given = f"{key}:{secret}".encode(errors="replace")
        known = [f"{each.key}:{each.secret}".encode() for each in self._keys]
        if sum(hmac.compare_digest(given, each) for each in known):  # each is compared, as long as that takes
            return Grant(Principal(key))
        if not self.gate.is_required:
            return None
        try:
            grant = self.gate.authenticate(secret)
        except BadToken:
            return None
        return grant if key in (grant.principal.name, "oauth") else None

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
