"""The trials' own checks find what is wrong: a check that cannot fail shows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ledger import Account, Ledger
from oracle import Oracle, Violations
from tape import Tape, summary

TAPE = Tape(symbols=4, rate=1000.0, start_us=1_795_435_200_000_000)
Say = Callable[..., Any]


def test_a_round_of_the_tape_is_what_its_rows_are_by_number() -> None:
    for number in (0, 5, 9):
        symbols, times, trades, quotes = TAPE.round(number)

        assert (np.diff(times) > 0).all()
        for symbol in range(TAPE.symbols):
            mine, weight = symbols == symbol, int(TAPE.weights[symbol])
            first, end = number * weight, (number + 1) * weight
            assert np.array_equal([times[mine], *(each[mine] for each in trades)], TAPE.trades(symbol, first, end))
            assert np.array_equal([times[mine], *(each[mine] for each in quotes)], TAPE.quotes(symbol, first, end))


def rows(first: int, end: int, **other: Any) -> dict[str, Any]:
    """Return a JSON message with rows of the first symbol, as the protocol page has it."""
    time, price, size = TAPE.trades(0, first, end)
    texts = [f"{each}Z" for each in np.datetime_as_string(time.astype("M8[us]")).tolist()]
    columns = {"time": texts, "price": [each / 100 for each in price.tolist()], "size": size.tolist()}
    return {"type": "trades", "channel": 1, "symbol": "S0000", "seq": first} | columns | other


def update(first: int, end: int) -> dict[str, Any]:
    """Return a JSON message with one update of the first symbol."""
    time, *values = summary(TAPE.trades(0, first, end))
    text = f"{np.datetime_as_string(np.int64(time).astype('M8[us]'))}Z"
    names = ("open", "high", "low", "close", "volume", "notional", "count")
    units = (100, 100, 100, 100, 1, 100, 1)
    columns = {name: [value / unit] for name, value, unit in zip(names, values, units, strict=True)}
    return {
        "type": "trades",
        "channel": 2,
        "symbol": "S0000",
        "mode": "conflated",
        "seq": first,
        "time": [text],
    } | columns


def described(channel: int, mode: str, seq: int, snapshot: Any = None, **other: Any) -> dict[str, Any]:
    columns = [["time", 6], ["price", 2], ["size", 0]]
    if mode == "conflated":
        prices = [[name, 2] for name in ("open", "high", "low", "close")]
        columns = [["time", 6], *prices, ["volume", 0], ["notional", 2], ["count", 0]]
    return {"channel": channel, "kind": "trades", "symbol": "S0000", "mode": mode, "seq": seq, "missed": 0,
            "columns": columns, "snapshot": snapshot} | other  # fmt: skip


class Client:
    """A ledger, and what it is told."""

    def __init__(self) -> None:
        self.violations = Violations()
        self.ledger = Ledger(Oracle(TAPE, self.violations), "client", is_json=True)

    def told(self, message: dict[str, Any]) -> Client:
        self.ledger.take(json.dumps(message).encode())
        return self

    def subscribed(self, *channels: dict[str, Any], **other: Any) -> Client:
        self.told({"type": "subscribed", "channels": list(channels), "refused": []} | other)
        return self.told({"type": "status", "state": "live"})

    @property
    def found(self) -> dict[str, int]:
        return dict(self.violations.kinds)


@pytest.fixture
def client() -> Client:
    return Client().subscribed(described(1, "all", 0))


def test_what_is_right_is_no_violation(client: Client) -> None:
    client.told(rows(0, 3)).told(rows(3, 4))
    client.subscribed(described(2, "conflated", 4, snapshot=snapshot(4)))
    client.told(update(4, 9)).told(update(9, 10)).told({"type": "pong", "rows": 10})

    assert client.found == {}
    assert client.ledger.accounts["trades", 0, 0] == Account(next=10, delivered=4, merged=6)


def snapshot(seq: int) -> dict[str, Any]:
    message = update(0, seq)
    return {name: message[name][0] for name in ("time", "open", "high", "low", "close", "volume", "notional", "count")}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (rows(4, 6), "order"),
        (rows(2, 4), "order"),
        (rows(3, 5, price=[101.5, 101.51]), "value"),
        (rows(3, 5, time=rows(2, 4)["time"]), "value"),
        ({"type": "pong", "rows": 4}, "rows"),
        ({"type": "gap", "channel": 1, "seq": 7, "missed": 3}, "gap"),
        ({"type": "error", "code": "bad_request", "message": "…"}, "error"),
        ({"type": "unsubscribed", "channels": [2]}, "unsubscribed"),
    ],
)
def test_what_is_wrong_after_three_rows_is_found(client: Client, message: dict[str, Any], kind: str) -> None:
    client.told(rows(0, 3)).told(message)

    assert list(client.found) == [kind]


def test_rows_after_unsubscribed_and_before_the_status_are_found(client: Client) -> None:
    client.told({"type": "unsubscribed", "channels": [1]}).told(rows(0, 3))
    assert client.found == {"silence": 1}

    client.told({"type": "subscribed", "channels": [described(1, "all", 0)], "refused": []}).told(rows(0, 3))
    assert client.found == {"silence": 1, "status": 1}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (described(1, "all", 2, snapshot=snapshot(2)), "join"),
        (described(1, "all", 4, snapshot=snapshot(3)), "snapshot"),
        (described(1, "all", 4, snapshot=snapshot(4), columns=[]), "columns"),
        (described(1, "conflated", 4, snapshot=snapshot(4)), "channel"),
    ],
)
def test_a_wrong_answer_is_found(client: Client, answer: dict[str, Any], kind: str) -> None:
    client.told(rows(0, 3)).told({"type": "unsubscribed", "channels": [1]}).subscribed(answer)

    assert kind in client.found


def test_what_a_resume_lost_must_be_told(client: Client) -> None:
    client.told(rows(0, 3))
    client.ledger.connect()
    client.ledger.resume(7, {"S0000": 3})
    client.subscribed(described(1, "all", 6, snapshot=snapshot(6), missed=3), id=7)
    assert client.found == {}
    assert client.ledger.accounts["trades", 0, 0].missed == 3

    client.ledger.connect()
    client.ledger.resume(8, {"S0000": 6})
    client.subscribed(described(1, "all", 9, snapshot=snapshot(9)), id=8)
    assert client.found == {"resume": 1}
