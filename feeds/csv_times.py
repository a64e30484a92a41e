"""Times as files write them in text: formats in the words of `strptime`, read a column at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from functools import cache
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feeds.csv_zones import SECOND_NS
from ticker.columns import Array, Ints

_MONTHS = {
    name: i
    for i, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1)
}
_PATTERNS = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d\d)", "m": r"(?P<m>1[0-2]|0?[1-9])", "d": r"(?P<d>3[01]|[12]\d|0?[1-9])",
    "H": r"(?P<H>2[0-3]|[01]?\d)", "I": r"(?P<I>1[0-2]|0?[1-9])", "M": r"(?P<M>[0-5]?\d)", "S": r"(?P<S>[0-5]?\d)",
    "f": r"(?P<f>\d{1,9})", "F": r"(?:[.,](?P<f>\d{1,9})0*)?", "b": r"(?P<b>[A-Za-z]{3})", "B": r"(?P<b>[A-Za-z]{3,9})",
    "p": r"(?P<p>[AaPp][Mm])", "z": r"(?P<z>Z|UTC|[+-]\d\d:?(?:\d\d)?)", "j": r"(?P<j>\d{3})", "%": "%",
}  # fmt: skip
_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
_ZONE_AT_END = re.compile(_PATTERNS["z"] + "$")
_SHORTHANDS = {"%T": "%H:%M:%S", "%D": "%m/%d/%y", "%R": "%H:%M"}


class TimeFormat:
    """A format in the words of `strptime`: %Y %y %m %d %b %B %j, %H %I %p %M %S %f (one to nine digits), %z, %T %R %D.

    `%F` is ours: a fraction of a second with its point, or nothing. Local time comes out unless %z is there.
    Raises ValueError for a word it doesn't know, or one that comes twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        for short, long in _SHORTHANDS.items():
            text = text.replace(short, long)
        self._tokens = re.findall(r"%.|[^%]+|%", text)
        words = [token[1:] for token in self._tokens if token[0] == "%"]
        for word in words:
            if word not in _PATTERNS:
                raise ValueError(f"expected words of strptime such as %Y%m%d %H:%M:%S, got {self.text!r} with %{word}")
            if words.count(word) > 1 and word != "%":
                raise ValueError(f"expected each word once, got {self.text!r} with %{word} twice")
        self.has_clock = bool({"H", "I"} & set(words))
        self.has_day = bool({"d", "j"} & set(words))
        self.has_zone = "z" in words
        pattern = "".join(_PATTERNS[t[1:]] if t[0] == "%" else re.escape(t) for t in self._tokens)
        self._pattern = re.compile(pattern.replace(r"\ ", r"\s+"))

    def parse(self, text: str) -> int:
        """Return the nanoseconds of one time, of its own local time or, with %z, of UTC. Raises ValueError."""
        found = self._pattern.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not a time of the form {self.text}")
        part = found.groupdict()
        try:
            days = _day(part)
        except ValueError:
            raise ValueError(f"{text!r}: no such day") from None
        hour = int(part.get("H") or 0)
        if part.get("I"):
            hour = int(part["I"]) % 12 + (12 if (part.get("p") or "").lower() == "pm" else 0)
        seconds = ((days * 24 + hour) * 60 + int(part.get("M") or 0)) * 60 + int(part.get("S") or 0)
        ns = seconds * SECOND_NS + int((part.get("f") or "").ljust(9, "0"))
        return ns - _ahead_s(part.get("z")) * SECOND_NS

    def matches(self, text: str) -> bool:
        """Return whether `parse` would take a text."""
        try:
            self.parse(text)
        except ValueError:
            return False
        return True

    def parse_column(self, texts: pa.Array) -> Ints:
        """Return the nanoseconds of a column of strings. Raises ValueError if one isn't such a time."""
        times = np.zeros(len(texts), np.int64)
        lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            group = texts if len(rows) == len(texts) else texts.take(pa.array(rows))
            fast = self._same_zone(_matrix(group, length))
            times[rows] = self._one_by_one(group) if fast is None else fast
        return times

    def _one_by_one(self, texts: pa.Array) -> Ints:
        coded = texts.dictionary_encode()
        values: Ints = np.array([self.parse(text) for text in coded.dictionary.to_pylist()], np.int64)
        times: Ints = values[coded.indices.to_numpy(zero_copy_only=False)]
        return times

    def _same_zone(self, cells: Array) -> Ints | None:
        """Return the nanoseconds of texts of one length, as a matrix of bytes, with one zone; None: the long way."""
        if not self.has_zone:
            return self._fixed_width(cells, self._tokens)
        zone = _ZONE_AT_END.search(bytes(cells[0]).decode(errors="replace"))
        if self._tokens[-1] != "%z" or zone is None:
            return None
        size = len(zone[0])
        if (cells[:, -size:] != np.frombuffer(zone[0].encode(), np.uint8)).any():
            return None
        local = self._fixed_width(cells[:, :-size], self._tokens[:-1])
        return None if local is None else local - _ahead_s(zone[0]) * SECOND_NS

    def _fixed_width(self, cells: Array, tokens: Sequence[str]) -> Ints | None:
        """Return the nanoseconds of texts in which each word has its full width; None: the long way."""
        at, width = 0, cells.shape[1]
        part: dict[str, Ints] = {}
        for i, token in enumerate(tokens):
            word = token[1:] if token[0] == "%" else ""
            size = _WIDTHS.get(word, 0)
            if word == "F" and at == width:
                continue
            if word in ("f", "F"):
                at += word == "F"
                size = width - at
                if i != len(tokens) - 1 or not 1 <= size <= 9:
                    return None
                if word == "F" and not np.isin(cells[:, at - 1], (44, 46)).all():  # a comma or a point
                    return None
            elif not word:
                literal = np.frombuffer(token.encode(), np.uint8)
                if at + len(literal) > width or (cells[:, at : at + len(literal)] != literal).any():
                    return None
                at += len(literal)
                continue
            if not size or at + size > width or (value := _digits(cells, at, size)) is None:
                return None
            part[word] = value * 10 ** (9 - size) if word in ("f", "F") else value
            at += size
        is_complete = at == width and len(part.keys() & {"Y", "m", "d"}) in (0, 3)
        return _combine(part) if part and is_complete else None


def _combine(part: dict[str, Ints]) -> Ints | None:
    zero = np.zeros(len(next(iter(part.values()))), np.int64)
    hour, minute, second = (part.get(word, zero) for word in "HMS")
    if (hour > 23).any() or (minute > 59).any() or (second > 59).any():
        return None
    fraction = part.get("f", part.get("F", zero))
    if "Y" not in part:
        return (hour * 3600 + minute * 60 + second) * SECOND_NS + fraction
    year, month, day = part["Y"], part["m"], part["d"]
    if ((year < 1678) | (year > 2261) | (month < 1) | (month > 12) | (day < 1)).any():
        return None
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    days = first + day - 1
    if (days >= after).any():
        return None
    return ((days * 24 + hour) * 3600 + minute * 60 + second) * SECOND_NS + fraction


def _matrix(texts: pa.Array, length: int) -> Array:
    """Return strings of one length as a matrix of bytes."""
    _, offsets, data = texts.buffers()
    if length == 0 or data is None:
        return np.zeros((len(texts), 0), np.uint8)
    start = int(np.frombuffer(offsets, np.int32, 1, texts.offset * 4)[0])
    return np.frombuffer(data, np.uint8, len(texts) * length, start).reshape(len(texts), length)


def _digits(cells: Array, at: int, size: int) -> Ints | None:
    """Return the number in some columns of a matrix of bytes, None if a byte is no digit."""
    value = np.zeros(len(cells), np.int64)
    for column in range(at, at + size):
        digit = cells[:, column] - np.uint8(48)
        if (digit > 9).any():
            return None
        value *= 10
        value += digit
    return value


def _day(part: dict[str, str | None]) -> int:
    """Return the days since 1970 of a match; a two-digit year below 69 is 20xx."""
    if "Y" not in part and "y" not in part:
        return 0
    year = int(part.get("Y") or 0) or (lambda y: y + (1900 if y >= 69 else 2000))(int(part.get("y") or 0))
    if part.get("j"):
        return (date(year, 1, 1) - date(1970, 1, 1)).days + _checked_day(year, int(part["j"] or 0)) - 1
    month = int(part.get("m") or 0)
    if part.get("b"):
        month = _MONTHS.get((part["b"] or "")[:3].lower(), 0)
    return (date(year, month or 1, int(part.get("d") or 1)) - date(1970, 1, 1)).days


def _checked_day(year: int, number: int) -> int:
    if not 1 <= number <= (date(year + 1, 1, 1) - date(year, 1, 1)).days:
        raise ValueError("no such day")
    return number


def _ahead_s(zone: str | None) -> int:
    if not zone or zone in ("Z", "UTC"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if zone[0] == "-" else seconds


_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y",
         "%d-%b-%y", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%b %d %Y", "%m/%d/%y", "%d/%m/%y", "%Y-%j")  # fmt: skip
_CLOCKS = ("%H:%M:%S%F", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H%M%S%F", "%H%M", "%I-%p", "%H")


@cache
def _known() -> tuple[TimeFormat, ...]:
    return tuple(
        TimeFormat(text)
        for text in (
            *_DAYS,
            *(day + sign + clock for day, sign, clock in product(_DAYS, (" ", "T", "-", "D", ", ", ";"), _CLOCKS)),
            *(
                day + sign + clock + zone
                for day, sign, clock, zone in product(_DAYS[:4], (" ", "T"), _CLOCKS[:2], ("%z", " %z"))
            ),
            *(day + " " + clock + " GMT%z" for day, clock in product(_DAYS, _CLOCKS[:2])),
        )
    )


def recognise(texts: Sequence[str]) -> list[TimeFormat]:
    """Return the formats in which the most of these texts are times, best first; [] if less than nine in ten are.

    Two are left only where day and month cannot be told apart.
    """
    texts = [text.strip() for text in texts]
    scores = [(sum(map(each.matches, texts)), each) for each in _known() if any(map(each.matches, texts[:20]))]
    best = max((score for score, _ in scores), default=0)
    if best < 0.9 * len(texts) or not best:
        return []
    found = [each for score, each in scores if score == best]
    meanings = {tuple(each.parse(text) for text in texts if each.matches(text)): each for each in reversed(found)}
    return list(reversed(meanings.values()))
