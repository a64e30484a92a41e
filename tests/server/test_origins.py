"""Whose page a request comes from: browsers let any page open a WebSocket anywhere, and say whose it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rig import HandFeed, running
from tests.server.requests import request
from tests.wire import Wire, fetch
from ticker.server.doorway import Doorway
from ticker.server.proxies import Proxies

WEBSOCKET = ("Upgrade", "websocket")
TRICKS = [
    "null",
    "",
    "*",
    "file://",
    "https://evil.example",
    "http://evil.example:8888",
    "http://ticks.example",  # port 80, not 8888
    "http://ticks.example:",
    "https://ticks.example",
    "https://ticks.example:8888",  # this server has no TLS
    "ws://ticks.example:8888",
    "http://ticks.example:8889",
    "http://ticks.example:88880",
    "http://ticks.example:8888.evil.example",
    "http://ticks.example.evil.example:8888",
    "http://evilticks.example:8888",
    "http://evil-ticks.example:8888",
    "http://evil.ticks.example:8888",
    "http://ticks.exampleevil:8888",
    "http://ticks.example.:8888",
    "http://ticks.example:8888@evil.example",
    "http://ticks.example@evil.example:8888",
    "http://good@ticks.example:8888",
    "http://evil.example/ticks.example:8888",
    "http://evil.example#ticks.example:8888",
    "http://evil.example?ticks.example:8888",
    "http://evil.example\\@ticks.example:8888",
    "http://ticks.example:8888/",
    "http://ticks.example:8888/path",
    "http://ticks.example:8888:8888",
    "http:ticks.example:8888",
    "http:///ticks.example:8888",
    "ticks.example:8888",
    "http://ticks.example\xad:8888",
    "http://[::1]:8888",
    "http://[ticks.example]:8888",
    "http://127.0.0.1:8888",
    "http://ticks.example:8888 http://evil.example",
    "http://ticks.example:8888,http://ticks.example:8888",
    "http://ticks.example:" + "8" * 5000,
]


@pytest.mark.parametrize("origin", TRICKS)
def test_the_page_of_another_origin_gets_no_stream(origin: str) -> None:
    doorway = Doorway("127.0.0.1", ["ticks.example"])

    rejection = doorway.rejection(request(WEBSOCKET, ("Origin", origin), host="ticks.example:8888"))

    assert rejection is not None
    assert (rejection.status, rejection.reason) == (403, "origin")


@pytest.mark.parametrize("origin", TRICKS)
def test_nor_does_it_where_another_origin_is_allowed(origin: str) -> None:
    doorway = Doorway("127.0.0.1", ["ticks.example"], ["https://partner.example", "http://evil.example:8080"])

    assert doorway.rejection(request(WEBSOCKET, ("Origin", origin), host="ticks.example:8888")) is not None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://127.0.0.1:8888", "127.0.0.1:8888"),
        ("http://LocalHost:8888", "localhost:8888"),
        ("http://localhost:8888", "LOCALHOST:8888"),
        ("HTTP://localhost:8888", "localhost:8888"),
        ("http://localhost", "localhost"),
        ("http://localhost:80", "localhost"),
        ("http://localhost", "localhost:80"),
        ("http://localhost.:8888", "localhost.:8888"),
        ("http://[::1]:8888", "[::1]:8888"),
        ("http://ticks.example:8888", "ticks.example:8888"),
        ("http://[2001:db8::1]:8888", "[2001:DB8::1]:8888"),
    ],
)
def test_our_own_page_gets_the_stream(origin: str, host: str) -> None:
    doorway = Doorway("::", ["ticks.example"])

    assert doorway.rejection(request(WEBSOCKET, ("Origin", origin), host=host)) is None


def test_a_program_that_names_no_origin_is_no_page() -> None:
    assert Doorway().rejection(request(WEBSOCKET)) is None


def test_two_origins_are_none() -> None:
    twice = (("Origin", "http://127.0.0.1:8888"), ("Origin", "http://127.0.0.1:8888"))

    rejection = Doorway().rejection(request(WEBSOCKET, *twice))

    assert rejection is not None
    assert rejection.status == 400


def test_the_origin_of_old_drafts_is_one_too() -> None:
    old = request(WEBSOCKET, ("Sec-WebSocket-Origin", "http://evil.example"), ("Sec-WebSocket-Version", "8"))

    rejection = Doorway().rejection(old)

    assert rejection is not None
    assert rejection.status == 403


def test_with_tls_our_page_is_one_of_https() -> None:
    doorway = Doorway("127.0.0.1", ["ticks.example"])

    def rejected(origin: str, host: str = "ticks.example") -> bool:
        asked = request(WEBSOCKET, ("Origin", origin), host=host, protocol="https")
        return doorway.rejection(asked) is not None

    assert not rejected("https://ticks.example")
    assert not rejected("https://ticks.example:443")
    assert not rejected("https://ticks.example:8443", "ticks.example:8443")
    assert rejected("http://ticks.example")
    assert rejected("http://ticks.example:443", "ticks.example:443")


def test_behind_a_proxy_that_is_trusted_the_scheme_is_what_it_says() -> None:
    def rejection(trusted: str, *said: str) -> Any:
        doorway = Doorway("127.0.0.1", ["ticks.example"], proxies=Proxies([trusted]))
        headers = [("X-Forwarded-Proto", each) for each in said]
        asked = request(WEBSOCKET, ("Origin", "https://ticks.example"), *headers, host="ticks.example", peer="10.0.0.1")
        doorway.identify(asked)
        return doorway.rejection(asked)

    assert rejection("10.0.0.0/8", "https") is None
    assert rejection("10.0.0.1", "HTTPS") is None
    assert rejection("10.0.0.1", "http", "https") is None  # the nearest has the last word
    assert rejection("10.0.0.1", "https", "http") is not None
    assert rejection("10.0.0.1", "https://") is not None
    assert rejection("10.0.0.1") is not None
    refused = rejection("10.0.0.2", "https")
    assert "--allow-origin" in refused.words
    assert "--trusted-proxy" in refused.words


def test_an_origin_that_is_allowed_gets_the_stream_and_none_that_looks_alike() -> None:
    doorway = Doorway(origins=["https://Partner.example", "http://dev.example:3000"])

    def rejected(origin: str) -> bool:
        return doorway.rejection(request(WEBSOCKET, ("Origin", origin))) is not None

    assert not rejected("https://partner.example")
    assert not rejected("https://partner.example:443")
    assert not rejected("http://dev.example:3000")
    for origin in ("http://partner.example", "https://a.partner.example", "https://partner.example:444", "null"):
        assert rejected(origin)
    assert not rejected("http://127.0.0.1:8888")  # ours still is


async def test_a_foreign_page_is_told_403_on_every_stream() -> None:
    async with running(HandFeed()) as url:
        for path in ("/stream", "/v2/iex", "/v2/test", "/v1beta3/crypto/us", "/"):
            wire = await Wire.open(url, headers={"Origin": "http://evil.example"}, path=path)

            assert wire.status == 403
            assert b"--allow-origin" in wire.body


async def test_our_own_page_and_an_allowed_one_are_let_in() -> None:
    async with running(HandFeed(), allow_origin="https://partner.example") as url:
        for origin in (url.rstrip("/"), "https://partner.example"):
            async with await Wire.open(url, headers={"Origin": origin}) as wire:
                assert wire.status == 101


async def test_a_page_that_the_browser_calls_cross_site_is_let_in_if_its_origin_is_allowed() -> None:
    async with running(HandFeed(), allow_origin="https://partner.example") as url:
        site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"}

        async with await Wire.open(url, headers=site | {"Origin": "https://partner.example"}) as wire:
            assert wire.status == 101
        assert (await Wire.open(url, headers=site | {"Origin": "https://evil.example"})).status == 403
        assert (await Wire.open(url, headers=site | {"Origin": "null"})).status == 403


# CORS


async def test_a_foreign_page_may_not_read_what_the_resources_say() -> None:
    async with running(HandFeed()) as url:
        for path in ("/healthz", "/api/symbols", "/nothing"):
            _, headers, _ = await fetch(url, path, headers={"Origin": "https://evil.example"})

            assert not [name for name in headers if name.startswith("access-control-")]
            assert headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_page_that_is_allowed_may_and_may_ask_with_a_token() -> None:
    async with running(HandFeed(), allow_origin="https://partner.example") as url:
        origin = {"Origin": "https://partner.example"}
        asking = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

        status, allowed, body = await fetch(url, "/api/symbols", "OPTIONS", origin | asking)
        _, headers, _ = await fetch(url, "/api/symbols", headers=origin)
        _, of_error, _ = await fetch(url, "/api/snapshot", headers=origin)
        _, of_foreign, _ = await fetch(url, "/api/symbols", headers={"Origin": "https://evil.example"})
        refused, of_refused, _ = await fetch(
            url, "/api/symbols", "OPTIONS", asking | {"Origin": "https://partner.example.evil.example"}
        )

        assert (status, body) == (204, b"")
        assert "GET" in allowed["access-control-allow-methods"]
        assert "Authorization" in allowed["access-control-allow-headers"]
        for each in (allowed, headers, of_error):
            assert each["access-control-allow-origin"] == "https://partner.example"
            assert "access-control-allow-credentials" not in each
        for each in (headers, of_foreign):
            assert "Origin" in each["vary"]  # else a cache might give one page's answer to another
        assert "access-control-allow-origin" not in of_foreign
        assert refused == 405
        assert "access-control-allow-origin" not in of_refused
