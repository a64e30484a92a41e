"""Every door asks for a token: stream, resources, Alpaca's dialect. What is open stays open, and names nobody."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from tests.alpaca_wire import AlpacaWire
from tests.rig import HandFeed, running
from tests.wire import JSON, MSGPACK, PING, PONG, Wire, fetch, frame
from ticker.access.principal import Principal
from ticker.access.tokens import Entry, hash_of
from ticker.clock import ManualClock

ALL, APPLES, SOON, LIMITED = "a-token-for-everything", "a-token-for-apples", "a-token-for-8-seconds", "a-token-for-one"
START_S = 1_795_404_000
TOKENS = tuple(
    Entry(hash_of(token), principal)
    for token, principal in {
        ALL: Principal("all"),
        APPLES: Principal("apples", ("A*",)),
        SOON: Principal("soon", expires_s=START_S + 8.5),
        LIMITED: Principal("one", connections=1),
    }.items()
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def get(url: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str], Any]:
    status, found, body = await fetch(url, path, headers=headers)
    return status, found, json.loads(body) if "json" in found.get("content-type", "") else body.decode()


@pytest.mark.parametrize("offer", [MSGPACK, JSON])
async def test_a_token_in_the_handshake_lets_in_at_once(offer: str) -> None:
    feed = HandFeed()
    async with running(feed, tokens=TOKENS) as url, await Wire.open(url, [offer], headers=bearer(APPLES)) as wire:
        assert (wire.welcome["auth"], wire.welcome["name"], wire.welcome["expires"]) == (False, "apples", None)
        answer = await wire.subscribe(["*"])
        feed.trades(("MSFT", 0, 1, 1), ("AAPL", 0, 1, 1))

        assert [each["symbol"] for each in answer["channels"]] == ["AAPL"]
        await wire.data()
        assert (await wire.ask(op="ping", id=1))["rows"] == 1


async def test_without_a_token_nothing_but_auth_is_answered() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url, await Wire.open(url) as wire:
        assert wire.welcome["auth"] is True
        assert (await wire.ask(op="subscribe", id=1, symbols=["AAPL"]))["code"] == "unauthenticated"
        assert (await wire.ask(op="auth", id=2, token=ALL))["type"] == "authenticated"
        assert [each["symbol"] for each in (await wire.subscribe(["AAPL"]))["channels"]] == ["AAPL"]


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer ",
        ALL,
        f"Basic {ALL}",
        f"Token {ALL}",
        f"Bearer {ALL} {ALL}",
        "Bearer a.b.c",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/stream", "/api/symbols", "/api/snapshot?symbols=AAPL"])
async def test_a_bad_token_is_a_401_that_says_what_is_wanted(authorization: str, path: str) -> None:
    upgrade = {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="}
    headers = {"Authorization": authorization, **(upgrade if path == "/stream" else {})}
    async with running(HandFeed(), tokens=TOKENS) as url:
        status, found, body = await get(url, path, headers)

    assert status == 401
    assert found["www-authenticate"].startswith('Bearer realm="tickercast"')
    assert ALL not in str(body)


async def test_a_bad_token_in_the_handshake_is_no_upgrade() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url:
        wire = await Wire.open(url, headers=bearer("wrong"))

    assert (wire.status, wire.body) == (401, b"token: not known here\n")
    assert 'error="invalid_token"' in wire.headers["www-authenticate"]


async def test_a_bad_token_by_command_is_told_and_then_closed() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url, await Wire.open(url) as wire:
        assert (await wire.ask(op="auth", id=1, token="wrong"))["code"] == "unauthenticated"
        assert (await wire.ending()).code == 4001


async def test_who_sends_no_token_is_closed_after_ten_seconds() -> None:
    clock = ManualClock()
    async with (
        running(HandFeed(), clock, tokens=TOKENS) as url,
        await Wire.open(url) as silent,
        await Wire.open(url, headers=bearer(ALL)) as other,
    ):
        await clock.advance(9)
        assert (await silent.ask(op="ping"))["type"] == "pong"
        await clock.advance(2)

        assert (await silent.until(lambda message: message["type"] == "error"))["code"] == "unauthenticated"
        assert (await silent.ending()).code == 4001
        assert (await other.ask(op="ping"))["type"] == "pong"


async def test_a_token_that_expires_ends_a_connection_within_a_second() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, tokens=TOKENS) as url, await Wire.open(url, headers=bearer(SOON)) as wire:
        await wire.subscribe(["AAPL"])
        await clock.advance(8)
        feed.trades(("AAPL", 0, 1, 1))
        await wire.data()

        await clock.advance(1)

        message = await wire.receive()
        assert (message["code"], message["message"]) == ("unauthenticated", "the token has expired, or was revoked")
        assert (await wire.ending()).code == 4001
        assert (await Wire.open(url, headers=bearer(SOON))).body == b"token: it has expired\n"


async def test_a_token_that_expires_ends_a_connection_that_reads_nothing() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, tokens=TOKENS) as url:
        wire = await Wire.open(url, headers=bearer(SOON), receive_bytes=4096)
        await wire.subscribe(["AAPL"])
        for seed in range(40):
            feed.flood(8000, seed=seed)
        last = 40 * 8000

        await clock.advance(9)
        closed = await wire.ending()

        assert closed.code in (4001, 1006)  # Tornado gives a peer five seconds to take the close
        assert 0 < wire.rows < last, "what waited was dropped"
        assert (await get(url, "/healthz"))[2]["status"] == "ok"


async def test_a_principal_has_no_more_connections_than_its_token_says() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url, await Wire.open(url, headers=bearer(LIMITED)):
        refused = await Wire.open(url, headers=bearer(LIMITED))
        assert (refused.status, refused.headers["retry-after"]) == (429, "10")
        async with await Wire.open(url) as wire:
            assert (await wire.ask(op="auth", token=LIMITED))["code"] == "limit"
            assert (await wire.ending()).code == 4029
        async with await AlpacaWire.open(url) as alpaca:
            await alpaca.control()
            assert (await alpaca.ask(action="auth", key="one", secret=LIMITED))["code"] == 406


async def test_a_connection_that_ends_makes_room_for_another() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url, asyncio.timeout(20):
        for _ in range(3):
            while (wire := await Wire.open(url, headers=bearer(LIMITED))).status == 429:
                pass
            assert wire.welcome["name"] == "one"
            wire.close()


@pytest.mark.parametrize("name", ["token", "access_token"])
@pytest.mark.parametrize("tokens", [TOKENS, ()])
@pytest.mark.parametrize("path", ["/stream", "/api/symbols", "/api/snapshot", "/v2/iex", "/v2/stocks/trades"])
async def test_a_token_in_the_url_is_refused_and_never_logged(
    path: str, tokens: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running(HandFeed(), tokens=tokens) as url:
            status, _, body = await get(url, f"{path}?symbols=AAPL&{name}={ALL}", bearer(ALL))

    assert status == 400
    assert "never sent in a URL" in str(body)
    assert ALL not in caplog.text
    assert ALL not in str(body)


async def test_what_is_open_stays_open_and_names_nobody() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url:
        for path in ("/healthz", "/"):
            status, _, body = await get(url, path)
            assert status == 200
            assert not any(secret in str(body) for secret in (ALL, "apples", hash_of(ALL).hex()))


async def test_resources_show_what_a_token_permits() -> None:
    feed = HandFeed()
    async with running(feed, tokens=TOKENS) as url:
        feed.trades(("MSFT", 0, 1, 1), ("AAPL", 0, 1, 1))
        _, _, symbols = await get(url, "/api/symbols", bearer(APPLES))
        _, _, state = await get(url, "/api/snapshot?symbols=AAPL,MSFT,NONE,ANY", bearer(APPLES))
        _, _, everything = await get(url, "/api/symbols", bearer(ALL))

    assert symbols == {"symbols": ["AAPL"], "more": False}
    assert everything["symbols"] == ["AAPL", "MSFT"]
    assert list(state["symbols"]) == ["AAPL"]
    assert state["refused"] == [
        {"symbol": "MSFT", "code": "forbidden"},
        {"symbol": "NONE", "code": "forbidden"},
        {"symbol": "ANY", "code": "unknown_symbol"},
    ]


def basic(key: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()}


@pytest.mark.parametrize(
    ("key", "secret"), [("apples", APPLES), ("oauth", APPLES), ("access_token", APPLES), ("KEY", "SECRET")]
)
async def test_alpacas_key_is_a_tokens_name_and_its_secret_the_token(key: str, secret: str) -> None:
    feed = HandFeed()
    async with running(feed, tokens=TOKENS, alpaca_key="KEY:SECRET") as url, await AlpacaWire.open(url) as wire:
        await wire.log_in(key, secret)
        asked = await wire.ask(action="subscribe", trades=["*"])
        feed.trades(("MSFT", 0, 1, 1), ("AAPL", 0, 1, 1))
        seen = ["AAPL"] if secret == APPLES else ["AAPL", "MSFT"]

        assert asked["trades"] == ["*"]
        assert sorted(row["S"] for row in await wire.rows(len(seen))) == seen


@pytest.mark.parametrize(
    ("key", "secret"),
    [("all", APPLES), ("apples", "wrong"), ("any", "thing"), ("KEY", APPLES), ("", APPLES), ("apples", "SECRET")],
)
async def test_nobody_is_let_in_by_any_key_where_tokens_are_asked_for(key: str, secret: str) -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock, tokens=TOKENS, alpaca_key="KEY:SECRET") as url:
        async with await AlpacaWire.open(url) as wire:
            await wire.control()
            await wire.send({"action": "auth", "key": key, "secret": secret})
            await wire.send({"action": "subscribe", "trades": ["AAPL"]})
            await wire.write(frame(PING))
            assert (await wire.receive_frame())[0] & 0xF == PONG  # so that all before it has been read
            await clock.advance(2)
            assert (await wire.ending()).code == 4001
            assert wire.last[0]["code"] == 402
        status, _, _ = await get(url, "/v2/stocks/trades?symbols=AAPL", basic(key, secret))
        assert status == 403
        assert (await get(url, "/v2/stocks/trades?symbols=AAPL"))[0] == 401


async def test_what_a_token_does_not_permit_is_insufficient_scope_and_changes_nothing() -> None:
    async with running(HandFeed(), tokens=TOKENS) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in("apples", APPLES)
        await wire.ask(action="subscribe", trades=["AAPL"])
        for symbols in (["MSFT"], ["NONE"], ["AAPL", "MSFT"]):
            answer = await wire.ask(action="subscribe", trades=symbols)
            assert answer == {"T": "error", "code": 411, "msg": "insufficient scope"}

        assert (await wire.ask(action="unsubscribe", trades=[]))["trades"] == ["AAPL"]


async def test_alpacas_history_is_that_of_permitted_symbols() -> None:
    feed = HandFeed()
    async with running(feed, tokens=TOKENS) as url:
        feed.trades(("MSFT", 0, 1, 1), ("AAPL", 0, 1, 1))
        for headers in (
            basic("apples", APPLES),
            bearer(APPLES),
            {"APCA-API-KEY-ID": "apples", "APCA-API-SECRET-KEY": APPLES},
        ):
            status, _, body = await get(url, "/v2/stocks/trades/latest?symbols=AAPL", headers)
            assert (status, list(body["trades"])) == (200, ["AAPL"])
            for path in ("trades?symbols=AAPL,MSFT", "MSFT/trades", "snapshots?symbols=MSFT", "MSFT/bars/latest"):
                status, _, body = await get(url, f"/v2/stocks/{path}", headers)
                assert (status, body) == (403, {"message": "forbidden: MSFT"})


async def test_an_alpaca_client_ends_when_its_token_expires() -> None:
    feed, clock = HandFeed(), ManualClock()
    async with running(feed, clock, tokens=TOKENS) as url, await AlpacaWire.open(url) as wire:
        await wire.log_in("soon", SOON)
        await wire.ask(action="subscribe", trades=["AAPL"])

        await clock.advance(9)

        assert (await wire.ending()).code == 4001
        assert wire.last == [{"T": "error", "code": 402, "msg": "auth failed"}]


async def test_everyone_reads_everything_where_that_is_said() -> None:
    async with running(HandFeed(), host="0.0.0.0", no_auth=True) as url, await Wire.open(url) as wire:
        assert wire.welcome["auth"] is False
        assert (await wire.subscribe(["*"]))["channels"]
        async with await AlpacaWire.open(url) as alpaca:
            await alpaca.log_in("any", "thing")
