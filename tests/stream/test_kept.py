"""State of parts as columns: what a part tells comes back to it, whatever others tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ticker.columns import Array
from ticker.stream.kept import fill, gather, share, spread


class Part:
    """A part with one column."""

    def __init__(self, values: list[int]) -> None:
        self.values = np.array(values)

    def checkpoint(self) -> Mapping[str, Array]:
        return {"values": self.values}

    def restore(self, columns: Mapping[str, Array]) -> None:
        fill(self.values, columns["values"])


def plain(columns: Mapping[str, Any]) -> dict[str, list[int]]:
    return {name: values.tolist() for name, values in columns.items()}


def test_the_state_of_all_parts_is_told_by_the_names_of_parts_and_columns() -> None:
    columns = gather({"trades": Part([1, 2]), "bars/60s": Part([3, 4])})

    assert plain(columns) == {"trades.values": [1, 2], "bars/60s.values": [3, 4]}
    assert plain(share(columns, "bars/60s")) == {"values": [3, 4]}


def test_parts_within_parts_get_their_share() -> None:
    inner = gather({"a": Part([1]), "b": Part([2])})

    assert plain(share({f"outer.{name}": values for name, values in inner.items()}, "outer")) == plain(inner)


def test_each_part_is_given_back_what_it_told() -> None:
    columns = gather({"a": Part([1, 2]), "ab": Part([3, 4])})
    fresh = {"a": Part([0, 0]), "ab": Part([0, 0])}

    spread(fresh, columns)

    assert {name: part.values.tolist() for name, part in fresh.items()} == {"a": [1, 2], "ab": [3, 4]}


def test_symbols_beyond_the_state_stay_as_new() -> None:
    part = Part([-1, -1, -1])

    part.restore({"values": np.array([7])})

    assert part.values.tolist() == [7, -1, -1]
