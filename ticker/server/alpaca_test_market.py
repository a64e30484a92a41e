"""The market of `/v2/test`: one made-up symbol, FAKEPACA, that always trades and that no other stream has."""

from __future__ import annotations

import asyncio
import random
import secrets

import numpy as np

from ticker import __version__
from ticker.broker.memory import MemoryBroker
from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.model import Instrument, Series
from ticker.stream.alpaca_days import Days
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.hub import Hub
from ticker.stream.market import Limits, Market

SYMBOL = "FAKEPACA"
CADENCE_S = 0.25
_SERIES = (Series("trades"), Series("quotes"), Series("bars", 60))
_SYMBOLS, _CODES = (SYMBOL,), np.zeros(1, np.int64)
_LOWEST, _HIGHEST = 10_000, 20_000


class AlpacaTestMarket:
    """A market beside that of the feed: a trade and a quote each quarter of a second while `run` runs."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        directory = Directory(secrets.token_hex(4), _SERIES, [Instrument(SYMBOL)])
        bars = Bars(directory, [60])
        history = History(directory, 1, 3600, 1)
        hub = Hub(directory, history, bars, asyncio.get_running_loop().call_soon)
        broker = MemoryBroker()
        broker.subscribe(lambda blocks: history.append(blocks, clock.monotonic()))
        broker.subscribe(Days(directory, hub.publish).publish)
        self._batcher = Batcher(directory, bars, broker.publish)
        self._price = (_LOWEST + _HIGHEST) // 2
        self.market = Market(
            feed_name="fakepaca",
            version=__version__,
            directory=directory,
            history=history,
            bars=bars,
            hub=hub,
            now_ns=clock.now,
            feed_clock_ns=lambda: self._batcher.clock_ns,
            state="live",
            limits=limits,
        )

    async def run(self) -> None:
        """Trade for ever."""
        while True:
            self._trade()
            self._batcher.time(self._clock.now())
            self._batcher.flush()
            self.market.hub.serve_late()
            self.market.history.trim(self._clock.monotonic())
            await self._clock.sleep(CADENCE_S)

    def _trade(self) -> None:
        self._price = min(max(self._price + random.randint(-5, 5), _LOWEST), _HIGHEST)
        time, price, size = self._clock.now() // 1000, self._price, random.randint(1, 10) * 100
        self._emit("trades", time, price, size)
        self._emit("quotes", time, price - 1, size, price + 1, random.randint(1, 10) * 100)

    def _emit(self, kind: str, *row: int) -> None:
        self._batcher.emit(Ticks(kind, _SYMBOLS, _CODES, tuple(np.array([value], np.int64) for value in row)))
