"""A server that was killed at any byte of any write, and begun again, is the one that ran through."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.journal.stage import INSTRUMENTS, Killed, Stage, killed_after, published, seen
from ticker.model import Instrument

SYMBOLS = [each.symbol for each in INSTRUMENTS]
LATER = (Instrument("NEW"), Instrument("NEWER", 4, 2, 9))
prices, sizes = st.integers(1, 10**6), st.integers(1, 10**4) | st.integers(2**55, 2**61)
ago_s = st.sampled_from((0.0, 0.0, 0.0, 0.3, 2.0, 70.0))


def trades(symbols: list[str]) -> st.SearchStrategy[Any]:
    row = st.tuples(st.sampled_from(symbols), ago_s, prices, sizes)
    return st.tuples(st.just("trades"), st.lists(row, min_size=1, max_size=6))


def quotes(symbols: list[str]) -> st.SearchStrategy[Any]:
    row = st.tuples(st.sampled_from(symbols), ago_s, prices, sizes, prices, sizes)
    return st.tuples(st.just("quotes"), st.lists(row, min_size=1, max_size=4))


def days(symbols: list[str]) -> st.SearchStrategy[list[Any]]:
    """Return a day: what is emitted, with what pause before its flush; what is announced, and what was lost."""
    passing_s = st.sampled_from((0.05, 0.05, 0.4, 1.0, 5.0, 61.0, 4000.0, 90_000.0))
    flush = st.tuples(st.just("flush"), st.lists(trades(symbols) | quotes(symbols), max_size=3), passing_s)
    gap = st.tuples(st.just("gap"), st.sampled_from(("trades", "quotes")), st.sampled_from(symbols), st.integers(1, 9))
    announce = st.tuples(st.just("announce"), st.sampled_from(LATER))
    return st.lists(flush | flush | flush | gap | announce, min_size=1, max_size=14)


def play(stage: Stage, event: tuple[Any, ...]) -> None:
    """Let one thing happen."""
    match event:
        case "flush", emitted, seconds:
            stage.at_s += seconds
            for kind, rows in emitted:
                stage.emit(kind, [(row[0], stage.at_s - row[1], *row[2:]) for row in rows])
            stage.flush()
        case "gap", kind, symbol, missed:
            stage.batcher.gap(kind, symbol, missed)
        case "announce", instrument:
            stage.announce(instrument)


def play_until_killed(stage: Stage, day: list[Any], size: int) -> list[Any]:
    """Let a day happen until so many bytes were written; return what of it was done by then."""
    with killed_after(size):
        for at, event in enumerate(day):
            before = len(stage.offered)
            try:
                play(stage, event)
            except Killed:
                # One that was offered was done, though the process was killed while it began another segment.
                return day[: at + (len(stage.offered) > before)]
    return day


@given(
    day=days(SYMBOLS),
    rest=days(SYMBOLS),
    size=st.integers(0, 4000) | st.integers(0, 60_000),
    segment_flushes=st.sampled_from((1, 2, 1000)),
)
@settings(max_examples=60)
def test_a_server_killed_at_any_byte_goes_on_as_one_that_ran_through(
    day: list[Any], rest: list[Any], size: int, segment_flushes: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as path,
        mock.patch("ticker.journal.journal.SEGMENT_FLUSHES", segment_flushes),
        mock.patch("ticker.journal.journal.HEAD_SHARE", 0),
    ):
        killed = Stage(Path(path))
        done = play_until_killed(killed, day, size)
        killed.kill()
        through = Stage()
        for event in done:
            play(through, event)

        again = Stage(Path(path))

        through.batcher._clock_ns = again.batcher.clock_ns  # of flushes without rows there is no record
        assert seen(again) == seen(through)
        again.at_s = through.at_s
        first = len(through.offered)
        for event in rest:
            play(again, event)
            play(through, event)
        assert published(again) == published(through, first)
        assert seen(again) == seen(through)
        again.stop()
