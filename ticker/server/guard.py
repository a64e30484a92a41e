"""Asks an HTTP request for its token: what every door but the health checks and the page's files asks before it opens.

A handler asks `grant = ask(market, self.request)`; if that is a Refusal, it calls `grant.head(self)` and tells its
message in its own sort of body. Otherwise `grant.principal` is who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from ticker.access.errors import BadToken
from ticker.access.grant import TO_ANYONE, Grant
from ticker.stream.market import Market

IN_URL = ("token", "access_token")
"""Arguments that would be a token, which is never in a URL: URLs end up in logs, histories and referrers."""
CHALLENGE = 'Bearer realm="tickercast"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets nothing: an HTTP status, one line, and headers that go with it."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, handler: RequestHandler) -> None:
        """Set status and headers of the answer; its body is the door's own affair."""
        handler.set_status(self.status)
        for name, value in self.headers.items():
            handler.set_header(name, value)


def ask(market: Market, request: HTTPServerRequest) -> Grant | Refusal:
    """Return what the request's token gives, or why it gets nothing."""
    grant = ask_if_given(market, request)
    if grant is not None:
        return grant
    return _refused(market, "Authorization: expected Bearer and a token", CHALLENGE)


def ask_if_given(market: Market, request: HTTPServerRequest) -> Grant | Refusal | None:
    """Do the same where a token may come later: None if a token is needed and none was given."""
    refusal = token_in_url(market, request)
    if refusal is not None:
        return refusal
    gate = market.gate
    if not gate.is_required:
        return TO_ANYONE
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return _refused(market, "Authorization: expected Bearer and a token", CHALLENGE)
    try:
        return gate.authenticate(token.strip())
    except BadToken as error:
        return _refused(market, str(error), CHALLENGE + ', error="invalid_token"')


def full(market: Market, grant: Grant) -> Refusal | None:
    """Refuse a connection to a principal that has all it may have."""
    if not market.gate.is_full(grant.principal):
        return None
    market.counts.refusals["connections_of_principal"] += 1
    return Refusal(429, "the token has all the connections that it may have", {"Retry-After": "10"})


def token_in_url(market: Market, request: HTTPServerRequest) -> Refusal | None:
    """Refuse a token in the URL, and see to it that nobody logs it."""
    for name in IN_URL:
        if name in request.query_arguments:
            request.uri = request.path  # what Tornado and our own logs show
            market.counts.refusals["token_in_url"] += 1
            return Refusal(
                400, f"{name}: a token is never sent in a URL; send it as Authorization: Bearer, or by the command auth"
            )
    return None


def _refused(market: Market, message: str, challenge: str) -> Refusal:
    market.counts.refusals["token"] += 1
    return Refusal(401, message, {"WWW-Authenticate": challenge})
