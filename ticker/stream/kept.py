"""What outlives a restart: the state of the parts as columns, a row for each symbol number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ticker.columns import Array

Columns = Mapping[str, Array]
"""State by name, each array of one length: how many symbols there were."""


class Kept(Protocol):
    """A part whose state can be written down and begun again from."""

    def checkpoint(self) -> Columns:
        """Return all that later rows depend on. The arrays may change with the next flush."""

    def restore(self, columns: Columns) -> None:
        """Begin again, before any row, from what `checkpoint` returned. Symbols beyond its rows are as new."""


def gather(parts: Mapping[str, Kept]) -> dict[str, Array]:
    """Return the state of all parts; a column's name begins with its part's."""
    return {f"{name}.{column}": values for name, part in parts.items() for column, values in part.checkpoint().items()}


def share(columns: Columns, name: str) -> dict[str, Array]:
    """Return of what `gather` returned that which is the part's of this name."""
    start = name + "."
    return {column.removeprefix(start): values for column, values in columns.items() if column.startswith(start)}


def spread(parts: Mapping[str, Kept], columns: Columns) -> None:
    """Restore each part from its share."""
    for name, part in parts.items():
        part.restore(share(columns, name))


def fill(array: Array, values: Array) -> None:
    """Set the first of an array to these values."""
    array[: len(values)] = values
