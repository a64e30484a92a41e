"""The books that prove the server: right streams balance, and whatever is lost, doubled or swapped is found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger import AlpacaBooks, Books, Key, is_run_of

WELCOME = {"type": "welcome", "epoch": "e"}
AAPL, BARS = Key("trades", "AAPL"), Key("bars", "AAPL", 60)


def described(channel: int, seq: int, mode: str = "all", missed: int = 0, kind: str = "trades") -> dict[str, Any]:
    interval = {"interval_s": 60} if kind == "bars" else {}
    return {"channel": channel, "kind": kind, "symbol": "AAPL", "mode": mode, "seq": seq, "missed": missed} | interval


def subscribed(*channels: dict[str, Any]) -> dict[str, Any]:
    return {"type": "subscribed", "channels": list(channels), "refused": []}


def rows(channel: int, seq: int, n: int) -> list[Any]:
    """Return `n` trades: time, price and size are all equal."""
    return [channel, seq, n, 5, b"", 6, b"", 7, b""]


def merged(channel: int, seq: int, *counts: int) -> list[Any]:
    """Return an update of some rows, which stand for these counts."""
    n = len(counts)
    return [channel, seq, n, *[5, b""] * 7, 0, b"".join(count.to_bytes(4, "little") for count in counts)]


def opened(*messages: Any) -> Books:
    books = Books()
    books.connected(WELCOME)
    for message in messages:
        books.take(message)
    return books


pieces = st.lists(st.integers(1, 9), min_size=2, max_size=8)


def stream(sizes: list[int]) -> list[Any]:
    starts = [10 + sum(sizes[:i]) for i in range(len(sizes))]
    return [rows(1, seq, n) for seq, n in zip(starts, sizes, strict=True)]


@given(pieces)
def test_every_row_in_order_balances(sizes: list[int]) -> None:
    books = opened(subscribed(described(1, 10)), *stream(sizes), {"type": "pong", "rows": sum(sizes)})

    books.settle(AAPL, 10 + sum(sizes))
    assert (books.violations, books.delivered, books.proofs) == (0, sum(sizes), 1), books.told


@given(pieces, st.data())
def test_a_message_that_is_lost_doubled_or_swapped_is_found(sizes: list[int], data: st.DataObject) -> None:
    messages = stream(sizes)
    i = data.draw(st.integers(0, len(messages) - 1))
    match data.draw(st.sampled_from(["lost", "doubled", "swapped"])):
        case "lost":
            del messages[i]
        case "doubled":
            messages.insert(i, messages[i])
        case "swapped":
            j = (i + 1) % len(messages)
            messages[i], messages[j] = messages[j], messages[i]

    books = opened(subscribed(described(1, 10)), *messages, {"type": "pong", "rows": sum(sizes)})
    books.settle(AAPL, 10 + sum(sizes))

    assert books.violations


@given(st.lists(st.lists(st.integers(1, 1000), min_size=1, max_size=3), min_size=1, max_size=5))
def test_an_update_delivers_one_row_and_merges_the_others(updates: list[list[int]]) -> None:
    books, seq = opened(subscribed(described(2, 0, "conflated"))), 0
    for counts in updates:
        books.take(merged(2, seq, *counts))
        seq += sum(counts)

    books.settle(AAPL, seq)
    updates_sent = sum(map(len, updates))
    assert (books.violations, books.delivered, books.merged) == (0, updates_sent, seq - updates_sent), books.told


def test_what_is_missed_counts_whether_an_answer_or_a_gap_tells_it() -> None:
    books = opened(subscribed(described(1, 0)), rows(1, 0, 4))
    books.connected(WELCOME)
    assert books.since("trades", ["AAPL", "MSFT"]) == {"AAPL": 4}
    books.take(subscribed(described(1, 10, missed=6)))
    books.take({"type": "gap", "channel": 1, "seq": 13, "missed": 3})
    books.take(rows(1, 13, 2))

    books.settle(AAPL, 15)
    assert (books.violations, books.delivered, books.missed) == (0, 6, 9), books.told


def test_a_bar_that_runs_counts_once_and_only_when_it_has_ended() -> None:
    bar = [9, 3, 1, *[5, b""] * 8]
    books = opened(subscribed(described(9, 3, "conflated", kind="bars")), bar, bar, [9, 4, *bar[2:]])

    books.settle(BARS, 4)
    assert (books.violations, books.delivered, books.provisional) == (0, 1, 2), books.told


@pytest.mark.parametrize(
    "message",
    [
        {"type": "pong", "rows": 5},
        {"type": "gap", "channel": 1, "seq": 8, "missed": 3},
        subscribed(described(1, 5)),
        subscribed(described(1, 5, missed=2)),
        rows(2, 4, 1),
        {"type": "unsubscribed", "channels": [3]},
    ],
)
def test_an_answer_that_contradicts_what_came_is_a_violation(message: Any) -> None:
    books = opened(subscribed(described(1, 0)), rows(1, 0, 4))

    books.take(message)

    assert books.violations == 1


def test_a_row_behind_unsubscribed_is_a_violation() -> None:
    books = opened(subscribed(described(1, 0)), {"type": "unsubscribed", "channels": [1]}, rows(1, 0, 1))

    assert books.violations == 1


def test_alpaca_trades_follow_each_other_by_their_ids() -> None:
    books = AlpacaBooks()
    for i in (7, 8, 10):
        books.take([{"T": "t", "i": 5 << 32 | i, "S": "AAPL", "t": 0, "p": 1.5, "s": 2}])

    assert books.holes() == ["alpaca: AAPL: trade 10 came after 8"]


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_a_run_is_found_wherever_it_stands(before: list[int], run: list[int], after: list[int]) -> None:
    def as_rows(values: list[int]) -> list[tuple[int]]:
        return [(value,) for value in values]

    assert is_run_of(as_rows(run), as_rows(before + run + after))
    assert not is_run_of(as_rows([*run, 4]), as_rows(before + run + after))
