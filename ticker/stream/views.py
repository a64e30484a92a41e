"""Which symbols a token's patterns permit, worked out once for all clients that share them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache

from ticker.stream.directory import Directory

MOST_VIEWS = 64
"""Views that are kept for the next client. A view of 100,000 symbols occupies some 5 MB."""


class View:
    """The symbols that some patterns permit: those of now as numbers, those to come as soon as they are announced."""

    def __init__(self, directory: Directory, patterns: Sequence[str]) -> None:
        self._directory = directory
        self._matches = Matcher(tuple(patterns))
        self._known = 0
        self._flags = bytearray()
        self._numbers: tuple[int, ...] = ()
        self._names: list[str] = []

    def may_see(self, symbol: str) -> bool:
        """Tell whether a symbol is permitted, whether or not there is one of that name."""
        return self._matches(symbol)

    def has(self, number: int) -> bool:
        """Tell the same of a symbol's number."""
        self._grow()
        return bool(self._flags[number])

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of all that are permitted, ascending."""
        self._grow()
        return self._numbers

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Return what `Directory.page` does, of those that are permitted."""
        self._grow()
        first = bisect_left(self._names, prefix)
        if after:
            first = max(first, bisect_right(self._names, after))
        page = [symbol for symbol in self._names[first : first + limit + 1] if symbol.startswith(prefix)]
        return page[:limit], len(page) > limit

    def _grow(self) -> None:
        """Look at the symbols that have appeared since."""
        size = len(self._directory)
        if self._known < size:
            fresh = [each.symbol for each in self._directory.instruments[self._known : size]]
            flags = [self._matches(symbol) for symbol in fresh]
            self._flags += bytes(flags)
            found = [number for number, is_permitted in enumerate(flags) if is_permitted]
            if found:
                self._names += [fresh[number] for number in found]
                self._names.sort()
                self._numbers += tuple(self._known + number for number in found)
            self._known = size


class Views:
    """The views of a market, by patterns."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._views: OrderedDict[tuple[str, ...], View] = OrderedDict()

    def of(self, patterns: tuple[str, ...]) -> View | None:
        """Return the view of some patterns; None where they permit everything."""
        if "*" in patterns:
            return None
        view = self._views.get(patterns)
        if view is None:
            view = self._views[patterns] = View(self._directory, patterns)
            if len(self._views) > MOST_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(patterns)
        return view


class Matcher:
    """Tells whether a symbol matches one of some patterns, as `fnmatchcase` does, but for 100,000 symbols at once."""

    __slots__ = ("_names", "_pattern", "_prefixes")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._names = frozenset(each for each in patterns if not _is_wild(each))
        self._prefixes = tuple(
            each[:-1] for each in patterns if each.endswith("*") and not _is_wild(each.removesuffix("*"))
        )
        self._pattern = _compiled(tuple(each for each in patterns if _is_wild(each.removesuffix("*"))))

    def __call__(self, symbol: str) -> bool:
        return (
            symbol in self._names
            or symbol.startswith(self._prefixes)
            or (self._pattern is not None and self._pattern.match(symbol) is not None)
        )


def _is_wild(pattern: str) -> bool:
    return any(each in pattern for each in "*?[")


@lru_cache(MOST_VIEWS)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(translate, patterns))) if patterns else None


def permitted(view: View | None, numbers: Iterable[int]) -> list[int]:
    """Return those of some symbols that a view permits; None permits all."""
    return list(numbers) if view is None else [number for number in numbers if view.has(number)]


def why_not(directory: Directory, view: View | None, symbol: str) -> str | None:
    """Return the code of why a symbol cannot be had, None if it can. One that is forbidden is, whether or not there is
    one of that name."""
    if view is not None and not view.may_see(symbol):
        return "forbidden"
    return None if symbol in directory.numbers else "unknown_symbol"
