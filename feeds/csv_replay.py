"""The feed `csv`: replays trades, quotes or bars from files, exactly, at their own pace or any other."""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self

from feeds.csv_layouts import ROLES
from feeds.csv_merge import Run, merge
from feeds.csv_options import Options, add_options, parse_options
from feeds.csv_pace import STEP_S, Pace
from feeds.csv_parquet import doubles_of, is_parquet
from feeds.csv_progress import Progress
from feeds.csv_reader import PARSERS, BadRow
from feeds.csv_scan import LOGGED_BAD_ROWS, BadRows, look_ahead, scan
from feeds.csv_sources import Catalogue, Facts, Source, recognise_file
from feeds.csv_text import PIECE_BYTES, BadFileError
from feeds.csv_zones import LATEST_NS, SECOND_NS
from ticker.clock import Clock
from ticker.columns import Ints
from ticker.feed import Emit, FatalFeedError, Feed, Replay
from ticker.model import Instrument, Series

log = logging.getLogger(__name__)

_LEAST_PIECE = 1 << 14
_PIECES_IN_ALL = 16
_MOST_PARSED_AHEAD = 4


class CsvFeed(Feed):
    """Replay of trades, quotes or bars from CSV or Parquet files, at any speed.

    `prepare` reads each file through: nothing is emitted from one that isn't good. `run` reads them again, the next
    piece in a worker thread while the present one is emitted, so that memory stays bounded and the loop free.
    """

    name = "csv"

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._options = options
        self.replay = None if options.restamp else Replay(options.speed)
        self.ahead_s = None  # at ten times the speed a restamped file runs ahead of the clock
        self.bad_rows = BadRows(options.skip_bad_rows)
        self._facts: list[Facts] = []
        self._catalogue = Catalogue(6)
        self._stop = threading.Event()
        self._left: Counter[Series] = Counter()

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        add_options(parser)

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        return cls(parse_options(args), clock)

    async def prepare(self) -> Sequence[Instrument]:
        self._stop = threading.Event()
        with ThreadPoolExecutor(1, "csv-scan") as pool:
            try:
                await asyncio.get_running_loop().run_in_executor(pool, self._learn)
            except BadFileError as error:
                raise FatalFeedError(str(error)) from None
            finally:
                self._stop.set()
        kinds = {facts.plan.kind for facts in self._facts}
        self.kinds = tuple(kind for kind in ROLES if kind in kinds)
        self.bars_s = tuple(sorted({facts.interval_s for facts in self._facts if facts.interval_s}))
        self.identity = self._identity()
        return self._catalogue.instruments()

    def resume(self, taken: Mapping[Series, int]) -> None:
        self._left = Counter(taken)
        log.info("the replay goes on behind %d rows", self._left.total())

    def _identity(self) -> str | None:
        """Return what decides which rows come in which order: the files as they are, and how they are read. Endless
        rounds whose times are now are begun anew, as any feed whose time is now."""
        options = self._options
        if options.loop and options.restamp:
            return None
        stats = [(os.path.abspath(path), os.stat(path)) for path in options.files]
        files = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        how = (options.loop, options.restamp, options.hints, options.symbols, options.scan, dict(options.scale))
        return repr((files, how, options.skip_bad_rows))

    def _learn(self) -> None:
        """Find out about all files. Runs in a thread."""
        options = self._options
        hints = [replace(options.hints, symbol=symbol) for symbol in (options.symbols or ("",))]
        hints *= len(options.files) if len(hints) == 1 else 1
        plans = [recognise_file(path, each) for path, each in zip(options.files, hints, strict=True)]
        progress = Progress(options.files, sys.stderr)
        self._facts, self.bad_rows.count = [], 0
        for plan in plans:
            if options.scan:
                with progress.of(plan.path) as on_read:
                    facts = scan(plan, self.bad_rows, on_read, self._stop.is_set)
            else:
                facts = look_ahead(plan, options.scale)
            _tell(facts)
            self._facts.append(facts)
        if self.bad_rows.count > LOGGED_BAD_ROWS:
            log.warning("%d bad rows skipped in all", self.bad_rows.count)
        sort_bytes = sum(facts.sort_bytes for facts in self._facts if not facts.in_order)
        if sort_bytes > options.sort_mib << 20:
            unsorted = next(facts for facts in self._facts if not facts.in_order)
            raise BadFileError(
                f"{unsorted.plan.path}: its rows are not in order of time; sorting takes {-(-sort_bytes >> 20)} MiB, "
                f"which --sort-mib {options.sort_mib} doesn't allow"
            )
        self._catalogue = Catalogue.of(self._facts)

    async def run(self, emit: Emit) -> None:
        options = self._options
        if options.wait_for:
            await emit.subscribers(options.wait_for)
        pace = Pace(emit, self._catalogue, self.clock, options.speed, options.window_ms)
        self._stop = threading.Event()
        pool = ThreadPoolExecutor(1, "csv-read")
        try:
            span = await self._round(pool, pace)
            while options.loop and self._goes_on(pace, span):
                pace.shift += span
                await self._round(pool, pace)
        except BadFileError as error:
            raise FatalFeedError(str(error)) from None
        finally:
            self._stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
        pace.finish()

    async def _round(self, pool: ThreadPoolExecutor, pace: Pace) -> int:
        """Replay all files once. Return by how much a next round is to be shifted."""
        loop = asyncio.get_running_loop()
        runs = self._runs()
        first = last = None
        rows: Counter[Series] = Counter()
        ahead: asyncio.Future[Run | None] = loop.run_in_executor(pool, next, runs, None)
        try:
            while (run := await self._alive_until(ahead, pace)) is not None:
                ahead = loop.run_in_executor(pool, next, runs, None)
                first = int(run.due[0]) if first is None else first
                last = int(run.due[-1])
                rows.update({part.series: len(part.due) for part in run.parts})
                if (left := self._what_is_left(run)) is None:
                    continue
                if self._options.restamp and pace.last is None:
                    pace.shift = self._to_now(int(left.due[0]))
                await pace.replay(left)
        finally:
            ahead.cancel()
        span = self._span(first, last)
        if pace.last is None and last is not None and not self._options.restamp:
            self._leave_out_rounds(pace, rows, span, last)
        return span

    def _what_is_left(self, run: Run) -> Run | None:
        """Return a run without what was emitted before a restart; None if that was all of it."""
        if not self._left:
            return run
        parts = []
        for part in run.parts:
            out = min(self._left[part.series], len(part.due))
            self._left[part.series] -= out
            if out < len(part.due):
                parts.append(part.rows(out, len(part.due)))
        self._left = +self._left
        return Run.of(parts) if parts else None

    def _leave_out_rounds(self, pace: Pace, rows: Counter[Series], span: int, last: int) -> None:
        """Go on behind a whole round that was emitted before a restart, and all others that were."""
        rounds = min(self._left[series] // count for series, count in rows.items())
        for series, count in rows.items():
            self._left[series] -= rounds * count
        pace.shift += rounds * span
        pace.last = last + pace.shift

    async def _alive_until(self, future: asyncio.Future[Run | None], pace: Pace) -> Run | None:
        """Return what a future brings; while it takes its time (a slow disk, a long sort), tell that the feed lives."""
        while True:
            done, _ = await asyncio.wait({future}, timeout=STEP_S)
            if done:
                return future.result()
            pace.alive(self.clock.now() if self._options.restamp else min(facts.first_ns for facts in self._facts))

    def _runs(self) -> Iterator[Run]:
        files = len(self._facts)
        size = max(_LEAST_PIECE, min(PIECE_BYTES, PIECE_BYTES * _PIECES_IN_ALL // files))
        parsers = PARSERS if files <= _MOST_PARSED_AHEAD else 0
        sources = (Source(facts, self._catalogue, size, parsers) for facts in self._facts)
        return merge([source.parts(self._on_bad_rows, self._stop.is_set) for source in sources])

    def _on_bad_rows(self, path: str, unit: str, rows: tuple[BadRow, ...]) -> None:
        """Take bad rows of the replay: those of a scanned file were counted then, or are new in it."""
        if not self._options.scan or not self.bad_rows.skip:
            self.bad_rows.take(path, unit, rows)

    @property
    def _second(self) -> int:
        return int(10**self._catalogue.time_scale)

    @property
    def _grid(self) -> int:
        """What shifts of time are multiples of, so that bars go on starting at multiples of their interval."""
        return math.lcm(*self.bars_s) * self._second if self.bars_s else 1

    def _to_now(self, first: int) -> int:
        return (self.clock.now() * self._second // SECOND_NS - first) // self._grid * self._grid

    def _span(self, first: int | None, last: int | None) -> int:
        """Return the time from the first row to the last, a bar's own included; a second where there is none."""
        if first is None or last is None:
            return self._second
        span = last - first + (max(self.bars_s) * self._second if self.bars_s else 0)
        return -(-span // self._grid) * self._grid or self._second

    def _goes_on(self, pace: Pace, span: int) -> bool:
        if pace.last is None:
            return False
        if (pace.last + span) * SECOND_NS // self._second < LATEST_NS:
            return True
        log.warning("--loop ends: the next round would reach beyond the year 2199")
        return False


def _tell(facts: Facts) -> None:
    """Log what was recognised of a file, in one line."""
    plan = facts.plan
    symbols = facts.symbols or ("symbols of its own",)
    shown = ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")
    said = [f"{plan.kind} of {facts.interval_s} s of {shown}" if facts.interval_s else f"{plan.kind} of {shown}"]
    if facts.scanned:
        said.append(f"{facts.rows:,} rows" + (f" ({facts.bad_rows:,} bad ones skipped)" if facts.bad_rows else ""))
        said.append(f"{_iso(facts.first_ns)} to {_iso(facts.last_ns)}")
        said.append(f"price scale {_few(facts.price_scales)}, size scale {_few(facts.size_scales)}")
        said.append("in order of time" if facts.in_order else "sorted by time")
    if facts.interval_s and (facts.first_ns + facts.offset_ns) % (facts.interval_s * SECOND_NS):
        said.append("its bars do not start at multiples of their interval")
    said.append(f"time {plan.time}")
    if missing := [role for role in ROLES[plan.kind] if role not in plan.roles and role not in ("notional", "count")]:
        said.append(f"no {', '.join(missing)}: 0")
    if is_parquet(plan.path) and (doubles := doubles_of(plan)):
        said.append(f"{', '.join(doubles)} are doubles, taken by their shortest decimal")
    log.info("%s: %s: %s", plan.shown, plan.layout, "; ".join(said))


def _few(scales: Ints) -> str:
    least, most = int(scales.min()), int(scales.max())
    return str(most) if least == most else f"{least} to {most}"


def _iso(time_ns: int) -> str:
    seconds, fraction = divmod(time_ns, SECOND_NS)
    text = (datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"
