"""Exact numbers: from text or pyarrow decimals to whole numbers at a scale, never through a float."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ticker.columns import Array, Ints

Floats = npt.NDArray[np.float64]

MOST_DECIMALS = 18
_PLAIN = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?")
_EXPONENT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)[eE][+-]?\d{1,4}")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_TEN = 10 ** np.arange(19, dtype=np.int64)
LARGEST = 2**63 - 1


def exact(text: str, decimal_comma: bool = False) -> tuple[int, int]:
    """Return a number in text as a whole number and its significant decimals: `"1.50"` is (15, 1), `"1e3"` (1000, 0).

    Blanks around it, a dollar sign before it and an exponent are fine, and so are thousands commas where each but the
    first group has exactly three digits; a file with decimal commas has points there. Raises ValueError that says what
    is wrong.
    """
    cell = text.strip()
    if not cell:
        raise ValueError("is empty")
    if decimal_comma:
        cell = cell.translate({44: 46, 46: 44})
    if "$" in cell:
        cell = re.sub(r"^([+-]?)\$", r"\1", cell)
    if "," in cell and _GROUPED.fullmatch(cell):
        cell = cell.replace(",", "")
    if cell.isascii() and (found := _PLAIN.fullmatch(cell)):
        sign, whole, fraction = found[1], found[2], (found[3] or "").rstrip("0")
        if whole or found[3]:
            if len(whole.lstrip("0")) > 40:
                raise ValueError(f"is too large: {text.strip()!r}")
            return int(sign + whole + fraction or "0"), len(fraction)
    if cell.isascii() and _EXPONENT.fullmatch(cell):
        number = Decimal(cell)
        exponent = number.as_tuple().exponent
        assert isinstance(exponent, int)
        if number and number.adjusted() > 40:
            raise ValueError(f"is too large: {text.strip()!r}")
        number = number.normalize() if number else Decimal(0)
        decimals = max(0, -int(number.as_tuple().exponent))
        return int(number.scaleb(decimals)), decimals
    raise ValueError(f"is not a number: {text.strip()!r}")


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of numbers times 10**scale. Those that don't fit 64 bits so are in `wide` by row, and 0 in `values`."""

    values: Ints
    scale: int
    wide: Mapping[int, int] = field(default_factory=dict)

    @staticmethod
    def of_decimals(column: pa.Array, scale: int) -> Numbers:
        """Return the numbers of a decimal128 column without nulls, whose whole numbers are to be taken at `scale`."""
        if not len(column):
            return Numbers(np.zeros(0, np.int64), scale)
        words = np.frombuffer(column.buffers()[1], np.int64, 2 * len(column), column.offset * 16)
        low, high = words[::2], words[1::2]
        beyond = (high != low >> 63) | (low < -LARGEST)
        if not beyond.any():
            return Numbers(low.copy(), scale)
        rows = np.flatnonzero(beyond)
        values = low.copy()
        values[rows] = 0
        wide = {row: (int(high[row]) << 64) + int(low[row]) % (1 << 64) for row in rows.tolist()}
        return Numbers(values, scale, wide)

    @staticmethod
    def of_pairs(pairs: Sequence[tuple[int, int]], scale: int, shift: int = 0) -> Numbers:
        """Return the numbers of pairs (whole number, decimals), each a number of 10**-shift, at `scale`."""
        wholes = [whole * 10 ** (scale - shift - decimals) for whole, decimals in pairs]
        wide = {row: whole for row, whole in enumerate(wholes) if abs(whole) > LARGEST}
        for row in wide:
            wholes[row] = 0
        return Numbers(np.array(wholes, np.int64), scale, wide)

    def decimals(self, codes: Array, known: Ints) -> Ints:
        """Return the significant decimals that each code's numbers need, at least those in `known` (one a code)."""
        needed = known.copy()
        rows: Array = np.arange(len(self.values)) if len(known) > 1 else np.zeros(0, np.int64)
        if len(known) == 1:
            while needed[0] < self.scale and (self.values % _TEN[self.scale - needed[0]]).any():
                needed[0] += 1
        while len(rows):
            rows = rows[needed[codes[rows]] < self.scale]
            rows = rows[self.values[rows] % _TEN[self.scale - needed[codes[rows]]] != 0]
            needed[np.unique(codes[rows])] += 1
        for row, whole in self.wide.items():
            while needed[codes[row]] < self.scale and whole % 10 ** int(self.scale - needed[codes[row]]):
                needed[codes[row]] += 1
        return needed

    def largest(self, codes: Array, known: Floats) -> Floats:
        """Return the magnitude of each code's largest number, as near as a float is, at least that in `known`."""
        result = known.copy()
        sizes = np.abs(self.values.astype(np.float64)) / 10.0**self.scale
        if len(known) == 1:
            result[0] = max(result[0], sizes.max(initial=0.0))
        else:
            np.maximum.at(result, codes, sizes)
        for row, whole in self.wide.items():
            result[codes[row]] = max(result[codes[row]], abs(whole) / 10**self.scale)
        return result

    def at_scales(self, codes: Array, scales: Ints) -> tuple[Ints, Array | None]:
        """Return the numbers at their codes' own scales, and a mask of those that don't fit there (None: all do)."""
        one = len(scales) and (scales == scales[0]).all()
        if one and scales[0] == self.scale and not self.wide:
            return self.values, None
        shift = scales[:1] - self.scale if one else scales[codes] - self.scale
        down, up = _TEN[np.maximum(-shift, 0)], _TEN[np.maximum(shift, 0)]
        values = self.values // down
        most = LARGEST // up
        bad = (values * down != self.values) | (values > most) | (values < -most)
        values *= up
        for row, whole in self.wide.items():
            shift_here = int(scales[codes[row]]) - self.scale
            number, rest = divmod(whole * 10 ** max(shift_here, 0), 10 ** max(-shift_here, 0))
            bad[row] = bool(rest) or abs(number) > LARGEST
            values[row] = 0 if bad[row] else number
        return values, bad if bad.any() else None

    def below(self, least: int) -> Ints:
        """Return the rows whose numbers lie below `least`, 0 or 1 whole number at the scale."""
        if not len(self.values) or (int(self.values.min()) >= least and not self.wide):
            return np.zeros(0, np.int64)
        below = self.values < least
        for row, whole in self.wide.items():
            below[row] = whole < least
        return np.flatnonzero(below)

    @property
    def any_negative(self) -> bool:
        return bool((self.values < 0).any()) or any(whole < 0 for whole in self.wide.values())
