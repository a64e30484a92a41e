"""The page as it is handed out: complete, small, and strict about what may run in it."""

from __future__ import annotations

import re

import dashboard


def test_every_file_that_the_page_asks_for_is_there_and_every_module_is_announced() -> None:
    files = dashboard.files()
    page = files["/"].body.decode()

    asked = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    modules = {path for path in files if path.endswith(".js")}
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
    scripts = "\n".join(file.body.decode() for path, file in files.items() if path.endswith(".js"))

    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]+src=)", page)
    assert not re.search(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", scripts)
    assert not re.search(r"https?://(?!www\.w3\.org/)", page + scripts)
    policy = dashboard.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_page_is_small() -> None:
    assert sum(len(file.body) for file in dashboard.files().values()) < 120_000
