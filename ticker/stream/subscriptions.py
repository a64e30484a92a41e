"""What one client listens to: which channels, in which mode, and where those stand that still catch up."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ticker.columns import Block, Ints
from ticker.model import MOST_CHARACTERS, Series
from ticker.protocol.codec import Codec
from ticker.stream.audience import Audience, Parts
from ticker.stream.conflation import TickUpdates
from ticker.stream.cursor import Cursor
from ticker.stream.descriptors import describe
from ticker.stream.ledger import Mode
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox, Pressure
from ticker.stream.runs import conflated
from ticker.stream.views import View, permitted, why_not

Descriptions = list[dict[str, Any]]

EXCLUDED = 1000
"""Symbols that a client doesn't see yet, of which `*` of a series remembers at most that it shall leave them out."""

_NOTHING_SENT = -1
"""Where a channel stands that catches up: before the first flush."""


class Slot(NamedTuple):
    """Channels of one series that are sent alike: `interval_ms` 0 is mode `all`."""

    interval_ms: int
    series: Series

    @property
    def mode(self) -> Mode:
        """What the books tell apart."""
        return self.series, self.interval_ms > 0


class _Wildcard(NamedTuple):
    """`*` of a series: what appears later is sent at `interval_ms`, but for the symbols of `excluded`. The `named` it
    leaves alone. What is there when it is excluded is simply not subscribed, since `*` subscribes no symbol twice."""

    interval_ms: int
    named: set[int]
    excluded: set[str]


class _CatchUp(NamedTuple):
    """Channels that read what they missed from the history. `merged` is what was read of it but not sent: ticks of
    conflated channels are folded until nothing is left, so that each gets one update for all; None for others."""

    slot: Slot
    cursor: Cursor
    merged: TickUpdates | None


class Subscriptions:
    """The channels of one client.

    A channel is live, and then part of an Audience of the Hub, or it catches up: a Cursor reads the History for it
    until there is nothing newer, and in that same call it becomes live, so that no row can slip between.
    """

    __slots__ = (
        "_audiences",
        "_catching_up",
        "_codec",
        "_market",
        "_most",
        "_numbers",
        "_outbox",
        "_pressure",
        "_view",
        "_wildcards",
    )

    def __init__(self, market: Market, codec: Codec, outbox: Outbox, pressure: Pressure) -> None:
        self._market = market
        self._view: View | None = None
        self._most = market.limits.channels
        self._codec = codec
        self._outbox = outbox
        self._pressure = pressure
        self._numbers: dict[Slot, tuple[int, ...]] = {}
        self._audiences: dict[int, Audience] = {}
        self._wildcards: dict[Series, _Wildcard] = {}
        self._catching_up: list[_CatchUp] = []

    def __len__(self) -> int:
        """How many channels are subscribed."""
        return sum(map(len, self._numbers.values()))

    @property
    def is_catching_up(self) -> bool:
        """Whether `catch_up` has something to do."""
        return bool(self._catching_up)

    @property
    def has_wildcard(self) -> bool:
        """Whether symbols that appear later are subscribed by themselves."""
        return bool(self._wildcards)

    @property
    def wants_every_row(self) -> bool:
        """Whether anything is subscribed in mode `all`."""
        return any(not slot.interval_ms for slot in self._numbers)

    def subscribe(
        self, slot: Slot, names: Sequence[str] | None, since: Mapping[str, int], same_epoch: bool
    ) -> tuple[Descriptions, list[dict[str, str]]]:
        """Subscribe symbols (None for `*`); return the descriptions of their channels, and what is refused.

        What was pending goes out before. Afterwards call `listen`, once the descriptions are on their way.
        """
        wanted, refused = self._resolve(slot, names)
        numbers = np.array(wanted, np.int64)
        seqs, missed = self._positions(slot.series, numbers, since, same_epoch)
        self._flush(slot.series)
        self._withdraw([slot])
        descriptions = describe(self._market, slot.series, slot.interval_ms, numbers, seqs, missed)
        self._remove(slot.series, wanted)
        lost = np.array([rows or 0 for rows in missed], np.int64)
        self._add(slot, wanted, seqs - lost)
        self._outbox.miss(int(lost.sum()))
        behind = seqs < self._market.history[slot.series].next_seqs(numbers)
        if behind.any():
            self._begin_catch_up(slot, numbers[behind], seqs[behind])
        return descriptions, refused

    def unsubscribe(self, series: Iterable[Series], names: Sequence[str] | None) -> list[int]:
        """End channels (all of these series for None); return their integers. What was pending goes out before."""
        directory = self._market.directory
        ended: list[int] = []
        for each in series:
            if names is None:
                numbers = self._of(each)
                self._wildcards.pop(each, None)
            else:
                numbers = {directory.numbers[name] for name in names if name in directory.numbers}
                self._exclude(each, names)
            ended += self._end(each, numbers)
        return ended

    def permit(self, view: View | None, most: int) -> tuple[list[int], list[int]]:
        """Let the client have the symbols of a view from now on (None: all), and so many channels.

        Channels of other symbols end, as if unsubscribed: return their integers. Return also the symbols that are
        permitted now and were not before: `widen` by these. Afterwards call `listen`.
        """
        old, self._view, self._most = self._view, view, most
        ended: list[int] = []
        if view is old:  # as with most tokens that are renewed
            return ended, []
        for series in dict.fromkeys(slot.series for slot in self._numbers):
            gone = self._of(series).difference(permitted(view, self._of(series)))
            if gone:
                ended += self._end(series, gone)
        if old is None or not self._wildcards:
            return ended, []
        everything = permitted(view, range(len(self._market.directory)))
        return ended, [number for number in everything if not old.has(number)]

    def widen(self, numbers: Sequence[int]) -> Descriptions:
        """Subscribe symbols that are permitted now where `*` wants them; return their descriptions. What was pending
        goes out before. Afterwards call `listen`, once the descriptions are on their way."""
        for series, wildcard in self._wildcards.items():
            self._flush(series)
            self._withdraw([Slot(wildcard.interval_ms, series)])
        return self.announce(numbers)

    def announce(self, numbers: Sequence[int]) -> Descriptions:
        """Subscribe symbols that have appeared where `*` wants them; return their descriptions.

        Afterwards call `listen_wider`, once these are on their way, and before any row of these symbols.
        """
        descriptions: Descriptions = []
        seen, instruments = permitted(self._view, numbers), self._market.directory.instruments
        for series, wildcard in self._wildcards.items():
            excluded = wildcard.excluded
            wanted = [each for each in seen if instruments[each].symbol not in excluded] if excluded else seen
            wanted = wanted[: max(0, self._most - len(self))]
            if wanted:
                fresh = np.array(wanted, np.int64)
                seqs = self._market.history[series].next_seqs(fresh)
                descriptions += describe(self._market, series, wildcard.interval_ms, fresh, seqs, [0] * len(wanted))
                self._add(Slot(wildcard.interval_ms, series), wanted, seqs)
        return descriptions

    def listen_wider(self) -> None:
        """Join the audiences of what was announced; what is due elsewhere stays due.

        To be called even if nothing was: whose channels were all there are would get the rows of what has appeared.
        """
        for interval_ms, audience in self._audiences.items():
            parts = self._parts(interval_ms)
            if parts != audience.parts:
                self._audiences[interval_ms] = self._market.hub.widen(self._outbox, audience, parts)
        self.listen()

    def listen(self) -> None:
        """Join the audiences of what is live, as far as that has changed."""
        for interval_ms in {slot.interval_ms for slot in self._numbers}:
            if interval_ms not in self._audiences:
                parts = self._parts(interval_ms)
                if parts:
                    hub = self._market.hub
                    self._audiences[interval_ms] = hub.join(self._outbox, self._codec, interval_ms, parts)

    def catch_up(self) -> None:
        """Send the next slice of what is behind. Raises FellOff when the history does not have it any more."""
        each = self._catching_up[0]
        slot, cursor, merged = each
        block = cursor.read()
        if block is not None:
            if merged is None:
                self._send(conflated(block) if slot.interval_ms else block)
            else:
                merged.append(block)
                merged.keep((_NOTHING_SENT,))
            return
        self._send_merged(each)
        self._end_catch_up(each)
        if slot.interval_ms and slot.series.kind == "bars":
            running = self._market.hub.conflation.bars[slot.series].running(cursor.symbols)
            if running is not None:
                self._send(running)
        self._withdraw([slot])
        self.listen()

    def why_not(self, symbol: str) -> str | None:
        """Return the code of why a symbol cannot be had, None if it can."""
        return why_not(self._market.directory, self._view, symbol)

    def close(self) -> None:
        """Listen to nothing any more, and send nothing that is due."""
        for audience in self._audiences.values():
            self._market.hub.forsake(self._outbox, audience)
        self._audiences.clear()
        for slot, numbers in self._numbers.items():
            self._market.hub.ledger.end(self._outbox, slot.mode, numbers)
        self._outbox.abandon_rest()
        self._numbers.clear()
        self._wildcards.clear()
        for each in list(self._catching_up):
            self._end_catch_up(each)

    def _resolve(self, slot: Slot, names: Sequence[str] | None) -> tuple[list[int], list[dict[str, str]]]:
        """Return the numbers of what can be subscribed, and what can't; note what that means for `*`."""
        directory, series, view = self._market.directory, slot.series, self._view
        mine = self._of(series)
        wildcard = self._wildcards.get(series)
        if names is None:
            named = mine if wildcard is None else wildcard.named
            self._wildcards[series] = _Wildcard(slot.interval_ms, named, set())
            everything = range(len(directory)) if view is None else view.numbers
            known = [number for number in everything if number not in named]
            refused = []
        else:
            codes = {name: code for name in names if (code := self.why_not(name)) is not None}
            known = [directory.numbers[name] for name in names if name not in codes]
            refused = [{"symbol": name, "code": code} for name, code in codes.items()]
        room = self._most - len(self)
        wanted = []
        for number in known:
            room -= number not in mine
            if room >= 0 or number in mine:
                wanted.append(number)
            else:
                refused.append({"symbol": directory.instruments[number].symbol, "code": "limit"})
        if names is not None and wildcard is not None:
            wildcard.named.update(wanted)
            wildcard.excluded.difference_update(directory.instruments[number].symbol for number in wanted)
        return wanted, refused

    def _exclude(self, series: Series, names: Iterable[str]) -> None:
        """Have `*` leave out what the client doesn't see yet of these symbols, should it appear."""
        wildcard = self._wildcards.get(series)
        if wildcard is not None:
            excluded = wildcard.excluded
            unseen = (each for each in names if len(each) <= MOST_CHARACTERS and self.why_not(each) is not None)
            excluded.update(islice(unseen, EXCLUDED - len(excluded)))

    def _of(self, series: Series) -> set[int]:
        """Return the symbols that are subscribed of a series."""
        return {number for slot, numbers in self._numbers.items() if slot.series == series for number in numbers}

    def _end(self, series: Series, numbers: set[int]) -> list[int]:
        """End channels of a series; return their integers. What was pending goes out before."""
        if series in self._wildcards:
            self._wildcards[series].named.difference_update(numbers)
        self._flush(series)
        ended: list[int] = []
        for slot in [slot for slot in self._numbers if slot.series == series]:
            gone = np.array([number for number in self._numbers[slot] if number in numbers], np.int64)
            ended += self._market.directory.channels(series, slot.interval_ms > 0, gone).tolist()
        self._remove(series, numbers)
        return ended

    def _positions(
        self, series: Series, numbers: Ints, since: Mapping[str, int], same_epoch: bool
    ) -> tuple[Ints, list[int | None]]:
        """Return where each channel begins, and how many rows before cannot be had (None: nobody knows)."""
        shelf, instruments = self._market.history[series], self._market.directory.instruments
        seqs = shelf.next_seqs(numbers)
        missed: list[int | None] = [0] * len(numbers)
        behind = self._behind(series)
        if not since and not behind:
            return seqs, missed
        first, following = shelf.first_seqs(numbers).tolist(), seqs.tolist()
        for i, number in enumerate(numbers.tolist()):
            asked = since.get(instruments[number].symbol)
            if asked is not None and (not same_epoch or asked > following[i]):
                missed[i] = None
                continue
            if asked is None:
                asked = behind.get(number, following[i])
            missed[i] = max(0, first[i] - asked)
            seqs[i] = max(first[i], asked)
        return seqs, missed

    def _behind(self, series: Series) -> dict[int, int]:
        """Return where the channels of a series stand that catch up: subscribed again they go on from there."""
        return {
            number: cursor.position(number)
            for slot, cursor, _ in self._catching_up
            if slot.series == series
            for number in cursor.symbols.tolist()
        }

    def _begin_catch_up(self, slot: Slot, numbers: Ints, seqs: Ints) -> None:
        order = np.argsort(numbers)
        merges = slot.interval_ms > 0 and slot.series.kind != "bars"
        cursor = self._market.history.cursor(slot.series, numbers[order], seqs[order])
        self._catching_up.append(_CatchUp(slot, cursor, TickUpdates() if merges else None))
        self._pressure.add()

    def _send_merged(self, each: _CatchUp) -> None:
        """Send what was read but not sent."""
        block = None if each.merged is None else each.merged.since(_NOTHING_SENT)
        if each.merged is not None and block is not None:
            self._send(block)
            each.merged.keep(())

    def _flush(self, series: Series) -> None:
        """Send all that is due of the channels of a series. Afterwards call `listen`."""
        self._withdraw([slot for slot in self._numbers if slot.series == series])
        for each in self._catching_up:
            if each.slot.series == series:
                self._send_merged(each)

    def _withdraw(self, slots: Collection[Slot]) -> None:
        """Leave the audiences of these slots, so that what is pending there goes out now."""
        for interval_ms in {slot.interval_ms for slot in slots}:
            audience = self._audiences.pop(interval_ms, None)
            if audience is not None:
                self._market.hub.leave(self._outbox, audience)

    def _add(self, slot: Slot, numbers: Collection[int], first: Ints) -> None:
        """Subscribe channels, which are owed the rows from `first` on."""
        if numbers:
            self._market.hub.ledger.begin(self._outbox, slot.mode, numbers, first)
            self._numbers[slot] = tuple(sorted({*self._numbers.get(slot, ()), *numbers}))

    def _remove(self, series: Series, numbers: Collection[int]) -> None:
        gone = set(numbers)
        for slot in [slot for slot in self._numbers if slot.series == series]:
            ended = [number for number in self._numbers[slot] if number in gone]
            self._market.hub.ledger.end(self._outbox, slot.mode, ended, self._unread(slot, gone))
            left = tuple(number for number in self._numbers[slot] if number not in gone)
            if left:
                self._numbers[slot] = left
            else:
                del self._numbers[slot]
        for each in [each for each in self._catching_up if each.slot.series == series]:
            each.cursor.drop(np.array([number for number in each.cursor.symbols.tolist() if number in gone], np.int64))
            if not len(each.cursor.symbols):
                self._end_catch_up(each)

    def _unread(self, slot: Slot, numbers: Collection[int]) -> int:
        """Return how many rows of these channels of a slot they have yet to get from the history."""
        shelf, unread = self._market.history[slot.series], 0
        for each in self._catching_up:
            if each.slot == slot:
                symbols = [number for number in each.cursor.symbols.tolist() if number in numbers]
                following = shelf.next_seqs(np.array(symbols, np.int64)).tolist()
                unread += sum(following) - sum(map(each.cursor.position, symbols))
        return unread

    def _parts(self, interval_ms: int) -> Parts:
        """Return what is live at an interval; a series of which everything is, as None."""
        parts = []
        for slot, numbers in sorted(self._numbers.items()):
            if slot.interval_ms == interval_ms:
                behind = {n for each in self._catching_up if each.slot == slot for n in each.cursor.symbols.tolist()}
                live = tuple(number for number in numbers if number not in behind) if behind else numbers
                everything = slot.series in self._wildcards and len(live) == len(self._market.directory)
                if live:
                    parts.append((slot.series, None if everything else live))
        return tuple(parts)

    def _send(self, block: Block) -> None:
        self._outbox.offer_beyond_limit(*self._market.hub.frames(self._codec, block))

    def _end_catch_up(self, each: _CatchUp) -> None:
        self._catching_up.remove(each)
        self._pressure.remove()
