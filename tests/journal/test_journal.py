"""When an epoch goes on and when a new one begins; what a journal may occupy, and whose it is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest

from tests.journal.stage import (
    EPOCH,
    INSTRUMENTS,
    SERIES,
    Stage,
    another_boot,
    has_gone_on,
    rows_of,
    seen,
    traded,
)
from ticker.clock import ManualClock
from ticker.feed import Feed, Replay
from ticker.journal import JournalError
from ticker.journal.boot import boot_id
from ticker.journal.folder import Folder
from ticker.model import Instrument, Series
from ticker.stream.alpaca_days import Days

Logs = pytest.LogCaptureFixture


# The same epoch


def test_after_a_kill_numbers_go_on(tmp_path: Path) -> None:
    traded(tmp_path).kill()

    stage = Stage(tmp_path)
    stage.trade("AAPL", 4)

    assert stage.directory.epoch == EPOCH
    (block, *_) = stage.offered[0]
    assert (block.number, block.seqs.tolist()) == (3, [3])


def test_symbols_keep_their_numbers_when_a_feed_names_them_in_another_order(tmp_path: Path) -> None:
    traded(tmp_path).kill()

    stage = Stage(tmp_path, instruments=(Instrument("NEW"), *reversed(INSTRUMENTS)))

    assert [each.symbol for each in stage.directory.instruments] == ["AAPL", "BTC/USD", "MSFT", "NEW"]


def test_a_symbol_that_was_announced_but_never_traded_keeps_its_number(tmp_path: Path) -> None:
    stage = traded(tmp_path)
    stage.announce(Instrument("LATER"))
    stage.kill()

    stage = Stage(tmp_path)

    assert stage.directory.numbers["LATER"] == 3


def test_rows_lost_on_the_way_here_are_told_after_a_restart(tmp_path: Path) -> None:
    stage = traded(tmp_path)
    stage.batcher.gap("trades", "AAPL", 7)
    stage.kill()

    stage = Stage(tmp_path)
    stage.trade("AAPL", 4)

    assert rows_of(stage.offered[0])[Series("trades"), 0][0][:2] == (10, 7)


def test_a_row_may_not_be_older_than_one_of_before_the_restart(tmp_path: Path) -> None:
    stage = traded(tmp_path)
    stage.at_s = 5
    stage.trade("AAPL", 4)
    stage.kill()

    stage = Stage(tmp_path)
    stage.trade("AAPL", 5)

    rows = rows_of([block for blocks in stage.offered for block in blocks])[Series("trades"), 0]
    assert rows[0][2] == int(stage.history[Series("trades")].state(stage.offered[0][0].symbols)[1].time[0])
    assert stage.batcher.restamped == 1


def test_rows_older_than_the_history_keeps_are_not_brought_back(tmp_path: Path) -> None:
    clock = ManualClock()
    with mock.patch("ticker.journal.journal.SEGMENT_FLUSHES", 1), mock.patch("ticker.journal.journal.HEAD_SHARE", 0):
        traded(tmp_path, clock=clock).kill()
        asyncio.run(clock.advance(3601))

        stage = Stage(tmp_path, clock=clock)
        stage.history.trim(clock.monotonic())

    shelf = stage.history[Series("trades")]
    assert shelf.first_seqs(stage.everyone).tolist() == shelf.next_seqs(stage.everyone).tolist() == [3, 0, 0]


# A machine that was started anew


@pytest.mark.parametrize(("ending", "fsync_s", "goes_on"), [("kill", 1, False), ("stop", 1, True), ("kill", 0, True)])
def test_after_a_crash_of_the_machine_only_what_was_on_the_disk_for_certain_goes_on(
    tmp_path: Path, ending: str, fsync_s: float, goes_on: bool, caplog: Logs
) -> None:
    getattr(traded(tmp_path, fsync_s=fsync_s), ending)()

    with another_boot():
        stage = Stage(tmp_path)

    assert has_gone_on(stage) == goes_on
    assert ("the machine was started anew" in caplog.text) == (not goes_on)


def test_without_a_boot_id_a_kill_counts_as_a_crash_of_the_machine(tmp_path: Path) -> None:
    with (
        mock.patch("ticker.journal.past.boot_id", return_value=""),
        mock.patch("ticker.journal.journal.boot_id", return_value=""),
    ):
        traded(tmp_path).kill()

        assert not has_gone_on(Stage(tmp_path))


def test_what_a_crash_of_the_machine_left_of_a_flush_that_nobody_was_offered_is_cut_off(tmp_path: Path) -> None:
    traded(tmp_path, fsync_s=0).kill()
    with (tmp_path / "00000001.commits").open("ab") as file:
        file.write(bytes(700))

    with another_boot():
        assert has_gone_on(Stage(tmp_path))


def test_the_boot_id_is_the_same_until_the_machine_is_started_anew() -> None:
    assert boot_id() == boot_id() != ""


# Which version wrote it


def test_a_journal_whose_state_is_another_is_refused_rather_than_guessed_at(tmp_path: Path) -> None:
    with mock.patch.object(Days, "checkpoint", return_value={}):
        traded(tmp_path).kill()

    with pytest.raises(JournalError, match="written by another version"):
        Stage(tmp_path)


def test_a_journal_of_another_format_begins_a_new_epoch(tmp_path: Path, caplog: Logs) -> None:
    traded(tmp_path).kill()
    commits = tmp_path / "00000001.commits"
    commits.write_bytes(commits.read_bytes().replace(b"journal 1", b"journal 2"))

    assert not has_gone_on(Stage(tmp_path))
    assert "its first line is another" in caplog.text


# What it may occupy


def test_the_oldest_segments_go_when_there_is_no_more_room(tmp_path: Path) -> None:
    stage = Stage(tmp_path, limit_mib=0.5)
    rows = [("AAPL", 0.0, price, 1) for price in range(1, 500)]
    largest = 0
    for _ in range(60):
        stage.emit("trades", rows)
        stage.flush()
        largest = max(largest, sum(path.stat().st_size for path in tmp_path.iterdir()))
    stage.kill()
    through = Stage()
    for _ in range(60):
        through.emit("trades", rows)
        through.flush()

    again = Stage(tmp_path, limit_mib=0.5)

    assert largest < 0.5 * 2**20
    shelf = again.history[Series("trades")]
    assert 0 < shelf.first_seqs(again.everyone)[0] < shelf.next_seqs(again.everyone)[0] == 60 * 499
    assert seen(again)["trades now"] == seen(through)["trades now"]
    assert again.journal is not None
    assert again.journal.bytes == sum(path.stat().st_size for path in tmp_path.iterdir() if path.name != "lock")


def test_a_limit_that_the_symbols_alone_would_fill_is_refused(tmp_path: Path) -> None:
    many = [Instrument(f"S{number}") for number in range(1000)]

    with pytest.raises(JournalError, match=r"--journal-mib: \d at least are needed for 1,000 symbols"):
        Stage(tmp_path, instruments=many, limit_mib=1)


# Whose it is


def test_two_servers_on_one_directory_are_refused(tmp_path: Path) -> None:
    traded(tmp_path)

    with pytest.raises(JournalError, match=rf"another server \(process {os.getpid()}\) keeps its journal here"):
        Stage(tmp_path)


def test_a_directory_with_files_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()

    with pytest.raises(JournalError, match=r"no journal's, such as 'thesis.doc'; choose an empty directory"):
        Stage(tmp_path)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(JournalError, match="cannot be written here"):
        Folder(tmp_path / "file")


def test_the_command_line_tells_why_there_can_be_no_journal_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    command = [sys.executable, "-m", "ticker", "--feed", "simulated", "--port", "0", "--journal", str(tmp_path)]

    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if "thesis.doc" in line] == [done.stderr.splitlines()[-1]]


# Which feed it is


class Tape(Feed):
    """A replay that can go on in the middle."""

    replay = Replay(1.0)
    identity: str | None = "tape 1"
    left: dict[Series, int] | None = None

    def resume(self, taken):  # type: ignore[no-untyped-def]
        self.left = dict(taken)


def test_a_replay_goes_on_behind_the_rows_that_the_journal_has(tmp_path: Path) -> None:
    stage = Stage(tmp_path, feed=Tape())
    stage.trade("AAPL")
    stage.emit("trades", [("AAPL", 0, 1, 1), ("MSFT", 0, 1, 1)])
    stage.emit("quotes", [("AAPL", 0, 1, 1, 2, 1)])
    stage.flush()
    stage.emit("quotes", [("AAPL", 0, 1, 1, 2, 1)])  # not flushed, so not in the journal
    stage.kill()

    again = Stage(tmp_path, feed=Tape())

    assert has_gone_on(again)
    assert isinstance(again.feed, Tape)
    assert again.feed.left is not None
    assert {series: count for series, count in again.feed.left.items() if count} == {
        Series("trades"): 3,
        Series("quotes"): 1,
    }


def another_tape() -> Feed:
    tape = Tape()
    tape.identity = "tape 2"
    return tape


class Rewound(Feed):
    """A replay that begins at the beginning."""

    name = "tape"
    replay = Replay(1.0)


@pytest.mark.parametrize(
    ("feed", "changed", "why"),
    [
        (another_tape, {}, "what is replayed is not the same"),
        (Feed, {}, "the feed was tape then"),
        (Tape, {"series": SERIES[:3]}, "other kinds of rows"),
        (Tape, {"instruments": (replace(INSTRUMENTS[0], price_scale=4),)}, "the scales of AAPL have changed"),
    ],
)
def test_a_feed_that_is_another_begins_a_new_epoch(
    tmp_path: Path, feed: Callable[[], Feed], changed: dict[str, object], why: str, caplog: Logs
) -> None:
    traded(tmp_path, feed=Tape()).kill()

    stage = Stage(tmp_path, feed=feed(), **changed)  # type: ignore[arg-type]

    assert not has_gone_on(stage)
    assert why in caplog.text


def test_a_replay_that_cannot_go_on_in_the_middle_begins_a_new_epoch(tmp_path: Path, caplog: Logs) -> None:
    traded(tmp_path, feed=Rewound()).kill()

    assert not has_gone_on(Stage(tmp_path, feed=Rewound()))
    assert "this replay cannot go on in the middle" in caplog.text


def test_the_rows_of_an_epoch_that_is_over_stay_until_they_are_the_oldest(tmp_path: Path) -> None:
    traded(tmp_path, feed=Rewound()).kill()
    traded(tmp_path, feed=Rewound()).kill()

    prices = []
    for path in sorted(tmp_path.glob("*.trades.arrows")):
        with pa.ipc.open_stream(path.read_bytes()) as stream:
            prices += stream.read_all().column("price").to_pylist()

    assert prices == [1, 2, 3, 1, 2, 3]
