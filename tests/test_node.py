"""The parts joined to a server: what happens when, from the feed to a client, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.rig import NOON_US, HandFeed, running
from tests.wire import JSON, Wire, is_data, kind_of, rows_of
from ticker import node as node_module
from ticker.clock import ManualClock, SystemClock
from ticker.config import Settings
from ticker.feed import Emit, FatalFeedError, Replay
from ticker.model import Series
from ticker.node import Node, series_of

NOON_NS = NOON_US * 1000


async def rows_at(wire: Wire) -> int:
    """Return how many rows a client has been sent so far."""
    rows = (await wire.ask(op="ping"))["rows"]
    assert isinstance(rows, int)
    return rows


# When rows are sent


async def test_rows_wait_for_the_end_of_the_batching_window_and_come_together() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, flush_ms=200) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        await clock.advance(0.01)
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        await clock.advance(0.15)
        feed.trades(("AAPL", 1, 1, 1), flush=False)
        before = await rows_at(wire)
        await clock.advance(0.05)

        message = await wire.data()

        assert before == 0
        assert message[1:3] == [0, 2]


@pytest.mark.parametrize("interval_ms", [50, 1000])
async def test_a_conflated_client_makes_the_window_of_others_no_shorter(interval_ms: int) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, flush_ms=2000) as url, await Wire.open(url) as wire, await Wire.open(url) as other:
        await wire.subscribe(["AAPL"])
        await other.subscribe(["AAPL"], mode="conflated", interval_ms=interval_ms)
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        await clock.advance(1.9)

        before = await rows_at(wire)
        await clock.advance(0.2)

        assert (before, await rows_at(wire)) == (0, 1)


async def test_without_a_window_rows_are_sent_at_once() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, flush_ms=0) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        first = await wire.data()
        feed.trades(("AAPL", 1, 1, 1), flush=False)
        second = await wire.data()

        assert [first[1:3], second[1:3]] == [[0, 1], [1, 1]]
        assert clock.monotonic() == 0


@pytest.mark.parametrize(("asked_ms", "granted_ms"), [(1, 50), (100, 100), (250, 250), (501, 1000), (9999, 5000)])
@pytest.mark.parametrize("phase_s", [0.0, 0.003, 0.049, 0.777])
async def test_the_first_conflated_update_comes_within_one_interval(
    asked_ms: int, granted_ms: int, phase_s: float
) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, flush_ms=10_000) as url, await Wire.open(url) as wire:
        await clock.advance(phase_s)
        answer = await wire.subscribe(["AAPL"], mode="conflated", interval_ms=asked_ms)
        feed.trades(("AAPL", 0, 1, 1))
        before = await rows_at(wire)
        await clock.advance(granted_ms / 1000 + 0.001)

        assert answer["channels"][0]["interval_ms"] == granted_ms
        assert (before, await rows_at(wire)) == (0, 1)


async def _updates_until_the_end(wire: Wire) -> list[Any]:
    updates = []
    while (message := await wire.receive()).get("id") != "end":
        if is_data(message):
            updates.append(message)
    return updates


@pytest.mark.parametrize("interval_ms", [50, 250, 1000])
async def test_there_is_one_conflated_update_in_an_interval_and_no_more(interval_ms: int) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url, [JSON]) as wire:
        await wire.subscribe(["AAPL"], mode="conflated", interval_ms=interval_ms)
        reading = asyncio.create_task(_updates_until_the_end(wire))  # for one that doesn't read they would be merged
        for step in range(500):
            feed.trades(("AAPL", step, step + 1, 1))
            await clock.advance(0.01)
        await wire.send({"op": "ping", "id": "end"})

        updates = await reading
        assert len(updates) == pytest.approx(5000 / interval_ms, abs=1)
        assert sum(update["count"][0] for update in updates) == pytest.approx(500, abs=interval_ms / 10)


# When bars are sent


async def test_a_bar_without_a_follower_ends_within_a_second_of_its_time() -> None:
    feed, clock = HandFeed(), ManualClock(NOON_NS)
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        answer = await wire.subscribe(["AAPL"], kind="bars", interval_s=1)
        await clock.advance(0.3)
        feed.trades(("AAPL", 300_000, 18931, 7))
        await clock.advance(0.69)
        early = await rows_at(wire)
        await clock.advance(1.0)
        await rows_at(wire)

        assert early == 0
        assert wire.rows == 1
        assert answer["channels"][0]["interval_s"] == 1


async def test_a_running_bar_is_updated_and_its_last_row_is_final() -> None:
    feed, clock = HandFeed(), ManualClock(NOON_NS)
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        answer = await wire.subscribe(["AAPL"], kind="bars", interval_s=5, mode="conflated", interval_ms=100)
        columns = answer["channels"][0]["columns"]
        feed.trades(("AAPL", 0, 18931, 7))
        await clock.advance(0.2)
        running_bar = await wire.data()
        feed.trades(("AAPL", 200_000, 19000, 3))
        await clock.advance(6)
        updates = [await wire.data()]
        await wire.send({"op": "ping"})
        while kind_of(message := await wire.receive()) != "pong":
            updates.append(message)

        bars = [rows_of(each, columns)[-1] for each in (running_bar, *updates) if is_data(each)]
        assert [int(bar[5]) for bar in bars][:2] == [7, 10]
        assert {bar[0] for bar in bars} == {NOON_US}
        assert {each[1] for each in updates if is_data(each)} == {0}


async def test_the_bars_of_a_replay_end_by_the_clock_of_the_replay_alone() -> None:
    feed, clock = HandFeed(replay=Replay(10)), ManualClock(NOON_NS)
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"], kind="bars", interval_s=1)
        feed.trades(("AAPL", 0, 18931, 7))
        await clock.advance(20)
        before = await rows_at(wire)
        feed.emit.time(NOON_NS + 1_000_000_000)
        await clock.advance(0.1)

        assert (before, await rows_at(wire)) == (0, 1)


async def test_welcome_and_status_of_a_replay_tell_its_clock() -> None:
    feed, clock = HandFeed(replay=Replay(None)), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url, [JSON]) as wire:
        feed.emit.time(NOON_NS)
        await wire.ask(op="subscribe", symbols=["AAPL"])
        status = await wire.receive()

        assert wire.welcome["clock"] == {"time": None, "speed": None}
        assert status["clock"] == {"time": "2026-11-23T12:00:00.000000000Z", "speed": None}


# Beginnings and ends


@pytest.mark.parametrize("at_once", [1, 256])
async def test_all_rows_come_before_the_word_that_there_are_no_more(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticker.stream.hub.SLICE_CLIENTS", at_once)
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, flush_ms=1000) as url:
        wires = [await Wire.open(url) for _ in range(4)]
        for wire in wires[:2]:
            await wire.subscribe(["AAPL"])
        for wire in wires[2:]:
            await wire.subscribe(["AAPL"], mode="conflated", interval_ms=5000)
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        feed.end()

        for wire in wires:
            seen = []
            while seen[-1:] != ["ended"]:
                message = await wire.receive()
                seen.append("data" if is_data(message) else message["state"])
            assert seen == ["live", "data", "ended"]
            assert (await wire.ask(op="ping"))["type"] == "pong"
            wire.close()


class Stubborn(HandFeed):
    """A feed that does not stop when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def run(self, emit: Emit) -> None:
        self.emit = emit
        self.runs_now.set()
        while not self.let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.let_go.wait()


async def test_a_feed_that_does_not_stop_keeps_no_goodbye_from_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "FEED_STOP_S", 0.01)
    feed = Stubborn()
    async with running(feed, ManualClock()) as url:
        wire = await Wire.open(url)

    await wire.until(lambda message: message["type"] == "goodbye")
    closed = await wire.ending()

    feed.let_go.set()
    assert closed.code == 1001


async def test_a_step_that_fails_is_told_and_the_next_one_is_made(
    errors: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        connections = feed.emit._emit._connections  # type: ignore[attr-defined]
        with monkeypatch.context() as broken:
            broken.setattr(type(connections), "tick", lambda self: 1 / 0)
            await clock.advance(1)
        feed.trades(("AAPL", 0, 1, 1), flush=False)
        await clock.advance(1)

        assert await rows_at(wire) == 1
        assert [record.getMessage() for record in errors] == ["a step of the server failed; it goes on"]
        errors.clear()


async def test_a_feed_that_cannot_be_prepared_opens_no_port() -> None:
    class Broken(HandFeed):
        async def prepare(self) -> Any:
            raise FatalFeedError("no such file: ticks.csv")

    node = Node(Settings("broken", port=0), Broken(), SystemClock())
    with pytest.raises(FatalFeedError, match="no such file"):
        await node.start()
    await node.stop()


async def test_each_start_is_an_epoch_of_its_own_and_rows_of_another_are_not_asked_for() -> None:
    feeds, epochs = [HandFeed(), HandFeed()], []
    for feed in feeds:
        async with running(feed) as url, await Wire.open(url) as wire:
            feed.trades(("AAPL", 0, 1, 1), ("AAPL", 1, 1, 1))
            answer = await wire.subscribe(["AAPL"], since={"AAPL": 1}, epoch=epochs[0] if epochs else "other")
            epochs.append(wire.welcome["epoch"])

            assert (answer["channels"][0]["seq"], answer["channels"][0]["missed"]) == (2, None)

    assert epochs[0] != epochs[1]


async def test_what_is_too_old_cannot_be_had_any_more() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, history_s=60) as url:
        feed.trades(("AAPL", 0, 1, 1))
        await clock.advance(200)
        feed.trades(("AAPL", 1, 1, 1))

        async with await Wire.open(url) as wire:
            answer = await wire.subscribe(["AAPL"], since={"AAPL": 0}, epoch=wire.welcome["epoch"])

            assert (answer["channels"][0]["seq"], answer["channels"][0]["missed"]) == (1, 1)
            assert (await wire.data())[1:3] == [1, 1]


@pytest.mark.parametrize(
    ("kinds", "bars_s", "said"),
    [
        (("trades", "moods"), (), "kinds are some of trades, quotes, bars"),
        ((), (), "kinds are some of"),
        (("bars",), (), "go together"),
        (("trades",), (60,), "go together"),
    ],
)
def test_a_feed_of_impossible_kinds_is_refused(kinds: tuple[str, ...], bars_s: tuple[int, ...], said: str) -> None:
    feed = HandFeed(kinds=kinds)
    feed.bars_s = bars_s

    with pytest.raises(FatalFeedError, match=said):
        series_of(feed)


@pytest.mark.parametrize(
    ("kinds", "bars_s", "intervals"),
    [
        (("trades",), (), [1, 5, 60, 3600, 86400]),
        (("trades", "bars"), (1800,), [1, 5, 60, 1800, 3600, 86400]),
        (("bars",), (1800,), [1800, 3600, 86400]),
        (("bars",), (60,), [60, 3600, 86400]),
        (("quotes",), (), []),
    ],
)
def test_the_intervals_are_those_that_can_be_had(
    kinds: tuple[str, ...], bars_s: tuple[int, ...], intervals: list[int]
) -> None:
    feed = HandFeed(kinds=kinds)
    feed.bars_s = bars_s

    assert [series for series in series_of(feed) if series.kind == "bars"] == [
        Series("bars", interval_s) for interval_s in intervals
    ]


async def test_clients_are_told_when_every_row_of_the_feed_is_refused() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, stall_s=5) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"])
        states = []
        for price in [0] * 8 + [1] * 3:
            feed.trades(("AAPL", 0, price, 1))
            await clock.advance(1)
        while len(states) < 3:
            message = await wire.receive()
            states += [message["state"]] if kind_of(message) == "status" else []

        assert states == ["live", "stalled", "live"]
