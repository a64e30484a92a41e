"""A whole server with a journal: what clients see of a restart, and of a disk that is full."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from unittest import mock

import pytest

from tests.rig import AAPL, HandFeed, running
from tests.wire import JSON, Wire, columns_of, fetch
from ticker.clock import SystemClock
from ticker.config import Settings
from ticker.feed import Instrument
from ticker.node import Node


async def test_a_client_resumes_across_a_restart_and_is_told_the_same_as_before(tmp_path: Path) -> None:
    settings = {"journal": str(tmp_path), "journal_mib": 16}
    feed = HandFeed()
    async with running(feed, **settings) as url, await Wire.open(url) as wire:
        before = await wire.subscribe(["MSFT", "AAPL"])
        feed.trades(("AAPL", 1, 18931, 100), ("AAPL", 2, 18950, 1))
        await wire.data()
        feed.trades(("AAPL", 3, 18940, 7))  # which the client doesn't read any more
        await wire.ask(op="ping")
        epoch = wire.welcome["epoch"]

    feed = HandFeed()
    async with running(feed, **settings) as url, await Wire.open(url) as wire:
        after = await wire.subscribe(["MSFT", "AAPL"], since={"AAPL": 2, "MSFT": 0}, epoch=epoch)
        missed_row = await wire.data()
        feed.trades(("AAPL", 4, 18960, 5))
        next_row = await wire.data()

    assert wire.welcome["epoch"] == epoch
    assert [each["channel"] for each in after["channels"]] == [each["channel"] for each in before["channels"]]
    assert [(each["seq"], each["missed"]) for each in after["channels"]] == [(0, 0), (2, 0)]
    assert after["channels"][1]["snapshot"][1:] == [18931, 18950, 18931, 18950, 101, 18931 * 100 + 18950, 2]
    assert (missed_row[1:3], columns_of(missed_row)[1:]) == ([2, 1], [[18940], [7]])
    assert (next_row[1:3], columns_of(next_row)[1:]) == ([3, 1], [[18960], [5]])


async def test_a_conflated_client_gets_what_it_missed_across_a_restart_and_then_its_updates(tmp_path: Path) -> None:
    feed = HandFeed()
    async with running(feed, journal=str(tmp_path)) as url, await Wire.open(url) as wire:
        feed.trades(("AAPL", 1, 18931, 100), ("AAPL", 2, 18950, 1), ("AAPL", 3, 18940, 7))
        await wire.ask(op="ping")
        epoch = wire.welcome["epoch"]

    feed = HandFeed()
    async with running(feed, journal=str(tmp_path)) as url, await Wire.open(url) as wire:
        await wire.subscribe(["AAPL"], mode="conflated", interval_ms=50, since={"AAPL": 1}, epoch=epoch)
        missed = await wire.data()
        await wire.subscribe(["AAPL"], mode="conflated", interval_ms=50, kind="bars", interval_s=86400)
        feed.trades(("AAPL", 4, 18960, 5))
        later = [await wire.data(), await wire.data()]

    assert (missed[1:3], [column[0] for column in columns_of(missed)][1:6]) == ([1, 1], [18950, 18950, 18940, 18940, 8])
    update, bar = sorted(later, key=lambda message: -message[1])
    assert (update[1], columns_of(update)[-1]) == (3, [1])
    assert (bar[1], [column[0] for column in columns_of(bar)][1:6]) == (0, [18931, 18960, 18931, 18960, 113])


async def test_without_a_journal_a_restart_is_a_new_epoch(tmp_path: Path) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        first = wire.welcome["epoch"]
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        assert wire.welcome["epoch"] != first


async def test_a_symbol_is_in_the_journal_before_a_client_is_told_of_it(tmp_path: Path) -> None:
    feed = HandFeed(instruments=(AAPL,))
    async with running(feed, journal=str(tmp_path)) as url, await Wire.open(url) as wire:
        await wire.subscribe(["*"])
        symbols = tmp_path / "00000001.symbols.arrows"
        size = symbols.stat().st_size
        sizes = []
        with mock.patch("ticker.server.connections.Connections.announce") as announce:
            announce.side_effect = lambda _: sizes.append(symbols.stat().st_size)
            feed.emit.instruments([Instrument("NEW")])

    assert [each > size for each in sizes] == [True]


async def test_a_full_disk_is_told_by_readiness_and_metrics_while_rows_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord]
) -> None:
    feed = HandFeed()
    async with running(feed, journal=str(tmp_path)) as url, await Wire.open(url, [JSON]) as wire:
        await wire.subscribe(["AAPL"])
        full = mock.Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        monkeypatch.setattr("ticker.journal.segment.write_some", full)
        feed.trades(("AAPL", 1, 18931, 100))
        row = await wire.data()
        _, _, ready = await fetch(url, "/readyz")
        _, _, metrics = await fetch(url, "/metrics")

    assert (row["seq"], row["size"]) == (0, [100])
    assert json.loads(ready)["journal"] == "ended"
    assert b"tickercast_journal_failed 1.0" in metrics
    assert "the journal has ended" in errors.pop().getMessage()


async def test_a_start_that_comes_to_nothing_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    async with running(HandFeed(), journal=str(tmp_path)) as url, await Wire.open(url) as wire:
        epoch = wire.welcome["epoch"]
    in_use = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    with mock.patch("ticker.node.Server", side_effect=in_use), pytest.raises(OSError, match="in use"):
        await Node(Settings("hand", journal=str(tmp_path)), HandFeed(), SystemClock()).start()

    with mock.patch("ticker.journal.past.boot_id", return_value="another"):
        async with running(HandFeed(), journal=str(tmp_path)) as url, await Wire.open(url) as wire:
            assert wire.welcome["epoch"] == epoch
