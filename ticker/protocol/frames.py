"""WebSocket frame headers of server messages (RFC 6455, section 5.2), written once for everyone who gets them.

A server-to-client frame is not masked, so it is the same bytes for all clients.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

TEXT = 0x81
BINARY = 0x82

_SHORT = {opcode: [bytes((opcode, size)) for size in range(126)] for opcode in (TEXT, BINARY)}


class Frame(NamedTuple):
    """One or more whole WebSocket frames, ready for the socket and shared by all who get them.

    `rows` is how many rows of data they stand for (see `heartbeat` in the protocol).
    """

    data: bytes
    rows: int = 0


def frame(opcode: int, payload: bytes) -> bytes:
    """Return `payload` as one final, unmasked frame."""
    size = len(payload)
    if size < 126:
        return _SHORT[opcode][size] + payload
    if size < 65536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


def boundary(frames: memoryview | bytes, offset: int) -> int:
    """Return where the first frame ends that ends at or behind `offset`, so that a cut there splits no frame."""
    end = 0
    while end < offset:
        size = frames[end + 1]
        if size == 126:
            size, head = int.from_bytes(frames[end + 2 : end + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(frames[end + 2 : end + 10], "big"), 10
        else:
            head = 2
        end += head + size
    return end
