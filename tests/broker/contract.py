"""What every broker guarantees. A test class of a broker inherits this and gives a fixture `broker`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ticker.broker.base import Broker
from ticker.columns import Block
from ticker.model import Series


def flush(number: int) -> list[Block]:
    """Return the Blocks of one flush: a trade and a quote."""
    one, offsets = np.array([number], np.int64), np.array([0, 1])
    symbols = np.zeros(1, np.int64)
    return [
        Block(Series("trades"), "e", number, symbols, offsets, one.copy(), (one.copy(),) * 3),
        Block(Series("quotes"), "e", number, symbols, offsets, one.copy(), (one.copy(),) * 5),
    ]


class BrokerContract:
    """The guarantees of `ticker.broker.base.Broker`, for a broker that has delivered when `publish` returns."""

    def test_a_flush_reaches_every_consumer_whole_and_once(self, broker: Broker) -> None:
        first: list[Sequence[Block]] = []
        second: list[Sequence[Block]] = []
        broker.subscribe(first.append)
        broker.subscribe(second.append)
        blocks = flush(0)

        broker.publish(blocks)

        for received in (first, second):
            assert [[block.series for block in each] for each in received] == [[Series("trades"), Series("quotes")]]
            assert [block.seqs.tolist() for block in received[0]] == [[0], [0]]

    def test_flushes_never_overtake_one_another(self, broker: Broker) -> None:
        received: list[int] = []
        broker.subscribe(lambda blocks: received.append(blocks[0].number))

        for number in range(100):
            broker.publish(flush(number))

        assert received == list(range(100))

    def test_consumers_are_called_in_the_order_in_which_they_subscribed(self, broker: Broker) -> None:
        called: list[str] = []
        for name in ("history", "hub", "journal"):
            broker.subscribe(lambda blocks, name=name: called.append(f"{name} {blocks[0].number}"))

        broker.publish(flush(0))
        broker.publish(flush(1))

        assert called == [f"{name} {number}" for number in (0, 1) for name in ("history", "hub", "journal")]

    def test_one_who_subscribes_later_gets_what_comes_later(self, broker: Broker) -> None:
        received: list[int] = []
        broker.publish(flush(0))

        broker.subscribe(lambda blocks: received.append(blocks[0].number))
        broker.publish(flush(1))

        assert received == [1]

    def test_one_who_subscribes_during_a_flush_gets_the_next_one_first(self, broker: Broker) -> None:
        received: list[int] = []

        def subscribe_another(blocks: Sequence[Block]) -> None:
            if blocks[0].number == 0:
                broker.subscribe(lambda blocks: received.append(blocks[0].number))

        broker.subscribe(subscribe_another)
        broker.publish(flush(0))
        broker.publish(flush(1))

        assert received == [1]

    def test_a_flush_that_nobody_wants_is_no_error(self, broker: Broker) -> None:
        broker.publish(flush(0))
