"""When connections are hidden from the garbage collector, and when they are looked at again; that it finds nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tornado.httputil import HTTPServerRequest
from tornado.iostream import BaseIOStream
from tornado.websocket import WebSocketHandler, WebSocketProtocol

from tests.alpaca_wire import AlpacaWire
from tests.server import certificates
from tests.server.served import served
from tests.wire import BINARY, CLOSE, Closed, Wire, frame
from ticker.server.garbage import MANY, LongLived
from ticker.server.socket import StreamSocket
from ticker.stream.alpaca_session import AlpacaSession
from ticker.stream.outbox import Outbox
from ticker.stream.session import Session

OF_A_CONNECTION = (
    StreamSocket, Session, AlpacaSession, Outbox, WebSocketProtocol, BaseIOStream, WebSocketHandler, HTTPServerRequest
)  # fmt: skip


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def test_many_connections_are_not_looked_at_and_few_are() -> None:
    gc.unfreeze()
    long_lived = LongLived()

    long_lived.note(MANY - 1)
    assert gc.get_freeze_count() == 0
    long_lived.note(MANY)

    assert gc.get_freeze_count() > 0


def test_what_was_hidden_is_looked_for_garbage_once_most_connections_have_gone() -> None:
    long_lived = LongLived()
    knot = Knot()
    gone = weakref.ref(knot)
    long_lived.note(4 * MANY)
    del knot
    gc.collect()
    assert gone() is not None

    long_lived.note(2 * MANY)
    assert gone() is not None
    long_lived.note(MANY)

    assert gone() is None


def objects_of_connections() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, OF_A_CONNECTION)]


async def until_nothing_is_left() -> None:
    for _ in range(200):
        if not objects_of_connections():
            return
        await asyncio.sleep(0.01)
    raise AssertionError([type(each).__name__ for each in objects_of_connections()])


async def close(wire: Wire) -> None:
    wire.close()


async def reset(wire: Wire) -> None:
    wire.reset()


async def shake_hands(wire: Wire) -> None:
    await wire.write(frame(CLOSE, b"\x03\xe8"))
    with pytest.raises(Closed):
        await wire.receive()
    wire.close()


async def break_off(wire: Wire) -> None:
    await wire.write(frame(BINARY, bytes(100))[:50])
    wire.reset()


async def be_wrong(wire: Wire) -> None:
    await wire.write(frame(BINARY, b"", masked=False))
    with pytest.raises(Closed):
        await wire.receive()
    wire.close()


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("end", [close, reset, shake_hands, break_off, be_wrong])
async def test_nothing_of_a_connection_is_left_to_the_collector(
    end: Callable[[Wire], Awaitable[None]], no_collections: None
) -> None:
    async with served() as (url, _):
        wire = await Wire.open(url)
        await wire.subscribe(["*"])

        await end(wire)

        await until_nothing_is_left()


async def test_nothing_of_a_connection_by_tls_is_left_to_the_collector(tmp_path: Path, no_collections: None) -> None:
    certificate, key = certificates.make(tmp_path)
    async with served(tls_cert=certificate, tls_key=key) as (url, _):
        wire = await Wire.open(url, tls=certificates.trusting(certificate))
        await wire.subscribe(["*"])

        wire.close()

        await until_nothing_is_left()


async def test_nothing_of_an_alpaca_client_is_left_to_the_collector(no_collections: None) -> None:
    async with served() as (url, _):
        wire = await AlpacaWire.open(url, "/v2/iex")
        await wire.log_in()
        await wire.send({"action": "subscribe", "trades": ["*"]})

        wire.close()

        await until_nothing_is_left()
