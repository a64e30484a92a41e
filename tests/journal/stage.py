"""A server's parts with a journal, or without, and all that a client can see of them; and how a process is killed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from ticker.broker.memory import MemoryBroker
from ticker.clock import ManualClock
from ticker.columns import Block, Ints, Ticks
from ticker.feed import Feed, Replay
from ticker.journal.journal import Journal
from ticker.journal.parts import Parts
from ticker.model import Instrument, Series
from ticker.stream.alpaca_days import Days
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.descriptors import describe, snapshots
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.hub import Hub
from ticker.stream.market import Market

EPOCH = "9f2c51d0"
INTERVALS_S = (1, 5, 60)
SERIES = (Series("trades"), Series("quotes"), *(Series("bars", interval_s) for interval_s in INTERVALS_S))
INSTRUMENTS = (Instrument("AAPL"), Instrument("BTC/USD", 1, 3, 9, "crypto"), Instrument("MSFT"))
START_NS = 1_795_404_000_000_000_000
Rows = Sequence[tuple[Any, ...]]


class Killed(BaseException):
    """The process was killed in the middle of a write."""


@contextmanager
def killed_after(size: int) -> Iterator[None]:
    """Meanwhile, let the process be killed once it has written so many bytes, wherever in a write that is."""
    left = size

    def write_some(fd: int, data: memoryview) -> int:
        nonlocal left
        taken = real(fd, data[:left]) if left else 0
        left -= taken
        if taken < len(data):
            raise Killed
        return taken

    from ticker.journal import segment

    real = segment.write_some
    with mock.patch("ticker.journal.segment.write_some", write_some):
        yield


class Stage:
    """A market with all its parts but the sockets. With a path it keeps a journal there, and begins with what that has.

    Time stands still but for `at_s`, the feed's time, in seconds from the beginning.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        instruments: Sequence[Instrument] = INSTRUMENTS,
        series: Sequence[Series] = SERIES,
        feed: Feed | None = None,
        limit_mib: float = 1024,
        fsync_s: float = 1.0,
        clock: ManualClock | None = None,
    ) -> None:
        self.clock = clock or ManualClock(START_NS)
        self.feed = feed or Feed()
        self.at_s = 0.0
        self.stuck = 0
        self.offered: list[list[Block]] = []
        """What consumers were handed since this stage began, flush by flush, with the days of Alpaca's streams."""
        self.journal: Journal | None = None
        if path is not None:
            self.journal = Journal(path, self.clock, limit_mib=limit_mib, fsync_s=fsync_s, on_stuck=self._stick)
        past = None if self.journal is None else self.journal.recall(self.feed, series, instruments)
        epoch, known = (EPOCH, instruments) if past is None else (past.epoch, past.instruments)
        self.directory = Directory(epoch, series, known)
        self.directory.add(instruments)
        bars = Bars(self.directory, self.directory.intervals)
        self.history = History(self.directory, 64, 3600, 64)
        hub = Hub(self.directory, self.history, bars)
        broker = MemoryBroker()
        self.batcher = Batcher(self.directory, bars, broker.publish)
        self.days = Days(self.directory, lambda blocks: self.offered.append(list(blocks)))
        if self.journal is not None:
            self.journal.begin(
                Parts(self.directory, self.batcher, bars, self.days, self.history), self.feed, past, 3600
            )
            broker.subscribe(self.journal.publish)
        broker.subscribe(lambda blocks: self.history.append(blocks, self.clock.monotonic()))
        broker.subscribe(self.days.publish)
        if self.journal is not None:
            broker.subscribe(self.journal.settle)
        self.market = Market(
            feed_name="test",
            version="1.0.0",
            directory=self.directory,
            history=self.history,
            bars=bars,
            hub=hub,
            now_ns=lambda: START_NS,
            feed_clock_ns=lambda: self.batcher.clock_ns,
            replay=Replay(1.0),
        )

    @property
    def everyone(self) -> Ints:
        """The numbers of all symbols."""
        return np.arange(len(self.directory))

    def emit(self, kind: str, rows: Rows) -> None:
        """Emit rows: a symbol, its time in seconds from the beginning, and the values."""
        symbols = tuple(dict.fromkeys(row[0] for row in rows))
        codes = np.array([symbols.index(row[0]) for row in rows])
        scales = {each.symbol: each.time_scale for each in self.directory.instruments}
        time = [(START_NS + round(row[1] * 1e9)) // 10 ** (9 - scales[row[0]]) for row in rows]
        columns = [np.array(column, np.int64) for column in zip(*(row[2:] for row in rows), strict=True)]
        self.batcher.emit(Ticks(kind, symbols, codes, (np.array(time, np.int64), *columns)))

    def trade(self, symbol: str = "AAPL", price: int = 18931, size: int = 100) -> None:
        """Emit a trade and flush."""
        self.emit("trades", [(symbol, self.at_s, price, size)])
        self.flush()

    def announce(self, instrument: Instrument) -> None:
        if self.batcher.announce([instrument]) and self.journal is not None:
            self.journal.note_symbols()

    def flush(self, seconds: float = 0.0) -> None:
        """Let time pass for the feed, and flush."""
        self.at_s += seconds
        self.batcher.time(START_NS + round(self.at_s * 1e9))
        self.batcher.flush()

    def kill(self) -> None:
        """Let go of the files, as the system does for a process that was killed."""
        assert self.journal is not None
        self.journal._segment.close()
        self.journal._folder.close()
        self.journal._syncing.shutdown()

    def stop(self) -> None:
        """Stop properly."""
        assert self.journal is not None
        self.journal.close()

    def _stick(self) -> None:
        self.stuck += 1


def rows_of(blocks: Sequence[Block]) -> dict[Any, list[Any]]:
    """Return what blocks have of each channel, row by row: the number, how many were lost before it, the values."""
    found: dict[Any, list[Any]] = {}
    for block in blocks:
        columns = [column.tolist() for column in (*block.columns, *(block.estimates or ()))]
        for run, symbol in enumerate(block.symbols.tolist()):
            rows = found.setdefault((block.series, symbol), [])
            missed = 0 if block.missed is None else int(block.missed[run])
            for place, i in enumerate(range(int(block.offsets[run]), int(block.offsets[run + 1]))):
                values = [value for column in columns if (value := column[i]) == value]  # a NaN says that all fit
                rows.append((int(block.seqs[run]) + place, missed if not place else 0, *values))
    return found


def published(stage: Stage, first: int = 0) -> list[Any]:
    """Return all that was handed to consumers from a flush of this stage on, by value."""
    return [[(block.number, block.epoch, rows_of([block])) for block in blocks] for blocks in stage.offered[first:]]


def seen(stage: Stage) -> dict[str, Any]:
    """Return all that a client can see of a server: its welcome, each channel's description, each row, each state."""
    market, everyone = stage.market, stage.everyone
    found: dict[str, Any] = {"welcome": market.welcome, "symbols": list(stage.directory.instruments)}
    for series in stage.directory.series:
        shelf = stage.history[series]
        first, following = shelf.first_seqs(everyone), shelf.next_seqs(everyone)
        found[f"{series} from"] = first.tolist()
        for interval_ms in (0, 250):
            for seqs in (first, (first + following + 1) // 2, following):
                missed = [0] * len(everyone)
                key = f"{series} at {interval_ms} from {seqs.tolist()}"
                found[key] = describe(market, series, interval_ms, everyone, seqs, missed)
        found[f"{series} now"] = snapshots(market, series, everyone)
        found[f"{series} rows"] = rows_of(list(stage.history[series].blocks_after(-1)))
    found["days"] = {
        name: column[stage.days.checkpoint()["present"]].tolist() for name, column in stage.days.checkpoint().items()
    }
    return found


@contextmanager
def another_boot() -> Iterator[None]:
    """Meanwhile, the machine was started anew."""
    with (
        mock.patch("ticker.journal.past.boot_id", return_value="another"),
        mock.patch("ticker.journal.journal.boot_id", return_value="another"),
    ):
        yield


def has_gone_on(stage: Stage) -> bool:
    """Tell whether a stage knows rows of another one before it: a new epoch knows none."""
    assert not stage.offered
    return stage.batcher.flushes > 0


def traded(path: Path, times: int = 3, **options: object) -> Stage:
    """Return a stage with a journal that has had some trades."""
    stage = Stage(path, **options)  # type: ignore[arg-type]
    for price in range(times):
        stage.trade("AAPL", price + 1)
    return stage
