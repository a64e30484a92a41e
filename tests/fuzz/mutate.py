"""Messages that are almost right: what the protocol pages allow, changed in structure and in bytes. Seeded.

The corpus is put together from docs/protocol.md and docs/alpaca.md; golden frames come from tests/vectors.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS = (
    "AAPL",
    "BTC",
    "MSFT",
    "XXXX",
    "*",
    "",
    "aapl",
    "Ωß",
    "A/B",
    "\N{PILE OF POO}",
    "\x00",
    "A" * 200,
    "%s",
    "{0}",
)

NATIVE: tuple[dict[str, Any], ...] = (
    {"op": "subscribe", "id": 1, "kind": "trades", "symbols": ["AAPL", "MSFT"], "mode": "all"},
    {"op": "subscribe", "symbols": ["*"], "kind": "quotes", "mode": "conflated", "interval_ms": 250},
    {"op": "subscribe", "id": "b", "symbols": ["BTC"], "kind": "bars", "interval_s": 5, "mode": "conflated"},
    {"op": "subscribe", "symbols": ["AAPL"], "since": {"AAPL": 0}, "epoch": "9f2c51d0"},
    {"op": "subscribe", "symbols": ["MSFT", "BTC"], "since": {"MSFT": 3, "BTC": 2**63}, "epoch": "other"},
    {"op": "unsubscribe", "id": 2, "symbols": ["AAPL"]},
    {"op": "unsubscribe", "symbols": ["*"], "kind": "quotes"},
    {"op": "unsubscribe", "symbols": ["BTC"], "kind": "bars", "interval_s": 1},
    {"op": "symbols", "prefix": "A", "after": "AAPL", "limit": 10},
    {"op": "ping", "id": 0},
    {"op": "auth", "token": "a token"},
)
ALPACA: tuple[dict[str, Any], ...] = (
    {"action": "auth", "key": "PK", "secret": "right"},
    {"action": "subscribe", "trades": ["AAPL"], "quotes": ["MSFT", "BTC"], "bars": ["*"]},
    {"action": "subscribe", "dailyBars": ["AAPL"], "updatedBars": ["MSFT"], "statuses": ["*"], "lulds": []},
    {"action": "unsubscribe", "trades": ["AAPL"], "quotes": ["*"], "corrections": ["AAPL"]},
    {"action": "subscribe", "orderbooks": ["BTC"], "news": ["*"]},
)

WORDS = (
    *("op", "id", "kind", "symbols", "mode", "interval_s", "interval_ms", "since", "epoch", "prefix", "after", "limit"),
    *(
        "token",
        "action",
        "key",
        "secret",
        "trades",
        "quotes",
        "bars",
        "subscribe",
        "unsubscribe",
        "ping",
        "auth",
        "all",
    ),
    *("conflated", "type", "channels", "__class__", "T", "S", "seq", "missed", "columns", "snapshot", "channel"),
)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 5, 49, 50, 51, 250, 1000, 5000, 5001, 10_000, 10_001, 86400),
    *(2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 0.5, 1.5, 1e-320, 1e300, math.inf, -math.inf, math.nan),
)
SCALARS: tuple[Any, ...] = (None, True, False, *NUMBERS, *SYMBOLS, *WORDS, b"", b"bytes", b"\xff\xfe")
LONG = (5000, 70_000)
MESSAGE_BYTES = 262_144


class _Pairs(list[tuple[Any, Any]]):
    """A map whose keys may come twice."""


class Mutator:
    """Makes messages by chance. One seed makes the same ones again."""

    def __init__(self, seed: int | str, corpus: Sequence[Any]) -> None:
        self._corpus = corpus
        self.chance = random.Random(seed)

    def value(self) -> Any:
        """Return something of the corpus, as it is or changed in some places."""
        value: Any = _copy(self.chance.choice(self._corpus))
        for _ in range(self.chance.choice((0, 0, 1, 1, 2, 4))):
            value = self._changed(value)
        return value

    def packed(self) -> bytes:
        """Return a message in msgpack, or what is almost one, as long as one may be."""
        data = _packed(self.value(), self.chance)
        if self.chance.random() < 0.3:
            data = self.damaged(data)
        return data[:MESSAGE_BYTES]

    def text(self) -> str:
        """Return a message in JSON, or what is almost one. It may hold half a surrogate pair only as an escape."""
        try:
            data = _text(self.value(), self.chance).encode()
        except RecursionError:  # nested too deeply for us
            data = b'{"op":' * 600
        if self.chance.random() < 0.3:
            data = self.damaged(data)
        return data[:MESSAGE_BYTES].decode(errors="replace")

    def damaged(self, data: bytes) -> bytes:
        """Return data with some of its bytes changed, lost, repeated or made up."""
        chance = self.chance
        changed = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            size = len(changed)
            at = chance.randrange(size + 1)
            end = min(size, at + chance.choice((1, 1, 2, 4, 8, 64)))
            match chance.randrange(7):
                case 0 if at < size:
                    changed[at] ^= 1 << chance.randrange(8)
                case 1 if at < size:
                    changed[at] = chance.choice((0, 0x7F, 0x80, 0xC1, 0xC7, 0xCF, 0xDC, 0xDD, 0xDF, 0xFF, 0x22, 0x5C))
                case 2:
                    del changed[at:end]
                case 3:
                    changed[at:at] = chance.randbytes(chance.choice((1, 2, 5, 9)))
                case 4:
                    changed[at:at] = changed[at:end] * chance.choice((1, 2, 20))
                case 5:
                    del changed[at:]
                case 6:
                    other = _packed(chance.choice(self._corpus), chance)
                    changed[at:end] = other[chance.randrange(len(other)) :]
        return bytes(changed)

    def scalar(self) -> Any:
        """Return a value without parts."""
        if self.chance.random() < 0.03:
            return "x" * self.chance.choice(LONG)
        if self.chance.random() < 0.05:
            return "".join(chr(self.chance.choice((0, 34, 92, 127, 0x3A9, 0x2028, 0xFFFF, 0x1F4A9))) for _ in range(9))
        return self.chance.choice(SCALARS)

    def _changed(self, value: Any) -> Any:
        chance = self.chance
        if isinstance(value, dict):
            return self._changed_map(value)
        if isinstance(value, list) and not isinstance(value, _Pairs):
            if value and chance.random() < 0.5:
                at = chance.randrange(len(value))
                value[at] = self._changed(value[at])
            else:
                value.insert(chance.randrange(len(value) + 1), self._another())
            is_small = len(value) < 20 and not any(isinstance(each, dict | list) for each in value)
            return value * chance.choice((1, 2, 300)) if is_small and chance.random() < 0.2 else value
        return self._another()

    def _changed_map(self, value: dict[Any, Any]) -> Any:
        chance = self.chance
        keys = list(value)
        match chance.randrange(8):
            case 0 if keys:
                del value[chance.choice(keys)]
            case 1:
                value[self._key()] = self._another()
            case 2 if keys:  # a key by another name
                value[self._key()] = value.pop(chance.choice(keys))
            case 3 if keys:  # types swapped
                one, other = chance.choice(keys), chance.choice(keys)
                value[one], value[other] = value[other], value[one]
            case 4:
                return _Pairs(
                    [*value.items(), *((key, self._another()) for key in chance.choices(keys or ["op"], k=2))]
                )
            case 5:
                value["id"] = self._another()
            case _ if keys:
                key = chance.choice(keys)
                value[key] = self._changed(value[key])
        return value

    def _key(self) -> Any:
        chance = self.chance
        return chance.choice(WORDS) if chance.random() < 0.8 else chance.choice((1, None, b"op", "\x00", 1.5, True, ""))

    def _another(self) -> Any:
        """Return a value of any shape."""
        chance = self.chance
        match chance.randrange(10):
            case 0:
                return _nested(chance.choice((2, 10, 600)), chance.random() < 0.5)
            case 1:
                return [self.scalar() for _ in range(chance.choice((0, 1, 3)))]
            case 2:
                return {self._key(): self.scalar() for _ in range(chance.choice((0, 1, 3)))}
            case 3:
                return _copy(chance.choice(self._corpus))
            case _:
                return self.scalar()


def golden() -> list[bytes]:
    """Return the golden messages of a server."""
    vectors = json.loads((ROOT / "tests/vectors/frames.json").read_text())
    return [bytes.fromhex(vector["frame_hex"]) for vector in vectors]


def _nested(depth: int, is_list: bool) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value] if is_list else {"a": value}
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    return list(map(_copy, value)) if isinstance(value, list) else value


def _packed(value: Any, chance: random.Random) -> bytes:
    if isinstance(value, _Pairs):
        body = b"".join(_packed(key, chance) + _packed(each, chance) for key, each in value)
        return b"\xde" + len(value).to_bytes(2, "big") + body
    if chance.random() < 0.01:
        return chance.choice(_EXTENSIONS)
    try:
        packed: bytes = msgpack.packb(value)
    except (ValueError, TypeError, RecursionError):  # nested too deeply for the packer: that is easy by hand
        packed = b"\x91" * 600 + b"\xc0"
    return packed


_EXTENSIONS = (
    msgpack.packb(msgpack.ExtType(5, b"x")),
    msgpack.packb(msgpack.Timestamp(1, 2)),
    b"\xc7\x03\xffxyz",  # a timestamp of three bytes
    b"\xc7\x0c\xff\xff\xff\xff\xff" + b"\x7f" * 8,  # and one of too many nanoseconds
)
_ESCAPES: tuple[Callable[[random.Random], str], ...] = (
    lambda chance: rf'"\ud{chance.choice("89abcdef")}00"',
    lambda chance: "NaN",
    lambda chance: chance.choice(("Infinity", "-Infinity")),
    lambda chance: "1" * chance.choice((20, 400, 5000)),
    lambda chance: f"1e{chance.choice((5, 308, 400, 99999))}",
    lambda chance: "[" * chance.choice((10, 5000)),
    lambda chance: "{'op': 'ping'}",
    lambda chance: '"\t"',
    lambda chance: "01",
)


def _text(value: Any, chance: random.Random) -> str:
    """Write JSON as strangers do: keys twice, numbers of any length, what is no JSON at all."""
    if chance.random() < 0.01:
        return chance.choice(_ESCAPES)(chance)
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{_key_text(key)}:{_text(each, chance)}" for key, each in value) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key_text(key)}: {_text(each, chance)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        texts = [_text(each, chance) for each in value[:20]]  # a long list repeats itself
        return f"[{', '.join(texts * (1 + len(value) // 20))}]"
    return json.dumps(value, default=repr, ensure_ascii=chance.random() < 0.5)


def _key_text(key: Any) -> str:
    return json.dumps(key if isinstance(key, str) else repr(key))
