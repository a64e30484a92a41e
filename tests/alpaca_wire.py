"""A tiny client of Alpaca's streams, by the vendor's documentation alone: bare sockets, frames by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit

import msgpack

from tests.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, frame, read_frame, upgrade


class AlpacaWire:
    """One connection. `status` is the handshake's; `sent` tells the opcode and the array of each frame that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_json: bool) -> None:
        self._reader = reader
        self._writer = writer
        self.is_json = is_json
        self.status = 0
        self.headers = ""
        self.last: list[dict[str, Any]] = []
        """The last array before the end."""

    @classmethod
    async def open(
        cls,
        url: str,
        path: str = "/v2/iex",
        content_type: str | None = "application/msgpack",
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Connect and shake hands."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        wanted = {} if content_type is None else {"Content-Type": content_type}
        writer.write(upgrade(parts.netloc, path, wanted | dict(headers or {})))
        wire = cls(reader, writer, content_type != "application/msgpack")
        head = await reader.readuntil(b"\r\n\r\n")
        wire.status, wire.headers = int(head.split()[1]), head.decode()
        return wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection without a word."""
        self._writer.close()

    def pack(self, message: Any) -> bytes:
        return json.dumps(message).encode() if self.is_json else msgpack.packb(message)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def send(self, message: Any, opcode: int | None = None) -> None:
        """Send a request in one frame."""
        await self.write(frame(opcode or (TEXT if self.is_json else BINARY), self.pack(message)))

    async def send_in_pieces(self, message: Any, sizes: Sequence[int], opcode: int | None = None) -> None:
        """Send a request in fragments of these sizes, and an empty one at the end."""
        data, first = self.pack(message), True
        opcode = opcode or (TEXT if self.is_json else BINARY)
        for size in (*sizes, len(data)):
            piece, data = data[:size], data[size:]
            await self.write(frame(opcode if first else CONTINUATION, piece, final=False))
            first = False
        await self.write(frame(CONTINUATION, b"", final=True))

    async def receive_frame(self) -> tuple[int, bytes]:
        return await read_frame(self._reader.readexactly)

    async def receive(self) -> list[dict[str, Any]]:
        """Return the next array. Raises Closed."""
        while True:
            try:
                opcode, payload = await self.receive_frame()
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Closed(reason=type(error).__name__) from error
            if opcode == PING:
                await self.write(frame(PONG, payload))
            elif opcode == CLOSE:
                await self.write(frame(CLOSE, payload))
                raise Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
            elif opcode != PONG:
                assert opcode == (TEXT if self.is_json else BINARY)
                array = json.loads(payload) if self.is_json else msgpack.unpackb(payload)
                assert isinstance(array, list)
                assert all(next(iter(message)) == "T" for message in array)
                if any(message["T"] in ("success", "error", "subscription") for message in array):
                    assert len(array) == 1, "a control message is alone in its frame"
                return array

    async def control(self) -> dict[str, Any]:
        """Return the next control message, which must be what comes next."""
        (message,) = await self.receive()
        return message

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer, which must be what comes next."""
        await self.send(request)
        return await self.control()

    async def log_in(self, key: str = "PK", secret: str = "S") -> None:
        assert await self.control() == {"T": "success", "msg": "connected"}
        assert await self.ask(action="auth", key=key, secret=secret) == {"T": "success", "msg": "authenticated"}

    async def rows(self, count: int) -> list[dict[str, Any]]:
        """Return so many rows, from as many frames as it takes."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found += await self.receive()
        assert len(found) == count
        return found

    async def ending(self) -> Closed:
        """Read on until the connection ends; return how."""
        try:
            while True:
                self.last = await self.receive()
        except Closed as closed:
            return closed
