"""What one client of an Alpaca stream listens to: lists of symbols by channel, as part of an Audience of the Hub."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ticker.model import Series
from ticker.protocol.alpaca import Lists
from ticker.protocol.alpaca_rows import DAYS
from ticker.protocol.codec import RowCodec
from ticker.stream.audience import Audience, Parts
from ticker.stream.directory import Directory
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox
from ticker.stream.views import View

SERIES = {
    "trades": Series("trades"),
    "quotes": Series("quotes"),
    "bars": Series("bars", 60),
    "dailyBars": DAYS,
}
"""Where the rows of a channel come from; all others are confirmed and stay silent."""


class Everything:
    """The symbols of an asset class, those of a view (None: all), as far as they are known: what `*` means."""

    def __init__(self, directory: Directory, asset_class: str, view: View | None = None) -> None:
        self._directory = directory
        self._asset_class = asset_class
        self._view = view
        self._within: WeakKeyDictionary[View, Everything] = WeakKeyDictionary()
        self._size = -1
        self._numbers: tuple[int, ...] | None = None

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """Their numbers, None where all symbols are of this class. Worked out again only when symbols have appeared."""
        if len(self._directory) != self._size:
            self._size = len(self._directory)
            found = tuple(number for number in range(self._size) if self.has(number))
            self._numbers = None if len(found) == self._size else found
        return self._numbers

    def has(self, number: int) -> bool:
        """Tell whether a symbol is of this class, and permitted."""
        if self._view is not None and not self._view.has(number):
            return False
        return self._directory.instruments[number].asset_class == self._asset_class

    def may_see(self, symbol: str) -> bool:
        """Tell whether a symbol is permitted, whether or not there is one of that name."""
        return self._view is None or self._view.may_see(symbol)

    def within(self, view: View | None) -> Everything:
        """Return those of a view: one object for all clients that share it."""
        if view is None:
            return self
        if view not in self._within:
            self._within[view] = Everything(self._directory, self._asset_class, view)
        return self._within[view]


class AlpacaSubscriptions:
    """The channels of one client. `*` is an entry beside others; a symbol that nobody knows yet is waited for."""

    is_catching_up = False

    def __init__(self, market: Market, codec: RowCodec, outbox: Outbox, everything: Everything) -> None:
        self._market = market
        self._codec = codec
        self._outbox = outbox
        self.everything = everything
        self._may_grow = False
        self._audience: Audience | None = None
        self.lists: Lists = {}
        """The symbols of each channel."""

    @property
    def wants_every_row(self) -> bool:
        """Whether anything is subscribed that has rows."""
        return any(channel in SERIES for channel in self.lists)

    def with_more(self, lists: Lists) -> Lists:
        """Return the lists with these symbols added."""
        channels = dict.fromkeys((*self.lists, *lists))
        return {each: tuple(dict.fromkeys((*self.lists.get(each, ()), *lists.get(each, ())))) for each in channels}

    def without(self, lists: Lists) -> Lists:
        """Return the lists with these symbols taken out; channels without any are left out."""
        left: dict[str, tuple[str, ...]] = {}
        for channel, symbols in self.lists.items():
            gone = frozenset(lists.get(channel, ()))
            if kept := tuple(symbol for symbol in symbols if symbol not in gone):
                left[channel] = kept
        return left

    def change(self, lists: Lists) -> None:
        """Set the lists. What is due of the old ones goes out before; afterwards call `listen`."""
        self.lists = lists
        known = self._market.directory.numbers
        self._may_grow = any(symbol not in known for symbols in lists.values() for symbol in symbols)
        if self._audience is not None:
            self._market.hub.leave(self._outbox, self._audience)
            self._end(self._audience.parts)
            self._audience = None

    def permitted(self) -> Lists:
        """Return the lists without what is not permitted; channels without any are left out."""
        may_see = self.everything.may_see
        kept = {
            channel: tuple(symbol for symbol in symbols if symbol == "*" or may_see(symbol))
            for channel, symbols in self.lists.items()
        }
        return {channel: symbols for channel, symbols in kept.items() if symbols}

    def count(self, lists: Lists) -> int:
        """Return how many channels these lists are."""
        return sum(self._size(lists[channel]) for channel in SERIES if channel in lists)

    def listen(self) -> None:
        """Get rows from the next flush on."""
        if self._audience is None and (parts := self._parts()):
            self._audience = self._market.hub.join(self._outbox, self._codec, 0, parts)
            self._begin(parts)

    def announce(self) -> None:
        """Listen to symbols that have appeared, before any row of them comes, and not to those of another class."""
        if not self._may_grow:
            return
        if self._audience is None:
            self.listen()
        elif (parts := self._parts()) != self._audience.parts:
            # No row of what has appeared was there before, so that these are owed from their first on.
            self._begin(parts)
            self._end(self._audience.parts)
            self._audience = self._market.hub.widen(self._outbox, self._audience, parts)

    def close(self) -> None:
        """Listen to nothing any more."""
        if self._audience is not None:
            self._market.hub.forsake(self._outbox, self._audience)
            self._end(self._audience.parts)
            self._audience = None
        self._outbox.abandon_rest()
        self.lists = {}

    def _begin(self, parts: Parts) -> None:
        for series, numbers in parts:
            self._market.hub.ledger.begin(self._outbox, (series, False), numbers)

    def _end(self, parts: Parts) -> None:
        for series, numbers in parts:
            self._market.hub.ledger.end(self._outbox, (series, False), numbers)

    def _parts(self) -> Parts:
        parts = []
        for channel, series in SERIES.items():
            symbols = self.lists.get(channel)
            if symbols and (series == DAYS or series in self._market.directory.series):
                numbers = self._numbers(symbols)
                if numbers is None or numbers:
                    parts.append((series, numbers))
        return tuple(parts)

    def _size(self, symbols: tuple[str, ...]) -> int:
        if "*" not in symbols:
            return len(symbols)
        numbers = self.everything.numbers
        return len(self._market.directory) if numbers is None else len(numbers)

    def _numbers(self, symbols: tuple[str, ...]) -> tuple[int, ...] | None:
        """Return the numbers of these symbols; None where that is all there are."""
        if "*" in symbols:
            return self.everything.numbers
        known = self._market.directory.numbers
        return tuple(filter(self.everything.has, sorted(known[symbol] for symbol in symbols if symbol in known)))
