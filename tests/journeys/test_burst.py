"""A feed that bursts a hundredfold: memory is bounded, the loop answers, readers get every row, others are told why."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ServerProcess
from tests.wire import Wire, is_data, kind_of

CALM, BURST_STEPS = 20, 100
"""Rows of a step of 10 ms in calm times, and how many steps the hundredfold burst has."""
TOTAL = CALM * 100 * BURST_STEPS + 2 * CALM * 50
FEED = f'''
import numpy as np
from ticker.columns import Ticks
from ticker.feed import Feed, Instrument

SYMBOLS = tuple(f"S{{number:02}}" for number in range(20))


class BurstFeed(Feed):
    """Is calm for half a second, a hundred times as loud for one, and calm again."""

    instruments = [Instrument(symbol) for symbol in SYMBOLS]

    async def run(self, emit):
        await emit.subscribers(12)
        for rows in [{CALM}] * 50 + [{CALM} * 100] * {BURST_STEPS} + [{CALM}] * 50:
            times = np.full(rows, self.clock.now() // 1000)
            numbers = np.arange(rows)
            emit(Ticks("trades", SYMBOLS, numbers % 20, (times, 10_000 + numbers, 1 + numbers % 500)))
            await self.clock.sleep(0.01)
'''


async def test_a_burst_of_a_hundred_times_is_absorbed(
    start_server: Callable[..., ServerProcess], tmp_path: Path, until: Any
) -> None:
    (tmp_path / "burst_feed.py").write_text(FEED)
    server = start_server(
        "--feed", "burst_feed:BurstFeed", "--outbox-mib", "1", "--stall-s", "60", PYTHONPATH=str(tmp_path)
    )
    before_kib = peak_kib(server)
    stuck = [await Wire.open(server.url, receive_bytes=4096) for _ in range(2)]
    whole = [await Wire.open(server.url) for _ in range(10)]
    merged = [await Wire.open(server.url) for _ in range(3)]
    for wire in merged:
        await wire.subscribe(["*"], mode="conflated", interval_ms=100)
    for wire in (*stuck, *whole):
        await wire.subscribe(["*"])
    pinger = await Wire.open(server.url)
    lags: list[float] = []

    async def ping(reading: asyncio.Task[Any]) -> None:
        await until(lambda: whole[0].rows)  # a command before would keep the feed waiting for a pause
        while not reading.done():
            asked_s = time.monotonic()
            await pinger.ask(op="ping")
            lags.append(time.monotonic() - asked_s)
            await asyncio.sleep(0.05)

    reading = asyncio.gather(*(read_all(wire) for wire in (*whole, *merged)))
    await asyncio.gather(reading, ping(reading))
    closed = [await wire.ending() for wire in stuck]

    assert [wire.rows for wire in (*whole, *merged)] == [TOTAL] * 13
    assert [(each.code, each.reason) for each in closed] == [(4008, "too_slow")] * 2
    assert max(lags) < 5
    grown_mib = (peak_kib(server) - before_kib) / 1024
    assert grown_mib < 150, f"{grown_mib:.0f} MiB for {TOTAL} rows"


async def read_all(wire: Wire) -> None:
    """Read until all rows came, each channel's in order."""
    following: dict[int, int] = {}
    while wire.rows < TOTAL:
        before = wire.rows
        message = await wire.receive()
        if is_data(message):
            channel, seq = message[:2]
            assert following.get(channel, seq) == seq
            following[channel] = seq + wire.rows - before
        else:
            assert kind_of(message) in ("status", "channel", "heartbeat")


def peak_kib(server: ServerProcess) -> int:
    """Return the most memory that a server has had so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])
