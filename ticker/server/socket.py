"""One client's WebSocket: bytes between the socket and a Session.

Tornado parses what clients send, answers pings and closes. What the server sends does not go through `write_message`,
which builds a header, a Future and a Task for each client: frames are the same bytes for everyone, and go straight to
the socket while that is free.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from types import TracebackType

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.websocket import _WebSocketParams

from ticker.clock import Clock
from ticker.protocol.frames import boundary
from ticker.protocol.messages import CloseCode
from ticker.server.inward import MESSAGE_S, Inward, limit_unsent
from ticker.server.kernel import acknowledged, unacknowledged, unsent
from ticker.stream.conversation import Conversation

log = logging.getLogger(__name__)

PING_S = 10.0
DEAD_S = 30.0
"""A peer that neither answers a ping nor takes a byte of what waits for it for so long is gone."""
UNSENT_BYTES = 1 << 17
"""What the kernel may hold that is not on its way: what is behind that can still be merged or dropped."""
PINGS_BYTES = 1 << 10
"""More than the pings and heartbeats of DEAD_S are: what a peer has yet to take when it is behind with data."""
TLS_BYTES = 1 << 16


class StreamSocket:
    """One client's connection, from the end of the handshake on. It is what Tornado's protocol reports to."""

    __slots__ = (
        "_alive_s",
        "_clock",
        "_forget",
        "_is_direct",
        "_is_silent",
        "_peer",
        "_pinged_s",
        "_protocol",
        "_reading",
        "_stepping",
        "_stream",
        "_waiting_done",
        "session",
        "taken_s",
    )

    def __init__(
        self,
        stream: IOStream,
        session: Conversation,
        params: _WebSocketParams,
        clock: Clock,
        peer: str,
        forget: Callable[[StreamSocket], None],
    ) -> None:
        """Take over a stream. `peer` is its address for the log; `forget(self)` is called when it has closed."""
        self.session = session
        self.taken_s = 0.0
        """CPU time that its messages have taken of the loop in this turn."""
        self._stream = stream
        self._is_direct = not isinstance(stream, SSLIOStream)
        self._clock = clock
        self._peer = peer
        self._forget = forget
        self._stepping = False
        self._alive_s = self._pinged_s = clock.monotonic()
        self._waiting_done: int | None = None
        self._is_silent = False
        self._protocol = Inward(self, mask_outgoing=False, params=params)
        self._protocol.stream = stream
        _tune(stream.socket)
        session.outbox.write = self._write
        session.outbox.unsent = partial(unsent, stream.socket)
        if self._is_direct:
            session.outbox.send = stream.socket.send
        self._reading: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Speak first, then listen."""
        self.session.open()
        self._reading = asyncio.ensure_future(self._protocol._receive_frame_loop())
        self._after()

    def on_message(self, message: str | bytes) -> None:
        """Take a client's message."""
        now_s = self._clock.monotonic()
        self._alive_s = now_s
        self.session.receive(message, now_s)
        self._after()

    def on_ping(self, data: bytes) -> None:
        """Nothing is left to do: Tornado has answered."""

    def on_pong(self, data: bytes) -> None:
        """Note that the client lives."""
        self._alive_s = self._clock.monotonic()

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        """Forget the client: the connection is gone."""
        self.session.close()
        self._forget(self)
        if self._stream.error is not None:
            self._stream.error.__traceback__ = None  # its frames hold the stream, which holds the error

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Tell of an exception in one of our callbacks, which is a bug."""
        log.error("a message of %s raised", self._peer, exc_info=value)

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return self._clock.monotonic()

    @property
    def ended_as(self) -> str:
        """Why the connection has ended: a name of CloseCode, `silent` or `gone`."""
        if self._is_silent:
            return "silent"
        return "gone" if self.session.closing is None else self.session.closing.name.lower()

    @property
    def has_all(self) -> bool:
        """Whether the client is on its way to having all that it is due, and what it resumed."""
        return self.session.outbox.takes_updates and not self.session.subscriptions.is_catching_up

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the socket."""
        return self.session.outbox.queued + self.session.outbox.owed + len(self._stream._write_buffer or ())

    def say_goodbye(self, reconnect_ms: int) -> None:
        """Tell the client to come back after `reconnect_ms`, and close."""
        self.session.say_goodbye(reconnect_ms)
        self._after()

    def tick(self, now_s: float) -> None:
        """Do what is due: a heartbeat, a ping, the end of a connection that is dead."""
        if self._protocol.is_closing():
            return  # the peer has some seconds to answer the close; Tornado counts them
        session = self.session
        if self._is_dead(now_s):
            if session.closing is None and session.subscriptions.wants_every_row and not session.outbox.is_free:
                log.info("%s reads nothing: closed as too slow", self._peer)
                session.closing = CloseCode.TOO_SLOW
                session.outbox.close()
                self._after()
            else:
                self._is_silent = True
                self.abort()
            return
        begun_s = self._protocol.begun_s
        if begun_s is not None and now_s - begun_s >= MESSAGE_S:
            self._protocol.close(CloseCode.UNFINISHED, f"message not finished within {MESSAGE_S} s")
            return
        session.tick(now_s)
        if now_s - self._pinged_s >= PING_S:
            self._pinged_s = now_s
            try:
                self._protocol.write_ping(b"")
            except (StreamClosedError, ConnectionError):
                return
        self._after()

    def abort(self) -> None:
        """End the connection without a word."""
        self._stream.close()

    def _is_dead(self, now_s: float) -> bool:
        """Tell whether the peer gave no sign of life; taking bytes that waited for it is one.

        One that reads slowly is noticed by what its kernel acknowledges: ours asks for more only when it has room for
        half of UNSENT_BYTES, which may take such a peer a minute, and the ping that it should answer stands in line.
        """
        if now_s - self._alive_s < PING_S or self._stream.closed():
            self._waiting_done = None
            return False
        sock = self._stream.socket
        waits = self.session.outbox.blocked or unacknowledged(sock) > PINGS_BYTES
        done = acknowledged(sock) or self.session.outbox.sent + self._stream._total_write_done_index
        if self._waiting_done is not None and done != self._waiting_done:
            self._alive_s = now_s
        self._waiting_done = done if waits else None
        return now_s - self._alive_s > DEAD_S

    def _write(self, data: bytes, taken: int) -> int:
        """Take care of what the socket left of whole frames; return how many bytes are, up to the end of a frame.

        A frame that the kernel took in part is left to Tornado's buffer, where pongs queue up behind it and not within.
        """
        size, step = len(data), 1 if self._is_direct else TLS_BYTES
        while taken < size and not self.session.outbox.blocked:
            end = boundary(data, min(taken + step, size))
            try:
                self.watch(self._stream.write(data[taken:end]))
            except StreamClosedError:
                return size
            taken = end
        return taken

    def watch(self, written: asyncio.Future[None]) -> None:
        """Send nothing past what Tornado has yet to write: a frame would end up within another."""
        if not written.done():
            self.session.outbox.blocked = True
            written.add_done_callback(self._on_free)

    def _on_free(self, written: asyncio.Future[None]) -> None:
        """Go on: what the socket did not take is on its way."""
        if not written.cancelled() and written.exception() is None and not self._stream.writing():
            self.session.outbox.drain()
            self._after()

    def _after(self) -> None:
        """Do what a session may want after something has happened: end, or go on catching up."""
        session = self.session
        if session.closing is not None:
            if session.outbox.is_free or session.outbox.overflowed:
                self._protocol.close(int(session.closing), session.closing.name.lower())
        elif session.subscriptions.is_catching_up and session.outbox.is_free and not self._stepping:
            self._stepping = True
            IOLoop.current().add_callback(self._step)

    def _step(self) -> None:
        self._stepping = False
        self.session.step()
        self._after()


def _tune(sock: socket.socket) -> None:
    """Send at once, and keep little in the kernel."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit_unsent(sock, UNSENT_BYTES)
