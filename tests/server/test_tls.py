"""TLS: what is served, what is refused at the start, certificates that change, handshakes that never end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.rig import HandFeed, running
from tests.server import certificates
from tests.wire import JSON, MSGPACK, Wire, fetch, is_data
from ticker import cli
from ticker.clock import ManualClock, SystemClock
from ticker.config import Settings
from ticker.node import Node
from ticker.server.tls import Certificate, CertificateError


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the paths of a certificate and its key."""
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(pair: tuple[str, str]) -> dict[str, str]:
    """Return the settings of a server with this certificate."""
    return {"tls_cert": pair[0], "tls_key": pair[1]}


# what is served


async def test_the_url_the_page_and_the_resources_are_there_by_https(tls: dict[str, str]) -> None:
    trust = certificates.trusting(tls["tls_cert"])
    async with running(HandFeed(), **tls) as url:
        status, headers, body = await fetch(url, "/", tls=trust)

        assert re.fullmatch(r"https://127\.0\.0\.1:\d+/", url)
        assert (status, b"<html" in body) == (200, True)
        assert "content-security-policy" in headers
        assert (await fetch(url, "/healthz", tls=trust))[0] == 200


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
async def test_the_stream_is_there_by_wss_with_every_row(codec: str, tls: dict[str, str]) -> None:
    feed = HandFeed()
    async with running(feed, **tls) as url:
        wire = await Wire.open(url, [codec], tls=certificates.trusting(tls["tls_cert"]))
        await wire.subscribe(["AAPL"])

        for number in range(50):
            feed.trades(("AAPL", number, 18900 + number, 1))
            await wire.data()

        assert wire.rows == 50
        assert (await wire.ask(op="ping"))["rows"] == 50
        wire.close()


async def test_more_than_the_socket_takes_arrives_whole(tls: dict[str, str]) -> None:
    feed = HandFeed()
    async with running(feed, **tls) as url:
        wire = await Wire.open(url, tls=certificates.trusting(tls["tls_cert"]))
        await wire.subscribe(["AAPL"])

        for seed in range(20):
            feed.flood(10_000, seed=seed)
        while wire.rows < 200_000:
            await wire.data()

        assert (await wire.ask(op="ping"))["rows"] == 200_000
        wire.close()


async def test_a_client_that_reads_nothing_is_closed_as_too_slow_by_wss_too(tls: dict[str, str]) -> None:
    feed = HandFeed()
    async with running(feed, outbox_mib=1, **tls) as url:
        wire = await Wire.open(url, tls=certificates.trusting(tls["tls_cert"]))
        await wire.subscribe(["AAPL"])

        for seed in range(40):
            feed.flood(20_000, seed=seed)
            await asyncio.sleep(0)
        closed = await wire.ending()
        wire.close()

        assert closed.code == 4008


async def test_a_client_of_ours_that_sees_no_way_to_trust_it_goes_away(tls: dict[str, str]) -> None:
    async with running(HandFeed(), **tls) as url:
        with pytest.raises(ssl.SSLCertVerificationError):
            await fetch(url, "/", tls=ssl.create_default_context())

        assert (await fetch(url, "/healthz", tls=certificates.trusting(tls["tls_cert"])))[0] == 200


async def test_a_browser_is_told_to_come_back_by_https_only_where_the_name_is_this_servers_alone(
    tls: dict[str, str],
) -> None:
    trust = certificates.trusting(tls["tls_cert"])
    async with running(HandFeed(), allow_host="ticks.example", **tls) as url:
        for path in ("/", "/healthz", "/nothing"):
            _, headers, _ = await fetch(url, path, headers={"Host": "ticks.example"}, tls=trust)
            _, local, _ = await fetch(url, path, headers={"Host": "localhost"}, tls=trust)

            assert re.fullmatch(r"max-age=\d{8,}", headers["strict-transport-security"])
            assert "strict-transport-security" not in local


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_versions_are_refused(version: ssl.TLSVersion, tls: dict[str, str]) -> None:
    old = certificates.trusting(tls["tls_cert"])
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version = old.maximum_version = version
    async with running(HandFeed(), **tls) as url:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await fetch(url, "/", tls=old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_those_of_today_are_spoken_and_http_1_is_agreed_on(version: ssl.TLSVersion, tls: dict[str, str]) -> None:
    trust = certificates.trusting(tls["tls_cert"])
    trust.minimum_version = trust.maximum_version = version
    trust.set_alpn_protocols(["h2", "http/1.1"])
    async with running(HandFeed(), **tls) as url:
        parts = urlsplit(url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=trust)

        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()


# what is no handshake


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\x00\x05hello", b"\x16"]
)
async def test_what_is_no_handshake_ends_the_connection_without_a_word(said: bytes, tls: dict[str, str]) -> None:
    async with running(HandFeed(), **tls) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(said)
        writer.write_eof()
        answer = b""

        with contextlib.suppress(ConnectionError):
            answer = await reader.read()

        assert len(answer) < 100  # an alert at most
        writer.close()
        assert (await fetch(url, "/healthz", tls=certificates.trusting(tls["tls_cert"])))[0] == 200


async def test_handshakes_that_never_end_are_closed_in_time_and_others_are_served_meanwhile(
    tls: dict[str, str], until: Any
) -> None:
    clock = ManualClock()
    trust = certificates.trusting(tls["tls_cert"])
    async with running(HandFeed(), clock, **tls) as url:
        parts = urlsplit(url)
        begun = [socket.create_connection((parts.hostname, parts.port)) for _ in range(50)]
        for each in begun[::2]:
            each.sendall(b"\x16\x03\x01\x02\x00\x01")  # half of a ClientHello's head
        for each in begun:
            each.setblocking(False)

        assert (await fetch(url, "/healthz", tls=trust))[0] == 200
        wire = await Wire.open(url, tls=trust)
        await clock.advance(15)
        assert not any(_is_closed(each) for each in begun)
        while not all(_is_closed(each) for each in begun):
            await clock.advance(1)
            assert clock.monotonic() < 30

        assert (await wire.ask(op="ping"))["type"] == "pong"
        for each in begun:
            each.close()
        wire.close()


def _is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_a_peer_that_is_gone_without_a_word_is_forgotten_after_30_seconds(tls: dict[str, str]) -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock, **tls) as url:
        wire = await Wire.open(url, tls=certificates.trusting(tls["tls_cert"]))
        wire.answers_pings = False

        reading = asyncio.create_task(wire.ending())
        began_s = clock.monotonic()
        while not reading.done():
            await clock.advance(1)
            await asyncio.sleep(0)
            assert clock.monotonic() - began_s < 60

        assert (await reading).code == 1006
        assert clock.monotonic() - began_s >= 30


# certificates that change


async def test_a_new_certificate_is_for_new_connections_and_the_old_ones_go_on(tmp_path: Path) -> None:
    old, new = certificates.make(tmp_path, "old"), certificates.make(tmp_path, "new")
    used = certificates.make(tmp_path, "used")
    _copy(old, used)
    feed = HandFeed()
    node = Node(Settings("hand", port=0, tls_cert=used[0], tls_key=used[1]), feed, SystemClock())
    url = await node.start()
    wire = await Wire.open(url, tls=certificates.trusting(old[0]))
    await feed.runs_now.wait()

    _copy(new, used)
    node.reload()

    assert (await fetch(url, "/healthz", tls=certificates.trusting(new[0])))[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        await fetch(url, "/healthz", tls=certificates.trusting(old[0]))
    await wire.subscribe(["AAPL"])
    feed.trades(("AAPL", 1, 18931, 100))
    assert is_data(await wire.data())
    wire.close()
    await node.stop()


def _copy(source: tuple[str, str], target: tuple[str, str]) -> None:
    for one, other in zip(source, target, strict=True):
        shutil.copy(one, other)


def test_a_pair_that_cannot_be_used_leaves_the_old_one_and_one_line_in_the_log(
    tmp_path: Path, errors: list[logging.LogRecord]
) -> None:
    chain, key = certificates.make(tmp_path)
    certificate = Certificate(chain, key)
    before = certificate.context

    Path(key).write_text("nonsense")
    certificate.reload()

    assert certificate.context is before
    assert [record.levelname for record in errors] == ["ERROR"]
    assert "\n" not in errors[0].getMessage()
    assert errors[0].exc_info is None
    errors.clear()


async def test_sighup_lets_a_running_server_take_its_new_certificate(
    tmp_path: Path, start_server: Callable[..., Any], until: Any
) -> None:
    used, new = certificates.make(tmp_path, "used"), certificates.make(tmp_path, "new")
    server = start_server("--feed", "simulated", "--tls-cert", used[0], "--tls-key", used[1])
    assert server.url.startswith("https://")
    assert server.stream_url.startswith("wss://")
    assert (await fetch(server.url, "/healthz", tls=certificates.trusting(used[0])))[0] == 200

    _copy(new, used)
    server.process.send_signal(signal.SIGHUP)

    await until(lambda: "certificate read anew" in server.log)
    assert (await fetch(server.url, "/healthz", tls=certificates.trusting(new[0])))[0] == 200


# what is refused at the start


def test_the_key_may_be_in_the_same_file(tmp_path: Path) -> None:
    chain, key = certificates.make(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(chain).read_bytes() + Path(key).read_bytes())

    assert Certificate(str(both)).context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_what_cannot_be_used_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    chain, key = certificates.make(tmp_path)
    other_chain, other_key = certificates.make(tmp_path, "other")
    encrypted = certificates.make(tmp_path, "encrypted", password=b"secret")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    missing = str(tmp_path / "missing.pem")

    for pair, option, said in [
        ((missing, key), "--tls-cert", missing),
        ((chain, missing), "--tls-key", missing),
        ((str(tmp_path), key), "--tls-cert", "directory"),
        ((chain, other_key), "--tls-key", other_key),
        ((other_chain, key), "--tls-key", key),
        (encrypted, "--tls-key", "encrypted"),
        ((str(nonsense), key), "--tls-cert", str(nonsense)),
        ((chain, str(nonsense)), "--tls-", str(nonsense)),
        ((chain, ""), "--tls-", chain),
    ]:
        with pytest.raises(CertificateError) as caught:
            Certificate(*pair)

        assert str(caught.value).startswith(option)
        assert said in str(caught.value).lower() or said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-cert", "missing.pem"], "--tls-cert: missing.pem: no such file or directory"),
        (["--tls-key", "some.key"], "--tls-key: belongs to a certificate"),
        (["--trusted-proxy", "10.0.0.0/99"], "--trusted-proxy: "),
    ],
)
def test_a_server_that_cannot_be_as_asked_ends_with_one_line_and_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "raise_file_limit", lambda: None)

    code = cli.main(["--feed", "simulated", "--port", "0", *arguments])

    output = capsys.readouterr()
    assert (code, output.out) == (2, "")
    assert output.err.lower().startswith(said)
    assert output.err.count("\n") == 1


async def test_what_strangers_send_is_counted_but_no_line_of_the_log(
    pair: tuple[str, str], start_server: Callable[..., Any]
) -> None:
    server = start_server("--feed", "simulated", "--tls-cert", pair[0], "--tls-key", pair[1])
    trust = certificates.trusting(pair[0])
    parts = urlsplit(server.url)
    before = server.log
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    assert (await fetch(server.url, "/", headers={"Host": "evil.example"}, tls=trust))[0] == 421
    assert (await fetch(server.url, "/", headers={"Host": "a b"}, tls=trust))[0] == 400

    _, _, metrics = await fetch(server.url, "/metrics", tls=trust)

    assert b'tickercast_refusals_total{reason="tls"} 2.0' in metrics
    assert b'tickercast_refusals_total{reason="host"} 1.0' in metrics
    added = server.log.removeprefix(before)
    assert not any(word in added for word in ("SSL", "HTTP", "Host", "evil", "tornado"))
