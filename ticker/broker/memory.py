"""The broker within one process: a loop."""

from __future__ import annotations

from collections.abc import Sequence

from ticker.broker.base import Consumer
from ticker.columns import Block


class MemoryBroker:
    """Calls each consumer in the call to `publish`."""

    def __init__(self) -> None:
        self._consumers: tuple[Consumer, ...] = ()

    def subscribe(self, consumer: Consumer) -> None:
        # Not a list: one who subscribes while a flush is on its way gets the next one first.
        self._consumers = (*self._consumers, consumer)

    def publish(self, blocks: Sequence[Block]) -> None:
        for consumer in self._consumers:
            consumer(blocks)
