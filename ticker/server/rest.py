"""The HTTP resources for people with curl: `/healthz`, `/api/symbols`, `/api/snapshot` (protocol, section 11)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tornado.web import RequestHandler

from ticker.access.grant import TO_ANYONE
from ticker.access.principal import Principal
from ticker.protocol.codec import Snapshot, Time
from ticker.protocol.text import render
from ticker.server import guard
from ticker.stream.descriptors import snapshots
from ticker.stream.market import Market
from ticker.stream.views import why_not

MOST_SYMBOLS = 1000
"""Symbols that `/api/snapshot` answers for at once."""


Answer = Callable[[Market, Principal, Mapping[str, str]], Mapping[str, Any]]


class Resource(RequestHandler):
    """Answers with what `answer(market, principal, arguments)` returns, as JSON; ValueError is a 400.

    Asks for a token where the server does, but for the `health`, which tells nothing that isn't for everyone.
    """

    def initialize(self, market: Market, answer: Answer) -> None:
        self._market = market
        self._answer = answer

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")

    def get(self) -> None:
        grant = TO_ANYONE if self._answer is health else guard.ask(self._market, self.request)
        if isinstance(grant, guard.Refusal):
            grant.head(self)
            self.finish(render({"error": grant.message}) + "\n")
            return
        arguments = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        try:
            body = self._answer(self._market, grant.principal, arguments)
        except ValueError as error:
            self.set_status(400)
            body = {"error": str(error)}
        self.finish(render(body) + "\n")

    def head(self) -> None:
        self.get()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self.finish(render({"error": self._reason.lower()}) + "\n")


def health(market: Market, principal: Principal, arguments: Mapping[str, str]) -> Mapping[str, Any]:
    """Say that the server runs, and how its feed does."""
    return {
        "status": "ok",
        "state": market.state,
        "server": market.version,
        "feed": market.feed_name,
        "epoch": market.directory.epoch,
    }


def symbols(market: Market, principal: Principal, arguments: Mapping[str, str]) -> Mapping[str, Any]:
    """Page through the symbols, as the command `symbols` does."""
    limit = arguments.get("limit") or "1000"
    if not re.fullmatch("[0-9]{1,5}", limit) or not 1 <= int(limit) <= 10_000:
        raise ValueError("limit: expected an integer from 1 to 10000")
    page, more = market.page(principal, arguments.get("prefix", ""), arguments.get("after", ""), int(limit))
    return {"symbols": page, "more": more}


def snapshot(market: Market, principal: Principal, arguments: Mapping[str, str]) -> Mapping[str, Any]:
    """Tell the state of some symbols: summary of trades, latest quote, running bars; what there isn't is left out."""
    names = list(dict.fromkeys(name for name in arguments.get("symbols", "").split(",") if name))
    if not 1 <= len(names) <= MOST_SYMBOLS:
        raise ValueError(f"symbols: expected 1 to {MOST_SYMBOLS} symbols such as AAPL,MSFT")
    view = market.views.of(principal.symbols)
    codes = {name: code for name in names if (code := why_not(market.directory, view, name)) is not None}
    known = [name for name in names if name not in codes]
    numbers = np.array([market.directory.numbers[name] for name in known], np.int64)
    found: dict[str, dict[str, Any]] = {name: {} for name in known}
    for series in market.directory.series:
        seqs = market.history[series].next_seqs(numbers).tolist()
        for name, row, seq in zip(known, snapshots(market, series, numbers), seqs, strict=True):
            if row is None:
                continue
            state = _with_seq(row, seq)
            if series.kind == "bars":
                found[name].setdefault("bars", {})[str(series.interval_s)] = state
            else:
                found[name][series.kind] = state
    refused = [{"symbol": name, "code": code} for name, code in codes.items()]
    return {
        "epoch": market.directory.epoch,
        "time": Time(market.now_ns()),
        "symbols": found,
        "refused": refused,
    }


def _with_seq(row: Snapshot, seq: int) -> Snapshot:
    return Snapshot((*row.names, "seq"), (*row.scales, 0), (*row.values, seq))
