"""What a reader asks for, as commands of the protocol page."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.client.request import Request, request_of


def commands(
    request: Request, since: dict[str, int] | None = None, message_bytes: int = 262144
) -> list[dict[str, Any]]:
    return list(request.subscribe(request.bars_of([1, 60]), since or {}, "e1", message_bytes))


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (Request(("AAPL",)), {"kind": "trades", "symbols": ["AAPL"], "mode": "all"}),
        (Request(None, "quotes"), {"kind": "quotes", "symbols": ["*"], "mode": "all"}),
        (
            Request(("AAPL",), mode="conflated", interval_ms=50),
            {"kind": "trades", "symbols": ["AAPL"], "mode": "conflated", "interval_ms": 50},
        ),
        (Request(("AAPL",), mode="conflated"), {"kind": "trades", "symbols": ["AAPL"], "mode": "conflated"}),
        (
            Request(("AAPL",), "bars", interval_s=1),
            {"kind": "bars", "symbols": ["AAPL"], "mode": "all", "interval_s": 1},
        ),
        (Request(("AAPL",), "bars"), {"kind": "bars", "symbols": ["AAPL"], "mode": "all", "interval_s": 60}),
        (Request(("AAPL",), interval_s=5, interval_ms=50), {"kind": "trades", "symbols": ["AAPL"], "mode": "all"}),
    ],
)
def test_a_request_is_one_command(request_: Request, command: dict[str, Any]) -> None:
    assert commands(request_) == [{"op": "subscribe", **command}]


def test_a_resume_names_rows_and_epoch() -> None:
    (command,) = commands(Request(("AAPL", "MSFT")), {"AAPL": 1200})

    assert (command["since"], command["epoch"]) == ({"AAPL": 1200}, "e1")


@pytest.mark.parametrize(
    ("intervals", "interval_s"), [([1, 5, 60], 60), ([1800, 3600], 1800), ([3600, 1800], 1800), ([], 60)]
)
def test_bars_are_of_a_minute_or_the_shortest_there_is(intervals: list[int], interval_s: int) -> None:
    assert Request(("A",), "bars").bars_of(intervals) == interval_s
    assert Request(("A",), "bars", interval_s=5).bars_of(intervals) == 5
    assert Request(("A",), "trades", interval_s=5).bars_of(intervals) == 0


SYMBOLS = st.lists(st.text("AÉ漢", min_size=1, max_size=20), min_size=1, max_size=60, unique=True)


@given(symbols=SYMBOLS, data=st.data(), is_wildcard=st.booleans())
def test_commands_fit_the_limit_and_say_everything_once(symbols: list[str], data: Any, is_wildcard: bool) -> None:
    known = data.draw(st.lists(st.sampled_from(symbols), unique=True))
    since = {symbol: data.draw(st.integers(0, 2**63 - 1)) for symbol in known}
    request = Request(None if is_wildcard else tuple(symbols), "quotes", "conflated", interval_ms=250)

    made = commands(request, since, message_bytes=1024 + 300)

    assert all(len(msgpack.packb({"id": 2**40, **command})) <= 1324 for command in made)
    resumed = [item for command in made for item in command.get("since", {}).items()]
    assert sorted(resumed) == sorted(since.items())
    named = [symbol for command in made for symbol in command["symbols"]]
    if is_wildcard:
        assert named[-1] == "*"  # last, since it leaves alone what was named before
        assert set(named[:-1]) <= set(since)
    else:
        assert named == symbols
    for command in made:
        assert is_wildcard or set(command.get("since", ())) <= set(command["symbols"])
        assert ("epoch" in command) == ("since" in command)


def test_a_wildcard_whose_positions_fit_is_one_command() -> None:
    (command,) = commands(Request(None), {f"S{i}": i for i in range(1000)})

    assert command["symbols"] == ["*"]
    assert len(command["since"]) == 1000


def test_a_wildcard_with_more_positions_names_the_first_of_them_before() -> None:
    since = {f"SYMBOL{i}": i for i in range(100)}

    *named, wildcard = commands(Request(None), since, message_bytes=2048)

    assert len(named) > 1
    for command in named:
        assert command["symbols"] == list(command["since"])
    assert wildcard["symbols"] == ["*"]
    assert wildcard["since"]
    assert {symbol: seq for command in (*named, wildcard) for symbol, seq in command["since"].items()} == since


def test_unsubscribing_says_what_and_of_which_bars() -> None:
    assert list(Request(("A",), "bars").unsubscribe(60, 262144)) == [
        {"op": "unsubscribe", "kind": "bars", "symbols": ["A"], "interval_s": 60}
    ]
    assert list(Request(None).unsubscribe(0, 262144)) == [{"op": "unsubscribe", "kind": "trades", "symbols": ["*"]}]
    many = tuple(f"SYMBOL{i}" for i in range(300))
    parts = list(Request(many).unsubscribe(0, 2048))
    assert len(parts) > 1
    assert [symbol for part in parts for symbol in part["symbols"]] == list(many)


def test_symbols_are_given_singly_or_together() -> None:
    assert request_of("AAPL", "trades", "all", None, None).symbols == ("AAPL",)
    assert request_of(["B", "A", "B"], "trades", "all", None, None).symbols == ("B", "A")
    assert request_of("*", "trades", "all", None, None).symbols is None
    assert request_of(iter(["*"]), "trades", "all", None, None).symbols is None
