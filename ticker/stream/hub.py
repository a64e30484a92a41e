"""Brings Blocks to those who listen: encoded once per codec, joined once per audience, offered once per client."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ticker.columns import Block, Ints
from ticker.model import Series
from ticker.protocol.codec import RowCodec
from ticker.stream.audience import NO_SHARE, Audience, Encoded, Parts, Share, entries_of
from ticker.stream.backlog import Backlog
from ticker.stream.bars import Bars
from ticker.stream.conflation import Conflation
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.ledger import Ledger
from ticker.stream.listeners import Listeners
from ticker.stream.outbox import Entry, Outbox

SLICE_CLIENTS = 256
"""Clients that are served before sockets, commands and accepting get a turn: some 2 to 5 ms."""

KEPT_BYTES = 1 << 11
"""What may wait in a client's outbox before it is set back: what comes then is kept once for all who are behind."""
SHARED_BYTES = 1 << 26
"""What may be kept for all who are behind, unless another limit is given."""
NO_LIMIT = 1 << 62

Later = Callable[[Callable[[], None]], object]
"""Calls a function soon, when others had their turn."""


class Hub:
    """Who listens to what, and what of each flush they get.

    `publish` is a consumer of the Broker; it must be called after the History's. It has all audiences of mode `all`
    served; `conflate` those of one interval, with all that came since their last update. They stand in line for it, and
    are served a slice at a time. An audience that is reached late gets all that has come by then, so that blocks never
    overtake one another and an overload makes larger pieces, not a longer line.
    """

    def __init__(
        self,
        directory: Directory,
        history: History,
        bars: Bars,
        later: Later = lambda work: work(),
        *,
        is_waited_for: bool = False,
        shared_bytes: int = SHARED_BYTES,
    ) -> None:
        """Make a hub without audiences. `is_waited_for`: the feed waits for slow clients, so nobody is set back.

        `shared_bytes` may be kept for all who are behind. Beyond it each is given its own part, as long as these are no
        more than as much again; who lacks more than an equal share of that is too slow.
        """
        self._directory = directory
        self._history = history
        self.ledger = Ledger(directory, history)
        """What those who listen are owed."""
        self._most_kept = NO_LIMIT if is_waited_for else KEPT_BYTES
        self._shared_bytes = shared_bytes
        self._later = later
        self._audiences: dict[int, dict[tuple[RowCodec, Parts], Audience]] = defaultdict(dict)
        self._listeners: dict[tuple[RowCodec, bool, Series], Listeners] = defaultdict(Listeners)
        self.conflation = Conflation(directory, history, bars, self._conflated_positions)
        """What those in mode `conflated` are due."""
        self._number = -1
        self._released = -1
        self._backlog = Backlog(self._encode)
        self._behind: set[Audience] = set()  # those of mode `all` that have late ones
        self._encoded: dict[tuple[RowCodec, Series, int], Encoded | None] = {}
        self._line: deque[Audience] = deque()
        self._conflated_line: deque[Audience] = deque()
        self._piece: _Piece | None = None
        self._goes_on = False

    @property
    def intervals_ms(self) -> Sequence[int]:
        """The conflation intervals that someone listens at."""
        return [interval_ms for interval_ms, audiences in self._audiences.items() if interval_ms and audiences]

    def publish(self, blocks: Sequence[Block]) -> None:
        """Offer what a flush numbered to those in mode `all`, and remember it for those in mode `conflated`."""
        self._number = blocks[0].number
        self.ledger.published(blocks)
        self._encoded.clear()
        self.conflation.append(blocks)
        audiences = self._audiences[0]
        if audiences:
            self._backlog.append(blocks)
            self._queue(audiences.values(), self._line)

    def conflate(self, interval_ms: int) -> None:
        """Bring those of this interval up to date, but for those whose socket is not free: they get it all later."""
        audiences = self._audiences[interval_ms]
        if audiences:
            self._queue(audiences.values(), self._conflated_line)
            self.conflation.forget()

    def serve_late(self) -> None:
        """Bring those of mode `all` up to date who were set back and can take more. To be called with each window."""
        if self._behind:
            self._queue(self._behind, self._line)

    def serve_all(self) -> None:
        """Serve all in line now, however long it takes."""
        while self._serve_one(SLICE_CLIENTS):
            pass

    def settle(self) -> None:
        """Serve all in line, and give those who were set back their own part, so that what is said next comes after."""
        self.serve_all()
        for audience in self._behind:
            due: dict[int, Share] = {}
            for outbox, position in audience.late.items():
                if position not in due:
                    due[position] = self._due(audience, position)
                share = due[position]
                audience.late[outbox] = self._number
                outbox.settle()
                if share[0]:
                    outbox.offer(*share)

    def join(self, outbox: Outbox, codec: RowCodec, interval_ms: int, parts: Parts) -> Audience:
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
        share = self._due(audience, self._take_out(outbox, audience))
        if share[0]:
            outbox.offer_beyond_limit(*share)
        self._dissolve_if_empty(audience)

    def forsake(self, outbox: Outbox, audience: Audience) -> None:
        """Let a client listen no more, who is sent nothing either."""
        self._take_out(outbox, audience)
        self._dissolve_if_empty(audience)

    @property
    def behind(self) -> tuple[int, int]:
        """How many flushes are kept for those who are behind, and the bytes that they occupy."""
        return len(self._backlog), self._backlog.nbytes

    def frames(self, codec: RowCodec, block: Block) -> Share:
        """Return a block that is for one client alone."""
        rows = block.rows.tolist()
        entries = entries_of(block, self._next_seqs(block))
        entry = Entry.of(None if each is None else int(each.sum()) for each in entries)
        return codec.join(codec.encode(block, self._directory), rows), sum(rows), entry

    def _enter(self, outbox: Outbox, codec: RowCodec, interval_ms: int, parts: Parts, position: int) -> Audience:
        audiences, key = self._audiences[interval_ms], (codec, parts)
        audience = audiences.get(key)
        if audience is None:
            audience = audiences[key] = Audience(codec, interval_ms, parts, position)
            self._count(audience, 1)
        if position == audience.position:
            audience.members[outbox] = None
        else:
            audience.late[outbox] = position
        if position < self._number and not interval_ms:
            self._queue([audience], self._line)
        return audience

    def _take_out(self, outbox: Outbox, audience: Audience) -> int:
        """Take a client out of its audience, once it has its part of a piece that is just being offered; return where
        it stands."""
        if self._piece is not None and outbox in self._piece.clients:
            self._piece.clients.remove(outbox)
            self._piece.offer([outbox])
        if outbox in audience.members:
            del audience.members[outbox]
            return audience.position
        if not audience.interval_ms:
            outbox.settle()
        return audience.late.pop(outbox)

    def _dissolve_if_empty(self, audience: Audience) -> None:
        if audience.members or audience.late:
            return
        audiences = self._audiences[audience.interval_ms]
        del audiences[audience.codec, audience.parts]
        self._count(audience, -1)
        self._behind.discard(audience)

    def _queue(self, audiences: Iterable[Audience], line: deque[Audience]) -> None:
        """Let audiences stand in line, each once, and serve as many as a slice holds."""
        for audience in audiences:
            if not audience.is_due:
                audience.is_due = True
                line.append(audience)
        if not self._goes_on:
            self._serve()

    def _serve(self) -> None:
        """Serve a slice of those in line; the others later."""
        self._goes_on = False
        left = SLICE_CLIENTS
        while left > 0:
            served = self._serve_one(left)
            if not served:
                self._release(self._behind, is_offered=True)
                return
            left -= served
        if len(self._backlog) > 1 and self._number > self._released:
            # An overload: another flush came before all were served. Once a flush, since everyone is looked at.
            self._released = self._number
            self._release((*self._line, *self._behind), is_offered=False)
        self._goes_on = True
        self._later(self._serve)

    def _serve_one(self, most: int) -> int:
        """Serve the next in line, at most so many of a large audience; return how many, 0 if nobody is left."""
        if self._piece is not None:
            served = self._piece.offer_some(most)
            if not self._piece.clients:
                self._piece = None
            return max(1, served)
        line = self._line or self._conflated_line
        return self._serve_audience(line.popleft()) if line else 0

    def _serve_audience(self, audience: Audience) -> int:
        """Offer an audience what has come since its position; return how many clients that were."""
        audience.is_due = False
        position, members, is_conflated = audience.position, audience.members, audience.interval_ms > 0
        if is_conflated:
            data, rows, entry = self._due(audience, position) if members else NO_SHARE
        else:
            data, rows, entry = self._backlog.due(audience, position)
        arrived = self._serve_late(audience, len(data)) if audience.late else ()
        audience.position = self._number
        if data:
            most = self._most_kept
            busy = [each for each in members if (not each.takes_updates if is_conflated else each.queued > most)]
            if busy:
                self._set_back(audience, position, busy, len(data))
            if len(members) > SLICE_CLIENTS:
                self._piece = _Piece((data, rows, entry), list(members), is_conflated)
            elif is_conflated:
                for outbox in members:
                    outbox.offer_beyond_limit(data, rows, entry)
            else:
                for outbox in members:
                    outbox.offer(data, rows, entry)
        served = len(members) + 1
        members.update(dict.fromkeys(arrived))
        if audience.late and not audience.interval_ms:
            self._behind.add(audience)
        elif self._behind:
            self._behind.discard(audience)
        return served

    @staticmethod
    def _set_back(audience: Audience, position: int, clients: list[Outbox], size: int) -> None:
        """Let members who cannot take more stay where they are; in mode `all` they are owed these bytes."""
        for outbox in clients:
            del audience.members[outbox]
            audience.late[outbox] = position
            if not audience.interval_ms:
                outbox.owe(size)

    def _serve_late(self, audience: Audience, size: int) -> list[Outbox]:
        """Bring the late ones up to date who can take more, and take them out; return them. Others are owed more."""
        if audience.interval_ms:
            arrived = [outbox for outbox in audience.late if outbox.takes_updates]
        elif self._backlog.nbytes > self._shared_bytes:
            self._end_too_slow(audience)
            arrived = list(audience.late)
        else:
            arrived = [outbox for outbox in audience.late if outbox.queued <= self._most_kept]
        due: dict[int, Share] = {}
        for outbox in arrived:
            position = audience.late.pop(outbox)
            outbox.settle()
            if outbox.overflowed:
                continue
            if position not in due:
                due[position] = self._due(audience, position)
            if due[position][0]:
                _Piece(due[position], [], audience.interval_ms > 0).offer([outbox])
        if not audience.interval_ms:
            for outbox in audience.late:
                outbox.owe(size)
        return arrived

    def _end_too_slow(self, audience: Audience) -> None:
        """Let those overflow who take nothing and lack more than an equal share of what all may be given."""
        equal = self._shared_bytes // (max(1, len(self._behind)) * len(audience.late))
        for outbox in audience.late:
            if outbox.queued > self._most_kept and outbox.queued + outbox.owed > equal:
                outbox.overflow()

    def _release(self, audiences: Iterable[Audience], *, is_offered: bool) -> None:
        """Forget the flushes before which none of these audiences has anybody."""
        oldest = min((audience.oldest for audience in audiences), default=self._number)
        self._backlog.release(oldest, is_offered=is_offered)

    def _due(self, audience: Audience, position: int) -> Share:
        """Return what an audience gets of all that came after a flush."""
        if position >= self._number:
            return NO_SHARE
        codec = audience.codec
        if audience.interval_ms:
            return audience.joined(
                {series: self._encoded_since(codec, series, position) for series, _ in audience.parts}
            )
        return self._backlog.due(audience, position)

    def _encoded_since(self, codec: RowCodec, series: Series, position: int) -> Encoded | None:
        key = (codec, series, position)
        if key not in self._encoded:
            block = self.conflation.since(series, position)
            self._encoded[key] = None if block is None else self._encode(codec, block)
        return self._encoded[key]

    def _encode(self, codec: RowCodec, block: Block) -> Encoded | None:
        """Encode those channels of a block that someone listens to."""
        listeners = self._listeners.get((codec, block.conflated, block.series))
        wanted = None if listeners is None else listeners.among(block.symbols)
        if wanted is None or not wanted.any():
            return None
        block = block.select(wanted)
        return Encoded(codec, block, self._directory, self._next_seqs(block))

    def _next_seqs(self, block: Block) -> Ints | None:
        """Return for each run of conflated bars the number that the running bar has."""
        is_running = block.conflated and block.series.kind == "bars"
        return self._history[block.series].next_seqs(block.symbols) if is_running else None

    def _conflated_positions(self) -> set[int]:
        """Return where those of mode `conflated` stand."""
        positions = set()
        for interval_ms in self.intervals_ms:
            for audience in self._audiences[interval_ms].values():
                if audience.members:
                    positions.add(audience.position)
                positions.update(audience.late.values())
        return positions

    def _count(self, audience: Audience, one: int) -> None:
        conflated = audience.interval_ms > 0
        for series, numbers in audience.parts:
            self._listeners[audience.codec, conflated, series].count(numbers, one)
            if conflated:
                self.conflation.listen(series, one)


class _Piece(NamedTuple):
    """What the clients of an audience get, and those who have yet to get it."""

    share: Share
    clients: list[Outbox]
    is_conflated: bool

    def offer_some(self, most: int) -> int:
        """Offer it to some of those who wait for it; return to how many."""
        some = self.clients[-most:]
        del self.clients[-most:]
        self.offer(some)
        return len(some)

    def offer(self, clients: Iterable[Outbox]) -> None:
        """Offer it to these clients."""
        data, rows, entry = self.share
        if self.is_conflated:
            for outbox in clients:
                outbox.offer_beyond_limit(data, rows, entry)
        else:
            for outbox in clients:
                outbox.offer(data, rows, entry)
