"""The same market by Alpaca's dialect and by the native one: the same rows, in the same order, of the same values."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

import msgpack

from tests.alpaca_wire import AlpacaWire
from tests.rig import HandFeed, running
from tests.wire import Wire, columns_of, is_data
from ticker.feed import Instrument, Replay

SYMBOLS = ["A", "BRK.B", "MSFT", "GOOGL", "F"]
INSTRUMENTS = [Instrument(symbol) for symbol in SYMBOLS]
FLUSHES = 300
Told = dict[tuple[str, str], list[tuple[Any, ...]]]


async def test_order_and_values_agree_row_by_row() -> None:
    feed = HandFeed(INSTRUMENTS, replay=Replay(1.0))
    chance = random.Random(7)
    async with (
        running(feed) as url,
        await Wire.open(url) as native,
        await AlpacaWire.open(url) as packed,
        await AlpacaWire.open(url, content_type=None) as text,
    ):
        channels = {}
        for kind in ("trades", "quotes", "bars"):
            answer = await native.subscribe(["*"], kind=kind)
            channels |= {each["channel"]: (kind, each["symbol"]) for each in answer["channels"]}
        for wire in (packed, text):
            await wire.log_in()
            await wire.ask(action="subscribe", trades=["*"], quotes=["*"], bars=["*"])
        reading = asyncio.gather(told_natively(native, channels), told(packed), told(text))
        time = 0
        for _ in range(FLUSHES):
            for _ in range(chance.randrange(1, 9)):
                time += chance.randrange(3_000_000)
                symbol, price, size = chance.choice(SYMBOLS), chance.randrange(1, 10**6), chance.randrange(1, 10**4)
                feed.trades((symbol, time, price, size), flush=False)
                feed.quotes((symbol, time, price - 1, size, price, size + 1), flush=False)
            feed.emit.flush()
            await asyncio.sleep(0)
        feed.trades(*((symbol, time + 10**9, 1, 99_999) for symbol in SYMBOLS))

        ours, first, second = await reading

    assert sum(map(len, ours.values())) > 2000
    assert first == ours
    assert second == ours


async def told_natively(wire: Wire, channels: dict[int, tuple[str, str]]) -> Told:
    """Return the rows of each channel, with their numbers, until the last trade of each symbol."""
    found: Told = defaultdict(list)
    while not is_complete(found):
        message = await wire.receive()
        if is_data(message):
            kind, symbol = channels[message[0]]
            for i, (time, *row) in enumerate(zip(*columns_of(message), strict=True)):
                found[kind, symbol].append(as_told(kind, message[1] + i, time * 1000, row))
    return found


def as_told(kind: str, seq: int, time: int, row: list[Any]) -> tuple[Any, ...]:
    """Return a native row as the other dialect tells it: decimals, and the average price of a bar."""
    if kind == "trades":
        price, size = row
        return seq, time, cents(price), size
    if kind == "quotes":
        bid, bid_size, ask, ask_size = row
        return time, cents(bid), bid_size, cents(ask), ask_size
    *prices, volume, notional, count = row
    return time, *map(cents, prices), volume, count, float(notional) / float(volume) / 100


def cents(value: int) -> float:
    return float(Decimal(value).scaleb(-2))


async def told(wire: AlpacaWire) -> Told:
    found: Told = defaultdict(list)
    while not is_complete(found):
        for row in await wire.receive():
            time = nanoseconds(row["t"])
            match row["T"]:
                case "t":
                    found["trades", row["S"]].append((row["i"] % 2**32, time, row["p"], row["s"]))
                case "q":
                    found["quotes", row["S"]].append((time, row["bp"], row["bs"], row["ap"], row["as"]))
                case "b":
                    values = (row["o"], row["h"], row["l"], row["c"], row["v"], row["n"], row["vw"])
                    found["bars", row["S"]].append((time, *values))
    return found


def nanoseconds(time: Any) -> int:
    if isinstance(time, msgpack.Timestamp):
        return int(time.to_unix_nano())
    whole, _, fraction = time.removesuffix("Z").partition(".")
    hours, minutes, seconds = map(int, whole[11:].split(":"))
    assert whole.startswith("2026-11-23T")
    return (1_795_392_000 + hours * 3600 + minutes * 60 + seconds) * 10**9 + int(fraction.ljust(9, "0"))


def is_complete(found: Told) -> bool:
    """Tell whether the last trade of each symbol came, and with it the bar that it ended."""
    ended = all(found["trades", symbol][-1:] and found["trades", symbol][-1][3] == 99_999 for symbol in SYMBOLS)
    return ended and all(found["bars", symbol] for symbol in SYMBOLS) and bars_are_over(found)


def bars_are_over(found: Told) -> bool:
    return all(found["bars", s][-1][0] // (60 * 10**9) == found["trades", s][-2][1] // (60 * 10**9) for s in SYMBOLS)
