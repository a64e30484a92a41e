"""The feed's door: what a replay may wait for, and what passes through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.rig import AAPL, MSFT, HandFeed, running
from tests.wire import Wire, is_data, kind_of
from ticker.clock import ManualClock
from ticker.feed import Instrument, Replay


async def test_a_replay_begins_when_enough_clients_listen_to_every_row_and_have_finished_asking() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url:
        waiting = asyncio.create_task(feed.emit.subscribers(2))
        first, second, conflated = [await Wire.open(url) for _ in range(3)]
        await first.subscribe(["AAPL"])
        await conflated.subscribe(["*"], mode="conflated")
        await clock.advance(5)
        assert not waiting.done(), "one of them is conflated"

        await second.subscribe(["MSFT"], kind="quotes")
        await clock.advance(0.4)
        assert not waiting.done(), "it may have more to ask"
        await second.subscribe(["AAPL"])
        await clock.advance(0.4)
        assert not waiting.done(), "and it had"
        await clock.advance(0.2)

        assert waiting.done()
        await waiting
        for wire in (first, second, conflated):
            wire.close()


async def test_a_client_that_leaves_is_waited_for_again(until: Any) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url) as staying:
        waiting = asyncio.create_task(feed.emit.subscribers(2))
        await staying.subscribe(["AAPL"])
        leaving = await Wire.open(url)
        await leaving.subscribe(["AAPL"])
        leaving.reset()
        connections = feed.emit._emit._connections  # type: ignore[attr-defined]
        await until(lambda: len(connections) == 1)
        await clock.advance(5)
        assert not waiting.done()

        async with await Wire.open(url) as another:
            await another.subscribe(["*"])
            await clock.advance(0.6)
            await waiting


async def test_nobody_to_wait_for_is_no_wait() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock):
        await clock.advance(1)

        await asyncio.wait_for(feed.emit.subscribers(0), 5)
        await asyncio.wait_for(feed.emit.ready(), 5)


async def test_ready_waits_while_an_outbox_is_half_full_and_no_longer() -> None:
    feed, clock = HandFeed(instruments=[AAPL], replay=Replay(None)), ManualClock()
    async with running(feed, clock, outbox_mib=2) as url, await Wire.open(url, receive_bytes=4096) as slow:
        await slow.subscribe(["AAPL"])
        sent = 0
        while True:
            ready = asyncio.ensure_future(feed.emit.ready())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not ready.done():
                break
            feed.flood(5000, seed=sent)
            sent += 5000
        while not ready.done():
            await slow.receive()
        relieved_at = slow.rows
        await slow.send({"op": "ping"})
        await slow.answer()

        assert 0 < relieved_at < sent == slow.rows


async def test_ready_waits_for_those_who_were_set_back_too() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, outbox_mib=2) as url, await Wire.open(url, receive_bytes=4096) as slow:
        await slow.subscribe(["AAPL"])
        sent = 0
        while True:
            ready = asyncio.ensure_future(feed.emit.ready())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if ready.done():
                feed.flood(5000, seed=sent)
                sent += 5000
            else:
                break
        reading = asyncio.ensure_future(slow.until(lambda _: slow.rows == sent))
        while not reading.done():
            await clock.advance(0.05)
        await ready

        assert slow.rows == sent


async def test_ready_lets_the_sockets_have_their_turn() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        asked = asyncio.create_task(wire.ask(op="ping"))
        rounds = 0
        while not asked.done():
            await feed.emit.ready()
            feed.flood(10, seed=rounds)
            rounds += 1

        assert rounds < 1000


async def test_a_client_that_catches_up_holds_a_replay_until_it_has() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock, outbox_mib=64) as url, await Wire.open(url, receive_bytes=4096) as wire:
        for seed in range(20):
            feed.flood(10_000, seed=seed)
        await wire.subscribe(["AAPL"], since={"AAPL": 0}, epoch=wire.welcome["epoch"])
        ready = asyncio.create_task(feed.emit.ready())
        await asyncio.sleep(0)
        held = not ready.done()
        while wire.rows < 200_000:
            await wire.receive()
        await ready

        assert held


async def test_what_a_feed_tells_passes_through_the_door_in_order() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        await wire.subscribe(["*"])
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        feed.emit.gap("trades", "AAPL", 5)
        feed.trades(("AAPL", 1, 1, 1))
        feed.emit.instruments([MSFT, AAPL])
        feed.trades(("MSFT", 1, 1, 1))

        seen = []
        while len(seen) < 5:
            message = await wire.receive()
            if kind_of(message) != "status":
                seen.append(message[1:3] if is_data(message) else message)

        assert seen[0] == [0, 1]
        assert {key: seen[1][key] for key in ("type", "seq", "missed")} == {"type": "gap", "seq": 6, "missed": 5}
        assert seen[2] == [6, 1]
        assert (seen[3]["type"], seen[3]["symbol"]) == ("channel", "MSFT")
        assert seen[4] == [0, 1]


async def test_another_scale_for_a_known_symbol_is_the_feeds_error() -> None:
    feed = HandFeed(instruments=[AAPL])
    async with running(feed):
        with pytest.raises(ValueError, match="scales never change"):
            feed.emit.instruments([Instrument("AAPL", price_scale=4, size_scale=0, time_scale=6)])
