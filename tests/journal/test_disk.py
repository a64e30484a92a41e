"""What becomes of a full disk, and when rows are forced to it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.journal.stage import Stage, has_gone_on, traded
from ticker.clock import ManualClock
from ticker.journal import JournalError
from ticker.journal.segment import Segment

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
