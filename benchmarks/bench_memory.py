"""e) What does an idle connection cost in memory?

    python benchmarks/bench_memory.py

Each connection subscribes to 20 channels of its own choice; nothing is sent. Resident memory is taken after the first
500, which pay for what is only needed once, and after 2,000 more: the difference, by connection. The peers know which
of 20 topics each connection wants, in a list or by the library's own means.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import scripts
from contenders import Peer, PeerServer, available, clients_of_peer
from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, choices, running, subscribe

from feeds.simulated_symbols import made_up

SYMBOLS, EACH, FIRST = 500, 20, 500


def measure_ours(args: argparse.Namespace) -> Measured:
    """Return what a connection to our server costs."""
    wanted = choices(list(made_up(SYMBOLS)), FIRST + args.clients, EACH)
    commands = [subscribe(each) for each in wanted]
    with running(Server.of_ours("--feed", "simulated", "--symbols", str(SYMBOLS), "--rate", "0.000001")) as server:
        return _measure(args, server, lambda start, end: Clients(server.port, commands[start:end]))


def measure_peer(args: argparse.Namespace, peer: Peer, script: Path) -> Measured:
    """Return what a connection to a peer costs."""
    wishes = choices(range(SYMBOLS), FIRST + args.clients, EACH)
    with running(PeerServer(peer, script, "tick", FIRST + args.clients)) as server:
        return _measure(args, server, lambda start, end: clients_of_peer(server.port, wishes[start:end]))


def _measure(args: argparse.Namespace, server: Server, connect: Callable[[int, int], Clients]) -> Measured:
    with running(connect(0, FIRST)):
        time.sleep(args.seconds)
        before = server.resident_kib
        with running(connect(FIRST, FIRST + args.clients)):
            time.sleep(args.seconds)
            kib = (server.resident_kib - before) / args.clients
    return {"kib": kib, "shown": f"{kib:.2f} KiB"}


def run(args: argparse.Namespace) -> None:
    """Measure, and write memory.json."""
    peers, versions = available()
    with tempfile.TemporaryDirectory() as folder:
        script = scripts.write("memory", Path(folder), [scripts.segment(1, 1, [[]])])
        contenders = {"ours": partial(measure_ours, args)}
        contenders |= {peer.name: partial(measure_peer, args, peer, script) for peer in peers}
        turns = take_turns(contenders, args.rounds)
    figure = Figure(
        "e",
        f"resident memory of an idle connection with {EACH} channels",
        "KiB",
        turns.values("ours", "kib"),
        must=11,
        aim=6,
        more_is_better=False,
        others={peer.name: turns.values(peer.name, "kib") for peer in peers},
    )
    save("memory", [figure], vars(args), turns, peers=versions, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=0.4)
    parser.add_argument("--clients", type=int, default=2000)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
