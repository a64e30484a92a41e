"""A market in memory with neighbours whom nobody may disturb, and strangers who say what chance makes up.

Whatever comes, it is answered as the pages say: by one answer, with the command's `id`, an error by a code of the list;
and what ends is ended by a code of the list. The oracle decodes with msgpack and json, and knows nothing else of ours.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import msgpack

from tests.fuzz.mutate import ALPACA, NATIVE, Mutator
from tests.stream.conftest import CODECS, World
from tests.stream.reference import frames
from ticker.model import Instrument
from ticker.protocol.alpaca import STOCKS, Credentials
from ticker.protocol.alpaca_codec import AlpacaCodec
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.alpaca_msgpack import MsgpackAlpacaCodec
from ticker.protocol.messages import CloseCode
from ticker.stream.alpaca_accounts import Accounts
from ticker.stream.alpaca_session import AlpacaSession, Endpoint, Guest
from ticker.stream.alpaca_subscriptions import Everything
from ticker.stream.outbox import Outbox

OUTBOX_BYTES = 1 << 24
ANSWERS = {"subscribed", "unsubscribed", "symbols", "pong", "authenticated", "error"}
UNASKED = {"welcome", "channel", "status", "heartbeat", "gap", "goodbye"}
ERRORS = {"bad_request", "unknown_op", "unknown_kind", "unknown_mode", "unauthenticated", "limit"}
"""Section 10 of the page."""
CLOSES = {1001, 1002, 1007, 1008, 1009, 4000, 4001, 4008, 4029}
"""Section 9 of the page."""
ALPACA_ERRORS = {
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
}
ID_CHARACTERS = 1000
MOST_CONTAINERS = 8
EACH_S = 0.05
"""Seconds of the market from one message to the next: within the limit of commands."""
ROWS_EVERY = 20
"""Messages from one flush of rows to the next."""


class WrongError(AssertionError):
    """An answer that the page does not allow."""

    def __init__(self, what: str, said: object = "", answer: object = "") -> None:
        super().__init__(f"{what}\n  said:   {_short(said)}\n  answer: {_short(answer)}")


class Native:
    """A stranger on `/stream`."""

    def __init__(self, world: World, is_text: bool, seed: int | str) -> None:
        self._world = world
        self.is_text = is_text
        self._mutator = Mutator(f"{seed} native {is_text}", NATIVE)
        self.seen: Counter[str] = Counter()
        self._meet()

    def speak(self) -> None:
        """Say something, and look at what comes back."""
        data = self._mutator.text() if self.is_text else self._mutator.packed()
        if self._mutator.chance.random() < 0.005:  # a frame of the other sort
            data = data.encode(errors="replace") if isinstance(data, str) else data.decode("latin-1")
        self._peer.received.clear()
        self._peer.session.receive(data, self._world.now_s)
        self._check(data)
        while self._peer.session.closing is None and self._peer.session.step():
            pass
        if self._peer.session.closing is not None:
            self._part()
            self._meet()

    def leave(self) -> None:
        """Go without a word."""
        self._peer.session.close()

    def _meet(self) -> None:
        self._peer = self._world.connect(CODECS[self.is_text], OUTBOX_BYTES)
        self._peer.reader.feed = lambda data: None  # type: ignore[method-assign]
        self._world.peers.remove(self._peer)

    def _part(self) -> None:
        code = int(self._peer.session.closing or 0)
        self.seen[f"close {code}"] += 1
        if code not in CLOSES:
            raise WrongError(f"closed with {code}")
        self.leave()

    def _check(self, data: str | bytes) -> None:
        answers = []
        for is_text, payload in frames(b"".join(self._peer.received)):
            message = _decoded(self.is_text, is_text, payload)
            if isinstance(message, dict) and message["type"] in ANSWERS:
                answers.append(message)
            elif isinstance(message, dict) and message["type"] not in UNASKED | {"trades", "quotes", "bars"}:
                raise WrongError("an unknown type", data, message)
        if len(answers) != 1:
            raise WrongError(f"{len(answers)} answers", data, answers)
        (answer,) = answers
        self.seen[answer.get("code", answer["type"])] += 1
        if answer["type"] == "error" and not (answer["code"] in ERRORS and isinstance(answer["message"], str)):
            raise WrongError("no error of the page", data, answer)
        if self._peer.session.closing == CloseCode.BAD_MESSAGE and answer.get("code") != "bad_request":
            raise WrongError("closed with 4000 behind something else", data, answer)
        message = _read(data, self.is_text)
        expected = _id_of(message)
        if answer.get("code") == "bad_request" and self._peer.session.closing is not None and _is_manifold(data):
            expected = None  # it may be refused unread
        if answer.get("id") != expected or ("id" in answer) != (expected is not None):
            raise WrongError(f"id {_short(expected)} expected", data, answer)


class Alpaca:
    """A stranger on an Alpaca stream. Half of the time it has the right key."""

    def __init__(self, world: World, codec: AlpacaCodec, accounts: Accounts, seed: int | str) -> None:
        self._world = world
        self._codec = codec
        self._accounts = accounts
        self.is_text = isinstance(codec, JsonAlpacaCodec)
        self._endpoint = Endpoint("iex", world.market, STOCKS, Everything(world.directory, STOCKS.asset_class))
        self._mutator = Mutator(f"{seed} alpaca {self.is_text}", ALPACA)
        self.seen: Counter[str] = Counter()
        self._meet()

    def speak(self) -> None:
        """Say something, and look at what comes back."""
        data: str | bytes = self._mutator.text() if self.is_text else self._mutator.packed()
        if self._mutator.chance.random() < 0.2 and isinstance(data, str):  # it takes JSON in binary frames, too
            data = data.encode()
        self._received.clear()
        self.session.receive(data, self._world.now_s)
        answers = [message for message in self._messages() if message["T"] in ("success", "error", "subscription")]
        if not answers:  # a wrong key is answered a while later
            self._world.advance(1.0)
            self.session.tick(self._world.now_s)
            answers = self._messages()
            if not answers or answers[-1].get("code") != 402:
                raise WrongError("no answer", data)
        if len(answers) != 1:
            raise WrongError(f"{len(answers)} answers", data, answers)
        (answer,) = answers
        self.seen[str(answer.get("code", answer["T"]))] += 1
        if answer["T"] == "error" and ALPACA_ERRORS.get(answer["code"]) != answer["msg"]:
            raise WrongError("no error of the vendor's", data, answer)
        if self.session.closing is not None:
            if int(self.session.closing) not in CLOSES:
                raise WrongError(f"closed with {self.session.closing}")
            self.leave()
            self._meet()

    def leave(self) -> None:
        """Go without a word."""
        self.session.close()

    def _meet(self) -> None:
        self._received: list[bytes] = []
        outbox = Outbox(OUTBOX_BYTES, self._world.pressure, self._world.totals)
        outbox.write = self._write
        right = Credentials("PK", "right") if self._mutator.chance.random() < 0.7 else None
        self.session = AlpacaSession(
            self._endpoint, self._codec, outbox, self._accounts, Guest("192.0.2.1", False, right), self._world.now_s
        )
        self.session.open()

    def _write(self, data: bytes, taken: int = 0) -> int:
        self._received.append(data)
        return len(data)

    def _messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for is_text, payload in frames(b"".join(self._received)):
            found += _decoded(self.is_text, is_text, payload)
        return found


class Street:
    """Neighbours, and strangers of every codec and dialect who take turns. `seen` counts how they were answered."""

    def __init__(self, seed: int | str) -> None:
        instruments = (
            Instrument("AAPL"),
            Instrument("BTC", price_scale=1, size_scale=3, time_scale=9),
            Instrument("MSFT"),
        )
        self.world = world = World(instruments, intervals_s=(1, 5, 60), age_s=5, ticks_mib=1)
        self._neighbours = [world.connect(codec) for codec in CODECS]
        for neighbour in self._neighbours:
            neighbour.subscribe("*")
            neighbour.subscribe("*", kind="quotes", mode="conflated", interval_ms=50)
            neighbour.subscribe("*", kind="bars", interval_s=1, mode="conflated")
        accounts = Accounts([Credentials("PK", "right")])
        codecs = [each("us_equity", world.directory) for each in (MsgpackAlpacaCodec, JsonAlpacaCodec)]
        self._strangers: list[Native | Alpaca] = [
            *(Native(world, is_text, seed) for is_text in (False, True)),
            *(Alpaca(world, codec, accounts, seed) for codec in codecs),
        ]
        self._turns = itertools.cycle(self._strangers)
        self.said = 0

    @property
    def seen(self) -> Counter[str]:
        """How often which answers and closes came."""
        return sum((stranger.seen for stranger in self._strangers), Counter())

    def listen(self, messages: int) -> None:
        """Let strangers say so many messages. Raises WrongError, and whatever the server raises."""
        for _ in range(messages):
            self.said += 1
            next(self._turns).speak()
            if self.said % ROWS_EVERY == 0:
                self._go_on()

    def part(self) -> None:
        """Let the strangers go; see that every neighbour has every row, in order and right, and that the server's books
        add up. Raises AssertionError."""
        for stranger in self._strangers:
            stranger.leave()
        self.world.settle_down()

    def _go_on(self) -> None:
        world = self.world
        world.trade("AAPL", 18931 + self.said % 100)
        world.trade("BTC", 95_000)
        world.quote("MSFT")
        world.advance(EACH_S * ROWS_EVERY)
        world.flush()
        world.tell_time()
        world.history.trim(world.now_s)
        world.conflate_all()


def _decoded(wants_text: bool, is_text: bool, payload: bytes) -> Any:
    """Return a message of the server; a text must be JSON in the strict sense. `frames` has looked at its size."""
    if is_text != wants_text:
        raise WrongError("a frame of the other sort")
    return json.loads(payload, parse_constant=_no_number) if is_text else msgpack.unpackb(payload)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 400 else f"{text[:300]} … {text[-100:]}"


def _no_number(name: str) -> Any:
    raise WrongError(f"{name} is no JSON")


def _not_json(name: str) -> Any:
    raise ValueError(name)


def _read(data: str | bytes, is_text: bool) -> Any:
    """Return what a stranger's message stands for; None if that is nothing."""
    try:
        if is_text:
            return json.loads(data, parse_constant=_not_json) if isinstance(data, str) else None
        return msgpack.unpackb(data, strict_map_key=False) if isinstance(data, bytes) else None
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return None


def _id_of(message: Any) -> int | str | None:
    """Return the `id` that the answer must have, as the page says."""
    id = message.get("id") if isinstance(message, dict) else None
    if isinstance(id, bool) or not isinstance(id, int | str):
        return None
    return None if isinstance(id, str) and len(id) > ID_CHARACTERS else id


def _is_manifold(data: str | bytes) -> bool:
    """Tell whether a message may have more maps and lists than the page lets anyone count on."""
    if isinstance(data, str):
        return data.count("[") + data.count("{") > MOST_CONTAINERS
    return sum(0x80 <= byte < 0xA0 or 0xDC <= byte < 0xE0 for byte in data) > MOST_CONTAINERS
