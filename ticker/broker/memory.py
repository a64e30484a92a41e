"""The broker within one process: a loop."""

from __future__ import annotations

from collections.abc import Sequence

from ticker.broker.base import Consumer
from ticker.columns import Block


class MemoryBroker:
    """Calls each consumer in the call to `publish`."""

    def __init__(self) -> None:
        self._consumers: list[Consumer] = []

    def subscribe(self, consumer: Consumer) -> None:
        self._consumers.append(consumer)

    def publish(self, blocks: Sequence[Block]) -> None:
        for consumer in self._consumers:
            consumer(blocks)
