"""A replay of real ticks reaches a client whole, however often its connection is cut."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.journeys.conftest import Cutter, Recording, Row
from tests.wire import JSON, MSGPACK, Closed, Wire, fetch, is_data, rows_of

CUTS = 6


class Bot:
    """A client that resumes: it knows the next row that it needs, and checks every promise on the way."""

    def __init__(self, symbol: str, offer: str) -> None:
        self.symbol = symbol
        self.offer = offer
        self.rows: list[Row] = []
        self.epoch: str | None = None

    async def live(self, url: str, total: int, on_row: Callable[[int], None] = lambda count: None) -> None:
        """Connect, resume, and take rows until there are `total`. Raises Closed where the connection ends before.

        `on_row` is called with the number of rows whenever there are more.
        """
        wire = await Wire.open(url, [self.offer])
        try:
            self.epoch = self.epoch or wire.welcome["epoch"]
            answer = await wire.subscribe([self.symbol], since={self.symbol: len(self.rows)}, epoch=self.epoch)
            (channel,) = answer["channels"]
            assert (channel["seq"], channel["missed"]) == (len(self.rows), 0)
            while len(self.rows) < total:
                message = await wire.receive()
                if is_data(message):
                    self._take(message, channel)
                    on_row(len(self.rows))
        finally:
            wire.close()

    def _take(self, message: Any, channel: dict[str, Any]) -> None:
        number, seq = message[:2] if isinstance(message, list) else (message["channel"], message["seq"])
        assert (number, seq) == (channel["channel"], len(self.rows)), "a row is missing, or comes twice"
        times, prices, sizes = zip(*rows_of(message, channel["columns"]), strict=True)
        if isinstance(times[0], str):
            stamps = np.array([time.removesuffix("Z") for time in times], "M8[ns]").astype(np.int64).tolist()
        else:
            stamps = [time * 10 ** (9 - channel["columns"][0][1]) for time in times]
        self.rows += zip(stamps, prices, sizes, strict=True)


async def numbered(url: str, symbol: str) -> int:
    """Return how many rows of a symbol the server has numbered so far."""
    _, _, body = await fetch(url, f"/api/snapshot?symbols={symbol}")
    return int(json.loads(body)["symbols"][symbol].get("trades", {"seq": 0})["seq"])


async def live_past(behind: int, bot: Bot, wire: Cutter, total: int, size: int) -> None:
    """Let a bot take the rows that it is behind by, and cut it off `size` bytes after the first one that is new."""
    wire.allow(None)

    def on_row(count: int) -> None:
        nonlocal behind
        if count > behind:
            behind = total
            wire.allow(size)

    with pytest.raises(Closed):
        await bot.live(wire.url, total, on_row)


@pytest.mark.parametrize(
    ("name", "speed", "offer"),
    [
        ("bitcoin", "max", MSGPACK),
        ("bitcoin", "150", JSON),
        ("bitcoin", "250", MSGPACK),
        ("ibm", "max", JSON),
        ("ibm", "25000", MSGPACK),
    ],
)
async def test_every_row_comes_once_and_in_order_though_the_connection_is_cut_again_and_again(
    name: str,
    speed: str,
    offer: str,
    request: pytest.FixtureRequest,
    start_server: Any,
    chance: random.Random,
) -> None:
    recording: Recording = request.getfixturevalue(name)
    total = len(recording.rows)
    server = start_server("--feed", "csv", str(recording.path), "--speed", speed, "--wait-for", "1")
    bot = Bot(recording.symbol, offer)
    resumed_into_live_rows = 0

    async with Cutter(server.url).running() as wire:
        for cuts in range(CUTS):
            behind = await numbered(server.url, recording.symbol)
            if cuts >= CUTS / 2 or speed == "max":
                wire.allow(chance.randrange(1, 3 * (total - len(bot.rows))))
                with pytest.raises(Closed):
                    await bot.live(wire.url, total)
            else:
                await live_past(behind, bot, wire, total, chance.randrange(1, 2000))
            assert wire.cuts == cuts + 1
            assert len(bot.rows) < total, "nothing was outstanding when the connection was cut"
            resumed_into_live_rows += 0 < behind < len(bot.rows)
        await bot.live(wire.url, total)

    assert bot.rows == recording.rows
    assert resumed_into_live_rows >= (0 if speed == "max" else CUTS / 2 - 1)
    assert "Traceback" not in server.log
