"""Looks at each request before any handler does: to whom it was sent, whose page sent it, how large it is.

*Host*, against DNS rebinding: a page of evil.example may let that name lead to 127.0.0.1, and is then of the same
origin as what answers there. But its requests still say `Host: evil.example`. So a request must name us: as this
machine, as `--host` says, or as one of `--allow-host`. An address in numbers is no name that could be led elsewhere:
where the server listens on all addresses, each is taken for one of this machine's, even if it is that of a router or a
container's host that forwards to us. Ports are not compared: they too may be forwarded, and no such attack needs them.

*Origin*: browsers let any page open a WebSocket to anywhere, and say whose page it was.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, field

from tornado.httputil import HTTPServerRequest

from ticker.server.proxies import Proxies, address_of, peer_of

URI_BYTES = 8192
MOST_HEADERS = 100
BODY_BYTES = 65_536
"""The largest body, which nothing here reads."""
ONCE = ("Host", "Origin", "Authorization", "Content-Type", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
"""Headers of which a second one would leave open which of them was meant."""
_ORIGINS = ("Origin", "Sec-WebSocket-Origin")  # the latter is that of drafts, which Tornado speaks too
_PORTS = {"http": "80", "https": "443"}
_AUTHORITY = re.compile(r"([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(rf"(https?)://{_AUTHORITY.pattern}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request gets no further: an HTTP status, what it is counted as, and a line for who sent it."""

    status: int
    reason: str
    words: str
    retry_s: int = 0


@dataclass(frozen=True, slots=True)
class Doorway:
    """Which requests are let in. `hosts` and `origins` are those that are allowed besides our own."""

    host: str = "127.0.0.1"
    """Where the server listens."""
    hosts: Collection[str] = ()
    """Names, `*.example.com` for all below one, and addresses."""
    origins: Collection[str] = ()
    proxies: Proxies = field(default_factory=Proxies)
    header_bytes: int = 16_384

    def identify(self, request: HTTPServerRequest) -> None:
        """Let a request have the address and the scheme of its client, which are a proxy's only if that isn't ours."""
        peer = peer_of(request)
        request.protocol = self.proxies.scheme_of(peer, request.protocol, request.headers)
        # Interned, since a stream keeps it as long as it lasts.
        request.remote_ip = sys.intern(self.proxies.client_of(peer, request.headers))

    def rejection(self, request: HTTPServerRequest) -> Rejection | None:
        """Return why an identified request is not let in; None if it is."""
        return (
            self._of_shape(request)
            or self._of_host(request)
            or (self._of_origin(request) if asks_for_websocket(request) else None)
        )

    def admits(self, request: HTTPServerRequest, origin: str) -> bool:
        """Tell whether the pages of an origin may use the server as a request does."""
        normal = _normal_origin(origin)
        if normal is None:
            return False
        return normal == self._own_origin(request) or self.allows(origin)

    def allows(self, origin: str) -> bool:
        """Tell whether an origin is one of `origins`."""
        normal = _normal_origin(origin)
        return normal is not None and any(normal == _normal_origin(each) for each in self.origins)

    def is_named(self, name: str) -> bool:
        """Tell whether a host name, or an address, is this server's. It is in lower case, without brackets or port."""
        name = name.removesuffix(".")
        address = address_of(name)
        if address is None and f".{name}".endswith(".localhost"):  # RFC 6761: it leads to this machine, nowhere else
            return True
        own = address_of(self.host)
        if address is not None and (address.is_loopback or (own is not None and own.is_unspecified)):
            return True
        return any(_is_same(name, each.lower()) for each in (self.host, *self.hosts))

    def _of_shape(self, request: HTTPServerRequest) -> Rejection | None:
        headers = list(request.headers.get_all())
        for name in ONCE:
            if len(request.headers.get_list(name)) > 1:
                return Rejection(400, "malformed", f"{name}: more than once")
        if len(request.uri or "") > URI_BYTES:
            return Rejection(414, "headers", f"address: longer than {URI_BYTES} characters")
        if len(headers) > MOST_HEADERS:
            return Rejection(431, "headers", f"headers: more than {MOST_HEADERS}")
        if sum(len(name) + len(value) + 4 for name, value in headers) > self.header_bytes:
            return Rejection(
                431, "headers", f"headers: above {self.header_bytes} bytes; --max-header-kib sets how many"
            )
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length[:20]) > BODY_BYTES:
            return Rejection(413, "body", "body: nothing here takes one")
        return None

    def _of_host(self, request: HTTPServerRequest) -> Rejection | None:
        if "Host" not in request.headers:  # as HTTP/1.0 allows
            return Rejection(400, "host", "Host: missing")
        match = _AUTHORITY.fullmatch(request.host.lower())
        if match is None:
            return Rejection(400, "host", "Host: expected a name or an address, and a port")
        name = match[1].strip("[]")
        if self.is_named(name):
            return None
        return Rejection(
            421, "host", f"Host: {name[:255]} is no name of this server; --allow-host {name[:255]} makes it one"
        )

    def _of_origin(self, request: HTTPServerRequest) -> Rejection | None:
        for name in _ORIGINS:
            origin = request.headers.get(name)
            if origin is not None and not self.admits(request, origin):
                own = "{}://{}:{}".format(*self._own_origin(request) or ("?", "?", "?"))
                advice = "--allow-origin lets its pages in"
                if request.protocol == "http" and origin.startswith("https://"):
                    advice += ", --trusted-proxy makes a proxy believed that says X-Forwarded-Proto: https"
                return Rejection(403, "origin", f"Origin: not {own}, where this server is; {advice}")
        return None

    def _own_origin(self, request: HTTPServerRequest) -> tuple[str, str, str] | None:
        return _normal_origin(f"{request.protocol}://{request.host}")


def asks_for_websocket(request: HTTPServerRequest) -> bool:
    """Tell whether a request wants to go on as a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _normal_origin(origin: str) -> tuple[str, str, str] | None:
    """Return scheme, host and port of an origin; None if that is none, such as `null`."""
    match = _ORIGIN.fullmatch(origin.lower())
    return None if match is None else (match[1], match[2], match[3] or _PORTS[match[1]])


def _is_same(name: str, allowed: str) -> bool:
    """Tell whether a name or address is the one that is allowed, or below it if that begins with `*.`"""
    allowed = allowed.removesuffix(".")
    if allowed.startswith("*."):
        return name.endswith(allowed[1:])
    address = address_of(name)
    return name == allowed or (address is not None and address == address_of(allowed))
