"""What every answer says to browsers, whichever handler gives it and however it ends."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

import dashboard
from tests.rig import HandFeed, running
from tests.wire import Wire, exchange, fetch

ANSWERS = [
    ("GET", "/", {}, 200),
    ("HEAD", "/", {}, 200),
    ("GET", "/static/main.js", {}, 200),
    ("GET", "/healthz", {}, 200),
    ("GET", "/readyz", {}, 503),
    ("GET", "/metrics", {}, 200),
    ("GET", "/api/symbols", {}, 200),
    ("GET", "/api/snapshot", {}, 400),
    ("GET", "/v2/stocks/trades/latest?symbols=AAPL", {}, 200),
    ("GET", "/v2/stocks/bars", {}, 400),
    ("GET", "/v2/stocks/trades/latest?symbols=AAPL", {"X-Forwarded-For": "203.0.113.7"}, 401),
    ("GET", "/nothing", {}, 404),
    ("POST", "/", {}, 405),
    ("DELETE", "/api/symbols", {}, 405),
    ("BREW", "/healthz", {}, 405),
    ("GET", "/stream", {}, 400),
    ("GET", "/stream", {"Upgrade": "websocket"}, 400),
    ("GET", "/stream?format=xml", {}, 400),
    ("GET", "/%ff", {}, 404),
    ("GET", "/api/symbols?prefix=%ff", {}, 400),
    ("GET", "/", {"Host": "evil.example"}, 421),
    ("GET", "/", {"X-Long": "x" * 20_000}, 431),
    ("GET", "/stream", {"Upgrade": "websocket", "Origin": "http://evil.example"}, 403),
]


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS)
async def test_every_answer_says_not_to_guess_to_frame_or_to_tell_where_one_came_from(
    method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with running(HandFeed()) as url:
        answered, said, _ = await fetch(url, path, method, headers)

        assert answered == status
        assert said["x-content-type-options"] == "nosniff"
        assert said["x-frame-options"] == "DENY"
        assert said["referrer-policy"] == "no-referrer"
        assert said["cross-origin-opener-policy"] == "same-origin"
        assert said["cross-origin-resource-policy"] == "same-origin"
        assert "frame-ancestors 'none'" in said["content-security-policy"]
        assert "default-src 'none'" in said["content-security-policy"]
        assert "server" not in said
        assert "strict-transport-security" not in said
        assert "set-cookie" not in said


@pytest.mark.parametrize(
    "path", ["/api/symbols", "/api/snapshot", "/healthz", "/nothing", "/v2/stocks/bars", "/stream"]
)
async def test_what_changes_is_kept_by_no_cache(path: str) -> None:
    async with running(HandFeed()) as url:
        _, said, _ = await fetch(url, path)

        assert said["cache-control"] == "no-store"


async def test_the_page_keeps_its_own_policy_and_may_be_asked_for_again() -> None:
    async with running(HandFeed()) as url:
        _, said, _ = await fetch(url, "/")

        assert said["content-security-policy"] == dashboard.HEADERS["Content-Security-Policy"]
        assert said["cache-control"] == "no-cache"


async def test_a_304_has_them_too() -> None:
    async with running(HandFeed()) as url:
        _, first, _ = await fetch(url, "/")

        status, said, _ = await fetch(url, "/", headers={"If-None-Match": first["etag"]})

        assert status == 304
        assert said["x-content-type-options"] == "nosniff"


async def test_a_handshake_tells_no_version() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        assert wire.status == 101
        assert "server" not in wire.headers


async def test_what_a_stranger_wrote_comes_back_as_text_at_most() -> None:
    async with running(HandFeed()) as url:
        host = urlsplit(url).netloc
        for line in ("GET /<script>alert(1)</script> HTTP/1.1", "GET /api/symbols?limit=<script> HTTP/1.1"):
            _, said, body = await exchange(url, line, f"Host: {host}", "Connection: close")

            assert said["content-type"].partition(";")[0] in ("text/plain", "application/json")
            assert b"<script>" not in body
