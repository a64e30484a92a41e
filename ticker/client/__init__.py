"""The library for bots: exact rows in order, each once, over any number of connections.

    async with connect("ws://127.0.0.1:8888/stream") as stream:
        async for batch in stream.subscribe(["AAPL"]):
            print(batch.floats("price").mean())

`subscribe(url, symbols)` is the same as a plain iterator, for scripts.
"""

from ticker.client.backoff import Backoff
from ticker.client.conversation import Status
from ticker.client.decode import Description
from ticker.client.errors import (
    ClientError,
    CommandRefused,
    ConnectionClosed,
    ConnectionFailed,
    MissedRows,
    ProtocolError,
    SymbolsRefused,
    Unauthenticated,
)
from ticker.client.stream import Stream, connect
from ticker.client.subscription import Subscription
from ticker.client.sync import Reader, subscribe
from ticker.columns import Batch
from ticker.model import Channel, Position

__all__ = [
    "Backoff",
    "Batch",
    "Channel",
    "ClientError",
    "CommandRefused",
    "ConnectionClosed",
    "ConnectionFailed",
    "Description",
    "MissedRows",
    "Position",
    "ProtocolError",
    "Reader",
    "Status",
    "Stream",
    "Subscription",
    "SymbolsRefused",
    "Unauthenticated",
    "connect",
    "subscribe",
]
