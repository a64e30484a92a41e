"""The inbox: bounded, and nobody waits for what is there already."""

from __future__ import annotations

import asyncio

import pytest

from ticker.client.inbox import Inbox, Shelf


async def test_whoever_waits_for_a_shelf_or_for_any_is_woken_by_its_items() -> None:
    inbox, apple, microsoft = Inbox(100), Shelf("apple"), Shelf("microsoft")
    waiting = {
        name: asyncio.ensure_future(inbox.arrival(shelf))
        for name, shelf in (("apple", apple), ("microsoft", microsoft), ("any", None))
    }
    await asyncio.sleep(0)

    inbox.put(apple, "row", 10)
    await asyncio.sleep(0)

    assert [name for name, waiter in waiting.items() if waiter.done()] == ["apple", "any"]
    inbox.wake_all()
    await waiting["microsoft"]


async def test_items_are_numbered_in_the_order_of_their_arrival() -> None:
    inbox, apple, microsoft = Inbox(100), Shelf("apple"), Shelf("microsoft")
    for shelf, item in ((apple, "a"), (microsoft, "b"), (apple, "c")):
        inbox.put(shelf, item)

    assert [(ticket, item) for ticket, item, _ in (*apple.items, *microsoft.items)] == [(0, "a"), (2, "c"), (1, "b")]
    assert [inbox.take(apple), inbox.take(microsoft), inbox.take(apple)] == ["a", "b", "c"]


async def test_there_is_room_again_when_enough_was_taken_or_dropped() -> None:
    inbox, apple, microsoft = Inbox(100), Shelf("apple"), Shelf("microsoft")
    inbox.put(apple, "a", 60)
    assert not inbox.is_full
    inbox.put(apple, "b", 60)
    inbox.put(microsoft, "c", 60)
    assert inbox.is_full
    room = asyncio.ensure_future(inbox.room(lambda: [apple, microsoft]))
    await asyncio.sleep(0)

    inbox.take(apple)
    await asyncio.sleep(0)
    assert not room.done()

    inbox.drop(microsoft)
    await room
    assert not inbox.is_full


async def test_room_that_is_there_is_not_waited_for() -> None:
    await asyncio.wait_for(Inbox(100).room(list), 1)


@pytest.mark.parametrize("others", [0, 1])
async def test_a_reader_that_gives_up_leaves_nothing_behind(others: int) -> None:
    inbox, shelf = Inbox(100), Shelf("apple")
    staying = [asyncio.ensure_future(inbox.arrival(shelf)) for _ in range(others)]
    leaving = asyncio.ensure_future(inbox.arrival(shelf))
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.wait([leaving])
    inbox.put(shelf, "row")

    assert leaving.cancelled()
    await asyncio.gather(*staying)
