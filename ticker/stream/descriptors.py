"""How a channel is described to a client: its integer, its columns, where it begins and its snapshot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ticker.columns import Ints, columns_of, scales_of
from ticker.model import Instrument, Series
from ticker.protocol.codec import Snapshot
from ticker.stream.market import Market
from ticker.stream.tables import Fold, QuoteUpdates


def describe(
    market: Market, series: Series, interval_ms: int, numbers: Ints, seqs: Ints, missed: Sequence[int | None]
) -> list[dict[str, Any]]:
    """Return a channel's description as in `subscribed` for each of these symbols, which are sent from `seqs` on."""
    directory, conflated = market.directory, interval_ms > 0
    channels = directory.channels(series, conflated, numbers).tolist()
    snapshots = _snapshots_before(market, series, conflated, numbers, seqs)
    columns: dict[tuple[int, int, int], list[list[str | int]]] = {}
    described = []
    rows = zip(channels, numbers.tolist(), seqs.tolist(), missed, snapshots, strict=True)
    for channel, number, seq, lost, snapshot in rows:
        instrument = directory.instruments[number]
        scales = (instrument.time_scale, instrument.price_scale, instrument.size_scale)
        if scales not in columns:  # they are the same for most symbols
            wanted = columns_of(series.kind, conflated)
            columns[scales] = [[column.name, instrument.scale(column.quantity)] for column in wanted]
        description: dict[str, Any] = {"channel": channel, "kind": series.kind, "symbol": instrument.symbol}
        if series.interval_s:
            description["interval_s"] = series.interval_s
        description["mode"] = "conflated" if conflated else "all"
        if conflated:
            description["interval_ms"] = interval_ms
        description |= {"seq": seq, "missed": lost, "columns": columns[scales], "snapshot": snapshot}
        described.append(description)
    return described


def snapshots(market: Market, series: Series, numbers: Ints) -> list[Snapshot | None]:
    """Return each channel's state now: a summary, the latest quote or the running bar; None where there is none."""
    return _snapshots_before(market, series, True, numbers, market.history[series].next_seqs(numbers))


def _snapshots_before(
    market: Market, series: Series, conflated: bool, numbers: Ints, seqs: Ints
) -> list[Snapshot | None]:
    fold: Fold
    if series.kind == "bars":
        if not conflated:
            return [None] * len(numbers)
        running, fold = market.bars.running(series.interval_s, np.unique(numbers))
        present = np.isin(numbers, running)
        fold = fold.take(np.searchsorted(running, numbers[present]))
    else:
        present, fold = market.history[series].state_before(numbers, seqs)
        fold = fold.take(present)
    instruments = [market.directory.instruments[number] for number in numbers[present].tolist()]
    rows = iter(_rows(series, instruments, fold))
    return [next(rows) if has else None for has in present.tolist()]


def _rows(series: Series, instruments: Sequence[Instrument], fold: Fold) -> list[Snapshot]:
    """Return a fold's rows as snapshots; sums that do not fit 64 bits are floats."""
    if isinstance(fold, QuoteUpdates):
        columns: list[list[Any]] = [column.tolist() for column in fold[:5]]
        names = tuple(column.name for column in columns_of("quotes"))
    else:
        columns = [column.tolist() for column in fold[:8]]
        names = tuple(column.name for column in columns_of("bars"))
        estimates = fold.estimates()
        if estimates is not None:
            columns[5:7] = [
                [whole if math.isnan(each) else each for whole, each in zip(exact, floats.tolist(), strict=True)]
                for exact, floats in zip(columns[5:7], estimates, strict=True)
            ]
    kind = series.kind if series.kind != "trades" else "bars"
    scales: dict[tuple[int, int, int], tuple[int, ...]] = {}
    rows = []
    for instrument, row in zip(instruments, zip(*columns, strict=True), strict=True):
        key = (instrument.time_scale, instrument.price_scale, instrument.size_scale)
        if key not in scales:
            scales[key] = scales_of(instrument, kind)
        rows.append(Snapshot(names, scales[key], row))
    return rows
