"""Whether what arrives is what the Tape says, for all clients of a trial together: values, and names of channels.

A message goes to many clients, with the same bytes: it is decoded and compared once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np
from tape import NOTIONAL_SCALE, PRICE_SCALE, SIZE_SCALE, TIME_SCALE, Ints, Tape, summary

COLUMNS = {
    ("trades", "all"): ("time", "price", "size"),
    ("quotes", "all"): ("time", "bid_price", "bid_size", "ask_price", "ask_size"),
    ("trades", "conflated"): ("time", "open", "high", "low", "close", "volume", "notional", "count"),
    ("quotes", "conflated"): ("time", "bid_price", "bid_size", "ask_price", "ask_size", "count"),
    ("bars", "all"): ("time", "open", "high", "low", "close", "volume", "notional", "count"),
    ("bars", "conflated"): ("time", "open", "high", "low", "close", "volume", "notional", "count"),
}
"""Section 3 of docs/protocol.md."""
SUMMARY = COLUMNS["trades", "conflated"]
SCALES = {"time": TIME_SCALE, "size": SIZE_SCALE, "volume": SIZE_SCALE, "notional": NOTIONAL_SCALE, "count": 0}
SCALES |= {"bid_size": SIZE_SCALE, "ask_size": SIZE_SCALE}
REMEMBERED = 50_000
TOLD = 20


class Violations:
    """What was found to be wrong."""

    def __init__(self) -> None:
        self.count = 0
        self.told: list[str] = []
        """The first of them, in words."""
        self.kinds: Counter[str] = Counter()

    def add(self, kind: str, words: str) -> None:
        """Count one of a kind."""
        self.count += 1
        self.kinds[kind] += 1
        if len(self.told) < TOLD:
            self.told.append(f"{kind}: {words}")


class Channel(NamedTuple):
    """What a channel's integer stands for, in this epoch, for everyone. `interval_s` is 0 but for bars."""

    kind: str
    interval_s: int
    symbol: int
    mode: str

    @property
    def series(self) -> tuple[str, int, int]:
        """The channel, whatever its mode."""
        return self[:3]


class Rows(NamedTuple):
    """A data message: channel, seq of its first row, how many rows it has and how many these stand for."""

    channel: int
    seq: int
    n: int
    stands_for: int


class Oracle:
    """Knows the tape; has what arrives compared with it."""

    def __init__(self, tape: Tape, violations: Violations) -> None:
        self.tape = tape
        self.violations = violations
        self.channels: dict[int, Channel] = {}
        self.epoch = ""
        self.values = 0
        """Numbers compared so far."""
        self._symbols = {name: number for number, name in enumerate(tape.names)}
        self._columns: dict[tuple[str, int], tuple[Ints, ...]] = {}
        self._seen: dict[bytes, Rows | dict[str, Any]] = {}
        self.bars: dict[tuple[str, int, int], dict[int, tuple[int, ...]]] = {}
        """Bars that have ended, as the first client got them: by series and seq."""
        self.running: dict[tuple[str, int, int], set[tuple[int, tuple[int, ...]]]] = {}
        """Bars that ran, with their seq, as they were told to someone."""

    def rows(self, kind: str, symbol: int, first: int, end: int) -> tuple[Ints, ...]:
        """Return rows of a channel of trades or quotes as the tape has them."""
        columns = self._columns.get((kind, symbol))
        if columns is None or len(columns[0]) < end:
            columns = self._columns[kind, symbol] = self.tape.rows(kind, symbol, 0, max(1024, 2 * end))
        return tuple(column[first:end] for column in columns)

    def symbol(self, name: str) -> int:
        """Return the number of a symbol."""
        return self._symbols[name]

    def seq_at(self, kind: str, symbol: int, time_us: int) -> int:
        """Return the number of the row that happened then; no two rows of a channel have the same time."""
        end = 1024
        while int(self.rows(kind, symbol, 0, end)[0][-1]) < time_us:
            end *= 2
        return int(np.searchsorted(self.rows(kind, symbol, 0, end)[0], time_us))

    def welcome(self, message: Mapping[str, Any]) -> None:
        """Look at a welcome: the epoch must be the one of all others."""
        self.epoch = self.epoch or message["epoch"]
        if message["epoch"] != self.epoch:
            self.violations.add("epoch", f"{message['epoch']} after {self.epoch}")

    def describe(self, described: Mapping[str, Any], is_json: bool) -> int:
        """Look at a channel's description, its snapshot above all; return the channel's integer."""
        kind, mode = described["kind"], described["mode"]
        channel = Channel(kind, described.get("interval_s", 0), self._symbols[described["symbol"]], mode)
        number: int = described["channel"]
        if self.channels.setdefault(number, channel) != channel:
            self.violations.add("channel", f"{number} is {channel} and {self.channels[number]}")
        expected = [[name, SCALES.get(name, PRICE_SCALE)] for name in COLUMNS[kind, mode]]
        if described["columns"] != expected:
            self.violations.add("columns", f"{described['columns']} of {channel}")
        if kind != "bars" and described["seq"] is not None:
            self._compare_snapshot(channel, described, is_json)
        return number

    def take(self, payload: bytes, is_json: bool) -> Rows | dict[str, Any]:
        """Return a message, compared with the tape if it is one of data."""
        known = self._seen.get(payload)
        if known is not None:
            return known
        message = json.loads(payload) if is_json else msgpack.unpackb(payload)
        if isinstance(message, dict) and message["type"] not in ("trades", "quotes", "bars"):
            return message
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        rows = self._seen[payload] = self._data(message)
        return rows

    def _data(self, message: Any) -> Rows:
        number, seq = message[:2] if isinstance(message, list) else (message["channel"], message["seq"])
        channel = self.channels[number]
        names = COLUMNS[channel.kind, channel.mode]
        columns = _unpacked(message) if isinstance(message, list) else _from_text(message, names)
        n = len(columns[0])
        self.values += n * len(columns)
        if channel.kind == "bars":
            self._take_bars(channel, seq, columns)
            return Rows(number, seq, n, n)
        if channel.mode == "all":
            expected = self.rows(channel.kind, channel.symbol, seq, seq + n)
            self._compare(channel, seq, columns, expected)
            return Rows(number, seq, n, n)
        stands_for = int(columns[-1].sum())
        self._compare(channel, seq, columns, self._merged(channel, seq, columns[-1]))
        return Rows(number, seq, n, stands_for)

    def _compare(self, channel: Channel, seq: int, columns: Sequence[Ints], expected: Sequence[Ints]) -> None:
        for name, got, right in zip(COLUMNS[channel.kind, channel.mode], columns, expected, strict=True):
            if not np.array_equal(got, right):
                self.violations.add("value", f"{name} of {channel} from {seq}: {got[:4]} instead of {right[:4]}")

    def _merged(self, channel: Channel, seq: int, counts: Ints) -> list[Ints]:
        """Return the columns of updates that stand for so many rows each."""
        updates = []
        for count in counts.tolist():
            rows = self.rows(channel.kind, channel.symbol, seq, seq + count)
            is_trades = channel.kind == "trades"
            updates.append(summary(rows) if is_trades else (*(int(column[-1]) for column in rows), count))
            seq += count
        return list(np.array(updates, np.int64).T)

    def _compare_snapshot(self, channel: Channel, described: Mapping[str, Any], is_json: bool) -> None:
        snapshot, seq = described["snapshot"], described["seq"]
        if not seq:
            if snapshot is not None:
                self.violations.add("snapshot", f"of {channel} before the first row: {snapshot}")
            return
        names = SUMMARY if channel.kind == "trades" else COLUMNS["quotes", "all"]
        if channel.kind == "trades":
            expected = summary(self.rows("trades", channel.symbol, 0, seq))
        else:
            expected = tuple(int(column[0]) for column in self.rows("quotes", channel.symbol, seq - 1, seq))
        if is_json and snapshot is not None:
            got = tuple(int(column[0]) for column in _from_text({name: [snapshot[name]] for name in names}, names))
        else:
            got = snapshot and tuple(snapshot)
        self.values += len(expected)
        if got != expected:
            self.violations.add("snapshot", f"of {channel} at {seq}: {got} instead of {expected}")

    def _take_bars(self, channel: Channel, seq: int, columns: Sequence[Ints]) -> None:
        """Note bars: what is told of a running one is compared when it has ended."""
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        if channel.mode == "conflated":
            self.running.setdefault(channel.series, set()).update((seq + nth, row) for nth, row in enumerate(rows))
            return
        ended = self.bars.setdefault(channel.series, {})
        for nth, row in enumerate(rows, seq):
            if ended.setdefault(nth, row) != row:
                self.violations.add("bar", f"{nth} of {channel} is {row} and {ended[nth]}")

    def compare_bars(self, series: tuple[str, int, int]) -> int:
        """Compare the bars of a series, of which someone must have got all that have ended, and what was told of them
        while they ran; return how many trades lie in bars that have ended.

        A trade that comes too late for its bar counts in a later one; so the bars divide the trades, in their order.
        """
        _, interval_s, symbol = series
        ended, first, firsts = self.bars.get(series, {}), 0, []
        before_us = -1
        for seq in range(len(ended)):
            if seq not in ended:
                self.violations.add("bar", f"{seq} of {series} did not come")
                return first
            row = ended[seq]
            rows = self.rows("trades", symbol, first, first + row[-1])
            starts = rows[0] - rows[0] % (interval_s * 1_000_000)
            if row[1:] != summary(rows)[1:] or row[0] != int(starts[-1]) or (starts > row[0]).any():
                self.violations.add("bar", f"{seq} of {series}: {row} instead of {summary(rows)}")
            if row[0] <= before_us:
                self.violations.add("bar", f"{seq} of {series} begins at {row[0]}, after {before_us}")
            firsts.append(first)
            before_us, first = row[0], first + row[-1]
        for seq, row in self.running.get(series, ()):
            start = firsts[seq] if seq < len(firsts) else first
            begins_else = seq in ended and row[0] != ended[seq][0]
            if (
                seq > len(firsts)
                or begins_else
                or row[1:] != summary(self.rows("trades", symbol, start, start + row[-1]))[1:]
            ):
                self.violations.add("bar", f"{seq} of {series} while it ran: {row}")
        return first


def _unpacked(message: Sequence[Any]) -> list[Ints]:
    """Return the columns of a msgpack data message (docs/protocol.md, section 3)."""
    n = message[2]
    pairs = zip(message[3::2], message[4::2], strict=True)
    return [
        np.full(n, base, np.int64)
        if not offsets
        else (base + np.frombuffer(offsets, f"<u{len(offsets) // n}").astype(np.int64))
        for base, offsets in pairs
    ]


def _from_text(message: Mapping[str, Any], names: Sequence[str]) -> list[Ints]:
    """Return the columns of a JSON data message as whole numbers; -1 for a number that has too many digits."""
    columns = []
    for name in names:
        if name == "time":
            columns.append(np.array([text[:-1] for text in message[name]], "M8[us]").astype(np.int64))
            continue
        unit = 10 ** SCALES.get(name, PRICE_SCALE)
        values = np.array(message[name], np.float64)
        whole = np.rint(values * unit)
        columns.append(np.where(whole / unit == values, whole, -1).astype(np.int64))
    return columns
