"""Joins the parts to a server: the one place that knows the concrete classes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dashboard
from ticker import __version__, doors
from ticker.broker.memory import MemoryBroker
from ticker.clock import Clock
from ticker.config import Settings
from ticker.feed import FatalFeedError, Feed
from ticker.intake import Intake, prepared
from ticker.journal.parts import Parts
from ticker.model import KINDS, Instrument, Series
from ticker.protocol.messages import CONFLATION_MS
from ticker.protocol.native import MsgpackCodec
from ticker.protocol.text import JsonCodec
from ticker.server import alpaca_rest
from ticker.server.alpaca import Streams
from ticker.server.alpaca_test_market import AlpacaTestMarket
from ticker.server.app import Server
from ticker.server.connections import Connections
from ticker.server.loop_watch import LoopWatch
from ticker.server.metrics import Metrics, Sources
from ticker.server.ready import Readiness
from ticker.server.visits import Visits
from ticker.stream.alpaca_accounts import PLANS, Accounts
from ticker.stream.alpaca_days import Days
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import MIB, History
from ticker.stream.hub import Hub
from ticker.stream.market import Limits, Market
from ticker.supervisor import Supervisor

if TYPE_CHECKING:
    from ticker.journal.journal import Journal

log = logging.getLogger(__name__)

LATENESS_NS = 500_000_000
"""How far the clock that ends a live feed's bars is behind, so that trades that are on their way still count."""
FAILED_STEP = "a step of the server failed; it goes on"
FEED_STOP_S = 1.0
"""How long a feed may take to stop; --drain-s is how long the clients may take then."""


class Node:
    """A feed, the stream and the server around it."""

    def __init__(self, settings: Settings, feed: Feed, clock: Clock) -> None:
        self._settings = settings
        self._feed = feed
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._server: Server | None = None
        self._journal: Journal | None = None
        self._rereads: list[Callable[[], None]] = []
        """What SIGHUP calls, each of which logs what it did."""
        self._gate = doors.gate(settings, clock)
        self._rereads.append(self._reread_tokens)
        self._doorway = doors.doorway(settings)
        self._certificate = doors.certificate(settings)
        if self._certificate is not None:
            self._rereads.append(self._certificate.reload)

    async def start(self) -> str:
        """Prepare the feed, listen, and let the feed run; return the URL of the page.

        Raises FatalFeedError when the feed cannot be prepared, OSError when the server cannot listen, JournalError when
        there can be no journal.
        """
        if self._settings.journal:
            self._journal = self._possess_journal()
        self._make_stream(await prepared(self._feed))
        self._make_doors()
        settings = self._settings
        pages = dashboard.files()
        supervisor = Supervisor(
            self._feed, self._intake, self._clock, settings.stall_s, self._change_state, rows=self._count_rows
        )
        self._watch_over(supervisor)
        more = [*self._alpaca.routes(), *alpaca_rest.routes(self._alpaca)]
        more += [*self._metrics.routes(), *self._readiness.routes()]
        try:
            self._server = Server(
                self._connections,
                pages,
                dashboard.HEADERS,
                settings.port,
                more,
                self._doorway,
                self._visits,
                self._certificate,
            )
        except OSError:
            if self._journal is not None:
                self._journal.close()  # nobody was offered anything: it goes on with the next start
            raise
        self._ticking = asyncio.create_task(self._tick())
        self._tasks = [
            asyncio.create_task(supervisor.run()),
            asyncio.create_task(self._flush_on_time()),
            self._ticking,
            asyncio.create_task(self._alpaca_test.run()),
        ]
        if self._journal is not None:
            self._tasks.append(asyncio.create_task(self._journal.sync_on_time()))
        for task in self._tasks:
            task.add_done_callback(_tell_failure)
        self._loop_watch.start()
        if settings.trusted_proxy and not self._gate.is_required and not settings.no_auth:
            log.warning("whoever comes by the proxy is asked for no token: set --token-file, or --no-auth to say so")
        return self._server.url

    async def stop(self) -> None:
        """Let nobody in any more, stop the feed, publish what it still emitted, say goodbye and close."""
        if self._server is None:
            return
        self._readiness.is_leaving = True
        self._server.stop_accepting()
        await self._cancel(task for task in self._tasks if task is not self._ticking)
        self._guarded(self._batcher.flush)
        self._intake.close()
        if self._journal is not None:
            self._guarded(self._journal.close)
        began_s = self._clock.monotonic()
        farewell = await self._connections.say_goodbye(self._settings.drain_s, lambda: self._guarded(self._serve_all))
        await self._cancel([self._ticking])  # until here tokens expire, and the silent and the late are cut
        await self._server.close()
        log.info(
            "stopped: said goodbye to %d clients in %.1f s; %d of them were cut with %d bytes unsent",
            farewell.clients,
            self._clock.monotonic() - began_s,
            farewell.cut,
            farewell.unsent_bytes,
        )
        self._loop_watch.stop()

    async def _cancel(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Cancel tasks, and wait a little for them to end."""
        ending = list(tasks)
        for task in ending:
            task.cancel()
        await asyncio.wait(ending, timeout=FEED_STOP_S)

    def reload(self) -> None:
        """Read the files anew that can change while it runs; one that cannot be used leaves what was read before."""
        for reread in self._rereads:
            self._guarded(reread)

    def _reread_tokens(self) -> None:
        """Read tokens and keys anew, and end the connections of those that are no more."""
        self._gate.reload()
        if self._server is not None:
            self._sweep = asyncio.create_task(self._connections.tick())
            self._sweep.add_done_callback(_tell_failure)

    def _make_stream(self, instruments: list[Instrument]) -> None:
        """Make what a tick passes from the feed to the Hub."""
        settings, clock, feed = self._settings, self._clock, self._feed
        series, journal = series_of(feed), self._journal
        past = None if journal is None else journal.recall(feed, series, instruments)
        epoch, known = (secrets.token_hex(4), instruments) if past is None else (past.epoch, past.instruments)
        self._directory = Directory(epoch, series, known)
        self._directory.add(instruments)
        folded = [interval_s for interval_s in self._directory.intervals if interval_s not in feed.bars_s]
        bars = Bars(self._directory, folded)
        self._history = History(self._directory, settings.history_mib, settings.history_s, settings.bars_mib)
        later = asyncio.get_running_loop().call_soon
        is_replay = feed.replay is not None
        now_ns = None if is_replay else clock.now
        self._hub = Hub(
            self._directory,
            self._history,
            bars,
            later,
            is_waited_for=is_replay,
            shared_bytes=int(settings.backlog_mib * MIB),
        )
        broker = MemoryBroker()
        self._batcher = Batcher(
            self._directory, bars, broker.publish, feed=feed.name, now_ns=now_ns, ahead_s=feed.ahead_s
        )
        days = Days(self._directory, self._hub.publish)
        if journal is not None:
            journal.begin(
                Parts(self._directory, self._batcher, bars, days, self._history), feed, past, settings.history_s
            )
            broker.subscribe(journal.publish)
        broker.subscribe(lambda blocks: self._history.append(blocks, clock.monotonic()))
        broker.subscribe(days.publish)
        if journal is not None:
            broker.subscribe(journal.settle)
        self._market = Market(
            feed_name=feed.name,
            version=__version__,
            directory=self._directory,
            history=self._history,
            bars=bars,
            hub=self._hub,
            now_ns=clock.now,
            feed_clock_ns=lambda: self._batcher.clock_ns,
            replay=feed.replay,
            heartbeat_s=settings.heartbeat_s,
            gate=self._gate,
            auth_s=settings.auth_s,
            limits=Limits(
                message_bytes=settings.max_message_kib * 1024,
                channels=settings.max_channels,
                commands_per_s=settings.max_commands_per_s,
            ),
        )

    def _make_doors(self) -> None:
        """Make what clients come in by, and the feed."""
        settings, clock = self._settings, self._clock
        outbox_bytes = int(settings.outbox_mib * MIB)
        self._connections = Connections(self._market, [MsgpackCodec(), JsonCodec()], clock, outbox_bytes)
        self._visits = Visits(
            self._market.counts,
            clock,
            settings.max_connections,
            settings.max_connections_per_address,
            self._doorway.proxies,
            self._certificate,
        )
        self._alpaca_test = AlpacaTestMarket(clock, self._market.limits)
        accounts = Accounts(
            doors.credentials(settings.alpaca_key),
            PLANS[settings.alpaca_plan],
            self._gate,
            is_open_to_all=settings.no_auth,
            auth_s=settings.auth_s,
        )
        self._alpaca = Streams(self._connections, accounts, self._alpaca_test.market, self._doorway.proxies)
        self._intake = Intake(self._batcher, self._connections, self._announce, clock, at_once=settings.flush_ms == 0)

    def _possess_journal(self) -> Journal:
        from ticker.journal.journal import Journal  # here, because only who keeps one needs pyarrow

        settings = self._settings
        return Journal(
            Path(settings.journal),
            self._clock,
            limit_mib=settings.journal_mib,
            fsync_s=settings.journal_fsync_s,
            on_stuck=lambda: os.kill(os.getpid(), signal.SIGTERM),
        )

    def _announce(self, numbers: list[int]) -> None:
        """Tell the clients of new symbols, which are in the journal by then."""
        if self._journal is not None:
            self._journal.note_symbols()
        self._connections.announce(numbers)

    def _watch_over(self, supervisor: Supervisor) -> None:
        """Make what tells how the server does."""
        self._readiness = Readiness(
            self._market,
            lambda: self._server is not None and self._server.accepts,
            lambda: self._journal is not None and self._journal.failed,
        )
        sources = Sources(
            markets=[self._market, self._alpaca_test.market],
            connections=self._connections,
            batcher=self._batcher,
            supervisor=supervisor,
            journal=self._journal,
            why_not_ready=self._readiness.why_not,
        )
        self._metrics = Metrics(sources)
        self._loop_watch = LoopWatch(self._metrics.lag_s.observe)

    async def _flush_on_time(self) -> None:
        """Flush at multiples of the batching window; serve conflated clients at multiples of their interval."""
        step_us = CONFLATION_MS[0] * 1000
        flush_ms = self._settings.flush_ms
        window_us = round(max(1.0, flush_ms) * 1000) if flush_ms else step_us  # without one only bars wait for a flush
        last_us = self._monotonic_us()
        while True:
            next_us = min((last_us // each + 1) * each for each in (window_us, step_us))
            await self._clock.sleep((next_us - self._monotonic_us()) / 1e6)
            now_us = self._monotonic_us()
            if self._feed.replay is None:
                self._batcher.time(self._clock.now() - LATENESS_NS)
            if now_us // window_us > last_us // window_us:
                self._guarded(self._batcher.flush)
                self._guarded(self._hub.serve_late)
            for interval_ms in self._hub.intervals_ms:
                if now_us // (interval_ms * 1000) > last_us // (interval_ms * 1000):
                    self._guarded(partial(self._hub.conflate, interval_ms))
            last_us = now_us

    def _monotonic_us(self) -> int:
        return round(self._clock.monotonic() * 1e6)

    def _count_rows(self) -> tuple[int, int]:
        """Return how many rows of the feed were taken so far, and how many refused."""
        return self._batcher.rows, self._batcher.refusals.counts.total()

    def _serve_all(self) -> None:
        """Serve all that can take more, and those of mode `conflated` though their interval has not ended."""
        self._conflate_all()
        self._hub.serve_late()
        self._hub.serve_all()

    def _conflate_all(self) -> None:
        for interval_ms in self._hub.intervals_ms:
            self._hub.conflate(interval_ms)

    async def _tick(self) -> None:
        """Do what is due once a second, and when a token expires."""
        while True:
            await self._clock.sleep(min(1.0, max(0.05, self._gate.next_expiry_s())))
            self._guarded(lambda: self._history.trim(self._clock.monotonic()))
            if self._server is not None:
                self._server.tick(self._clock.monotonic())
            try:
                await self._connections.tick()
            except Exception:
                log.exception(FAILED_STEP)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do some work; what goes wrong there must not end all that comes after."""
        try:
            work()
        except Exception:
            log.exception(FAILED_STEP)

    def _change_state(self, state: str) -> None:
        # The last rows come before the word that there are no more.
        self._guarded(self._conflate_all)
        self._guarded(self._hub.settle)
        self._market.state = state
        self._connections.tell_status()


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.critical("a part of the server has ended that should not: restart it", exc_info=failure)


def series_of(feed: Feed) -> list[Series]:
    """Return the series that a prepared feed has, with the bars that are folded. Raises FatalFeedError."""
    unknown = set(feed.kinds) - set(KINDS)
    if unknown or not feed.kinds:
        raise FatalFeedError(f"feed {feed.name}: kinds are some of {', '.join(KINDS)}, not {list(feed.kinds)}")
    if ("bars" in feed.kinds) != bool(feed.bars_s):
        raise FatalFeedError(f"feed {feed.name}: kind bars and their intervals, bars_s, go together")
    intervals = feed.intervals(feed.kinds, feed.bars_s)
    ticks = [Series(kind) for kind in ("trades", "quotes") if kind in feed.kinds]
    return [*ticks, *(Series("bars", interval_s) for interval_s in intervals)]
