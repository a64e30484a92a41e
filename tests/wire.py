"""A tiny client of the stream, written from docs/protocol.md alone: bare sockets, frames by hand, msgpack and json.

It reads from its socket only what it is asked for, so that a test decides how slowly a client reads.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Self
from urllib.parse import urlsplit

import msgpack
import numpy as np

MSGPACK, JSON = "ticker.v1.msgpack", "ticker.v1.json"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ANSWERS = ("subscribed", "unsubscribed", "symbols", "pong", "authenticated", "error")


class Closed(Exception):
    """The connection ended: with a close frame's `code` and `reason`, or with neither (`code` 1006)."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Wire:
    """One connection. `status` and `headers` are the handshake's answer; `welcome` is read when it succeeded."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.welcome: dict[str, Any] = {}
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self.answers_pings = True
        self.rows = 0
        """Rows received so far, as `heartbeat` counts them."""
        self.received = 0
        """Bytes taken from the socket so far."""
        self._conflated: dict[int, bool] = {}
        self._buffer = bytearray()
        self._tls: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls,
        url: str,
        offers: str | Iterable[str] | None = (MSGPACK,),
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        receive_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        path: str = "/stream",
        greets: bool = True,
    ) -> Self:
        """Connect to a server's URL and shake hands; offer these subprotocols, in this order.

        With `tls`, asyncio reads ahead: some 128 KiB more than is asked for. A server that `greets` says `welcome`.
        """
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        sock = socket.socket(socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET)
        sock.setblocking(False)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        wire = cls(sock)
        await wire._loop.sock_connect(sock, (parts.hostname, parts.port))
        if tls is not None:
            wire._tls = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=parts.hostname)
        wanted = {}
        if offers is not None:
            wanted["Sec-WebSocket-Protocol"] = offers if isinstance(offers, str) else ", ".join(offers)
        await wire.write(upgrade(parts.netloc, path + query, wanted | dict(headers or {})))
        head = (await wire._until(b"\r\n\r\n")).decode()
        first, *rest = head.strip().split("\r\n")
        wire.status = int(first.split()[1])
        wire.headers = _headers(rest)
        if wire.status == 101:
            wire.welcome = await wire.receive() if greets else {}
        else:
            wire.body = await wire.read(int(wire.headers.get("content-length", "0")))
            wire.close()
        return wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._tls is None:
            self.sock.close()

    def close(self) -> None:
        """Close the socket without a word."""
        if self._tls is None:
            self.sock.close()
        else:
            self._tls[1].transport.abort()

    def reset(self) -> None:
        """Close the socket so that the server gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    @property
    def is_json(self) -> bool:
        return isinstance(self.welcome.get("time"), str)

    async def write(self, data: bytes) -> None:
        if self._tls is None:
            await self._loop.sock_sendall(self.sock, data)
        else:
            self._tls[1].write(data)
            await self._tls[1].drain()

    async def read(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises Closed (1006) where the connection ends before."""
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def take(self, size: int) -> bytes:
        """Read up to `size` bytes from the socket, without looking at them yet; return them."""
        data = await self._loop.sock_recv(self.sock, size)
        self._buffer += data
        self.received += len(data)
        return data

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a command."""
        if self.is_json:
            await self.write(frame(TEXT, json.dumps(message).encode()))
        else:
            await self.write(frame(BINARY, msgpack.packb(message)))

    async def receive_frame(self) -> tuple[int, bytes]:
        """Return the next frame: opcode and payload. What a server sends is final and unmasked."""
        return await read_frame(self.read)

    async def receive(self) -> Any:
        """Return the next message; answer pings on the way. Raises Closed."""
        while True:
            opcode, payload = await self.receive_frame()
            if opcode == PING:
                self.pings.append(payload)
                if self.answers_pings:
                    with contextlib.suppress(ConnectionError):
                        await self.write(frame(PONG, payload))
            elif opcode == PONG:
                self.pongs.append(payload)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else 1005
                raise Closed(code, payload[2:].decode())
            else:
                return self._decode(opcode, payload)

    async def answer(self, id: int | str | None = None) -> dict[str, Any]:
        """Return the next answer to a command (with this `id`), passing over everything else."""
        return await self.until(lambda m: kind_of(m) in ANSWERS and (id is None or m.get("id") == id))

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """Return the next message that is wanted, passing over everything else."""
        while not wanted(message := await self.receive()):
            pass
        return message

    async def data(self) -> Any:
        """Return the next data message, passing over everything else."""
        return await self.until(is_data)

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        await self.send(command)
        return await self.answer(command.get("id"))

    async def subscribe(self, symbols: list[str], **fields: Any) -> dict[str, Any]:
        """Subscribe; return the answer, having read the status that follows it."""
        answer = await self.ask(op="subscribe", symbols=symbols, **fields)
        assert answer["type"] == "subscribed", answer
        assert kind_of(await self.receive()) == "status"
        return answer

    async def ending(self) -> Closed:
        """Read on until the connection ends; return how."""
        try:
            while True:
                await self.receive()
        except Closed as closed:
            return closed

    def _decode(self, opcode: int, payload: bytes) -> Any:
        if not self.welcome:
            message = json.loads(payload) if opcode == TEXT else msgpack.unpackb(payload)
        elif self.is_json:
            assert opcode == TEXT
            message = json.loads(payload, parse_float=Decimal)
        else:
            assert opcode == BINARY
            message = msgpack.unpackb(payload)
        for each in message.get("channels", [message]) if isinstance(message, dict) else ():
            if isinstance(each, dict) and "columns" in each:
                self._conflated[each["channel"]] = each["mode"] == "conflated" and each["kind"] != "bars"
        if is_data(message):
            channel = message[0] if isinstance(message, list) else message["channel"]
            self.rows += sum(counts_of(message)) if self._conflated[channel] else n_of(message)
        return message

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._more()
        return await self.read(self._buffer.index(mark) + len(mark))

    async def _more(self) -> None:
        try:
            if self._tls is None:
                data = await self._loop.sock_recv(self.sock, 65536)
            else:
                data = await self._tls[0].read(65536)
        except (ConnectionError, ssl.SSLError) as error:
            raise Closed(reason=type(error).__name__) from error
        if not data:
            raise Closed(reason="end of stream")
        self._buffer += data
        self.received += len(data)


def upgrade(host: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Return the request that begins a WebSocket; `headers` come in addition, or instead."""
    request = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **headers,
    }
    lines = (f"{name}: {value}" for name, value in request.items())
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


async def read_frame(read: Callable[[int], Awaitable[bytes]]) -> tuple[int, bytes]:
    """Return a server's next frame, opcode and payload, by `read(size)`, which returns exactly so many bytes."""
    first, size = await read(2)
    assert first & 0xF0 == 0x80, f"not final, or reserved bits: {first:#x}"
    assert size < 128, "a server masks nothing"
    if size == 126:
        (size,) = struct.unpack("!H", await read(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await read(8))
    assert size <= 1 << 20, "a server's message is 1 MiB at most"
    return first & 0x0F, await read(size)


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True) -> bytes:
    """Return one frame of a client."""
    size, mask = len(payload), os.urandom(4)
    length = size if size < 126 else 126 if size < 65536 else 127
    head = struct.pack("!BB", final << 7 | opcode, masked << 7 | length)
    head += b"" if length < 126 else struct.pack("!H" if length == 126 else "!Q", size)
    if not masked:
        return head + payload
    pad = np.resize(np.frombuffer(mask, np.uint8), size)
    return head + mask + (np.frombuffer(payload, np.uint8) ^ pad).tobytes()


def is_data(message: Any) -> bool:
    return isinstance(message, list) or message["type"] in ("trades", "quotes", "bars")


def kind_of(message: Any) -> str:
    """Return a message's type; "data" for rows."""
    return "data" if is_data(message) else message["type"]


def n_of(message: Any) -> int:
    return message[2] if isinstance(message, list) else len(message["time"])


def columns_of(message: list[Any]) -> list[list[int | float]]:
    """Return the columns of a msgpack data message, as section 5 of the page decodes them."""
    _, _, n, *packed = message
    return [_column(base, offsets, n) for base, offsets in zip(packed[::2], packed[1::2], strict=True)]


def counts_of(message: Any) -> list[int]:
    """Return the last column, which is `count` in summaries."""
    return list(columns_of(message)[-1]) if isinstance(message, list) else message["count"]


def rows_of(message: Any, columns: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Return a data message's rows as exact Decimals (the time as an integer in msgpack, as text in JSON)."""
    if isinstance(message, dict):
        exact = [[Decimal(each) for each in message[name]] for name, _ in columns[1:]]
        return list(zip(message["time"], *exact, strict=True))
    time, *rest = columns_of(message)
    exact = [[Decimal(each).scaleb(-scale) for each in column] for column, (_, scale) in zip(rest, columns[1:])]  # noqa: B905
    return list(zip(time, *exact, strict=True))


def _column(base: int | float, offsets: bytes, n: int) -> list[Any]:
    if isinstance(base, float):
        return np.frombuffer(offsets, "<f8").tolist()
    if not offsets:
        return [base] * n
    assert len(offsets) in (n, 2 * n, 4 * n, 8 * n)
    values = (base + each for each in np.frombuffer(offsets, f"<u{len(offsets) // n}").tolist())
    return [(each + 2**63) % 2**64 - 2**63 for each in values]


async def fetch(
    url: str,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (names in lower case) and body of an HTTP request, all that came until the end."""
    wanted = {"Host": urlsplit(url).netloc, "Connection": "close"} | dict(headers or {})
    lines = (f"{name}: {value}" for name, value in wanted.items())
    return await exchange(url, f"{method} {path} HTTP/1.1", *lines, tls=tls)


async def exchange(
    url: str, *lines: str, body: bytes = b"", tls: ssl.SSLContext | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Return the answer to a request whose lines are exactly these, all that came until the end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    with contextlib.suppress(ConnectionError):
        answer = await reader.read()
    writer.close()
    return _answer(answer)


def _answer(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
    assert found is not None, answer
    return int(found[1]), _headers(rest), body


def _headers(lines: Iterable[str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
