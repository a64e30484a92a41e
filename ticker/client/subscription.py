"""A subscription as its reader holds it: what was asked, how far each channel has come, and what waits to be read.

It outlives connections: `resumed` says what to ask a new one for, `described` and `advance` prove that rows fit on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

from ticker.client.cursor import Cursor, cursor_for
from ticker.client.decode import Description
from ticker.client.errors import ClientError, MissedRows, SymbolsRefused
from ticker.client.inbox import Inbox, Shelf
from ticker.client.request import Request
from ticker.columns import Array, Batch
from ticker.model import Channel, Position


class Track(NamedTuple):
    """A channel that is followed: in which epoch, what the server said of it, and which row comes next."""

    epoch: str
    description: Description
    cursor: Cursor

    @property
    def position(self) -> Position:
        """The row to ask for on resuming."""
        return Position(self.epoch, self.cursor.seq)


class Subscription(AsyncIterator[Batch]):
    """Batches of one kind of some symbols: `async for batch in subscription`.

    `await subscription` waits for the server's answer. Rows come in order and none comes twice, over any number of
    connections. What cannot be had is told where it is missing: `on_missed` is called with a MissedRows or, without
    one, the MissedRows is raised; likewise `on_refused` and SymbolsRefused. After such an exception iterating goes on.
    The iteration ends when the feed has ended and all of its rows have come, or when it or its stream is closed.
    """

    def __init__(
        self,
        request: Request,
        since: Mapping[str, Position] | int | None,
        inbox: Inbox,
        on_missed: Callable[[MissedRows], object] | None = None,
        on_refused: Callable[[SymbolsRefused], object] | None = None,
        unsubscribe: Callable[[Subscription], Awaitable[None]] | None = None,
    ) -> None:
        names = "*" if request.symbols is None else ", ".join(request.symbols[:3]) + ", …" * (len(request.symbols) > 3)
        self.request = request
        self.shelf = Shelf(f"{request.kind} of {names}")
        self.descriptions: dict[str, Description] = {}
        """What the server said of each channel, by symbol: scales, first row, snapshot."""
        self.refused: dict[str, str] = {}
        """Why a symbol cannot be had, by symbol."""
        self.missed: int | None = 0
        """How many rows were told as missed; None as soon as a number is unknown."""
        self.error: ClientError | None = None
        """Why no more rows will come, behind those that are here."""
        self.is_answered = False
        self.is_finished = False
        self._is_closed = False
        self.catches_up = False
        """Whether older rows were asked for, so that new ones may not be all that is to come."""
        self._inbox = inbox
        self._since: Mapping[str, Position] = {} if since is None or isinstance(since, int) else since
        self._from_start = since == 0
        self._on_missed = on_missed
        self._on_refused = on_refused
        self._unsubscribe = unsubscribe
        self._tracks: dict[str, Track] = {}
        self._asked: dict[str, Position] = {}
        self._was_live = False
        self._is_resumed = False
        self._read: dict[str, Batch | Position] = {}
        self._refusal: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Subscription {self.request.mode} {self.shelf.name}>"

    # What its reader does

    @property
    def positions(self) -> dict[str, Position]:
        """The next row of each symbol that its reader has not been given yet: what a later `since` resumes from."""
        return {symbol: _position(read) for symbol, read in self._read.items()}

    async def unsubscribe(self) -> None:
        """End it: no row comes any more, what waits is dropped, the iteration ends."""
        if self._unsubscribe is not None:
            await self._unsubscribe(self)

    def __await__(self) -> Generator[Any, None, Subscription]:
        return self.answer().__await__()

    async def answer(self) -> Subscription:
        """Return self when the server has answered. Raises what is wrong with the request, or with the connection."""
        while not self.is_answered and self.error is None and not self.is_finished:
            await self._inbox.arrival(self.shelf)
        if self.error is not None:
            raise self.error
        self.tell_refusal()
        return self

    async def __anext__(self) -> Batch:
        while True:
            batch = self.take()
            if batch is not None:
                return batch
            if self.error is not None:
                raise self.error
            if self.is_finished:
                raise StopAsyncIteration
            await self._inbox.arrival(self.shelf)

    def take(self) -> Batch | None:
        """Return the next batch if one is here. Tells what was missed or refused on the way to it."""
        self.tell_refusal()
        while self.shelf.items:
            batch = self.take_one()
            if batch is not None:
                return batch
        return None

    def take_one(self) -> Batch | None:
        """Return the oldest item if it is a batch; tell it if it is something missed."""
        item = self._inbox.take(self.shelf)
        if isinstance(item, Batch):
            self._read[item.channel.symbol] = item
            return item
        self._read[item.channel.symbol] = item.position
        self.missed = None if self.missed is None or item.missed is None else self.missed + item.missed
        if self._on_missed is None:
            raise item
        self._on_missed(item)
        return None

    def tell_refusal(self) -> None:
        """Tell of symbols that were refused since the last time, if any."""
        if self._refusal:
            refused, self._refusal = SymbolsRefused(self._refusal), {}
            if self._on_refused is None:
                raise refused
            self._on_refused(refused)

    # What the conversation does

    def resumed(self, epoch: str, symbols: list[str] | None = None) -> dict[str, int]:
        """Return the `since` to subscribe with on a new connection, whose epoch this is.

        After a change of epoch rows are asked for from the first of the new one: all that can be had.
        `symbols` are those that the feed has, where the request is for all from their start.
        """
        first = dict.fromkeys(self.request.symbols or symbols or (), Position(epoch, 0)) if self._from_start else {}
        known = {symbol: track.position for symbol, track in self._tracks.items()}
        self._asked = {**first, **self._since, **known}
        if self.request.symbols is not None:
            self._asked = {symbol: self._asked[symbol] for symbol in self.request.symbols if symbol in self._asked}
        self.catches_up = bool(self._asked)
        self.is_answered = False
        self._is_resumed = self._was_live
        return {symbol: each.seq if each.epoch == epoch else 0 for symbol, each in self._asked.items()}

    @property
    def needs_symbols(self) -> bool:
        """Whether the symbols must be listed before it can be asked for: all of them, from their first rows."""
        return self.request.symbols is None and self._from_start

    def described(self, description: Description, epoch: str) -> Track:
        """Take a channel's description; tell what cannot be had before its first row. Return what follows its rows."""
        channel, seq = description.channel, description.seq
        missed: int | None = 0
        asked = self._asked.pop(channel.symbol, None)
        if asked is None:
            # Under `*`, a symbol that came up while there was no connection. How many of its rows count, nobody knows.
            missed = None if self._is_resumed and seq else 0
        elif asked.epoch != epoch or description.missed is None:
            missed = None
        else:
            missed = max(description.missed, seq - asked.seq)
            seq = max(seq, asked.seq)
        cursor = cursor_for(channel.kind, description.conflated, seq, description.snapshot is not None)
        track = self._tracks[channel.symbol] = Track(epoch, description, cursor)
        self.descriptions[channel.symbol] = description
        self._read.setdefault(channel.symbol, asked or track.position)
        if missed != 0:
            self._miss(channel, missed, track.position, description.snapshot)
        return track

    def answered(self, refused: Mapping[str, str]) -> None:
        """Take the last answer to what `resumed` led to; `refused` is that of all its answers."""
        self.is_answered = self._was_live = True
        self.refused = dict(refused)
        if self.request.symbols is not None:
            self._refusal = dict(refused)
        self._inbox.wake_all()

    def advance(self, track: Track, seq: int, columns: tuple[Array, ...]) -> int:
        """Take rows of a channel: what is new goes to the reader. Return how many rows the server counts them as."""
        epoch, description, cursor = track
        missed, cut, rows = cursor.advance(seq, columns)
        channel = description.channel
        if missed:
            self._miss(channel, missed, Position(epoch, seq))
        if cut:
            if cut == len(columns[0]):
                return rows
            skipped = description.conflated and channel.kind != "bars"
            seq += int(columns[-1][:cut].sum()) if skipped else cut
            columns = tuple([column[cut:] for column in columns])
        batch = Batch(channel, epoch, seq, columns, description.scales, description.conflated)
        self._put(batch, 8 * len(columns) * len(columns[0]))
        return rows

    def gap(self, track: Track, seq: int) -> None:
        """Take the news that rows before `seq` are lost."""
        missed = track.cursor.skip(seq)
        if missed:
            self._miss(track.description.channel, missed, track.position)

    def forget(self, symbol: str) -> Position | None:
        """Give a symbol away to another subscription. Return the next row that would have come."""
        self.descriptions.pop(symbol, None)
        track = self._tracks.pop(symbol, None)
        return track.position if track else None

    def revoked(self, symbols: Iterable[str]) -> None:
        """Take the news that the token permits some symbols no longer: no row of them comes any more."""
        for symbol in symbols:
            self.forget(symbol)
            self.refused[symbol] = self._refusal[symbol] = "forbidden"
        self._inbox.wake_all()

    def adopt(self, positions: Mapping[str, Position]) -> None:
        """Expect symbols of another subscription, each from the row that would have come next there."""
        self._asked.update(positions)
        self._since = {**self._since, **positions}  # in case that the connection is lost before they are described
        self.catches_up = True

    def finish(self) -> None:
        """Let the iteration end behind what is here."""
        self.is_finished = True
        self._inbox.wake_all()

    def close(self) -> None:
        """Let the iteration end now: what is here is dropped, and so is what may still come."""
        self._is_closed = True
        self._inbox.drop(self.shelf)
        self.finish()

    def fail(self, error: ClientError) -> None:
        """Let the iteration raise behind what is here."""
        self.error = error
        self._inbox.wake_all()

    def _miss(self, channel: Channel, missed: int | None, position: Position, snapshot: Batch | None = None) -> None:
        self._put(MissedRows(channel, missed, position, snapshot))

    def _put(self, item: Batch | MissedRows, size: int = 0) -> None:
        if not self._is_closed:
            self._inbox.put(self.shelf, item, size)


def _position(read: Batch | Position) -> Position:
    if isinstance(read, Position):
        return read
    if read.conflated and read.channel.kind == "bars":
        return Position(read.epoch, read.next_seq - 1)  # the running bar, which comes again
    return Position(read.epoch, read.next_seq)
