"""Twenty thousand messages of strangers, through both codecs and both dialects. `benchmarks/soak/fuzz.py` is a million.

The seeds are fixed, so that a failure is one again; the long form chooses others.
"""

from __future__ import annotations

import pytest

from tests.fuzz.mutate import NATIVE, Mutator
from tests.fuzz.strangers import CLOSES, Street

MESSAGES = 5000


@pytest.mark.parametrize("seed", range(4))
def test_whatever_strangers_say_is_answered_as_the_pages_say_and_no_neighbour_misses_a_row(seed: int) -> None:
    street = Street(seed)

    street.listen(MESSAGES)
    street.part()

    assert {"subscribed", "bad_request", "unknown_op", "subscription", "400", "close 4000"} <= set(street.seen)
    assert {name for name in street.seen if name.startswith("close ")} <= {f"close {code}" for code in CLOSES}
    assert sum(street.seen.values()) - street.seen["close 4000"] == MESSAGES


def test_a_seed_makes_the_same_messages_again() -> None:
    one, other = (Mutator(3, NATIVE) for _ in range(2))

    assert [one.packed() for _ in range(200)] == [other.packed() for _ in range(200)]
    assert [one.text() for _ in range(200)] == [other.text() for _ in range(200)]


def test_most_messages_are_changed_and_many_are_still_commands() -> None:
    mutator = Mutator(3, NATIVE)
    values = [mutator.value() for _ in range(1000)]

    assert sum(value in NATIVE for value in values) < 500
    assert sum(isinstance(value, dict) and value.get("op") in ("subscribe", "unsubscribe") for value in values) > 300
