"""What a client may expect, told twice over without the code under test: a decoder written from docs/protocol.md, and a
slow model that keeps every row of every channel in plain lists."""

from __future__ import annotations

import datetime
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import msgpack

from ticker.columns import Block
from ticker.model import Channel, Instrument

Row = tuple[int, ...]

QUOTES = ("time", "bid_price", "bid_size", "ask_price", "ask_size")
SUMMARY = ("time", "open", "high", "low", "close", "volume", "notional", "count")
COLUMNS = {
    ("trades", "all"): ("time", "price", "size"),
    ("trades", "conflated"): SUMMARY,
    ("quotes", "all"): QUOTES,
    ("quotes", "conflated"): (*QUOTES, "count"),
    ("bars", "all"): SUMMARY,
    ("bars", "conflated"): SUMMARY,
}
EPOCH = datetime.datetime(1970, 1, 1)


def scale_of(instrument: Instrument, column: str) -> int:
    """Return the scale that docs/protocol.md gives a column."""
    if column == "time":
        return instrument.time_scale
    if column in ("volume", "size", "bid_size", "ask_size"):
        return instrument.size_scale
    if column == "notional":
        return instrument.price_scale + instrument.size_scale
    return 0 if column == "count" else instrument.price_scale


def frames(data: bytes) -> Iterator[tuple[bool, bytes]]:
    """Yield the WebSocket frames of a server (RFC 6455, section 5.2): whether it is text, and the payload."""
    at = 0
    while at < len(data):
        first, second = data[at], data[at + 1]
        assert first in (0x81, 0x82), "a final text or binary frame without extensions"
        assert second < 128, "servers don't mask"
        size, at = second, at + 2
        if size == 126:
            (size,) = struct.unpack_from("!H", data, at)
            at += 2
        elif size == 127:
            (size,) = struct.unpack_from("!Q", data, at)
            at += 8
        payload = data[at : at + size]
        assert len(payload) == size, "whole frames only"
        assert size <= 1 << 20, "the largest server message is 1 MiB"
        yield first == 0x81, payload
        at += size


def unpack_column(base: int | float, offsets: bytes, n: int) -> list[int | float]:
    """Return a column of a data message (protocol, section 5)."""
    if isinstance(base, float):
        return list(struct.unpack(f"<{n}d", offsets))
    width, rest = divmod(len(offsets), n)
    assert rest == 0
    assert width in (0, 1, 2, 4, 8)
    numbers = [int.from_bytes(offsets[i * width : (i + 1) * width], "little") for i in range(n)]
    return [(base + number + 2**63) % 2**64 - 2**63 for number in numbers]


def json_time(text: str, scale: int) -> int:
    """Return an RFC 3339 time in UTC as a whole number at `scale`, of which it must have all digits."""
    assert text.endswith("Z")
    whole, _, fraction = text[:-1].partition(".")
    assert len(fraction) == scale
    seconds = datetime.datetime.fromisoformat(whole) - EPOCH
    return (seconds.days * 86400 + seconds.seconds) * 10**scale + int(fraction)


def json_number(text: str, scale: int) -> int:
    """Return a plain decimal as a whole number at `scale`, of which it must not have more digits."""
    assert "e" not in text.lower()
    assert len(text.partition(".")[2]) <= scale
    return int(Decimal(text).scaleb(scale))


def summary(trades: Sequence[Row]) -> Row:
    """Return the summary of adjacent trades (protocol, section 7)."""
    prices = [price for _, price, _ in trades]
    volume = sum(size for _, _, size in trades)
    notional = sum(price * size for _, price, size in trades)
    return (trades[-1][0], prices[0], max(prices), min(prices), prices[-1], volume, notional, len(trades))


class Truth:
    """Every row of every channel. `rows[channel][seq]` is a row, None where it was lost before it came here."""

    def __init__(self, instruments: Sequence[Instrument], intervals_s: Sequence[int]) -> None:
        self.instruments = {each.symbol: each for each in instruments}
        self.intervals_s = intervals_s
        self.rows: dict[Channel, list[Row | None]] = {}
        self._pending: list[tuple[Channel, Row]] = []
        self._lost: Counter[Channel] = Counter()

    def emit(self, channel: Channel, row: Row) -> None:
        self._pending.append((channel, row))

    def lose(self, channel: Channel, missed: int) -> None:
        """Lose rows before the next one."""
        self.flush()
        self._lost[channel] += missed

    def flush(self) -> None:
        """Number what was emitted. What was lost is known when a row comes after it."""
        for channel, row in self._pending:
            rows = self.rows.setdefault(channel, [])
            rows += [None] * self._lost.pop(channel, 0)
            rows.append(row)
        self._pending.clear()

    def record_bars(self, blocks: Sequence[Block]) -> None:
        """Note the bars that have ended: what is right for bars has its own tests."""
        for block in blocks:
            if block.series.kind != "bars":
                continue
            columns = [column.tolist() for column in block.columns]
            symbols = list(self.instruments)
            for run, number in enumerate(block.symbols.tolist()):
                rows = self.rows.setdefault(Channel("bars", symbols[number], block.series.interval_s), [])
                assert block.seqs[run] == len(rows)
                for i in range(int(block.offsets[run]), int(block.offsets[run + 1])):
                    rows.append(tuple(column[i] for column in columns))

    def next_seq(self, channel: Channel) -> int:
        return len(self.rows.get(channel, ()))

    def between(self, channel: Channel, start: int, end: int) -> list[Row]:
        """Return the rows from `start` to before `end` that were not lost."""
        return [row for row in self.rows.get(channel, [])[start:end] if row is not None]

    def trades_of_bar(self, channel: Channel, seq: int) -> list[Row]:
        """Return the trades that came so far and are in no bar before this one."""
        trades = self.between(Channel("trades", channel.symbol), 0, 1 << 60)
        return trades[sum(bar[7] for bar in self.between(channel, 0, seq)) :]

    def running_bar(self, channel: Channel) -> Row | None:
        """Return the running bar; its time, which has its own tests, is left as its last trade's."""
        trades = self.trades_of_bar(channel, self.next_seq(channel))
        return summary(trades) if trades else None

    def state(self, channel: Channel, seq: int) -> Row | None:
        """Return the snapshot before `seq` of trades or quotes."""
        rows = self.between(channel, 0, seq)
        if not rows:
            return None
        return rows[-1] if channel.kind == "quotes" else summary(rows)


@dataclass
class Listening:
    """What a client knows of a channel that it is subscribed to."""

    channel: Channel
    integer: int
    mode: str
    expected: int
    scales: tuple[int, ...]
    updates: int = 0
    last_bar: Row | None = None  # conflated: the newest row, of the bar `expected`
    snapshot: Sequence[int] | None = None
    snapshot_seq: int = 0  # of bars: the number of the bar that ran then


@dataclass
class Wildcard:
    mode: str
    named: set[str]
    excluded: set[str] = field(default_factory=set)


class Reader:
    """A strict client: it reads bytes, follows docs/protocol.md, and holds each message against the truth.

    `expect` is told of each command when it is sent, and checks the answer when that comes.
    """

    def __init__(self, truth: Truth, epoch: str, is_text: bool, room: int = 100_000) -> None:
        self.truth = truth
        self.epoch = epoch
        self.is_text = is_text
        self.messages: list[dict[str, Any]] = []
        self.listening: dict[Channel, Listening] = {}
        self.rows = 0
        self.room = room
        self.wanted: dict[Channel, str] = {}
        self.wildcards: dict[tuple[str, int], Wildcard] = {}
        self._by_integer: dict[int, Listening] = {}
        self._answers: list[Callable[[dict[str, Any]], None]] = []
        self._status_is_due = False
        self._announced: list[Callable[[dict[str, Any]], None]] = []

    @property
    def awaits(self) -> int:
        """How many answers have not come."""
        return len(self._answers)

    def of_type(self, type: str) -> list[dict[str, Any]]:
        """Return the control messages of a type."""
        return [message for message in self.messages if message["type"] == type]

    def feed(self, data: bytes) -> None:
        """Read whole frames."""
        for is_text, payload in frames(data):
            assert is_text == self.is_text
            message = json.loads(payload, parse_float=str, parse_int=str) if is_text else msgpack.unpackb(payload)
            if isinstance(message, list):
                self._data(*self._from_array(message))
            elif message["type"] in ("trades", "quotes", "bars"):
                self._data(*self._from_map(message))
            else:
                self._control(_whole_numbers(message) if is_text else message)

    def expect(self, command: dict[str, Any]) -> None:
        """Note what the answer to a command must be, as things are now."""
        match command["op"]:
            case "subscribe":
                self._answers.append(self._expect_subscribed(command))
            case "unsubscribe":
                self._answers.append(self._expect_unsubscribed(command))
            case "ping":
                self._answers.append(self._expect_pong)

    def may_have(self, symbol: str) -> bool:
        """Tell whether a symbol is there."""
        return symbol in self.truth.instruments

    def expect_announced(self, symbol: str) -> None:
        """Note that a symbol has appeared."""
        for (kind, interval_s), wildcard in self.wildcards.items():
            channel = Channel(kind, symbol, interval_s)
            if symbol not in wildcard.excluded and len(self.wanted) < self.room:
                self.wanted[channel] = wildcard.mode
                self._announced.append(self._expect_new(channel, wildcard.mode))

    def _expect_new(self, channel: Channel, mode: str) -> Callable[[dict[str, Any]], None]:
        def check(description: dict[str, Any]) -> None:
            self._described(description, channel, mode)
            assert (description["seq"], description["missed"], description["snapshot"]) == (0, 0, None)

        return check

    # What comes.

    def _from_array(self, message: list[Any]) -> tuple[int, int, list[Row]]:
        integer, seq, n, *packed = message
        assert n >= 1
        assert integer in self._by_integer, "rows of a channel that isn't subscribed"
        columns = [unpack_column(base, offsets, n) for base, offsets in zip(packed[::2], packed[1::2], strict=True)]
        return integer, seq, list(zip(*columns, strict=True))

    def _from_map(self, message: dict[str, Any]) -> tuple[int, int, list[Row]]:
        integer = int(message["channel"])
        assert integer in self._by_integer, "rows of a channel that isn't subscribed"
        listening = self._by_integer[integer]
        channel = listening.channel
        assert (message["type"], message["symbol"]) == (channel.kind, channel.symbol)
        assert message.get("mode", "all") == listening.mode
        assert int(message.get("interval_s", 0)) == channel.interval_s
        columns = []
        for name, scale in zip(COLUMNS[channel.kind, listening.mode], listening.scales, strict=True):
            read = json_time if name == "time" else json_number
            columns.append([read(value, scale) for value in message[name]])
        return integer, int(message["seq"]), list(zip(*columns, strict=True))

    def _data(self, integer: int, seq: int, rows: list[Row]) -> None:
        assert not self._status_is_due
        listening = self._by_integer[integer]
        channel = listening.channel
        listening.updates += 1
        if listening.mode == "all":
            assert seq == listening.expected, channel
            assert rows == self.truth.rows[channel][seq : seq + len(rows)], channel
            listening.expected += len(rows)
            self.rows += len(rows)
        elif channel.kind == "bars":
            self._bars(listening, seq, rows)
            self.rows += len(rows)
        else:
            assert seq == listening.expected, channel
            for row in rows:
                merged = self.truth.rows[channel][listening.expected : listening.expected + row[-1]]
                assert None not in merged, "an update never spans a gap"
                assert row == (summary(merged) if channel.kind == "trades" else (*merged[-1], len(merged)))
                listening.expected += len(merged)
                self.rows += len(merged)

    def _bars(self, listening: Listening, seq: int, rows: list[Row]) -> None:
        channel, truth = listening.channel, self.truth
        if seq == listening.expected + 1:
            # The bar before was final, though nobody said so yet.
            assert listening.last_bar == truth.rows[channel][listening.expected]
        else:
            assert seq == listening.expected, channel
            if listening.last_bar is not None:
                assert rows[0][7] >= listening.last_bar[7]
        for row in rows[:-1]:
            assert row == truth.rows[channel][seq]
            seq += 1
        # The last may be as it was when it was sent: what some first trades of it amount to.
        assert rows[-1][1:] == summary(truth.trades_of_bar(channel, seq)[: rows[-1][7]])[1:]
        listening.expected, listening.last_bar = seq, rows[-1]

    def _control(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        type = message["type"]
        if self._status_is_due:
            assert type == "status"
            self._status_is_due = False
        match type:
            case "gap":
                listening = self._by_integer[message["channel"]]
                lost = self.truth.rows[listening.channel][listening.expected : message["seq"]]
                assert message["missed"] == len(lost)
                assert lost == [None] * len(lost)
                assert lost
                listening.expected = message["seq"]
            case "channel":
                self._announced.pop(0)(message)
            case "subscribed" | "unsubscribed" | "pong" | "error" if self._answers:
                self._answers.pop(0)(message)

    def _described(self, description: dict[str, Any], channel: Channel, mode: str) -> Listening:
        """Take in the description of a channel; its old integer is silent from here on."""
        assert (description["kind"], description["symbol"]) == (channel.kind, channel.symbol)
        assert description.get("interval_s", 0) == channel.interval_s
        assert description["mode"] == mode
        assert ("interval_ms" in description) == (mode == "conflated")
        instrument = self.truth.instruments[channel.symbol]
        names = COLUMNS[channel.kind, mode]
        assert description["columns"] == [[name, scale_of(instrument, name)] for name in names]
        self._forget(channel)
        scales = tuple(scale for _, scale in description["columns"])
        listening = Listening(channel, description["channel"], mode, description["seq"], scales)
        assert listening.integer not in self._by_integer
        self.listening[channel] = self._by_integer[listening.integer] = listening
        return listening

    def _forget(self, channel: Channel) -> Listening | None:
        before = self.listening.pop(channel, None)
        if before is not None:
            del self._by_integer[before.integer]
        return before

    # What must come.

    def _expect_subscribed(self, command: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
        kind, mode = command.get("kind", "trades"), command.get("mode", "all")
        series = (kind, command["interval_s"] if kind == "bars" else 0)
        symbols, refused = self._resolve(command["symbols"], series, mode)
        channels = [Channel(kind, symbol, series[1]) for symbol in symbols]
        is_named = command["symbols"] != ["*"]
        wildcard = self.wildcards.get(series)
        fitting = []
        for channel in channels:
            if channel not in self.wanted and len(self.wanted) >= self.room:
                refused.append({"symbol": channel.symbol, "code": "limit"})
                continue
            fitting.append(channel)
            self.wanted[channel] = mode
            if is_named and wildcard:
                wildcard.named.add(channel.symbol)
                wildcard.excluded.discard(channel.symbol)
        following = {channel: self.truth.next_seq(channel) for channel in fitting}
        running = {each: self.truth.running_bar(each) for each in fitting if kind == "bars" and mode == "conflated"}

        def check_description(channel: Channel, description: dict[str, Any]) -> None:
            before = self.listening.get(channel)
            self._described(description, channel, mode)
            self._check_position(command, channel, description, following[channel], before)
            self.listening[channel].snapshot_seq = following[channel]
            self._check_snapshot(channel, mode, description, running.get(channel))

        def check(answer: dict[str, Any]) -> None:
            assert answer["type"] == "subscribed", answer
            assert answer.get("id") == command.get("id")
            assert answer["refused"] == refused
            assert len(answer["channels"]) == min(len(fitting), 1000)
            described = [partial(check_description, channel) for channel in fitting]
            for description in answer["channels"]:
                described.pop(0)(description)
            self._announced[:0] = described  # the others are described by messages that follow
            self._status_is_due = True

        return check

    def _resolve(
        self, symbols: list[str], series: tuple[str, int], mode: str
    ) -> tuple[list[str], list[dict[str, str]]]:
        known = self.truth.instruments
        if symbols != ["*"]:
            distinct = list(dict.fromkeys(symbols))
            refused = [{"symbol": each, "code": "unknown_symbol"} for each in distinct if each not in known]
            return [each for each in distinct if each in known], refused
        if series in self.wildcards:
            named = self.wildcards[series].named
        else:
            named = {each.symbol for each in self.wanted if (each.kind, each.interval_s) == series}
        self.wildcards[series] = Wildcard(mode, set(named))
        return [each for each in known if each not in named], []

    def _check_position(
        self,
        command: dict[str, Any],
        channel: Channel,
        description: dict[str, Any],
        following: int,
        before: Listening | None,
    ) -> None:
        seq, missed = description["seq"], description["missed"]
        asked = command.get("since", {}).get(channel.symbol)
        if asked is not None and (command["epoch"] != self.epoch or asked > following):
            assert (seq, missed) == (following, None)
            return
        if asked is None and before is None:
            assert (seq, missed) == (following, 0)
            return
        if asked is None:
            # Subscribed again: it goes on where it was, be that in the history.
            asked = before.expected
            if before.last_bar is not None and asked < following:
                assert before.last_bar == self.truth.rows[channel][asked]
                asked += 1
        assert missed == seq - asked
        assert asked <= seq <= following

    def _check_snapshot(self, channel: Channel, mode: str, description: dict[str, Any], running: Row | None) -> None:
        found = description["snapshot"]
        if self.is_text and found is not None:
            scales = [(name, scale_of(self.truth.instruments[channel.symbol], name)) for name in found]
            found = [(json_time if name == "time" else json_number)(found[name], scale) for name, scale in scales]
        self.listening[channel].snapshot = found
        if channel.kind != "bars":
            wanted = self.truth.state(channel, description["seq"])
            assert found == (None if wanted is None else list(wanted)), channel
        elif mode == "all" or running is None:
            assert found is None
        else:
            assert found[1:] == list(running[1:])

    def _expect_unsubscribed(self, command: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
        kind = command.get("kind", "trades")
        intervals = [0] if kind != "bars" else [command["interval_s"]] if "interval_s" in command else None
        ended = []
        for interval_s in intervals or self.truth.intervals_s:
            series = (kind, interval_s)
            if command["symbols"] == ["*"]:
                self.wildcards.pop(series, None)
                gone = [each.symbol for each in self.wanted if (each.kind, each.interval_s) == series]
            else:
                gone = [symbol for symbol in command["symbols"] if symbol in self.truth.instruments]
                if wildcard := self.wildcards.get(series):
                    wildcard.named.difference_update(gone)
                    wildcard.excluded.update(each for each in command["symbols"] if not self.may_have(each))
            for symbol in gone:
                channel = Channel(kind, symbol, interval_s)
                if self.wanted.pop(channel, None):
                    ended.append(channel)

        def check(answer: dict[str, Any]) -> None:
            assert answer["type"] == "unsubscribed", answer
            assert sorted(answer["channels"]) == sorted(self.listening[channel].integer for channel in ended)
            for channel in ended:
                self._forget(channel)

        return check

    def _expect_pong(self, answer: dict[str, Any]) -> None:
        assert answer["type"] == "pong"
        assert answer["rows"] == self.rows

    # What must be there when all has been read.

    def check_complete(self) -> None:
        """Hold what was read against the truth, once nothing waits and every interval has ended."""
        assert not self._answers
        assert not self._announced
        assert {channel: each.mode for channel, each in self.listening.items()} == self.wanted
        for channel, listening in self.listening.items():
            following = self.truth.next_seq(channel)
            if channel.kind == "bars" and listening.mode == "conflated":
                self._check_newest_bar(listening, following)
            else:
                assert listening.expected == following, channel

    def _check_newest_bar(self, listening: Listening, following: int) -> None:
        """Check that a client knows how the newest bar, running or final, stands."""
        channel, known = listening.channel, listening.last_bar
        if known is None or (listening.expected == following - 1 and known == self.truth.rows[channel][-1]):
            assert listening.expected == following - (known is not None)
            # Nothing came of the bar that runs now, so it is as it was when it was described, or there is none.
            known = listening.snapshot if listening.snapshot_seq == following else None
        else:
            assert listening.expected == following
        running = self.truth.running_bar(channel)
        assert (known and list(known[1:])) == (running and list(running[1:])), channel


def _whole_numbers(value: Any) -> Any:
    """Return a control message with its whole numbers as such; snapshots stay text."""
    if isinstance(value, dict):
        return {key: each if key == "snapshot" else _whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, str) and value.isdecimal() else value
