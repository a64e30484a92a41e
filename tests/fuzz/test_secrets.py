"""A token, right or wrong, may be put anywhere: it is in no line of the log, no answer and no metric afterwards."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack

from tests.conftest import ServerProcess
from tests.fuzz.wires import converse, visit
from tests.wire import BINARY, TEXT, fetch, frame

RIGHT = "right-S3CRET-0123456789abcdef"
WRONG = "wrong-S3CRET-0123456789abcdef"
MARK = b"S3CRET"


def request(host: str, target: str, *headers: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


def requests(host: str, token: str) -> list[bytes]:
    """Return requests with a token wherever one can be."""
    basic = base64.b64encode(f"key:{token}".encode()).decode()
    upgrade = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    found = []
    for path in ("/stream", "/api/symbols", "/api/snapshot", "/v2/stocks/bars", "/v2/iex", "/metrics", "/nothing", "/"):
        for header in (
            f"Bearer {token}",
            f"bearer  {token} x",
            token,
            f"Basic {token}",
            f"Basic {basic}",
            f"{token} x",
        ):
            found.append(request(host, path, f"Authorization: {header}"))
            found.append(request(host, path, f"Authorization: {header}", *upgrade))
        found.append(request(host, path, f"APCA-API-KEY-ID: {token}", f"APCA-API-SECRET-KEY: {token}"))
        found.append(request(host, path, f"Cookie: token={token}", f"X-Token: {token}"))
        found.append(request(host, path, f"Sec-WebSocket-Protocol: ticker.v1.json, {token}", *upgrade))
        for query in (f"token={token}", f"access_token={token}%ff", f"symbols=AAPL&key={token}", f"x={token}%00"):
            found.append(request(host, f"{path}?{query}"))
            found.append(request(host, f"{path}?{query}", *upgrade))
        found.append(request(host, path, "Content-Length: 40", method="POST", body=f"token={token}".ljust(40)))
    found.append(f"GET /{token} HTTP/9\r\nHost: {host}\r\n{token}\r\n\r\n".encode())
    found.append(request(f"{host}", "/", f"Content-Length: {token}"))
    return found


def commands(token: str) -> list[dict[str, object]]:
    """Return messages with a token wherever one can be."""
    return [
        {"op": "auth", "token": [token]},
        {"op": "auth", "token": {token: token}},
        {"op": "auth", "token": f"Bearer {token}"},
        {"op": "subscribe", "symbols": ["AAPL"], "token": token},
        {"action": "auth", "key": "key", "secret": [token]},
        {"action": "auth", "key": "key", "secret": token},
        {"action": "auth", "key": "oauth", "secret": token},
        {"op": "auth", "token": token},
    ]


def conversations(url: str, token: str) -> Iterator[Coroutine[Any, Any, bytes]]:
    """Yield conversations in which each of the commands is said, and one that is cut off."""
    for command in commands(token):
        text, packed = json.dumps(command).encode(), msgpack.packb(command)
        for path in ("/stream", "/v2/iex"):
            headers = {"Sec-WebSocket-Protocol": "ticker.v1.json"} if path == "/stream" else {}
            yield converse(url, path, headers, [frame(TEXT, text), frame(TEXT, text[:-1])])
            yield converse(url, path, {"Content-Type": "application/msgpack"}, [frame(BINARY, packed)] * 2)


async def test_a_token_is_never_repeated(tmp_path: Path, start_server: Callable[..., ServerProcess]) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[[token]]\nname = "bot"\nsha256 = "{sha256(RIGHT.encode()).hexdigest()}"\n')
    tokens.chmod(0o600)
    server = start_server(
        "--feed", "simulated", "--token-file", str(tokens), "--log-level", "debug", "--log-format", "json"
    )
    host, told = urlsplit(server.url).netloc, b""
    for token in (RIGHT, WRONG):
        told += b"".join(await asyncio.gather(*(visit(server.url, data) for data in requests(host, token))))
        told += b"".join(await asyncio.gather(*conversations(server.url, token)))
    status, _, metrics = await fetch(server.url, "/metrics", headers={"Authorization": f"Bearer {RIGHT}"})
    told += metrics
    server.stop()

    assert status == 200
    assert b"unauthenticated" in told
    assert MARK not in told
    assert [line for line in server.log.splitlines() if MARK.decode() in line] == []
    assert "Traceback" not in server.log
