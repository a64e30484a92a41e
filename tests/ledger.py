"""A client's books, kept from what it is sent alone (docs/protocol.md): for each channel

    produced = delivered + merged + missed

`produced` counts the rows of the channel since its subscription began; a row is *delivered* if it came as a row of its
own, *merged* if it is in an update that stands for more than one (an update of n rows delivers one and merges n - 1),
*missed* if the server said that it cannot be had. Nothing here knows a socket: books are fed with decoded messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tests.wire import counts_of, is_data, n_of

MOST_TOLD = 20
"""Violations of one client that are kept in words; all are counted."""


class Key(NamedTuple):
    """A channel by name: `interval_s` is 0 for trades and quotes."""

    kind: str
    symbol: str
    interval_s: int = 0


@dataclass(slots=True)
class Account:
    """One channel of one client, over all its subscriptions and connections."""

    key: Key
    next: int = 0
    """The row that comes next; of conflated bars the one that is running."""
    first: int = 0
    """Where the present stretch began: the row asked for."""
    is_open: bool = False
    delivered: int = 0
    merged: int = 0
    missed: int = 0
    produced: int = 0
    """Rows of the stretches that have ended."""
    provisional: int = 0
    """Rows that a running bar came as, before or after the one that counts."""
    unknown: int = 0
    """How often the server could not say what was missed: another epoch."""
    stretches: int = 0
    seen: bool = False
    """Of conflated bars: whether the bar numbered `next` was here in some state."""
    time: Any = None
    """The last row's time."""

    def begin(self, first: int, seq: int) -> None:
        """Begin a stretch whose first row is wanted to be `first`, and is `seq`."""
        self.end()
        self.is_open, self.first, self.next = True, first, seq
        self.missed += seq - first
        self.seen, self.time = False, None
        self.stretches += 1

    def end(self) -> None:
        """End the stretch: nothing more is expected."""
        if self.is_open:
            self.produced += self.next - self.first
        self.is_open = False

    @property
    def balance(self) -> int:
        """What the equation lacks, with the rows received so far as those produced: 0."""
        running = self.next - self.first if self.is_open else 0
        return self.produced + running - self.delivered - self.merged - self.missed


@dataclass(slots=True)
class Books:
    """What one client has been sent, over several connections if it resumes.

    Call `connected` with each connection's welcome, `take` with each message behind it in the order of arrival, and
    `disconnected` when it has ended. `violations` stays 0.
    """

    name: str = "client"
    checks_times: bool = True
    accounts: dict[Key, Account] = field(default_factory=dict)
    violations: int = 0
    told: list[str] = field(default_factory=list)
    """The first violations, in words."""
    rows: int = 0
    """Rows on this connection, as `heartbeat` and `pong` count them."""
    proofs: int = 0
    """How often a heartbeat or a pong has confirmed `rows`."""
    epoch: str = ""
    _channels: dict[int, tuple[Account, str]] = field(default_factory=dict)
    _asked: dict[Key, int] = field(default_factory=dict)

    def connected(self, welcome: Mapping[str, Any]) -> None:
        """Begin a connection."""
        self.disconnected()
        self.epoch, self.rows = welcome["epoch"], 0

    def disconnected(self) -> None:
        """Expect nothing more of this connection; what was received stays counted."""
        self._channels.clear()
        self._asked.clear()
        for account in self.accounts.values():
            account.end()

    def since(self, kind: str, symbols: Iterable[str], interval_s: int = 0) -> dict[str, int]:
        """Return `since` for a subscribe that goes on where these channels stand, and expect to be answered so.

        To be called once the connection that asks has opened.
        """
        wanted = {}
        for symbol in symbols:
            account = self.accounts.get(Key(kind, symbol, interval_s))
            if account is not None and account.stretches:
                wanted[symbol] = self._asked[account.key] = account.next
        return wanted

    def take(self, message: Any) -> None:
        """Enter a message of the server."""
        if is_data(message):
            return self._enter(message)
        match message["type"]:
            case "subscribed":
                for description in message["channels"]:
                    self._describe(description)
            case "channel":
                self._describe(message)
            case "unsubscribed":
                for channel in message["channels"]:
                    self._close(channel)
            case "gap":
                self._skip(message)
            case "heartbeat" | "pong":
                self.proofs += 1
                self._expect(message["rows"] == self.rows, f"{message['rows']} rows were sent, {self.rows} came")
        return None

    def settle(self, key: Key, seq: int) -> None:
        """Check that a channel has got all rows before `seq`, and that its equation holds exactly."""
        account = self.accounts[key]
        if account.is_open and account.seen and account.next < seq:  # bars that were running are final now
            account.delivered += 1
            account.provisional -= 1
            account.next += 1
            account.seen = False
        if account.is_open:
            self._expect(account.next == seq, f"{key}: all before {account.next} came, but {seq} is the next row")
        self._expect(account.balance == 0, f"{key}: the equation lacks {account.balance} rows: {account}")

    @property
    def delivered(self) -> int:
        return sum(each.delivered for each in self.accounts.values())

    @property
    def merged(self) -> int:
        return sum(each.merged for each in self.accounts.values())

    @property
    def missed(self) -> int:
        return sum(each.missed for each in self.accounts.values())

    @property
    def provisional(self) -> int:
        return sum(each.provisional for each in self.accounts.values())

    def _describe(self, description: Mapping[str, Any]) -> None:
        key = Key(description["kind"], description["symbol"], description.get("interval_s", 0))
        account = self.accounts.setdefault(key, Account(key))
        self._channels = {n: each for n, each in self._channels.items() if each[0] is not account}
        seq, missed, asked = description["seq"], description["missed"], self._asked.pop(key, None)
        first = seq
        if missed is None:
            account.unknown += 1
        else:
            first = seq - missed
            if asked is None and account.is_open:
                self._finish_running(account, first)
                asked = account.next
            if asked is not None:
                self._expect(first == asked, f"{key}: asked for {asked}, answered {seq} with {missed} missed")
        account.begin(first, seq)
        self._channels[description["channel"]] = account, description["mode"]

    def _close(self, channel: int) -> None:
        known = self._channels.pop(channel, None)
        self._expect(known is not None, f"unsubscribed {channel}, which was not subscribed")
        if known is not None:
            known[0].end()

    def _skip(self, message: Mapping[str, Any]) -> None:
        known = self._channels.get(message["channel"])
        if not self._expect(known is not None, f"a gap of {message['channel']}, which is not subscribed"):
            return
        assert known is not None
        account, _ = known
        self._finish_running(account, message["seq"] - message["missed"])
        lost = message["seq"] - account.next
        self._expect(lost == message["missed"] > 0, f"{account.key}: a gap of {message['missed']}, not {lost}")
        account.missed += lost
        account.next = message["seq"]

    def _enter(self, message: Any) -> None:
        channel, seq = (message[0], message[1]) if isinstance(message, list) else (message["channel"], message["seq"])
        n = n_of(message)
        known = self._channels.get(channel)
        if known is None:
            return self._tell(f"rows of {channel}, which is not subscribed")
        account, mode = known
        if mode == "conflated" and account.key.kind == "bars":
            self.rows += n
            return self._enter_bars(account, seq, n)
        stands_for = n
        if mode == "conflated":
            counts = counts_of(message)
            stands_for = sum(counts)
            if min(counts) < 1:
                self._tell(f"{account.key}: a row that stands for {min(counts)}")
        self.rows += stands_for
        if seq != account.next:
            self._tell(f"{account.key}: row {seq} came where {account.next} was next")
        account.next = seq + stands_for
        account.delivered += n
        account.merged += stands_for - n
        if self.checks_times:
            self._check_times(account, seq, _times_of(message))
        return None

    def _check_times(self, account: Account, seq: int, times: Sequence[Any]) -> None:
        in_order = all(a <= b for a, b in pairwise(times)) and (account.time is None or account.time <= times[0])
        if not in_order:
            self._tell(f"{account.key}: times run backwards at row {seq}")
        account.time = times[-1]

    def _enter_bars(self, account: Account, seq: int, n: int) -> None:
        """Enter conflated bars: one that comes again under its number is running until the next number comes."""
        self._finish_running(account, seq)
        if seq != account.next:
            self._tell(f"{account.key}: bar {seq} came where {account.next} was next")
        account.next = seq + n - 1
        account.delivered += n - 1
        account.provisional += 1
        account.seen = True

    @staticmethod
    def _finish_running(account: Account, seq: int) -> None:
        """Count the running bar as delivered if `seq` is behind it: one of the rows that it came as was its last."""
        if account.seen and seq == account.next + 1:
            account.delivered += 1
            account.provisional -= 1
            account.next = seq
            account.seen = False

    def _expect(self, holds: bool, what: str) -> bool:
        if not holds:
            self._tell(what)
        return holds

    def _tell(self, what: str) -> None:
        self.violations += 1
        if len(self.told) < MOST_TOLD:
            self.told.append(f"{self.name}: {what}")


def _times_of(message: Any) -> Sequence[Any]:
    if isinstance(message, dict):
        return message["time"]
    _, _, n, base, offsets, *_ = message
    if not offsets:
        return [base]
    return (base + np.frombuffer(offsets, f"<u{len(offsets) // n}").astype(np.int64)).tolist()


Row = tuple[Any, ...]


@dataclass(slots=True)
class AlpacaBooks:
    """What one client of the Alpaca dialect has been sent (docs/alpaca.md).

    There are no numbers on that wire but the id of a trade, whose lower 32 bits are the row's number; quotes are told
    apart by their values. So the books keep the rows, and compare them with those of a native client in mode `all`.
    """

    name: str = "alpaca"
    trades: dict[str, list[Row]] = field(default_factory=dict)
    """By symbol: (row number, time, price, size)."""
    quotes: dict[str, list[Row]] = field(default_factory=dict)
    """By symbol: (time, bid price, bid size, ask price, ask size)."""

    def take(self, message: Sequence[Mapping[str, Any]]) -> None:
        """Enter a message of the server: an array of events."""
        for each in message:
            if each["T"] == "t":
                row = (each["i"] & 0xFFFF_FFFF, each["t"], each["p"], each["s"])
                self.trades.setdefault(each["S"], []).append(row)
            elif each["T"] == "q":
                quote = (each["t"], each["bp"], each["bs"], each["ap"], each["as"])
                self.quotes.setdefault(each["S"], []).append(quote)

    def holes(self) -> list[str]:
        """Return where the trades of a symbol do not follow each other by number."""
        return [
            f"{self.name}: {symbol}: trade {b[0]} came after {a[0]}"
            for symbol, rows in self.trades.items()
            for a, b in pairwise(rows)
            if b[0] != a[0] + 1
        ]


def is_run_of(rows: Sequence[Row], whole: Sequence[Row]) -> bool:
    """Tell whether rows stand together, in this order, somewhere in others: nothing lost, nothing twice in between."""
    if not rows:
        return True
    size = len(rows)
    return any(whole[i] == rows[0] and list(whole[i : i + size]) == list(rows) for i in range(len(whole) - size + 1))
