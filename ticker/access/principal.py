"""A principal: whom the server is talking to, and what that one may see and use."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for.

    `symbols` are patterns of `fnmatch`, upper and lower case told apart; one that matches is enough. `expires_s` is
    UNIX time in seconds. A limit that is None is the server's own.
    """

    name: str
    symbols: tuple[str, ...] = ("*",)
    expires_s: float | None = None
    connections: int | None = None
    channels: int | None = None
    commands_per_s: int | None = None

    @property
    def may_see_all(self) -> bool:
        """Whether no symbol is forbidden, of those to come neither."""
        return "*" in self.symbols

    def has_expired(self, now_s: float) -> bool:
        """Tell whether this one's time is over."""
        return self.expires_s is not None and now_s >= self.expires_s

    def may_see(self, symbol: str) -> bool:
        """Tell whether this one may see a symbol."""
        return self.may_see_all or any(fnmatchcase(symbol, pattern) for pattern in self.symbols)


ANYONE = Principal("anyone")
"""Whoever connects to a server that asks nobody for a token."""
