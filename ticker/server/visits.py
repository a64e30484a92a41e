"""Who is connected: counts connections by address, and ends those that neither ask nor read.

They are counted from the moment they are accepted, so that half of a handshake counts as well. Those above a limit are
let in as far as it takes to tell them; there is only so much room for these.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from socket import socket as Socket
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream, SSLIOStream

from ticker.clock import Clock
from ticker.server.doorway import Rejection, asks_for_websocket
from ticker.server.proxies import Proxies, address_of, peer_of, plain
from ticker.server.tls import Certificate
from ticker.stream.counts import Counts

IDLE_S = 20
"""How long a peer may take for its TLS handshake and first request, and then for its next, or to take an answer."""
SURPLUS = 64
"""Connections above a limit that are told of it; more are closed at once."""
RETRY_S = 30
ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
"""Those who look after a server learn how it does even while it is full: else it might be ended for that."""
_GO_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % RETRY_S
)
_WORDS = {
    "connections": "too many connections; --max-connections sets how many",
    "connections_per_address": "too many connections from this address; --max-connections-per-address sets how many",
}


class Visitor(IOStream):
    """A connection that is counted until it closes."""

    __slots__ = ("counted_as", "surplus", "visits")

    visits: Visits
    counted_as: str | None
    """The address that it is counted under, None if under none: a proxy's connections are many people's."""
    surplus: str | None
    """The limit that it is above of, if any."""

    def close_fd(self) -> None:
        super().close_fd()
        self.visits.leave(self)


class TlsVisitor(SSLIOStream, Visitor):
    """The same with TLS."""

    def close_fd(self) -> None:
        if self._ssl_accepting:
            self.visits.counts.refusals["tls"] += 1
        super().close_fd()


@dataclass(slots=True)
class _Visit:
    """A connection that speaks HTTP: how many requests it has made, and since when nothing has happened."""

    since_s: float
    requests: int = 0
    progress: int = 0


class Visits:
    """The connections of a server, with their limits. `certificate` is what they are encrypted with, if they are."""

    def __init__(
        self,
        counts: Counts,
        clock: Clock,
        most: int = 100_000,
        most_per_address: int = 20_000,
        proxies: Proxies | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.counts = counts
        self._clock = clock
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = proxies or Proxies()
        self._certificate = certificate
        self._total = 0
        self._by_address: Counter[str] = Counter()
        self._asking: dict[IOStream, _Visit] = {}

    def __len__(self) -> int:
        return self._total

    @property
    def addresses(self) -> Counter[str]:
        """How many connections each address has, those with none left out."""
        return self._by_address.copy()

    def receive(self, connection: Socket, address: Any) -> IOStream | None:
        """Return the stream of a connection that was accepted; None if there is no room, not even to say so."""
        counted_as = self._key(plain(address[0])) if isinstance(address, tuple) else None
        surplus = self._surplus(counted_as, 0)
        if surplus is not None and self._surplus(counted_as, SURPLUS) is not None:
            self.counts.refusals[surplus] += 1
            self._turn_away(connection)
            return None
        stream = self._stream(connection)
        if stream is None:
            return None
        stream.visits, stream.counted_as, stream.surplus = self, counted_as, surplus
        self._total += 1
        self._count(counted_as, 1)
        self._asking[stream] = _Visit(self._clock.monotonic())
        return stream

    def ask(self, request: HTTPServerRequest) -> Rejection | None:
        """Note that a connection has made an identified request; return why it is one too many, None if it isn't."""
        stream = getattr(request.connection, "stream", None)
        if not isinstance(stream, Visitor):
            return None
        visit = self._asking.get(stream)
        if visit is not None:
            visit.requests += 1
        if asks_for_websocket(request):
            self._count_client(stream, str(request.remote_ip), peer_of(request))
        elif stream.surplus is not None and request.path not in ALWAYS_ANSWERED:
            status = 503 if stream.surplus == "connections" else 429
            return Rejection(status, stream.surplus, _WORDS[stream.surplus], RETRY_S)
        return None

    def settle(self, stream: IOStream) -> str | None:
        """Let a connection go on as a stream, which has its own ways to end; return why it must not, if so."""
        self._asking.pop(stream, None)
        if not isinstance(stream, Visitor) or stream.surplus is None:
            return None
        self.counts.refusals[stream.surplus] += 1
        return _WORDS[stream.surplus]

    def leave(self, stream: Visitor) -> None:
        """Count one less."""
        self._total -= 1
        self._count(stream.counted_as, -1)
        self._asking.pop(stream, None)

    def tick(self, now_s: float) -> None:
        """Close connections on which nothing has happened for too long. To be called about once a second."""
        for stream, visit in list(self._asking.items()):
            progress = visit.requests + stream._total_write_done_index
            if progress != visit.progress:
                visit.progress, visit.since_s = progress, now_s
            elif now_s - visit.since_s >= IDLE_S:
                if stream.writing() and visit.requests:
                    self.counts.refusals["slow_reader"] += 1
                elif not visit.requests:
                    self.counts.refusals["slow_request"] += 1
                stream.close()

    def _surplus(self, counted_as: str | None, beyond: int) -> str | None:
        """Return which limit one more connection would pass by more than `beyond`."""
        if self._total >= self._most + beyond:
            return "connections"
        return "connections_per_address" if self._has_all(counted_as, beyond) else None

    def _has_all(self, counted_as: str | None, beyond: int = 0) -> bool:
        """Tell whether an address has all the connections that it may have, and so many beyond."""
        return counted_as is not None and self._by_address[counted_as] >= self._most_per_address + beyond

    def _stream(self, connection: Socket) -> Visitor | None:
        if self._certificate is None:
            return Visitor(connection)
        context = self._certificate.context
        try:
            wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError):  # it is gone already
            self.counts.refusals["tls"] += 1
            connection.close()
            return None
        return TlsVisitor(wrapped, ssl_options=context)

    def _turn_away(self, connection: Socket) -> None:
        if self._certificate is None:
            with contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.send(_GO_AWAY)
        connection.close()

    def _count_client(self, stream: Visitor, client: str, peer: str) -> None:
        """Count a connection that comes by a proxy for the one it will belong to."""
        counted_as = self._key(client)
        if client == peer or counted_as == stream.counted_as:
            return
        self._count(stream.counted_as, -1)
        stream.counted_as = counted_as
        if stream.surplus is None and self._has_all(counted_as):
            stream.surplus = "connections_per_address"
        self._count(counted_as, 1)

    def _count(self, key: str | None, more: int) -> None:
        if key is not None:
            self._by_address[key] += more
            if not self._by_address[key]:
                del self._by_address[key]

    def _key(self, address: str) -> str | None:
        """Return what an address is counted under: with IPv6 its /64, of which everyone has at least one."""
        if self._proxies.trust(address):
            return None
        ip = address_of(address) if ":" in address else None
        if isinstance(ip, IPv6Address) and not ip.is_loopback:
            return sys.intern(str(IPv6Network((ip, 64), strict=False)))
        return sys.intern(address)
