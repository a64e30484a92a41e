"""One client's conversation on an Alpaca stream: connected, authenticated, subscribed, data. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ticker.access.grant import TO_ANYONE, Grant
from ticker.protocol.alpaca import (
    AUTHENTICATED,
    CONNECTED,
    REASONS,
    AlpacaError,
    Credentials,
    Lists,
    Offer,
    Subscribe,
    Unsubscribe,
    parse,
)
from ticker.protocol.alpaca_codec import FRAME_BYTES, AlpacaCodec
from ticker.protocol.messages import CloseCode
from ticker.stream.alpaca_accounts import Accounts
from ticker.stream.alpaca_subscriptions import AlpacaSubscriptions, Everything
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox
from ticker.stream.rate import Rate

REFUSAL_S = 0.5
"""After so long, and then with the next tick, wrong credentials are answered: about a second after they came."""
STARTING_S = 20
"""So many seconds' requests a client may make beyond its limit in all: at the start, SDKs send one for each call."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a stream: `feed` names it, whatever alias was used; `offer` is what it has, `everything` what `*`
    means."""

    feed: str
    market: Market
    offer: Offer
    everything: Everything


@dataclass(frozen=True, slots=True)
class Guest:
    """Who connects: the address, whether that is this machine's, and what the handshake's headers said."""

    peer: str
    is_local: bool
    credentials: Credentials | None = None


class AlpacaSession:
    """What one client may do and is told. `now_s` is a monotonic time in seconds everywhere."""

    __slots__ = (
        "_account",
        "_accounts",
        "_auths",
        "_closing",
        "_codec",
        "_commands_per_s",
        "_endpoint",
        "_full",
        "_grant",
        "_guest",
        "_is_revoked",
        "_is_stranger",
        "_most_channels",
        "_opened_s",
        "_refused_s",
        "_requests",
        "outbox",
        "spoke_s",
        "subscriptions",
    )

    def __init__(
        self, endpoint: Endpoint, codec: AlpacaCodec, outbox: Outbox, accounts: Accounts, guest: Guest, now_s: float
    ) -> None:
        self._endpoint = endpoint
        self._codec = codec
        self._accounts = accounts
        self._guest = guest
        self.outbox = outbox
        self.subscriptions = AlpacaSubscriptions(endpoint.market, codec, outbox, endpoint.everything)
        self._closing: CloseCode | None = None
        self.spoke_s = self._opened_s = now_s
        self._account: str | None = None
        self._grant: Grant | None = None
        self._is_revoked = False
        self._refused_s: float | None = None
        self._full = False
        self._is_stranger = True
        self._requests, self._auths = Rate(), Rate()
        self._commands_per_s, self._most_channels = endpoint.market.limits.commands_per_s, 0
        accounts.greet(guest.peer)

    @property
    def market(self) -> Market:
        """The market whose rows it is for: the feed's, or that of the test stream."""
        return self._endpoint.market

    @property
    def closing(self) -> CloseCode | None:
        return self._closing

    @closing.setter
    def closing(self, code: CloseCode) -> None:
        self._closing = code
        self.subscriptions.close()

    def open(self) -> None:
        if self.closing is not None:
            return
        self._send(CONNECTED)
        if self._guest.credentials is not None:
            self._attempt(self._guest.credentials, self._opened_s)

    def receive(self, data: str | bytes, now_s: float) -> None:
        self._notice_overflow()
        if self.closing is not None or self._refused_s is not None:
            return
        self.spoke_s = now_s
        try:
            self._obey(self._decoded(data), now_s)
        except AlpacaError as error:
            self._refuse(error)
            if self._requests.is_excessive or self._auths.is_excessive:
                self.closing = CloseCode.LIMIT

    def step(self) -> bool:
        return False

    def tick(self, now_s: float) -> None:
        self._notice_overflow()
        if self.closing is not None:
            return
        if self._grant is not None:
            self._check(self._grant)
        elif self._refused_s is not None:
            if now_s - self._refused_s >= REFUSAL_S:
                self._send(AlpacaError(402).message)
                self.closing = CloseCode.UNAUTHENTICATED
        elif now_s - self._opened_s >= self._accounts.auth_s:
            if not self._full:  # some SDKs never come back after 404: one that only found all places taken shall
                self._refuse(AlpacaError(404))
            self.closing = CloseCode.UNAUTHENTICATED

    def announce(self, numbers: Sequence[int]) -> None:
        if self.closing is None:
            self.subscriptions.announce()

    def tell_status(self) -> None:
        """Say nothing: a feed's state has no message here."""

    def say_goodbye(self, reconnect_ms: int) -> None:
        """End: there is no message for it, and every client comes back by itself."""
        if self.closing is None:
            self.closing = CloseCode.GOING_AWAY

    def turn_away(self, why: str) -> None:
        self._send(CONNECTED)
        self._send(AlpacaError(406).message)
        self.closing = CloseCode.LIMIT

    def last_words(self) -> bytes:
        if self._is_revoked:
            return self._codec.control(AlpacaError(402).message)
        return self._codec.control(AlpacaError(407).message) if self.closing is CloseCode.TOO_SLOW else b""

    def close(self) -> None:
        self.outbox.close()
        self.subscriptions.close()
        self._is_no_stranger()
        if self._account is not None and self._grant is not None:
            self._accounts.leave(self._account, self._endpoint.feed)
            self._accounts.gate.leave(self._grant.principal)
            self._account = self._grant = None

    def _decoded(self, data: str | bytes) -> Mapping[Any, Any]:
        """Return a client's map; an empty one, which is no request, for what cannot be read."""
        try:
            return self._codec.decode(data)
        except AlpacaError:
            return {}

    def _obey(self, message: Mapping[Any, Any], now_s: float) -> None:
        """Do and answer what is asked. Raises AlpacaError."""
        self._count(message.get("action"), now_s)
        request = parse(message, self._knows)
        if isinstance(request, Credentials):
            self._authenticate(request, now_s)
            return
        if self._account is None:
            raise AlpacaError(401)
        self._endpoint.offer.check(request.lists)
        self._change(request)

    def _count(self, action: object, now_s: float) -> None:
        """Raise AlpacaError 405 when this second's requests are used up: every SDK goes on after that code.

        To unsubscribe is none. Those to authenticate are counted by themselves: some SDKs send others before.
        """
        rate = self._auths if action == "auth" else self._requests
        if action != "unsubscribe" and not rate.take(now_s, self._commands_per_s):
            raise AlpacaError(405, "limit")

    def _refuse(self, error: AlpacaError) -> None:
        self.market.counts.refusals[error.reason or REASONS[error.code]] += 1
        self._send(error.message)

    def _attempt(self, credentials: Credentials, now_s: float) -> None:
        """Authenticate by the handshake's headers."""
        try:
            self._authenticate(credentials, now_s)
        except AlpacaError as error:
            self._refuse(error)

    def _authenticate(self, credentials: Credentials, now_s: float) -> None:
        if self._account is not None:
            raise AlpacaError(403)
        accounts, feed = self._accounts, self._endpoint.feed
        grant = accounts.grant(credentials, self._guest.is_local)
        if grant is None:
            self.market.counts.refusals["token"] += 1
            self._refused_s = now_s
            return
        if feed in accounts.plan.excluded:
            raise AlpacaError(409)
        account = credentials.key if grant is TO_ANYONE else grant.principal.name
        self._full = not self._enter(account, grant)
        if self._full:
            raise AlpacaError(406)
        self._account, self._grant = account, grant
        self._see(grant)
        self._requests.spare = STARTING_S * self._commands_per_s
        self._is_no_stranger()
        self._send(AUTHENTICATED)

    def _enter(self, account: str, grant: Grant) -> bool:
        """Count the connection, by the vendor's plan and by the token; return whether there may be one more."""
        if not self._accounts.enter(account, self._endpoint.feed):
            return False
        if self._accounts.gate.enter(grant.principal):
            return True
        self._accounts.leave(account, self._endpoint.feed)
        return False

    def _see(self, grant: Grant) -> None:
        """Let the client see and do what a grant permits."""
        view = self.market.views.of(grant.principal.symbols)
        limits = self.market.limits_of(grant.principal)
        self._commands_per_s, self._most_channels = limits.commands_per_s, limits.channels
        self.subscriptions.everything = self._endpoint.everything.within(view)

    def _knows(self, symbol: str) -> bool:
        """Tell whether a symbol is there, to one who may see it."""
        known = self._grant is not None and symbol in self._endpoint.market.directory.numbers
        return known and self.subscriptions.everything.may_see(symbol)

    def _check(self, grant: Grant) -> None:
        """End a connection that is let in no longer; follow a token that was changed."""
        renewed = self._accounts.gate.renewed(grant)
        if renewed is None:
            self._is_revoked = True
            self.closing = CloseCode.UNAUTHENTICATED
            if not self.outbox.is_free:
                self.outbox.close()
        elif renewed is not grant:
            self._grant = renewed
            self._see(renewed)
            wanted = self.subscriptions.permitted()
            is_told = wanted != self.subscriptions.lists
            self.subscriptions.change(wanted)
            if is_told:
                self.outbox.offer(self._codec.control(self._endpoint.offer.confirmation(wanted)))
            self.subscriptions.listen()

    def _allows(self, wanted: Lists) -> bool:
        """Tell whether these lists are within the limits of plan and token."""
        if self.subscriptions.count(wanted) > self._most_channels:
            return False
        return self._accounts.plan.allows(wanted.get("trades", ()), wanted.get("quotes", ()))

    def _change(self, request: Subscribe | Unsubscribe) -> None:
        """Subscribe or unsubscribe; tell the whole state before any row that follows from it."""
        wanted: Lists
        if isinstance(request, Subscribe):
            may_see = self.subscriptions.everything.may_see
            if not all(symbol == "*" or may_see(symbol) for each in request.lists.values() for symbol in each):
                raise AlpacaError(411)
            wanted = self.subscriptions.with_more(request.lists)
            if not self._allows(wanted):
                raise AlpacaError(405)
        else:
            wanted = self.subscriptions.without(request.lists)
        confirmation = self._codec.control(self._endpoint.offer.confirmation(wanted))
        if len(confirmation) > FRAME_BYTES:
            raise AlpacaError(405)
        self.subscriptions.change(wanted)
        self.outbox.offer(confirmation)
        self.subscriptions.listen()

    def _send(self, message: Mapping[str, Any]) -> None:
        self.outbox.offer(self._codec.control(message))

    def _is_no_stranger(self) -> None:
        if self._is_stranger:
            self._is_stranger = False
            self._accounts.part(self._guest.peer)

    def _notice_overflow(self) -> None:
        if self.outbox.overflowed and self.closing is None:
            self.closing = CloseCode.TOO_SLOW
