"""d) How late is a tick, from the feed to the last of 1,000 clients? Does a full garbage collection come in between?

    python benchmarks/bench_latency.py

A feed stamps a tick 20 times a second and has it sent at once, so there is no batching window in the figure; all
clients want it. The reference is a C program that stamps and sends the same to as many at the same rate: what it
takes is what 1,000 sends take. Collections are counted inside the server by `gc.callbacks`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import scripts
from contenders import LIMIT, Peer, PeerServer, available, clients_of_peer
from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, running, subscribe

EVERY_S = 0.05
FULL = 2


def measure_ours(args: argparse.Namespace) -> Measured:
    """Return our server's latencies, and the garbage collections meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "gc.json"
        options = ["--every-ms", str(EVERY_S * 1000), "--clients", str(args.clients), "--gc-report", str(report)]
        with (
            running(Server.of_ours("--feed", "benchmarks.probes:PulseFeed", *options)) as server,
            running(Clients(server.port, [subscribe(["PULSE"])] * args.clients)) as clients,
        ):
            time.sleep(0.5)
            clients.start()
            began, ended = time.time(), time.time() + args.seconds
            time.sleep(args.seconds)
            counted = clients.count()
        seen = [each for each in json.loads(report.read_text()) if began <= each[0] <= ended]
    return {
        **counted,
        "full_collections": sum(generation == FULL for _, generation, _ in seen),
        "collections": len(seen),
        "longest_collection_ms": max((seconds * 1000 for *_, seconds in seen), default=0.0),
        "shown": _shown(counted),
    }


def measure_peer(args: argparse.Namespace, peer: Peer, script: Path) -> Measured:
    """Return a peer's latencies."""
    with (
        running(PeerServer(peer, script, "tick", args.clients)) as server,
        running(clients_of_peer(server.port, [[0]] * args.clients)) as clients,
    ):
        clients.start()
        server.play()
        counted = clients.count_all()
    return {**counted, "shown": _shown(counted)}


def _shown(counted: Measured) -> str:
    return ", ".join(f"{name} {counted[f'{name}_ms']:.1f} ms" for name in ("p50", "p99", "p999"))


def run(args: argparse.Namespace) -> None:
    """Measure, and write latency.json."""
    peers, versions = available()
    with tempfile.TemporaryDirectory() as folder:
        flushes = [[(0, scripts.tick(0, seq, 0, 10_000, 100))] for seq in range(round(args.seconds / EVERY_S))]
        script = scripts.write("latency", Path(folder), [scripts.segment(EVERY_S, 60, flushes, stamped=True)])
        contenders = {LIMIT.name: partial(measure_peer, args, LIMIT, script), "ours": partial(measure_ours, args)}
        contenders |= {peer.name: partial(measure_peer, args, peer, script) for peer in peers}
        turns = take_turns(contenders, args.rounds)
    figures = [
        Figure(
            "d",
            f"p99 from feed to client, {args.clients:,} clients, 20 flushes a second",
            "of C's",
            turns.ratios("ours", LIMIT.name, "p99_ms"),
            must=1.6,
            aim=1.2,
            more_is_better=False,
            others={peer.name: turns.ratios(peer.name, LIMIT.name, "p99_ms") for peer in peers},
        ),
        Figure("d", "the same p99 as a time", "ms", turns.values("ours", "p99_ms"), more_is_better=False,
               others={name: turns.values(name, "p99_ms") for name in (LIMIT.name, *(peer.name for peer in peers))}),
        Figure("d", "full garbage collections during broadcast", "a round", turns.values("ours", "full_collections"),
               must=0, aim=0, more_is_better=False),
    ]  # fmt: skip
    save("latency", figures, vars(args), turns, peers=versions, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=2.5)
    parser.add_argument("--clients", type=int, default=1000)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
