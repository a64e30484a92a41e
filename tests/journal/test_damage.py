"""Segments that are damaged, gone or torn: what goes on, what begins anew, and what is told of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest

from tests.journal.stage import Killed, Stage, has_gone_on, killed_after, traded
from ticker.journal import JournalError
from ticker.journal.folder import Folder
from ticker.model import Series

Logs = pytest.LogCaptureFixture


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
