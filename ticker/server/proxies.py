"""Who is at the other end of a request: the peer itself, or whom a proxy that we trust speaks for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from tornado.httputil import HTTPHeaders, HTTPServerRequest

FORWARDING = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded", "Via")
"""Headers that tell of a proxy, whether it is trusted or not."""
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.%\w]+)\](?::\d+)?|([0-9.]+):\d+")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that are trusted, given as addresses and networks. Raises ValueError where one is neither."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ipaddress.ip_network(each, strict=False) for each in networks]

    def trust(self, address: str) -> bool:
        """Tell whether an address is that of a trusted proxy."""
        if not self._networks:
            return False
        ip = address_of(address)
        return ip is not None and any(ip in network for network in self._networks)

    def client_of(self, peer: str, headers: HTTPHeaders) -> str:
        """Return the address that a request comes from: the rightmost of X-Forwarded-For that is no proxy of ours.

        What stands left of it was written by a stranger. Where an entry is no address, it is the proxy that sent it.
        """
        client = plain(peer)
        if not self.trust(client):
            return client
        for entry in reversed(headers.get("X-Forwarded-For", "").split(",")):
            ip = address_of(_without_port(entry.strip()))
            if ip is None:
                break
            client = str(ip)
            if not self.trust(client):
                break
        return client

    def scheme_of(self, peer: str, scheme: str, headers: HTTPHeaders) -> str:
        """Return the scheme that the client used: what a trusted proxy says, or else the connection's."""
        if self.trust(peer):
            said = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
            if said in ("http", "https"):
                return said
        return scheme

    def is_local(self, request: HTTPServerRequest) -> bool:
        """Tell whether a request was made on this machine, by no proxy as far as that can be known."""
        peer = peer_of(request)
        return is_loopback(peer) and not self.trust(peer) and not any(name in request.headers for name in FORWARDING)


def peer_of(request: HTTPServerRequest) -> str:
    """Return the address that a request's connection comes from, whoever it speaks for."""
    context = getattr(request.connection, "context", None)
    return plain(str(getattr(context, "remote_ip", request.remote_ip)))


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's own."""
    ip = address_of(address)
    return ip is not None and ip.is_loopback


def plain(address: str) -> str:
    """Return an address without zone, an IPv4 one never in the form of IPv6; what is no address as it is."""
    if ":" not in address:
        return address
    ip = address_of(address)
    return address if ip is None else str(ip)


def address_of(text: str) -> Address | None:
    """Return what a text such as 10.0.0.1 or fe80::1%eth0 stands for; None if it is no address."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def _without_port(text: str) -> str:
    match = _WITH_PORT.fullmatch(text)
    return (match[1] or match[2]) if match else text
