"""Reads the imports and holds the walls of ARCHITECTURE.md; asks that what is public is documented."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

VALUES = {"ticker.model", "ticker.columns", "ticker.summary"}
BELOW_STREAM = VALUES | {"ticker.clock", "ticker.feed", "ticker.protocol", "ticker.access"}
MAY_IMPORT: dict[str, set[str]] = {
    "ticker.model": set(),
    "ticker.clock": set(),
    "ticker.logs": set(),
    "ticker.selector": set(),
    "ticker.signals": set(),
    "ticker.columns": {"ticker.model"},
    "ticker.summary": {"ticker.model", "ticker.columns"},
    "ticker.feed": {"ticker.model", "ticker.columns", "ticker.clock"},
    "ticker.protocol": VALUES,
    "ticker.client": VALUES | {"ticker.protocol"},
    "ticker.access": {"ticker.clock"},
    "ticker.stream": BELOW_STREAM,
    "ticker.broker": BELOW_STREAM | {"ticker.stream"},
    "ticker.journal": BELOW_STREAM | {"ticker.stream", "ticker.broker"},
    "ticker.server": BELOW_STREAM | {"ticker.stream", "ticker.broker"},
    "ticker.intake": BELOW_STREAM | {"ticker.stream", "ticker.broker", "ticker.server"},
    "feeds": {"ticker.model", "ticker.columns", "ticker.clock", "ticker.feed"},
    "dashboard": set(),
}
"""What each room may import of ours, besides itself. Rooms not named here join the others and may import them all."""
JOINERS = {
    "ticker.supervisor",
    "ticker.plugins",
    "ticker.config",
    "ticker.doors",
    "ticker.node",
    "ticker.cli",
    "ticker.__main__",
}
OURS = ("ticker", "feeds", "dashboard")


def modules() -> list[Path]:
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """Return the room of a module: the package below `ticker` or the file in it, else the top-level package."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "ticker" else parts[0]


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, wherever in it; of `from a import b` both a and a.b."""
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of ours that a file imports, its own not counted."""
    names = (name for name in imports(path) if name.split(".")[0] in OURS)
    known = MAY_IMPORT.keys() | JOINERS
    return {room(name) for name in names if room(name) in known} - {room(module_name(path))}


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_a_room_imports_only_those_below_it(path: Path) -> None:
    name = module_name(path)

    if name != "ticker":
        assert room(name) in MAY_IMPORT.keys() | JOINERS, "a new room: give it its place in ARCHITECTURE.md and here"
    allowed = MAY_IMPORT.get(room(name), MAY_IMPORT.keys() | JOINERS)
    assert imported_rooms(path) <= allowed


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_only_the_server_room_knows_tornado_web_and_the_core_knows_no_loop(path: Path) -> None:
    name, imported = module_name(path), set(imports(path))
    roots = {each.split(".")[0] for each in imported}

    if room(name) != "ticker.server":
        assert not any(each == "tornado.web" or each.startswith("tornado.web.") for each in imported)
    if room(name) in ("ticker.model", "ticker.columns", "ticker.summary", "ticker.protocol", "ticker.stream"):
        assert not roots & {"asyncio", "tornado", "socket", "threading", "time"}


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[-2] == "ticker"], ids=module_name)
def test_the_ticker_never_imports_a_feed_nor_its_source_format(path: Path) -> None:
    assert not {each.split(".")[0] for each in imports(path)} & {"feeds", "pyarrow"}


def test_the_walls_are_those_of_the_architecture_page() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()

    for name in MAY_IMPORT.keys() | JOINERS:
        assert f"`{name.removeprefix('ticker.')}" in page, f"ARCHITECTURE.md doesn't name {name}"


def test_the_readme_names_every_feed() -> None:
    readme = (ROOT / "README.md").read_text()
    feeds = importlib.metadata.entry_points(group="ticker.feeds")

    assert {"simulated", "csv"} <= feeds.names
    for feed in importlib.metadata.distribution("tickercast").entry_points.select(group="ticker.feeds"):
        assert f"--feed {feed.name}" in readme


@pytest.mark.parametrize("feed", ["simulated", "csv"])
def test_the_readme_names_every_option(feed: str) -> None:
    readme = (ROOT / "README.md").read_text()
    page = subprocess.run(
        [sys.executable, "-m", "ticker", "--feed", feed, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))

    assert {"--feed", "--port", "--history-mib"} <= options
    for option in options - {"--help"}:
        assert option in readme, f"README.md doesn't name {option}"
