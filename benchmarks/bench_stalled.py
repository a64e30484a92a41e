"""j) Do 1,000 clients that never read harm 1,000 that do, or the server's memory?

    python benchmarks/bench_stalled.py                15 s a round
    python benchmarks/bench_stalled.py --seconds 60   a minute, as `make soak` does it

All have 20 of 500 symbols of their own choice in mode `all`; 100,000 ticks a second come in. Compared are the healthy
ones' p99 from feed to client (the batching window included) and the server's peak of resident memory, with and without
the others, and what is left of it when they have gone. Without them half of the time is enough.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from functools import partial

from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, choices, running, subscribe

from feeds.simulated_symbols import made_up

SYMBOLS, EACH = 500, 20
GONE_S = 5.0
"""From the end of the stalled ones until the memory is looked at again."""


def measure(args: argparse.Namespace, stalled: int, seconds: float) -> Measured:
    """Run one round."""
    wanted = choices(list(made_up(SYMBOLS)), args.clients + stalled, EACH)
    commands = [subscribe(each) for each in wanted]
    # A small history fills up soon, so that what grows is what waits.
    options = ["--symbols", str(SYMBOLS), "--rate", str(args.rate), "--seed", "1", "--history-mib", "16"]
    with ExitStack() as stack:
        server = stack.enter_context(running(Server.of_ours("--feed", "simulated", *options)))
        healthy = stack.enter_context(running(Clients(server.port, commands[: args.clients])))
        others = stack.enter_context(ExitStack())
        if stalled:
            others.enter_context(running(Clients(server.port, commands[args.clients :], answers=-1)))
        time.sleep(1)
        healthy.start()
        cpu_s, peak, ends_s = server.cpu_s, 0, time.monotonic() + seconds
        while time.monotonic() < ends_s:
            time.sleep(0.25)
            peak = max(peak, server.resident_kib)
        cpu_s = server.cpu_s - cpu_s
        counted = healthy.count()
        kept = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        others.close()
        time.sleep(GONE_S)
        kept -= len(os.listdir(f"/proc/{server.process.pid}/fd"))
        left = server.resident_kib
    return {
        **counted,
        "closed": stalled - kept,
        "left_mib": left / 1024,
        "peak_mib": peak / 1024,
        "cpu_share": cpu_s / counted["seconds"],
        "shown": f"p50 {counted['p50_ms']:.1f}, p99 {counted['p99_ms']:.1f} ms, peak {peak / 1024:.0f} MiB, "
        f"{left / 1024:.0f} when they have gone, {stalled - kept} were closed, "
        f"{cpu_s / counted['seconds']:.0%} of a core",
    }


def run(args: argparse.Namespace) -> None:
    """Measure, and write stalled.json."""
    contenders = {
        "without": partial(measure, args, 0, args.seconds / 2),
        "with": partial(measure, args, args.stalled, args.seconds),
    }
    turns = take_turns(contenders, args.rounds)
    pairs = zip(turns.values("with", "peak_mib"), turns.values("without", "peak_mib"), strict=False)
    more_kib = [(with_them - without) * 1024 / args.stalled for with_them, without in pairs]
    left = zip(turns.values("with", "left_mib"), turns.values("without", "left_mib"), strict=False)
    left_kib = [(with_them - without) * 1024 / args.stalled for with_them, without in left]
    who = f"{args.clients:,} healthy and {args.stalled:,} clients that never read, {args.seconds:g} s"
    figures = [
        Figure("j", f"{who}: healthy p99", "of that without", turns.ratios("with", "without", "p99_ms"),
               must=1.2, more_is_better=False),
        Figure("j", f"{who}: memory for each stalled", "KiB", more_kib, must=64, aim=32, more_is_better=False),
        Figure("j", f"{who}: of it {GONE_S:g} s after they have gone", "KiB", left_kib, more_is_better=False),
    ]  # fmt: skip
    save(args.save, figures, vars(args), turns, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=15)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--save", default="stalled", help="name of the file of results (default: %(default)s)")
    parser.add_argument("--stalled", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100_000, help="ticks a second in")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
