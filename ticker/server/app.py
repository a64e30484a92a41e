"""The HTTP server: what is found at which address."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.routing import Rule
from tornado.web import Application, RequestHandler, stream_request_body

from ticker.server import rest
from ticker.server.accept import Acceptor
from ticker.server.connections import Connections
from ticker.server.doorway import BODY_BYTES, Doorway, Rejection
from ticker.server.headers import CORS_HEADERS, CORS_METHODS, CORS_S, Headers, is_preflight
from ticker.server.native import StreamHandler
from ticker.server.tls import Certificate
from ticker.server.visits import Visits

log = logging.getLogger(__name__)

BACKLOG = 4096
HEADERS_READ = 2
"""How many times the largest headers are read: up to there they are answered, beyond the connection just ends."""


class PageFile(Protocol):
    """A file of a page that is served as it is."""

    @property
    def body(self) -> bytes: ...

    @property
    def gzipped(self) -> bytes: ...

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
        self.set_header("Vary", "Accept-Encoding")
        self._sent = self._file.body
        if accepts_gzip(self.request.headers.get("Accept-Encoding", "")):
            self._sent = self._file.gzipped
            self.set_header("Content-Encoding", "gzip")
        self.finish(self._sent)

    def head(self) -> None:
        self.get()

    def compute_etag(self) -> str | None:
        return f'"{hashlib.sha256(self._sent).hexdigest()[:32]}"'


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether gzip is among the encodings that a header accepts, and not with the weight 0 (RFC 9110, 12.5.3)."""
    weights = dict(re.findall(r"([a-z*][^\s,;]*)\s*(?:;\s*q=([01](?:\.\d*)?))?", accept_encoding.lower()))
    return float(weights.get("gzip", weights.get("*", "0")) or "1") > 0


class NotFound(_Plain):
    """Answers for addresses where nothing is."""

    def prepare(self) -> None:
        self.set_status(404)
        self.write_error(404)


@stream_request_body  # so that it answers at once, whatever body is on its way
class Rejected(_Plain):
    """Tells why a request was not let in."""

    def initialize(self, rejection: Rejection) -> None:
        self._rejection = rejection

    def prepare(self) -> None:
        self.set_status(self._rejection.status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("Connection", "close")
        if self._rejection.retry_s:
            self.set_header("Retry-After", str(self._rejection.retry_s))
        self.finish(self._rejection.words + "\n")

    def data_received(self, chunk: bytes) -> None:
        """Let go of it."""


class Preflight(_Plain):
    """Tells a browser what the pages of an origin that is allowed may ask."""

    def prepare(self) -> None:
        self.set_status(204)
        self.set_header("Access-Control-Allow-Methods", CORS_METHODS)
        self.set_header("Access-Control-Allow-Headers", CORS_HEADERS)
        self.set_header("Access-Control-Max-Age", str(CORS_S))
        self.finish()


class Door(Application):
    """Finds a request's handler, once the doorway and the limits let it in: there is no way around for any address."""

    def __init__(self, routes: list[Any], doorway: Doorway, visits: Visits) -> None:
        dress = partial(Headers, doorway=doorway)
        super().__init__(routes, default_handler_class=NotFound, transforms=[dress], log_function=_log)  # type: ignore[list-item]
        self._doorway = doorway
        self._visits = visits

    def find_handler(self, request: HTTPServerRequest, **keywords: Any) -> Any:
        self._doorway.identify(request)
        rejection = self._doorway.rejection(request) or self._visits.ask(request)
        request.uri = request.path  # what Tornado logs: a query may be anything, a token for instance
        if rejection is not None:
            self._visits.counts.refusals[rejection.reason] += 1
            return self.get_handler_delegate(request, Rejected, {"rejection": rejection})
        if is_preflight(request, self._doorway):
            return self.get_handler_delegate(request, Preflight)
        return super().find_handler(request, **keywords)


def _log(handler: RequestHandler) -> None:
    """Log an answer: only what is a fault of ours above level debug."""
    request, status = handler.request, handler.get_status()
    level = logging.ERROR if status >= 500 and status != 503 else logging.DEBUG
    log.log(level, "%s answered %s %s with %d", request.remote_ip, request.method, request.path, status)


def _without_what_was_said(record: logging.LogRecord) -> bool:
    """Let Tornado tell of malformed requests without their words, which may be a token in the wrong place."""
    if record.msg.startswith("Malformed HTTP message") and isinstance(record.args, tuple):
        record.msg, record.args = "a malformed request of %s", record.args[:1]
    return True


class Server:
    """The listening server. `more` are addresses of other dialects. Raises OSError when it can't listen."""

    def __init__(
        self,
        connections: Connections,
        pages: Mapping[str, PageFile],
        page_headers: Mapping[str, str],
        port: int,
        more: Sequence[Rule],
        doorway: Doorway,
        visits: Visits,
        certificate: Certificate | None = None,
    ) -> None:
        logging.getLogger("tornado.general").addFilter(_without_what_was_said)
        self._host = doorway.host
        self._scheme = "http" if certificate is None else "https"
        self._visits = visits
        self._http = HTTPServer(
            Door(_routes(connections, pages, page_headers, more), doorway, visits),
            max_header_size=HEADERS_READ * doorway.header_bytes,
            max_body_size=BODY_BYTES,
        )
        listeners = bind_sockets(port, self._host, backlog=BACKLOG)
        self._port = int(listeners[0].getsockname()[1])
        handle = self._http.handle_stream
        self._acceptors = [Acceptor(listener, handle, visits.receive) for listener in listeners]

    @property
    def url(self) -> str:
        """Where the page is, with the real port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{self._port}/"

    @property
    def accepts(self) -> bool:
        """Whether it takes connections now."""
        return bool(self._acceptors) and not any(acceptor.is_paused for acceptor in self._acceptors)

    def tick(self, now_s: float) -> None:
        """Do what is due. To be called about once a second."""
        self._visits.tick(now_s)

    def stop_accepting(self) -> None:
        """Let nobody in any more."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def close(self) -> None:
        """Close what is still open."""
        self.stop_accepting()
        await self._http.close_all_connections()


def _routes(
    connections: Connections, pages: Mapping[str, PageFile], page_headers: Mapping[str, str], more: Sequence[Rule]
) -> list[Any]:
    market = connections.market
    routes: list[Any] = [
        (r"/stream", StreamHandler, {"connections": connections}),
        (r"/healthz", rest.Resource, {"market": market, "answer": rest.health}),
        (r"/api/symbols", rest.Resource, {"market": market, "answer": rest.symbols}),
        (r"/api/snapshot", rest.Resource, {"market": market, "answer": rest.snapshot}),
        *more,
    ]
    routes += [(re.escape(path), Page, {"file": file, "headers": page_headers}) for path, file in pages.items()]
    return routes
