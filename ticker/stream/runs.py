"""Joins, cuts and folds Blocks of one series: what history, resume and conflation do alike.

A run is what a Block has of one channel: adjacent rows, and what was lost directly before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ticker.columns import Array, Block, Ints, offsets_of, run_indices
from ticker.stream.tables import Fold, fold_of, join_folds
from ticker.summary import Summaries


def ends_of(block: Block) -> Ints:
    """Return for each run the number of the row after its last."""
    return block.seqs + block.rows


def merge(blocks: Sequence[Block], time_units: Ints | None = None) -> Block:
    """Return the rows of blocks that follow each other as one block, with runs of a channel joined.

    Runs are sorted by symbol; with `time_units` (time units of a second, by symbol number) by the second in which they
    begin, then by symbol, so that the order between channels stays right to a second.
    """
    if len(blocks) == 1:
        return blocks[0]
    symbols = np.concatenate([block.symbols for block in blocks])
    counts = np.concatenate([block.counts for block in blocks])
    seqs = np.concatenate([block.seqs for block in blocks])
    rows = np.concatenate([block.rows for block in blocks])
    missed = _joined_missed(blocks)
    columns = tuple(map(np.concatenate, zip(*(block.columns for block in blocks), strict=True)))
    starts = np.cumsum(counts) - counts

    if time_units is None:
        seconds = None
        order = np.argsort(symbols, kind="stable")
    else:
        seconds = columns[0][starts] // time_units[symbols]
        order = np.lexsort((symbols, seconds))
    indices = run_indices(starts[order], counts[order])
    symbols, counts, seqs, rows = symbols[order], counts[order], seqs[order], rows[order]

    fresh = np.ones(len(symbols), bool)
    fresh[1:] = (symbols[1:] != symbols[:-1]) | (seqs[1:] != seqs[:-1] + rows[:-1])
    if seconds is not None:
        seconds = seconds[order]
        fresh[1:] |= seconds[1:] != seconds[:-1]
    firsts = np.flatnonzero(fresh)
    if missed is not None:
        missed = missed[order][firsts]
    estimates = _joined_estimates(blocks)
    return replace(
        blocks[-1],
        symbols=symbols[firsts],
        offsets=offsets_of(np.add.reduceat(counts, firsts)),
        seqs=seqs[firsts],
        columns=tuple(column[indices] for column in columns),
        missed=missed if missed is not None and missed.any() else None,
        estimates=None if estimates is None else (estimates[0][indices], estimates[1][indices]),
    )


def rows_from(block: Block, positions: Ints) -> Block | None:
    """Return each run's rows from `positions[symbol number]` on, None if there are none. Not for conflated rows."""
    ends = block.seqs + block.counts
    first = np.maximum(block.seqs, positions[block.symbols])
    wanted = first < ends
    if not wanted.any():
        return None
    if block.missed is None and wanted.all() and (first == block.seqs).all():
        return block
    missed = None
    if block.missed is not None:
        missed = np.clip(block.seqs - positions[block.symbols], 0, block.missed)[wanted]
        missed = missed if missed.any() else None
    first, counts = first[wanted], (ends - first)[wanted]
    return _picked(block, block.offsets[:-1][wanted] + first - block.seqs[wanted], wanted, first, counts, missed)


def rows_before(block: Block, positions: Ints) -> Block | None:
    """Return the rows of each run before `positions[symbol number]`, None if there are none. Not for conflated rows."""
    counts = np.minimum(block.seqs + block.counts, positions[block.symbols]) - block.seqs
    wanted = counts > 0
    if not wanted.any():
        return None
    missed = None if block.missed is None else block.missed[wanted]
    return _picked(block, block.offsets[:-1][wanted], wanted, block.seqs[wanted], counts[wanted], missed)


def first_rows(block: Block, rows: int) -> Block:
    """Return a block's first rows, at most so many (one at least); not for conflated ones."""
    if len(block) <= rows:
        return block
    runs = int(np.searchsorted(block.offsets, rows))
    wanted = np.arange(len(block.symbols)) < runs
    starts = block.offsets[:runs]
    counts = np.minimum(block.offsets[1 : runs + 1], rows) - starts
    missed = None if block.missed is None else block.missed[:runs]
    return _picked(block, starts, wanted, block.seqs[:runs], counts, missed)


def folds_by_symbol(blocks: Sequence[Block]) -> tuple[Ints, Fold]:
    """Return the symbols of blocks of trades or quotes, ascending, and what all rows of each amount to."""
    symbols = np.concatenate([block.symbols for block in blocks])
    folds = join_folds([fold_of(block) for block in blocks])
    order = np.argsort(symbols, kind="stable")
    symbols = symbols[order]
    firsts = np.flatnonzero(np.append(True, symbols[1:] != symbols[:-1]))
    return symbols[firsts], folds.take(order).fold(firsts)


def conflated(block: Block) -> Block:
    """Return a block as conflated clients get it: of trades and quotes a row for each run, bars as they are."""
    if block.series.kind == "bars":
        return replace(block, conflated=True)
    return updates(block, block.symbols, block.seqs, block.missed, fold_of(block))


def updates(like: Block, symbols: Ints, seqs: Ints, missed: Ints | None, fold: Fold) -> Block:
    """Return folds as conflated rows, one a run; series, epoch and number are those of `like`."""
    return replace(
        like,
        symbols=symbols,
        offsets=np.arange(len(symbols) + 1),
        seqs=seqs,
        columns=tuple(fold[:8]) if isinstance(fold, Summaries) else tuple(fold),
        missed=missed,
        conflated=True,
        estimates=fold.estimates() if isinstance(fold, Summaries) else None,
    )


def _picked(block: Block, starts: Ints, wanted: Array, seqs: Ints, counts: Ints, missed: Ints | None) -> Block:
    indices = run_indices(starts, counts)
    return replace(
        block,
        symbols=block.symbols[wanted],
        offsets=offsets_of(counts),
        seqs=seqs,
        columns=tuple(column[indices] for column in block.columns),
        missed=missed,
        estimates=None if block.estimates is None else (block.estimates[0][indices], block.estimates[1][indices]),
    )


def _joined_missed(blocks: Sequence[Block]) -> Ints | None:
    if all(block.missed is None for block in blocks):
        return None
    return np.concatenate([np.zeros_like(block.seqs) if block.missed is None else block.missed for block in blocks])


def _joined_estimates(blocks: Sequence[Block]) -> tuple[Array, Array] | None:
    if all(block.estimates is None for block in blocks):
        return None
    parts = [block.estimates or (np.full(len(block), np.nan),) * 2 for block in blocks]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
