"""The route `/stream`: the handshake of the native protocol (protocol document, section 2)."""

from __future__ import annotations

from typing import Any

from tornado.iostream import IOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol13

from ticker.protocol.codec import Codec
from ticker.server.connections import Connections


class StreamHandler(WebSocketHandler):
    """Shakes hands, and hands the stream over to a StreamSocket, so that nothing is kept of the HTTP request.

    An idle connection costs half as much without the request, its headers, its handler and the coroutines that wait in
    them (measured by `benchmarks/bench_memory.py`).
    """

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

    def get_websocket_protocol(self) -> WebSocketProtocol13 | None:
        protocol = super().get_websocket_protocol()
        if isinstance(protocol, WebSocketProtocol13):
            return _Handshake(self, mask_outgoing=False, params=protocol.params)
        return None

    def hand_over(self, stream: IOStream) -> None:
        """Let a StreamSocket go on with the stream, once the handshake is done."""
        assert self._codec is not None
        self._connections.open(stream, self._codec, str(self.request.remote_ip))

    def _refuse(self, status: int, reason: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(reason + "\n")


class _Handshake(WebSocketProtocol13):
    """Tornado's protocol until the handshake is done."""

    handler: StreamHandler

    async def _receive_frame_loop(self) -> None:
        self.handler.hand_over(self.stream)


def _host_and_port(scheme: str, authority: str) -> tuple[str, str]:
    """Return what an authority names, in lower case; if it names no port, that of the scheme (behind TLS too)."""
    host, colon, port = authority.lower().rpartition(":")
    if not colon or not port.isdecimal():
        host, port = authority.lower(), {"http": "80", "https": "443"}.get(scheme.lower(), "")
    return host, port
