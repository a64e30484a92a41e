"""The programs of docs/journal.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.journal.stage import Stage
from ticker.journal import commits

PAGE = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change into a directory in which there is one, of two segments."""
    for price in (18931, 18950):
        stage = Stage(tmp_path / "journal")
        stage.emit("quotes", [("AAPL", 1.5, price, 100, price + 2, 200)])
        stage.trade("AAPL", price)
        stage.kill()
    monkeypatch.chdir(tmp_path)


def run(program: str) -> dict[str, Any]:
    """Run a program; return its variables."""
    found: dict[str, Any] = {}
    exec(program, found)
    return found


@pytest.mark.usefixtures("journal")
def test_a_segment_is_read_in_three_lines() -> None:
    trades = run(PROGRAMS[0])["trades"]

    assert trades.select(["symbol", "seq", "price", "size"]).to_pylist() == [
        {"symbol": "AAPL", "seq": 0, "price": 18931, "size": 100}
    ]
    assert trades.schema.metadata == {b"epoch": b"9f2c51d0", b"kind": b"trades", b"interval_s": b"0"}


@pytest.mark.usefixtures("journal")
def test_all_segments_are_read_by_pandas() -> None:
    quotes = run(PROGRAMS[1])["quotes"]

    assert quotes.seq.tolist() == [0, 1]
    assert quotes.bid.tolist() == [189.31, 189.5]
    assert quotes["at"].tolist() == [pd.Timestamp("2026-11-23T03:20:01.500Z")] * 2


def test_the_page_names_every_record_by_its_number() -> None:
    kinds = [int(number) for number in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)]

    assert kinds == list(range(len(commits._KINDS)))
    assert commits.OPEN.decode().strip() in PAGE
