"""Who is connected, and how many: connections are counted by address from accept on, and idle ones end."""

from __future__ import annotations

import asyncio
import gzip
import socket
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.server import certificates
from tests.server.served import served
from tests.wire import JSON, Closed, Wire, exchange, fetch
from ticker.clock import ManualClock
from ticker.server import visits


def connect(url: str, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection from one of this machine's addresses, and say nothing."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    sock = socket.create_connection((parts.hostname, parts.port or 0), source_address=(source, 0))
    sock.setblocking(False)
    return sock


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


# how many


async def test_a_stream_too_many_is_told_so_and_closed_with_4029(until: Any) -> None:
    async with served(max_connections=3) as (url, node), AsyncExitStack() as stack:
        held = [await stack.enter_async_context(await Wire.open(url)) for _ in range(3)]

        for codec in ("ticker.v1.msgpack", JSON):
            wire = await stack.enter_async_context(await Wire.open(url, [codec]))
            error = await wire.receive()
            with pytest.raises(Closed) as closed:
                await wire.receive()

            assert wire.welcome["type"] == "welcome"
            assert (error["type"], error["code"]) == ("error", "limit")
            assert "--max-connections" in error["message"]
            assert closed.value.code == 4029
            wire.close()
        assert node._market.counts.refusals["connections"] == 2
        assert (await held[0].ask(op="ping"))["type"] == "pong"

        held[1].close()
        await until(lambda: len(node._visits) == 2)
        async with await Wire.open(url) as wire:
            assert (await wire.ask(op="ping"))["type"] == "pong"


async def test_a_client_of_alpaca_too_many_is_told_406() -> None:
    async with served(max_connections=1) as (url, _), await Wire.open(url):
        wire = await Wire.open(url, None, path="/v2/test", greets=False)
        told = [(await wire.receive_frame())[1] for _ in range(2)]
        opcode, payload = await wire.receive_frame()
        wire.close()

        assert b'"connected"' in told[0]
        assert b'"code":406' in told[1]
        assert (opcode, int.from_bytes(payload[:2])) == (8, 4029)


async def test_a_request_too_many_is_a_503_but_health_is_told(until: Any) -> None:
    async with served(max_connections=2) as (url, node), await Wire.open(url), await Wire.open(url):
        for path in ("/", "/api/symbols", "/nothing"):
            status, headers, body = await fetch(url, path)

            assert status == 503
            assert int(headers["retry-after"]) > 0
            assert headers["connection"] == "close"
            assert b"--max-connections" in body
        for path in ("/healthz", "/metrics"):
            assert (await fetch(url, path))[0] == 200
        assert node._market.counts.refusals["connections"] == 3
        await until(lambda: len(node._visits) == 2)


async def test_those_that_were_there_first_are_served_on_while_it_is_full() -> None:
    async with served(max_connections=1) as (url, _):
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        request = f"GET /healthz HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
        for _ in range(3):
            writer.write(request)

            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readuntil(b"}\n")
            assert (await fetch(url, "/api/symbols"))[0] == 503
        writer.close()


async def test_each_address_has_a_limit_of_its_own(until: Any) -> None:
    async with served(max_connections_per_address=2) as (url, node):
        held = [connect(url, "127.0.0.2") for _ in range(2)]
        await until(lambda: node._visits.addresses["127.0.0.2"] == 2)
        async with await Wire.open(url) as wire:
            assert (await wire.ask(op="ping"))["type"] == "pong"

        one_more = connect(url, "127.0.0.2")
        one_more.sendall(f"GET / HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode())
        await until(lambda: b"\r\n\r\n" in peek(one_more))

        assert peek(one_more).startswith(b"HTTP/1.1 429 ")
        assert b"--max-connections-per-address" in peek(one_more)
        assert node._market.counts.refusals["connections_per_address"] == 1
        for each in (*held, one_more):
            each.close()
        await until(lambda: not node._visits.addresses)


def peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


async def test_far_too_many_are_closed_at_once_and_not_counted_among_those_that_are_there(
    until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "SURPLUS", 3)
    async with served(max_connections=2) as (url, node):
        silent = [connect(url) for _ in range(5)]
        await until(lambda: len(node._visits) == 5)

        turned_away = [connect(url) for _ in range(20)]

        await until(lambda: all(peek(each) or is_closed(each) for each in turned_away))
        assert len(node._visits) == 5
        assert node._market.counts.refusals["connections"] == 20
        for each in silent + turned_away:
            each.close()
        await until(lambda: len(node._visits) == 0)
        assert (await fetch(url, "/"))[0] == 200


async def test_half_of_a_handshake_is_a_connection_too(tmp_path: Any, until: Any) -> None:
    chain, key = certificates.make(tmp_path)
    trust = certificates.trusting(chain)
    async with served(max_connections_per_address=2, tls_cert=chain, tls_key=key) as (url, node):
        begun = [connect(url, "127.0.0.1") for _ in range(2)]
        await until(lambda: node._visits.addresses["127.0.0.1"] == 2)

        assert (await fetch(url, "/", tls=trust))[0] == 429

        for each in begun:
            each.close()
        await until(lambda: len(node._visits) == 0)
        assert (await fetch(url, "/", tls=trust))[0] == 200
        assert node._market.counts.refusals["tls"] == 2


async def test_behind_a_trusted_proxy_each_client_is_counted_by_its_own_address(until: Any) -> None:
    async with (
        served(max_connections_per_address=2, trusted_proxy="127.0.0.1") as (url, node),
        AsyncExitStack() as stack,
    ):

        async def stream(client: str) -> Wire:
            return await stack.enter_async_context(await Wire.open(url, headers={"X-Forwarded-For": client}))

        held = [await stream(client) for client in ("203.0.113.1", "203.0.113.1", "203.0.113.2", "203.0.113.2")]
        assert node._visits.addresses == {"203.0.113.1": 2, "203.0.113.2": 2}
        refused = await stream("198.51.100.9, 203.0.113.1")
        let_in = await stream("203.0.113.3")

        assert (await refused.ending()).code == 4029
        refused.close()
        assert (await let_in.ask(op="ping"))["type"] == "pong"
        assert (await fetch(url, "/", headers={"X-Forwarded-For": "203.0.113.1"}))[0] == 200  # it does not stay
        held[0].close()
        await until(lambda: node._visits.addresses["203.0.113.1"] == 1)
        assert (await (await stream("203.0.113.1")).ask(op="ping"))["type"] == "pong"


async def test_a_stranger_who_names_another_address_is_counted_by_its_own(until: Any) -> None:
    async with served(max_connections_per_address=2) as (url, node), AsyncExitStack() as stack:
        for client in ("203.0.113.1", "203.0.113.2", "203.0.113.3"):
            wire = await stack.enter_async_context(await Wire.open(url, headers={"X-Forwarded-For": client}))

        assert (await wire.ending()).code == 4029
        assert set(node._visits.addresses) == {"127.0.0.1"}


def test_with_ipv6_the_64_bits_that_one_subscriber_has_count_as_one_address() -> None:
    counted: Any = visits.Visits.__new__(visits.Visits)
    counted._proxies = visits.Proxies(["2001:db8:1::5"])

    assert counted._key("2001:db8::1") == counted._key("2001:db8::ffff:1") != counted._key("2001:db8:0:1::1")
    assert counted._key("::1") == "::1"
    assert counted._key("203.0.113.1") == "203.0.113.1"
    assert counted._key("2001:db8:1::5") is None


# how long


async def test_whoever_sends_no_request_is_closed_after_20_seconds(until: Any) -> None:
    clock = ManualClock()
    async with served(clock) as (url, node):
        silent, trickling = connect(url), connect(url)
        trickling.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        await until(lambda: len(node._visits) == 2)
        began_s = clock.monotonic()

        while not (is_closed(silent) and is_closed(trickling)):
            if not is_closed(trickling):
                trickling.sendall(b"x")
            await clock.advance(1)
            await asyncio.sleep(0)
            assert clock.monotonic() - began_s < 40

        assert clock.monotonic() - began_s >= visits.IDLE_S
        assert node._market.counts.refusals["slow_request"] == 2
        silent.close()
        trickling.close()


async def test_a_connection_that_is_kept_for_more_requests_is_closed_when_none_comes(until: Any) -> None:
    clock = ManualClock()
    async with served(clock) as (url, node):
        kept = connect(url)
        request = f"GET /healthz HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
        for _ in range(4):
            kept.sendall(request)
            await until(lambda: b"}\n" in peek(kept))
            assert kept.recv(65536)
            await clock.advance(15)  # each is in time
        assert not is_closed(kept)

        began_s = clock.monotonic()
        while not is_closed(kept):
            await clock.advance(1)
            await asyncio.sleep(0)
            assert clock.monotonic() - began_s < 40

        assert not node._market.counts.refusals
        kept.close()


async def test_whoever_does_not_take_its_answer_is_closed(until: Any) -> None:
    clock = ManualClock()
    async with served(clock) as (url, node):
        parts = urlsplit(url)
        greedy = socket.socket()
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect((parts.hostname, parts.port))
        greedy.setblocking(False)
        asked = f"GET /static/style.css HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode() * 2000
        sent = 0
        while sent < len(asked) and len(node._visits) < 2:
            try:
                sent += greedy.send(asked[sent:])
                await asyncio.sleep(0)
            except BlockingIOError:
                break

        await until(lambda: any(stream.writing() for stream in node._visits._asking))

        async with asyncio.timeout(20):
            while len(node._visits):
                await clock.advance(1)
                await asyncio.sleep(0)

        assert node._market.counts.refusals["slow_reader"] == 1
        greedy.close()


async def test_a_stream_that_is_silent_but_answers_pings_stays() -> None:
    clock = ManualClock()
    async with served(clock) as (url, _), await Wire.open(url) as wire:
        for _ in range(9):
            await clock.advance(10)
            assert (await wire.ask(op="ping"))["type"] == "pong"


# what a request may be


@pytest.mark.parametrize(
    ("lines", "body", "status", "reason"),
    [
        ([f"X-{number}: x" for number in range(98)], b"", 200, None),
        ([f"X-{number}: x" for number in range(101)], b"", 431, "headers"),
        (["X-Same: x"] * 101, b"", 431, "headers"),
        (["X-Long: " + "x" * 15_000], b"", 200, None),
        (["X-Long: " + "x" * 17_000], b"", 431, "headers"),
        ([f"X-{number}: " + "x" * 1000 for number in range(17)], b"", 431, "headers"),
        (["Content-Length: 5"], b"hello", 200, None),
        (["Content-Length: 65537"], b"", 413, "body"),
        (["Content-Length: 99999999999999999999999999"], b"", 413, "body"),
        (["Content-Length: -1"], b"", 400, None),
        (["Content-Length: 1", "Content-Length: 2"], b"x", 400, None),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n", 400, None),
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n", 200, None),
        (["Transfer-Encoding: chunked"], b"FFFFFFFFFF\r\nhello", 400, None),
        (["Transfer-Encoding: gzip"], b"", 400, None),
        (["Authorization: Bearer a", "Authorization: Bearer b"], b"", 400, "malformed"),
        (["Origin: http://a.example", "Origin: http://b.example"], b"", 400, "malformed"),
        (["Content-Type: application/json", "Content-Type: application/msgpack"], b"", 400, "malformed"),
        (["X-Folded: a", " b"], b"", 400, None),
        (["No-Colon"], b"", 400, None),
        (["X-Null: \0"], b"", 400, None),
    ],
)
async def test_a_request_is_bounded_in_all_its_parts(
    lines: list[str], body: bytes, status: int, reason: str | None
) -> None:
    async with served() as (url, node):
        head = ["GET /api/symbols HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Connection: close"]

        answer, headers, told = await exchange(url, *head, *lines, body=body)

        assert answer == status
        assert dict(node._market.counts.refusals) == ({} if reason is None else {reason: 1})
        if reason is not None:
            assert headers["connection"] == "close"
            assert told.count(b"\n") == 1


async def test_the_longest_headers_can_be_set() -> None:
    async with served(max_header_kib=2) as (url, _):
        assert (await fetch(url, "/healthz", headers={"X-Long": "x" * 1500}))[0] == 200
        assert (await fetch(url, "/healthz", headers={"X-Long": "x" * 2500}))[0] == 431


async def test_an_address_that_is_too_long_is_a_414() -> None:
    async with served() as (url, _):
        assert (await fetch(url, "/" + "x" * 8000))[0] == 404
        assert (await fetch(url, "/" + "x" * 9000))[0] == 414
        assert (await fetch(url, "/api/symbols?prefix=" + "x" * 9000))[0] == 414


async def test_a_body_that_is_packed_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 65_536
    async with served() as (url, _):
        host = urlsplit(url).netloc
        head = [
            "POST /api/symbols HTTP/1.1",
            f"Host: {host}",
            "Connection: close",
            "Content-Encoding: gzip",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(bomb)}",
        ]

        status, _, _ = await exchange(url, *head, body=bomb)

        assert status in (400, 405)


# what a client may do


async def test_the_limits_of_clients_are_told_and_hold() -> None:
    async with served(max_channels=1, max_commands_per_s=3, max_message_kib=4) as (url, node):
        async with await Wire.open(url) as wire:
            assert wire.welcome["limits"] == {"message_bytes": 4096, "channels": 1, "commands_per_s": 3}
            answer = await wire.ask(op="subscribe", symbols=["AAPL", "MSFT"])
            assert [each["symbol"] for each in answer["channels"]] == ["AAPL"]
            assert answer["refused"] == [{"symbol": "MSFT", "code": "limit"}]
            for number in range(20):
                await wire.send({"op": "ping", "id": number})
            answers = [await wire.answer(number) for number in range(20)]
            assert {each["code"] for each in answers if each["type"] == "error"} == {"limit"}
            assert node._market.counts.refusals["limit"] >= 1
            for number in range(20):
                assert (await wire.ask(op="unsubscribe", symbols=["AAPL"], id=number))["type"] == "unsubscribed"
        async with await Wire.open(url) as wire:
            await wire.send({"op": "ping", "id": "x" * 5000})
            assert (await wire.ending()).code == 1009
