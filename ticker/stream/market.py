"""What all sessions of a server share: who is who, what was, what is, and how the feed does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from ticker.access.gate import Gate
from ticker.access.principal import Principal
from ticker.feed import Replay
from ticker.protocol.codec import Time
from ticker.stream.bars import Bars
from ticker.stream.counts import Counts
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.hub import Hub
from ticker.stream.views import Views


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do."""

    message_bytes: int = 262_144
    channels: int = 100_000
    commands_per_s: int = 50


@dataclass(slots=True, kw_only=True)
class Market:
    """The state that sessions read. `state` is how the feed does (see `status` in the protocol)."""

    feed_name: str
    version: str
    directory: Directory
    history: History
    bars: Bars
    hub: Hub
    now_ns: Callable[[], int]
    """The server's clock, UNIX time in nanoseconds."""
    feed_clock_ns: Callable[[], int | None]
    """The feed's clock."""
    replay: Replay | None = None
    state: str = "waiting"
    limits: Limits = Limits()
    heartbeat_s: float = 10.0
    counts: Counts = field(default_factory=Counts)
    gate: Gate = field(default_factory=Gate)
    auth_s: float = 10.0
    """How long a client may take to authenticate."""
    views: Views = field(init=False)
    """What each principal may see."""

    def __post_init__(self) -> None:
        self.views = Views(self.directory)

    def limits_of(self, principal: Principal) -> Limits:
        """Return a principal's limits: its token's, and ours where that has none."""
        if principal.channels is None and principal.commands_per_s is None:
            return self.limits
        return _limits(self.limits, principal.channels, principal.commands_per_s)

    @property
    def clock(self) -> dict[str, Any] | None:
        """The replay's clock as in `welcome` and `status`; None when the feed's time is now."""
        if self.replay is None:
            return None
        time = self.feed_clock_ns()
        return {"time": None if time is None else Time(time), "speed": self.replay.speed}

    @property
    def status(self) -> dict[str, Any]:
        """The message `status`."""
        return {"type": "status", "state": self.state, "clock": self.clock}

    @property
    def welcome(self) -> dict[str, Any]:
        """The message `welcome`."""
        return {
            "type": "welcome",
            "protocol": 1,
            "server": self.version,
            "epoch": self.directory.epoch,
            "time": Time(self.now_ns()),
            "feed": self.feed_name,
            "kinds": list(self.directory.kinds),
            "intervals": list(self.directory.intervals),
            "auth": self.gate.is_required,
            "clock": self.clock,
            "heartbeat_s": self.heartbeat_s,
            "limits": self.told(self.limits),
        }

    def page(self, principal: Principal, prefix: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Return a page of the symbols that a principal may see, as `Directory.page` does."""
        view = self.views.of(principal.symbols)
        return (self.directory if view is None else view).page(prefix, after, limit)

    @staticmethod
    def told(limits: Limits) -> dict[str, int]:
        """Return limits as clients are told them."""
        return {
            "message_bytes": limits.message_bytes,
            "channels": limits.channels,
            "commands_per_s": limits.commands_per_s,
        }


@lru_cache(256)
def _limits(limits: Limits, channels: int | None, commands_per_s: int | None) -> Limits:
    """Return the limits with these in place of ours: one object for all connections that have them."""
    return replace(
        limits,
        channels=limits.channels if channels is None else channels,
        commands_per_s=limits.commands_per_s if commands_per_s is None else commands_per_s,
    )
