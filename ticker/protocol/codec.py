"""What a dialect of the native protocol must do: one class for each subprotocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ticker.columns import Block, Ints
from ticker.model import Instrument, Series


class Time(int):
    """UNIX nanoseconds in a control message: an integer in msgpack, RFC 3339 in JSON."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One row in a control message: a list in msgpack, a map by column name in JSON. A float is a sum beyond 64 bits."""

    names: tuple[str, ...]
    scales: tuple[int, ...]
    values: tuple[int | float, ...]


class Catalogue(Protocol):
    """What a codec asks about channels (see `stream.directory`)."""

    @property
    def instruments(self) -> Sequence[Instrument]: ...

    def channels(self, series: Series, conflated: bool, numbers: Ints) -> Ints: ...


class Codec(Protocol):
    """A subprotocol: bytes to maps, maps and blocks to whole WebSocket frames."""

    @property
    def subprotocol(self) -> str:
        """Its name in `Sec-WebSocket-Protocol`."""
        ...

    def decode(self, data: str | bytes) -> dict[Any, Any]:
        """Return a client's map. Raises MessageError for anything else."""
        ...

    def control(self, message: Mapping[str, Any]) -> bytes:
        """Return a control message as a frame."""
        ...

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        """Return the frames of each run of the block, once for everyone: data, and before it a `gap` where rows are
        missed."""
        ...
