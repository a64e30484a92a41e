"""Clients of one server, side by side: in both modes, quick and slow, waiting for each other, and all told goodbye."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.journeys.conftest import Recording
from tests.wire import JSON, MSGPACK, Closed, Wire, is_data, kind_of, rows_of

SUMMARY = ("time", "open", "high", "low", "close", "volume", "notional", "count")


class Listener:
    """Listens to the trades of every symbol, in one mode, until the connection ends."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.channels: dict[int, dict[str, Any]] = {}
        self.rows: dict[str, dict[int, tuple[Any, ...]]] = defaultdict(dict)
        """By symbol and number of the first row that each stands for."""
        self.messages = 0
        self.last: Any = None
        self.closed: Closed

    async def subscribe(self, **fields: Any) -> None:
        answer = await self.wire.subscribe(["*"], **fields)
        self.channels = {each["channel"]: each for each in answer["channels"]}

    async def listen(self) -> None:
        try:
            while True:
                message = await self.wire.receive()
                if is_data(message):
                    self._take(message)
                self.last = message
        except Closed as closed:
            self.closed = closed
        self.wire.close()

    def _take(self, message: Any) -> None:
        self.messages += 1
        channel = self.channels[message[0] if isinstance(message, list) else message["channel"]]
        seq = message[1] if isinstance(message, list) else message["seq"]
        for row in rows_of(message, channel["columns"]):
            self.rows[channel["symbol"]][seq] = row
            seq += int(row[-1]) if channel["mode"] == "conflated" else 1


def summary_of(trades: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what trades (time, price, size) amount to, as section 7 of the page says."""
    prices, sizes = [trade[1] for trade in trades], [trade[2] for trade in trades]
    notional = sum((price * size for _, price, size in trades), Decimal(0))
    return (trades[-1][0], prices[0], max(prices), min(prices), prices[-1], sum(sizes), notional, len(trades))


async def test_each_conflated_update_is_the_summary_of_just_the_rows_that_another_client_gets(
    start_server: Any, until: Any
) -> None:
    server = start_server("--feed", "simulated", "--rate", "4000", "--seed", "7")
    every = Listener(await Wire.open(server.url))
    await every.subscribe()
    conflated = [Listener(await Wire.open(server.url)) for _ in range(3)]
    for listener, interval_ms in zip(conflated, (50, 100, 250), strict=True):
        await listener.subscribe(mode="conflated", interval_ms=interval_ms)
    listening = [asyncio.create_task(each.listen()) for each in (every, *conflated)]

    await until(lambda: all(len(each.rows) >= 30 and each.messages >= 150 for each in conflated), 20)
    assert server.stop() == 0
    await asyncio.gather(*listening)

    for listener in conflated:
        for channel in listener.channels.values():
            symbol, expected = channel["symbol"], channel["seq"]
            for seq, update in sorted(listener.rows[symbol].items()):
                count = int(update[-1])
                assert seq == expected
                assert update == summary_of([every.rows[symbol][number] for number in range(seq, seq + count)])
                expected += count
            assert expected == max(every.rows[symbol], default=channel["seq"] - 1) + 1, "the last rows never came"
    assert conflated[-1].messages < every.messages / 2
    assert "Traceback" not in server.log


async def test_a_replay_waits_for_its_clients_and_each_gets_every_row(start_server: Any, bitcoin: Recording) -> None:
    server = start_server("--feed", "csv", str(bitcoin.path), "--speed", "max", "--wait-for", "2")
    early, other, third = [Listener(await Wire.open(server.url, [offer])) for offer in (MSGPACK, JSON, MSGPACK)]
    await early.subscribe()
    await third.subscribe(mode="conflated")
    for _ in range(8):  # and each command makes it wait on
        assert (await third.wire.ask(op="ping"))["rows"] == 0
    before = await early.wire.ask(op="ping")
    await other.subscribe()

    listening = [asyncio.create_task(each.listen()) for each in (early, other, third)]
    while min(len(early.rows["BTCUSDT"]), len(other.rows["BTCUSDT"])) < len(bitcoin.rows):
        await asyncio.sleep(0.005)
    while sum(row[-1] for row in third.rows["BTCUSDT"].values()) < len(bitcoin.rows):
        await asyncio.sleep(0.005)
    server.stop()
    await asyncio.gather(*listening)

    expected = [(price, size) for _, price, size in bitcoin.rows]
    assert before["rows"] == 0
    for listener in (early, other):
        assert [row[1:] for _, row in sorted(listener.rows["BTCUSDT"].items())] == expected


async def test_a_slow_bot_is_never_cut_off_from_a_replay_at_full_speed(
    start_server: Any, tmp_path: Path, chance: random.Random
) -> None:
    total = 40_000
    prices = [chance.randrange(1, 10**7) for _ in range(total)]
    path = tmp_path / "bitstampUSD.csv"
    path.write_text("".join(f"{1_300_000_000 + i // 9},{price / 100:.2f},{i}.5\n" for i, price in enumerate(prices)))
    server = start_server("--feed", "csv", str(path), "--speed", "max", "--wait-for", "2", "--outbox-mib", "1")
    slow = await Wire.open(server.url, [JSON], receive_bytes=32768)
    (symbol,) = (await slow.ask(op="symbols"))["symbols"]
    quick = await Wire.open(server.url)
    await quick.subscribe([symbol])
    await slow.subscribe([symbol])

    async def read_all() -> None:
        while quick.rows < total:
            await quick.receive()

    reading = asyncio.create_task(read_all())
    received: list[Decimal] = []
    most_ahead = 0
    while len(received) < total:
        message = await slow.data()
        assert message["seq"] == len(received)
        received += message["price"]
        most_ahead = max(most_ahead, quick.rows - len(received))
    await reading

    assert received == [Decimal(price).scaleb(-2) for price in prices]
    assert most_ahead < total / 2, "the replay did not wait for the slow one"
    slow.close()
    quick.close()


async def test_sigterm_ends_a_replay_with_goodbyes_though_some_never_read(
    start_server: Any, bitcoin: Recording, until: Any
) -> None:
    server = start_server("--feed", "csv", str(bitcoin.path), "--speed", "max", "--loop", "--outbox-mib", "1")
    deaf = [await Wire.open(server.url, receive_bytes=4096) for _ in range(5)]
    for wire in deaf:
        await wire.subscribe(["*"], kind="trades", mode="conflated", interval_ms=50)
        await wire.subscribe(["*"], kind="bars", interval_s=1, mode="conflated", interval_ms=50)
    listeners = [Listener(await Wire.open(server.url, [JSON if number % 9 == 0 else MSGPACK])) for number in range(45)]
    for number, listener in enumerate(listeners):
        await listener.subscribe(**({"mode": "conflated", "interval_ms": 50} if number % 2 else {}))
    listening = [asyncio.create_task(each.listen()) for each in listeners]
    await until(lambda: all(each.messages for each in listeners), 20)

    server.process.send_signal(signal.SIGTERM)
    began_s = time.monotonic()
    await asyncio.gather(*listening)
    await until(lambda: server.process.poll() is not None)

    assert server.process.returncode == 0
    assert time.monotonic() - began_s < 5
    assert {each.closed.code for each in listeners} == {1001}
    assert {kind_of(each.last) for each in listeners} == {"goodbye"}
    assert len({each.last["reconnect_ms"] for each in listeners}) == 45
    assert "Traceback" not in server.log
    for wire in deaf:
        wire.close()


async def test_the_simulated_feed_with_a_seed_is_the_same_for_another_server(start_server: Any) -> None:
    seen = []
    for _ in range(2):
        server = start_server("--feed", "simulated", "--rate", "2000", "--seed", "11", "--symbols", "AAPL,MSFT")
        async with await Wire.open(server.url) as wire:
            answer = await wire.subscribe(["AAPL"], since={"AAPL": 0}, epoch=wire.welcome["epoch"])
            rows: list[tuple[Any, ...]] = []
            while len(rows) < 500:
                rows += rows_of(await wire.data(), answer["channels"][0]["columns"])
            seen.append([row[1:] for row in rows[:500]])

    assert seen[0] == seen[1]
