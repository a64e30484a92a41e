"""`/metrics`: what this server counts, as Prometheus and its like read it.

Nothing is counted here. What happens to rows, bytes and connections is counted where it happens, in plain integers, and
read when somebody asks; only the two histograms are kept here. Each server has a registry of its own, so that two in
one process don't collide.
"""

from __future__ import annotations

import asyncio
import gzip
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, GCCollector, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector
from tornado.routing import PathMatches, Rule
from tornado.web import RequestHandler

from ticker.feed import REFUSALS
from ticker.model import Series
from ticker.protocol.messages import CloseCode
from ticker.server import guard
from ticker.server.connections import Connections
from ticker.stream.batcher import Batcher
from ticker.stream.market import Market

STATES = ("waiting", "live", "stalled", "ended", "failed")
MOST_REASONS = 64
"""Reasons that are told apart: they are names that we chose, and this sees to it that it stays so."""
FLUSH_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
GZIP_LEVEL = 1
"""Levels above make half a percent less of it in three times the time."""


class Journal(Protocol):
    """What a journal counts."""

    rows: int
    fsync_s: float
    failed: bool

    @property
    def bytes(self) -> int: ...


class Restarted(Protocol):
    """What keeps a feed running."""

    restarts: int


@dataclass(slots=True, kw_only=True)
class Sources:
    """Where the numbers are read. `markets` are those that clients can listen to, the feed's first."""

    markets: Sequence[Market]
    connections: Connections
    batcher: Batcher
    supervisor: Restarted | None = None
    journal: Journal | None = None
    why_not_ready: Callable[[], str | None] = lambda: None


class Metrics:
    """A server's metrics. From now on the batcher of `sources` tells how long its flushes take."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.registry = CollectorRegistry(auto_describe=False)
        self.flush_s = Histogram(
            "tickercast_flush_seconds",
            "Time that a flush with rows took: sorting, numbering, journal, encoding, and the first slice of clients.",
            registry=self.registry,
            buckets=FLUSH_S,
        )
        self.lag_s = Histogram(
            "tickercast_loop_lag_seconds",
            "How late the event loop was, ten times a second.",
            registry=self.registry,
            buckets=LAG_S,
        )
        sources.batcher.clock, sources.batcher.on_flush = time.perf_counter, self.flush_s.observe
        self.registry.register(_Counted(sources))
        self._process = _Process()
        self.registry.register(self._process)
        GCCollector(registry=self.registry)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return all there is, and its content type, in the best format for an `Accept` header."""
        await asyncio.get_running_loop().run_in_executor(None, self._process.look)
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def routes(self) -> list[Rule]:
        """Return the address of the metrics."""
        return [Rule(PathMatches("/metrics"), MetricsHandler, {"metrics": self})]


class MetricsHandler(RequestHandler):
    """Answers a scrape: in the text format or in OpenMetrics, compressed if asked for."""

    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def get(self) -> None:
        grant = guard.ask(self._metrics.sources.markets[0], self.request)
        if isinstance(grant, guard.Refusal):
            grant.head(self)
            self._tell(grant.message)
            return
        body, content_type = await self._metrics.text(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.set_header("Vary", "Accept, Accept-Encoding")
        if gzip_accepted(self.request.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, GZIP_LEVEL)
            self.set_header("Content-Encoding", "gzip")
        self.finish(body)

    async def head(self) -> None:
        await self.get()

    def compute_etag(self) -> str | None:
        return None  # no two scrapes are alike

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self._tell(self._reason.lower())

    def _tell(self, words: str) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(words + "\n")


class _Process(Collector):
    """What the system knows of this process. Looked up in a thread: to count 10,000 open files takes it 8 ms."""

    def __init__(self) -> None:
        self._source = ProcessCollector(registry=None)
        self._found: list[Metric] = []

    def look(self) -> None:
        """Look it up anew."""
        self._found = list(self._source.collect())

    def collect(self) -> Iterator[Metric]:
        yield from self._found


class _Counted(Collector):
    """Reads what is counted elsewhere. All within one turn of the loop, so that the numbers belong together."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        yield from self._about()
        yield from self._clients()
        yield from self._rows_in()
        yield from self._rows_out()
        yield from self._waiting()
        yield from self._kept()
        yield from self._feed()
        if self._sources.journal is not None:
            yield from _journal(self._sources.journal)

    def _about(self) -> Iterator[Metric]:
        market = self._sources.markets[0]
        build = {"version": market.version, "python": platform.python_version()}
        yield InfoMetricFamily("tickercast_build", "The server's version, and Python's.", value=build)
        epoch = {"epoch": market.directory.epoch, "feed": market.feed_name}
        yield InfoMetricFamily("tickercast_epoch", "The numbering of all channels.", value=epoch)
        ready = self._sources.why_not_ready() is None
        yield GaugeMetricFamily("tickercast_ready", "Whether /readyz says yes.", value=ready)

    def _clients(self) -> Iterator[Metric]:
        counts, connections = [market.counts for market in self._sources.markets], self._sources.connections
        yield GaugeMetricFamily("tickercast_connections", "Clients connected now.", value=len(connections))
        yield CounterMetricFamily(
            "tickercast_connections_opened", "Clients that have connected.", value=sum(each.opened for each in counts)
        )
        known = [*(code.name.lower() for code in CloseCode), "gone"]
        yield _labelled(
            CounterMetricFamily(
                "tickercast_connections_closed", "Connections that have ended, by reason.", labels=["reason"]
            ),
            _reasons(known, [each.closes for each in counts]),
        )
        yield _labelled(
            CounterMetricFamily(
                "tickercast_refusals",
                "What was refused to clients and strangers, by reason.",
                labels=["reason"],
            ),
            _reasons(["limit", "token"], [each.refusals for each in counts]),
        )
        listened = GaugeMetricFamily(
            "tickercast_subscriptions",
            "Channels that are listened to, each as often as it has listeners.",
            labels=["kind", "mode"],
        )
        found = {(kind, mode): 0 for kind in _kinds(self._sources) for mode in ("all", "conflated")}
        for market in self._sources.markets:
            for (series, is_conflated), count in market.hub.ledger.subscriptions.items():
                key = _kind(series), "conflated" if is_conflated else "all"
                found[key] = found.get(key, 0) + count
        for (kind, mode), count in found.items():
            listened.add_metric([kind, mode], count)
        yield listened

    def _rows_in(self) -> Iterator[Metric]:
        batcher = self._sources.batcher
        yield _labelled(
            CounterMetricFamily(
                "tickercast_rows_in", "Rows that were numbered, bars that were folded here too.", labels=["kind"]
            ),
            _by_kind(batcher.rows_by_series),
        )
        yield _labelled(
            CounterMetricFamily("tickercast_rows_refused", "Rows refused at the feed's door.", labels=["reason"]),
            _reasons(REFUSALS, [batcher.refusals.counts]),
        )
        yield CounterMetricFamily(
            "tickercast_rows_restamped",
            "Rows that were older than their predecessor and were given its time.",
            value=batcher.restamped,
        )

    def _rows_out(self) -> Iterator[Metric]:
        """Yield the ledger: due = delivered + merged + missed + abandoned + owed."""
        totals = self._sources.connections.totals
        due = sum(market.hub.ledger.due for market in self._sources.markets)
        done = totals.delivered + totals.merged + totals.missed + totals.abandoned
        for name, text, value in (
            ("due", "Rows produced in channels while clients listened, once for each of them.", due),
            ("delivered", "Rows sent to clients as rows of their own.", totals.delivered),
            ("merged", "Rows merged into those: an update of n rows delivers one and merges n - 1.", totals.merged),
            ("missed", "Rows that clients were told to be lost.", totals.missed),
            ("abandoned", "Rows still owed when a subscription or its connection ended.", totals.abandoned),
        ):
            yield CounterMetricFamily(f"tickercast_rows_{name}", text, value=value)
        yield GaugeMetricFamily(
            "tickercast_rows_owed", "Rows that are on their way: due less all that became of them.", value=due - done
        )
        yield CounterMetricFamily(
            "tickercast_running_bars", "Bars sent before they had ended; no rows of the ledger.", value=totals.running
        )
        yield CounterMetricFamily("tickercast_sent_bytes", "Bytes handed to clients' sockets.", value=totals.sent)

    def _waiting(self) -> Iterator[Metric]:
        totals = self._sources.connections.totals
        behind = [market.hub.behind for market in self._sources.markets]
        for name, text, value in (
            ("clients_behind", "Clients for whom something waits.", len(totals.waiting)),
            ("outbox_bytes", "Bytes that wait in all outboxes.", totals.queued),
            (
                "outbox_largest_bytes",
                "Bytes that wait for the client for whom most does, in its outbox and in the backlog.",
                totals.most_waiting,
            ),
            ("backlog_flushes", "Flushes kept for clients who are behind.", sum(flushes for flushes, _ in behind)),
            ("backlog_bytes", "What these occupy, once for all.", sum(size for _, size in behind)),
        ):
            yield GaugeMetricFamily(f"tickercast_{name}", text, value=value)
        yield CounterMetricFamily(
            "tickercast_outbox_overflows",
            "Outboxes that passed --outbox-mib, or a share of --backlog-mib.",
            value=totals.overflowed,
        )

    def _kept(self) -> Iterator[Metric]:
        market = self._sources.markets[0]
        directory, history = market.directory, market.history
        yield GaugeMetricFamily("tickercast_symbols", "Symbols known.", value=len(directory))
        channels = len(directory) * len(directory.series)
        yield GaugeMetricFamily("tickercast_channels", "Channels that can be subscribed.", value=channels)
        yield GaugeMetricFamily("tickercast_history_bytes", "What the history occupies.", value=history.nbytes)
        yield _labelled(
            GaugeMetricFamily("tickercast_history_rows", "Rows that clients can resume from.", labels=["kind"]),
            _by_kind({series: history[series].rows for series in directory.series}),
        )

    def _feed(self) -> Iterator[Metric]:
        market, supervisor = self._sources.markets[0], self._sources.supervisor
        states = {state: state == market.state for state in (*STATES, market.state)}
        yield _labelled(
            GaugeMetricFamily("tickercast_feed_state", "1 for the state that the feed is in.", labels=["state"]), states
        )
        clock_ns = market.feed_clock_ns()
        if clock_ns is not None:
            yield GaugeMetricFamily(
                "tickercast_feed_clock_seconds", "The latest time that the feed has told, UNIX time.", clock_ns / 1e9
            )
        if supervisor is not None:
            yield CounterMetricFamily(
                "tickercast_feed_restarts", "How often the feed was started again.", value=supervisor.restarts
            )


def _journal(journal: Journal) -> Iterator[Metric]:
    yield CounterMetricFamily("tickercast_journal_rows", "Rows written to the journal.", value=journal.rows)
    yield GaugeMetricFamily("tickercast_journal_bytes", "What the journal occupies.", value=journal.bytes)
    yield GaugeMetricFamily(
        "tickercast_journal_fsync_seconds", "How long it took last to force all to the disk.", value=journal.fsync_s
    )
    yield GaugeMetricFamily(
        "tickercast_journal_failed", "Whether the journal has ended before the server.", value=journal.failed
    )


def _kind(series: Series) -> str:
    """Return the kind of a series; Alpaca's days, which no feed has, are bars."""
    return series.kind if series.kind in ("trades", "quotes") else "bars"


def _kinds(sources: Sources) -> Iterable[str]:
    return dict.fromkeys(map(_kind, sources.markets[0].directory.series))


def _by_kind(rows: Mapping[Series, int]) -> Mapping[str, int]:
    sums: dict[str, int] = {}
    for series, count in rows.items():
        sums[_kind(series)] = sums.get(_kind(series), 0) + count
    return sums


def _reasons(known: Iterable[str], counters: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """Return counts by reason, those `known` from the beginning, so that the first of a kind is a rise from 0."""
    sums = dict.fromkeys(known, 0)
    for counter in counters:
        for reason, count in counter.items():
            key = reason if reason in sums or len(sums) < MOST_REASONS else "other"
            sums[key] = sums.get(key, 0) + count
    return sums


def _labelled(family: Any, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family  # type: ignore[no-any-return]
