"""What the tests of the feed `csv` share: the feed made as the command line makes it, and an Emit that remembers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from feeds.csv_replay import CsvFeed
from ticker.clock import Clock, ManualClock
from ticker.columns import Ticks, columns_of
from ticker.model import Instrument

DATA = Path(__file__).resolve().parent.parent / "data"

Row = tuple[Any, ...]
"""Symbol, time in UNIX nanoseconds, then the other columns as Decimals."""


@dataclass
class Recorder:
    """An Emit that keeps what it is given. `on_ready` and `on_emit` are called when a replay asks or emits."""

    known: dict[str, Instrument] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    on_ready: Callable[[], Any] | None = None
    on_emit: Callable[[Ticks], None] | None = None
    subscribed: Any = None

    def __call__(self, ticks: Ticks) -> None:
        self.calls.append(("ticks", ticks))
        if self.on_emit:
            self.on_emit(ticks)

    def time(self, time_ns: int) -> None:
        self.calls.append(("time", time_ns))

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        self.known |= {each.symbol: each for each in instruments}

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        raise AssertionError("a replay loses nothing")

    def flush(self) -> None:
        self.calls.append(("flush", None))

    async def ready(self) -> None:
        self.calls.append(("ready", None))
        if self.on_ready and (waiting := self.on_ready()) is not None:
            await waiting

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        self.calls.append(("subscribers", count))
        if self.subscribed is not None:
            await self.subscribed

    @property
    def ticks(self) -> list[Ticks]:
        return [value for what, value in self.calls if what == "ticks"]

    @property
    def times(self) -> list[int]:
        return [value for what, value in self.calls if what == "time"]

    def rows(self, kind: str | None = None) -> list[Row]:
        """Return all rows in the order in which they came."""
        return [row for ticks in self.ticks if kind in (None, ticks.kind) for row in self.rows_of(ticks)]

    def rows_of(self, ticks: Ticks) -> list[Row]:
        """Return rows with the decimals that their symbols' scales give them."""
        names = columns_of(ticks.kind)
        rows = []
        for code, *values in zip(ticks.codes.tolist(), *(column.tolist() for column in ticks.columns), strict=True):
            instrument = self.known[ticks.symbols[code]]
            time = values[0] * 10 ** (9 - instrument.time_scale)
            numbers = [
                Decimal(value).scaleb(-instrument.scale(column.quantity))
                for column, value in zip(names[1:], values[1:], strict=True)
            ]
            rows.append((instrument.symbol, time, *numbers))
        return rows


def make(*arguments: object, clock: Clock | None = None) -> CsvFeed:
    """Return the feed that `--feed csv ARGUMENTS` makes, on a clock that stands still unless given another."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    CsvFeed.options(parser.add_argument_group())
    return CsvFeed.from_options(parser.parse_args([str(each) for each in arguments]), clock or ManualClock())


@dataclass
class Replayed:
    """A feed that has been replayed to its end."""

    feed: CsvFeed
    instruments: dict[str, Instrument]
    emit: Recorder

    def rows(self, kind: str | None = None) -> list[Row]:
        return self.emit.rows(kind)


async def replay(*arguments: object) -> Replayed:
    """Replay files as fast as can be and return what was emitted."""
    feed = make("--speed", "max", *arguments)
    instruments = {each.symbol: each for each in await feed.prepare()}
    emit = Recorder(dict(instruments))
    await feed.run(emit)
    return Replayed(feed, instruments, emit)
