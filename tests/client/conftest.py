"""A server that plays a script for each connection, written from docs/protocol.md with plain msgpack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from ticker.client import Backoff

TRADES = [["time", 6], ["price", 2], ["size", 0]]
SUMMARIES = [
    ["time", 6],
    ["open", 2],
    ["high", 2],
    ["low", 2],
    ["close", 2],
    ["volume", 0],
    ["notional", 2],
    ["count", 0],
]
QUOTES = [["time", 6], ["bid_price", 2], ["bid_size", 0], ["ask_price", 2], ["ask_size", 0]]
COLUMNS = {
    ("trades", "all"): TRADES,
    ("trades", "conflated"): SUMMARIES,
    ("quotes", "all"): QUOTES,
    ("quotes", "conflated"): [*QUOTES, ["count", 0]],
    ("bars", "all"): SUMMARIES,
    ("bars", "conflated"): SUMMARIES,
}
START = 1_795_404_000_000_000


def welcome(epoch: str = "e1", **changes: Any) -> dict[str, Any]:
    """Return the server's first message."""
    message = {
        "type": "welcome",
        "protocol": 1,
        "server": "1.0.0",
        "epoch": epoch,
        "time": START * 1000,
        "feed": "scripted",
        "kinds": ["trades", "quotes", "bars"],
        "intervals": [1, 5, 60, 3600, 86400],
        "auth": False,
        "clock": None,
        "heartbeat_s": 10,
        "limits": {"message_bytes": 262144, "channels": 100000, "commands_per_s": 50},
    }
    return message | changes


def entry(
    command: dict[str, Any], symbol: str, number: int, seq: int = 0, missed: int | None = 0, snapshot: Any = None
) -> dict[str, Any]:
    """Return what the answer to a subscribe says of one channel."""
    kind, mode = command["kind"], command["mode"]
    described = {
        "channel": number,
        "kind": kind,
        "symbol": symbol,
        "mode": mode,
        "seq": seq,
        "missed": missed,
        "columns": COLUMNS[kind, mode],
        "snapshot": snapshot,
    }
    if mode == "conflated":
        described["interval_ms"] = command.get("interval_ms", 250)
    if kind == "bars":
        described["interval_s"] = command["interval_s"]
    return described


def rows(number: int, seq: int, *values: tuple[int, ...]) -> list[Any]:
    """Return a data message of trades or whatever has these columns: plain 8-byte offsets from base 0."""
    message: list[Any] = [number, seq, len(values)]
    for column in zip(*values, strict=True):
        message += [0, b"".join(value.to_bytes(8, "little") for value in column)]
    return message


def trades(number: int, seq: int, n: int) -> list[Any]:
    """Return `n` trades that tell their own number: row i costs i cents and has size i + 1."""
    return rows(number, seq, *((START + i, i, i + 1) for i in range(seq, seq + n)))


class Peer:
    """The server's side of one connection, for a script."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def send(self, *messages: Any) -> Awaitable[None]:
        """Send messages; the result waits until the kernel has taken the last."""
        for message in messages:
            data = message if isinstance(message, bytes | str) else msgpack.packb(message)
            try:
                sent = self._handler.write_message(data, binary=isinstance(data, bytes))
            except WebSocketClosedError:
                sent = asyncio.get_running_loop().create_future()
                sent.set_result(None)
        return sent

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need be no whole frame."""
        self._handler.stream.write(data)

    async def command(self, op: str) -> dict[str, Any]:
        """Return the next command, which must be this one."""
        command = await self.inbox.get()
        assert command is not None, f"the client left before {op!r}"
        assert command["op"] == op
        return command

    def welcome(self, epoch: str = "e1", **changes: Any) -> None:
        self.send(welcome(epoch, **changes))

    async def subscribed(
        self, channels: dict[str, int], state: str = "live", refused: dict[str, str] | None = None, **about: Any
    ) -> dict[str, Any]:
        """Answer the next command, a subscribe, with these symbols and their numbers; return it. `about` is of each."""
        command = await self.command("subscribe")
        self.send(
            {
                "type": "subscribed",
                "id": command["id"],
                "channels": [entry(command, symbol, number, **about) for symbol, number in channels.items()],
                "refused": [{"symbol": symbol, "code": code} for symbol, code in (refused or {}).items()],
            },
            {"type": "status", "state": state, "clock": None},
        )
        return command

    def trades(self, number: int, seq: int, n: int) -> Awaitable[None]:
        return self.send(trades(number, seq, n))

    async def gone(self) -> None:
        """Return when the client has left. It says nothing before."""
        assert await self.inbox.get() is None

    async def left(self) -> None:
        """Return when the client has left, whatever it says before."""
        while await self.inbox.get() is not None:
            pass

    def close(self, code: int) -> None:
        self._handler.close(code)

    def cut(self) -> None:
        """End the TCP connection without a word."""
        self._handler.stream.close()


class Handler(WebSocketHandler):
    def initialize(self, server: FakeServer) -> None:
        self._server = server

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        self._server.subprotocols.append(subprotocols)
        self._server.authorizations.append(self.request.headers.get("Authorization"))
        assert not self.request.query
        return "ticker.v1.msgpack"

    async def open(self) -> None:
        self.stream = self.ws_connection.stream
        self.peer = Peer(self)
        script = self._server.scripts.pop(0)
        self._server.running.append(asyncio.ensure_future(script(self.peer)))

    def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        self.peer.inbox.put_nowait(msgpack.unpackb(message))

    def on_close(self) -> None:
        self.peer.inbox.put_nowait(None)


class FakeServer:
    """Plays `scripts`, one for each connection in turn. `played` waits until all have come to their end."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[Peer], Awaitable[None]]] = []
        self.running: list[asyncio.Future[None]] = []
        self.subprotocols: list[list[str]] = []
        self.authorizations: list[str | None] = []
        """The header of each handshake."""
        self._http = HTTPServer(Application([("/stream", Handler, {"server": self})]))
        listener, self.port = bind_unused_port()
        self._http.add_socket(listener)
        self.url = f"ws://127.0.0.1:{self.port}/stream"

    def plays(self, *scripts: Callable[[Peer], Awaitable[None]]) -> None:
        self.scripts += scripts

    async def played(self) -> None:
        assert not self.scripts, f"{len(self.scripts)} scripts were not asked for"
        await asyncio.wait_for(asyncio.gather(*self.running), 10)

    async def stop(self) -> None:
        self._http.stop()
        await self._http.close_all_connections()


@pytest.fixture
def wire() -> SimpleNamespace:
    """Return makers of server messages: `welcome`, `entry`, `rows`, `trades`."""
    return SimpleNamespace(welcome=welcome, entry=entry, rows=rows, trades=trades, START=START)


@pytest.fixture
def quick() -> Backoff:
    """Return a back-off that a test can sit out."""
    return Backoff(first_s=0.002, cap_s=0.01, limited_s=0.02)


@pytest.fixture
def server(io_loop: IOLoop) -> Iterator[FakeServer]:
    async def make() -> FakeServer:
        return FakeServer()

    fake = io_loop.run_sync(make)
    yield fake
    io_loop.run_sync(fake.stop)
    for script in fake.running:
        if script.done():
            script.result()  # an assertion in a script fails the test


async def numbers(subscription: Any, n: int) -> list[int]:
    """Return the sequence numbers of the next rows, `n` at least, proving that each row is what its number says."""
    found: list[int] = []
    async for batch in subscription:
        for i, price in enumerate(batch.integers("price").tolist(), batch.seq):
            assert price == i
            found.append(i)
        if len(found) >= n:
            return found
    return found


class Refusing(RequestHandler):
    def initialize(self, asked: list[str | None]) -> None:
        self._asked = asked

    def get(self) -> None:
        self._asked.append(self.request.headers.get("Authorization"))
        self.set_status(401)
        self.set_header("WWW-Authenticate", "Bearer")
        self.finish("token: it has expired\n")


@pytest.fixture
def refusing_server(io_loop: IOLoop) -> Iterator[SimpleNamespace]:
    """Return a server that lets nobody in: its `url`, and what its handshakes were `asked`."""
    asked: list[str | None] = []
    http = HTTPServer(Application([("/stream", Refusing, {"asked": asked})], log_function=lambda handler: None))
    listener, port = bind_unused_port()

    async def start() -> None:
        http.add_socket(listener)

    io_loop.run_sync(start)
    yield SimpleNamespace(url=f"ws://127.0.0.1:{port}/stream", asked=asked)
    http.stop()
    io_loop.run_sync(http.close_all_connections)
