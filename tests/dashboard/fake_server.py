"""A server whose every word a test decides: the page's files, and a stream written from docs/protocol.md alone.

Rows are kept as they are traded, and summaries computed from them when asked for. Nothing of the product is used but
the page itself: messages are plain msgpack.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgpack
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

import dashboard

DAY_S = 86_400
STARTS_NS = 1_795_435_205 * 10**9
"""2026-11-23 12:00:05 UTC."""
SHORTER = (1, 5, 60, 3600)
SUMMARY = ("time", "open", "high", "low", "close", "volume", "notional", "count")
COLUMNS = {
    ("trades", "all"): ("time", "price", "size"),
    ("trades", "conflated"): SUMMARY,
    ("quotes", "all"): ("time", "bid_price", "bid_size", "ask_price", "ask_size"),
    ("quotes", "conflated"): ("time", "bid_price", "bid_size", "ask_price", "ask_size", "count"),
    ("bars", "conflated"): SUMMARY,
}


def whole(text: str, scale: int) -> int:
    """Return a decimal text as a whole number at a scale that holds it."""
    number = Decimal(text).scaleb(scale)
    assert number == int(number), f"{text} has more than {scale} decimals"
    return int(number)


def summary(trades: Sequence[tuple[int, int, int]]) -> list[int]:
    """Return the summary of trades (time, price, size), as section 7 defines it."""
    prices = [price for _, price, _ in trades]
    return [
        trades[-1][0],
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(size for _, _, size in trades),
        sum(price * size for _, price, size in trades),
        len(trades),
    ]


def data_message(channel: int, seq: int, rows: Sequence[Sequence[int]]) -> bytes:
    """Return rows as a data message: the least value of each column as base, offsets of eight bytes or none."""
    message: list[Any] = [channel, seq, len(rows)]
    for column in zip(*rows, strict=True):
        base = min(column)
        offsets = b"".join((value - base).to_bytes(8, "little") for value in column)
        message += [base, offsets if any(offsets) else b""]
    return msgpack.packb(message)


class FakeServer:
    """Serves the page and a market in which happens only what `trade`, `quote` and `bar` say.

    `commands` are all that clients said, `connections` those that are open. `scale` is that of the prices, or of each
    symbol's. Who has none of the `tokens`, where there are any, gets nothing; `forbidden` symbols nobody gets.
    """

    def __init__(
        self,
        symbols: Iterable[str] = ("AAPL", "MSFT"),
        *,
        kinds: Sequence[str] = ("trades", "quotes", "bars"),
        scale: int | dict[str, int] = 2,
        size_scale: int = 0,
        time_scale: int = 6,
        epoch: str = "first",
        clock: dict[str, Any] | None = None,
        port: int = 0,
        tokens: Iterable[str] = (),
        forbidden: Iterable[str] = (),
    ) -> None:
        self._started_ns = time.monotonic_ns()
        self.tokens = set(tokens)
        self.forbidden = set(forbidden)
        self.symbols = list(symbols)
        self.kinds = list(kinds)
        self.scale = scale
        self.scales = {"size": size_scale, "time": time_scale}
        self.epoch = epoch
        self.clock = clock
        self.state = "live"
        self.commands: list[dict[str, Any]] = []
        self.connections: list[Stream] = []
        self.accepted = 0
        self._trades: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        self._quotes: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        self._bars: dict[str, list[list[int]]] = defaultdict(list)
        self._numbers: dict[tuple[str, str, str], int] = {}
        routes: list[Any] = [("/stream", Stream, {"market": self}), ("/empty", EmptyPage)]
        routes += [(path, PageFile, {"file": file}) for path, file in dashboard.files().items()]
        self._server = HTTPServer(Application(routes))
        if port:
            self._server.listen(port, "127.0.0.1")
            self.port = port
        else:
            socket, self.port = bind_unused_port()
            self._server.add_sockets([socket])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def is_followed(self) -> bool:
        """Whether somebody has subscribed all kinds that there are."""
        return any({kind for kind, _ in each.modes} >= set(self.kinds) for each in self.connections)

    def cut(self) -> None:
        """Cut all connections off without a word."""
        for connection in list(self.connections):
            connection.ws_connection.stream.close()  # type: ignore[union-attr]

    def say(self, message: dict[str, Any]) -> None:
        self.send(msgpack.packb(message))

    def send(self, message: bytes) -> None:
        """Send bytes, whatever they are, to all."""
        for connection in self.connections:
            connection.deliver(message)

    async def stop(self) -> None:
        self.cut()
        self._server.stop()
        await self._server.close_all_connections()

    def now_ns(self) -> int:
        """Return the time of this server's clock, which starts five seconds past noon: far from where a bar ends."""
        return STARTS_NS + time.monotonic_ns() - self._started_ns

    def let_pass(self, hours: float) -> None:
        """Move this server's clock on."""
        self._started_ns -= round(hours * 3600 * 10**9)

    def now(self) -> int:
        """Return the time in the unit of the rows."""
        return self.now_ns() // 10 ** (9 - self.scales["time"])

    def trade(self, symbol: str, price: str, size: str = "100", *, at: int | None = None) -> None:
        self.put(symbol, price, size, at=self.now() if at is None else at)
        row = self._trades[symbol][-1]
        self._send_rows("trades", symbol, len(self._trades[symbol]) - 1, summary([row]), list(row))
        if "bars" in self.kinds:
            self._send_bar(symbol)
            for interval in SHORTER:
                bars = self._short_bars(symbol, interval)
                self._send_rows(f"bars {interval}", symbol, len(bars) - 1, bars[-1], bars[-1])

    def put(self, symbol: str, price: str, size: str = "100", *, at: int) -> None:
        """Have had a trade that nobody is told of."""
        row = (at, self._price(symbol, price), whole(size, self.scales["size"]))
        self._trades[symbol].append(row)
        self._extend_bar(symbol, row)

    def quote(self, symbol: str, bid: str, ask: str, *, at: int | None = None) -> None:
        row = (self.now() if at is None else at, self._price(symbol, bid), 100, self._price(symbol, ask), 200)
        self._quotes[symbol].append(row)
        self._send_rows("quotes", symbol, len(self._quotes[symbol]) - 1, [*row, 1], list(row))

    def bar(self, symbol: str, open_: str, high: str, low: str, close: str, volume: str = "1000") -> None:
        """Set the running bar of the day."""
        start = self._start_of(self.now())
        prices = [self._price(symbol, price) for price in (open_, high, low, close)]
        self._bars[symbol] = [[start, *prices, whole(volume, self.scales["size"]), 0, 0]]
        self._send_bar(symbol)

    def _price_scale(self, symbol: str) -> int:
        return self.scale if isinstance(self.scale, int) else self.scale[symbol]

    def _price(self, symbol: str, text: str) -> int:
        return whole(text, self._price_scale(symbol))

    def _start_of(self, at: int, interval: int = DAY_S) -> int:
        width = interval * 10 ** self.scales["time"]
        return at // width * width

    def _short_bars(self, symbol: str, interval: int) -> list[list[int]]:
        parts = itertools.groupby(self._trades[symbol], lambda row: self._start_of(row[0], interval))
        return [[start, *summary(list(rows))[1:]] for start, rows in parts]

    def _extend_bar(self, symbol: str, row: tuple[int, int, int]) -> None:
        start = self._start_of(row[0])
        bars = self._bars[symbol]
        _, price, size = row
        if not bars or bars[-1][0] != start:
            bars.append([start, price, price, price, price, 0, 0, 0])
        _, open_, high, low, _, volume, notional, count = bars[-1]
        bars[-1] = [
            start,
            open_,
            max(high, price),
            min(low, price),
            price,
            volume + size,
            notional + price * size,
            count + 1,
        ]

    def _send_bar(self, symbol: str) -> None:
        bars = self._bars[symbol]
        self._send_rows("bars", symbol, len(bars) - 1, bars[-1], bars[-1])

    def _send_rows(self, kind: str, symbol: str, seq: int, conflated: list[int], plain: list[int]) -> None:
        for connection in self.connections:
            mode = connection.mode(kind, symbol)
            if mode is not None:
                row = conflated if mode == "conflated" else plain
                connection.send_rows(self.number(kind, symbol, mode), seq, [row], count=1)

    def number(self, kind: str, symbol: str, mode: str) -> int:
        return self._numbers.setdefault((kind, symbol, mode), len(self._numbers))

    def scale_of(self, symbol: str, column: str) -> int:
        if column == "time":
            return self.scales["time"]
        if column == "count":
            return 0
        if column == "notional":
            return self._price_scale(symbol) + self.scales["size"]
        return self.scales["size"] if column == "volume" or column.endswith("size") else self._price_scale(symbol)

    def descriptor(
        self, kind: str, symbol: str, mode: str, since: int | None
    ) -> tuple[dict[str, Any], list[list[int]]]:
        """Return what `subscribed` says of a channel, and the row of a resume, if there is one."""
        kind, _, interval = kind.partition(" ")
        if interval:
            rows: Any = self._short_bars(symbol, int(interval))
        else:
            rows = {"trades": self._trades, "quotes": self._quotes, "bars": self._bars}[kind][symbol]
        next_ = max(0, len(rows) - 1) if kind == "bars" else len(rows)
        resumed = since is not None and since < next_
        seq = since if resumed else next_
        before: Any = rows[-1:] if kind == "bars" else rows[:seq]
        descriptor = {
            "channel": self.number(f"{kind} {interval}".strip(), symbol, mode),
            "kind": kind,
            "symbol": symbol,
            "mode": mode,
            "seq": seq,
            "missed": 0,
            "columns": [[column, self.scale_of(symbol, column)] for column in COLUMNS[kind, mode]],
            "snapshot": None if not before else summary(before) if kind == "trades" else list(before[-1]),
        }
        if kind == "bars":
            descriptor["interval_s"] = int(interval or DAY_S)
        if not resumed:
            return descriptor, []
        missed = rows[seq:]
        if mode == "all" or kind == "bars":
            return descriptor, [list(row) for row in missed]
        return descriptor, [summary(missed) if kind == "trades" else [*missed[-1], len(missed)]]


class EmptyPage(RequestHandler):
    """A page of the same origin for tests of single modules."""

    def get(self) -> None:
        self.write('<!doctype html><title>empty</title><link rel="icon" href="/static/icon.svg">')


class PageFile(RequestHandler):
    def initialize(self, file: dashboard.File) -> None:
        self.file = file

    def get(self) -> None:
        for name, value in dashboard.HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Type", self.file.content_type)
        self.set_header("Cache-Control", self.file.cache_control)
        self.write(self.file.body)


class Stream(WebSocketHandler):
    def initialize(self, market: FakeServer) -> None:
        self.market = market
        self.rows = 0
        self.modes: dict[tuple[str, str], str] = {}
        self.is_let_in = not market.tokens

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        assert "ticker.v1.msgpack" in subprotocols
        return "ticker.v1.msgpack"

    def open(self, *_: str, **__: str) -> None:
        market = self.market
        market.accepted += 1
        market.connections.append(self)
        self.say(
            type="welcome",
            protocol=1,
            server="fake",
            epoch=market.epoch,
            time=market.now_ns(),
            feed="fake",
            kinds=market.kinds,
            intervals=[*SHORTER, DAY_S] if "bars" in market.kinds else [],
            auth=bool(market.tokens),
            clock=market.clock,
            heartbeat_s=10,
            limits={"message_bytes": 262_144, "channels": 100_000, "commands_per_s": 50},
        )

    def on_close(self) -> None:
        self.market.connections.remove(self)

    def on_message(self, message: str | bytes) -> None:
        command = msgpack.unpackb(message)
        self.market.commands.append(command)
        if command["op"] == "ping":
            self.say(type="pong", id=command["id"], time=self.market.now_ns(), rows=self.rows)
        elif command["op"] == "auth":
            self.authenticate(command)
        elif not self.is_let_in:
            self.say(type="error", id=command["id"], code="unauthenticated", message="a token is needed")
        elif command["op"] == "subscribe":
            self.subscribe(command)
        elif command["op"] == "unsubscribe":
            self.unsubscribe(command)

    def authenticate(self, command: dict[str, Any]) -> None:
        self.is_let_in = command["token"] in self.market.tokens
        if self.is_let_in:
            self.say(type="authenticated", id=command["id"])
        else:
            self.say(type="error", id=command["id"], code="unauthenticated", message="no such token")
            self.close(4001)

    def say(self, **message: Any) -> None:
        self.deliver(msgpack.packb(message))

    def deliver(self, message: Any) -> None:
        """Send a binary message; a page that has just gone misses it."""
        try:
            self.write_message(message, binary=True).add_done_callback(lambda sent: sent.exception())
        except WebSocketClosedError:
            pass

    def send_rows(self, channel: int, seq: int, rows: list[list[int]], count: int) -> None:
        self.rows += count
        self.deliver(data_message(channel, seq, rows))

    def mode(self, kind: str, symbol: str) -> str | None:
        return self.modes.get((kind, symbol)) or self.modes.get((kind, "*"))

    def subscribe(self, command: dict[str, Any]) -> None:
        market, kind, mode = self.market, command.get("kind", "trades"), command.get("mode", "all")
        assert kind in market.kinds
        if kind == "bars" and command["interval_s"] != DAY_S:
            kind = f"bars {command['interval_s']}"
        named = market.symbols if command["symbols"] == ["*"] else command["symbols"]
        symbols = [symbol for symbol in named if symbol in market.symbols and symbol not in market.forbidden]
        refused = [
            {"symbol": symbol, "code": "forbidden" if symbol in market.forbidden else "unknown_symbol"}
            for symbol in command["symbols"]
            if symbol not in symbols and symbol != "*"
        ]
        self.modes.update({(kind, symbol): mode for symbol in command["symbols"] if symbol == "*" or symbol in symbols})
        since = command.get("since", {}) if command.get("epoch") == market.epoch else {}
        described = [(symbol, *market.descriptor(kind, symbol, mode, since.get(symbol))) for symbol in symbols]
        descriptors = [descriptor for _, descriptor, _ in described]
        self.say(type="subscribed", id=command["id"], channels=descriptors[:1000], refused=refused)
        for descriptor in descriptors[1000:]:
            self.say(type="channel", **descriptor)
        self.say(type="status", state=market.state, clock=market.clock)
        for symbol, descriptor, rows in described:
            if rows:
                count = rows[0][-1] if mode == "conflated" and not kind.startswith("bars") else len(rows)
                self.send_rows(market.number(kind, symbol, mode), descriptor["seq"], rows, count)

    def unsubscribe(self, command: dict[str, Any]) -> None:
        kind = command["kind"] if command["kind"] != "bars" else f"bars {command['interval_s']}"
        for symbol in command["symbols"]:
            for key in [(kind, symbol)] if symbol != "*" else [key for key in self.modes if key[0] == kind]:
                self.modes.pop(key, None)
        self.say(type="unsubscribed", id=command["id"], channels=[])
