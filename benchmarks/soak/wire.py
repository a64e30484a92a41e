"""One connection's bytes, free of I/O: the handshake, frames, and what is in them, by RFC 6455 and docs/protocol.md."""

from __future__ import annotations

import base64
import json
import os
import struct
from typing import Any

import msgpack

MSGPACK, JSON = "ticker.v1.msgpack", "ticker.v1.json"
ALPACA_MSGPACK, ALPACA_JSON = "alpaca msgpack", "alpaca json"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
LARGEST = 1 << 20


class BrokenStreamError(Exception):
    """What came is no WebSocket stream as RFC 6455 has it, or none of this server's."""


def request(port: int, codec: str = MSGPACK) -> bytes:
    """Return a handshake for one of the four codecs."""
    lines = [
        f"GET {'/v2/iex' if codec.startswith('alpaca') else '/stream'} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if codec == ALPACA_MSGPACK:
        lines.append("Content-Type: application/msgpack")
    elif codec in (MSGPACK, JSON):
        lines.append(f"Sec-WebSocket-Protocol: {codec}")
    return "\r\n".join([*lines, "", ""]).encode()


def command(codec: str, message: dict[str, Any]) -> bytes:
    """Return a command as a frame."""
    if codec in (MSGPACK, ALPACA_MSGPACK):
        return frame(BINARY, msgpack.packb(message))
    return frame(TEXT, json.dumps(message).encode())


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """Return a client's frame."""
    size, mask = len(payload), os.urandom(4)
    length = size if size < 126 else 126 if size < 65536 else 127
    head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    head += b"" if length < 126 else struct.pack("!H" if length == 126 else "!Q", size)
    pad = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


class Inward:
    """What comes from the server on one connection, taken apart as it comes, in pieces of any size."""

    __slots__ = ("_buffer", "close_code", "ends", "is_open", "pings", "received")

    def __init__(self) -> None:
        self._buffer = b""
        self.is_open = False
        """Whether the handshake succeeded."""
        self.close_code: int | None = None
        self.pings = 0
        """Pings that have yet to be answered; the server's are empty."""
        self.ends: list[int] = []
        """Where each message ended that came whole with the last bytes, counted from the connection's first."""
        self.received = 0
        """Bytes taken so far."""

    @property
    def begun(self) -> int:
        """Bytes of a message that has not come whole."""
        return len(self._buffer)

    def take(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole with these bytes. Raises BrokenStreamError."""
        self.received += len(data)
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if not self.is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._buffer, self.ends = buffer, []
                return []
            if not buffer.startswith(b"HTTP/1.1 101 "):
                raise BrokenStreamError(f"refused: {buffer[:60]!r}")
            self.is_open, at = True, end + 4
        messages, self.ends = [], []
        size = len(buffer)
        before = self.received - size
        while size - at >= 2:
            first, length, start = buffer[at], buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if size < start or size - start < length:
                break
            at = start + length
            if first in (0x82, 0x81):
                messages.append(buffer[start:at])
                self.ends.append(before + at)
            else:
                self._take_control(first, buffer[start:at])
        self._buffer = buffer[at:]
        return messages

    def _take_control(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if first & 0xF0 != 0x80 or opcode not in (CLOSE, PING, PONG):
            raise BrokenStreamError(f"a frame that begins with {first:#x}")
        if opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
        elif opcode == PING:
            self.pings += 1
