"""What journeys share: the rows of real files by the plainest reading there is, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"
BTCUSDT = DATA / "BTCUSDT-trades-2024-08-08.csv.gz"
IBM = DATA / "20131007_ibm_Trade_Tick.csv.gz"

Row = tuple[int, Decimal, Decimal]
"""A trade: UNIX nanoseconds, price, size."""


@dataclass(frozen=True)
class Recording:
    """A file of one symbol's trades, and what its text says."""

    path: Path
    symbol: str
    rows: list[Row]


def _trades_of(path: Path, row: Callable[[list[str]], Row]) -> list[Row]:
    with gzip.open(path, "rt", newline="") as lines:
        return [row(cells) for cells in csv.reader(lines)]


@pytest.fixture(scope="session")
def bitcoin() -> Recording:
    """Binance: id, price, quantity, quote quantity, UNIX milliseconds, …"""
    rows = _trades_of(BTCUSDT, lambda cells: (int(cells[4]) * 1_000_000, Decimal(cells[1]), Decimal(cells[2])))
    return Recording(BTCUSDT, "BTCUSDT", rows)


@pytest.fixture(scope="session")
def ibm() -> Recording:
    """Lean: milliseconds since midnight in New York, price in 1/10,000 dollar, size, …"""
    midnight = datetime(2013, 10, 7, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    start_ns = int(midnight.timestamp()) * 10**9
    rows = _trades_of(
        IBM, lambda cells: (start_ns + int(cells[0]) * 1_000_000, Decimal(cells[1]).scaleb(-4), Decimal(cells[2]))
    )
    return Recording(IBM, "IBM", rows)


class Cutter:
    """A TCP proxy for one client at a time, which cuts the connection after so many more bytes from the server."""

    def __init__(self, server_url: str) -> None:
        self._server = urlsplit(server_url)
        self._left: int | None = None
        self._passing: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self.url = ""
        self.cuts = 0

    def allow(self, size: int | None) -> None:
        """Let that many bytes through from now on, or all of them."""
        self._left = size

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Cutter]:
        proxy = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            proxy.close()
            for downstream in self._passing.values():
                downstream.transport.abort()
            while self._passing:
                await asyncio.sleep(0)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(self._server.hostname, self._server.port)
        self._passing[asyncio.current_task()] = downstream
        up = asyncio.create_task(_copy(reader, downstream))
        try:
            while data := await upstream.read(65536):
                if self._left is not None and len(data) >= self._left:
                    writer.write(data[: self._left])
                    self._left = None
                    self.cuts += 1
                    break
                if self._left is not None:
                    self._left -= len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            up.cancel()
            downstream.transport.abort()
            writer.close()
            del self._passing[asyncio.current_task()]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@pytest.fixture
def chance() -> Iterator[random.Random]:
    """Return a seeded source of chance; the seed is printed where a test fails (pytest shows the output then)."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)
