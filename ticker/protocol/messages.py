"""What clients may ask, what can be wrong with it, and why a connection ends: `parse` turns a map into a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ticker.model import KINDS

CONFLATION_MS = (50, 100, 250, 500, 1000, 5000)
"""The conflation intervals that are granted; what is asked is rounded up to one of them."""
ID_CHARACTERS = 1000
"""How long a command's `id` may be: its answer, an error too, repeats it."""
TEXT_CHARACTERS = 1024
TOKEN_CHARACTERS = 8192
MOST_KEYS = 64
"""How many keys a command may have, those that are ignored among them."""


class CloseCode(IntEnum):
    """Ways in which a connection ends (protocol, section 9), and what a client does then."""

    GOING_AWAY = 1001  # back after reconnect_ms
    PROTOCOL_ERROR = 1002
    BAD_TEXT = 1007
    UNFINISHED = 1008
    TOO_BIG = 1009
    BAD_MESSAGE = 4000
    UNAUTHENTICATED = 4001
    TOO_SLOW = 4008  # back with `since`, or conflated
    LIMIT = 4029  # back later


class CommandError(Exception):
    """A command that is answered with an `error`; the connection and its subscriptions stay as they were."""

    def __init__(self, code: str, message: str, id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id


class MessageError(Exception):
    """A message that is no command at all: the connection cannot go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command has."""

    id: int | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth(Command):
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols(Command):
    prefix: str = ""
    after: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe(Command):
    """`symbols` is None for `*`. `interval_ms` is as granted, 0 in mode `all`. `interval_s` is None where not given."""

    kind: str
    symbols: tuple[str, ...] | None
    interval_s: int | None = None
    interval_ms: int = 0
    since: Mapping[str, int] = field(default_factory=dict)
    epoch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe(Command):
    kind: str
    symbols: tuple[str, ...] | None
    interval_s: int | None = None


def parse(message: Mapping[Any, Any]) -> Command:
    """Return the command that a client's map stands for. Raises CommandError, with the `id` if it can be told."""
    id = id_of(message)
    if len(message) > MOST_KEYS:
        raise CommandError("bad_request", f"a command has at most {MOST_KEYS} keys", id)
    try:
        match message.get("op"):
            case "subscribe":
                return _subscribe(message, id)
            case "unsubscribe":
                kind = _kind(message)
                interval_s = _interval_s(message) if kind == "bars" else None
                return Unsubscribe(id=id, kind=kind, symbols=_symbols(message), interval_s=interval_s)
            case "symbols":
                return Symbols(
                    id=id,
                    prefix=_text(message, "prefix", ""),
                    after=_text(message, "after", ""),
                    limit=_integer(message, "limit", 1000, 1, 10_000),
                )
            case "ping":
                return Ping(id=id)
            case "auth":
                if message.get("token") is None:
                    raise CommandError("bad_request", "token: missing")
                return Auth(id=id, token=_text(message, "token", "", TOKEN_CHARACTERS))
            case None:
                raise CommandError("bad_request", "op: missing")
            case str(op):
                raise CommandError(
                    "unknown_op", f"op: {op[:40]!r} is none of auth, ping, subscribe, symbols, unsubscribe"
                )
            case _:
                raise CommandError("bad_request", "op: expected a string")
    except CommandError as error:
        error.id = id
        raise


def _subscribe(message: Mapping[Any, Any], id: int | str | None) -> Subscribe:
    kind, symbols = _kind(message), _symbols(message)
    since = _since(message)
    epoch = _text(message, "epoch", "") if message.get("epoch") is not None else None
    if since is not None and epoch is None:
        raise CommandError("bad_request", "epoch: missing; since is meaningless without the epoch it was numbered in")
    return Subscribe(
        id=id,
        kind=kind,
        symbols=symbols,
        interval_s=_interval_s(message) if kind == "bars" else None,
        interval_ms=_conflation_ms(message),
        since=since or {},
        epoch=epoch,
    )


def id_of(message: Mapping[Any, Any]) -> int | str | None:
    """Return the `id` of a client's map. Raises CommandError if it is neither an integer nor a string, or too long."""
    id = message.get("id")
    if isinstance(id, str) and len(id) > ID_CHARACTERS:
        raise CommandError("bad_request", f"id: expected at most {ID_CHARACTERS} characters")
    if id is None or isinstance(id, str) or (isinstance(id, int) and not isinstance(id, bool)):
        return id
    raise CommandError("bad_request", "id: expected an integer or a string")


def _kind(message: Mapping[Any, Any]) -> str:
    kind = _text(message, "kind", "trades")
    if kind not in KINDS:
        raise CommandError("unknown_kind", f"kind: {kind[:40]!r} is none of {', '.join(KINDS)}")
    return kind


def _symbols(message: Mapping[Any, Any]) -> tuple[str, ...] | None:
    symbols = message.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise CommandError("bad_request", "symbols: expected a list of strings")
    if symbols == ["*"]:
        return None
    if "*" in symbols:
        raise CommandError("bad_request", "symbols: '*' stands alone")
    return tuple(dict.fromkeys(symbols))


def _since(message: Mapping[Any, Any]) -> dict[str, int] | None:
    since = message.get("since")
    if since is None:
        return None
    if not isinstance(since, dict):
        raise CommandError("bad_request", "since: expected a map of symbols to the next row needed")
    for symbol, seq in since.items():
        if not isinstance(symbol, str) or not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
            raise CommandError("bad_request", "since: expected whole numbers from 0, by symbol")
    return since


def _conflation_ms(message: Mapping[Any, Any]) -> int:
    asked = message.get("interval_ms")
    if asked is None:
        asked = 250
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked >= 1:
        raise CommandError("bad_request", "interval_ms: expected a number of milliseconds from 1")
    mode = _text(message, "mode", "all")
    if mode == "all":
        return 0
    if mode != "conflated":
        raise CommandError("unknown_mode", f"mode: {mode[:40]!r} is neither all nor conflated")
    return next((granted for granted in CONFLATION_MS if asked <= granted), CONFLATION_MS[-1])


def _interval_s(message: Mapping[Any, Any]) -> int | None:
    interval_s = message.get("interval_s")
    if interval_s is not None and (isinstance(interval_s, bool) or not isinstance(interval_s, int)):
        raise CommandError("bad_request", "interval_s: expected an integer")
    return interval_s


def _text(message: Mapping[Any, Any], name: str, default: str, most: int = TEXT_CHARACTERS) -> str:
    value = message.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise CommandError("bad_request", f"{name}: expected a string")
    if len(value) > most:
        raise CommandError("bad_request", f"{name}: expected at most {most} characters")
    return value


def _integer(message: Mapping[Any, Any], name: str, default: int, least: int, most: int) -> int:
    value = message.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise CommandError("bad_request", f"{name}: expected an integer from {least} to {most}")
    return value
