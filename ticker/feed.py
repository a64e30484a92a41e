"""What a feed is: a source of ticks, and the door through which it hands them over.

A feed is found by the entry-point group `ticker.feeds` or named as `package.module:Class`. The shortest one writes only
`run`; everything else has a default here.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar, Protocol, Self

import numpy as np

from ticker.clock import Clock, SystemClock
from ticker.columns import Ticks, columns_of
from ticker.model import INTERVALS_S, Series
from ticker.model import Instrument as Instrument  # so that an author of feeds needs this module only

log = logging.getLogger(__name__)

MOST_SYMBOLS = 1_000_000
"""Symbols of a feed: each costs some KiB in tables, whether or not it ever ticks."""
MOST_COMPLAINTS = 100
"""How many different refusals a TickWriter logs."""
_SHOWN = 130
"""Characters of a symbol or a value that a log line shows."""


REFUSALS = (
    "unknown_kind",  # of a kind, or of bars of an interval, that the feed did not say it has
    "unknown_symbol",  # of a symbol that was not announced
    "code",  # its code stands for no symbol
    "nan",  # a value is no number: a NaN, a NaT, a word
    "decimals",  # a value has more digits than its scale, or than 64 bits hold
    "price",  # it is zero or below, and the instrument has no such prices
    "size",  # it is below zero
    "range",  # a bar's high is below its low
    "time",  # long past, or ahead of now
    "late",  # emitted by a run of the feed that was over, or while the server stopped
)
"""Why a row is refused at the door, as it is counted."""


class FatalFeedError(Exception):
    """The feed failed for good; its message is one line for the person who started the server."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Says that a feed's time is not now. `speed` 10 is ten times as fast as it happened, None as fast as possible."""

    speed: float | None


class Emit(Protocol):
    """The door between a feed and the server. Calling it never waits.

    A row that cannot be is refused here, counted by one of REFUSALS and logged once with its symbol and value; the rows
    beside it are taken. A row older than its predecessor in its channel is given its predecessor's time, and counted.
    Calls come from the event loop's thread: RuntimeError in any other, where `loop.call_soon_threadsafe` helps.
    """

    def __call__(self, ticks: Ticks) -> None:
        """Hand over ticks. They are copied: the arrays may be used again as soon as this returns."""

    def time(self, time_ns: int) -> None:
        """Move the feed's clock (UNIX nanoseconds) without ticks. Also a sign of life: a feed that waits calls it at
        least once a second of real time, so that bars end and no silence alarm is raised."""

    def instruments(self, instruments: Sequence[Instrument]) -> None:
        """Announce symbols that appear after `prepare`. Announcing one again is no error, but ValueError if its scales
        differ; so are more than MOST_SYMBOLS in all."""

    def gap(self, kind: str, symbol: str, missed: int, interval_s: int = 0) -> None:
        """Tell that `missed` rows of a channel were lost before they reached the feed, just before its next tick."""

    def refused(self, code: str, rows: int = 1) -> None:
        """Count rows that the feed itself could not read, by one of REFUSALS."""

    def flush(self) -> None:
        """Number and publish what was emitted so far, now rather than at the end of the batching window."""

    async def ready(self) -> None:
        """Return when every client in mode `all` keeps up: the back-pressure of a replay. A live feed never asks."""

    async def subscribers(self, count: int, quiet_s: float = 0.5) -> None:
        """Return when `count` clients have subscribed in mode `all` and no further command came for `quiet_s`."""


class Feed:
    """A source of ticks. Subclass it and write `run`; override what else differs.

    Life: `from_options` → `prepare` (before the port is announced) → `run`, again after a failure with back-off.
    """

    name: ClassVar[str] = ""
    """How the feed is called in `welcome.feed`; the class's name in lower case unless given."""
    summary: ClassVar[str] = ""
    """One line for `--list-feeds`; the first line of the docstring unless given."""

    instruments: Sequence[Instrument] = ()
    """Its symbols and their scales, where they are known without `prepare`."""
    kinds: tuple[str, ...] = ("trades",)
    """What it emits: any of `trades`, `quotes`, `bars`. May be set by `prepare`. The server folds bars from trades."""
    bars_s: tuple[int, ...] = ()
    """Intervals in seconds of the bars that it emits itself; the server folds their multiples among the usual five."""
    replay: Replay | None = None
    """None when the feed's time is now."""
    ahead_s: float | None = 86_400.0
    """How far rows may be ahead of this machine's clock where the feed's time is now; None is any. A later one is
    refused: since times never run backwards, no row after it in its channel could have its own."""

    identity: str | None = None
    """For a replay: a text that is the same where the same rows will come in the same order, so that after a crash of
    the server it can go on behind those that a journal has. None where it can't; a feed whose time is now needs none.
    """

    def __init_subclass__(cls) -> None:
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()
        if "summary" not in cls.__dict__:
            cls.summary = (cls.__doc__ or "").strip().partition("\n")[0]

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()

    @classmethod
    def options(cls, parser: argparse._ArgumentGroup) -> None:
        """Add the feed's command-line options (`--name`, each with a help text and a default)."""

    @classmethod
    def from_options(cls, args: argparse.Namespace, clock: Clock) -> Self:
        """Make the feed from parsed options. Raises ValueError with one line that says what would be right."""
        return cls(clock)

    async def prepare(self) -> Sequence[Instrument]:
        """Scan, connect, learn the symbols. Raises FatalFeedError: then no port is opened and its message is shown."""
        return self.instruments

    def resume(self, taken: Mapping[Series, int]) -> None:
        """Leave out so many rows of each series, which were emitted before a restart of the server. Called between
        `prepare` and `run`, of a feed with an `identity` only."""
        raise NotImplementedError

    async def run(self, emit: Emit) -> None:
        """Emit until there is no more. Return = ended, FatalFeedError = failed for good, any other exception = restart
        with back-off, cancellation = stop."""
        raise NotImplementedError

    @classmethod
    def intervals(cls, kinds: Sequence[str], bars_s: Sequence[int]) -> tuple[int, ...]:
        """Return the bar intervals that can be had: the usual five from trades, else those emitted and multiples."""
        if "trades" in kinds:
            return tuple(sorted({*INTERVALS_S, *bars_s}))
        multiples = {i for i in INTERVALS_S for base in bars_s if i % base == 0}
        return tuple(sorted({*bars_s, *multiples}))


class TickWriter:
    """For sources that speak one tick at a time: takes text, Decimals or numbers and emits columns of whole numbers.

    A tick is refused, counted and logged once per symbol and reason if a value of it is no finite number or has more
    decimals than the instrument's scale: a price is never rounded. Call `flush` at the end of each of the source's
    messages.
    """

    def __init__(self, emit: Emit, instruments: Sequence[Instrument]) -> None:
        self._emit = emit
        self._instruments: Mapping[str, Instrument] = {each.symbol: each for each in instruments}
        self._symbols = tuple(self._instruments)
        self._codes = {symbol: code for code, symbol in enumerate(self._symbols)}
        self._rows: dict[str, list[tuple[int, ...]]] = {}
        self._complained: set[tuple[str, str]] = set()
        self.refused = 0

    def trade(self, symbol: str, time_ns: int, price: object, size: object) -> bool:
        """Write one trade; return whether it was taken."""
        return self._write("trades", symbol, time_ns, price, size)

    def quote(
        self, symbol: str, time_ns: int, bid_price: object, bid_size: object, ask_price: object, ask_size: object
    ) -> bool:
        """Write one best bid and ask; return whether it was taken."""
        return self._write("quotes", symbol, time_ns, bid_price, bid_size, ask_price, ask_size)

    def flush(self) -> None:
        """Emit what was written since the last call, one Ticks for each kind."""
        written, self._rows = self._rows, {}
        for kind, rows in written.items():
            codes, *columns = np.array(rows, np.int64).T.copy()
            self._emit(Ticks(kind, self._symbols, codes, tuple(columns)))

    def _write(self, kind: str, symbol: str, time_ns: int, *values: object) -> bool:
        instrument = self._instruments.get(symbol)
        if instrument is None:
            return self._refuse("unknown_symbol", symbol, "no such instrument")
        if not _is_time(time_ns):
            return self._refuse("time", symbol, "time: no UNIX time in nanoseconds", time_ns)
        numbers = []
        for column, value in zip(columns_of(kind)[1:], values, strict=True):
            try:
                numbers.append(exact(value, instrument.scale(column.quantity)))
            except InexactError as error:
                return self._refuse(error.code, symbol, f"{column.name}: {error.reason}", value)
        time = int(time_ns) // 10 ** (9 - instrument.time_scale)
        self._rows.setdefault(kind, []).append((self._codes[symbol], time, *numbers))
        return True

    def _refuse(self, code: str, symbol: str, reason: str, *value: object) -> bool:
        self.refused += 1
        self._emit.refused(code)
        if (symbol, reason) not in self._complained and len(self._complained) < MOST_COMPLAINTS:
            self._complained.add((symbol, reason))
            shown = f": {value[0]!r}"[:_SHOWN] if value else ""
            log.warning("tick of %s refused: %s%s", repr(symbol)[:_SHOWN], reason, shown)
        return False


def _is_time(time_ns: object) -> bool:
    return isinstance(time_ns, int | float | np.integer) and bool(-(2**63) <= time_ns < 2**63)


class InexactError(ValueError):
    """A value cannot be a whole number at its scale; `reason` tells why without the value, `code` as it is counted."""

    def __init__(self, reason: str, value: object, code: str = "decimals") -> None:
        super().__init__(f"{reason}: {value!r}")
        self.reason = reason
        self.code = code


def exact(value: object, scale: int) -> int:
    """Return `value` (text, int, Decimal or float by its shortest decimal) as a whole number at `scale`.

    Raises InexactError where it is no finite number, has digits beyond the scale, or does not fit 64 bits.
    """
    text = repr(float(value)) if isinstance(value, float) else str(value)  # a numpy float's own repr names its type
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise InexactError("not a number", value, "nan") from None
    if not number.is_finite() or "_" in text:  # Decimal takes Python's 1_000
        raise InexactError("not a number", value, "nan")
    sign, digits, exponent = number.as_tuple()
    whole = _scaled(digits, int(exponent) + scale)
    if whole is None:
        raise InexactError(f"more than {scale} decimals", value)
    whole = -whole if sign else whole
    if not -(2**63) <= whole < 2**63:
        raise InexactError(f"does not fit 64 bits at scale {scale}", value)
    return whole


def _scaled(digits: tuple[int, ...], shift: int) -> int | None:
    """Return `digits` times 10**shift, cut to 21 digits, which is too large anyway; None if that is no whole number."""
    end = max(len(digits) + min(shift, 0), 0)
    if any(digits[end:]):
        return None
    whole = "".join(map(str, digits[:end])).lstrip("0")
    if whole:
        whole += "0" * min(max(shift, 0), 21)
    return int(whole[:21] or 0)
