"""How log lines are written: as text for people, or as JSON for whatever collects them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

TEXT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object on one line.

    `time` is RFC 3339 in UTC with microseconds; `level`, `logger` and `message` are strings; `exception` is the
    traceback, where there is one. Every character that could end a line is escaped, whoever made the message.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line)


def start_logging(level: str, format: str = "text") -> None:
    """Log to stderr, all that asyncio and Tornado say included. `format` is `text` or `json`."""
    formatter: logging.Formatter = JsonFormatter()
    if format == "text":
        formatter = logging.Formatter(TEXT, "%Y-%m-%d %H:%M:%S")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":  # what strangers send is counted; a line for each would be theirs to write
        for name in ("tornado.access", "tornado.general"):
            logging.getLogger(name).setLevel(logging.ERROR)


def _message(record: logging.LogRecord) -> str:
    """Return the message; one whose arguments don't fit it is shown as it is, rather than lost."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"
