"""How many audiences listen to each symbol of a series: what nobody listens to is not encoded."""

from __future__ import annotations

import numpy as np

from ticker.columns import Array, Ints


class Listeners:
    """Counts audiences by symbol number."""

    __slots__ = ("_by_symbol", "_everything")

    def __init__(self) -> None:
        self._by_symbol = np.zeros(0, np.int32)
        self._everything = 0

    def count(self, numbers: tuple[int, ...] | None, one: int) -> None:
        """Add an audience (1) or take one away (-1) that listens to these symbols, ascending, or to all."""
        if numbers is None:
            self._everything += one
        elif numbers:
            if numbers[-1] >= len(self._by_symbol):
                size = max(numbers[-1] + 1, 2 * len(self._by_symbol))
                self._by_symbol = np.append(self._by_symbol, np.zeros(size - len(self._by_symbol), np.int32))
            self._by_symbol[list(numbers)] += one

    def among(self, symbols: Ints) -> Array:
        """Return for each symbol whether anyone listens."""
        if self._everything:
            return np.ones(len(symbols), bool)
        known = np.zeros(len(symbols), bool)
        inside = symbols < len(self._by_symbol)
        known[inside] = self._by_symbol[symbols[inside]] > 0
        return known
