"""Log lines: one JSON object each, whatever is in them."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.logs import JsonFormatter, start_logging

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def record(message: str, *arguments: Any, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("ticker.node", logging.WARNING, "node.py", 7, message, arguments, exc_info)


@given(st.text(), st.text())
def test_a_line_is_one_object_whatever_was_said(message: str, argument: str) -> None:
    line = JsonFormatter().format(record(message.replace("%", "%%") + "%s", argument))

    assert line.splitlines() == [line]
    assert line.isascii()
    found = json.loads(line)
    assert found["message"] == message + argument
    assert re.fullmatch(TIME, found["time"])
    assert found | {"message": "", "time": ""} == {
        "level": "warning",
        "logger": "ticker.node",
        "message": "",
        "time": "",
    }


def test_an_exception_is_a_field_of_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = JsonFormatter().format(record("it failed", exc_info=sys.exc_info()))

    found = json.loads(line)
    assert found["message"] == "it failed"
    assert found["exception"].startswith("Traceback (most recent call last):\n")
    assert found["exception"].endswith("ValueError: two\nlines")
    assert "\n" not in line


def test_the_time_is_in_utc() -> None:
    each = record("x")
    each.created = 1_795_404_000.000123

    assert json.loads(JsonFormatter().format(each))["time"] == "2026-11-23T03:20:00.000123Z"


def test_a_message_whose_arguments_do_not_fit_is_not_lost() -> None:
    assert json.loads(JsonFormatter().format(record("%d rows", "many")))["message"] == "%d rows ('many',)"


@pytest.fixture
def lines_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Return `lines_of(level, format, say)`: what is logged if logging begins so and `say()` is called."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("tornado.access", "tornado.general"))]
    levels = [logger.level for logger in loggers]

    def lines_of(level: str, format: str, say: Callable[[], None]) -> list[str]:
        stderr, handlers = io.StringIO(), root.handlers[:]
        root.handlers.clear()
        monkeypatch.setattr("sys.stderr", stderr)
        try:
            start_logging(level, format)
            say()
        finally:
            root.handlers[:] = handlers
        return stderr.getvalue().splitlines()

    yield lines_of
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_what_asyncio_and_tornado_say_is_json_too(lines_of: Callable[..., list[str]]) -> None:
    loggers = ["asyncio", "tornado.application", "tornado.general"]

    def say() -> None:
        for name in loggers:
            logging.getLogger(name).error("of %s", name)
        for name in ("tornado.access", "tornado.general"):  # what strangers can cause is no line of the log
            logging.getLogger(name).warning("404 GET /")
        logging.getLogger("ticker").debug("too much")

    lines = [json.loads(line) for line in lines_of("info", "json", say)]
    assert [line["logger"] for line in lines] == loggers
    assert [line["message"] for line in lines] == [f"of {name}" for name in loggers]


def test_text_is_for_people(lines_of: Callable[..., list[str]]) -> None:
    (line,) = lines_of("warning", "text", lambda: logging.getLogger("ticker.node").warning("a line"))

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING ticker\.node: a line", line)


def test_a_server_logs_nothing_but_json_when_asked_to(start_server: Callable[..., Any]) -> None:
    server = start_server("--feed", "simulated", "--symbols", "AAPL", "--log-format", "json", TICKER_PROT="1")
    server.stop()

    lines = [json.loads(line) for line in server.log.splitlines()]
    assert [line["logger"] for line in lines][:2] == ["ticker.cli", "feeds.simulated"]
    assert all(re.fullmatch(TIME, line["time"]) for line in lines)
