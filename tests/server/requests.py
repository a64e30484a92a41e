"""Requests as Tornado hands them to the doorway, without a socket."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine


def request(
    *headers: tuple[str, str], host: str | None = "127.0.0.1:8888", peer: str = "127.0.0.1", protocol: str = "http"
) -> HTTPServerRequest:
    """Return a GET of `/` with these headers, on a connection from `peer`."""
    given = HTTPHeaders()
    if host is not None:
        given.add("Host", host)
    for name, value in headers:
        given.add(name, value)
    connection: Any = SimpleNamespace(context=SimpleNamespace(remote_ip=peer, protocol=protocol))
    line = RequestStartLine("GET", "/", "HTTP/1.1" if host is not None else "HTTP/1.0")
    return HTTPServerRequest(headers=given, connection=connection, start_line=line)
