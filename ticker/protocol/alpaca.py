"""What clients of Alpaca's data streams ask and are told: its requests, its errors, its channels (docs/alpaca.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MESSAGES = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
}
"""The text of each error, exactly as clients compare it."""
REASONS = {
    400: "bad_request",
    401: "unauthenticated",
    403: "bad_request",
    404: "unauthenticated",
    405: "channels",
    406: "connections_of_principal",
    409: "forbidden",
    410: "unknown_kind",
    411: "forbidden",
}
"""What a refusal is counted as, in the words of the native stream; 402 and 407 are counted where they are found."""

_SYMBOL = re.compile(r"\*|[A-Z0-9^][A-Z0-9 ./:_^=-]{0,127}")

Lists = Mapping[str, tuple[str, ...]]
"""Symbols by channel, each once, in the client's order."""


class AlpacaError(Exception):
    """A request that is answered with an error; the connection and its subscriptions stay as they were.

    `reason` is what it is counted as, if that is not what REASONS says.
    """

    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(MESSAGES[code])
        self.code = code
        self.reason = reason

    @property
    def message(self) -> dict[str, Any]:
        """What the client is told."""
        return {"T": "error", "code": self.code, "msg": MESSAGES[self.code]}


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be subscribed on one sort of stream. `repeated` are confirmed as `trades` are, and cannot be set."""

    asset_class: str
    channels: tuple[str, ...]
    repeated: tuple[str, ...] = ()

    def check(self, lists: Lists) -> None:
        """Raise AlpacaError 410 where a channel of another stream is asked for."""
        if any(symbols and channel not in self.channels for channel, symbols in lists.items()):
            raise AlpacaError(410)

    def confirmation(self, lists: Mapping[str, Iterable[str]]) -> dict[str, Any]:
        """Return the whole state of a session's subscriptions: all channels, those without symbols too."""
        message: dict[str, Any] = {"T": "subscription"}
        for channel in self.channels:
            message[channel] = list(lists.get(channel, ()))
        for channel in self.repeated:
            message[channel] = message["trades"]
        return message


_COMMON = ("trades", "quotes", "bars", "updatedBars", "dailyBars")
STOCKS = Offer("us_equity", (*_COMMON, "statuses", "lulds", "imbalances"), ("corrections", "cancelErrors"))
CRYPTO = Offer("crypto", (*_COMMON, "orderbooks"))
_REPEATED = frozenset(STOCKS.repeated)
_CHANNELS = frozenset((*STOCKS.channels, *CRYPTO.channels, "news", "pricing"))

CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is. A token stands as the secret of the key `oauth`."""

    key: str
    secret: str

    @classmethod
    def of(cls, key: str, secret: str) -> Credentials:
        """Return what a client gave; `access_token` is another name of `oauth`."""
        return cls("oauth" if key == "access_token" else key, secret)


@dataclass(frozen=True, slots=True)
class Subscribe:
    lists: Lists


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    lists: Lists


Request = Credentials | Subscribe | Unsubscribe


def parse(message: Mapping[Any, Any], is_known: Callable[[str], bool] = lambda symbol: False) -> Request:
    """Return the request that a client's map stands for. Raises AlpacaError 400.

    A symbol is right if it looks like one or `is_known`.
    """
    match message.get("action"):
        case "auth":
            key, secret = message.get("key"), message.get("secret")
            if not isinstance(key, str) or not isinstance(secret, str):
                raise AlpacaError(400)
            return Credentials.of(key, secret)
        case "subscribe":
            return Subscribe(_lists(message, is_known))
        case "unsubscribe":
            return Unsubscribe(_lists(message, is_known))
    raise AlpacaError(400)


def _lists(message: Mapping[Any, Any], is_known: Callable[[str], bool]) -> dict[str, tuple[str, ...]]:
    lists = {}
    for channel, symbols in message.items():
        if channel == "action" or symbols is None:
            continue
        if not isinstance(symbols, list):
            raise AlpacaError(400)
        if not symbols or channel in _REPEATED:
            continue
        if channel not in _CHANNELS or not all(isinstance(each, str) for each in symbols):
            raise AlpacaError(400)
        if not all(_SYMBOL.fullmatch(each) or is_known(each) for each in symbols):
            raise AlpacaError(400)
        lists[channel] = tuple(dict.fromkeys(symbols))
    return lists
