"""How many rows does the whole server deliver, from the feed to the socket, what does each cost, and how late are they?

    python benchmarks/bench_fanout.py                    1,000 clients, each with 20 of 500 symbols, 20,000 ticks a second
    python benchmarks/bench_fanout.py --same 100         … all with the same 100 symbols
    python benchmarks/bench_fanout.py --mode conflated --clients 5000

The server (`python -m ticker --feed simulated`) is pinned to one core, the clients (loadgen.c) to another. Every
hundredth client follows the seq of its channels: a round with a row too few or too many is void.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from harness import Clients, Server, choices, machine, median, running, subscribe

from feeds.simulated_symbols import made_up


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one round."""
    symbols = list(made_up(args.symbols))
    if args.same:
        wanted = [symbols[: args.same]] * args.clients
    else:
        wanted = choices(symbols, args.clients, args.each)
    options = [
        "--symbols",
        str(args.symbols),
        "--rate",
        str(args.rate),
        "--seed",
        "1",
        "--flush-ms",
        str(args.flush_ms),
    ]
    commands = [subscribe(each, mode=args.mode) for each in wanted]
    with running(Server.of_ours("--feed", "simulated", *options)) as server:
        clients = Clients(server.port, commands)
        time.sleep(args.warm_up)
        clients.start()
        cpu_s = server.cpu_s
        time.sleep(args.seconds)
        cpu_s = server.cpu_s - cpu_s
        counted = clients.stop_counting()
        clients.close()
    rows, seconds = counted["rows"], counted["seconds"]
    return {
        "rows_per_s": rows / seconds,
        "rows_per_cpu_s": rows / cpu_s,
        "cpu_ns_per_row": cpu_s / rows * 1e9,
        "cpu_share": cpu_s / seconds,
        "bytes_per_row": counted["bytes"] / rows,
        **counted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--symbols", type=int, default=500, help="symbols of the market")
    parser.add_argument("--each", type=int, default=20, help="symbols that each client chooses for itself")
    parser.add_argument("--same", type=int, default=0, help="symbols that all clients share, instead")
    parser.add_argument("--rate", type=float, default=20_000, help="trades a second over all symbols")
    parser.add_argument("--flush-ms", type=float, default=50)
    parser.add_argument("--mode", choices=("all", "conflated"), default="all")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm-up", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON as well")
    args = parser.parse_args()
    print(" ".join(f"{name} {value}" for name, value in machine().items()))
    rounds = [measure(args) for _ in range(args.rounds)]
    if args.json:
        print(json.dumps(rounds))

    def middle(name: str) -> float:
        return median(each[name] for each in rounds)

    print(f"median of {len(rounds)} rounds of {args.seconds:g} s, {args.clients} clients, mode {args.mode}")
    print(f"  rows delivered a second       {middle('rows_per_s'):14,.0f}")
    print(f"  rows delivered per CPU second {middle('rows_per_cpu_s'):14,.0f}")
    print(f"  CPU of the server             {middle('cpu_share'):14.1%}")
    print(f"  CPU per delivered row         {middle('cpu_ns_per_row'):14,.0f} ns")
    print(f"  bytes per row on the wire     {middle('bytes_per_row'):14.1f}")
    print("  from a message's newest row to the client, the batching window included:")
    print("   ", ", ".join(f"{name} {middle(f'{name}_ms'):.1f} ms" for name in ("p50", "p90", "p99", "p999")))


if __name__ == "__main__":
    main()
