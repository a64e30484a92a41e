"""Brings Blocks to those who listen: encoded once per codec, joined once per audience, offered once per client."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.protocol.codec import Codec
from ticker.stream.audience import Audience, Encoded, Parts
from ticker.stream.bars import Bars
from ticker.stream.conflation import BarUpdates, TickUpdates, Updates
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.outbox import Outbox

REMEMBERED_FLUSHES = 64
"""Flushes after which what conflated clients are due is merged, though no interval has ended."""


class Hub:
    """Who listens to what, and what of each flush they get.

    `publish` is a consumer of the Broker; it must be called after the History's. Blocks of a flush are offered in the
    call to those in mode `all`; `conflate` serves those of one interval with all that came since their last update.
    """

    def __init__(self, directory: Directory, history: History, bars: Bars) -> None:
        self._directory = directory
        self._audiences: dict[int, dict[tuple[Codec, Parts], Audience]] = defaultdict(dict)
        self._listeners: dict[tuple[Codec, bool, Series], _Listeners] = defaultdict(_Listeners)
        self._ticks = {series: TickUpdates() for series in directory.series if series.kind != "bars"}
        self.bars = {
            series: BarUpdates(series, directory, bars, history[series])
            for series in directory.series
            if series.kind == "bars"
        }
        self._updates: Mapping[Series, Updates] = {**self._ticks, **self.bars}
        self._conflated: Counter[Series] = Counter()
        self._boundaries: dict[int, int] = {}
        self._number = -1
        self._remembered = 0
        self._encoded: dict[tuple[Codec, Series, int], Encoded | None] = {}

    @property
    def intervals_ms(self) -> Sequence[int]:
        """The conflation intervals that someone listens at."""
        return [interval_ms for interval_ms, audiences in self._audiences.items() if interval_ms and audiences]

    def publish(self, blocks: Sequence[Block]) -> None:
        """Offer what a flush numbered to those in mode `all`, and remember it for those in mode `conflated`."""
        self._number = blocks[0].number
        self._encoded.clear()
        self._remember(blocks)
        by_codec: dict[Codec, dict[Series, Encoded | None]] = {}
        for audience in self._audiences[0].values():
            encoded = by_codec.get(audience.codec)
            if encoded is None:
                encoded = {block.series: self._encode(audience.codec, block) for block in blocks}
                by_codec[audience.codec] = encoded
            data, rows = audience.joined(encoded)
            if data:
                for outbox in audience.members:
                    outbox.offer(data, rows)

    def conflate(self, interval_ms: int) -> None:
        """Bring those of this interval up to date, but for those whose socket is not free: they get it all later."""
        audiences = self._audiences[interval_ms]
        if not audiences:
            return
        boundary = self._boundaries.get(interval_ms, self._number)
        for audience in audiences.values():
            arrived = self._serve_late(audience)
            self._serve_members(audience, boundary)
            audience.members.update(arrived)
        self._boundaries[interval_ms] = self._number
        self._forget()

    def join(self, outbox: Outbox, codec: Codec, interval_ms: int, parts: Parts) -> Audience:
        """Let a client listen from the next flush on; return its audience."""
        return self._enter(outbox, codec, interval_ms, parts, self._number)

    def widen(self, outbox: Outbox, audience: Audience, parts: Parts) -> Audience:
        """Let a client listen to `parts` in place of its audience's, which they hold with channels that had no row yet;
        return its new audience. What it is due stays due."""
        position = self._take_out(outbox, audience)
        wider = self._enter(outbox, audience.codec, audience.interval_ms, parts, position)
        self._dissolve_if_empty(audience)
        return wider

    def leave(self, outbox: Outbox, audience: Audience) -> None:
        """Let a client listen no more. What it is still due goes out before anything else."""
        position = self._take_out(outbox, audience)
        if audience.interval_ms:
            data, rows = self._since(audience, position)
            if data:
                outbox.offer_beyond_limit(data, rows)
        self._dissolve_if_empty(audience)

    def forsake(self, outbox: Outbox, audience: Audience) -> None:
        """Let a client listen no more, who is sent nothing either."""
        self._take_out(outbox, audience)
        self._dissolve_if_empty(audience)

    def frames(self, codec: Codec, block: Block) -> tuple[bytes, int]:
        """Return a block that is for one client alone, and how many rows it stands for."""
        return b"".join(codec.encode(block, self._directory)), int(block.rows.sum())

    def _enter(self, outbox: Outbox, codec: Codec, interval_ms: int, parts: Parts, position: int) -> Audience:
        audiences, key = self._audiences[interval_ms], (codec, parts)
        audience = audiences.get(key)
        if audience is None:
            audience = audiences[key] = Audience(codec, interval_ms, parts)
            self._count(audience, 1)
        if interval_ms:
            audience.late[outbox] = position
        else:
            audience.members.add(outbox)
        return audience

    def _take_out(self, outbox: Outbox, audience: Audience) -> int:
        """Take a client out of its audience; return where it stands."""
        if outbox in audience.members:
            audience.members.remove(outbox)
            return self._boundaries.get(audience.interval_ms, self._number)
        return audience.late.pop(outbox)

    def _dissolve_if_empty(self, audience: Audience) -> None:
        if audience.members or audience.late:
            return
        audiences = self._audiences[audience.interval_ms]
        del audiences[audience.codec, audience.parts]
        self._count(audience, -1)
        if not audiences:
            self._boundaries.pop(audience.interval_ms, None)

    def _serve_late(self, audience: Audience) -> list[Outbox]:
        """Bring the late ones whose socket is free up to date, and take them out; return them."""
        arrived = [outbox for outbox in audience.late if outbox.is_free]
        due: dict[int, tuple[bytes, int]] = {}
        for outbox in arrived:
            position = audience.late.pop(outbox)
            if position not in due:
                due[position] = self._since(audience, position)
            data, rows = due[position]
            if data:
                outbox.offer_beyond_limit(data, rows)
        return arrived

    def _serve_members(self, audience: Audience, boundary: int) -> None:
        """Bring those up to date who stand at the last boundary; whose socket is not free stays there, and is late."""
        data, rows = self._since(audience, boundary) if audience.members else (b"", 0)
        if not data:
            return
        busy = [outbox for outbox in audience.members if not outbox.is_free]
        audience.members.difference_update(busy)
        audience.late.update(dict.fromkeys(busy, boundary))
        for outbox in audience.members:
            outbox.offer_beyond_limit(data, rows)

    def _since(self, audience: Audience, position: int) -> tuple[bytes, int]:
        codec = audience.codec
        return audience.joined({series: self._encoded_since(codec, series, position) for series, _ in audience.parts})

    def _encoded_since(self, codec: Codec, series: Series, position: int) -> Encoded | None:
        if position >= self._number:
            return None
        key = (codec, series, position)
        if key not in self._encoded:
            block = self._updates[series].since(position)
            self._encoded[key] = None if block is None else self._encode(codec, block)
        return self._encoded[key]

    def _encode(self, codec: Codec, block: Block) -> Encoded | None:
        """Encode those channels of a block that someone listens to."""
        listeners = self._listeners.get((codec, block.conflated, block.series))
        wanted = None if listeners is None else listeners.among(block.symbols)
        if wanted is None or not wanted.any():
            return None
        return Encoded(codec, block.select(wanted), self._directory)

    def _remember(self, blocks: Sequence[Block]) -> None:
        """Note what conflated clients will be due: the rows, and which bars these changed."""
        if not self._conflated:
            return
        self._remembered += 1
        if self._remembered >= REMEMBERED_FLUSHES:
            self._forget()
        for block in blocks:
            if block.series in self._ticks:
                if self._conflated[block.series]:
                    self._ticks[block.series].append(block)
            elif self._conflated[block.series]:
                self.bars[block.series].append(block)
            if block.series == self._directory.source:
                for series, updates in self.bars.items():
                    if self._conflated[series] and series != block.series:
                        updates.touch(block)

    def _forget(self) -> None:
        """Let go of what no client is due any more."""
        self._remembered = 0
        positions = set(self._boundaries.values())
        for audience in self._all_conflated():
            positions.update(audience.late.values())
        for series in self._conflated:
            self._updates[series].keep(positions)

    def _all_conflated(self) -> Iterable[Audience]:
        return (each for interval_ms in self.intervals_ms for each in self._audiences[interval_ms].values())

    def _count(self, audience: Audience, one: int) -> None:
        conflated = audience.interval_ms > 0
        for series, numbers in audience.parts:
            self._listeners[audience.codec, conflated, series].count(numbers, one)
            if conflated:
                self._conflated[series] += one
                if not self._conflated[series]:
                    del self._conflated[series]
                    self._updates[series].keep(())


class _Listeners:
    """How many audiences listen to each symbol of a series."""

    __slots__ = ("_by_symbol", "_everything")

    def __init__(self) -> None:
        self._by_symbol = np.zeros(0, np.int32)
        self._everything = 0

    def count(self, numbers: tuple[int, ...] | None, one: int) -> None:
        if numbers is None:
            self._everything += one
        elif numbers:
            if numbers[-1] >= len(self._by_symbol):
                size = max(numbers[-1] + 1, 2 * len(self._by_symbol))
                self._by_symbol = np.append(self._by_symbol, np.zeros(size - len(self._by_symbol), np.int32))
            self._by_symbol[list(numbers)] += one

    def among(self, symbols: Ints) -> Any:
        """Return for each symbol whether anyone listens."""
        if self._everything:
            return np.ones(len(symbols), bool)
        known = np.zeros(len(symbols), bool)
        inside = symbols < len(self._by_symbol)
        known[inside] = self._by_symbol[symbols[inside]] > 0
        return known
