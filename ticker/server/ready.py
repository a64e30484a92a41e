"""`/readyz`: whether clients should be sent here. `/healthz` says only that the server is alive.

A server that is alive but not ready should get no new clients; restarting it would help nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.routing import PathMatches, Rule
from tornado.web import RequestHandler

from ticker.protocol.text import render
from ticker.stream.market import Market

SERVING = ("live", "ended")
"""States of a feed in which there is something to be had: what a replay has sent can be resumed after its end."""


class Readiness:
    """Whether a server is ready; `accepts` tells whether it takes connections.

    One whose journal has ended is: it serves as before. That it has is told beside, by `has_journal_ended`.
    """

    def __init__(
        self, market: Market, accepts: Callable[[], bool], has_journal_ended: Callable[[], bool] = lambda: False
    ) -> None:
        self._market = market
        self._accepts = accepts
        self.has_journal_ended = has_journal_ended
        self.is_leaving = False

    def why_not(self) -> str | None:
        """Return a reason, None if it is ready."""
        if self.is_leaving:
            return "the server is stopping"
        if not self._accepts():
            return "the server takes no connections: it has too many open files"
        if self._market.state not in SERVING:
            return f"the feed is {self._market.state}"
        return None

    def routes(self) -> list[Rule]:
        """Return its address."""
        return [Rule(PathMatches("/readyz"), ReadyHandler, {"readiness": self, "market": self._market})]


class ReadyHandler(RequestHandler):
    """Answers 200 or 503. Asks nobody for a token: it tells nothing that isn't for everyone."""

    def initialize(self, readiness: Readiness, market: Market) -> None:
        self._readiness = readiness
        self._market = market

    def get(self) -> None:
        reason = self._readiness.why_not()
        body: dict[str, Any] = {"status": "ready" if reason is None else "unready", "state": self._market.state}
        if reason is not None:
            self.set_status(503)
            body["reason"] = reason
        if self._readiness.has_journal_ended():
            body["journal"] = "ended"
        self._answer(body)

    def head(self) -> None:
        self.get()

    def compute_etag(self) -> str | None:
        return None  # it is asked for what is so now

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self._answer({"error": self._reason.lower()})

    def _answer(self, body: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(render(body) + "\n")
