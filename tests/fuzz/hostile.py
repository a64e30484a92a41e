"""A client's conversation with servers that say what chance makes up. It raises what it promises, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgpack

from tests.fuzz.mutate import Mutator, golden
from ticker.client.conversation import Conversation, RowsLost
from ticker.client.errors import ClientError, MissedRows, ProtocolError, SymbolsRefused, Unauthenticated
from ticker.client.inbox import Inbox
from ticker.client.request import request_of
from ticker.client.subscription import Subscription
from ticker.columns import Batch

T = 1_795_404_000_123_456
TICKS = [["time", 6], ["price", 2], ["size", 0]]
SUMMARY = [["time", 6], *([name, 2] for name in ("open", "high", "low", "close"))]
SUMMARY += [["volume", 0], ["notional", 2], ["count", 0]]
TRADES = {
    "channel": 7,
    "kind": "trades",
    "symbol": "AAPL",
    "mode": "all",
    "seq": 1200,
    "missed": 0,
    "columns": TICKS,
    "snapshot": [T, 18931, 19002, 18755, 18990, 120345, 2278391200, 1200],
}
UPDATES = {**TRADES, "channel": 8, "mode": "conflated", "interval_ms": 250, "columns": SUMMARY}
BARS = {**UPDATES, "channel": 9, "kind": "bars", "interval_s": 60, "snapshot": None}
WELCOME = {
    "type": "welcome",
    "protocol": 1,
    "server": "1.0.0",
    "epoch": "9f2c51d0",
    "time": T * 1000,
    "feed": "simulated",
    "kinds": ["trades", "quotes", "bars"],
    "intervals": [1, 5, 60],
    "auth": False,
    "clock": None,
    "heartbeat_s": 10,
    "limits": {"message_bytes": 262144, "channels": 100000, "commands_per_s": 50},
}
ROWS = [1200, 3, T, b"\x00\x05\x0a", 18931, b"\x00\x02\x01", 100, b""]
SUMS = [1200, 1, *(part for value in (T, 1, 2, 1, 2, 9, 2.5e20, 5) for part in (value, b""))]
MESSAGES: tuple[Any, ...] = (
    {"type": "subscribed", "id": 1, "channels": [TRADES], "refused": [{"symbol": "MSFT", "code": "unknown_symbol"}]},
    {"type": "subscribed", "id": 2, "channels": [UPDATES], "refused": []},
    {"type": "subscribed", "id": 3, "channels": [BARS], "refused": []},
    {"type": "channel", **TRADES},
    {"type": "status", "state": "live", "clock": {"time": T, "speed": 10}},
    {"type": "status", "state": "ended", "clock": None},
    {"type": "heartbeat", "time": T * 1000, "rows": 0},
    {"type": "pong", "id": 4, "time": T * 1000, "rows": 0},
    {"type": "gap", "channel": 7, "seq": 1900, "missed": 700},
    {"type": "revoked", "channels": [7]},
    {"type": "goodbye", "reason": "shutdown", "reconnect_ms": 2300},
    {"type": "error", "id": 2, "code": "limit", "message": "more than 50 commands in a second"},
    {"type": "error", "code": "bad_request", "message": "the message is not a map"},
    {"type": "unsubscribed", "id": 5, "channels": [7, 8]},
    {"type": "symbols", "id": 3, "symbols": ["AAPL", "MSFT"], "more": False},
    [7, *ROWS],
    [7, 1203, *ROWS[1:]],
    [8, *SUMS],
    [9, *SUMS],
)
MOST_MESSAGES = 12
"""Messages of one server; then another one speaks."""


class Servers:
    """Servers that begin well, or almost, and go on as chance has it. `seen` counts how the client took it."""

    def __init__(self, seed: int | str) -> None:
        self._welcomes = Mutator(f"{seed} welcome", (WELCOME,))
        self._rest = Mutator(f"{seed} rest", MESSAGES)
        self._golden = golden()
        self._chance = random.Random(f"{seed} chance")
        self.seen: Counter[str] = Counter()
        self._meet()

    def speak(self, messages: int) -> None:
        """Let servers say so many messages. Raises what no client may."""
        for _ in range(messages):
            self._said += 1
            try:
                self._conversation.receive(self._message())
                self._take()
            except (ProtocolError, Unauthenticated, RowsLost) as error:
                self.seen[type(error).__name__] += 1
                self._meet()
            else:
                self.seen["taken"] += 1
                if self._said == MOST_MESSAGES:
                    self._meet()

    def _meet(self) -> None:
        self._conversation = Conversation()
        self._subscriptions = []
        for symbols, kind, mode in (("AAPL", "trades", "all"), ("*", "trades", "conflated"), ("MSFT", "bars", "all")):
            request = request_of(symbols, kind, mode, None, None)
            since = 0 if self._chance.random() < 0.3 else None
            subscription = Subscription(request, since, Inbox(1 << 20))
            self._conversation.subscribe(subscription)
            self._subscriptions.append(subscription)
        self._conversation.connected("a token" if self._chance.random() < 0.2 else None)
        self._said = 0

    def _message(self) -> bytes:
        chance = self._chance
        if self._said == 1:
            return self._welcomes.packed() if chance.random() < 0.2 else msgpack.packb(WELCOME)
        if chance.random() < 0.1:
            data = chance.choice(self._golden)
            return data if chance.random() < 0.5 else self._rest.damaged(data)
        if chance.random() < 0.3:
            packed: bytes = msgpack.packb(chance.choice(MESSAGES))
            return packed
        return self._rest.packed()

    def _take(self) -> None:
        """Read what has come, as a bot does."""
        self._conversation.questions.outgoing.clear()
        for subscription in self._subscriptions:
            while True:
                try:
                    item = subscription.take()
                except (MissedRows, SymbolsRefused) as told:
                    self.seen[type(told).__name__] += 1
                    continue
                if item is None:
                    break
                assert isinstance(item, Batch)
                list(item)
            if subscription.error is not None:
                assert isinstance(subscription.error, ClientError)
