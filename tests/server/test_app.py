"""What is found at which address, and at which address the server itself is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re

import pytest

import dashboard
from tests.rig import HandFeed, running
from tests.wire import Wire, fetch


async def test_every_file_of_the_page_is_served_with_its_type_and_the_headers_of_the_page() -> None:
    async with running(HandFeed()) as url:
        for path, file in dashboard.files().items():
            status, headers, body = await fetch(url, path)

            assert (status, body) == (200, file.body)
            assert headers["content-type"] == file.content_type
            assert headers["cache-control"] == file.cache_control
            for name, value in dashboard.HEADERS.items():
                assert headers[name.lower()] == value


async def test_the_page_asks_for_nothing_that_is_not_served() -> None:
    async with running(HandFeed()) as url:
        _, _, body = await fetch(url, "/")
        wanted = re.findall(rb'(?:src|href)="(/?static/[^"]+)"', body)

        assert wanted
        for path in wanted:
            assert (await fetch(url, "/" + path.decode().lstrip("/")))[0] == 200


async def test_a_page_that_the_browser_has_already_is_a_304() -> None:
    async with running(HandFeed()) as url:
        _, headers, body = await fetch(url, "/")

        status, again, nothing = await fetch(url, "/", headers={"If-None-Match": f'"other", {headers["etag"]}'})
        changed, _, _ = await fetch(url, "/", headers={"If-None-Match": '"other"'})

        assert hashlib.sha256(body).hexdigest().startswith(headers["etag"].strip('"'))
        assert (status, nothing, changed) == (304, b"", 200)
        assert again["etag"] == headers["etag"]
        assert "content-security-policy" in again


async def test_head_of_the_page_is_its_headers() -> None:
    async with running(HandFeed()) as url:
        _, _, body = await fetch(url, "/")

        status, headers, nothing = await fetch(url, "/", "HEAD")

        assert (status, int(headers["content-length"]), nothing) == (200, len(body), b"")
        assert "content-security-policy" in headers


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/static/",
        "/static",
        "/static/index.html",
        "/static/../setup.cfg",
        "/static/%2e%2e/__init__.py",
        "/static/..%2f__init__.py",
        "//",
        "/healthz/",
        "/api",
        "/stream/",
        "/staticXmain.js",
        "/%00",
        "/" + "x" * 4000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_where_nothing_is_the_answer_is_a_404(path: str, method: str) -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, path, method)

        assert status == 404
        assert headers["content-type"] == "text/plain; charset=utf-8"
        assert body == (b"" if method == "HEAD" else b"not found\n")


async def test_the_page_cannot_be_posted_to() -> None:
    async with running(HandFeed()) as url:
        status, headers, body = await fetch(url, "/", "POST")

        assert (status, headers["allow"], body) == (405, "GET, HEAD", b"method not allowed\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_without_an_error(request_bytes: bytes) -> None:
    async with running(HandFeed()) as url:
        host, port = re.findall(r"//(.*):(\d+)/", url)[0]
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_bytes)
        writer.write_eof()

        answer = await reader.read()

        writer.close()
        assert not answer or answer.startswith(b"HTTP/1.1 400")
        assert (await fetch(url, "/healthz"))[0] == 200


async def test_long_headers_are_taken_and_endless_ones_end_the_connection() -> None:
    async with running(HandFeed()) as url:
        status, _, _ = await fetch(url, "/", headers={"X-Long": "x" * 9000})

        host, port = re.findall(r"//(.*):(\d+)/", url)[0]
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"x" * 10_000)
                sent += 10_000
                await writer.drain()
        writer.close()

        assert status == 200
        assert sent < 20_000_000


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", r"http://127\.0\.0\.1:\d+/"),
        ("::1", r"http://\[::1\]:\d+/"),
        ("localhost", r"http://localhost:\d+/"),
        ("0.0.0.0", r"http://0\.0\.0\.0:\d+/"),
    ],
)
async def test_the_url_has_the_host_and_the_real_port(host: str, shown: str) -> None:
    async with running(HandFeed(), host=host, no_auth=host == "0.0.0.0") as url:
        assert re.fullmatch(shown, url)
        reached = url.replace("localhost", "127.0.0.1")
        assert (await fetch(reached, "/healthz"))[0] == 200
        async with await Wire.open(reached) as wire:
            assert wire.welcome["feed"] == "hand"


async def test_an_origin_of_an_ipv6_host_is_let_in() -> None:
    async with running(HandFeed(), host="::1") as url, await Wire.open(url, headers={"Origin": url[:-1]}) as wire:
        assert wire.status == 101
