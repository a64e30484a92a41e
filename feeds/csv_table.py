"""The first rows of a text file as cells: what separates them, and where a header ends."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from feeds.csv_layouts import LOOKS, Cells
from feeds.csv_text import BadFileError, sample

_SAMPLE_ROWS = 500
_PREAMBLE_ROWS = 10


@dataclass(frozen=True, slots=True)
class Table:
    """The first rows of a file, and the header above them (empty if there is none)."""

    path: str
    header: tuple[str, ...]
    rows: Sequence[Cells]
    separator: str = ","
    skip_lines: int = 0

    @property
    def width(self) -> int:
        return len(self.header or self.rows[0])

    def column(self, i: int) -> list[str]:
        return [row[i].strip() for row in self.rows if row[i].strip()]


def read_table(path: str) -> Table:
    """Return the first rows of a text file. Raises BadFileError."""
    data, whole = sample(path)
    text = data.decode("utf-8", "replace")
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
            if len(rows) >= _SAMPLE_ROWS:
                break
    except csv.Error as error:
        raise BadFileError(f"{path}:{reader.line_num}: {error}") from None
    width = Counter(len(row) for row in rows[1:] or rows).most_common(1)[0][0]
    for i, row in enumerate(rows[: _PREAMBLE_ROWS + 1]):
        if _is_header(row) and len(row) in (width, width - 1, width + 1):
            header = tuple(cell.strip().strip("<>") for cell in (*row, "")[:width])
            body = [row for row in rows[i + 1 :] if len(row) == width]
            if not body:
                raise BadFileError(f"{path}: a header and no rows")
            return Table(path, header, body, separator, lines[i])
        if len(row) == width and not row[0].startswith("#"):
            break
    skip = next((lines[i - 1] if i else 0 for i, row in enumerate(rows) if len(row) == width), 0)
    return Table(path, (), [row for row in rows if len(row) == width], separator, skip)


def _separator(text: str) -> str:
    """Return the sign that cuts most lines into the same number of cells."""
    lines = [line for line in text[:20000].splitlines() if line.strip()][:100]

    def score(sign: str) -> tuple[int, int]:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=sign))
        cells, times = max(counts.items(), key=lambda item: (item[0] > 1, item[1]))
        return (times if cells > 1 else 0), cells

    # Semicolons and tabs first: commas may stand in numbers.
    return max((";", "\t", ",", "|"), key=lambda sign: (score(sign)[0], sign in ";\t"))


def _is_header(row: Cells) -> bool:
    cells = [cell.strip() for cell in row if cell.strip()]
    return (
        len(cells) > 1 and all(any(sign.isalpha() for sign in cell) for cell in cells) and not any(map(_is_data, cells))
    )


def _is_data(cell: str) -> bool:
    return any(look.fullmatch(cell) for name, look in LOOKS.items() if name not in ("venue", "hex", "yes", "pair"))
