"""One WebSocket connection: opening it, speaking no faster than the server listens, closing it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from ticker.client.decode import SUBPROTOCOL
from ticker.client.errors import ConnectionFailed, Unauthenticated
from ticker.client.questions import Outgoing
from ticker.protocol.messages import CloseCode

CONNECT_S = 10.0
"""The longest wait for a connection, and again for the server's first word."""
CLOSE_S = 2.0
"""The longest wait for the server's part in closing a connection."""
MESSAGE_BYTES = 1 << 24
"""A server's message is at most 1 MiB; a larger one is believed up to this size."""


def stream_url(url: str) -> str:
    """Return the WebSocket's URL for that of a server. Raises ValueError for what is none."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r}: expected an address such as ws://127.0.0.1:8888/stream")
    path = "/stream" if parts.path in ("", "/") else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


async def open_connection(url: str, token: str | None = None) -> WebSocketClientConnection:
    """Return a new connection to the stream at `url`. The token goes into a header, never into the URL; nor does it
    follow a redirection. Raises ConnectionFailed, and Unauthenticated for a token that is refused."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = HTTPRequest(
        url, headers=headers, connect_timeout=CONNECT_S, request_timeout=CONNECT_S, follow_redirects=token is None
    )
    future = asyncio.ensure_future(
        websocket_connect(request, subprotocols=[SUBPROTOCOL], max_message_size=MESSAGE_BYTES)
    )
    try:
        # Cancelling Tornado's future would leave the connection that may still come about without an owner.
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_abandon)
        raise
    except (OSError, HTTPError, WebSocketError) as error:
        if isinstance(error, HTTPError) and error.code == 401:
            raise Unauthenticated(CloseCode.UNAUTHENTICATED, f"{url}: {_reason(error)}") from None
        raise ConnectionFailed(f"{url}: {error}") from error


async def close_connection(connection: WebSocketClientConnection, is_over: bool) -> None:
    """Say goodbye and read on until the server has too, for a while; then hang up.

    `is_over` says that the end was read already.
    """
    connection.close(1000)
    try:
        if not is_over:
            async with asyncio.timeout(CLOSE_S):
                while await connection.read_message() is not None:
                    pass
    except TimeoutError:
        pass
    finally:
        connection.stream.close()


class Sender:
    """Sends commands on one connection, at most `commands_per_s` in any second."""

    def __init__(self, connection: WebSocketClientConnection, outgoing: deque[Outgoing]) -> None:
        self.commands_per_s = 40
        self._connection = connection
        self._outgoing = outgoing
        self._sent: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def send(self) -> None:
        """Send what is to be sent; what has to wait goes out by itself."""
        loop, outgoing = asyncio.get_running_loop(), self._outgoing
        while outgoing and self._timer is None:
            now = loop.time()
            while self._sent and now - self._sent[0] >= 1.0:
                self._sent.popleft()
            wait = outgoing[0].after_s
            if len(self._sent) >= self.commands_per_s:
                wait = max(wait, 1.0 - (now - self._sent[0]), 0.01)
            if wait:
                outgoing[0] = outgoing[0]._replace(after_s=0.0)
                self._timer = loop.call_later(wait, self._send_on)
                return
            self._sent.append(now)
            try:
                written = self._connection.write_message(outgoing.popleft().message, binary=True)
            except (WebSocketClosedError, StreamClosedError):
                return  # the reading side sees it too
            written.add_done_callback(_see)

    def close(self) -> None:
        """Send nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _send_on(self) -> None:
        self._timer = None
        self.send()


def _see(future: asyncio.Future[Any]) -> None:
    """See an exception that nobody else will: a write that failed is also a read that fails."""
    if not future.cancelled():
        future.exception()


def _reason(error: HTTPError) -> str:
    """Return what a server says of why it refuses."""
    body = b"" if error.response is None else error.response.body
    return " ".join(body[:200].decode(errors="replace").split()) or str(error)


def _abandon(future: asyncio.Future[WebSocketClientConnection]) -> None:
    """Close a connection that came about when nobody wanted it any more."""
    if not future.cancelled() and future.exception() is None:
        future.result().close()
