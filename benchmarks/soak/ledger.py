"""One client's ledger, kept from docs/protocol.md alone: in each channel every row is delivered, merged, missed, or was
not asked for, in order, and the four add up to what was produced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oracle import Channel, Oracle, Rows

Series = tuple[str, int, int]


@dataclass(slots=True)
class Account:
    """A channel of one client, across its connections and modes, in rows."""

    next: int = 0
    """The row that must come next."""
    delivered: int = 0
    merged: int = 0
    """Rows that came as updates: the sum of their counts."""
    missed: int = 0
    """Rows that the server said cannot be had."""
    unasked: int = 0
    """Rows from before it was subscribed and from pauses that it did not resume after."""
    again: int = 0
    """Rows that it asked for a second time."""

    @property
    def adds_up(self) -> bool:
        return self.next == self.unasked + self.delivered + self.merged + self.missed - self.again


class Ledger:
    """What one client has been told. Its accounts outlive a connection; which integers are live doesn't."""

    def __init__(self, oracle: Oracle, name: str, is_json: bool = False) -> None:
        self._oracle = oracle
        self._violations = oracle.violations
        self._name = name
        self.is_json = is_json
        self.accounts: dict[Series, Account] = {}
        self._live: dict[int, Account] = {}
        self._integers: dict[Series, int] = {}
        self.rows = 0
        """Rows of this connection, as `heartbeat` and `pong` tell them."""
        self.status_is_due = False
        self._asked: dict[Any, Mapping[str, int]] = {}

    @property
    def live(self) -> Sequence[Series]:
        """What is subscribed now."""
        return list(self._integers)

    def connect(self) -> None:
        """Begin a connection: nothing is live yet."""
        self._live.clear()
        self._integers.clear()
        self.rows = 0
        self.status_is_due = False
        self._asked.clear()

    def resume(self, id: Any, since: Mapping[str, int]) -> None:
        """Note what the `subscribe` with this `id` asks for."""
        self._asked[id] = since

    def take(self, payload: bytes) -> Mapping[str, Any] | None:
        """Take a message; return it unless it is data."""
        message = self._oracle.take(payload, self.is_json)
        if isinstance(message, Rows):
            if self.status_is_due:
                self._wrong("status", "is not what follows `subscribed`")
            self._take_rows(message)
            return None
        if self.status_is_due and message["type"] != "status":
            self._wrong("status", f"a {message['type']} follows `subscribed`")
        self.status_is_due = message["type"] == "subscribed"
        match message["type"]:
            case "welcome":
                self._oracle.welcome(message)
            case "subscribed":
                since = self._asked.pop(message.get("id"), {})
                for described in message["channels"]:
                    self._subscribed(described, since)
                if message["refused"]:
                    self._wrong("refused", str(message["refused"]))
            case "channel":
                self._subscribed(message, {})
            case "unsubscribed":
                for integer in message["channels"]:
                    self._silence(integer)
            case "gap":
                self._gap(message)
            case "heartbeat" | "pong":
                if message["rows"] != self.rows:
                    self._wrong("rows", f"{message['type']} tells {message['rows']}, {self.rows} came")
            case "error":
                self._wrong("error", str(message))
        return message

    def silent(self, series: Series) -> bool:
        """Tell whether a channel is not live."""
        return series not in self._integers

    def _subscribed(self, described: Mapping[str, Any], since: Mapping[str, int]) -> None:
        integer = self._oracle.describe(described, self.is_json)
        series = self._oracle.channels[integer].series
        account, first = self.accounts.setdefault(series, Account()), described["seq"]
        asked, missed = since.get(described["symbol"]), described["missed"]
        if asked is not None:
            if missed is None or first - asked != missed or missed < 0:
                self._wrong("resume", f"{series} from {asked}: seq {first}, missed {missed}")
            account.missed += missed or 0
            account.again += max(0, account.next - asked)
            account.unasked += max(0, asked - account.next)
        elif self.silent(series):
            if first < account.next or missed:
                self._wrong("join", f"{series} at {first}, {account.next} was next, missed {missed}")
            account.unasked += first - account.next
        elif (first != account.next and series[0] != "bars") or missed:
            self._wrong("mode", f"{series} goes on at {first}, {account.next} was next, missed {missed}")
        account.next = first
        if not self.silent(series):
            self._silence(self._integers[series])
        self._live[integer] = account
        self._integers[series] = integer

    def _silence(self, integer: int) -> None:
        if self._live.pop(integer, None) is None:
            self._wrong("unsubscribed", f"{integer}, which is not live")
        else:
            del self._integers[self._oracle.channels[integer].series]

    def _take_rows(self, rows: Rows) -> None:
        account = self._live.get(rows.channel)
        channel = self._oracle.channels[rows.channel]
        self.rows += rows.stands_for
        if account is None:
            self._wrong("silence", f"rows of {channel}, which is not live")
        elif channel.kind == "bars" and channel.mode == "conflated":
            self._take_running_bars(account, channel, rows)
        elif rows.seq != account.next:
            self._wrong("order", f"{channel}: {rows.seq}, {account.next} was next")
            account.next = rows.seq + rows.stands_for
        else:
            account.next += rows.stands_for
            if channel.mode == "all":
                account.delivered += rows.n
            else:
                account.merged += rows.stands_for

    def _take_running_bars(self, account: Account, channel: Channel, rows: Rows) -> None:
        """A bar comes again and again under its seq, which is `next`, until the one after begins."""
        if rows.seq not in (account.next, account.next + 1):
            self._wrong("order", f"{channel}: bar {rows.seq}, {account.next} runs")
        last = rows.seq + rows.n - 1
        account.delivered += last - account.next
        account.next = last

    def _gap(self, message: Mapping[str, Any]) -> None:
        account = self._live.get(message["channel"])
        if account is None or message["seq"] - message["missed"] != account.next:
            self._wrong("gap", str(message))
            return
        account.missed += message["missed"]
        account.next = message["seq"]

    def _wrong(self, kind: str, words: str) -> None:
        self._violations.add(kind, f"{self._name}: {words}")
