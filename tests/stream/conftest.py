"""Builders for the tests of the stream room: a small real market, and clients whose sockets are lists of bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest

from tests.stream.reference import Reader, Row, Truth, frames
from ticker.broker.memory import MemoryBroker
from ticker.columns import Block, Ticks, offsets_of
from ticker.model import Channel, Instrument, Series
from ticker.protocol.codec import Codec
from ticker.protocol.native import MsgpackCodec
from ticker.protocol.text import JsonCodec
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import MIB, History
from ticker.stream.hub import SHARED_BYTES, Hub
from ticker.stream.market import Limits, Market
from ticker.stream.outbox import Outbox, Pressure, Totals
from ticker.stream.session import Session

EPOCH = "9f2c51d0"
START_S = 1_795_404_000
INSTRUMENTS = (Instrument("AAPL"), Instrument("BTC", price_scale=1, size_scale=3, time_scale=9), Instrument("MSFT"))
CODECS: tuple[Codec, ...] = (MsgpackCodec(), JsonCodec())
TRADES = Series("trades")
Run = tuple[int, int, int, Sequence[Row]]
"""A symbol's number, that of its first row, how many were lost directly before, and the rows."""


def block_of(number: int, runs: Sequence[Run], series: Series = TRADES) -> Block:
    """Return the block of a flush, with these runs."""
    symbols, seqs, missed, rows = zip(*runs, strict=True)
    return Block(
        series=series,
        epoch=EPOCH,
        number=number,
        symbols=np.array(symbols),
        offsets=offsets_of(np.array([len(run) for run in rows])),
        seqs=np.array(seqs),
        columns=tuple(np.array(column, np.int64) for column in zip(*(row for run in rows for row in run), strict=True)),
        missed=np.array(missed) if any(missed) else None,
    )


class Peer:
    """A client: a session whose socket takes as many frames as one lets it, and a Reader of what it took."""

    def __init__(self, world: World, codec: Codec, outbox_bytes: int) -> None:
        self._world = world
        self._codec = codec
        self._room: int | None = None
        self._ids = 0
        self.received: list[bytes] = []
        self.is_text = isinstance(codec, JsonCodec)
        self.reader = Reader(world.truth, EPOCH, self.is_text, world.market.limits.channels)
        self.outbox = Outbox(outbox_bytes, world.pressure, world.totals)
        self.outbox.write = self._write
        self.session = Session(world.market, codec, self.outbox, world.pressure, world.now_s)
        self.session.open()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The control messages that came."""
        return self.reader.messages

    @property
    def last(self) -> dict[str, Any]:
        """The last control message that came."""
        return self.reader.messages[-1]

    def say(self, command: Any) -> None:
        """Send a message that nobody checks the answer of."""
        data = json.dumps(command) if self.is_text else msgpack.packb(command)
        self.session.receive(data, self._world.now_s)

    def send(self, op: str, **fields: Any) -> None:
        """Send a good command; the reader checks its answer against the protocol."""
        self._ids += 1
        command = {"op": op, "id": self._ids, **fields}
        self.reader.expect(command)
        self.say(command)

    def subscribe(self, *symbols: str, **fields: Any) -> None:
        self.send("subscribe", symbols=list(symbols), **fields)

    def unsubscribe(self, *symbols: str, **fields: Any) -> None:
        self.send("unsubscribe", symbols=list(symbols), **fields)

    def block(self, room: int = 0) -> None:
        """Let the socket take only `room` more frames (but one at a time always)."""
        self._room = room

    def free(self, room: int | None = None) -> None:
        """Let the socket take `room` frames, or all, and go on as the server does."""
        self._room = room
        if self.outbox.blocked:
            self.outbox.drain()

    def catch_up(self) -> None:
        """Do what the server does as long as the socket is free."""
        while self.session.step():
            pass

    def _write(self, data: bytes, _taken: int = 0) -> int:
        taken = data
        if self._room is not None:
            parts, size = list(frames(data)), 0
            for _, payload in parts[: max(1, self._room)]:
                size += len(payload) + (2 if len(payload) < 126 else 4 if len(payload) < 65536 else 10)
            taken = data[:size]
            self.outbox.blocked = self._room < len(parts)
            self._room = max(0, self._room - len(parts))
        self.received.append(taken)
        self.reader.feed(taken)
        return len(taken)


class World:
    """A market with all its parts, and the Truth beside it. Time stands still until `advance`."""

    def __init__(
        self,
        instruments: Sequence[Instrument] = INSTRUMENTS,
        *,
        kinds: Sequence[str] = ("trades", "quotes", "bars"),
        intervals_s: Sequence[int] = (1, 5),
        emitted_s: Sequence[int] = (),
        ticks_mib: float = 256,
        age_s: float = 3600,
        bars_mib: float = 128,
        limits: Limits | None = None,
        heartbeat_s: float = 10.0,
        defers: bool = False,
        is_waited_for: bool = False,
        shared_bytes: int = SHARED_BYTES,
    ) -> None:
        series = [Series(kind) for kind in kinds if kind != "bars"]
        series += [Series("bars", interval_s) for interval_s in intervals_s if "bars" in kinds]
        self.now_s = 0.0
        self.feed_ns = START_S * 10**9
        self.truth = Truth(instruments, intervals_s)
        self.directory = Directory(EPOCH, series, instruments)
        folded_s = [interval_s for interval_s in intervals_s if interval_s not in emitted_s]
        bars = Bars(self.directory, folded_s if "bars" in kinds else ())
        self.history = History(self.directory, ticks_mib, age_s, bars_mib)
        self.hub = Hub(
            self.directory,
            self.history,
            bars,
            self._later,
            is_waited_for=is_waited_for,
            shared_bytes=shared_bytes,
        )
        self._defers = defers
        self._deferred: list[Callable[[], None]] = []
        self.pressure = Pressure()
        self.totals = Totals()
        self.broker = broker = MemoryBroker()
        broker.subscribe(self.truth.record_bars)
        broker.subscribe(lambda blocks: self.history.append(blocks, self.now_s))
        broker.subscribe(self.hub.publish)
        self.batcher = Batcher(self.directory, bars, broker.publish)
        self.market = Market(
            feed_name="test",
            version="1.0.0",
            directory=self.directory,
            history=self.history,
            bars=bars,
            hub=self.hub,
            now_ns=lambda: START_S * 10**9 + int(self.now_s * 1e9),
            feed_clock_ns=lambda: self.batcher.clock_ns,
            limits=limits or Limits(),
            heartbeat_s=heartbeat_s,
        )
        self.peers: list[Peer] = []

    def connect(self, codec: Codec = CODECS[0], outbox_bytes: int = 16 * MIB) -> Peer:
        """Return a new client."""
        peer = Peer(self, codec, outbox_bytes)
        self.peers.append(peer)
        return peer

    def advance(self, seconds: float) -> None:
        """Let time pass, on the feed's clock as on the server's."""
        self.now_s += seconds
        self.feed_ns += int(seconds * 1e9)

    def trade(self, symbol: str, price: int = 18931, size: int = 100) -> None:
        self._emit("trades", symbol, price, size)

    def quote(self, symbol: str, bid: int = 18930, bid_size: int = 300, ask: int = 18932, ask_size: int = 200) -> None:
        self._emit("quotes", symbol, bid, bid_size, ask, ask_size)

    def lose(self, kind: str, symbol: str, missed: int) -> None:
        """Lose rows of a channel before its next one."""
        self.truth.lose(Channel(kind, symbol), missed)
        self.batcher.gap(kind, symbol, missed)

    def flush(self) -> None:
        self.truth.flush()
        self.batcher.flush()
        self.hub.serve_late()

    def tell_time(self) -> None:
        """Let the feed tell its time, so that bars end."""
        self.batcher.time(self.feed_ns)

    def announce(self, instrument: Instrument) -> None:
        self.truth.instruments[instrument.symbol] = instrument
        numbers = self.batcher.announce([instrument])
        for peer in self.peers:
            if peer.session.closing is None:
                peer.reader.expect_announced(instrument.symbol)
                peer.session.announce(numbers)

    def do_deferred(self) -> bool:
        """Do what the hub left for later; return whether there was anything."""
        deferred, self._deferred = self._deferred, []
        for work in deferred:
            work()
        return bool(deferred)

    def conflate_all(self) -> None:
        """Let every interval end."""
        for interval_ms in self.hub.intervals_ms:
            self.hub.conflate(interval_ms)

    def settle_down(self) -> None:
        """Let every client read and catch up until nothing is left; hold what it read against the truth, and the books
        against each other."""
        self.flush()
        while self.do_deferred():
            pass
        for peer in self.peers:
            peer.free()
        self.hub.serve_late()
        while self.do_deferred():
            pass
        for peer in self.peers:
            peer.catch_up()
        self.conflate_all()
        while self.do_deferred():
            pass
        for peer in self.peers:
            if peer.session.closing is None:
                peer.send("ping")
            if peer.session.closing is None:  # still: it may hear only now that it is too slow
                peer.reader.check_complete()
        assert self.owed == 0
        assert self.totals.waiting == {peer.outbox for peer in self.peers if peer.outbox.queued + peer.outbox.owed}

    @property
    def owed(self) -> int:
        """What the books say is on its way."""
        done = self.totals
        return self.hub.ledger.due - done.delivered - done.merged - done.missed - done.abandoned

    def _later(self, work: Callable[[], None]) -> None:
        if self._defers:
            self._deferred.append(work)
        else:
            work()

    def _emit(self, kind: str, symbol: str, *values: int) -> None:
        time = self.feed_ns // 10 ** (9 - self.truth.instruments[symbol].time_scale)
        row: Row = (time, *values)
        self.truth.emit(Channel(kind, symbol), row)
        columns = tuple(np.array([value], np.int64) for value in row)
        self.batcher.emit(Ticks(kind, (symbol,), np.zeros(1, np.int64), columns))


def heartbeats_in(world: World, peer: Peer, seconds: int) -> int:
    """Let seconds pass as the server does; return how many heartbeats came."""
    before = len(peer.reader.of_type("heartbeat"))
    for _ in range(seconds):
        world.advance(1)
        peer.session.tick(world.now_s)
    return len(peer.reader.of_type("heartbeat")) - before


@pytest.fixture
def world() -> World:
    """Return a small market with ample history."""
    return World()


@pytest.fixture(params=CODECS, ids=("msgpack", "json"))
def peer(world: World, request: pytest.FixtureRequest) -> Peer:
    """Return a client of that market, by each codec."""
    return world.connect(request.param)


@pytest.fixture
def shelf_sizes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return `shelf_sizes(rows, flushes, slice_rows)`, which makes the history join and slice at a few rows."""

    def change(rows: int = 8, flushes: int = 4, slice_rows: int = 5) -> None:
        monkeypatch.setattr("ticker.stream.shelf.SETTLED_ROWS", rows)
        monkeypatch.setattr("ticker.stream.shelf.SETTLED_FLUSHES", flushes)
        monkeypatch.setattr("ticker.stream.cursor.SLICE_ROWS", slice_rows)

    return change
