"""What a dialect must do with rows, and what a subprotocol of the native protocol must do besides."""

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
    """One row in a control message: a list in msgpack, a map by column in JSON. A float is a sum beyond 64 bits."""

    names: tuple[str, ...]
    scales: tuple[int, ...]
    values: tuple[int | float, ...]


class Catalogue(Protocol):
    """What a codec asks about channels (see `stream.directory`)."""

    @property
    def instruments(self) -> Sequence[Instrument]: ...

    def channels(self, series: Series, conflated: bool, numbers: Ints) -> Ints: ...


class RowCodec(Protocol):
    """How a dialect writes rows: encoded once for everyone, joined once for each audience."""

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        """Return a part for each run of the block. Parts of one run may be concatenated."""
        ...

    def join(self, parts: Sequence[bytes], rows: Sequence[int]) -> bytes:
        """Return parts as whole WebSocket frames; `rows` tells how many rows each stands for. No rows, no frame."""
        ...


class Codec(RowCodec, Protocol):
    """A subprotocol: bytes to maps, maps and blocks to whole WebSocket frames. Its parts are frames themselves: data,
    and before it a `gap` where rows are missed."""

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
