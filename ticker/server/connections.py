"""All connections of a server, and what concerns all of them at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

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

TICKED_AT_ONCE = 256
"""Connections that are looked after before others get a turn: some 5 ms where all of them are sent a ping."""
RECONNECT_MS = (500, 5000)
POLL_S = 0.02


class Farewell(NamedTuple):
    """How a server's connections ended: how many there were, how many were cut, and how many bytes those were yet to be
    sent."""

    clients: int
    cut: int
    unsent_bytes: int


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
        self._is_leaving = False
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
        if self._is_leaving:  # its handshake was under way
            connection.say_goodbye(random.randint(*RECONNECT_MS))

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

    async def say_goodbye(self, drain_s: float, serve: Callable[[], None] = lambda: None) -> Farewell:
        """Tell all clients to come back later, each at another time, and close their connections.

        A client is told once it has all that it is due, for which `serve` is called again and again. After `drain_s`
        all that are left are cut.
        """
        self._is_leaving = True
        leaving = list(self._open)
        random.shuffle(leaving)
        waiting = dict(zip(leaving, _spread(len(leaving), *RECONNECT_MS), strict=True))
        deadline_s = self._clock.monotonic() + drain_s
        while True:
            serve()
            for number, connection in enumerate([each for each in waiting if each.has_all], 1):
                connection.say_goodbye(waiting.pop(connection))
                if number % TICKED_AT_ONCE == 0:
                    await asyncio.sleep(0)
            waiting = {each: reconnect_ms for each, reconnect_ms in waiting.items() if each in self._open}
            if not self._open or self._clock.monotonic() >= deadline_s:
                break
            await self._clock.sleep(POLL_S)
        for connection, reconnect_ms in waiting.items():
            connection.say_goodbye(reconnect_ms)  # who reads again at last finds it behind what the kernel holds
        left = list(self._open)
        unsent = [size for each in left if (size := each.unsent_bytes)]
        for connection in left:
            connection.abort()
        return Farewell(len(leaving), len(unsent), sum(unsent))


def _spread(count: int, least: int, most: int) -> list[int]:
    """Return ascending numbers from `least` to `most`, one by chance from each of `count` equal parts of that range."""
    part = (most - least) / max(1, count)
    return [least + int(part * (place + random.random())) for place in range(count)]
