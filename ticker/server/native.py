"""The route `/stream`: the handshake of the native protocol (protocol document, section 2)."""

from __future__ import annotations

from typing import Any

from tornado.iostream import IOStream

from ticker.access.grant import Grant
from ticker.protocol.codec import Codec
from ticker.server import guard
from ticker.server.connections import Connections
from ticker.server.handshake import HandshakeHandler


class StreamHandler(HandshakeHandler):
    """Chooses the codec among what a client offers."""

    def initialize(self, connections: Connections) -> None:
        self._connections = connections
        self._codec: Codec | None = None
        self._grant: Grant | None = None

    async def get(self, *args: Any, **kwargs: Any) -> None:
        refusal = self._ask()
        if refusal is not None:
            refusal.head(self)
            return self.refuse(refusal.status, refusal.message)
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        codecs = self._connections.codecs
        if offered:
            known = [name for each in offered.split(",") if (name := each.strip()) in codecs]
            if not known:
                return self.refuse(400, f"Sec-WebSocket-Protocol: expected one of {', '.join(codecs)}")
            self._codec = codecs[known[0]]
        else:
            format = self.get_query_argument("format", "msgpack")
            self._codec = codecs.get(f"ticker.v1.{format}")
            if self._codec is None:
                return self.refuse(400, "format: expected msgpack or json")
        await super().get(*args, **kwargs)
        return None

    def _ask(self) -> guard.Refusal | None:
        """Take the token of the handshake, if there is one; return why it is refused. Without, `auth` has to come."""
        market = self._connections.market
        grant = guard.ask_if_given(market, self.request)
        if isinstance(grant, guard.Refusal):
            return grant
        self._grant = grant
        return None if grant is None else guard.full(market, grant)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        assert self._codec is not None
        return self._codec.subprotocol if subprotocols else None

    def hand_over(self, stream: IOStream) -> None:
        assert self._codec is not None
        self._connections.open(stream, self._codec, str(self.request.remote_ip), self._grant)
