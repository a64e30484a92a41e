"""What a client has yet to be sent, and what happens when that grows.

A frame goes to the socket at once while that is free. What it does not take is kept by reference, so that a thousand
stalled clients share the same bytes, and goes out in order when the socket is free again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

JOINED_BYTES = 1 << 16
"""Frames that wait are joined up to this size for one call to the socket."""
MOST_EXEMPT = 1 << 26
"""Bytes beyond the limit that may wait at most, lest a client that reads nothing fills the memory with its wishes."""

_NOTHING: deque[bytes] = deque(maxlen=0)
"""The queue of all outboxes in which nothing waits: one of its own would cost each idle client 760 bytes."""


class Pressure:
    """How many outboxes are half full or more; `relieved` is called when none is any more."""

    def __init__(self) -> None:
        self.count = 0
        self.relieved: Callable[[], None] = lambda: None

    def add(self) -> None:
        """Count one more."""
        self.count += 1

    def remove(self) -> None:
        """Count one less."""
        self.count -= 1
        if not self.count:
            self.relieved()


class Outbox:
    """The way out to one client.

    `send(data)` is the socket's: it returns how many bytes it took, and raises OSError when it takes none. What it left
    is offered to `write(data, taken)`, which sees to it that no frame is cut: it returns how many bytes are taken care
    of, all or up to the end of a frame, and sets `blocked` if the socket takes no more. Whoever wrote it calls `drain`
    when the socket is free again.
    """

    __slots__ = (
        "_exempt",
        "_limit",
        "_owed",
        "_pressed",
        "_pressure",
        "_queue",
        "blocked",
        "overflowed",
        "queued",
        "rows",
        "send",
        "sent",
        "write",
    )

    def __init__(self, limit: int, pressure: Pressure) -> None:
        self.send: Callable[[bytes], int] = _takes_nothing
        self.write: Callable[[bytes, int], int] = lambda data, taken: len(data)
        self.blocked = False
        self.overflowed = False
        """Whether more than `limit` bytes wanted to wait: they were dropped, as is all that comes after, and the client
        has to resume."""
        self.queued = 0
        """Bytes that wait here."""
        self.rows = 0
        """Rows of data offered so far (see `heartbeat` in the protocol)."""
        self.sent = 0
        """Bytes handed to the socket so far."""
        self._owed = 0
        self._exempt = 0
        self._limit = limit
        self._pressure = pressure
        self._pressed = False
        self._queue = _NOTHING

    @property
    def is_free(self) -> bool:
        """Whether nothing waits, here or elsewhere, and the socket takes more."""
        return not (self.blocked or self.queued or self._owed)

    def offer(self, data: bytes, rows: int = 0) -> None:
        """Send whole frames that hold `rows` rows of data, now or when the socket is free."""
        if self.blocked or self.queued:
            if not self.overflowed:
                self.rows += rows
                self._keep(data)
            return
        self.rows += rows
        try:  # nothing but the kernel stands between a joined piece and a free socket
            taken = self.send(data)
        except OSError:  # it is full, or broken: `write` finds out
            taken = 0
        if taken < len(data):
            taken = self.write(data, taken)
            if taken < len(data):
                self._keep(data[taken:])
                if not self.blocked:  # it has room again already: nobody else would go on
                    self.drain()
        self.sent += taken

    def offer_beyond_limit(self, data: bytes, rows: int = 0) -> None:
        """Send what the client asked for and the limit is not meant for: rows of a resume, descriptions of channels."""
        self._exempt = min(self._exempt + len(data), MOST_EXEMPT)
        self.offer(data, rows)
        self._exempt = min(self._exempt, self.queued)

    def owe(self, size: int) -> None:
        """Count towards the limit what the client will be offered later, all at once; `settle` when it is."""
        self._owed += size
        self._check_limit()
        self._press()

    def settle(self) -> None:
        """Owe the client nothing any more."""
        self._owed = 0
        self._press()

    def drain(self) -> None:
        """Go on sending what waits."""
        if self.overflowed:
            return
        self.blocked = False
        queue = self._queue
        while queue and not self.blocked:
            data = queue.popleft()
            if queue and len(data) < JOINED_BYTES:
                data = self._joined(data)
            try:
                taken = self.send(data)
            except OSError:
                taken = 0
            if taken < len(data):
                taken = self.write(data, taken)
            self.sent += taken
            if self._queue is not queue:  # closed while writing: there is nothing to go on with
                return
            self.queued -= taken
            if taken < len(data):
                queue.appendleft(data[taken:])
        if not queue:
            self._queue = _NOTHING
        self._exempt = min(self._exempt, self.queued)
        self._press()

    def close(self) -> None:
        """Forget what waits and take nothing more."""
        self.overflowed = True
        self.blocked = True
        self._queue = _NOTHING
        self.queued = self._exempt = self._owed = 0
        self._press()

    def _keep(self, data: bytes) -> None:
        if self._queue is _NOTHING:
            self._queue = deque()
        self._queue.append(data)
        self.queued += len(data)
        self._check_limit()
        self._press()

    def _check_limit(self) -> None:
        if self.queued + self._owed > self._limit + self._exempt:
            self.close()

    def _joined(self, data: bytes) -> bytes:
        parts, size = [data], len(data)
        while self._queue and size + len(self._queue[0]) <= JOINED_BYTES:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    def _press(self) -> None:
        waiting = self.queued + self._owed
        pressed = waiting > 0 and waiting * 2 >= self._limit
        if pressed != self._pressed:
            self._pressed = pressed
            if pressed:
                self._pressure.add()
            else:
                self._pressure.remove()


def _takes_nothing(data: bytes) -> int:
    """Stand in for a socket's `send` where frames cannot go to it directly (TLS)."""
    raise BlockingIOError
