"""The HTTP server: what is found at which address."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.routing import Rule
from tornado.web import Application, RequestHandler

from ticker.server import rest
from ticker.server.accept import Acceptor
from ticker.server.connections import Connections
from ticker.server.native import StreamHandler

BACKLOG = 4096
HEADER_BYTES = 16_384
BODY_BYTES = 65_536
IDLE_S = 60
"""How long a peer may take to send its request."""


class PageFile(Protocol):
    """A file of a page that is served as it is."""

    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...

    @property
    def cache_control(self) -> str: ...


class _Plain(RequestHandler):
    """Tells what is wrong with a request in one line of text."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{self._reason.lower()}\n")


class Page(_Plain):
    """Serves one file of the dashboard."""

    def initialize(self, file: PageFile, headers: Mapping[str, str]) -> None:
        self._file = file
        self._headers_of_page = headers

    def get(self) -> None:
        for name, value in self._headers_of_page.items():
            self.set_header(name, value)
        self.set_header("Content-Type", self._file.content_type)
        self.set_header("Cache-Control", self._file.cache_control)
        self.finish(self._file.body)

    def head(self) -> None:
        self.get()

    def compute_etag(self) -> str | None:
        return f'"{hashlib.sha256(self._file.body).hexdigest()[:32]}"'


class NotFound(_Plain):
    """Answers for addresses where nothing is."""

    def prepare(self) -> None:
        self.set_status(404)
        self.write_error(404)


class Server:
    """The listening server. `more` are addresses of other dialects. Raises OSError when it can't listen."""

    def __init__(
        self,
        connections: Connections,
        pages: Mapping[str, PageFile],
        page_headers: Mapping[str, str],
        host: str,
        port: int,
        more: Sequence[Rule] = (),
    ) -> None:
        self._host = host
        self._http = HTTPServer(
            _application(connections, pages, page_headers, more),
            max_header_size=HEADER_BYTES,
            max_body_size=BODY_BYTES,
            idle_connection_timeout=IDLE_S,
            body_timeout=IDLE_S,
        )
        listeners = bind_sockets(port, host, backlog=BACKLOG)
        self._port = int(listeners[0].getsockname()[1])
        self._acceptors = [Acceptor(listener, self._http.handle_stream) for listener in listeners]

    @property
    def url(self) -> str:
        """Where the page is, with the real port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def stop_accepting(self) -> None:
        """Let nobody in any more."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def close(self) -> None:
        """Close what is still open."""
        self.stop_accepting()
        await self._http.close_all_connections()


def _application(
    connections: Connections, pages: Mapping[str, PageFile], page_headers: Mapping[str, str], more: Sequence[Rule]
) -> Application:
    market = connections.market
    routes: list[Any] = [
        (r"/stream", StreamHandler, {"connections": connections}),
        (r"/healthz", rest.Resource, {"market": market, "answer": rest.health}),
        (r"/api/symbols", rest.Resource, {"market": market, "answer": rest.symbols}),
        (r"/api/snapshot", rest.Resource, {"market": market, "answer": rest.snapshot}),
        *more,
    ]
    routes += [(re.escape(path), Page, {"file": file, "headers": page_headers}) for path, file in pages.items()]
    return Application(routes, default_handler_class=NotFound)
