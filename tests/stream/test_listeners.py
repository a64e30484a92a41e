"""Who listens to which symbol, counted by audience."""

from __future__ import annotations

import numpy as np

from ticker.stream.listeners import Listeners

SYMBOLS = np.arange(5)


def test_a_symbol_is_listened_to_until_its_last_audience_is_gone() -> None:
    listeners = Listeners()
    listeners.count((1, 3), 1)
    listeners.count((3,), 1)

    listeners.count((1, 3), -1)

    assert listeners.among(SYMBOLS).tolist() == [False, False, False, True, False]


def test_an_audience_of_everything_listens_to_symbols_that_nobody_named() -> None:
    listeners = Listeners()
    listeners.count((0,), 1)
    listeners.count(None, 1)
    assert listeners.among(SYMBOLS).all()

    listeners.count(None, -1)

    assert listeners.among(SYMBOLS).tolist() == [True, False, False, False, False]
