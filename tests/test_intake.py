"""The feed's door: what a replay may wait for, and what passes through."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.alpaca_wire import AlpacaWire
from tests.rig import AAPL, MSFT, HandFeed, running
from tests.wire import Wire, is_data, kind_of
from ticker import intake
from ticker.clock import ManualClock
from ticker.columns import Ticks
from ticker.feed import Emit, FatalFeedError, Feed, Instrument, Replay
from ticker.intake import checked, prepared


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


async def test_a_client_of_the_test_stream_is_none_to_begin_for() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with (
        running(feed, clock) as url,
        await AlpacaWire.open(url, "/v2/test") as tester,
        await Wire.open(url) as wire,
    ):
        waiting = asyncio.create_task(feed.emit.subscribers(1))
        await tester.log_in()
        await tester.ask(action="subscribe", trades=["FAKEPACA"])
        await clock.advance(5)
        assert not waiting.done()

        await wire.subscribe(["AAPL"])
        await tester.ask(action="subscribe", trades=["FAKEPACA"])  # nor does it hold anybody up
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


# another thread

ONE_TICK = Ticks("trades", ("AAPL",), np.zeros(1, np.int8), tuple(np.ones((3, 1), np.int64)))
CALLS: dict[str, Callable[[Emit], None]] = {
    "ticks": lambda emit: emit(ONE_TICK),
    "time": lambda emit: emit.time(1),
    "instruments": lambda emit: emit.instruments([MSFT]),
    "gap": lambda emit: emit.gap("trades", "AAPL", 1),
    "refused": lambda emit: emit.refused("nan"),
    "flush": lambda emit: emit.flush(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_from_another_thread_is_an_error_that_says_what_helps(call: str) -> None:
    feed, raised = HandFeed(instruments=[AAPL]), []

    def in_a_thread() -> None:
        try:
            CALLS[call](feed.emit)
        except RuntimeError as error:
            raised.append(str(error))

    async with running(feed, ManualClock()):
        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()

    assert raised == ["emit was called in another thread than the event loop's: use loop.call_soon_threadsafe"]


async def test_a_thread_may_emit_through_the_loop() -> None:
    feed = HandFeed(instruments=[AAPL])
    loop = asyncio.get_running_loop()
    async with running(feed) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        threading.Thread(target=lambda: loop.call_soon_threadsafe(feed.trades, ("AAPL", 0, 5, 1))).start()

        assert (await wire.data())[1:3] == [0, 1]


# after the stop


async def test_what_is_emitted_after_the_stop_is_refused_and_sent_to_nobody() -> None:
    feed, clock = HandFeed(instruments=[AAPL]), ManualClock()
    async with running(feed, clock):
        door = feed.emit._emit  # type: ignore[attr-defined]
    rows = door._batcher.rows

    door(ONE_TICK)
    door.gap("trades", "AAPL", 1)
    door.flush()

    assert door._batcher.rows == rows
    assert door._batcher.refusals.counts == {"late": 1}


# what is announced


@pytest.mark.parametrize(
    ("announced", "said"),
    [
        (None, "no instruments but NoneType"),
        (7, "no instruments but int"),
        ("AAPL", "what is no instrument: 'A'"),
        ([AAPL, "MSFT"], "what is no instrument: 'MSFT'"),
        ({"AAPL": AAPL}, "what is no instrument: 'AAPL'"),
        ([["x" * 1000]], "what is no instrument: ['" + "x" * 78),
    ],
)
async def test_what_is_no_list_of_instruments_is_told_in_one_line(announced: Any, said: str) -> None:
    class Wrong(Feed):
        async def prepare(self) -> Any:
            return announced

    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is looked at below)
        checked(announced)
    assert str(caught.value) == said
    with pytest.raises(FatalFeedError) as fatal:
        await prepared(Wrong())
    assert str(fatal.value) == f"feed wrong: prepare announced {said}"


async def test_a_symbol_announced_twice_is_one_unless_its_scales_differ() -> None:
    class Twice(Feed):
        instruments = (AAPL, MSFT, AAPL)

    class Torn(Feed):
        instruments = (MSFT, AAPL, Instrument("AAPL", price_scale=4))

    assert await prepared(Twice()) == [AAPL, MSFT]
    with pytest.raises(FatalFeedError, match="feed torn: prepare announced AAPL twice, with different scales"):
        await prepared(Torn())


async def test_instruments_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_SYMBOLS", 1000)
    endless = (Instrument(f"S{number}") for number in itertools.count())

    class Endless(Feed):
        async def prepare(self) -> Any:
            return endless

    with pytest.raises(FatalFeedError, match="feed endless: prepare announced more than 1,000 symbols"):
        await prepared(Endless())


async def test_symbols_that_come_one_by_one_have_an_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MOST_SYMBOLS", 3)
    feed = HandFeed()
    async with running(feed, ManualClock()):
        feed.emit.instruments([Instrument("IBM"), AAPL])
        with pytest.raises(ValueError, match="more than 3 symbols"):
            feed.emit.instruments([AAPL, MSFT, Instrument("TSLA")])
        feed.emit.instruments([AAPL, MSFT, Instrument("IBM")])


class PlainPrepare(Feed):
    """Is no coroutine."""

    def prepare(self) -> Any:
        return [AAPL]


class YieldingPrepare(Feed):
    """Is a generator."""

    async def prepare(self) -> Any:  # type: ignore[override]
        yield AAPL


@pytest.mark.parametrize("feed", [PlainPrepare(), YieldingPrepare()])
async def test_a_prepare_that_cannot_be_awaited_is_told_in_one_line(feed: Feed) -> None:
    with pytest.raises(FatalFeedError, match=f"feed {feed.name}: prepare must be written as `async def`, without "):
        await prepared(feed)


async def test_an_error_of_the_feeds_own_in_prepare_keeps_its_traceback() -> None:
    class Broken(Feed):
        async def prepare(self) -> Any:
            raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        await prepared(Broken())
