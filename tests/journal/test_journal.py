"""When an epoch goes on and when a new one begins; what a journal may occupy, and what becomes of a full disk."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest

from tests.journal.stage import EPOCH, INSTRUMENTS, SERIES, Killed, Stage, killed_after, rows_of, seen
from ticker.clock import ManualClock
from ticker.feed import Feed, Replay
from ticker.journal import JournalError
from ticker.journal.boot import boot_id
from ticker.journal.folder import Folder
from ticker.journal.segment import Segment
from ticker.model import Instrument, Series
from ticker.stream.alpaca_days import Days

Logs = pytest.LogCaptureFixture


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return `full_disk(size)`: from now on there is room for so many bytes."""

    def fill(size: int) -> None:
        left = size

        def write_some(fd: int, data: memoryview) -> int:
            nonlocal left
            if not left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = os.write(fd, data[:left])
            left -= taken
            return taken

        monkeypatch.setattr("ticker.journal.segment.write_some", write_some)

    return fill


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


# What is damaged


@pytest.mark.parametrize("name", ["commits", "trades.arrows", "symbols.arrows"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.9])
def test_a_byte_that_is_another_in_the_newest_segment_begins_a_new_epoch(
    tmp_path: Path, name: str, place: float, caplog: Logs
) -> None:
    traded(tmp_path, times=20).kill()
    path = tmp_path / f"00000001.{name}"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0x10
    path.write_bytes(data)

    stage = Stage(tmp_path)

    assert not has_gone_on(stage)
    assert "a new epoch begins" in caplog.text


@pytest.mark.parametrize("name", ["commits", "trades.arrows"])
def test_a_file_that_is_gone_begins_a_new_epoch(tmp_path: Path, name: str) -> None:
    traded(tmp_path).kill()
    (tmp_path / f"00000001.{name}").unlink()

    assert not has_gone_on(Stage(tmp_path))


def test_a_damaged_older_segment_costs_history_but_not_the_epoch(tmp_path: Path, caplog: Logs) -> None:
    with mock.patch("ticker.journal.journal.SEGMENT_FLUSHES", 1), mock.patch("ticker.journal.journal.HEAD_SHARE", 0):
        traded(tmp_path).kill()
        path = tmp_path / "00000002.trades.arrows"
        data = bytearray(path.read_bytes())
        data[-9] ^= 1
        path.write_bytes(data)

        stage = Stage(tmp_path)

    shelf = stage.history[Series("trades")]
    assert has_gone_on(stage)
    assert (shelf.first_seqs(stage.everyone)[0], shelf.next_seqs(stage.everyone)[0]) == (2, 3)
    assert "the history begins behind it" in caplog.text


def test_a_torn_tail_is_told_and_what_is_left_can_be_read_by_others(tmp_path: Path, caplog: Logs) -> None:
    traded(tmp_path).kill()
    for name in ("trades.arrows", "commits"):
        with (tmp_path / f"00000001.{name}").open("ab") as file:
            file.write(b"\xff\xff\xff\xff\x10")

    stage = Stage(tmp_path)

    assert has_gone_on(stage)
    assert "10 bytes of it are cut off" in caplog.text
    with pa.ipc.open_stream((tmp_path / "00000001.trades.arrows").read_bytes()) as stream:
        assert stream.read_all().column("price").to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(("size", "is_killed_again"), [(0, False), (10, False), (27, True), (300, True)])
def test_a_segment_that_was_killed_while_it_began_is_as_if_it_had_never_been(
    tmp_path: Path, size: int, is_killed_again: bool, caplog: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    traded(tmp_path).kill()
    monkeypatch.setattr(Folder, "_take_lock", mock.Mock())  # which the system takes from a process that was killed
    with killed_after(size), pytest.raises(Killed):
        Stage(tmp_path)
    if is_killed_again:  # when it has removed one file of those that are left
        left, real = [False, True], Path.unlink
        monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: real(path) if left.pop() else _be_killed())
        with pytest.raises(Killed):
            Stage(tmp_path)
        monkeypatch.setattr(Path, "unlink", real)

    stage = Stage(tmp_path)

    assert has_gone_on(stage)
    assert Folder(tmp_path).numbers == [1, 2]
    assert caplog.text == ""


def _be_killed() -> None:
    raise Killed


def test_files_that_cannot_be_read_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traded(tmp_path).kill()
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES), "00000001.commits")
    monkeypatch.setattr(Path, "read_bytes", mock.Mock(side_effect=denied))

    with pytest.raises(JournalError, match=r"cannot be read \(Permission denied: 00000001.commits\)"):
        Stage(tmp_path)


# A full disk


@pytest.mark.parametrize("room", [0, 10, 700, 900])
def test_a_full_disk_ends_the_journal_and_not_the_server(
    tmp_path: Path, room: int, full_disk: Callable[[int], None], errors: list[logging.LogRecord]
) -> None:
    stage = traded(tmp_path)
    full_disk(room)

    for _ in range(5):
        stage.trade("MSFT")

    assert stage.journal is not None
    assert stage.journal.failed
    assert len(stage.offered) == 8
    assert [record.getMessage().partition(":")[0] for record in errors] == [
        "the journal has ended, and the server goes on without"
    ]
    errors.clear()


def test_after_a_full_disk_a_new_epoch_begins(
    tmp_path: Path,
    full_disk: Callable[[int], None],
    errors: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Logs,
) -> None:
    stage = traded(tmp_path)
    full_disk(0)
    stage.trade("AAPL", 4)
    stage.kill()
    monkeypatch.undo()
    errors.clear()

    stage = Stage(tmp_path)
    assert not has_gone_on(stage)
    stage.trade("AAPL", 5)
    stage.kill()
    caplog.clear()

    assert has_gone_on(Stage(tmp_path))
    assert caplog.text == "", "an epoch that is over is no damage"


def test_after_a_full_disk_a_new_epoch_begins_even_where_its_first_line_cannot_be_written_over(
    tmp_path: Path, full_disk: Callable[[int], None], errors: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = traded(tmp_path)
    full_disk(0)
    monkeypatch.setattr(os, "pwrite", mock.Mock(side_effect=OSError(errno.ENOSPC, "full")))
    stage.trade("AAPL", 4)
    stage.kill()
    monkeypatch.undo()
    errors.clear()

    assert len(stage.offered) == 4
    assert not has_gone_on(Stage(tmp_path))


def test_a_full_disk_between_two_segments_ends_the_journal(
    tmp_path: Path, full_disk: Callable[[int], None], errors: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mock.patch("ticker.journal.journal.SEGMENT_FLUSHES", 4), mock.patch("ticker.journal.journal.HEAD_SHARE", 0):
        stage = traded(tmp_path)
        full_disk(2000)  # for a flush, and a part of the next segment's head
        stage.trade("AAPL", 4)
        stage.trade("AAPL", 5)
        stage.kill()
        monkeypatch.undo()
        errors.clear()

        assert len(stage.offered) == 5
        assert not has_gone_on(Stage(tmp_path))


def test_what_can_neither_be_written_nor_be_noted_is_not_offered_and_stops_the_server(
    tmp_path: Path, full_disk: Callable[[int], None], errors: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = traded(tmp_path)
    full_disk(0)
    monkeypatch.setattr(Segment, "mark_as_ended", mock.Mock(side_effect=OSError(errno.EIO, "broken")))

    for _ in range(2):
        with pytest.raises(JournalError):
            stage.trade("AAPL", 4)

    assert stage.stuck == 1
    assert len(stage.offered) == 3
    assert [record.levelname for record in errors] == ["CRITICAL"]
    errors.clear()


# When it is forced to the disk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the descriptors that were forced to the disk so far."""
    found: list[int] = []
    monkeypatch.setattr("ticker.journal.segment._sync", found.append)
    return found


def test_each_flush_is_on_the_disk_before_it_is_offered_if_that_is_asked_for(tmp_path: Path, synced: list[int]) -> None:
    stage = Stage(tmp_path, fsync_s=0)
    synced.clear()
    order: list[str] = []
    stage.days._hand_on = lambda blocks: order.append(f"offered after {len(synced)}")

    stage.trade()
    stage.trade()

    assert order == ["offered after 2", "offered after 4"]  # the trades and the commits, each time


async def test_what_was_written_is_forced_to_the_disk_each_second(
    tmp_path: Path, synced: list[int], until: Callable[..., object]
) -> None:
    clock = ManualClock()
    stage = Stage(tmp_path, clock=clock)
    assert stage.journal is not None
    task = asyncio.create_task(stage.journal.sync_on_time())
    synced.clear()
    stage.trade()

    await clock.advance(0.9)
    before = len(synced)
    await clock.advance(0.2)
    await until(lambda: len(synced) == 2)  # type: ignore[misc]
    await until(lambda: clock._sleepers)  # type: ignore[misc]
    await clock.advance(1.0)
    await until(lambda: clock._sleepers)  # type: ignore[misc]

    assert before == 0
    assert len(synced) == 2, "nothing was written since"
    task.cancel()


async def test_a_disk_that_fails_when_forced_ends_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord], until: Callable[..., object]
) -> None:
    clock = ManualClock()
    stage = Stage(tmp_path, clock=clock)
    journal = stage.journal
    assert journal is not None
    task = asyncio.create_task(journal.sync_on_time())
    stage.trade()
    monkeypatch.setattr("ticker.journal.segment._sync", mock.Mock(side_effect=OSError(errno.EIO, "broken")))

    await clock.advance(1.1)
    await until(lambda: journal.failed)  # type: ignore[misc]

    await task
    assert "the journal has ended" in errors.pop().getMessage()


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
