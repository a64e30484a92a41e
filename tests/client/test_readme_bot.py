"""The README's bot, run as it stands there."""

from __future__ import annotations

import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def section() -> str:
    readme = (ROOT / "README.md").read_text()
    assert "## A bot in twenty lines" in readme, "README.md has no section 'A bot in twenty lines'"
    return readme.split("## A bot in twenty lines", 1)[1].split("\n## ", 1)[0]


def code(section: str, place: int) -> str:
    """Return a block of Python of the README's section."""
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[place]


def lines(program: str, arguments: list[str], count: int) -> list[str]:
    """Run a program and return the first lines of what it prints."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    found: list[str] = []
    try:
        while len(found) < count and select.select([process.stdout], [], [], 20)[0]:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            found.append(line.rstrip("\n"))
    finally:
        process.kill()
        process.communicate()
    return found


def test_the_bot_trades(section: str, start_server: Callable[..., Any]) -> None:
    bot = code(section, 0)
    server = start_server("--feed", "simulated", "--rate", "2000")

    orders = lines(bot, [server.stream_url], 3)

    assert len(bot.splitlines()) <= 20
    assert len(orders) == 3
    for order in orders:
        assert re.fullmatch(r"(buy|sell) 100 AAPL near \d+\.\d\d", order)
    sides = [order.split()[0] for order in orders]
    assert sides in (["buy", "sell", "buy"], ["sell", "buy", "sell"])


def test_the_script_without_async_prints_means(section: str, start_server: Callable[..., Any]) -> None:
    script = code(section, 1)
    assert "ws://127.0.0.1:8888/stream" in script
    server = start_server("--feed", "simulated", "--rate", "2000")

    means = lines(script.replace("ws://127.0.0.1:8888/stream", server.stream_url), [], 3)

    assert len(means) == 3
    for mean in means:
        assert re.fullmatch(r"(AAPL|MSFT) \d+\.\d+", mean)
