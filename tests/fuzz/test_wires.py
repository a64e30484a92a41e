"""What strangers write to the port, frames and requests: no error in the log, and neighbours get every row meanwhile.

`benchmarks/soak/fuzz.py` writes more, to a server of its own.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fuzz.crowd import write_frames, write_requests
from tests.fuzz.wires import WrongError, check_frames, statuses
from tests.rig import HandFeed, running
from tests.wire import JSON, MSGPACK, Wire, n_of


@asynccontextmanager
async def neighbours(url: str, feed: HandFeed) -> AsyncIterator[None]:
    """Have a neighbour for each codec, and row after row, each of which both get before the next, until the end."""
    wires = [await Wire.open(url, [offer]) for offer in (MSGPACK, JSON)]
    for wire in wires:
        await wire.subscribe(["AAPL"])
    is_over = asyncio.Event()

    async def play() -> int:
        for seq in itertools.count():
            feed.trades(("AAPL", seq, 18931 + seq, 1))
            for wire in wires:
                row = await wire.data()
                assert (row[1] if isinstance(row, list) else row["seq"]) == seq
                assert n_of(row) == 1
            if is_over.is_set():
                break
            for _ in range(20):  # what has come already is read without giving anyone a turn
                await asyncio.sleep(0)
        return seq + 1

    playing = asyncio.create_task(play())
    yield
    is_over.set()
    rows = await playing
    for wire in wires:
        assert (await wire.ask(op="ping"))["rows"] == rows
        wire.close()


async def test_frames_of_every_kind_raise_nothing_and_disturb_nobody() -> None:
    feed = HandFeed()
    async with running(feed) as url, neighbours(url, feed):
        seen = await write_frames(url, 8000, seed=1)

    assert {"message", "pong", "close 1002", "close 1007", "close 1009", "close 4000"} <= set(seen)


async def test_requests_of_every_kind_raise_nothing_and_disturb_nobody() -> None:
    feed = HandFeed()
    async with running(feed) as url, neighbours(url, feed):
        seen = await write_requests(url, 3000, seed=1)

    assert {"101", "200", "400", "404", "405"} <= set(seen)


@pytest.mark.parametrize(
    "data",
    [
        b"\x02\x00",
        b"\xc2\x00",
        b"\x82\x80\x00\x00\x00\x00",
        b"\x89\x7e\x00\x7e" + bytes(126),
        b"\x83\x00",
        b"\x81\x02{}",
        b"\x88\x02\x03\xed",
        b"\x88\x02\x03\xe9\x82\x01\x80",
    ],
    ids=["not final", "reserved bits", "mask", "long ping", "unknown opcode", "text", "close 1005", "behind a close"],
)
def test_what_no_server_may_send_is_noticed(data: bytes) -> None:
    with pytest.raises(WrongError):
        check_frames(data, is_text=False, closes=set())


def test_a_500_is_noticed() -> None:
    with pytest.raises(WrongError):
        statuses(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Internal Server Error\r\n\r\n")
