"""What a client sends, frame by frame: what ends its connection, and how much of the loop it may take.

Tornado parses the frames. A peer that sends without end always has the next frame here already, so that nothing in
reading it waits: somebody must see to it that others get their turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketProtocol13

from ticker.protocol.messages import CloseCode

if TYPE_CHECKING:
    from ticker.server.socket import StreamSocket

TURN_S = 0.002
"""CPU time that a client may take of the loop until others get a turn."""
REST = 4
"""It is read from again after so many times as long, so that one client has a fifth of the loop at most."""
FRAME_S = 30e-6
"""What it takes to read a frame, whatever is in it."""
MESSAGE_S = 20
"""How long a message may take from its first byte to its last: what has come of it occupies memory."""
MOST_FRAGMENTS = 4096
"""Fragments of a message: its bytes are limited, but a million of none would be within any limit."""
LINGER_S = 2.0
LINGER_BYTES = 1 << 26
"""What is read and thrown away, so that a peer in the midst of a message that is too big still learns why it ends."""

_CLOSE = 0x8
_OURS = (CloseCode.PROTOCOL_ERROR, CloseCode.BAD_TEXT, CloseCode.UNFINISHED, CloseCode.TOO_BIG)
"""Codes for what is wrong with frames, whatever is in them."""


class _Nobody:
    """Whom a connection reports to that has ended; what is still written is of no interest."""

    def watch(self, written: asyncio.Future[None]) -> None:
        """Do nothing."""


NOBODY: Any = _Nobody()


class Inward(WebSocketProtocol13):
    """Tornado's protocol, with changes in how a connection ends.

    Once a close is on its way nothing else follows it. After a message that is too big it reads on for a while: closing
    at once would reset the connection, and the client would never see why. And what RFC 6455 forbids ends it, by 1002
    or 1007: frames that are none, those without a mask, a close that says what none may say.
    """

    handler: StreamSocket
    begun_s: float | None = None
    """Since when a message, or a frame, has been on its way; None between messages."""
    _lingers = False

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if not self.server_terminated:
            session = self.handler.session
            if code in _OURS and session.closing is None and not self.client_terminated:
                session.closing = CloseCode(code)
            words = session.last_words()
            session.close()
            _hold_what_is_left(self.stream)
            if words and not self.stream.closed():
                self.stream.write(words)
        self._lingers = self._lingers or code in _OURS
        super().close(code, reason)

    async def _receive_frame_loop(self) -> None:
        """Take frame after frame until the end, and rest after each turn."""
        handler, fragments = self.handler, 0
        try:
            while not self.client_terminated:
                self._frame_mask = None
                await self._receive_frame()
                fragments = 0 if self._fragmented_message_buffer is None else fragments + 1
                if not fragments:
                    self.begun_s = None
                if fragments and (self._frame_mask is None or fragments > MOST_FRAGMENTS):
                    if fragments > MOST_FRAGMENTS:
                        self.close(CloseCode.TOO_BIG, "message of too many fragments")
                    self._abort()
                handler.taken_s += FRAME_S
                if handler.taken_s >= TURN_S and not self.client_terminated:
                    rest_s, handler.taken_s = handler.taken_s * REST, 0.0
                    await asyncio.sleep(rest_s)
        except StreamClosedError:
            self._abort()
        finally:
            handler.on_ws_connection_close(self.close_code, self.close_reason)
            self.handler = NOBODY  # so that both are gone at once, not when the garbage collector finds them

    async def _read_bytes(self, n: int) -> bytes:
        data = await super()._read_bytes(n)
        if self.begun_s is None:
            self.begun_s = self.handler.now_s()
        return data

    def _handle_message(self, opcode: int, data: bytes) -> asyncio.Future[None] | None:
        if self._frame_mask is None or (opcode == _CLOSE and not _is_close(data)):
            self._abort()
            return None
        began_s = time.thread_time()  # not the clock's: a machine that is busy otherwise is no fault of the client
        handled = super()._handle_message(opcode, data)
        self.handler.taken_s += time.thread_time() - began_s
        return handled

    def _abort(self) -> None:
        if not (self.stream.closed() or self.server_terminated or self.client_terminated):
            # Only a frame that is forbidden leads here: the other ways are an end of the stream, or of our patience.
            is_text = isinstance(sys.exc_info()[1], UnicodeDecodeError)
            self.close(CloseCode.BAD_TEXT if is_text else CloseCode.PROTOCOL_ERROR)
        if not self._lingers or self.stream.closed():
            super()._abort()
        elif not self.client_terminated:
            self.client_terminated = True
            self._discarding = asyncio.ensure_future(self._discard())

    def _write_frame(self, fin: bool, opcode: int, data: bytes, flags: int = 0) -> asyncio.Future[None]:
        written = super()._write_frame(fin, opcode, data, flags)
        self.handler.watch(written)
        return written

    async def _discard(self) -> None:
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_S):
                while left > 0:
                    left -= len(await self.stream.read_bytes(1 << 16, partial=True))
                    await asyncio.sleep(0)
        except (StreamClosedError, TimeoutError):
            pass
        self._lingers = False
        self._abort()


def limit_unsent(sock: socket.socket, size: int) -> None:
    """Let the kernel hold so many bytes that are not on their way."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT") and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)


def _hold_what_is_left(stream: IOStream) -> None:
    """Let the kernel hold all that is left, the close too: a peer that reads again after we are gone learns why."""
    if not stream.closed():
        limit_unsent(stream.socket, 2**31 - 1)


def _is_close(payload: bytes) -> bool:
    """Tell whether this may be a close's payload: nothing, or a code that may be sent and a reason (section 7.4)."""
    if len(payload) < 2:
        return not payload
    (code,) = struct.unpack_from("!H", payload)
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        return False
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return False
    return True
