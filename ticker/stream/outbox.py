"""What a client has yet to be sent, and what happens when that grows.

A frame goes to the socket at once while that is free. What it does not take is kept by reference, so that a thousand
stalled clients share the same bytes, and goes out in order when the socket is free again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

JOINED_BYTES = 1 << 16
"""Frames that wait are joined up to this size for one call to the socket."""
MOST_UNSENT = 1 << 13
"""Bytes that may wait in the socket when it is offered an update. A fast peer's hold none; one that reads 1 KB a second
would read for two minutes what else fits there."""
MOST_EXEMPT = 1 << 26
"""Bytes beyond the limit that may wait at most, lest a client that reads nothing fills the memory with its wishes."""

_NOTHING: deque[tuple[bytes, int]] = deque(maxlen=0)
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


class Entry(NamedTuple):
    """What rows of a piece are besides rows of their own, for the books; most pieces have nothing to enter.

    `merged` are in the rows of others, `running` are bars that will come again under their number, `missed` are those
    that the piece tells to be lost.
    """

    merged: int = 0
    running: int = 0
    missed: int = 0

    @classmethod
    def of(cls, counts: Iterable[int | None]) -> Entry | None:
        """Return an entry of what there is (None: nothing), None if there is nothing at all."""
        found = tuple(counts)
        return None if found == (None, None, None) else cls(*(each or 0 for each in found))

    def plus(self, other: Entry | None) -> Entry:
        """Return both."""
        if other is None:
            return self
        return Entry(self.merged + other.merged, self.running + other.running, self.missed + other.missed)


@dataclass(slots=True)
class Totals:
    """What all outboxes of a server did so far, those that are gone included. None of the numbers ever goes down."""

    sent: int = 0
    """Bytes handed to sockets."""
    delivered: int = 0
    """Rows handed to sockets as rows of their own."""
    merged: int = 0
    """Rows that were merged into those."""
    missed: int = 0
    """Rows that clients were told to be lost."""
    running: int = 0
    """Bars that were sent before they had ended, once for each time."""
    abandoned: int = 0
    """Rows that were still owed when a subscription or a connection ended."""
    overflowed: int = 0
    """Outboxes that passed their limit."""
    waiting: set[Outbox] = field(default_factory=set)
    """Those for which something waits, here or in the backlog."""

    @property
    def queued(self) -> int:
        """Bytes that wait."""
        return sum(outbox.queued for outbox in self.waiting)

    @property
    def most_waiting(self) -> int:
        """Bytes that wait for the one for whom most does, those that it is owed from the backlog included."""
        return max((outbox.queued + outbox.owed for outbox in self.waiting), default=0)


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
        "_pressed",
        "_pressure",
        "_queue",
        "_totals",
        "blocked",
        "overflowed",
        "owed",
        "promised",
        "queued",
        "rows",
        "send",
        "sent",
        "unsent",
        "write",
    )

    def __init__(self, limit: int, pressure: Pressure, totals: Totals | None = None) -> None:
        self.send: Callable[[bytes], int]
        self.write: Callable[[bytes, int], int]
        self.unsent: Callable[[], int]
        """Asks the socket how many bytes it has taken that it cannot send yet, since the peer reads too slowly."""
        self._detach()
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
        self.owed = 0
        """Bytes that wait elsewhere, kept once for all who are behind."""
        self.promised = 0
        """Rows that the subscriptions which have ended were to bring, less where those began that go on (`ledger`)."""
        self._exempt = 0
        self._limit = limit
        self._pressure = pressure
        self._totals = Totals() if totals is None else totals
        self._pressed = False
        self._queue = _NOTHING

    @property
    def is_free(self) -> bool:
        """Whether nothing waits, here or elsewhere, and the socket takes more."""
        return not (self.blocked or self.queued or self.owed)

    @property
    def takes_updates(self) -> bool:
        """Whether an update that it is offered now will soon be on its way. While others wait before it, it is better
        merged with what comes: what the socket has taken ages there."""
        return self.is_free and self.unsent() <= MOST_UNSENT

    def offer(self, data: bytes, rows: int = 0, entry: Entry | None = None) -> None:
        """Send whole frames that hold `rows` rows of data, now or when the socket is free.

        `rows` are those that `heartbeat` counts; `entry` says if some are no rows of their own.
        """
        if self.blocked or self.queued:
            if not self.overflowed:
                self.rows += rows
                self._keep(data, rows if entry is None else self._enter(rows, entry))
            return
        self.rows += rows
        if entry is not None:
            rows = self._enter(rows, entry)
        try:  # nothing but the kernel stands between a joined piece and a free socket
            taken = self.send(data)
        except OSError:  # it is full, or broken: `write` finds out
            taken = 0
        if taken < len(data):
            taken = self.write(data, taken)
            if taken < len(data):
                self._keep(data[taken:], rows)
                rows = 0
                if not self.blocked:  # it has room again already: nobody else would go on
                    self.drain()
        self.sent += taken
        totals = self._totals
        totals.sent += taken
        totals.delivered += rows

    def offer_beyond_limit(self, data: bytes, rows: int = 0, entry: Entry | None = None) -> None:
        """Send what the client asked for and the limit is not meant for: rows of a resume, descriptions of channels."""
        self._exempt = min(self._exempt + len(data), MOST_EXEMPT)
        self.offer(data, rows, entry)
        self._exempt = min(self._exempt, self.queued)

    def miss(self, rows: int) -> None:
        """Note that the client is told of so many rows of those promised that they are lost."""
        self._totals.missed += rows
        self.promised -= rows

    def abandon(self, rows: int) -> None:
        """Note that so many rows of those promised will never be sent: their subscription has ended."""
        self._totals.abandoned += rows
        self.promised -= rows

    def abandon_rest(self) -> None:
        """Do the same for all that were promised but not offered, once every subscription has ended."""
        self.abandon(self.promised - self.rows)

    def owe(self, size: int) -> None:
        """Count towards the limit what the client will be offered later, all at once; `settle` when it is."""
        self.owed += size
        self._check_limit()
        self._press()

    def settle(self) -> None:
        """Owe the client nothing any more."""
        self.owed = 0
        self._press()

    def drain(self) -> None:
        """Go on sending what waits."""
        if self.overflowed:
            return
        self.blocked = False
        queue, totals = self._queue, self._totals
        while queue and not self.blocked:
            data, rows = queue.popleft()
            if queue and len(data) < JOINED_BYTES:
                data, rows = self._joined(data, rows)
            try:
                taken = self.send(data)
            except OSError:
                taken = 0
            if taken < len(data):
                taken = self.write(data, taken)
            self.sent += taken
            totals.sent += taken
            if taken == len(data):
                totals.delivered += rows
            if self._queue is not queue:  # closed while writing: there is nothing to go on with
                if taken < len(data):
                    totals.abandoned += rows
                return
            self.queued -= taken
            if taken < len(data):
                queue.appendleft((data[taken:], rows))
        if not queue:
            self._queue = _NOTHING
        self._exempt = min(self._exempt, self.queued)
        self._press()

    def overflow(self) -> None:
        """Drop what waits and all that comes after: the client is too slow."""
        self._totals.overflowed += 1
        self.close()

    def close(self) -> None:
        """Forget what waits and take nothing more."""
        self.overflowed = True
        self.blocked = True
        self._totals.abandoned += sum(rows for _, rows in self._queue)
        self._queue = _NOTHING
        self.queued = self._exempt = self.owed = 0
        self._press()
        self._detach()

    def _detach(self) -> None:
        """Know no socket: who has closed shall be gone at once, not when the garbage collector finds it."""
        self.send, self.write, self.unsent = _takes_nothing, _drops, _nothing

    def _keep(self, data: bytes, rows: int) -> None:
        if self._queue is _NOTHING:
            self._queue = deque()
        self._queue.append((data, rows))
        self.queued += len(data)
        self._check_limit()
        self._press()

    def _check_limit(self) -> None:
        if self.queued + self.owed > self._limit + self._exempt:
            self.overflow()

    def _joined(self, data: bytes, rows: int) -> tuple[bytes, int]:
        parts, size = [data], len(data)
        while self._queue and size + len(self._queue[0][0]) <= JOINED_BYTES:
            more, more_rows = self._queue.popleft()
            parts.append(more)
            size += len(more)
            rows += more_rows
        return b"".join(parts), rows

    def _enter(self, rows: int, entry: Entry) -> int:
        """Enter what is not a row of its own in the books; return how many of these rows are."""
        totals = self._totals
        totals.merged += entry.merged
        totals.running += entry.running
        self.promised += entry.running
        if entry.missed:
            self.miss(entry.missed)
        return rows - entry.merged - entry.running

    def _press(self) -> None:
        waiting = self.queued + self.owed
        if waiting:
            self._totals.waiting.add(self)
        else:
            self._totals.waiting.discard(self)
        pressed = waiting > 0 and waiting * 2 >= self._limit
        if pressed != self._pressed:
            self._pressed = pressed
            if pressed:
                self._pressure.add()
            else:
                self._pressure.remove()


def _nothing() -> int:
    """Stand in for a socket that doesn't tell."""
    return 0


def _drops(data: bytes, taken: int) -> int:
    """Stand in for a socket that there isn't."""
    return len(data)


def _takes_nothing(data: bytes) -> int:
    """Stand in for a socket's `send` where frames cannot go to it directly (TLS)."""
    raise BlockingIOError
