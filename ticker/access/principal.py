"""A principal: whom the server is talking to, and what that one may see and use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token stands for.

    `symbols` are patterns of `fnmatch`, upper and lower case told apart; one that matches is enough (see
    `stream.views`). `expires_s` is UNIX time in seconds. A limit that is None is the server's own.
    """

    name: str
    symbols: tuple[str, ...] = ("*",)
    expires_s: float | None = None
    connections: int | None = None
    channels: int | None = None
    commands_per_s: int | None = None

    def has_expired(self, now_s: float) -> bool:
        """Tell whether this one's time is over."""
        return self.expires_s is not None and now_s >= self.expires_s


ANYONE = Principal("anyone")
"""Whoever connects to a server that asks nobody for a token."""
