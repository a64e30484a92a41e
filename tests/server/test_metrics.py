"""`/metrics` as a scraper meets it, and against what clients saw."""

from __future__ import annotations

import gzip
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.samples import Sample

from tests.ledger import Books, Key
from tests.rig import HandFeed, running
from tests.wire import JSON, MSGPACK, Wire, fetch
from ticker.clock import ManualClock

LEDGER = ("due", "delivered", "merged", "missed", "abandoned")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = list(parser.text_string_to_metric_families(text))
        self.samples: list[Sample] = [sample for family in self.families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """Return a value; `name` goes without the prefix."""
        found = [each.value for each in self.samples if each.name == f"tickercast_{name}" and each.labels == labels]
        assert len(found) == 1, f"{name} {labels}: {found}"
        return found[0]

    @property
    def counters(self) -> dict[tuple[str, str], float]:
        """All that may never go down."""
        ends = ("_total", "_bucket", "_count", "_sum")
        return {(each.name, str(each.labels)): each.value for each in self.samples if each.name.endswith(ends)}

    @property
    def ledger(self) -> dict[str, int]:
        return {name: int(self(f"rows_{name}_total")) for name in LEDGER} | {"owed": int(self("rows_owed"))}


async def scrape(url: str) -> Scrape:
    status, headers, body = await fetch(url, "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    return Scrape(body.decode())


@asynccontextmanager
async def listening(url: str, mode: str, **fields: Any) -> AsyncIterator[tuple[Wire, Books]]:
    """Yield a client of AAPL's trades and its books."""
    books = Books()
    async with await Wire.open(url) as wire:
        books.connected(wire.welcome)
        books.take(await wire.subscribe(["AAPL"], mode=mode, **fields))
        yield wire, books


async def read(wire: Wire, books: Books, seq: int) -> None:
    """Read until all rows before `seq` are there, and a pong has confirmed it."""
    while books.accounts[Key("trades", "AAPL")].next < seq:
        books.take(await wire.receive())
    await wire.send({"op": "ping"})
    while not books.proofs:
        books.take(await wire.receive())
    books.settle(Key("trades", "AAPL"), seq)
    assert not books.violations, books.told


async def test_a_scrape_keeps_to_the_conventions() -> None:
    feed = HandFeed()
    async with running(feed) as url:
        feed.trades(("AAPL", 0, 1, 1))

        found = await scrape(url)

    names = [family.name for family in found.families]
    assert len(set(names)) == len(names)
    for family in found.families:
        assert family.documentation, family.name
        assert family.name.startswith(("tickercast_", "process_", "python_gc_"))
        assert family.type == "counter" or not family.name.endswith("_total")
        for unit in ("_ms", "_us", "_ns", "_kib", "_mib", "_kb"):
            assert not family.name.endswith(unit)
    assert found("epoch_info", epoch=_label(found, "epoch"), feed="hand") == 1
    assert {"process_open_fds", "process_resident_memory_bytes", "python_gc_collections"} <= set(names)


def _label(found: Scrape, label: str) -> str:
    (value,) = [each.labels[label] for each in found.samples if label in each.labels]
    return value


@pytest.mark.parametrize("mode", ["all", "conflated"])
async def test_the_ledger_is_what_the_clients_saw(mode: str, until: Callable[..., Any]) -> None:
    feed = HandFeed()
    async with running(feed) as url, listening(url, mode) as (wire, books), listening(url, mode) as (other, its_books):
        feed.trades(*[("AAPL", i, 100 + i, 1) for i in range(50)])
        feed.emit.gap("trades", "AAPL", 7)
        feed.trades(*[("AAPL", 50 + i, 100 + i, 1) for i in range(20)], ("MSFT", 50, 1, 1))
        await read(wire, books, 77)
        await read(other, its_books, 77)

        found = await scrape(url)

    assert found.ledger == {
        "due": 2 * 77,
        "delivered": books.delivered + its_books.delivered,
        "merged": books.merged + its_books.merged,
        "missed": 2 * 7,
        "abandoned": 0,
        "owed": 0,
    }
    assert (books.merged > 0) == (mode == "conflated")
    assert found("subscriptions", kind="trades", mode=mode) == 2
    assert found("connections") == found("connections_opened_total") == 2
    assert found("rows_in_total", kind="trades") == found("history_rows", kind="trades") == 71


async def test_bytes_are_those_that_came() -> None:
    feed = HandFeed()
    async with running(feed) as url, listening(url, "all") as (wire, books):
        handshake = len("HTTP/1.1 101 Switching Protocols\r\n\r\n") + sum(
            len(f"{name}: {value}\r\n") for name, value in wire.headers.items()
        )
        feed.trades(*[("AAPL", i, 100 + i, 1) for i in range(500)])
        await read(wire, books, 500)

        found = await scrape(url)

        assert found("sent_bytes_total") == wire.received - handshake - 2 * len(wire.pings)


async def test_what_those_had_who_are_gone_stays_counted_and_nothing_goes_down(until: Callable[..., Any]) -> None:
    feed = HandFeed()
    async with running(feed) as url:
        before = await scrape(url)
        for turn in range(1, 4):
            async with listening(url, "all") as (wire, books):
                feed.trades(*[("AAPL", i, 100, 1) for i in range(10)])
                await read(wire, books, 10 * turn)
            while (after := await scrape(url))("connections"):
                pass
            assert all(after.counters[key] >= value for key, value in before.counters.items())
            assert after.ledger == dict.fromkeys(LEDGER, 0) | {"due": 10 * turn, "delivered": 10 * turn, "owed": 0}
            assert after("connections_closed_total", reason="gone") == turn
            before = after


async def test_a_client_that_reads_nothing_is_behind_until_it_is_closed_and_what_it_was_owed_is_abandoned() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, outbox_mib=1) as url, await Wire.open(url, receive_bytes=4096) as wire:
        await wire.subscribe(["AAPL"])
        feed.flood(20_000)
        behind = await scrape(url)
        feed.flood(60_000, seed=1)
        await clock.advance(1)
        closed = await scrape(url)

    assert behind("clients_behind") == 1
    assert 0 < behind("outbox_largest_bytes") == behind("outbox_bytes") <= 1 << 20
    assert behind("rows_owed") == 20_000 == behind("rows_due_total")
    assert closed("outbox_overflows_total") == 1
    assert closed("clients_behind") == closed("outbox_bytes") == closed("rows_owed") == 0
    assert closed("rows_abandoned_total") + closed("rows_delivered_total") == closed("rows_due_total") == 80_000


async def test_two_servers_in_one_process_count_apart() -> None:
    feeds = HandFeed(), HandFeed()
    async with running(feeds[0]) as one, running(feeds[1]) as other:
        feeds[0].trades(("AAPL", 0, 1, 1))

        found = [(await scrape(url))("rows_in_total", kind="trades") for url in (one, other)]

    assert found == [1, 0]


async def test_openmetrics_and_gzip_are_for_those_who_ask() -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, "/metrics", headers={"Accept": OPENMETRICS, "Accept-Encoding": "gzip"})

    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert headers["vary"] == "Accept, Accept-Encoding"
    text = gzip.decompress(body).decode()
    families = {each.name: each for each in openmetrics_parser.text_string_to_metric_families(text)}
    assert families["tickercast_rows_due"].type == "counter"
    assert families["tickercast_build"].type == "info"


async def test_head_has_the_headers_and_other_methods_are_refused() -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, "/metrics", "HEAD")
        refused, allowed, _ = await fetch(url, "/metrics", "POST")

    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000
    assert (refused, allowed["allow"]) == (405, "GET, HEAD")


async def test_who_must_have_a_token_needs_it_here_too(tmp_path: Any) -> None:
    file = tmp_path / "tokens.toml"
    digest = hashlib.sha256(b"s3cret-of-the-scraper").hexdigest()
    file.write_text(f'[[token]]\nname = "scraper-of-ours"\nsha256 = "{digest}"\n')
    async with running(HandFeed(), token_file=str(file)) as url:
        without, headers, body = await fetch(url, "/metrics")
        wrong, _, _ = await fetch(url, "/metrics", headers={"Authorization": "Bearer no"})
        right, _, text = await fetch(url, "/metrics", headers={"Authorization": "Bearer s3cret-of-the-scraper"})
        ready, _, _ = await fetch(url, "/readyz")

    assert (without, wrong, right, ready) == (401, 401, 200, 503)
    assert headers["www-authenticate"].startswith("Bearer")
    assert b"tickercast_" not in body
    assert Scrape(text.decode())("refusals_total", reason="token") == 2
    assert b"scraper-of-ours" not in text


async def test_the_feed_is_in_one_state_and_its_restarts_are_counted(
    until: Callable[..., Any], errors: list[logging.LogRecord]
) -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock) as url:
        feed.trades(("AAPL", 0, 1, 1))
        live = await scrape(url)
        feed.end(ConnectionError("the source hung up"))
        await until(lambda: not feed.runs_now.is_set())
        waiting = await scrape(url)
        while not feed.runs_now.is_set():
            await clock.advance(0.5)
        again = await scrape(url)

    assert errors.pop().getMessage().startswith("feed hand failed")
    states = ("waiting", "live", "stalled", "ended", "failed")
    assert [live("feed_state", state=state) for state in states] == [0, 1, 0, 0, 0]
    assert [waiting("feed_state", state=state) for state in states] == [1, 0, 0, 0, 0]
    assert (waiting("feed_restarts_total"), again("feed_restarts_total")) == (0, 1)
    assert (live("ready"), waiting("ready")) == (1, 0)


async def test_names_that_strangers_choose_are_no_labels() -> None:
    feed = HandFeed()
    names = [f"evil{i}" for i in range(300)]
    async with running(feed) as url, await Wire.open(url, (JSON, MSGPACK)) as wire:
        logging.getLogger("ticker.stream").setLevel(logging.ERROR)
        for name in names:
            feed.trades((name, 0, 1, 1), flush=False)
        feed.emit.flush()
        await wire.subscribe(names)
        await wire.ask(op="evil")
        await fetch(url, "/evil", headers={"Origin": "http://evil"})

        found = await scrape(url)

    logging.getLogger("ticker.stream").setLevel(logging.NOTSET)
    assert not [each for each in found.samples if "evil" in str(each.labels)]
    assert found("rows_refused_total", reason="unknown_symbol") == 300
    assert found("refusals_total", reason="unknown_symbol") == 300
    assert found("refusals_total", reason="unknown_op") == 1
    assert len(found.samples) < 300


async def test_histograms_tell_of_flushes_and_of_the_loop(until: Callable[..., Any]) -> None:
    feed = HandFeed(kinds=("quotes",))
    async with running(feed, flush_ms=0) as url:
        for i in range(3):
            feed.quotes(("AAPL", i, 1, 1, 2, 1), flush=False)
        while (found := await scrape(url))("loop_lag_seconds_count") < 2:
            pass

    assert found("flush_seconds_count") == 3

    for name in ("flush_seconds", "loop_lag_seconds"):
        buckets = [each for each in found.samples if each.name == f"tickercast_{name}_bucket"]
        values = [each.value for each in buckets]
        assert values == sorted(values)
        assert buckets[-1].labels["le"] == "+Inf"
        assert values[-1] == found(f"{name}_count")
        assert found(f"{name}_sum") >= 0


async def test_a_close_is_counted_by_its_reason() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(b"\x82\x84\x00\x00\x00\x00\xc1\xc1\xc1\xc1")
        ending = await wire.ending()
        wire.close()
        while (found := await scrape(url))("connections"):
            pass

    assert ending.code == 4000
    assert found("connections_closed_total", reason="bad_message") == 1
    assert found("refusals_total", reason="bad_message") == 1
