"""Bots of others as processes, told what to do by lines of JSON and heard the same way; and servers for them."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from tests.conftest import ROOT
from tests.rig import HandFeed
from ticker.clock import SystemClock
from ticker.config import Settings
from ticker.feed import Instrument
from ticker.node import Node

HERE = Path(__file__).resolve().parent
Until = Callable[..., Any]
BTC = Instrument("BTC/USD", size_scale=4, asset_class="crypto")
MINUTE_US = 60_000_000


@asynccontextmanager
async def serving(feed: HandFeed, port: int = 0, **settings: Any) -> AsyncIterator[Any]:
    """Run a node whose `url` is known, and whose connections can be cut."""
    node: Any = Node(Settings("hand", port=port, **settings), feed, SystemClock())
    node.url = await node.start()
    await feed.runs_now.wait()
    try:
        yield node
    finally:
        await node.stop()


def stream_of(node: Any, path: str = "v2/iex") -> str:
    return str(node.url).replace("http", "ws", 1) + path


def port_of(node: Any) -> int:
    return int(node.url.rstrip("/").rpartition(":")[2])


def is_subscribed(node: Any) -> bool:
    """Tell whether any client listens."""
    return any(session.subscriptions.wants_every_row for session in node._connections.sessions)


def snippet(language: str) -> str:
    """Return the first piece of code in a language from the page on Alpaca."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "docs" / "alpaca.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


class Bot:
    """A process that says `{"event": …}` on its stdout, or plain `lines`. `events` are all that came, `until` waits for
    more. It is ended when it is left."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], until: Until, says_ready: bool = True
    ) -> None:
        self._until = until
        self._says_ready = says_ready
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment), cwd=HERE
        )
        self.events: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    async def __aenter__(self) -> Self:
        if self._says_ready:
            await self.said("ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._reading.join(5)
        self._process.stdout.close()

    def tell(self, do: str, **fields: Any) -> None:
        """Give a command, and don't wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self._process.stdin.flush()

    async def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Give a command, and return what was said last before the bot had done it."""
        before = len(self.events)
        self.tell(do, **fields)
        await self._until(lambda: any(each["event"] == "done" for each in self.events[before:]), 30)
        done = next(i for i in range(before, len(self.events)) if self.events[i]["event"] == "done")
        return self.events[done - 1]

    async def said(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first event that has these fields, once it came."""
        await self._until(lambda: self._found(event, fields) is not None, 20)
        found = self._found(event, fields)
        assert found is not None
        return found

    async def logged(self, text: str, times: int = 1) -> None:
        """Return when so many lines of its log had this text in them."""
        await self._until(lambda: len([e for e in self.events if text in e.get("text", "")]) >= times, 20)

    def data(self, stream: str, channel: str) -> list[dict[str, Any]]:
        """Return the rows that came."""
        rows = (each for each in self.events if each["event"] == "data")
        return [each for each in rows if each["stream"] == stream and each["channel"] == channel]

    async def rows(self, stream: str, channel: str, count: int) -> list[dict[str, Any]]:
        """Return the rows of a channel once so many have come, of which there are no more."""
        await self._until(lambda: len(self.data(stream, channel)) >= count, 20)
        assert len(self.data(stream, channel)) == count
        return self.data(stream, channel)

    def _found(self, event: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = {"event": event, **fields}
        return next((each for each in self.events if wanted.items() <= each.items()), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"event"'):
                self.events.append(json.loads(line))
            else:
                self.lines.append(line.rstrip("\n"))
