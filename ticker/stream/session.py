"""One client's conversation: what it says comes in as bytes, what it is told goes out through its Outbox. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ticker.access.errors import BadToken
from ticker.access.grant import TO_ANYONE, Grant
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
from ticker.stream.market import Limits, Market
from ticker.stream.outbox import Outbox, Pressure
from ticker.stream.rate import Rate
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
LATEST_S = 9_000_000_000
"""The latest time that is told, in the year 2255: nanoseconds end in 2262."""
REVOKED_CHANNELS = 50_000
"""Channels that a message `revoked` names at most."""
REFUSED_AS = {"unknown_symbol": "unknown_symbol", "forbidden": "forbidden", "limit": "channels"}
"""What is counted of the symbols that a subscribe did not get, by their codes."""


class Session:
    """What one client may do and is told. `now_s` is a monotonic time in seconds everywhere."""

    __slots__ = (
        "_closing",
        "_codec",
        "_grant",
        "_limits",
        "_market",
        "_opened_s",
        "_parting",
        "_quiet_since_s",
        "_rate",
        "_sent",
        "outbox",
        "spoke_s",
        "subscriptions",
    )

    def __init__(
        self,
        market: Market,
        codec: Codec,
        outbox: Outbox,
        pressure: Pressure,
        now_s: float,
        grant: Grant | None = None,
    ) -> None:
        """Begin a conversation. `grant` is what the handshake gave; without one, the command `auth` has to."""
        self._market = market
        self._codec = codec
        self.outbox = outbox
        self.subscriptions = Subscriptions(market, codec, outbox, pressure)
        self._closing: CloseCode | None = None
        self.spoke_s = now_s
        """When the last command came."""
        self._opened_s = now_s
        self._rate = Rate()
        self._quiet_since_s, self._sent = now_s, 0
        self._limits: Limits = market.limits
        self._parting = ""
        self._grant: Grant | None = None
        """Who this is, by which right; None until that is known, and when the connection is gone."""
        if not market.gate.is_required:
            grant = TO_ANYONE
        if grant is None:
            return
        if market.gate.enter(grant.principal):
            self._permit(grant)
        else:  # others came while this one shook hands
            market.counts.refusals["connections_of_principal"] += 1
            self._part(CloseCode.LIMIT, "the token has all the connections that it may have")

    @property
    def market(self) -> Market:
        """The market whose rows it is for."""
        return self._market

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
        if self._grant is None or self._grant is TO_ANYONE:
            self.send(self._market.welcome)
        else:
            self.send(self._market.welcome | {"auth": False} | self._told(self._grant))

    def turn_away(self, why: str) -> None:
        """Speak, say that this is one connection too many, and end."""
        self.open()
        self._part(CloseCode.LIMIT, why)

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
            if self._grant is None and message.get("op") not in ("auth", "ping"):
                raise CommandError("unauthenticated", "op: auth comes first", id_of(message))
            self._obey(parse(message))
        except CommandError as error:
            self._market.counts.refusals[error.code] += 1
            self._refuse(error)
            if self._rate.is_excessive:
                self.closing = CloseCode.LIMIT
        except MessageError as error:
            self._market.counts.refusals["bad_message"] += 1
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
        """Do what is due without anyone asking: a heartbeat, the end of one that is too slow, or is let in no longer.
        About once a second."""
        self._notice_overflow()
        self._check_grant(now_s)
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
        """Say how the feed does, to those who may know."""
        if self._grant is not None:
            self.send(self._market.status)

    def say_goodbye(self, reconnect_ms: int) -> None:
        """Say that the server goes away and when to come back, and end."""
        if self.closing is None:
            self.send({"type": "goodbye", "reason": "shutdown", "reconnect_ms": reconnect_ms})
            self.closing = CloseCode.GOING_AWAY

    def last_words(self) -> bytes:
        """Return why this client is let in no longer: others were told, or the close code says it all."""
        if not self._parting:
            return b""
        code = "limit" if self._closing is CloseCode.LIMIT else "unauthenticated"
        return self._codec.control({"type": "error", "code": code, "message": self._parting})

    def close(self) -> None:
        """Forget everything: the connection is gone."""
        self.outbox.close()
        self.subscriptions.close()
        grant, self._grant = self._grant, None
        if grant is not None and grant is not TO_ANYONE:
            self._market.gate.leave(grant.principal)

    def _obey(self, command: Command) -> None:
        """Do and answer a command. Raises CommandError with its `id`."""
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
                symbols, more = self._page(command.prefix, command.after, command.limit)
                fitting = _fitting(symbols, ANSWER_BYTES)
                self._reply("symbols", {"symbols": fitting, "more": more or fitting != symbols}, command)
            case Ping():
                time = Time(self._market.now_ns())
                self._reply("pong", {"time": time, "rows": self.outbox.rows}, command)
            case Auth():
                self._authenticate(command)

    def _authenticate(self, command: Auth) -> None:
        """Let a client in, or renew what it may: no row is lost of what it still may have. Raises CommandError."""
        gate, old = self._market.gate, self._grant
        if old is TO_ANYONE:
            self._reply("authenticated", {}, command)
            return
        try:
            grant = gate.authenticate(command.token)
        except BadToken as error:
            self._market.counts.refusals["token"] += 1
            self._refuse(CommandError("unauthenticated", str(error), command.id))
            self.closing = CloseCode.UNAUTHENTICATED
            return
        if old is None:
            if not gate.enter(grant.principal):
                self._market.counts.refusals["connections_of_principal"] += 1
                self._refuse(CommandError("limit", "token: it has all the connections that it may have", command.id))
                self.closing = CloseCode.LIMIT
                return
        elif grant.principal.name != old.principal.name:
            # Connections are counted and logged by name: another one connects anew.
            raise CommandError("bad_request", "token: it is another principal's; connect anew with it")
        fresh = self._permit(grant)
        self._reply("authenticated", self._told(grant), command)
        self._widen(fresh)

    def _permit(self, grant: Grant) -> list[int]:
        """Give a client what a grant allows, and take away what it doesn't: tell what ends. Return the symbols that it
        may see now and could not before, for `_widen`."""
        market, principal = self._market, grant.principal
        self._grant = grant
        self._limits = market.limits_of(principal)
        ended, fresh = self.subscriptions.permit(market.views.of(principal.symbols), self._limits.channels)
        for first in range(0, len(ended), REVOKED_CHANNELS):
            self.send({"type": "revoked", "channels": ended[first : first + REVOKED_CHANNELS]})
        return fresh

    def _widen(self, fresh: Sequence[int]) -> None:
        """Describe what `*` has in addition now, and listen again."""
        if fresh:
            self._describe(self.subscriptions.widen(fresh))
        self.subscriptions.listen()

    def _told(self, grant: Grant) -> dict[str, Any]:
        """Return what a client is told about itself."""
        expires_s = grant.principal.expires_s
        expires = None if expires_s is None else Time(round(min(expires_s, LATEST_S) * 1000) * 1_000_000)
        return {"name": grant.principal.name, "expires": expires, "limits": self._market.told(self._limits)}

    def _check_grant(self, now_s: float) -> None:
        """End a connection that is let in no longer, or was not in time; follow a token that was changed."""
        grant = self._grant
        if self.closing is not None or grant is TO_ANYONE:
            return
        if grant is None:
            if now_s - self._opened_s >= self._market.auth_s:
                self._market.counts.refusals["unauthenticated"] += 1
                self._part(CloseCode.UNAUTHENTICATED, f"no auth within {self._market.auth_s:g} s")
            return
        renewed = self._market.gate.renewed(grant)
        if renewed is None:
            self._part(CloseCode.UNAUTHENTICATED, "the token has expired, or was revoked")
        elif renewed is not grant:
            self._widen(self._permit(renewed))

    def _part(self, code: CloseCode, why: str) -> None:
        """End the connection now, whatever still waits for the client."""
        self._parting = why
        self.closing = code
        if not self.outbox.is_free:
            self.outbox.close()

    def _subscribe(self, command: Subscribe) -> None:
        slot = Slot(command.interval_ms, self._series(command.kind, command.interval_s))
        if command.symbols is not None:
            self._check_refusals_fit(command.symbols)
        same_epoch = command.epoch == self._market.directory.epoch
        described, refused = self.subscriptions.subscribe(slot, command.symbols, command.since, same_epoch)
        self._market.counts.refusals.update(REFUSED_AS[each["code"]] for each in refused)
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
        refused = [symbol for symbol in symbols if self.subscriptions.why_not(symbol) is not None]
        if len(self.subscriptions) + len(symbols) > self._limits.channels:
            refused = list(symbols)
        if _size(refused) + REFUSAL_BYTES * len(refused) > REFUSED_BYTES:
            raise CommandError("bad_request", "symbols: too many at once, of which too few can be had")

    def _page(self, prefix: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Return a page of the symbols that this client may see."""
        principal = TO_ANYONE.principal if self._grant is None else self._grant.principal
        return self._market.page(principal, prefix, after, limit)

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
        """Raise CommandError when this second's commands are used up; to unsubscribe is none."""
        most = self._limits.commands_per_s
        if message.get("op") != "unsubscribe" and not self._rate.take(now_s, most):
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
