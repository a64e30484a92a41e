"""The dialogue without a socket: random servers that cut at will, and random messages."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.client import Batch, MissedRows, ProtocolError, Unauthenticated
from ticker.client.conversation import Conversation, RowsLost
from ticker.client.inbox import Inbox
from ticker.client.request import request_of
from ticker.client.subscription import Subscription

TRADES = [["time", 6], ["price", 2], ["size", 0]]
SUMMARIES = [
    ["time", 6],
    *([name, 2] for name in ("open", "high", "low", "close")),
    ["volume", 0],
    ["notional", 2],
    ["count", 0],
]


class Server:
    """A server of one channel that follows the page: `rows` have happened, those from `oldest` on are kept."""

    def __init__(self, conflated: bool) -> None:
        self.epoch, self.rows, self.oldest = 1, 0, 0
        self.conflated = conflated

    def welcome(self) -> dict[str, Any]:
        return {"type": "welcome", "protocol": 1, "epoch": f"e{self.epoch}", "intervals": [60], "heartbeat_s": 10}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a subscribe, and note where its rows begin."""
        since = command.get("since", {}).get("A")
        self.next, missed = self.rows, 0
        if since is not None:
            if command["epoch"] == f"e{self.epoch}" and since <= self.rows:
                self.next = max(since, self.oldest)
                missed = self.next - since
            else:
                missed = None
        entry = {
            "channel": 5,
            "kind": "trades",
            "symbol": "A",
            "mode": command["mode"],
            "seq": self.next,
            "missed": missed,
            "columns": SUMMARIES if self.conflated else TRADES,
            "snapshot": None,
        }
        if self.conflated:
            entry["interval_ms"] = 250
        return {"type": "subscribed", "id": command["id"], "channels": [entry], "refused": []}

    def data(self, n: int) -> list[Any]:
        """Return up to `n` of the rows that are to be sent."""
        first, end = self.next, min(self.next + n, self.rows)
        self.next = end
        if self.conflated:
            return [5, first, 1, 0, b"", *(first, b"") * 4, 0, b"", 0, b"", end - first, b""]
        packed = b"".join(row.to_bytes(8, "little") for row in range(first, end))
        return [5, first, end - first, 0, packed, 0, packed, 0, packed]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.integers(1, 5)),
        st.tuples(st.just("send"), st.integers(1, 7)),
        st.tuples(st.just("read"), st.integers(1, 3)),
        st.tuples(st.just("forget"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["cut", "cut before the answer", "restart"]), st.just(0)),
    ),
    max_size=40,
)


def commands(conversation: Conversation) -> list[dict[str, Any]]:
    asked = [msgpack.unpackb(each.message) for each in conversation.questions.outgoing]
    conversation.questions.outgoing.clear()
    return asked


@given(steps=STEPS, conflated=st.booleans(), start=st.integers(0, 3))
def test_over_any_number_of_cuts_each_row_is_read_once_or_told_as_missed(
    steps: list[tuple[str, int]], conflated: bool, start: int
) -> None:
    server = Server(conflated)
    server.rows = start
    conversation, inbox = Conversation(), Inbox(1 << 30)
    told: list[MissedRows] = []
    mode = "conflated" if conflated else "all"
    subscription = Subscription(request_of("A", "trades", mode, None, None), None, inbox, told.append)
    conversation.subscribe(subscription)

    def receive(message: Any) -> None:
        conversation.receive(msgpack.packb(message))

    def connect(is_answered: bool) -> None:
        conversation.lost()
        conversation.connected()
        receive(server.welcome())
        (command,) = commands(conversation)
        if is_answered:
            receive(server.answer(command))

    position = ("e1", start)
    connect(is_answered=True)
    for what, n in [*steps, ("cut", 0), ("send", 10**6), ("read", 10**6)]:
        if what == "happen":
            server.rows += n
        elif what == "send" and server.next < server.rows:
            receive(server.data(n))
        elif what == "forget":
            # What has not been sent may leave the history only while nobody is catching up.
            server.oldest = min(server.oldest + n, server.next)
        elif what == "cut before the answer":
            connect(is_answered=False)
            connect(is_answered=True)
        elif what in ("cut", "restart"):
            if what == "restart":
                server.epoch, server.rows, server.oldest = server.epoch + 1, 2, 0
            server.oldest = min(server.rows, server.oldest + 1)
            connect(is_answered=True)
        elif what == "read":
            for _ in range(n):
                batch = subscription.take()
                for missed in told:
                    if missed.missed is None:
                        assert missed.position.epoch != position[0]
                    else:
                        assert missed.position == (position[0], position[1] + missed.missed)
                    position = missed.position
                told.clear()
                if batch is None:
                    break
                assert isinstance(batch, Batch)
                assert (batch.epoch, batch.seq) == position
                if not conflated:
                    assert batch.integers("price").tolist() == list(range(batch.seq, batch.next_seq))
                position = (batch.epoch, batch.next_seq)
            assert subscription.positions["A"] == position

    assert position == (f"e{server.epoch}", server.rows)


KEYS = ("channels", "refused", "channel", "seq", "missed", "state", "clock", "rows", "reconnect_ms", "symbol", "kind")
KEYS += (
    "mode",
    "columns",
    "snapshot",
    "code",
    "message",
    "interval_s",
    "interval_ms",
    "epoch",
    "protocol",
    "symbols",
    "more",
)
WORDS = ("trades", "bars", "A", "all", "conflated", "ended", "limit", "e1")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 6)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=9),
    max_leaves=12,
)
TYPES = (
    "welcome",
    "subscribed",
    "unsubscribed",
    "symbols",
    "channel",
    "status",
    "heartbeat",
    "gap",
    "goodbye",
    "error",
    "pong",
)
MESSAGES = st.builds(
    lambda type, id, fields: {"type": type, **({} if id is None else {"id": id}), **fields},
    st.sampled_from(TYPES) | VALUES,
    st.none() | st.integers(1, 6) | VALUES,
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=9),
)


@given(st.lists(MESSAGES | VALUES, max_size=6))
def test_no_message_raises_anything_but_what_is_named(messages: list[Any]) -> None:
    server, conversation, inbox = Server(False), Conversation(), Inbox(1 << 30)
    subscription = Subscription(request_of("A", "trades", "all", None, None), None, inbox)
    conversation.subscribe(subscription)
    conversation.connected()
    conversation.receive(msgpack.packb(server.welcome()))
    conversation.receive(msgpack.packb(server.answer(*commands(conversation))))
    conversation.subscribe(Subscription(request_of("B", "bars", "conflated", None, None), 0, inbox))
    conversation.subscribe(Subscription(request_of("*", "quotes", "all", None, None), 0, inbox))
    conversation.questions.ask({"op": "ping"}, lambda _: None)
    conversation.unsubscribe(subscription, lambda _: None)

    for message in messages:
        try:
            conversation.receive(msgpack.packb(message))
        except (ProtocolError, RowsLost):
            return


def test_rows_of_a_channel_that_was_given_up_are_counted_and_dropped() -> None:
    server, conversation, inbox = Server(False), Conversation(), Inbox(1 << 30)
    subscription = Subscription(request_of("A", "trades", "all", None, None), None, inbox)
    conversation.subscribe(subscription)
    conversation.connected()
    conversation.receive(msgpack.packb(server.welcome()))
    conversation.receive(msgpack.packb(server.answer(*commands(conversation))))
    server.rows = 3
    ended: list[Any] = []

    conversation.unsubscribe(subscription, ended.append)
    conversation.receive(msgpack.packb(server.data(3)))
    (command,) = commands(conversation)
    conversation.receive(msgpack.packb({"type": "unsubscribed", "id": command["id"], "channels": [5]}))
    conversation.receive(msgpack.packb({"type": "heartbeat", "time": 0, "rows": 3}))

    assert len(ended) == 1
    assert not subscription.shelf.items
    assert not inbox.is_full


def test_a_token_that_is_refused_is_no_protocol_error() -> None:
    conversation = Conversation()
    conversation.connected("wrong")
    conversation.receive(msgpack.packb(Server(False).welcome() | {"auth": True}))
    (command,) = commands(conversation)

    with pytest.raises(Unauthenticated):
        conversation.receive(
            msgpack.packb({"type": "error", "id": command["id"], "code": "unauthenticated", "message": "no"})
        )


def test_anything_before_the_welcome_is_wrong() -> None:
    conversation = Conversation()
    conversation.connected()

    with pytest.raises(ProtocolError, match="before the welcome"):
        conversation.receive(msgpack.packb({"type": "status", "state": "live"}))


def test_what_one_connection_has_described_means_nothing_on_the_next() -> None:
    server, conversation = Server(False), Conversation()
    subscription = Subscription(request_of("A", "trades", "all", None, None), None, Inbox(1 << 30))
    conversation.subscribe(subscription)
    conversation.connected()
    conversation.receive(msgpack.packb(server.welcome()))
    conversation.receive(msgpack.packb(server.answer(*commands(conversation))))

    conversation.lost()
    conversation.connected()
    conversation.receive(msgpack.packb(server.welcome()))

    server.rows = 1
    with pytest.raises(ProtocolError, match="channel 5, which was not described"):
        conversation.receive(msgpack.packb(server.data(1)))
