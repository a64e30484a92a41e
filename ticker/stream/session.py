"""One client's conversation: what it says comes in as bytes, what it is told goes out through its Outbox. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ticker.model import Series
from ticker.protocol.codec import Codec, Time
from ticker.protocol.messages import (
    Auth,
    CloseCode,
    Command,
    CommandError,
    MessageError,
    Ping,
    Subscribe,
    Symbols,
    Unsubscribe,
    id_of,
    parse,
)
from ticker.stream.cursor import FellOff
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox, Pressure
from ticker.stream.subscriptions import Descriptions, Slot, Subscriptions

T = TypeVar("T")

ANSWER_CHANNELS = 1000
"""Channels that an answer describes at most; a message each describes the others."""
ANSWER_BYTES = 1_000_000
"""What an answer may occupy, so that it stays below 1 MiB."""
REFUSED_BYTES = 600_000
"""What the list of refused symbols may occupy of it."""
REFUSAL_BYTES = 45
"""What one of them occupies besides the symbol."""
ID_CHARACTERS = 1000
SECONDS_AT_LIMIT = 10
"""In so many consecutive seconds a client may pass the limit of commands before it is closed."""


class Session:
    """What one client may do and is told. `now_s` is a monotonic time in seconds everywhere."""

    __slots__ = (
        "_closing",
        "_codec",
        "_commands",
        "_limited_s",
        "_limited_seconds",
        "_market",
        "_quiet_since_s",
        "_second",
        "_sent",
        "outbox",
        "spoke_s",
        "subscriptions",
    )

    def __init__(self, market: Market, codec: Codec, outbox: Outbox, pressure: Pressure, now_s: float) -> None:
        self._market = market
        self._codec = codec
        self.outbox = outbox
        self.subscriptions = Subscriptions(market, codec, outbox, pressure)
        self._closing: CloseCode | None = None
        self.spoke_s = now_s
        """When the last command came."""
        self._second, self._commands = int(now_s), 0
        self._limited_s, self._limited_seconds = -2, 0
        self._quiet_since_s, self._sent = now_s, 0

    @property
    def closing(self) -> CloseCode | None:
        """Why the connection has to end once what waits is sent; None while it goes on. Setting it is the end of the
        subscriptions, so that nothing more comes to wait."""
        return self._closing

    @closing.setter
    def closing(self, code: CloseCode) -> None:
        self._closing = code
        self.subscriptions.close()

    def open(self) -> None:
        """Speak first."""
        self.send(self._market.welcome)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a control message, unless the connection is about to end."""
        if self.closing is None:
            self.outbox.offer(self._codec.control(message))

    def receive(self, data: str | bytes, now_s: float) -> None:
        """Take a client's message, and answer it."""
        self._notice_overflow()
        if self.closing is not None:
            return
        self.spoke_s = now_s
        try:
            message = self._codec.decode(data)
            self._count(message, now_s)
            self._obey(parse(message))
        except CommandError as error:
            self._refuse(error)
            if self._limited_seconds >= SECONDS_AT_LIMIT:
                self.closing = CloseCode.LIMIT
        except MessageError as error:
            self._refuse(CommandError("bad_request", str(error)))
            self.closing = CloseCode.BAD_MESSAGE

    def step(self) -> bool:
        """Send a slice of what this client catches up with, if its socket is free; return whether to call again."""
        if self.closing is not None or not self.subscriptions.is_catching_up or not self.outbox.is_free:
            return False
        try:
            self.subscriptions.catch_up()
        except FellOff:
            self.closing = CloseCode.TOO_SLOW
            return False
        return self.subscriptions.is_catching_up and self.outbox.is_free

    def tick(self, now_s: float) -> None:
        """Do what is due without anyone asking: a heartbeat, the end of one that is too slow. About once a second."""
        self._notice_overflow()
        if self.outbox.sent != self._sent or not self.outbox.is_free or self.subscriptions.is_catching_up:
            self._quiet_since_s, self._sent = now_s, self.outbox.sent
        elif now_s - self._quiet_since_s >= self._market.heartbeat_s:
            self.send({"type": "heartbeat", "time": Time(self._market.now_ns()), "rows": self.outbox.rows})
            self._quiet_since_s, self._sent = now_s, self.outbox.sent

    def announce(self, numbers: Sequence[int]) -> None:
        """Describe symbols that have appeared, if this client listens to `*`."""
        if self.closing is None and self.subscriptions.has_wildcard:
            self._describe(self.subscriptions.announce(numbers))
            self.subscriptions.listen_wider()

    def tell_status(self) -> None:
        """Say how the feed does."""
        self.send(self._market.status)

    def say_goodbye(self, reconnect_ms: int) -> None:
        """Say that the server goes away and when to come back, and end."""
        if self.closing is None:
            self.send({"type": "goodbye", "reason": "shutdown", "reconnect_ms": reconnect_ms})
            self.closing = CloseCode.GOING_AWAY

    def last_words(self) -> bytes:
        """Return nothing: the close code says it all."""
        return b""

    def close(self) -> None:
        """Forget everything: the connection is gone."""
        self.outbox.close()
        self.subscriptions.close()

    def _obey(self, command: Command) -> None:
        """Do and answer a command. Raises CommandError with its `id`, unless that is what is wrong with it."""
        if isinstance(command.id, str) and len(command.id) > ID_CHARACTERS:
            raise CommandError("bad_request", f"id: expected at most {ID_CHARACTERS} characters")
        try:
            self._answer(command)
        except CommandError as error:
            error.id = command.id
            raise

    def _answer(self, command: Command) -> None:
        match command:
            case Subscribe():
                self._subscribe(command)
            case Unsubscribe():
                ended = self.subscriptions.unsubscribe(self._all_series(command), command.symbols)
                self._reply("unsubscribed", {"channels": ended}, command)
                self.subscriptions.listen()
            case Symbols():
                symbols, more = self._market.directory.page(command.prefix, command.after, command.limit)
                fitting = _fitting(symbols, ANSWER_BYTES)
                self._reply("symbols", {"symbols": fitting, "more": more or fitting != symbols}, command)
            case Ping():
                time = Time(self._market.now_ns())
                self._reply("pong", {"time": time, "rows": self.outbox.rows}, command)
            case Auth():
                self._reply("authenticated", {}, command)

    def _subscribe(self, command: Subscribe) -> None:
        slot = Slot(command.interval_ms, self._series(command.kind, command.interval_s))
        if command.symbols is not None:
            self._check_refusals_fit(command.symbols)
        same_epoch = command.epoch == self._market.directory.epoch
        described, refused = self.subscriptions.subscribe(slot, command.symbols, command.since, same_epoch)
        refused = _fitting(refused, REFUSED_BYTES)
        first = described[:ANSWER_CHANNELS]
        answer = self._framed("subscribed", {"channels": first, "refused": refused}, command)
        while first and len(answer) > ANSWER_BYTES:
            first = first[: len(first) // 2]
            answer = self._framed("subscribed", {"channels": first, "refused": refused}, command)
        self.outbox.offer(answer)
        self.send(self._market.status)
        self._describe(described[len(first) :])
        self.subscriptions.listen()

    def _describe(self, descriptions: Descriptions) -> None:
        """Send a message for each channel."""
        if descriptions:
            frames = (self._codec.control({"type": "channel", **description}) for description in descriptions)
            self.outbox.offer_beyond_limit(b"".join(frames))

    def _check_refusals_fit(self, symbols: Sequence[str]) -> None:
        """Refuse a command that names so much that cannot be had that the answer could not say so."""
        refused = [symbol for symbol in symbols if symbol not in self._market.directory.numbers]
        if len(self.subscriptions) + len(symbols) > self._market.limits.channels:
            refused = list(symbols)
        if _size(refused) + REFUSAL_BYTES * len(refused) > REFUSED_BYTES:
            raise CommandError("bad_request", "symbols: too many at once, of which too few can be had")

    def _series(self, kind: str, interval_s: int | None) -> Series:
        """Return the series that a command means. Raises CommandError."""
        directory = self._market.directory
        if kind not in directory.kinds:
            raise CommandError("unknown_kind", f"kind: this feed has no {kind}, only {', '.join(directory.kinds)}")
        if kind != "bars":
            return Series(kind)
        if interval_s is None:
            interval_s = 60 if 60 in directory.intervals else directory.intervals[0]
        if interval_s not in directory.intervals:
            expected = ", ".join(map(str, directory.intervals))
            raise CommandError("bad_request", f"interval_s: expected one of {expected}")
        return Series(kind, interval_s)

    def _all_series(self, command: Unsubscribe) -> list[Series]:
        if command.kind == "bars" and command.interval_s is None and self._market.directory.intervals:
            return [series for series in self._market.directory.series if series.kind == "bars"]
        return [self._series(command.kind, command.interval_s)]

    def _count(self, message: Mapping[Any, Any], now_s: float) -> None:
        """Raise CommandError when this second's commands are used up; note for how many seconds that goes on."""
        second = int(now_s)
        if second != self._second:
            self._second, self._commands = second, 0
        if message.get("op") == "unsubscribe":
            return
        self._commands += 1
        if self._commands <= self._market.limits.commands_per_s:
            return
        if second != self._limited_s:
            self._limited_seconds = self._limited_seconds + 1 if second == self._limited_s + 1 else 1
            self._limited_s = second
        most = self._market.limits.commands_per_s
        raise CommandError("limit", f"more than {most} commands in a second", id_of(message))

    def _notice_overflow(self) -> None:
        if self.outbox.overflowed and self.closing is None:
            self.closing = CloseCode.TOO_SLOW

    def _reply(self, type: str, answer: Mapping[str, Any], command: Command) -> None:
        self.outbox.offer(self._framed(type, answer, command))

    def _framed(self, type: str, answer: Mapping[str, Any], command: Command) -> bytes:
        id = {} if command.id is None else {"id": command.id}
        return self._codec.control({"type": type, **id, **answer})

    def _refuse(self, error: CommandError) -> None:
        message: dict[str, Any] = {"type": "error"}
        if error.id is not None:
            message["id"] = error.id
        self.send(message | {"code": error.code, "message": error.message})


def _fitting(items: list[T], size: int) -> list[T]:
    """Return as many of the first items as occupy at most `size` bytes in an answer."""
    while items and _size(items) > size:
        items = items[: len(items) // 2]
    return items


def _size(items: Sequence[object]) -> int:
    """Return how many bytes these items occupy in an answer at most: no codec writes more than this."""
    return len(json.dumps(items))
