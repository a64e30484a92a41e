"""What every answer says to browsers: not to guess, frame or keep it, and which foreign pages may read it."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

from ticker.server.doorway import Doorway
from ticker.server.proxies import address_of

SECURITY = {
    # Nothing of an answer runs or loads. The page's files have a policy of their own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer that doesn't set them itself."""
HSTS = "max-age=31536000"
CORS_METHODS = "GET, HEAD"
CORS_HEADERS = "Authorization, Content-Type, APCA-API-KEY-ID, APCA-API-SECRET-KEY"
"""What a foreign page may send along. Credentials in the sense of CORS are never allowed: there are no cookies."""
CORS_S = 600
"""How long a browser may rely on what it was allowed."""


class Headers(OutputTransform):
    """Adds them to each answer, whichever handler gives it: Tornado passes all through its transforms."""

    def __init__(self, request: HTTPServerRequest, doorway: Doorway) -> None:
        self._request = request
        self._doorway = doorway

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers.pop("Server", None)  # whoever looks for a version with a hole need not be told
        if status_code == 101:
            return status_code, headers, chunk
        for name, value in SECURITY.items():
            headers.setdefault(name, value)
        if self._request.protocol == "https" and not _is_shared(self._request.host_name.strip("[]")):
            headers["Strict-Transport-Security"] = HSTS
        self._allow_origin(headers)
        return status_code, headers, chunk

    def _allow_origin(self, headers: HTTPHeaders) -> None:
        if not self._doorway.origins:
            return
        headers.add("Vary", "Origin")
        origin = self._request.headers.get("Origin", "")
        if self._doorway.allows(origin):
            headers["Access-Control-Allow-Origin"] = origin


def is_preflight(request: HTTPServerRequest, doorway: Doorway) -> bool:
    """Tell whether a browser asks, for a page that is allowed, whether it may ask."""
    return (
        request.method == "OPTIONS"
        and "Access-Control-Request-Method" in request.headers
        and doorway.allows(request.headers.get("Origin", ""))
    )


def _is_shared(name: str) -> bool:
    """Tell whether a host is localhost, whose other servers must not be pinned to TLS by this one, or has no name."""
    return name == "localhost" or name.endswith(".localhost") or address_of(name) is not None
