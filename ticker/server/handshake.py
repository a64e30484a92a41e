"""The handshake of a WebSocket in any dialect: origins, compression, handing the stream over."""

from __future__ import annotations

from typing import Any

from tornado.iostream import IOStream
from tornado.util import ObjectDict
from tornado.websocket import WebSocketHandler, WebSocketProtocol13


class HandshakeHandler(WebSocketHandler):
    """Shakes hands, and hands the stream over to a StreamSocket, so that nothing is kept of the HTTP request.

    An idle connection costs half as much without the request, its headers, its handler and the coroutines that wait in
    them (measured by `benchmarks/bench_memory.py`).
    """

    def hand_over(self, stream: IOStream) -> None:
        """Let a StreamSocket go on with the stream, once the handshake is done."""
        raise NotImplementedError

    def refuse(self, status: int, reason: str) -> None:
        """Answer with a line of text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason + "\n")

    def check_origin(self, origin: str) -> bool:
        return True  # the doorway has asked, before any handler

    def get_compression_options(self) -> dict[str, Any] | None:
        return None

    def get_websocket_protocol(self) -> WebSocketProtocol13 | None:
        protocol = super().get_websocket_protocol()
        if isinstance(protocol, WebSocketProtocol13):
            return _Handshake(self, mask_outgoing=False, params=protocol.params)
        return None


class _Handshake(WebSocketProtocol13):
    """Tornado's protocol until the handshake is done."""

    handler: HandshakeHandler

    async def _receive_frame_loop(self) -> None:
        if not self.stream.closed():  # the peer may be gone already; and in HTTP/1.0 an answer is the end
            self.handler.hand_over(self.stream)
        # What is left of the request is gone at once, not when the garbage collector finds that it lives for itself.
        self.handler.ui, self.handler.ws_connection = ObjectDict(), None
