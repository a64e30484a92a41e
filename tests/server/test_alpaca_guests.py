"""Who connects to Alpaca's streams: what headers say of codec and credentials, which addresses are this machine."""

from __future__ import annotations

import base64
import logging

import pytest
from tornado.httputil import HTTPHeaders

from tests.server.requests import request
from tests.stream.conftest import World
from ticker.clock import ManualClock
from ticker.protocol.alpaca import Credentials
from ticker.protocol.native import MsgpackCodec
from ticker.server.alpaca import Streams, credentials_of, format_of
from ticker.server.connections import Connections
from ticker.server.proxies import is_loopback
from ticker.stream.alpaca_accounts import Accounts


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.168.1.7", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("None", False),
    ],
)
def test_only_loopback_addresses_are_this_machine(address: str, is_here: bool) -> None:
    assert is_loopback(address) is is_here


@pytest.mark.parametrize(
    ("headers", "credentials"),
    [
        ({}, None),
        ({"APCA-API-KEY-ID": "K", "APCA-API-SECRET-KEY": "S"}, Credentials("K", "S")),
        ({"apca-api-key-id": "K"}, Credentials("K", "")),
        ({"Authorization": "Bearer T"}, Credentials("oauth", "T")),
        ({"Authorization": "bearer  T "}, Credentials("oauth", "T")),
        ({"Authorization": "Basic " + base64.b64encode(b"K:S:S").decode()}, Credentials("K", "S:S")),
        ({"Authorization": "Basic " + base64.b64encode(b"access_token:T").decode()}, Credentials("oauth", "T")),
        ({"Authorization": "Basic ???"}, Credentials("", "")),
        ({"Authorization": "Basic /w=="}, Credentials("", "")),
        ({"Authorization": "Digest x"}, None),
    ],
)
def test_headers_tell_credentials_in_three_ways(headers: dict[str, str], credentials: Credentials | None) -> None:
    assert credentials_of(HTTPHeaders(headers)) == credentials


@pytest.mark.parametrize(
    ("content_type", "format"),
    [
        (None, "json"),
        ("application/json", "json"),
        ("application/msgpack", "msgpack"),
        ("Application/MsgPack; charset=binary", "msgpack"),
        ("application/x-msgpack", "json"),
    ],
)
def test_the_content_type_tells_the_codec(content_type: str | None, format: str) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    assert format_of(HTTPHeaders(headers)) == format


def test_who_comes_by_a_proxy_of_this_machine_is_not_called_another_machine(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    connections = Connections(world.market, [MsgpackCodec()], ManualClock(), 1 << 20)
    streams = Streams(connections, Accounts(), world.market)

    with caplog.at_level(logging.WARNING):
        guest = streams.guest(request(("X-Forwarded-For", "127.0.0.1")))

    assert not guest.is_local
    assert caplog.messages == [
        "Alpaca clients that come by a proxy, as one from 127.0.0.1, need credentials: set --alpaca-key"
    ]


@pytest.mark.parametrize(("keys", "told"), [((), 1), ((Credentials("K", "S"),), 0)])
def test_who_comes_from_elsewhere_without_a_chance_is_logged_once(
    keys: tuple[Credentials, ...], told: int, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    connections = Connections(world.market, [MsgpackCodec()], ManualClock(), 1 << 20)
    streams = Streams(connections, Accounts(keys), world.market)
    requests = [request(peer=peer) for peer in ("127.0.0.1", "192.0.2.1", "192.0.2.2")]

    with caplog.at_level(logging.WARNING):
        guests = [streams.guest(request) for request in requests]

    assert [guest.is_local for guest in guests] == [True, False, False]
    assert len([record for record in caplog.records if "--alpaca-key" in record.getMessage()]) == told
