"""Counts what one client asks in each second."""

from __future__ import annotations

SECONDS_AT_LIMIT = 10
"""In so many consecutive seconds a client may pass its limit before it is closed."""


class Rate:
    """A count by whole seconds of a monotonic clock, and of the seconds on end in which it was too high."""

    __slots__ = ("_limited_s", "_limited_seconds", "_second", "_taken", "spare")

    def __init__(self) -> None:
        self.spare = 0
        """Requests that may still pass the limit, in all."""
        self._second = self._limited_s = -2
        self._taken = self._limited_seconds = 0

    @property
    def is_excessive(self) -> bool:
        """Whether the limit was passed in each of SECONDS_AT_LIMIT seconds."""
        return self._limited_seconds >= SECONDS_AT_LIMIT

    def take(self, now_s: float, most: int) -> bool:
        """Count a request; return whether it may be: it is among the first `most` of its second, or takes a spare
        one."""
        second = int(now_s)
        if second != self._second:
            self._second, self._taken = second, 0
        self._taken += 1
        if self._taken <= most:
            return True
        if self.spare:
            self.spare -= 1
            return True
        if second != self._limited_s:
            self._limited_seconds = self._limited_seconds + 1 if second == self._limited_s + 1 else 1
            self._limited_s = second
        return False
