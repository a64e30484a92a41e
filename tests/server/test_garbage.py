"""When connections are hidden from the garbage collector, and when they are looked at again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from ticker.server.garbage import MANY, LongLived


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def test_many_connections_are_not_looked_at_and_few_are() -> None:
    gc.unfreeze()
    long_lived = LongLived()

    long_lived.note(MANY - 1)
    assert gc.get_freeze_count() == 0
    long_lived.note(MANY)

    assert gc.get_freeze_count() > 0


def test_what_was_hidden_is_looked_for_garbage_once_most_connections_have_gone() -> None:
    long_lived = LongLived()
    knot = Knot()
    gone = weakref.ref(knot)
    long_lived.note(4 * MANY)
    del knot
    gc.collect()
    assert gone() is not None

    long_lived.note(2 * MANY)
    assert gone() is not None
    long_lived.note(MANY)

    assert gone() is None
