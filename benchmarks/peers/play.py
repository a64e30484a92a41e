"""What the Python peers share: who wants what, and playing a script. The sending is theirs.

A script is a file of finished messages, so that a peer pays for nothing but bringing them to its clients:

    segment   interval_us, limit_us, stamped, flushes      four little-endian uint32, then as many flushes
    flush     entries                                      one uint32, then as many entries
    entry     topic, size, payload                         uint16, uint16, `size` bytes

A flush is due every `interval_us` (0: as soon as the last is out), and a segment ends after `limit_us` at the latest.
In mode `tick` each entry is a message to all who want its topic; in mode `joined` those with the same topics get all
they want of a flush as one message. Where `stamped`, eight bytes of the payload from the ninth on are the present
time.

A client says what it wants as text, topics with commas between, and is answered `ok`. A peer prints `listening on
http://127.0.0.1:PORT/`, plays the next segment for each SIGUSR2, and prints `done` after it.
"""

from __future__ import annotations

import asyncio
import signal
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

STAMP = 9
YIELD_S = 0.01
"""A careful author lets others run at least so often."""

Broadcast = Callable[[str, list[Any], bytes], Awaitable[None]]
Entry = tuple[int, bytes]


class Segment(NamedTuple):
    """Flushes that are due one `interval_s` after the other."""

    interval_s: float
    limit_s: float
    stamped: bool
    flushes: list[list[Entry]]


def read(path: str) -> Iterator[Segment]:
    """Yield the segments of a script."""
    data, at = Path(path).read_bytes(), 0
    while at < len(data):
        interval_us, limit_us, stamped, flushes = struct.unpack_from("<IIII", data, at)
        at += 16
        segment = Segment(interval_us / 1e6, limit_us / 1e6, bool(stamped), [])
        for _ in range(flushes):
            (entries,) = struct.unpack_from("<I", data, at)
            at += 4
            flush = []
            for _ in range(entries):
                topic, size = struct.unpack_from("<HH", data, at)
                flush.append((topic, data[at + 4 : at + 4 + size]))
                at += 4 + size
            segment.flushes.append(flush)
        yield segment


class Room:
    """Who wants what: connections by topic, and by all that they want."""

    def __init__(self) -> None:
        self.by_topic: dict[int, list[Any]] = {}
        self.by_wish: dict[tuple[int, ...], list[Any]] = {}
        self._wishes: dict[Any, tuple[int, ...]] = {}

    def enter(self, connection: Any, command: str) -> tuple[int, ...]:
        """Note what a connection wants; return it."""
        wish = self._wishes[connection] = tuple(map(int, command.split(",")))
        for topic in wish:
            self.by_topic.setdefault(topic, []).append(connection)
        self.by_wish.setdefault(wish, []).append(connection)
        return wish

    def leave(self, connection: Any) -> None:
        """Forget a connection."""
        wish = self._wishes.pop(connection, ())
        for topic in wish:
            self.by_topic[topic].remove(connection)
        if wish:
            self.by_wish[wish].remove(connection)


class Player:
    """Plays a script to a room. `broadcast(name, connections, payload)` is what the library does best."""

    def __init__(
        self,
        room: Room,
        broadcast: Broadcast,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.port, script, self.mode = int(sys.argv[1]), sys.argv[2], sys.argv[3]
        self._segments = read(script)
        self._room = room
        self._broadcast = broadcast
        self._pause = pause
        self._asked = 0
        self._yielded_s = 0.0

    async def run(self) -> None:
        """Tell that the peer listens, and play whenever asked to."""
        signal.signal(signal.SIGUSR2, self._ask)
        print(f"listening on http://127.0.0.1:{self.port}/", flush=True)
        for segment in self._segments:
            while not self._asked:
                await self._pause(0.01)
            self._asked -= 1
            await self._play(segment)
            print("done", flush=True)
        while True:
            await self._pause(1)

    def _ask(self, *_: Any) -> None:
        self._asked += 1

    async def _play(self, segment: Segment) -> None:
        play = self._play_ticks if self.mode == "tick" else self._play_joined
        began = due = self._yielded_s = time.monotonic()
        for flush in segment.flushes:
            if time.monotonic() - began > segment.limit_s:
                return
            if segment.stamped:
                now = struct.pack(">Q", time.time_ns() // 1000)
                flush = [(topic, payload[:STAMP] + now + payload[STAMP + 8 :]) for topic, payload in flush]
            await play(flush, began + segment.limit_s)
            due += segment.interval_s
            await self._pause(max(0.0, due - time.monotonic()))

    async def _play_ticks(self, flush: list[Entry], end_s: float) -> None:
        by_topic = self._room.by_topic
        for topic, payload in flush:
            await self._broadcast(f"topic {topic}", by_topic.get(topic, []), payload)
            if time.monotonic() - self._yielded_s > YIELD_S and await self._is_over(end_s):
                return

    async def _play_joined(self, flush: list[Entry], end_s: float) -> None:
        messages = [b""] * (1 + max((max(wish) for wish in self._room.by_wish), default=0))
        for topic, payload in flush:
            if topic < len(messages):
                messages[topic] = payload
        for number, (wish, connections) in enumerate(self._room.by_wish.items()):
            joined = b"".join(itemgetter(*wish)(messages)) if len(wish) > 1 else messages[wish[0]]
            if joined:
                await self._broadcast(f"wish {number}", connections, joined)
            if time.monotonic() - self._yielded_s > YIELD_S and await self._is_over(end_s):
                return

    async def _is_over(self, end_s: float) -> bool:
        await self._pause(0)
        self._yielded_s = time.monotonic()
        return self._yielded_s > end_s
