"""One client's conversation: what it says comes in as bytes, what it is told goes out through its Outbox. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

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
from ticker.stream.subscriptions import Slot, Subscriptions

log = logging.getLogger(__name__)

ANSWER_CHANNELS = 1000
"""Channels that an answer describes at most; a message each describes the others."""
ANSWER_BYTES = 900_000
"""What the lists of an answer may occupy, so that it stays below 1 MiB."""
SECONDS_AT_LIMIT = 10
"""In so many consecutive seconds a client may pass the limit of commands before it is closed."""


class Session:
    """What one client may do and is told. `now_s` is a monotonic time in seconds everywhere."""

    __slots__ = (
        "_codec",
        "_commands",
        "_limited_s",
        "_limited_seconds",
        "_market",
        "_quiet_since_s",
        "_second",
        "_sent",
        "closing",
        "outbox",
        "spoke_s",
        "subscriptions",
    )

    def __init__(self, market: Market, codec: Codec, outbox: Outbox, pressure: Pressure, now_s: float) -> None:
        self._market = market
        self._codec = codec
        self.outbox = outbox
        self.subscriptions = Subscriptions(market, codec, outbox, pressure)
        self.closing: CloseCode | None = None
        """Why the connection has to end; None while it goes on."""
        self.spoke_s = now_s
        """When the last command came."""
        self._second, self._commands = int(now_s), 0
        self._limited_s, self._limited_seconds = -2, 0
        self._quiet_since_s, self._sent = now_s, 0

    def open(self) -> None:
        """Speak first."""
        self.send(self._market.welcome)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a control message."""
        self.outbox.offer(self._codec.control(message))

    def receive(self, data: str | bytes, now_s: float) -> None:
        """Take a client's message, and answer it."""
        if self.closing is not None:
            return
        self.spoke_s = now_s
        try:
            message = self._codec.decode(data)
            self._count(message, now_s)
            self._answer(parse(message))
        except CommandError as error:
            self._refuse(error)
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
        if self.outbox.overflowed and self.closing is None:
            self.closing = CloseCode.TOO_SLOW
        if self.outbox.sent != self._sent or not self.outbox.is_free or self.subscriptions.is_catching_up:
            self._quiet_since_s, self._sent = now_s, self.outbox.sent
        elif now_s - self._quiet_since_s >= self._market.heartbeat_s:
            self.send({"type": "heartbeat", "time": Time(self._market.now_ns()), "rows": self.outbox.rows})
            self._quiet_since_s, self._sent = now_s, self.outbox.sent

    def announce(self, numbers: Sequence[int]) -> None:
        """Describe symbols that have appeared, if this client listens to `*`."""
        if self.closing is None and self.subscriptions.has_wildcard:
            for description in self.subscriptions.announce(numbers):
                self.send({"type": "channel", **description})
            self.subscriptions.listen()

    def close(self) -> None:
        """Forget everything: the connection is gone."""
        self.outbox.close()
        self.subscriptions.close()

    def _answer(self, command: Command) -> None:
        match command:
            case Subscribe():
                self._subscribe(command)
            case Unsubscribe():
                ended = self.subscriptions.unsubscribe(self._all_series(command), command.symbols)
                self._reply({"type": "unsubscribed", "channels": ended}, command)
                self.subscriptions.listen()
            case Symbols():
                symbols, more = self._market.directory.page(command.prefix, command.after, command.limit)
                fitting = _fitting(symbols)
                more = more or len(fitting) < len(symbols)
                self._reply({"type": "symbols", "symbols": fitting, "more": more}, command)
            case Ping():
                time = Time(self._market.now_ns())
                self._reply({"type": "pong", "time": time, "rows": self.outbox.rows}, command)
            case Auth():
                self._reply({"type": "authenticated"}, command)

    def _subscribe(self, command: Subscribe) -> None:
        if command.symbols is not None:
            self._check_answer_fits(command.symbols)
        slot = Slot(command.interval_ms, self._series(command.kind, command.interval_s))
        same_epoch = command.epoch == self._market.directory.epoch
        described, refused = self.subscriptions.subscribe(slot, command.symbols, command.since, same_epoch)
        answer = {"type": "subscribed", "channels": described[:ANSWER_CHANNELS], "refused": refused[:10_000]}
        self._reply(answer, command)
        self.send(self._market.status)
        if rest := described[ANSWER_CHANNELS:]:
            frames = (self._codec.control({"type": "channel", **description}) for description in rest)
            self.outbox.offer_beyond_limit(b"".join(frames))
        self.subscriptions.listen()

    def _check_answer_fits(self, symbols: Sequence[str]) -> None:
        """Refuse a command that names so much that does not exist that the answer could not say so."""
        unknown = (symbol for symbol in symbols if symbol not in self._market.directory.numbers)
        if sum(6 * len(symbol) + 60 for symbol in unknown) > ANSWER_BYTES:
            raise CommandError("bad_request", "symbols: too many that this feed does not have")

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
        if command.kind == "bars" and command.interval_s is None:
            return [series for series in self._market.directory.series if series.kind == "bars"]
        return [self._series(command.kind, command.interval_s)]

    def _count(self, message: Mapping[Any, Any], now_s: float) -> None:
        """Raise CommandError when this second's commands are used up; end the connection when that goes on and on."""
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
            if self._limited_seconds >= SECONDS_AT_LIMIT:
                self.closing = CloseCode.LIMIT
        most = self._market.limits.commands_per_s
        raise CommandError("limit", f"more than {most} commands in a second", id_of(message))

    def _reply(self, answer: dict[str, Any], command: Command) -> None:
        if command.id is not None:
            answer = {"type": answer["type"], "id": command.id, **answer}
        self.send(answer)

    def _refuse(self, error: CommandError) -> None:
        message: dict[str, Any] = {"type": "error"}
        if error.id is not None:
            message["id"] = error.id
        self.send(message | {"code": error.code, "message": error.message})


def _fitting(symbols: list[str]) -> list[str]:
    """Return as many of the first symbols as an answer holds."""
    room = ANSWER_BYTES
    for i, symbol in enumerate(symbols):
        room -= 6 * len(symbol) + 4
        if room < 0:
            return symbols[:i]
    return symbols
