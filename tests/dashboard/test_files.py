"""The page as it is handed out: complete, small, and strict about what may run in it."""

from __future__ import annotations

import gzip
import re
import sys

import pytest

import dashboard
from dashboard.smaller import smaller


def libraries(files: dict[str, dashboard.File]) -> list[str]:
    """Return the paths of what isn't ours: served under a name that changes with it, and so kept for long."""
    return [path for path, file in files.items() if "immutable" in file.cache_control]


def test_the_chart_library_is_the_vendors_and_the_page_knows_its_name() -> None:
    files = dashboard.files()

    (path,) = libraries(files)

    assert f'<meta name="chart-library" content="{path}">' in files["/"].body.decode()
    assert b"TradingView Lightweight Charts" in files[path].body[:200]


def test_every_file_that_the_page_asks_for_is_there_and_every_module_is_announced() -> None:
    files = dashboard.files()
    page = files["/"].body.decode()

    asked = set(re.findall(r'(?:src|href)="(/[^"]+)"', page))
    modules = {path for path in files if path.endswith(".js") and path not in libraries(files)}
    imported = {
        f"/static/{name}" for path in modules for name in re.findall(r'from "\./([^"]+)"', files[path].body.decode())
    }

    assert asked <= files.keys()
    assert imported <= modules
    assert modules <= asked
    assert files["/"].content_type == "text/html; charset=utf-8"
    assert files["/static/main.js"].content_type.startswith("text/javascript")


def test_nothing_runs_that_is_not_a_file_of_ours() -> None:
    files = dashboard.files()
    page = files["/"].body.decode()
    own = [path for path in files if path.endswith(".js") and path not in libraries(files)]
    scripts = "\n".join(files[path].body.decode() for path in own)

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]+src=)", page)
    assert not re.search(r"\beval\(|new Function|HTML\s*=[^=']|insertAdjacentHTML|document\.write", scripts)
    assert set(re.findall(r"https?://[^/\"]+", page + scripts)) == {"https://www.tradingview.com"}  # a link, no more
    policy = dashboard.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_page_is_small_and_smaller_where_it_is_unpacked() -> None:
    files = dashboard.files()
    own = [file for path, file in files.items() if path not in libraries(files)]

    assert sum(len(file.body) for file in own) < 80_000
    assert sum(len(file.gzipped) for file in own) < 32_000
    assert all(gzip.decompress(file.gzipped) == file.body for file in own)


def test_without_the_minifier_the_files_are_sent_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/there/is/no/python")
    files = {"a.js": ("text/javascript; charset=utf-8", "// Says it.\nconst said = 1;\n")}

    assert smaller(files) == {"a.js": files["a.js"][1]}


def test_scripts_come_without_their_comments() -> None:
    written = "/** Return twice. */\nexport function twice(number) {\n  return 2 * number; // exactly\n}\n"

    assert "*/" not in smaller({"b.js": ("text/javascript; charset=utf-8", written)})["b.js"]
