"""The native stream at `/stream`: bytes between a WebSocket and a Session.

Tornado does the handshake, parses what clients send, pings and closes. What the server sends does not go through
`write_message`, which builds a header, a Future and a Task for each client: frames are the same bytes for everyone,
and go straight to the socket while that is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Awaitable, Iterable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from ticker.clock import Clock
from ticker.protocol.codec import Codec
from ticker.protocol.frames import boundary
from ticker.protocol.messages import CloseCode
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox, Pressure
from ticker.stream.session import Session

log = logging.getLogger(__name__)

PING_S = 10.0
DEAD_S = 30.0
"""A peer that neither answers a ping nor takes a byte of what waits for it for so long is gone."""
UNSENT_BYTES = 1 << 17
"""What the kernel may hold that is not on its way: what is behind that can still be merged or dropped."""
LINGER_S = 2.0
FAREWELL_S = 3.0
RECONNECT_MS = (500, 5000)


class Connections:
    """All connections of a server, and what makes one: the market, the codecs, the bound of an outbox."""

    def __init__(self, market: Market, codecs: Iterable[Codec], clock: Clock, outbox_bytes: int) -> None:
        self.market = market
        self.codecs = {codec.subprotocol: codec for codec in codecs}
        self.clock = clock
        self.outbox_bytes = outbox_bytes
        self.pressure = Pressure()
        self._open: set[StreamSocket] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def sessions(self) -> list[Session]:
        """The sessions of all connections."""
        return [connection.session for connection in self._open]

    def add(self, connection: StreamSocket) -> None:
        """Take in a connection that has opened."""
        self._open.add(connection)

    def remove(self, connection: StreamSocket) -> None:
        """Let go of one that has closed."""
        self._open.discard(connection)

    def tick(self) -> None:
        """Do what is due on all connections. To be called about once a second."""
        now_s = self.clock.monotonic()
        for connection in list(self._open):
            connection.tick(now_s)

    def tell_status(self) -> None:
        """Tell all clients how the feed does."""
        for session in self.sessions:
            session.send(self.market.status)

    def announce(self, numbers: list[int]) -> None:
        """Tell those who listen to `*` of symbols that have appeared."""
        for session in self.sessions:
            session.announce(numbers)

    async def say_goodbye(self) -> None:
        """Tell all clients to come back later, each at another time, and close their connections."""
        leaving = list(self._open)
        random.shuffle(leaving)
        for connection, reconnect_ms in zip(leaving, _spread(len(leaving), *RECONNECT_MS), strict=True):
            connection.say_goodbye(reconnect_ms)
        deadline_s = self.clock.monotonic() + FAREWELL_S
        while self._open and self.clock.monotonic() < deadline_s:
            await self.clock.sleep(0.02)
        for connection in list(self._open):
            connection.abort()


class StreamSocket(WebSocketHandler):
    """One client's connection."""

    session: Session

    def initialize(self, connections: Connections) -> None:
        self._connections = connections
        self._codec: Codec | None = None

    async def get(self, *args: Any, **kwargs: Any) -> None:
        origin = self.request.headers.get("Origin")
        if origin is not None and not self.check_origin(origin):
            return self._refuse(403, "Origin: not of this host")
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        codecs = self._connections.codecs
        if offered:
            known = [name for each in offered.split(",") if (name := each.strip()) in codecs]
            if not known:
                return self._refuse(400, f"Sec-WebSocket-Protocol: expected one of {', '.join(codecs)}")
            self._codec = codecs[known[0]]
        else:
            format = self.get_query_argument("format", "msgpack")
            self._codec = codecs.get(f"ticker.v1.{format}")
            if self._codec is None:
                return self._refuse(400, "format: expected msgpack or json")
        await super().get(*args, **kwargs)
        return None

    def check_origin(self, origin: str) -> bool:
        scheme, _, authority = origin.partition("://")
        return _host_and_port(scheme, authority) == _host_and_port(scheme, self.request.headers.get("Host", ""))

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        assert self._codec is not None
        return self._codec.subprotocol if subprotocols else None

    def get_compression_options(self) -> dict[str, Any] | None:
        return None

    @property
    def max_message_size(self) -> int:
        return self._connections.market.limits.message_bytes

    def get_websocket_protocol(self) -> WebSocketProtocol13 | None:
        protocol = super().get_websocket_protocol()
        if isinstance(protocol, WebSocketProtocol13):
            return _StreamProtocol(self, mask_outgoing=False, params=protocol.params)
        return None

    def open(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        assert self.ws_connection is not None
        assert self._codec is not None
        connections, now_s = self._connections, self._connections.clock.monotonic()
        self._stream = self.ws_connection.stream
        assert self._stream is not None
        self._socket = self._stream.socket
        self._direct = not isinstance(self._stream, SSLIOStream)
        self._loop = IOLoop.current()
        self._stepping = False
        self._alive_s = self._pinged_s = now_s
        self._waiting_done: int | None = None
        _tune(self._socket)
        outbox = Outbox(connections.outbox_bytes, connections.pressure)
        outbox.write = self._write
        self.session = Session(connections.market, self._codec, outbox, connections.pressure, now_s)
        connections.add(self)
        self.session.open()
        return None

    def on_message(self, message: str | bytes) -> None:
        now_s = self._connections.clock.monotonic()
        self._alive_s = now_s
        self.session.receive(message, now_s)
        self._after()

    def on_pong(self, data: bytes) -> None:
        self._alive_s = self._connections.clock.monotonic()

    def on_close(self) -> None:
        if hasattr(self, "session"):
            self._connections.remove(self)
            self.session.close()

    def say_goodbye(self, reconnect_ms: int) -> None:
        """Tell the client to come back after `reconnect_ms`, and close."""
        if self.session.closing is None:
            self.session.send({"type": "goodbye", "reason": "shutdown", "reconnect_ms": reconnect_ms})
            self.session.closing = CloseCode.GOING_AWAY
        self._after()

    def tick(self, now_s: float) -> None:
        """Do what is due: a heartbeat, a ping, the end of a connection that is dead."""
        if self.ws_connection is None or self.ws_connection.is_closing():
            return  # the peer has some seconds to answer the close; Tornado counts them
        session = self.session
        if self._is_dead(now_s):
            if session.closing is None and session.subscriptions.wants_every_row and not session.outbox.is_free:
                log.info("%s reads nothing: closed as too slow", self.request.remote_ip)
                session.closing = CloseCode.TOO_SLOW
                session.outbox.close()
                self._after()
            else:
                self.abort()
            return
        session.tick(now_s)
        if now_s - self._pinged_s >= PING_S:
            self._pinged_s = now_s
            try:
                self.ping()
            except (StreamClosedError, ConnectionError):
                return
        self._after()

    def abort(self) -> None:
        """End the connection without a word."""
        assert self._stream is not None
        self._stream.close()

    def fall_silent(self) -> None:
        """Send nothing any more but the close: that is the last frame a peer may get."""
        if hasattr(self, "session"):
            self.session.close()

    def _refuse(self, status: int, reason: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason + "\n")

    def _is_dead(self, now_s: float) -> bool:
        """Tell whether the peer gave no sign of life; taking bytes that waited for it is one."""
        assert self._stream is not None
        done = self.session.outbox.sent + self._stream._total_write_done_index
        waits = self.session.outbox.blocked or self._stream.writing()
        if self._waiting_done is not None and done != self._waiting_done:
            self._alive_s = now_s
        self._waiting_done = done if waits else None
        return now_s - self._alive_s > DEAD_S

    def _write(self, data: bytes) -> int:
        """Hand whole frames to the socket; return how many bytes it took, up to the end of a frame.

        A frame that the kernel took in part is left to Tornado's buffer, where pongs queue up behind it and not within.
        """
        assert self._stream is not None
        taken = 0
        if self._direct and not self._stream.writing():
            try:
                taken = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self._loop.add_callback(self._stream.close)
                return len(data)
            if taken == len(data):
                return taken
        end = boundary(data, taken + 1)
        outbox = self.session.outbox
        try:
            written = self._stream.write(data[taken:end])
        except StreamClosedError:
            return len(data)
        if not written.done():
            outbox.blocked = True
            written.add_done_callback(self._on_free)
        return end

    def _on_free(self, written: asyncio.Future[None]) -> None:
        """Go on: what the socket did not take is on its way."""
        if not written.cancelled() and written.exception() is None:
            self.session.outbox.drain()
            self._after()

    def _after(self) -> None:
        """Do what a session may want after something has happened: end, or go on catching up."""
        session = self.session
        if session.closing is not None:
            if session.outbox.is_free or session.outbox.overflowed:
                self.close(int(session.closing), session.closing.name.lower())
        elif session.subscriptions.is_catching_up and session.outbox.is_free and not self._stepping:
            self._stepping = True
            self._loop.add_callback(self._step)

    def _step(self) -> None:
        self._stepping = False
        self.session.step()
        self._after()


class _StreamProtocol(WebSocketProtocol13):
    """Tornado's protocol, with two changes in how a connection ends.

    Once a close is on its way nothing else follows it. And after a message that is too big it reads on for a while:
    closing at once would reset the connection, and the client would never see why.
    """

    handler: StreamSocket
    _lingers = False

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if not self.server_terminated:
            self.handler.fall_silent()
            _hold_what_is_left(self.stream)
        self._lingers = self._lingers or code == CloseCode.TOO_BIG
        super().close(code, reason)

    def _abort(self) -> None:
        if not self._lingers or self.stream.closed():
            super()._abort()
        elif not self.client_terminated:
            self.client_terminated = True
            self._discarding = asyncio.ensure_future(self._discard())

    async def _discard(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while True:
                    await self.stream.read_bytes(1 << 16, partial=True)
        except (StreamClosedError, TimeoutError):
            pass
        self._lingers = False
        self._abort()


def _host_and_port(scheme: str, authority: str) -> tuple[str, str]:
    """Return what an authority names, in lower case; if it names no port, that of the scheme (behind TLS too)."""
    host, colon, port = authority.lower().rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority.lower(), {"http": "80", "https": "443"}.get(scheme.lower(), "")
    return host, port


def _spread(count: int, least: int, most: int) -> list[int]:
    """Return ascending numbers from `least` to `most`, one by chance from each of `count` equal parts of that range."""
    part = (most - least) / max(1, count)
    return [least + int(part * (place + random.random())) for place in range(count)]


def _tune(sock: socket.socket) -> None:
    """Send at once, and keep little in the kernel."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _limit_unsent(sock, UNSENT_BYTES)


def _hold_what_is_left(stream: IOStream) -> None:
    """Let the kernel hold all that is left, the close too: a peer that reads again after we are gone learns why."""
    if not stream.closed():
        _limit_unsent(stream.socket, 2**31 - 1)


def _limit_unsent(sock: socket.socket, size: int) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT") and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)
