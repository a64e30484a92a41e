"""The dialogue with a server, free of I/O: takes its messages, asks its questions, fills subscriptions.

It outlives connections. Life of each: `connected` → `receive` … → `lost`; a connection that never spoke is just `lost`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ticker.client.decode import columns, describe, head, unpack, welcome_epoch
from ticker.client.errors import ClientError, ProtocolError, Unauthenticated
from ticker.client.questions import Answer, Message, Questions, nothing
from ticker.client.subscription import Subscription, Track
from ticker.columns import columns_of
from ticker.model import Channel, Position
from ticker.protocol.messages import CloseCode


@dataclass(frozen=True, slots=True)
class Status:
    """The feed's state (`waiting`, `live`, `stalled`, `failed`, `ended`) and clock (None: its time is now)."""

    state: str
    clock: Mapping[str, Any] | None


class RowsLost(Exception):
    """The server has sent more rows on this connection than arrived: leave it, and resume."""


class Conversation:
    """One reader's dialogue. `subscriptions` is what it wants, in the order in which it is asked for again."""

    def __init__(self, on_status: Callable[[Status], object] | None = None) -> None:
        self.subscriptions: list[Subscription] = []
        self.welcome: Mapping[str, Any] | None = None
        self.status: Status | None = None
        self.reconnect_ms: int | None = None
        """What the last `goodbye` asked for."""
        self.last_error: str | None = None
        """The last `error` that answered no command: it says why the server is about to close."""
        self.questions = Questions()
        self.made_progress = False
        """Whether this connection has brought rows, or lived until a heartbeat."""
        self.is_let_in = False
        """Whether this connection needs no other token, for now."""
        self.expires_ns: int | None = None
        """When the token ends that the server knows, by its clock; None for never."""
        self._token: str | None = None
        self._on_status = on_status
        self._epoch = ""
        self._rows = 0
        self._routes: dict[int, tuple[Subscription, Track, int]] = {}
        self._numbers: dict[Channel, int] = {}
        self._handlers: dict[str, Callable[[Message], None]] = {
            "welcome": self._welcomed,
            "channel": self._announced,
            "status": self._told_status,
            "heartbeat": self._heartbeat,
            "gap": self._gap,
            "goodbye": self._goodbye,
            "revoked": self._revoked,
            "error": self._unasked_error,
        }

    @property
    def is_welcome(self) -> bool:
        """Whether the server has spoken on this connection."""
        return bool(self._epoch)

    # Connections

    def connected(self, token: str | None = None) -> None:
        """Begin a connection. `token` is what it was opened with: sent again if the server still asks for it."""
        self._token = token
        self.is_let_in = False
        self.expires_ns = None
        self.reconnect_ms = self.last_error = None
        self.made_progress = False
        self._rows = 0

    def lost(self) -> None:
        """End a connection."""
        self._epoch = ""
        self._routes.clear()
        self._numbers.clear()
        self.questions.lost()

    def receive(self, data: bytes | str) -> None:
        """Take a message. Raises ProtocolError or Unauthenticated, and RowsLost if rows did not arrive."""
        message = unpack(data)
        if isinstance(message, list):
            self._data(message)
            return
        kind = message.get("type")
        if not self._epoch and kind not in ("welcome", "goodbye", "error"):
            raise ProtocolError(f"{kind!r} before the welcome")
        if message.get("id") is not None:
            if kind == "pong":
                self.reconcile(message)  # before it counts as answered: else it is asked again on the next connection
            self.questions.answered(message["id"], message)
        elif isinstance(kind, str) and kind in self._handlers:
            self._handlers[kind](message)

    def authenticate(self, token: str) -> None:
        """Prove oneself, the first time or again: subscriptions go on without losing a row."""
        self.questions.ask({"op": "auth", "token": token}, self._authenticated, nothing)

    # What a reader asks

    def subscribe(self, subscription: Subscription) -> None:
        """Ask for a subscription now and on every later connection. Raises ValueError if it overlaps another one.

        A name and `*` don't overlap: the name leaves the wildcard.
        """
        request = subscription.request
        for other in self.subscriptions:
            if other.request.kind != request.kind or self._interval(other) != self._interval(subscription):
                continue
            both = set(request.symbols or ["*"]) & set(other.request.symbols or ["*"])
            if both:
                raise ValueError(
                    f"{request.kind} of {min(both)} are subscribed on this stream already: unsubscribe, or connect anew"
                )
        self.subscriptions.append(subscription)
        if self._epoch:
            self._ask_for(subscription)

    def unsubscribe(self, subscription: Subscription, answer: Answer) -> None:
        """End a subscription; `answer` is called when no row of it can come any more."""
        if subscription not in self.subscriptions:
            answer({})
            return
        self.subscriptions.remove(subscription)
        subscription.close()
        if not self._epoch:
            answer({})
            return
        wildcard = self._wildcard_beside(subscription)
        if wildcard is not None:
            self._give_back(subscription, wildcard, answer)
            return
        commands = subscription.request.unsubscribe(self._interval(subscription), self._message_bytes)
        self.questions.ask_all(
            commands, lambda answers: self._unsubscribed(answers, answer), if_lost=lambda: answer({})
        )

    @property
    def _message_bytes(self) -> int:
        limits = (self.welcome or {}).get("limits")
        size = limits.get("message_bytes") if isinstance(limits, dict) else None
        return max(size, 2048) if type(size) is int else 262144

    def _interval(self, subscription: Subscription) -> int:
        intervals = (self.welcome or {}).get("intervals")
        known = [each for each in intervals if type(each) is int] if isinstance(intervals, list) else []
        return subscription.request.bars_of(known)

    # Subscribing

    def _ask_for(self, subscription: Subscription, symbols: list[str] | None = None) -> None:
        if symbols is None and subscription.needs_symbols:
            self._list_symbols(lambda names: self._ask_for(subscription, names))
            return
        since = subscription.resumed(self._epoch, symbols)
        interval_s = self._interval(subscription)
        commands = subscription.request.subscribe(interval_s, since, self._epoch, self._message_bytes)
        refused: dict[str, str] = {}

        def take(message: Message | ClientError) -> None:
            if isinstance(message, ClientError):
                subscription.fail(message)
                return
            refused.update(_refused(message))
            for entry in _entries(message):
                self._route(subscription, entry)

        self.questions.ask_all(commands, lambda answers: subscription.answered(refused), take)

    def _list_symbols(self, done: Callable[[list[str]], None]) -> None:
        names: list[str] = []

        def take(message: Message | ClientError) -> None:
            page = message.get("symbols") if isinstance(message, dict) else None
            if not isinstance(page, list):
                raise ProtocolError(f"no list of symbols: {message}")
            names.extend(map(str, page))
            if page and isinstance(message, dict) and message.get("more"):
                self.questions.ask({"op": "symbols", "after": names[-1], "limit": 10_000}, take, nothing)
            else:
                done(names)

        self.questions.ask({"op": "symbols", "limit": 10_000}, take, nothing)

    def _route(self, subscription: Subscription, entry: Any) -> None:
        """Follow a described channel, in place of whoever had it before."""
        description = describe(entry, self._epoch)
        number = self._numbers.get(description.channel)
        if number is not None:
            owner, _, _ = self._routes.pop(number)
            if owner is not subscription:
                owner.forget(description.channel.symbol)
        track = subscription.described(description, self._epoch)
        width = len(columns_of(description.channel.kind, description.conflated))
        self._numbers[description.channel] = description.number
        self._routes[description.number] = (subscription, track, width)

    def _announced(self, message: Message) -> None:
        """Find the subscription of a channel that is described by itself: who named it, or else the wildcard."""
        channel = Channel(message.get("kind", ""), message.get("symbol", ""), message.get("interval_s", 0))
        wildcard = None
        for subscription in self.subscriptions:
            if subscription.request.kind != channel.kind or self._interval(subscription) != channel.interval_s:
                continue
            if subscription.request.symbols is None:
                wildcard = subscription
            elif channel.symbol in subscription.request.symbols:
                self._route(subscription, message)
                return
        if wildcard is not None:
            self._route(wildcard, message)

    def _wildcard_beside(self, subscription: Subscription) -> Subscription | None:
        """Return the wildcard that takes back what is unsubscribed by name."""
        if subscription.request.symbols is None:
            return None
        series = (None, subscription.request.kind, self._interval(subscription))
        for other in self.subscriptions:
            if (other.request.symbols, other.request.kind, self._interval(other)) == series:
                return other
        return None

    def _give_back(self, subscription: Subscription, wildcard: Subscription, answer: Answer) -> None:
        """Subscribe names for the wildcard, since `unsubscribe` would exclude them from it."""
        positions: dict[str, Position] = {}
        for symbol in subscription.request.symbols or ():
            position = subscription.forget(symbol)
            if position is not None:
                positions[symbol] = position
        wildcard.adopt(positions)
        since = {symbol: position.seq for symbol, position in positions.items()}
        request = replace(wildcard.request, symbols=subscription.request.symbols)
        commands = request.subscribe(self._interval(wildcard), since, self._epoch, self._message_bytes)

        def take(message: Message | ClientError) -> None:
            for entry in _entries(message) if isinstance(message, dict) else ():
                self._route(wildcard, entry)

        self.questions.ask_all(commands, lambda answers: answer({}), take, if_lost=lambda: answer({}))

    def _unsubscribed(self, answers: list[Message], done: Answer) -> None:
        """Forget the channels that ended. A wildcard's end is also that of names beside it: ask for these again."""
        bereft: list[Subscription] = []
        for message in answers:
            ended = message.get("channels")
            for number in ended if isinstance(ended, list) else ():
                if type(number) is not int or number not in self._routes:
                    continue
                owner, track, _ = self._routes.pop(number)
                self._numbers.pop(track.description.channel, None)
                if owner in self.subscriptions and owner not in bereft:
                    bereft.append(owner)
        for subscription in bereft:
            self._ask_for(subscription)
        done({})

    # What the server says unasked

    def _data(self, message: list[Any]) -> None:
        number, seq, n = head(message)
        route = self._routes.get(number)
        if route is None:
            raise ProtocolError(f"rows of channel {number}, which was not described")
        subscription, track, width = route
        self._rows += subscription.advance(track, seq, columns(message, n, width))
        self.made_progress = True

    def _welcomed(self, message: Message) -> None:
        if self._epoch:
            raise ProtocolError("a second welcome")
        epoch = welcome_epoch(message)
        self.welcome, self._epoch = message, epoch
        self.status = Status("waiting" if self.status is None else self.status.state, message.get("clock"))
        self.expires_ns = _expires(message)
        self.is_let_in = message.get("auth") is not True
        if not self.is_let_in:
            if self._token is None:
                raise Unauthenticated(CloseCode.UNAUTHENTICATED, "the server asks for a token, and none was given")
            self.authenticate(self._token)
        self.questions.connected()
        # Names first: a wildcard leaves them alone.
        for subscription in sorted(self.subscriptions, key=lambda each: each.request.symbols is None):
            self._ask_for(subscription)

    def _authenticated(self, message: Message | ClientError) -> None:
        if isinstance(message, ClientError):
            raise Unauthenticated(CloseCode.UNAUTHENTICATED, str(message))
        self.is_let_in, self.expires_ns = True, _expires(message)

    def _revoked(self, message: Message) -> None:
        """Forget channels that the token permits no longer, and let their readers know."""
        channels = message.get("channels")
        lost: dict[Subscription, list[str]] = {}
        for number in channels if isinstance(channels, list) else ():
            if type(number) is int and number in self._routes:
                owner, track, _ = self._routes.pop(number)
                self._numbers.pop(track.description.channel, None)
                lost.setdefault(owner, []).append(track.description.channel.symbol)
        for subscription, symbols in lost.items():
            subscription.revoked(symbols)

    def _told_status(self, message: Message) -> None:
        status = Status(str(message.get("state")), message.get("clock"))
        changed, self.status = status != self.status, status
        if changed and self._on_status is not None:
            self._on_status(status)
        self._finish(lambda each: not each.catches_up and not each.request.conflated)

    def _heartbeat(self, message: Message) -> None:
        """Nothing is pending: all rows must be here, and of a feed that has ended no others will come."""
        self.reconcile(message)
        self.made_progress = True
        for subscription in self.subscriptions:
            subscription.catches_up = False
        self._finish(lambda each: True)

    def reconcile(self, message: Mapping[Any, Any]) -> None:
        """Compare the rows that the server has sent with those that arrived. Raises RowsLost if they differ."""
        rows = message.get("rows")
        if rows != self._rows:
            raise RowsLost(f"{self._rows} rows arrived of {rows} that the server has sent on this connection")

    def _finish(self, is_through: Callable[[Subscription], bool]) -> None:
        if self.status is not None and self.status.state == "ended":
            for subscription in list(self.subscriptions):
                if subscription.is_answered and is_through(subscription):
                    self.subscriptions.remove(subscription)
                    subscription.finish()

    def _gap(self, message: Message) -> None:
        number, seq = message.get("channel"), message.get("seq")
        if not isinstance(number, int) or not isinstance(seq, int) or number not in self._routes:
            raise ProtocolError(f"a gap in channel {number!r}, which was not described")
        subscription, track, _ = self._routes[number]
        subscription.gap(track, seq)

    def _goodbye(self, message: Message) -> None:
        wait = message.get("reconnect_ms")
        self.reconnect_ms = wait if isinstance(wait, int) and wait >= 0 else None

    def _unasked_error(self, message: Message) -> None:
        self.last_error = f"{message.get('code')}: {message.get('message')}"


def _entries(message: Message) -> Iterator[Any]:
    entries = message.get("channels")
    if message.get("type") != "subscribed" or not isinstance(entries, list):
        raise ProtocolError(f"{message.get('type')!r} as the answer to a subscribe")
    return iter(entries)


def _refused(message: Message) -> dict[str, str]:
    refused = message.get("refused") or []
    try:
        return {str(each["symbol"]): str(each["code"]) for each in refused}
    except (TypeError, KeyError) as error:
        raise ProtocolError("refused symbols that cannot be read") from error


def _expires(message: Message) -> int | None:
    expires = message.get("expires")
    return expires if type(expires) is int else None
