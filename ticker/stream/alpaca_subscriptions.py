"""What one client of an Alpaca stream listens to: lists of symbols by channel, as part of an Audience of the Hub."""

from __future__ import annotations

from collections.abc import Mapping

from ticker.model import Series
from ticker.protocol.alpaca import Lists, Offer
from ticker.protocol.alpaca_rows import DAYS
from ticker.protocol.codec import RowCodec
from ticker.stream.audience import Audience, Parts
from ticker.stream.market import Market
from ticker.stream.outbox import Outbox

SERIES = {
    "trades": Series("trades"),
    "quotes": Series("quotes"),
    "bars": Series("bars", 60),
    "dailyBars": DAYS,
}
"""Where the rows of a channel come from; all others are confirmed and stay silent."""


class AlpacaSubscriptions:
    """The channels of one client. `*` is an entry beside others; a symbol that nobody knows yet is waited for."""

    is_catching_up = False

    def __init__(self, market: Market, codec: RowCodec, outbox: Outbox, offer: Offer) -> None:
        self._market = market
        self._codec = codec
        self._outbox = outbox
        self._offer = offer
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
        if self._audience is not None and self._audience.parts != self._parts():
            self._market.hub.leave(self._outbox, self._audience)
            self._audience = None

    def listen(self) -> None:
        """Get rows from the next flush on."""
        if self._audience is None and (parts := self._parts()):
            self._audience = self._market.hub.join(self._outbox, self._codec, 0, parts)

    def announce(self) -> None:
        """Listen to symbols that have appeared, before any row of them comes, and not to those of another class."""
        if self._audience is None:
            self.listen()
        elif (parts := self._parts()) != self._audience.parts:
            self._audience = self._market.hub.widen(self._outbox, self._audience, parts)

    def close(self) -> None:
        """Listen to nothing any more."""
        if self._audience is not None:
            self._market.hub.forsake(self._outbox, self._audience)
            self._audience = None
        self.lists = {}

    def _parts(self) -> Parts:
        parts = []
        for channel, series in SERIES.items():
            symbols = self.lists.get(channel)
            if symbols and (series == DAYS or series in self._market.directory.series):
                numbers = self._numbers(symbols)
                if numbers is None or numbers:
                    parts.append((series, numbers))
        return tuple(parts)

    def _numbers(self, symbols: tuple[str, ...]) -> tuple[int, ...] | None:
        """Return the numbers of these symbols; None where that is all there are."""
        directory, asset_class = self._market.directory, self._offer.asset_class
        if "*" not in symbols:
            known: Mapping[str, int] = directory.numbers
            found = sorted(known[symbol] for symbol in symbols if symbol in known)
            return tuple(each for each in found if directory.instruments[each].asset_class == asset_class)
        all_of_class = tuple(
            number for number, each in enumerate(directory.instruments) if each.asset_class == asset_class
        )
        return None if len(all_of_class) == len(directory) else all_of_class
