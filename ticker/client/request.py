"""What a reader asks for, and the commands that ask a server for it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticker.model import KINDS

ROOM_BYTES = 1024
"""What a command may need beside its symbols."""


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of some symbols in one mode. `symbols` is None for all that the feed has or will have.

    `interval_s` matters for bars and `interval_ms` for mode `conflated`; None leaves the choice to the server.
    Raises ValueError for what no server would take.
    """

    symbols: tuple[str, ...] | None
    kind: str = "trades"
    mode: str = "all"
    interval_s: int | None = None
    interval_ms: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(KINDS)}")
        if self.mode not in ("all", "conflated"):
            raise ValueError(f"mode: {self.mode!r} is neither all nor conflated")
        if self.interval_s is not None and self.interval_s < 1:
            raise ValueError(f"interval_s: expected seconds from 1, not {self.interval_s}")
        if self.interval_ms is not None and self.interval_ms < 1:
            raise ValueError(f"interval_ms: expected milliseconds from 1, not {self.interval_ms}")

    @property
    def conflated(self) -> bool:
        return self.mode == "conflated"

    def bars_of(self, intervals: Sequence[int]) -> int:
        """Return the interval of bars that this means where the feed has `intervals`; 0 for other kinds."""
        if self.kind != "bars":
            return 0
        if self.interval_s is not None:
            return self.interval_s
        return 60 if 60 in intervals or not intervals else min(intervals)

    def subscribe(
        self, interval_s: int, since: Mapping[str, int], epoch: str, message_bytes: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the commands that subscribe to it, each at most `message_bytes` long.

        `since` holds the next row needed of those symbols that are resumed. Under `*` there may be more of them than
        one command holds: the rest is subscribed by name before, which `*` then leaves alone.
        """
        wanted = since if self.symbols is None else self.symbols
        parts = list(_chunks(wanted, since, message_bytes - ROOM_BYTES)) or [[]]
        for part in parts:
            known = {symbol: since[symbol] for symbol in part if symbol in since}
            named = self.symbols is not None or part is not parts[-1]
            yield self._command(part if named else ["*"], known, interval_s, epoch)

    def unsubscribe(self, interval_s: int, message_bytes: int) -> Iterator[dict[str, Any]]:
        """Yield the commands that end it."""
        bars = {"interval_s": interval_s} if self.kind == "bars" else {}
        parts = [["*"]] if self.symbols is None else _chunks(self.symbols, {}, message_bytes - ROOM_BYTES)
        for part in parts:
            yield {"op": "unsubscribe", "kind": self.kind, "symbols": part, **bars}

    def _command(self, symbols: list[str], since: Mapping[str, int], interval_s: int, epoch: str) -> dict[str, Any]:
        command: dict[str, Any] = {"op": "subscribe", "kind": self.kind, "symbols": symbols, "mode": self.mode}
        if self.kind == "bars":
            command["interval_s"] = interval_s
        if self.conflated and self.interval_ms is not None:
            command["interval_ms"] = self.interval_ms
        if since:
            command["since"] = dict(since)
            command["epoch"] = epoch
        return command


def request_of(
    symbols: str | Iterable[str],
    kind: str,
    mode: str,
    interval_s: int | None,
    interval_ms: int | None,
) -> Request:
    """Return a request for a symbol, several, or all (`"*"`). Raises ValueError for none, or what is no symbol."""
    names = (symbols,) if isinstance(symbols, str) else tuple(dict.fromkeys(symbols))
    if not names:
        raise ValueError("symbols: expected at least one, or '*'")
    for name in names:
        if not isinstance(name, str) or any("\ud800" <= each <= "\udfff" for each in name):  # fits no message
            raise ValueError(f"symbols: {name!r} is no symbol")
    if "*" in names and names != ("*",):
        raise ValueError("symbols: '*' stands alone")
    return Request(None if names == ("*",) else names, kind, mode, interval_s, interval_ms)


def _chunks(symbols: Iterable[str], since: Mapping[str, int], limit_bytes: int) -> Iterator[list[str]]:
    """Cut symbols into lists that fit a command: each stands there once, and a second time with a number in `since`."""
    part: list[str] = []
    size = 0
    for symbol in symbols:
        needs = len(symbol.encode()) + 5
        needs += (needs + 9) * (symbol in since)
        if part and size + needs > limit_bytes:
            yield part
            part, size = [], 0
        part.append(symbol)
        size += needs
    if part:
        yield part
