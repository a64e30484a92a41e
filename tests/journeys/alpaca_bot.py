"""A bot on Alpaca's own Python SDK, told by lines of JSON what to do; it says in lines of JSON what came.

A process of its own, since the SDK brings its own loop, threads and warnings. Only addresses are ours.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import datetime
from typing import Any

from alpaca.data.historical import CryptoHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.live import CryptoDataStream, StockDataStream
from alpaca.data.requests import (
    CryptoSnapshotRequest,
    CryptoTradesRequest,
    StockBarsRequest,
    StockLatestBarRequest,
    StockLatestQuoteRequest,
    StockLatestTradeRequest,
    StockQuotesRequest,
    StockSnapshotRequest,
    StockTradesRequest,
)
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

STREAMS = {"stock": StockDataStream, "crypto": CryptoDataStream}
SUBSCRIBE = {
    "trades": "subscribe_trades",
    "quotes": "subscribe_quotes",
    "bars": "subscribe_bars",
    "dailyBars": "subscribe_daily_bars",
    "updatedBars": "subscribe_updated_bars",
}
out = threading.Lock()


def say(event: str, **fields: Any) -> None:
    with out:
        print(json.dumps({"event": event, **fields}, default=str), flush=True)


class Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        say("log", text=record.getMessage(), error=None if error is None else f"{type(error).__name__}: {error}")


class Bot:
    def __init__(self) -> None:
        self.streams: dict[str, Any] = {}

    def open(self, name: str, sort: str, url: str, key: str = "PK", secret: str = "S") -> None:
        self.streams[name] = STREAMS[sort](key, secret, url_override=url)

    def run(self, name: str) -> None:
        threading.Thread(target=self.streams[name].run, daemon=True).start()

    def subscribe(self, name: str, channel: str, symbols: list[str]) -> None:
        async def handler(message: Any) -> None:
            say("data", stream=name, type=type(message).__name__, channel=channel, **message.model_dump())

        getattr(self.streams[name], SUBSCRIBE[channel])(handler, *symbols)

    def unsubscribe(self, name: str, channel: str, symbols: list[str]) -> None:
        getattr(self.streams[name], "un" + SUBSCRIBE[channel])(*symbols)

    def history(self, url: str, what: str, key: str = "PK", secret: str = "S", **fields: Any) -> None:
        client = StockHistoricalDataClient(key, secret, url_override=url)
        symbols = fields.pop("symbols")
        for name in ("start", "end"):
            if name in fields:
                fields[name] = datetime.fromisoformat(fields[name])
        try:
            found = self._ask(client, url, what, symbols, fields)
        except Exception as error:
            say("history", what=what, error=f"{type(error).__name__}: {error}")
            return
        data = found.data if hasattr(found, "data") else found
        rows = {
            name: [r.model_dump() for r in (each if isinstance(each, list) else [each])] for name, each in data.items()
        }
        say("history", what=what, rows=rows)

    def _ask(self, client: StockHistoricalDataClient, url: str, what: str, symbols: Any, fields: dict[str, Any]) -> Any:
        match what:
            case "trades":
                return client.get_stock_trades(StockTradesRequest(symbol_or_symbols=symbols, **fields))
            case "quotes":
                return client.get_stock_quotes(StockQuotesRequest(symbol_or_symbols=symbols, **fields))
            case "bars":
                amount, unit = fields.pop("timeframe", (1, "Min"))
                timeframe = TimeFrame(amount, TimeFrameUnit(unit))
                return client.get_stock_bars(StockBarsRequest(symbol_or_symbols=symbols, timeframe=timeframe, **fields))
            case "latest trades":
                return client.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=symbols))
            case "latest quotes":
                return client.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=symbols))
            case "latest bars":
                return client.get_stock_latest_bar(StockLatestBarRequest(symbol_or_symbols=symbols))
            case "snapshots":
                return client.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=symbols))
            case "crypto trades":
                crypto = CryptoHistoricalDataClient("PK", "S", url_override=url)
                return crypto.get_crypto_trades(CryptoTradesRequest(symbol_or_symbols=symbols, **fields))
            case "crypto snapshots":
                crypto = CryptoHistoricalDataClient("PK", "S", url_override=url)
                return crypto.get_crypto_snapshot(CryptoSnapshotRequest(symbol_or_symbols=symbols))
        raise AssertionError(what)


def main() -> None:
    logging.basicConfig(level=logging.INFO, handlers=[Log()])
    bot = Bot()
    say("ready")
    for line in sys.stdin:
        command = json.loads(line)
        getattr(bot, command.pop("do"))(**command)
        say("done")


if __name__ == "__main__":
    main()
