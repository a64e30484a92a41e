"""f) Do 10,000 dashboards on one core each get their update in time, and does the loop stay awake for others?

    python benchmarks/bench_connections.py

Each connection has 20 of 500 symbols of its own choice in mode `conflated`, a flush each 250 ms; 20,000 ticks a second
come in, so that each always has something new. One that is served within every interval is never without data for two
intervals: the longest silence of any client tells. The lag of the loop is that for each millisecond, those included in
which it didn't come to look.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, choices, running, subscribe

from feeds.simulated_symbols import made_up

SYMBOLS, EACH, INTERVAL_MS = 500, 20, 250


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    wanted = choices(list(made_up(SYMBOLS)), args.clients, EACH)
    commands = [subscribe(each, mode="conflated", interval_ms=INTERVAL_MS) for each in wanted]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "lag.json"
        options = ["--symbols", str(SYMBOLS), "--rate", str(args.rate), "--seed", "1", "--lag-report", str(report)]
        with running(Server.of_ours("--feed", "benchmarks.probes:WatchedFeed", *options)) as server:
            connecting_s = time.monotonic()
            with running(Clients(server.port, commands)) as clients:
                connecting_s = time.monotonic() - connecting_s
                time.sleep(1)
                clients.start()
                cpu_s, began = server.cpu_s, time.time()
                time.sleep(args.seconds)
                cpu_s, ended = server.cpu_s - cpu_s, time.time()
                counted = clients.count()
        lags = sorted(late for when, late in json.loads(report.read_text()) if began <= when <= ended)
    lag_ms = {f"lag_p{share}_ms": lags[min(len(lags) - 1, len(lags) * share // 100)] * 1000 for share in (50, 99, 100)}
    return {
        **counted,
        **lag_ms,
        "connecting_s": connecting_s,
        "cpu_share": cpu_s / counted["seconds"],
        "shown": f"longest silence {counted['longest_silence_ms']:.0f} ms, loop lag p99 {lag_ms['lag_p99_ms']:.1f} ms "
        f"(most {lag_ms['lag_p100_ms']:.0f}), {cpu_s / counted['seconds']:.0%} of a core, "
        f"connected in {connecting_s:.1f} s",
    }


def run(args: argparse.Namespace) -> None:
    """Measure, and write connections.json."""
    turns = take_turns({"ours": partial(measure, args)}, args.rounds)
    who = f"{args.clients:,} connections, conflated to {INTERVAL_MS} ms"
    figures = [
        Figure("f", f"{who}: longest silence of any", "ms", turns.values("ours", "longest_silence_ms"),
               must=2 * INTERVAL_MS, aim=2 * INTERVAL_MS, more_is_better=False),
        Figure("f", f"{who}: loop lag p99", "ms", turns.values("ours", "lag_p99_ms"),
               must=50, aim=20, more_is_better=False),
        Figure("f", f"{who}: CPU of the server", "of a core", turns.values("ours", "cpu_share"), more_is_better=False),
        Figure("f", f"{who}: connecting and subscribing all", "s", turns.values("ours", "connecting_s"),
               more_is_better=False),
    ]  # fmt: skip
    save("connections", figures, vars(args), turns, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=3)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=20_000, help="ticks a second in")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
