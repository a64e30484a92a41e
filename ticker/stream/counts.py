"""What has happened on a server since it began, counted where it happens, for whoever shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Counters of what is rare. What happens to every row is counted in columns, by the parts that do it."""

    opened: int = 0
    """Connections whose handshake succeeded."""
    closes: Counter[str] = field(default_factory=Counter)
    """Connections that ended, by reason: a name of CloseCode in lower case, `gone` where the peer went by itself or was
    dead."""
    refusals: Counter[str] = field(default_factory=Counter)
    """What was refused to clients and strangers, by reason: `origin`, `host`, `connections`, `token`; `limit` is
    commands above their limit, `channels` channels above theirs; other commands by the code of their error."""
