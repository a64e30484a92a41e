"""All connections of a server, and what concerns all of them at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from tornado.iostream import IOStream
from tornado.websocket import _WebSocketParams

from ticker.access.grant import Grant
from ticker.clock import Clock
from ticker.protocol.codec import Codec
from ticker.server.garbage import LongLived
from ticker.server.socket import StreamSocket
from ticker.server.visits import Visitor
from ticker.stream.conversation import Conversation
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox, Pressure, Totals
from ticker.stream.session import Session

FAREWELL_S = 3.0
TICKED_AT_ONCE = 256
"""Connections that are looked after before others get a turn: some 5 ms where all of them are sent a ping."""
RECONNECT_MS = (500, 5000)


class Connections:
    """All connections of a server, and what makes one: the market, the codecs, the bound of an outbox."""

    def __init__(self, market: Market, codecs: Iterable[Codec], clock: Clock, outbox_bytes: int) -> None:
        self.market = market
        self.codecs = {codec.subprotocol: codec for codec in codecs}
        self.pressure = Pressure()
        self.totals = Totals()
        self._clock = clock
        self._outbox_bytes = outbox_bytes
        self._open: set[StreamSocket] = set()
        self._long_lived = LongLived()
        self._params = _WebSocketParams(max_message_size=market.limits.message_bytes)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def sessions(self) -> list[Conversation]:
        """The sessions of all connections."""
        return [connection.session for connection in self._open]

    def open(self, stream: IOStream, codec: Codec, peer: str, grant: Grant | None = None) -> None:
        """Go on with a stream whose handshake is done. `peer` is its address for the log; `grant` is what the
        handshake's token gave, if there was one."""

        def session(outbox: Outbox, now_s: float) -> Session:
            return Session(self.market, codec, outbox, self.pressure, now_s, grant)

        self.admit(stream, session, peer, self._params)

    def admit(
        self,
        stream: IOStream,
        session_of: Callable[[Outbox, float], Conversation],
        peer: str,
        params: _WebSocketParams,
    ) -> None:
        """Do the same for any dialect: `session_of(outbox, now_s)` makes the session."""
        session = session_of(Outbox(self._outbox_bytes, self.pressure, self.totals), self._clock.monotonic())
        connection = StreamSocket(stream, session, params, self._clock, peer, self._forget)
        self._open.add(connection)
        self.market.counts.opened += 1
        one_too_many = stream.visits.settle(stream) if isinstance(stream, Visitor) else None
        if one_too_many is not None:
            session.turn_away(one_too_many)
        connection.open()

    def _forget(self, connection: StreamSocket) -> None:
        """Count a connection that has ended, once."""
        if connection in self._open:
            self._open.discard(connection)
            self.market.counts.closes[connection.ended_as] += 1

    async def tick(self) -> None:
        """Do what is due on all connections, some at once. To be called about once a second."""
        for number, connection in enumerate(list(self._open), 1):
            connection.tick(self._clock.monotonic())
            if number % TICKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        self._long_lived.note(len(self._open))

    def tell_status(self) -> None:
        """Tell all clients how the feed does."""
        for session in self.sessions:
            session.tell_status()

    def announce(self, numbers: list[int]) -> None:
        """Tell those who listen to `*` of symbols that have appeared."""
        for session in self.sessions:
            session.announce(numbers)

    async def say_goodbye(self) -> None:
        """Tell all clients to come back later, each at another time, and close their connections."""
        leaving = list(self._open)
        random.shuffle(leaving)
        for connection, reconnect_ms in zip(leaving, _spread(len(leaving), *RECONNECT_MS), strict=True):
            connection.say_goodbye(reconnect_ms)
        deadline_s = self._clock.monotonic() + FAREWELL_S
        while self._open and self._clock.monotonic() < deadline_s:
            await self._clock.sleep(0.02)
        for connection in list(self._open):
            connection.abort()


def _spread(count: int, least: int, most: int) -> list[int]:
    """Return ascending numbers from `least` to `most`, one by chance from each of `count` equal parts of that range."""
    part = (most - least) / max(1, count)
    return [least + int(part * (place + random.random())) for place in range(count)]
