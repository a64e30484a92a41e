"""What is small and becomes large is ended or answered unread. `benchmarks/soak/bombs.py` measures what it costs."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

from tests.fuzz.wires import visit
from tests.rig import HandFeed, running
from tests.wire import Wire

MIB = 1 << 20


def bomb(mib: int) -> bytes:
    """Return what inflates to so many MiB, a thousandth of that."""
    packer = zlib.compressobj(9, wbits=-15)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mib)) + packer.flush(zlib.Z_SYNC_FLUSH)


async def test_a_compressed_frame_that_nobody_agreed_on_ends_the_connection_unread() -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with running(HandFeed()) as url, await Wire.open(url, headers=offer) as wire:
        assert "sec-websocket-extensions" not in wire.headers
        data = bomb(64)
        await wire.write(b"\xc2\xff" + len(data).to_bytes(8, "big") + bytes(4) + data)

        assert (await wire.ending()).code == 1002


async def test_a_compressed_body_is_not_inflated() -> None:
    body = gzip.compress(bytes(60 * MIB), 9)
    head = f"POST /api/symbols HTTP/1.1\r\nHost: HOST\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n"
    async with running(HandFeed()) as url:
        host = url.removeprefix("http://").strip("/")
        tracemalloc.start()
        answer = await visit(url, head.replace("HOST", host).encode() + b"Connection: close\r\n\r\n" + body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert not answer.startswith(b"HTTP/1.1 5")
    assert peak < MIB
