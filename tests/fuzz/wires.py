"""Bytes that strangers write to a server's port: WebSocket frames and HTTP requests that are almost right. Seeded.

What the server sends back is read by RFC 6455 and RFC 9112 alone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, urlsplit

import msgpack

from tests.fuzz.mutate import ALPACA, NATIVE, SYMBOLS, Mutator
from tests.fuzz.strangers import CLOSES
from tests.wire import upgrade

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
STREAMS = (
    ("/stream", {"Sec-WebSocket-Protocol": "ticker.v1.msgpack"}, False),
    ("/stream", {"Sec-WebSocket-Protocol": "ticker.v1.json"}, True),
    ("/v2/iex", {"Content-Type": "application/msgpack"}, False),
    ("/v2/iex", {}, True),
)
MAY_BE_SENT = (1000, 1001, 1011, 3000, 4999)
"""Codes of closes that a client may send (RFC 6455, section 7.4): they are sent back to it, others are not."""
BEGIN_S = 30.0
SILENT_S = 0.25
"""How long a server may say nothing until a stranger goes: it may be waiting for the rest of a request."""


class WrongError(AssertionError):
    """What a server sent is not what a server may send."""


class Frames:
    """What a client of one stream writes: good commands, and frames that break every rule there is."""

    def __init__(self, seed: int | str, path: str, is_text: bool) -> None:
        self._mutator = Mutator(f"{seed} {path} {is_text}", NATIVE if path == "/stream" else ALPACA)
        self._chance = self._mutator.chance
        self._is_text = is_text
        self.closes: set[int] = set()
        """Codes of the closes that were made: the server sends one back."""

    def frame(self) -> bytes:
        """Return one frame, or some that belong together. Most may be followed by others."""
        chance = self._chance
        match chance.choice((3, 6, 11, 11) if chance.random() < 0.85 else range(12)):
            case 0:
                return self._header(chance.randrange(16), chance.choice((0, 1, 125, 300)), bits=chance.randrange(8))
            case 1:  # lengths: not the shortest form, endless, negative
                form, size = chance.choice(((126, 5), (127, 5), (127, 2**31), (127, 2**63), (127, 2**64 - 1)))
                return self._header(BINARY, size, form) + (chance.randbytes(5) if size == 5 else b"")
            case 2:  # no mask, half a mask
                return self._header(chance.choice((TEXT, BINARY, PING)), 4, masked=False) + b"ping"
            case 3:
                return self._fragments()
            case 4:  # fragments out of order
                return self._of(CONTINUATION, b"x", chance.random() < 0.5)
            case 5:  # control frames in pieces, or too long
                opcode = chance.choice((CLOSE, PING, PONG))
                return self._of(opcode, b"x" * chance.choice((0, 126, 70_000)), chance.random() < 0.5)
            case 6:
                return self._of(chance.choice((PING, PONG)), chance.randbytes(chance.choice((0, 1, 125))))
            case 7:
                return self._close()
            case 8:  # a character cut in two, and what is none
                half = "\N{PILE OF POO}".encode()
                return self._of(TEXT, half[:2], False) + self._of(CONTINUATION, chance.choice((half[2:], b"\xff")))
            case 9:
                return self._of(chance.choice((TEXT, BINARY)), chance.randbytes(chance.choice((0, 1, 9, 300))))
            case 10:
                return self._mutator.damaged(self._of(BINARY, b"\x81\xa2op\xa4ping"))
            case _:
                return self._of(TEXT if self._is_text else BINARY, self._message())

    def _message(self) -> bytes:
        return self._mutator.text().encode() if self._is_text else self._mutator.packed()

    def _fragments(self) -> bytes:
        data, chance = self._message(), self._chance
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.choice((1, 2, 30))))
        pieces = [data[first:end] for first, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        frames = [self._of(CONTINUATION if place else TEXT if self._is_text else BINARY, piece, False)
                  for place, piece in enumerate(pieces)]  # fmt: skip
        between = self._of(PING, b"between") if chance.random() < 0.3 else b""
        last = b"" if chance.random() < 0.1 else self._of(CONTINUATION, b"")
        return between.join(frames) + last

    def _close(self) -> bytes:
        chance = self._chance
        code = chance.choice((0, 999, 1000, 1001, 1004, 1005, 1006, 1011, 1015, 2999, 3000, 4999, 5000, 65535))
        payload = chance.choice((b"", b"\x03", struct.pack("!H", code), struct.pack("!H", code) + b"bye\xff"))
        if len(payload) == 2 and code in MAY_BE_SENT:
            self.closes.add(code)
        return self._of(CLOSE, payload)

    def _of(self, opcode: int, payload: bytes, final: bool = True) -> bytes:
        size = len(payload)
        form = size if size < 126 else 126 if size < 65536 else 127
        return self._header(opcode, size, form, final=final) + payload  # the mask is 0

    @staticmethod
    def _header(
        opcode: int, size: int, form: int | None = None, *, bits: int = 0, final: bool = True, masked: bool = True
    ) -> bytes:
        form = min(size, 125) if form is None else form
        length = b"" if form < 126 else struct.pack("!H" if form == 126 else "!Q", size)
        return bytes((final << 7 | bits << 4 | opcode, masked << 7 | form)) + length + bytes(4) * masked


class Requests:
    """HTTP requests that are almost right, for every address that a server has."""

    _PATHS = (
        *("/", "/healthz", "/readyz", "/metrics", "/stream", "/api/symbols", "/api/snapshot", "/v2/stocks/bars"),
        *("/v2/stocks/trades", "/v2/stocks/quotes/latest", "/v2/stocks/snapshots", "/v2/stocks/AAPL/bars", "/v2/iex"),
        *("/v2/stocks/AAPL/trades/latest", "/v2/stocks/AAPL/snapshot", "/v1beta3/crypto/us/bars", "/nothing", "*", ""),
        *("/v1beta3/crypto/us/latest/quotes", "/v1beta3/crypto/us/snapshots", "/../etc/passwd", "//evil", "/%00", "/%"),
    )
    _NAMES = (
        *("symbols", "prefix", "after", "limit", "start", "end", "timeframe", "page_token", "sort", "feed", "currency"),
        *("adjustment", "asof", "format", "token", "\x00", "symbols[]", "%"),
    )
    _VALUES = (
        *SYMBOLS,
        *("AAPL,MSFT", ",", ",,AAPL,", "AAPL," * 2000, "1", "0", "-1", "10000", "10001", "1e3", "٣", "9" * 400),
        *("1Min", "1Day", "59T", "12M", "0Min", "99Hour", "asc", "desc", "iex", "sip", "USD", "EUR", "raw", "json"),
        *("2026-11-23", "0000-00-00", "0001-01-01", "9999-12-31", "2026-02-30", "2026-11-23T00:00:00Z", "1969-12-31"),
        *("2026-11-23T23:59:60Z", "2026-11-23T00:00:00.123456789+23:59", "0001-01-01T00:00:00+14:00", "٢٠٢٦-١١-٢٣"),
        *("9999-12-31T23:59:59-23:59", "QUFQTHwx", "QUFQTHw5OTk5OTk5OTk5OTk5OTk5OTk5OTk", "fC0x", "====", "8J-SqXwx"),
        base64.urlsafe_b64encode(b"AAPL|-99999999999999999999999").decode(),
        base64.urlsafe_b64encode(b"\xff|1").decode(),
        "x" * 9000,
    )
    _HEADERS = (
        *("Host", "Origin", "Authorization", "Content-Type", "Content-Length", "Transfer-Encoding", "Content-Encoding"),
        *("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Expect"),
        *("Sec-WebSocket-Extensions", "Cookie", "Accept-Encoding", "If-None-Match", "Range", "X-Forwarded-For", "\x00"),
        *("APCA-API-KEY-ID", "APCA-API-SECRET-KEY", "Access-Control-Request-Method", "X-Forwarded-Proto", " Folded"),
    )
    _HEADER_VALUES = (
        *(
            "",
            "127.0.0.1",
            "evil.example",
            "null",
            "http://evil.example",
            "Bearer",
            "Bearer x",
            "Basic ====",
            "Basic eA==",
        ),
        *(
            "0",
            "5",
            "-1",
            "+5",
            "5, 5",
            "99999999999999999999",
            "chunked",
            "gzip, chunked",
            "identity",
            "gzip",
            "deflate",
        ),
        *(
            "websocket",
            "Upgrade",
            "keep-alive, Upgrade",
            "close",
            "13",
            "8",
            "x13",
            "dGhlIHNhbXBsZSBub25jZQ==",
            "é",
            "\x00",
        ),
        *(
            "ticker.v1.json",
            "ticker.v1.msgpack, x",
            ",",
            "permessage-deflate; client_max_window_bits=99",
            "100-continue",
        ),
        *('W/"x", *', "bytes=0-", "1.2.3.4, ::1", "a=b; " * 50, "*;q=x", "gzip;q=0.0000", "GET", "https", "x" * 5000),
    )

    def __init__(self, seed: int | str) -> None:
        self._chance = random.Random(f"{seed} requests")
        self._mutator = Mutator(f"{seed} damage", NATIVE)

    def request(self, host: str) -> bytes:
        """Return one request, whole or nearly so."""
        chance = self._chance
        method = chance.choice(("GET",) * 12 + ("HEAD", "POST", "OPTIONS", "PUT", "get", "G\x00T", "PRI"))
        version = chance.choice(("HTTP/1.1",) * 40 + ("HTTP/1.0", "HTTP/2.0", "HTTP/1.10", "ICY", ""))
        headers = [("Host", host)] if chance.random() < 0.95 else []
        if chance.random() < 0.2:
            headers += [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")]
            headers += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
        for _ in range(chance.choice((0, 0, 1, 2, 4))):
            headers.append((chance.choice(self._HEADERS), chance.choice(self._HEADER_VALUES)))
        body = chance.choice((*[b""] * 30, b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"ffffffffffffffffff\r\n"))
        lines = [f"{method} {self._target()} {version}", *(f"{name}: {value}" for name, value in headers), "", ""]
        data = chance.choice(("\r\n",) * 30 + ("\n",)).join(lines).encode("utf-8", "replace") + body
        return self._mutator.damaged(data) if chance.random() < 0.05 else data

    def _target(self) -> str:
        chance = self._chance
        path = chance.choice(self._PATHS)
        if chance.random() < 0.1:
            path = path.replace("AAPL", quote(chance.choice(SYMBOLS), safe=""))
        if chance.random() < 0.25:
            return path
        if not path.startswith(("/api", "/v")):
            return f"{path}?{chance.choice(self._NAMES)}={quote(chance.choice(self._VALUES)[:300])}"
        names = ["symbols"] * (chance.random() < 0.8) + chance.choices(self._NAMES, k=chance.choice((0, 1, 1, 2, 5)))
        return path + "?" + "&".join(f"{quote(name)}={self._value(name)}" for name in names)

    def _value(self, name: str) -> str:
        chance = self._chance
        good = {"symbols": "AAPL,MSFT", "limit": "3", "timeframe": "1Min", "start": "2026-11-23"}
        value = good[name] if name in good and chance.random() < 0.5 else chance.choice(self._VALUES)
        match chance.randrange(12):
            case 0:
                return value.replace(" ", "+")  # not quoted at all
            case 1:
                return quote(value) + chance.choice(("%", "%0", "%00", "%ff%fe", "%C3%28", "%u0041", ";", "#"))
            case _:
                return quote(value)


async def visit(url: str, data: bytes) -> bytes:
    """Write to a server's port, and return what it writes until it ends, or says nothing for a while."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    answer = bytearray()
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(data)
        await writer.drain()
        while True:
            async with asyncio.timeout(SILENT_S):
                piece = await reader.read(1 << 16)
            if not piece:
                break
            answer += piece
    writer.close()
    return bytes(answer)


async def converse(url: str, path: str, headers: Mapping[str, str], pieces: Iterable[bytes]) -> bytes:
    """Shake hands, write frames piece by piece, say no more, and return all that the server says."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(upgrade(parts.netloc, path, headers))
    try:
        async with asyncio.timeout(BEGIN_S):
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 "):
                raise WrongError(f"no handshake: {head!r}")
            answer = bytearray()
            with contextlib.suppress(OSError):  # ENOTCONN too: a server may have reset it by then
                for data in pieces:
                    writer.write(data)
                    await writer.drain()
                writer.write_eof()
                while piece := await reader.read(1 << 16):
                    answer += piece
    finally:
        writer.transport.abort()
    return bytes(answer)


def check_frames(data: bytes, is_text: bool, closes: set[int]) -> Counter[str]:
    """Return what a server's frames were, by name. Raises WrongError for what no server may send.

    The last frame may be cut. `closes` are codes that the client has sent, and may get back.
    """
    seen: Counter[str] = Counter()
    for opcode, payload in _frames(data):
        if opcode == CLOSE:
            code = struct.unpack("!H", payload[:2])[0] if payload else "without a code"
            if payload and code not in CLOSES | closes:
                raise WrongError(f"closed with {code}")
            payload[2:].decode()
            seen[f"close {code}"] += 1
        elif opcode in (PING, PONG):
            seen["ping" if opcode == PING else "pong"] += 1
        elif opcode == (TEXT if is_text else BINARY):
            json.loads(payload) if is_text else msgpack.unpackb(payload)
            seen["message"] += 1
        else:
            raise WrongError(f"opcode {opcode:#x}")
        if seen.total() > 1 and "closed" in seen:
            raise WrongError("a frame behind the close")
        if opcode == CLOSE:
            seen["closed"] = 1
    del seen["closed"]
    return seen


def statuses(answer: bytes) -> list[int]:
    """Return the statuses of HTTP answers. Raises WrongError for one that no request may cause, and for a traceback."""
    found = [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]
    if any(status >= 500 and status not in (501, 505) for status in found) or b"Traceback" in answer:
        raise WrongError(f"{found}: {answer[:500]!r}")
    return found


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while len(data) - at >= 2:
        first, size = data[at], data[at + 1]
        at += 2
        if first & 0xF0 != 0x80 or size & 0x80:
            raise WrongError(f"not final, reserved bits, or a mask: {first:#x} {size:#x}")
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
        if size > (125 if first & 0x08 else 1 << 20):
            raise WrongError(f"a frame of {size} bytes")
        if len(data) - at < size:
            return
        yield first & 0x0F, data[at : at + size]
        at += size
