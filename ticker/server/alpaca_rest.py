"""Alpaca's requests for history, answered from what the streams were sent: the next row is the stream's next row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from tornado.routing import PathMatches, Rule
from tornado.web import RequestHandler

from ticker.access.grant import TO_ANYONE, Grant
from ticker.columns import Block, Ints
from ticker.protocol.alpaca import CRYPTO, STOCKS, Offer
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.text import render
from ticker.server import guard
from ticker.server.alpaca import CRYPTO_LOCATIONS, STOCK_FEEDS, Streams
from ticker.stream import new_york
from ticker.stream.alpaca_history import Span, Timeframe, bars_of, latest
from ticker.stream.alpaca_pages import Mark, page, source_of
from ticker.stream.alpaca_subscriptions import SERIES
from ticker.stream.market import Market

MOST_ROWS = 10_000
RECENT_HOURS = 24 * 8
"""How far back a snapshot looks for the day before."""
_KINDS = "bars|trades|quotes"
_SECOND_NS = 1_000_000_000
_FAR_NS = 2**63 - 2
_FEEDS = (*STOCK_FEEDS, "otc", "boats", "overnight")
_ADJUSTMENTS = ("raw", "split", "dividend", "spin-off", "all")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")


class NotThere(Exception):
    """There is nothing to answer with: HTTP 404."""


class Forbidden(Exception):
    """A symbol that this client's token does not permit: HTTP 403."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: for which symbols of a market, with which parameters. `kind` is bars, trades or quotes, or empty."""

    market: Market
    offer: Offer
    codec: JsonAlpacaCodec
    arguments: Mapping[str, str]
    symbols: tuple[str, ...]
    kind: str

    @property
    def names(self) -> list[str]:
        """The symbols that this market has, in alphabetic order."""
        known, instruments = self.market.directory.numbers, self.market.directory.instruments
        found = [symbol for symbol in sorted(self.symbols) if symbol in known]
        return [symbol for symbol in found if instruments[known[symbol]].asset_class == self.offer.asset_class]

    @property
    def numbers(self) -> Ints:
        """Their numbers, ascending."""
        return np.array(sorted(self.market.directory.numbers[name] for name in self.names), np.int64)


Answer = Callable[[Asked], str]


class AlpacaResource(RequestHandler):
    """Answers with what `answer` returns as JSON; ValueError is a 400."""

    def initialize(self, streams: Streams, offer: Offer, answer: Answer) -> None:
        self._streams = streams
        self._offer = offer
        self._answer = answer

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")

    def get(self, kind: str = "", symbol: str | None = None) -> None:
        grant = self._grant()
        if not isinstance(grant, Grant):
            self._tell(*grant)
            return
        arguments = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        names = arguments.get("symbols", "").split(",") if symbol is None else [symbol]
        symbols = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
        codec = self._streams.codec_of_history(self._offer)
        try:
            if not symbols:
                raise ValueError("symbols: expected some, such as AAPL,MSFT")
            self._check_permitted(grant, symbols)
            _check_constants(arguments)
            self.finish(self._answer(Asked(self._streams.market, self._offer, codec, arguments, symbols, kind)))
        except ValueError as error:
            self._tell(400, str(error))
        except Forbidden as error:
            self._streams.market.counts.refusals["forbidden"] += 1
            self._tell(403, str(error))
        except NotThere as error:
            self._tell(404, str(error))

    def head(self, kind: str = "", symbol: str | None = None) -> None:
        self.get(kind, symbol)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        if status_code == 405:
            self.set_header("Allow", "GET, HEAD")
        self.finish(render({"message": self._reason.lower()}))

    def _grant(self) -> Grant | tuple[int, str]:
        """Return what the client's credentials give, or status and message of why it is told nothing."""
        refusal = guard.token_in_url(self._streams.market, self.request)
        if refusal is not None:
            return refusal.status, refusal.message
        guest, accounts = self._streams.guest(self.request), self._streams.accounts
        if guest.credentials is None:
            return TO_ANYONE if accounts.lets_in(guest.is_local) else self._refused(401, "unauthorized.")
        return accounts.grant(guest.credentials, guest.is_local) or self._refused(403, "forbidden.")

    def _refused(self, status: int, message: str) -> tuple[int, str]:
        self._streams.market.counts.refusals["token"] += 1
        return status, message

    def _check_permitted(self, grant: Grant, symbols: Sequence[str]) -> None:
        """Raise Forbidden for symbols that a token doesn't permit, whether or not there are any of that name."""
        view = self._streams.market.views.of(grant.principal.symbols)
        forbidden = [] if view is None else [symbol for symbol in symbols if not view.may_see(symbol)]
        if forbidden:
            raise Forbidden(f"forbidden: {', '.join(forbidden[:10])}")

    def _tell(self, status: int, message: str) -> None:
        self.set_status(status)
        self.finish(render({"message": message}))


def rows(asked: Asked) -> str:
    """Return a page of rows, by symbol."""
    pages, token = _page(asked)
    return _object({asked.kind: _object({name: _array(found) for name, found in pages.items()}), **token})


def rows_of_one(asked: Asked) -> str:
    """Return a page of one symbol's rows."""
    pages, token = _page(asked)
    (symbol,) = asked.symbols
    return _object({asked.kind: _array(pages.get(symbol, [])), "symbol": render(symbol), **token})


def latest_rows(asked: Asked) -> str:
    """Return the last row of each symbol."""
    return _object({asked.kind: _object(_latest(asked, asked.kind))})


def latest_of_one(asked: Asked) -> str:
    """Return the last row of one symbol."""
    (symbol,) = asked.symbols
    row, one = _latest(asked, asked.kind).get(symbol), asked.kind.removesuffix("s")
    if row is None:
        raise NotThere(f"no {one} found for {symbol}")
    return _object({"symbol": render(symbol), one: row})


def snapshots_of_coins(asked: Asked) -> str:
    """Return the state of each symbol, in a shape that only coins have."""
    return _object({"snapshots": snapshots(asked)})


def snapshots(asked: Asked) -> str:
    """Return the state of each symbol."""
    return _object({name: _object(state) for name, state in _states(asked).items()})


def snapshot_of_one(asked: Asked) -> str:
    """Return the state of one symbol."""
    (symbol,) = asked.symbols
    state = _states(asked).get(symbol)
    if state is None:
        raise NotThere(f"no snapshot found for {symbol}")
    return _object({"symbol": render(symbol), **state})


def routes(streams: Streams) -> list[Rule]:
    """Return the addresses of history, of shares and of coins."""
    crypto = f"/v1beta3/crypto/(?:{'|'.join(CRYPTO_LOCATIONS)})"
    addresses: list[tuple[str, Offer, Answer]] = [
        (f"/v2/stocks/(?P<kind>{_KINDS})", STOCKS, rows),
        (f"/v2/stocks/(?P<kind>{_KINDS})/latest", STOCKS, latest_rows),
        ("/v2/stocks/snapshots", STOCKS, snapshots),
        (f"/v2/stocks/(?P<symbol>[^/]+)/(?P<kind>{_KINDS})", STOCKS, rows_of_one),
        (f"/v2/stocks/(?P<symbol>[^/]+)/(?P<kind>{_KINDS})/latest", STOCKS, latest_of_one),
        ("/v2/stocks/(?P<symbol>[^/]+)/snapshot", STOCKS, snapshot_of_one),
        (f"{crypto}/(?P<kind>{_KINDS})", CRYPTO, rows),
        (f"{crypto}/latest/(?P<kind>{_KINDS})", CRYPTO, latest_rows),
        (f"{crypto}/snapshots", CRYPTO, snapshots_of_coins),
    ]
    return [
        Rule(PathMatches(path), AlpacaResource, {"streams": streams, "offer": offer, "answer": answer})
        for path, offer, answer in addresses
    ]


def _object(members: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{render(name)}:{value}' for name, value in members.items())}}}"


def _array(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _page(asked: Asked) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the rows of a page by symbol, and `next_page_token`."""
    arguments = asked.arguments
    limit, is_descending = _limit(arguments), _is_descending(arguments)
    mark = Mark.parse(arguments["page_token"]) if arguments.get("page_token") else None
    timeframe = Timeframe.parse(arguments.get("timeframe") or "1Min")
    source = source_of(asked.market, asked.kind, timeframe, asked.names, _span(asked))
    found = page(asked.market, source, limit, is_descending, mark)
    token = {"next_page_token": "null" if found.next is None else render(found.next.token)}
    return _by_symbol(asked, found.block, is_descending), token


def _by_symbol(asked: Asked, block: Block | None, is_descending: bool = False) -> dict[str, list[str]]:
    """Return the rows of a block as JSON, by symbol in alphabetic order."""
    if block is None or not len(block):
        return {}
    objects, edges, step = asked.codec.objects(block), block.offsets.tolist(), -1 if is_descending else 1
    instruments = asked.market.directory.instruments
    found = {
        instruments[number].symbol: objects[first:end][::step]
        for number, first, end in zip(block.symbols.tolist(), edges, edges[1:], strict=False)
    }
    return dict(sorted(found.items()))


def _latest(asked: Asked, kind: str) -> dict[str, str]:
    series = SERIES[kind]
    if series not in asked.market.directory.series:
        return {}
    found = _by_symbol(asked, latest(asked.market.history[series], asked.numbers))
    return {name: objects[-1] for name, objects in found.items()}


def _states(asked: Asked) -> dict[str, dict[str, str]]:
    """Return what is known of each symbol; what isn't, is left out."""
    days = _by_symbol(asked, bars_of(asked.market, Timeframe(1, "Day"), asked.numbers, RECENT_HOURS))
    parts = {
        "latestTrade": _latest(asked, "trades"),
        "latestQuote": _latest(asked, "quotes"),
        "minuteBar": _latest(asked, "bars"),
        "dailyBar": {name: bars[-1] for name, bars in days.items()},
        "prevDailyBar": {name: bars[-2] for name, bars in days.items() if len(bars) > 1},
    }
    names = sorted({name for found in parts.values() for name in found})
    return {name: {key: found[name] for key, found in parts.items() if name in found} for name in names}


def _check_constants(arguments: Mapping[str, str]) -> None:
    """Refuse parameters that nobody knows. Those that choose among data of which we have one sort change nothing."""
    if (arguments.get("feed") or "iex") not in _FEEDS:
        raise ValueError(f"invalid feed: {arguments['feed']}")
    if not set((arguments.get("adjustment") or "raw").split(",")) <= set(_ADJUSTMENTS):
        raise ValueError(f"invalid adjustment: {arguments['adjustment']}")
    if (arguments.get("currency") or "USD").upper() != "USD":
        raise ValueError(f"invalid currency: {arguments['currency']}: prices are as the feed has them")


def _limit(arguments: Mapping[str, str]) -> int:
    text = arguments.get("limit") or "1000"
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MOST_ROWS:
        raise ValueError(f"invalid limit: {text}: expected 1 to {MOST_ROWS}")
    return int(text)


def _is_descending(arguments: Mapping[str, str]) -> bool:
    sort = (arguments.get("sort") or "asc").lower()
    if sort not in ("asc", "desc"):
        raise ValueError(f"invalid sort: {sort}: expected asc or desc")
    return sort == "desc"


def _span(asked: Asked) -> Span:
    """Return the times asked for. Without a start, that is the beginning of the feed's day in New York."""
    start, end = (_time(asked.arguments, name) for name in ("start", "end"))
    clock = asked.market.feed_clock_ns()
    if clock is None and asked.market.replay is None:
        clock = asked.market.now_ns()
    if start is None and clock is not None:
        start = int(new_york.midnights(new_york.days(np.array([clock // _SECOND_NS])))[0]) * _SECOND_NS
    return Span(start, end)


def _time(arguments: Mapping[str, str], name: str) -> int | None:
    """Return a time as UNIX nanoseconds; a date begins, and as `end` ends, at midnight in New York."""
    text = arguments.get(name)
    if not text:
        return None
    return min(max(_nanoseconds(name, text), -_FAR_NS), _FAR_NS)


def _nanoseconds(name: str, text: str) -> int:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = np.array([(date.fromisoformat(text) - date(1970, 1, 1)).days + (name == "end")])
            return int(new_york.midnights(day)[0]) * _SECOND_NS - (name == "end")
        found = _TIME.fullmatch(text)
        if found is not None:
            second = datetime.fromisoformat(found[1].upper() + found[3].upper())
            return round(second.timestamp()) * _SECOND_NS + int((found[2] or "0").ljust(9, "0"))
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"invalid {name}: {text}: expected RFC 3339 or a date")
