"""How the page's files are sent: packed to those who unpack, and not again to those who have them."""

from __future__ import annotations

import gzip

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from tests.rig import HandFeed, running
from ticker.server.app import accepts_gzip


async def fetch(url: str, method: str = "GET", **headers: str) -> HTTPResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await AsyncHTTPClient().fetch(
        url, method=method, headers=named, decompress_response=False, raise_error=False
    )


async def test_a_file_is_sent_packed_to_those_who_accept_it() -> None:
    async with running(HandFeed()) as url:
        plain = await fetch(url)
        packed = await fetch(url, Accept_Encoding="gzip, deflate, br")
        head = await fetch(url, "HEAD", Accept_Encoding="gzip")

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == head.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert int(head.headers["Content-Length"]) == len(packed.body)
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"


async def test_each_encoding_has_an_etag_of_its_own_and_is_not_sent_again() -> None:
    async with running(HandFeed()) as url:
        plain = (await fetch(url)).headers["Etag"]
        packed = (await fetch(url, Accept_Encoding="gzip")).headers["Etag"]
        again = await fetch(url, Accept_Encoding="gzip", If_None_Match=packed)
        other = await fetch(url, Accept_Encoding="gzip", If_None_Match=plain)

    assert plain != packed
    assert (again.code, again.body) == (304, b"")
    assert again.headers["Vary"] == "Accept-Encoding"
    assert other.code == 200


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip ; q=0", False),
        ("gzip;q=0.000, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity", False),
        ("x-gzipped", False),
    ],
)
def test_an_encoding_is_accepted_where_it_is_named_and_not_ruled_out(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
