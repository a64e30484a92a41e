"""To whom a request was sent: against DNS rebinding, `Host` must be a name of this server, whatever is asked for."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.rig import HandFeed, running
from tests.server.requests import request
from tests.wire import Wire, exchange, fetch
from ticker.server.doorway import Doorway

PATHS = [
    "/",
    "/static/main.js",
    "/healthz",
    "/api/symbols",
    "/api/snapshot?symbols=AAPL",
    "/stream",
    "/v2/iex",
    "/v2/stocks/bars?symbols=AAPL&timeframe=1Min",
    "/v1beta3/crypto/us",
    "/nothing/here",
]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost:8888",
        "localhost:",
        "localhost.",
        "localhost.:8888",
        "ticks.localhost:8888",
        "127.0.0.1",
        "127.0.0.1:1",  # forwarded from another port
        "127.8.9.10:8888",
        "[::1]:8888",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]:8888",
    ],
)
def test_a_request_to_this_machine_is_let_in_wherever_the_server_listens(host: str) -> None:
    for listens in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.1.2.3", "ticks.example"):
        assert Doorway(listens).rejection(request(host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8888",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.0.0.1.nip.io",
        "ticks.example",
        "10.1.2.3:8888",
        "0.0.0.0:8888",
        "[::]:8888",
        "[fe80::1]",
        "2130706433",  # 127.0.0.1, as only some programs read it
        "127.1",
        "0x7f.0.0.1",
        "localhost..",
    ],
)
def test_a_request_to_any_other_name_is_misdirected(host: str) -> None:
    rejection = Doorway("127.0.0.1").rejection(request(host=host))

    assert rejection is not None
    assert (rejection.status, rejection.reason) == (421, "host")


def test_where_it_listens_is_its_name_too() -> None:
    assert Doorway("ticks.example").rejection(request(host="Ticks.Example:8888")) is None
    assert Doorway("10.1.2.3").rejection(request(host="10.1.2.3")) is None
    assert Doorway("2001:db8::1").rejection(request(host="[2001:DB8:0::1]:8888")) is None
    assert Doorway("10.1.2.3").rejection(request(host="10.1.2.4")) is not None


@pytest.mark.parametrize("listens", ["0.0.0.0", "::"])
def test_where_it_listens_on_all_addresses_each_of_them_names_it_but_no_name_does(listens: str) -> None:
    doorway = Doorway(listens)

    assert doorway.rejection(request(host="10.1.2.3:8888")) is None
    assert doorway.rejection(request(host="[2001:db8::1]:8888")) is None
    assert doorway.rejection(request(host="ticks.example")) is not None
    assert doorway.rejection(request(host="10.1.2.3.evil.example")) is not None


def test_names_that_are_allowed_name_it_and_those_that_look_alike_do_not() -> None:
    doorway = Doorway("127.0.0.1", ["Ticks.Example", "*.lan.example", "10.1.2.3"])

    for host in ("ticks.example", "ticks.example.:443", "a.lan.example", "a.b.lan.example", "10.1.2.3:80"):
        assert doorway.rejection(request(host=host)) is None
    for host in ("a.ticks.example", "lan.example", "evillan.example", "ticks.example.evil.example", "10.1.2.30"):
        assert doorway.rejection(request(host=host)) is not None


@pytest.mark.parametrize("path", PATHS)
async def test_a_foreign_host_gets_nothing_at_any_address_but_a_line_that_says_what_would_let_it_in(path: str) -> None:
    async with running(HandFeed()) as url:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            status, headers, body = await fetch(url, path, method, {"Host": "evil.example"})

            assert status == 421
            assert headers["connection"] == "close"
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert method == "HEAD" or b"--allow-host evil.example" in body
            assert body.count(b"\n") <= 1


@pytest.mark.parametrize("path", ["/stream", "/v2/iex", "/"])
async def test_no_stream_is_opened_for_a_foreign_host(path: str) -> None:
    async with running(HandFeed()) as url:
        wire = await Wire.open(url, headers={"Host": "evil.example", "Origin": "http://evil.example"}, path=path)

        assert wire.status == 421


async def test_a_host_that_is_allowed_gets_the_stream_and_the_page() -> None:
    async with running(HandFeed(), allow_host="ticks.example,*.lan") as url:
        for host in ("ticks.example", "here.lan:9999"):
            async with await Wire.open(url, headers={"Host": host}) as wire:
                assert wire.status == 101
            assert (await fetch(url, "/", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /healthz HTTP/1.1"],
        ["GET /healthz HTTP/1.0"],
        ["GET /healthz HTTP/1.1", "Host: localhost", "Host: localhost"],
        ["GET /healthz HTTP/1.1", "Host: localhost", "Host: evil.example"],
        ["GET /healthz HTTP/1.1", "Host: localhost, evil.example"],
        ["GET /healthz HTTP/1.1", "Host: "],
        ["GET /healthz HTTP/1.1", "Host: local host"],
        ["GET /healthz HTTP/1.1", "Host: localhost\x00"],
        ["GET /healthz HTTP/1.1", " Host: localhost"],
        *(
            ["GET /healthz HTTP/1.1", f"Host: {host}"]
            for host in (
                ":8888",
                "good@localhost",
                "localhost@evil.example",
                "[::1",
                "::1",
                "[zz]",
                "[::1]]",
                "localhost:80a",
                "localhost:888888",
                "localhost/",
                "localhost%2eevil.example",
                "localhost;",
                "l\xf6calhost",
            )
        ),
    ],
)
async def test_a_request_without_one_host_is_a_400(lines: list[str]) -> None:
    async with running(HandFeed()) as url:
        status, _, _ = await exchange(url, *lines, "Connection: close")

        assert status == 400


async def test_a_request_line_with_another_authority_finds_nothing() -> None:
    async with running(HandFeed()) as url:
        host = urlsplit(url).netloc

        status, _, _ = await exchange(
            url, "GET http://evil.example/healthz HTTP/1.1", f"Host: {host}", "Connection: close"
        )

        assert status == 404
