"""Plays a Tape, and tells from inside how the server does.

python -m ticker --feed benchmarks.soak.tape_feed:TapeFeed
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import numpy as np

from benchmarks.probes import watch_loop, write
from benchmarks.soak.tape import PRICE_SCALE, SIZE_SCALE, TIME_SCALE, Tape
from ticker.clock import Clock
from ticker.columns import Ticks
from ticker.feed import Emit, Feed, Instrument

CADENCE_S = 0.01
OURS = ("ticker.", "tornado.")


class TapeFeed(Feed):
    """The rows of a Tape, each at its time, then silence."""

    name = "tape"
    kinds = ("trades", "quotes")

    def __init__(self, tape: Tape, rounds: int, lag_report: str, census: str, clock: Clock) -> None:
        super().__init__(clock)
        self._tape = tape
        self._rounds = rounds
        self._lag_report = lag_report
        self._census = census

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        parser.add_argument("--tape-symbols", default="20", help="how many (default: %(default)s)")
        parser.add_argument("--rate", default="10000", help="trades a second, and quotes (default: %(default)s)")
        parser.add_argument("--start-us", default="0", help="when the first row happens, UNIX (default: now)")
        parser.add_argument("--rounds", default="0", help="rounds of the tape that are played; 0: all (default)")
        parser.add_argument("--lag-report", default="", help="file that the loop's lags are written to at the end")
        parser.add_argument("--census", default="", help="file that SIGUSR1 has tasks and objects written to")

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        start_us = int(args.start_us) or clock.now() // 1000
        tape = Tape(int(args.tape_symbols), float(args.rate), start_us)
        return cls(tape, int(args.rounds) or 1 << 40, args.lag_report, args.census, clock)

    async def prepare(self) -> Sequence[Instrument]:
        return [Instrument(name, PRICE_SCALE, SIZE_SCALE, TIME_SCALE) for name in self._tape.names]

    async def run(self, emit: Emit) -> None:
        async with AsyncExitStack() as stack:
            if self._lag_report:
                await stack.enter_async_context(watch_loop(self._lag_report))
            if self._census:
                await stack.enter_async_context(_census_on_demand(self._census))
            await self._play(emit)
            while True:  # a live market that is silent: ending would be told to the clients as the end of the feed
                emit.time(self.clock.now())
                await self.clock.sleep(1.0)

    async def _play(self, emit: Emit) -> None:
        names = self._tape.names
        for number in range(self._rounds):
            symbols, times, trade, quote = self._tape.round(number)
            played = 0
            while True:
                due = int(np.searchsorted(times, self.clock.now() // 1000, "right"))
                if due > played:
                    part = slice(played, due)
                    emit(Ticks("trades", names, symbols[part], (times[part], *(column[part] for column in trade))))
                    emit(Ticks("quotes", names, symbols[part], (times[part], *(column[part] for column in quote))))
                    played = due
                if played == len(times):
                    break
                await self.clock.sleep(CADENCE_S)
            if number % 16 == 0:  # others get their turn, however late this is
                await self.clock.sleep(0.0)


@asynccontextmanager
async def _census_on_demand(path: str) -> Any:
    """Write what lives in this process to a file whenever SIGUSR1 comes, after a full collection of garbage."""

    def census() -> None:
        gc.unfreeze()
        gc.collect()
        kinds = Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
        gc.freeze()
        ours = {kind: count for kind, count in kinds.items() if kind.startswith(OURS)}
        trimmed = hasattr(ctypes.CDLL(None), "malloc_trim")
        if trimmed:
            ctypes.CDLL(None).malloc_trim(0)
        write(path, {"when": time.time(), "tasks": len(asyncio.all_tasks()), "objects": ours, "trimmed": trimmed})

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, census)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)
