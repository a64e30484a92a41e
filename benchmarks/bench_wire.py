"""g) How many bytes does a tick take on the wire?

    python benchmarks/bench_wire.py

The simulated market at 100,000 ticks a second over 500 symbols and a window of 50 ms, so that a message has ten ticks
on average; one client takes all. Counted are all bytes it reads, WebSocket headers included. Beside it, of as many
rows of the same market: the same as one map a row, in msgpack and in JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial

import msgpack
from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, running, subscribe

from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile

SYMBOLS = 500
TICKS_A_MESSAGE = 10
FLUSH_S = 0.05


def measure(args: argparse.Namespace) -> Measured:
    """Return the bytes for each row that a client read."""
    rate = SYMBOLS * TICKS_A_MESSAGE / FLUSH_S
    options = ["--symbols", str(SYMBOLS), "--rate", str(rate), "--seed", "1", "--flush-ms", str(FLUSH_S * 1000)]
    with (
        running(Server.of_ours("--feed", "simulated", *options)) as server,
        running(Clients(server.port, [subscribe(["*"])], check_every=1)) as clients,
    ):
        time.sleep(0.3)
        clients.start()
        time.sleep(args.seconds)
        counted = clients.count()
    bytes_a_row = counted["bytes"] / counted["rows"]
    shown = f"{bytes_a_row:.2f} bytes, {counted['rows'] / counted['messages']:.1f} ticks a message"
    return {"bytes": bytes_a_row, **{k: counted[k] for k in ("rows", "messages")}, "shown": shown}


def as_rows() -> dict[str, float]:
    """Return what a row takes as a map of its own."""
    symbols = list(made_up(SYMBOLS))
    codes, prices, sizes, *_ = Market([profile(each) for each in symbols], 100_000.0, seed=1).take(10_000)
    now_us = time.time_ns() // 1000
    rows = [
        {"type": "trade", "symbol": symbols[code], "time": now_us + 10 * i, "price": price / 100, "size": size}
        for i, (code, price, size) in enumerate(zip(codes.tolist(), prices.tolist(), sizes.tolist(), strict=True))
    ]
    packed = sum(len(msgpack.packb(row)) for row in rows) / len(rows)
    text = sum(len(json.dumps(row, separators=(",", ":"))) for row in rows) / len(rows)
    return {"msgpack, a map a row": packed + 2, "JSON, a map a row": text + 2}  # and a WebSocket header


def run(args: argparse.Namespace) -> None:
    """Measure, and write wire.json."""
    turns = take_turns({"ours": partial(measure, args)}, args.rounds)
    figure = Figure(
        "g",
        f"bytes a tick on the wire, {TICKS_A_MESSAGE} ticks a message",
        "bytes",
        turns.values("ours", "bytes"),
        must=9,
        aim=7.5,
        more_is_better=False,
        others={name: [size] for name, size in as_rows().items()},
    )
    save("wire", [figure], vars(args), turns, measured=turns.measured)


def main() -> None:
    run(arguments(__doc__, seconds=1).parse_args())


if __name__ == "__main__":
    main()
