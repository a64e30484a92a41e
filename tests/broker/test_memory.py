"""The broker within one process keeps the contract of all brokers, and copies nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.broker.contract import BrokerContract, flush
from ticker.broker.base import Broker
from ticker.broker.memory import MemoryBroker
from ticker.columns import Block


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    def broker(self) -> Broker:
        return MemoryBroker()

    def test_consumers_share_the_blocks(self, broker: Broker) -> None:
        received: list[Sequence[Block]] = []
        broker.subscribe(received.append)
        broker.subscribe(received.append)
        blocks = flush(0)

        broker.publish(blocks)

        assert all(each is blocks for each in received)
