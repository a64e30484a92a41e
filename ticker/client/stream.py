"""The connection to a server, kept: an asyncio client on Tornado's WebSocket that reconnects and resumes.

Back-pressure goes all the way: messages are read one at a time (`read_message`, whose queue holds one), and only while
the inbox has room. A reader that is slow lets the inbox fill, then the socket's buffers, and then the server knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from tornado.websocket import WebSocketClientConnection

from ticker.client.backoff import FINAL, Backoff
from ticker.client.connection import CONNECT_S, Sender, close_connection, open_connection, stream_url
from ticker.client.conversation import Conversation, RowsLost, Status
from ticker.client.errors import (
    ClientError,
    ConnectionClosed,
    ConnectionFailed,
    MissedRows,
    ProtocolError,
    SymbolsRefused,
    Unauthenticated,
)
from ticker.client.inbox import Inbox
from ticker.client.request import request_of
from ticker.client.subscription import Subscription
from ticker.client.token import Token, fresh, refresh_delay
from ticker.columns import Batch
from ticker.model import Position
from ticker.protocol.messages import CloseCode

log = logging.getLogger(__name__)

SILENT_HEARTBEATS = 3
"""Heartbeats that fail to come until the connection is given up."""


class Stream:
    """A connection that is kept: `async with connect(url) as stream`. Its subscriptions survive reconnecting.

    `async for batch in stream` yields the batches of all subscriptions in the order of their arrival. Not for several
    threads; several tasks may read, each its own subscription.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        buffer_bytes: int = 1 << 20,
        patience_s: float | None = None,
        on_status: Callable[[Status], object] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.url = stream_url(url)
        self.reconnects = 0
        """How many times the connection was lost and made again."""
        self._conversation = Conversation(on_status)
        self._token = token
        self._inbox = Inbox(buffer_bytes)
        self._patience_s = patience_s
        self._backoff = backoff or Backoff()
        self._subscriptions: list[Subscription] = []
        self._sender: Sender | None = None
        self._watcher: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_ns: int | None = None
        self._opened: asyncio.Future[None] | None = None
        self._heard = self._welcomed_s = 0.0
        self._is_paused = False
        self._task: asyncio.Task[None] | None = None
        self._error: ClientError | None = None
        self._is_closed = False

    # What a reader asks

    def subscribe(
        self,
        symbols: str | Iterable[str],
        kind: str = "trades",
        mode: str = "all",
        *,
        interval_s: int | None = None,
        interval_ms: int | None = None,
        since: Mapping[str, Position] | int | None = None,
        on_missed: Callable[[MissedRows], object] | None = None,
        on_refused: Callable[[SymbolsRefused], object] | None = None,
    ) -> Subscription:
        """Subscribe to a symbol, several, or all (`"*"`); see Subscription for what to do with the result.

        `kind` is `trades`, `quotes` or `bars` (of `interval_s` seconds). `mode` `all` gives every row, `conflated` a
        summary at most every `interval_ms`. `since` resumes: a map of symbols to the Position of the row needed next
        (see `Subscription.positions`), or 0 for all rows that the server still has. Rows before those it has are told
        as missed. Raises ValueError for what no server would take, and for a channel that is subscribed already.
        """
        if self._task is None or self._is_closed:
            raise ClientError("the stream isn't open: use it in `async with`")
        if not (since is None or (isinstance(since, int) and since == 0) or isinstance(since, Mapping)):
            raise ValueError(f"since: expected 0 or a map of symbols to positions, not {since!r}")
        request = request_of(symbols, kind, mode, interval_s, interval_ms)
        subscription = Subscription(request, since, self._inbox, on_missed, on_refused, self._unsubscribe)
        self._conversation.subscribe(subscription)
        self._subscriptions = [each for each in self._subscriptions if not each.is_finished or each.shelf.items]
        self._subscriptions.append(subscription)
        if self._error is not None:
            subscription.fail(self._error)
        self._send()
        return subscription

    async def symbols(self, prefix: str = "") -> list[str]:
        """Return the symbols that the feed has, sorted; those that begin with `prefix`."""
        names: list[str] = []
        more = True
        while more:
            question: dict[str, Any] = {"op": "symbols", "prefix": prefix, "limit": 10_000}
            if names:
                question["after"] = names[-1]
            page = await self._ask(question)
            found = page.get("symbols")
            if not isinstance(found, list):
                raise ProtocolError(f"no list of symbols: {page}")
            names += map(str, found)
            more = bool(page.get("more") and found)
        return names

    async def ping(self) -> int:
        """Return the server's time in UNIX nanoseconds, once it is proven that all rows it has sent are here."""
        time = (await self._ask({"op": "ping"})).get("time")
        if not isinstance(time, int):
            raise ProtocolError(f"a pong without a time: {time!r}")
        return time

    @property
    def welcome(self) -> Mapping[str, Any]:
        """The server's first words on the newest connection: epoch, feed, kinds, intervals, limits."""
        return self._conversation.welcome or {}

    @property
    def epoch(self) -> str:
        """The numbering that positions are valid in."""
        return str(self.welcome.get("epoch", ""))

    @property
    def status(self) -> Status | None:
        """The feed's state and clock, as far as the server has told them."""
        return self._conversation.status

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now. Subscriptions wait for the next one while there is none."""
        return self._conversation.is_welcome

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while True:
            for subscription in self._subscriptions:
                subscription.tell_refusal()
            while waiting := [each for each in self._subscriptions if each.shelf.items]:
                batch = min(waiting, key=_ticket).take_one()
                if batch is not None:
                    return batch
            over = [each for each in self._subscriptions if each.is_finished or each.error is not None]
            self._subscriptions = [each for each in self._subscriptions if each not in over]
            for subscription in over:
                if subscription.error is not None:
                    raise subscription.error
            if self._error is not None:
                raise self._error
            if self._is_closed or not self._subscriptions:
                raise StopAsyncIteration
            await self._inbox.arrival(None)

    # Life

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionFailed if there is no such server; later failures are tried again."""
        if self._task is not None:
            raise ClientError("a stream is opened once")
        token = await fresh(self._token)
        connection = await open_connection(self.url, token)
        self._opened = opened = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(connection, token))
        try:
            await opened
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave; every iteration ends."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.close()
        self._inbox.wake_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._conversation.questions.fail(ClientError("the stream was closed"))

    async def _keep(self, connection: WebSocketClientConnection, token: str | None) -> None:
        """Talk, and connect again, until closed or until that is no use."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                code = await self._talk(connection, token)
                self._refuse_final(code)
                lost_at, reason = loop.time(), f"connection lost (code {code})" if code else "connection lost"
                conversation = self._conversation
                wait, progress = conversation.reconnect_ms, conversation.made_progress
                while True:
                    delay = self._backoff.delay(code, wait, progress)
                    if self._patience_s is not None and loop.time() + delay - lost_at > self._patience_s:
                        raise ConnectionFailed(f"{self.url}: {reason}, for {self._patience_s:g} s")
                    log.warning("%s: %s; trying again in %.1f s", self.url, reason, delay)
                    await asyncio.sleep(delay)
                    try:
                        token = await fresh(self._token)
                        connection = await open_connection(self.url, token)
                        break
                    except ConnectionFailed as error:
                        reason, code, wait, progress = str(error.__cause__ or error), None, None, False
                self.reconnects += 1
                log.info("%s: connected again", self.url)
        except ClientError as error:
            self._fail(error)
        except Exception as error:
            self._fail(ClientError(f"the client failed: {error!r}"), error)

    def _fail(self, error: ClientError, cause: Exception | None = None) -> None:
        """Let every reader see why there will be nothing more."""
        error.__cause__ = cause or error.__cause__
        self._error = error
        self._open(error)
        for subscription in self._subscriptions:
            if not subscription.is_finished:
                subscription.fail(error)
        self._conversation.questions.fail(error)
        self._inbox.wake_all()

    def _open(self, error: ClientError | None = None) -> None:
        opened, self._opened = self._opened, None
        if opened is not None and not opened.done():
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)

    def _refuse_final(self, code: int | None) -> None:
        why = self._conversation.last_error
        if code == CloseCode.UNAUTHENTICATED:
            if callable(self._token) and self._conversation.is_let_in:
                return  # it was right, and is no more: there may be a fresh one
            raise Unauthenticated(code, f"{self.url}: {why or 'the server wants a valid token'}")
        if code in FINAL:
            raise ConnectionClosed(code, f"{self.url}: closed with {code}" + (f" after {why}" if why else ""))

    async def _talk(self, connection: WebSocketClientConnection, token: str | None) -> int | None:
        """Hold the conversation on a connection until it ends; return its close code."""
        loop, conversation = asyncio.get_running_loop(), self._conversation
        sender = self._sender = Sender(connection, conversation.questions.outgoing)
        self._heard = loop.time()
        conversation.connected(token)
        self._renewed_ns = None
        self._watch(connection, self._heard)
        message: str | bytes | None = ""
        self._welcomed_s = self._heard
        try:
            while (message := await connection.read_message()) is not None:
                self._heard = loop.time()
                conversation.receive(message)
                if self._opened is not None and conversation.is_let_in:
                    self._open()
                if conversation.questions.outgoing:
                    self._send()
                if conversation.expires_ns != self._renewed_ns:
                    self._plan_renewal()
                if self._inbox.is_full:
                    self._is_paused = True
                    await self._inbox.room(lambda: [each.shelf for each in self._subscriptions])
                    self._is_paused, self._heard = False, loop.time()
            return connection.close_code
        except RowsLost as error:
            log.warning("%s: %s", self.url, error)
            return None
        finally:
            self._is_paused = False
            self._sender = None
            sender.close()
            if self._watcher is not None:
                self._watcher.cancel()
            if self._renewal is not None:
                self._renewal.cancel()
            conversation.lost()
            await close_connection(connection, message is None)

    def _watch(self, connection: WebSocketClientConnection, due: float) -> None:
        """Look once a second whether the server is alive; leave a connection that is silent for too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._is_paused or now - due > 1.0:  # our own silence: nothing is read, or the loop was held up
            self._heard = now
        heartbeat_s = self.welcome.get("heartbeat_s")
        patience = SILENT_HEARTBEATS * heartbeat_s if isinstance(heartbeat_s, int | float) else CONNECT_S
        if now - self._heard > (patience if self._conversation.is_welcome else CONNECT_S):
            log.warning("%s: nothing came for %.0f s", self.url, now - self._heard)
            connection.stream.close()
            return
        self._watcher = loop.call_later(1.0, self._watch, connection, now + 1.0)

    def _plan_renewal(self) -> None:
        """Renew the token in time before it expires, if there is a function that gives others."""
        self._renewed_ns = expires_ns = self._conversation.expires_ns
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        time_ns = self.welcome.get("time")
        if expires_ns is not None and callable(self._token) and isinstance(time_ns, int):
            # By the server's clock, which ours need not agree with.
            passed_s = asyncio.get_running_loop().time() - self._welcomed_s
            self._renewal = asyncio.create_task(self._renew((expires_ns - time_ns) / 1e9 - passed_s))

    async def _renew(self, left_s: float) -> None:
        """Send a fresh token before the old one ends, in `left_s`; try again while there is none."""
        while True:
            delay_s = refresh_delay(left_s)
            await asyncio.sleep(delay_s)
            left_s -= delay_s
            try:
                token = await fresh(self._token)
            except ConnectionFailed as error:
                log.warning("%s: %s", self.url, error)
                continue
            if token is not None:
                self._conversation.authenticate(token)
                self._send()

    # Commands

    async def _ask(self, command: dict[str, Any]) -> dict[Any, Any]:
        if self._error is not None or self._is_closed or self._task is None:
            raise self._error or ClientError("the stream isn't open")
        answered: asyncio.Future[dict[Any, Any]] = asyncio.get_running_loop().create_future()

        def answer(message: dict[Any, Any] | ClientError) -> None:
            if answered.done():
                return
            if isinstance(message, ClientError):
                answered.set_exception(message)
            else:
                answered.set_result(message)

        self._conversation.questions.ask(command, answer)
        self._send()
        return await answered

    async def _unsubscribe(self, subscription: Subscription) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._conversation.unsubscribe(subscription, lambda _: None if ended.done() else ended.set_result(None))
        self._send()
        await ended

    def _send(self) -> None:
        if self._sender is not None:
            self._sender.commands_per_s = self._commands_per_s
            self._sender.send()

    @property
    def _commands_per_s(self) -> int:
        """How many commands to send in any second: a little fewer than the server takes."""
        limits = self.welcome.get("limits")
        most = limits.get("commands_per_s") if isinstance(limits, Mapping) else None
        return max(1, int(most * 0.8)) if isinstance(most, int | float) else 40


def connect(
    url: str,
    *,
    token: Token | None = None,
    buffer_bytes: int = 1 << 20,
    patience_s: float | None = None,
    on_status: Callable[[Status], object] | None = None,
    backoff: Backoff | None = None,
) -> Stream:
    """Return a stream for `async with`: `ws://HOST:PORT/stream`, or the `http://` address that the server prints.

    `token` is what to authenticate with, or a function (async or not) that returns a fresh one: it is called for each
    connection, and before the one in use expires. It is sent as a header or by `auth`, never in the URL. One that is
    refused is an Unauthenticated, and not tried again.
    `buffer_bytes` bounds what is received and not read yet; beyond it the server is made to wait. `patience_s` is how
    long a lost connection is tried again, for ever unless given. `on_status` is called when the feed's state changes.
    """
    return Stream(
        url, token=token, buffer_bytes=buffer_bytes, patience_s=patience_s, on_status=on_status, backoff=backoff
    )


def _ticket(subscription: Subscription) -> int:
    return subscription.shelf.items[0][0]
