"""The parts of a server that a journal brings back to where they were."""

from __future__ import annotations

from dataclasses import dataclass

from ticker.stream.alpaca_days import Days
from ticker.stream.bars import Bars
from ticker.stream.batcher import Batcher
from ticker.stream.directory import Directory
from ticker.stream.history import History
from ticker.stream.kept import Kept


@dataclass(frozen=True, slots=True)
class Parts:
    """What begins again. Of a past, the directory has all symbols already."""

    directory: Directory
    batcher: Batcher
    bars: Bars
    days: Days
    history: History

    @property
    def kept(self) -> dict[str, Kept]:
        """Those whose state is written down."""
        return {"batcher": self.batcher, "bars": self.bars, "days": self.days, "history": self.history}
