"""What a token gave to its bearer, and what proved it: so that it can be taken away again."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ticker.access.principal import ANYONE, Principal


class Source(Protocol):
    """Something that knows tokens: a file of them, or a key that they are signed with."""

    @property
    def summary(self) -> str:
        """What it is, for the log."""
        ...

    def authenticate(self, token: str, now_s: float) -> Grant | None:
        """Return what a token gives, None for one that isn't of this source. Raises BadToken."""
        ...

    def renewed(self, grant: Grant) -> Grant | None:
        """Return what a grant of this source is after a re-read (itself, if nothing changed); None if it is no more."""
        ...

    def reload(self) -> None:
        """Read again what this was read from. Raises AccessError, and then everything stays as it was."""
        ...


class Grant(NamedTuple):
    """Who is let in, by whom, and `proof`: the hash of the token, or of the key that had signed it."""

    principal: Principal
    source: Source | None = None
    proof: str = ""


TO_ANYONE = Grant(ANYONE)
"""What everybody has where no token is asked for."""
