"""What a connection wants of a client's session, whatever dialect that speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ticker.protocol.messages import CloseCode
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox


class Listening(Protocol):
    """What a client listens to."""

    @property
    def is_catching_up(self) -> bool:
        """Whether `step` has something to do."""
        ...

    @property
    def wants_every_row(self) -> bool:
        """Whether anything is subscribed that must not be dropped or merged."""
        ...


class Conversation(Protocol):
    """One client's session: bytes come in, what it is told goes out through its Outbox. `now_s` is monotonic."""

    outbox: Outbox
    spoke_s: float
    """When the last command came."""

    @property
    def market(self) -> Market:
        """The market whose rows it is for."""
        ...

    @property
    def subscriptions(self) -> Listening: ...

    @property
    def closing(self) -> CloseCode | None:
        """Why the connection has to end once what waits is sent; None while it goes on."""
        ...

    @closing.setter
    def closing(self, code: CloseCode) -> None: ...

    def open(self) -> None:
        """Speak first."""

    def receive(self, data: str | bytes, now_s: float) -> None:
        """Take a client's message, and answer it."""

    def step(self) -> bool:
        """Send a slice of what this client catches up with; return whether to call again."""
        ...

    def tick(self, now_s: float) -> None:
        """Do what is due without anyone asking. About once a second."""

    def announce(self, numbers: Sequence[int]) -> None:
        """Take note of symbols that have appeared, before any row of them comes."""

    def tell_status(self) -> None:
        """Say how the feed does."""

    def say_goodbye(self, reconnect_ms: int) -> None:
        """Say that the server goes away and when to come back, and end."""

    def turn_away(self, why: str) -> None:
        """Say that this is one connection too many, instead of `open`, and end."""

    def last_words(self) -> bytes:
        """Return frames that go out before the close whatever waits, even to one that is closed as too slow."""
        ...

    def close(self) -> None:
        """Forget everything: the connection is gone."""
