"""Clients that join, leave, change their minds and stall at random, and keep their ledgers meanwhile."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from oracle import Oracle
from wire import CLOSE, PONG, BrokenStreamError, Inward, command, frame, request

PATIENCE_S = 300.0


class ClosedError(Exception):
    """The connection ended, with this close code; 1006 without any."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class GaveUpError(Exception):
    """Something that must come did not come."""


class Wanderer(ABC):
    """A client that does something at random, on average once in `busy_s`. What it did is counted in `did`.

    `produced(symbol)` is how many rows of each kind a symbol has in the end.
    """

    def __init__(
        self,
        name: str,
        port: int,
        codec: str,
        oracle: Oracle,
        chance: random.Random,
        busy_s: float,
        produced: Callable[[int], int],
    ) -> None:
        self.codec = codec
        self.name = f"{name} ({codec})"
        self.produced = produced
        self.did: Counter[str] = Counter()
        self.rows = 0
        """Rows that came, those that came merged counted each."""
        self._port = port
        self._oracle = oracle
        self._chance = chance
        self._busy_s = busy_s
        self._inward = Inward()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def wander(self, is_over: Callable[[], bool]) -> None:
        """Come, go and change until it is over; then stay."""
        while not is_over():
            try:
                if self._writer is None:
                    await self._connect()
                await self._read_for(self._chance.expovariate(1 / self._busy_s))
                await self._do_something()
            except ClosedError as closed:
                self._ended(closed.code)
            except GaveUpError:
                return
        if self._writer is None:
            await self._connect()

    @abstractmethod
    async def settle(self) -> None:
        """Get all that is still to come, and close the ledger."""

    @abstractmethod
    async def _greet(self) -> None:
        """Do what comes after the handshake."""

    @abstractmethod
    async def _do_something(self) -> None:
        """Do something by chance."""

    @abstractmethod
    def _take(self, payload: bytes) -> Any:
        """Take a message; return what is an answer, None if it is data."""

    def leave(self, how: str) -> None:
        """End the connection: `close` says so, `fin` and `rst` just do."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self.did[f"left by {how}"] += 1
        if how == "close":
            writer.write(frame(CLOSE, struct.pack("!H", 1000)))
            writer.close()
            return
        if how == "rst":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def _connect(self) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if self._chance.random() < 0.3:  # one whose stalls the server soon feels
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        self._reader, self._writer = await asyncio.open_connection(sock=sock)
        self._inward = Inward()
        self.did["joined"] += 1
        self._writer.write(request(self._port, self.codec))
        await self._greet()

    def _ended(self, code: int) -> None:
        self.did[f"closed with {code}"] += 1
        if code != 4008:
            self._oracle.violations.add("closed", f"with {code}")
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    async def _read_for(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._read()
        except TimeoutError:
            pass

    async def _until(self, wanted: Callable[[Any], bool]) -> Any:
        """Read until an answer is wanted; return it."""

        async def read_until() -> Any:
            while True:
                for answer in await self._read():
                    if wanted(answer):
                        return answer

        return await self._within_patience(read_until(), "an answer")

    async def _within_patience(self, reading: Coroutine[Any, Any, Any], what: str) -> Any:
        """Await something; that it doesn't come is a violation, and ends the connection. Raises ClosedError."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await reading
        except TimeoutError:
            self._oracle.violations.add("missing", f"{self.name}: {what} did not come within {PATIENCE_S:g} s")
            self.leave("fin")
            raise GaveUpError from None

    async def _read(self) -> list[Any]:
        """Read once; return the answers. Raises ClosedError."""
        try:
            data = await self._reader.read(1 << 17)
        except ConnectionError:
            data = b""
        try:
            messages = self._inward.take(data)
        except BrokenStreamError as error:
            self._oracle.violations.add("stream", str(error))
            raise ClosedError(1006) from None
        answers = [answer for payload in messages if (answer := self._take(payload)) is not None]
        if self._inward.pings and self._writer is not None:
            self._writer.write(self._inward.pings * frame(PONG))
            self._inward.pings = 0
        if not data or self._inward.close_code is not None:
            raise ClosedError(self._inward.close_code or 1006)
        return answers

    def _send(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(command(self.codec, message))
