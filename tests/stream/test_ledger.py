"""What listeners are owed. (Against what became of it: `World.settle_down` in all trials of the stream.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.stream.conftest import EPOCH, Peer, World
from ticker.model import Instrument, Series
from ticker.protocol.alpaca_rows import DAYS
from ticker.stream.ledger import Ledger
from ticker.stream.outbox import Outbox, Pressure

TRADES = Series("trades")


@pytest.fixture
def outbox(world: World) -> Outbox:
    return Outbox(1000, Pressure(), world.totals)


def trade(world: World, *symbols: str) -> None:
    for symbol in symbols:
        world.trade(symbol)
    world.flush()


def test_rows_are_due_once_for_each_listener_while_it_listens(world: World, outbox: Outbox) -> None:
    ledger, other = world.hub.ledger, Outbox(1000, Pressure())
    trade(world, "AAPL", "MSFT")

    ledger.begin(outbox, (TRADES, False), [0, 2])
    trade(world, "AAPL", "AAPL", "BTC")
    ledger.begin(other, (TRADES, True), [0])
    trade(world, "AAPL", "MSFT")
    ledger.end(outbox, (TRADES, False), [0, 2])
    trade(world, "AAPL", "MSFT")

    assert outbox.promised == 4
    assert ledger.due == 4 + 2
    assert ledger.subscriptions == {(TRADES, False): 0, (TRADES, True): 1}


def test_rows_before_are_due_where_a_client_resumes(world: World, outbox: Outbox) -> None:
    trade(world, *["AAPL"] * 5)
    ledger = world.hub.ledger

    ledger.begin(outbox, (TRADES, False), [0], ledger._next_seqs(TRADES, [0]) - 3)

    assert ledger.due == 3


def test_all_there_are_means_those_to_come_too(world: World, outbox: Outbox) -> None:
    ledger = world.hub.ledger
    trade(world, "AAPL")
    ledger.begin(outbox, (TRADES, False), None)

    world.announce(Instrument("NEW"))
    trade(world, "AAPL", "NEW")

    assert ledger.due == 2
    assert ledger.subscriptions == {(TRADES, False): 4}
    ledger.end(outbox, (TRADES, False), None)
    trade(world, "NEW")
    assert (ledger.due, outbox.promised) == (2, 2)


def test_days_which_no_history_numbers_are_counted_as_they_are_published(world: World, outbox: Outbox) -> None:
    ledger = Ledger(world.directory, world.history)
    days = []
    world.broker.subscribe(days.append)
    world.trade("AAPL")
    world.flush()
    world.advance(10)
    world.tell_time()
    world.flush()
    (bars,) = [block for block in days[-1] if block.series == Series("bars", 1)]
    ledger.begin(outbox, (DAYS, False), None)

    ledger.published([replace(bars, series=DAYS)])

    assert ledger.due == 1


def test_what_is_owed_when_a_client_goes_is_abandoned(world: World, peer: Peer) -> None:
    peer.subscribe("AAPL")
    peer.block()
    trade(world, "AAPL")  # a socket takes one frame at least
    trade(world, *["AAPL"] * 4)
    owed = world.owed

    peer.session.close()

    assert (owed, world.owed) == (4, 0)
    assert (world.totals.delivered, world.totals.abandoned) == (1, 4)


def test_what_was_yet_to_be_read_from_the_history_is_abandoned_by_unsubscribing(
    world: World, peer: Peer, shelf_sizes: Callable[..., None]
) -> None:
    shelf_sizes(slice_rows=5)
    trade(world, *["AAPL"] * 12)
    peer.subscribe("AAPL", since={"AAPL": 0}, epoch=EPOCH)
    peer.session.step()

    peer.unsubscribe("AAPL")

    totals = world.totals
    assert (totals.delivered, totals.abandoned, world.hub.ledger.due, world.owed) == (5, 7, 12, 0)


def test_what_the_history_has_not_any_more_is_missed(world: World, peer: Peer) -> None:
    world.lose("trades", "AAPL", 40)
    trade(world, "AAPL")

    peer.subscribe("AAPL", since={"AAPL": 0}, epoch=EPOCH)
    peer.catch_up()
    peer.subscribe("AAPL", since={"AAPL": 99}, epoch=EPOCH)

    assert world.totals.missed == 40
    assert (world.totals.delivered, world.hub.ledger.due, world.owed) == (1, 41, 0)
