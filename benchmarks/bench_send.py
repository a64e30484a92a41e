"""a) How near does the server come to the kernel's limit of small sends?

    python benchmarks/bench_send.py

The same one-tick message to 1,000 clients, again and again as fast as it goes; each message is a send of its own to
each client. Counted per CPU second of the server, which is a second where it has its core for itself. The reference
is a C program that only calls `send` (peers/send.c). Our server does all of its work: the tick goes through the door,
is numbered, kept in the history, folded into bars, encoded and sent.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import scripts
from contenders import LIMIT, Peer, PeerServer, available, clients_of_peer
from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, running, subscribe

WARM_UP_S = 0.5


def measure_ours(args: argparse.Namespace) -> Measured:
    """Return what our server does."""
    options = ["--every-ms", "0", "--clients", str(args.clients)]
    with (
        running(Server.of_ours("--feed", "benchmarks.probes:PulseFeed", *options)) as server,
        running(Clients(server.port, [subscribe(["PULSE"])] * args.clients)) as clients,
    ):
        time.sleep(WARM_UP_S)
        clients.start()
        cpu_s = server.cpu_s
        time.sleep(args.seconds)
        cpu_s = server.cpu_s - cpu_s
        counted = clients.count()
    return _rates(counted["rows"], counted["seconds"], cpu_s)


def measure_peer(args: argparse.Namespace, peer: Peer, script: Path) -> Measured:
    """Return what a peer does."""
    with (
        running(PeerServer(peer, script, "tick", args.clients)) as server,
        running(clients_of_peer(server.port, [[0]] * args.clients)) as clients,
    ):
        clients.start()
        cpu_s = server.cpu_s
        server.play()
        counted = clients.count_all()
        cpu_s = server.cpu_s - cpu_s
    return _rates(counted["rows"], counted["last_s"] - counted["first_s"], cpu_s)


def _rates(sends: int, seconds: float, cpu_s: float) -> Measured:
    shown = f"{sends / cpu_s:9,.0f} sends per CPU second, {cpu_s / seconds:.0%} of a core"
    return {"sends_per_s": sends / seconds, "sends_per_cpu_s": sends / cpu_s, "shown": shown}


def run(args: argparse.Namespace) -> None:
    """Measure, and write send.json."""
    peers, versions = available()
    with tempfile.TemporaryDirectory() as folder:
        ticks = [[(0, scripts.tick(0, seq, time.time_ns() // 1000, 10_000, 100))] for seq in range(20_000)]
        script = scripts.write("send", Path(folder), [scripts.segment(0, args.seconds, ticks)])
        contenders = {LIMIT.name: partial(measure_peer, args, LIMIT, script), "ours": partial(measure_ours, args)}
        contenders |= {peer.name: partial(measure_peer, args, peer, script) for peer in peers}
        turns = take_turns(contenders, args.rounds)
    others = {peer.name: turns.ratios(peer.name, LIMIT.name, "sends_per_cpu_s") for peer in peers}
    figure = Figure(
        "a",
        f"the same one-tick message to {args.clients:,} clients, sends per CPU second",
        "of C's",
        turns.ratios("ours", LIMIT.name, "sends_per_cpu_s"),
        must=0.75,
        aim=0.95,
        others=others,
        note=f"C: {max(turns.values(LIMIT.name, 'sends_per_cpu_s'), default=0):,.0f} at best",
    )
    save("send", [figure], vars(args), turns, peers=versions, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=1.5)
    parser.add_argument("--clients", type=int, default=1000)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
