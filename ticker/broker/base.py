"""What a broker is: the one fork on the way of a tick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ticker.columns import Block

Consumer = Callable[[Sequence[Block]], None]
"""Takes the Blocks of one flush. It must not wait, and must not raise for what a client or a socket did."""


class Broker(Protocol):
    """Carries the Blocks of each flush from the one who numbers them to all who subscribed.

    An implementation guarantees that

    - a flush reaches every consumer whole, once, and in the order in which flushes were published: Blocks never
      overtake one another;
    - consumers are called in the order in which they subscribed, so that who reads what another keeps (the Hub, from
      the History) subscribes after it;
    - `publish` never waits, for nobody: who can't keep up is the consumer's own affair.

    The publisher serialises: `publish` is not called again before it returned.
    """

    def subscribe(self, consumer: Consumer) -> None:
        """Hand every flush from the next one on to `consumer`."""

    def publish(self, blocks: Sequence[Block]) -> None:
        """Carry the Blocks of one flush, at least one, to all consumers."""
