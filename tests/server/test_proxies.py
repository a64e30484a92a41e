"""Who is at the other end: the headers of a proxy are believed only if that proxy is trusted."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.rig import HandFeed, running
from tests.server.requests import request
from tests.wire import JSON, Wire, fetch
from ticker.server.proxies import Proxies, is_loopback


def client(trusted: str, peer: str, *forwarded: str, proxies: Proxies | None = None) -> str:
    headers = [("X-Forwarded-For", each) for each in forwarded]
    asked = request(*headers, peer=peer)
    return (proxies or Proxies(trusted.split(","))).client_of(peer, asked.headers)


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-Ip", "Forwarded", "X-Client-Ip", "True-Client-Ip"])
def test_whoever_is_no_proxy_of_ours_is_the_client_whatever_it_says(header: str) -> None:
    asked = request((header, "203.0.113.7"), peer="198.51.100.9")

    assert Proxies(["10.0.0.0/8"]).client_of("198.51.100.9", asked.headers) == "198.51.100.9"
    assert Proxies().client_of("198.51.100.9", asked.headers) == "198.51.100.9"


@pytest.mark.parametrize("header", ["X-Real-Ip", "Forwarded", "X-Client-Ip", "True-Client-Ip"])
def test_of_a_proxy_only_x_forwarded_for_is_read(header: str) -> None:
    asked = request((header, "203.0.113.7"), peer="10.0.0.1")

    assert Proxies(["10.0.0.1"]).client_of("10.0.0.1", asked.headers) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["127.0.0.1, 203.0.113.7"], "203.0.113.7"),  # what stands left of it, a stranger wrote
        (["10.9.9.9, 203.0.113.7"], "203.0.113.7"),
        (["127.0.0.1", "203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2"], "203.0.113.7"),  # two proxies of ours
        (["127.0.0.1, 203.0.113.7, 10.0.0.3, 10.0.0.2"], "203.0.113.7"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # one of ours asks itself
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:0DB8::7"], "2001:db8::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, unknown"], "10.0.0.1"),
        (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["203.0.113.7,"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
        (["localhost"], "10.0.0.1"),
        (["1.2.3.4.5"], "10.0.0.1"),
        (["010.0.0.1"], "10.0.0.1"),
        (["203.0.113.7 ,  203.0.113.8 , 10.0.0.2"], "203.0.113.8"),
    ],
)
def test_of_a_proxy_the_rightmost_address_is_the_client_that_is_no_proxy_itself(
    forwarded: list[str], expected: str
) -> None:
    assert client("10.0.0.0/8", "10.0.0.1", *forwarded) == expected


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.1", "10.0.0.1"])
def test_a_proxy_is_known_by_its_address_in_either_form(peer: str) -> None:
    assert client("10.0.0.1", peer, "203.0.113.7") == "203.0.113.7"


def test_a_client_has_one_address_whatever_socket_took_it() -> None:
    assert client("10.0.0.1", "::ffff:203.0.113.7") == "203.0.113.7"
    assert client("10.0.0.1", "fe80::1%eth0") == "fe80::1"
    assert client("10.0.0.1", "2001:0DB8:0::1") == "2001:db8::1"


def test_networks_of_both_versions_are_told_apart() -> None:
    proxies = Proxies(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"])

    assert proxies.trust("10.255.0.1")
    assert proxies.trust("2001:db8:ffff::1")
    assert proxies.trust("192.0.2.1")
    for address in ("11.0.0.1", "192.0.2.2", "2001:db9::1", "::1", "nonsense", ""):
        assert not proxies.trust(address)


@pytest.mark.parametrize("network", ["10.0.0.0/99", "10.0.0", "::/129", "1.2.3.4/"])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        Proxies([network])


# who is on this machine


@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "is_local"),
    [
        ("127.0.0.1", [], "", True),
        ("::1", [], "", True),
        ("::ffff:127.0.0.1", [], "", True),
        ("203.0.113.7", [], "", False),
        ("203.0.113.7", [("X-Forwarded-For", "127.0.0.1")], "", False),
        # A proxy on this machine speaks for others, whether it was declared or not.
        ("127.0.0.1", [], "127.0.0.1", False),
        ("127.0.0.1", [("X-Forwarded-For", "203.0.113.7")], "127.0.0.1", False),
        ("127.0.0.1", [("X-Forwarded-For", "127.0.0.1")], "127.0.0.1", False),
        ("127.0.0.1", [("X-Forwarded-For", "127.0.0.1")], "", False),
        ("127.0.0.1", [("X-Real-Ip", "127.0.0.1")], "", False),
        ("127.0.0.1", [("Forwarded", "for=127.0.0.1")], "", False),
        ("127.0.0.1", [("Via", "1.1 proxy")], "", False),
        ("10.0.0.1", [("X-Forwarded-For", "127.0.0.1")], "10.0.0.1", False),
    ],
)
def test_only_who_comes_by_no_proxy_can_be_on_this_machine(
    peer: str, headers: list[tuple[str, str]], trusted: str, is_local: bool
) -> None:
    proxies = Proxies(trusted.split(",") if trusted else [])

    assert proxies.is_local(request(*headers, peer=peer)) is is_local


def test_loopback_is_told_in_all_its_forms() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "::1%lo")))
    assert not any(map(is_loopback, ("10.0.0.1", "::2", "::ffff:10.0.0.1", "localhost", "", "0.0.0.0")))


async def test_an_alpaca_client_that_comes_by_a_proxy_needs_credentials_even_if_the_proxy_is_on_this_machine() -> None:
    path = "/v2/stocks/trades/latest?symbols=AAPL"
    for trusted in ("", "127.0.0.1"):
        async with running(HandFeed(), trusted_proxy=trusted) as url:
            status, _, _ = await fetch(url, path, headers={"X-Forwarded-For": "203.0.113.7"})
            pretended, _, _ = await fetch(url, path, headers={"X-Forwarded-For": "127.0.0.1"})

            assert (status, pretended) == (401, 401)
    async with running(HandFeed()) as url:
        assert (await fetch(url, path))[0] == 200


async def test_the_log_names_the_client_and_never_a_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(HandFeed(), trusted_proxy="127.0.0.1") as url:
        await fetch(url, "/api/symbols?prefix=SECRET", headers={"X-Forwarded-For": "127.0.0.1, 203.0.113.7"})
        await fetch(url, "/nothing?token=SECRET")
        await fetch(url, "/?token=SECRET", "BREW")
        wire = await Wire.open(url, [JSON], query="?token=SECRET")
        wire.close()

    lines = [record.getMessage() for record in caplog.records]
    assert any("203.0.113.7" in line and "/api/symbols" in line for line in lines)
    assert not any("SECRET" in line for line in lines)


async def test_a_client_behind_a_trusted_proxy_that_ends_tls_gets_the_stream_from_its_own_page(until: Any) -> None:
    said = {
        "Host": "ticks.example",
        "Origin": "https://ticks.example",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
    }
    async with running(HandFeed(), trusted_proxy="127.0.0.0/8", allow_host="ticks.example") as url:
        async with await Wire.open(url, headers=said) as wire:
            assert wire.status == 101
        _, headers, _ = await fetch(url, "/", headers=said)
        assert "strict-transport-security" in headers

    async with running(HandFeed(), allow_host="ticks.example") as url:
        assert (await Wire.open(url, headers=said)).status == 403
        _, headers, _ = await fetch(url, "/", headers=said)
        assert "strict-transport-security" not in headers


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        ({"trusted_proxy": "127.0.0.1"}, True),
        ({"trusted_proxy": "127.0.0.1", "no_auth": True}, False),
        ({}, False),
    ],
)
async def test_a_proxy_without_tokens_is_a_warning_since_it_lets_others_in(
    settings: dict[str, Any], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(HandFeed(), **settings):
        assert any("--token-file" in record.getMessage() for record in caplog.records) is is_told
