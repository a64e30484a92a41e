"""b, c) How many rows does the whole server deliver, from the feed to the socket, and what does each cost?

    python benchmarks/bench_fanout.py                    the table's cases, with all peers
    python benchmarks/bench_fanout.py --peers none       ours alone
    python benchmarks/bench_fanout.py --case 'b 20000'   one of them
    python benchmarks/bench_fanout.py --clients 5000 --mode conflated --peers none

b: 1,000 clients, each with the trades of 20 symbols of its own choice out of 500. c: all with the same 100 symbols.
Every tick is delivered, within a batching window of 50 ms. Counted: rows delivered per CPU second of the server, at
so many ticks a second in. Every hundredth client decodes what it gets and follows the seq of its channels: a round
with a row too few or too many is void.

Ours is the whole server: it makes the ticks, numbers, keeps, folds, encodes, joins and sends them. The peers are
given finished messages with our bytes (peers/play.py), once as one message a tick and once joined, one message a
client and flush; they pay for the sending alone. So does the C program, which is the limit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from contenders import LIMIT, Peer, PeerServer, available, clients_of_peer
from figures import Figure, Measured, Run, arguments, save, take_turns
from harness import Clients, Server, choices, median, running, subscribe
from scripts import Recorder, segment, write

from feeds.simulated_symbols import made_up

FLUSH_S = 0.05
MODES = ("tick", "joined")
SATURATED = 50_000
"""Ticks a second in at which one message a tick is not tried: below that no peer keeps up any more."""


class Case(NamedTuple):
    """So many ticks a second in. `same`: all clients want the same symbols, so many; 0: each its own choice."""

    key: str
    rate: int
    same: int
    must: float
    aim: float

    @property
    def name(self) -> str:
        return f"{self.key} {self.rate}"

    @property
    def what(self) -> str:
        wanted = f"the same {self.same} symbols" if self.same else "20 of 500 symbols each"
        return f"{wanted}, {self.rate:,} ticks/s in"


CASES = (
    Case("b", 1_000, 0, 0.12, 0.2),
    Case("b", 20_000, 0, 2.0, 3.0),
    Case("b", 100_000, 0, 10.0, 15.0),
    Case("c", 20_000, 100, 12.0, 16.0),
    Case("c", 100_000, 100, 45.0, 70.0),
)


def measure_ours(args: argparse.Namespace, case: Case) -> Measured:
    """Return what our server does in a case."""
    symbols = list(made_up(args.symbols))
    same = [symbols[: case.same]] * args.clients
    wanted = same if case.same else choices(symbols, args.clients, args.each)
    options = ["--symbols", str(args.symbols), "--rate", str(case.rate), "--seed", "1"]
    options += ["--flush-ms", str(args.flush_ms)]
    with (
        running(Server.of_ours("--feed", "simulated", *options)) as server,
        running(Clients(server.port, [subscribe(each, mode=args.mode) for each in wanted])) as clients,
    ):
        time.sleep(args.warm_up)
        clients.start()
        cpu_s = server.cpu_s
        time.sleep(args.seconds)
        cpu_s = server.cpu_s - cpu_s
        counted = clients.count()
    return _measured(case, counted, cpu_s, counted["seconds"])


def measure_peer(args: argparse.Namespace, peer: Peer, mode: str, cases: list[Case], script: Path) -> Measured:
    """Return what a peer does in some cases that differ in the rate alone."""
    same = [list(range(cases[0].same))] * args.clients
    wishes = same if cases[0].same else choices(range(args.symbols), args.clients, args.each)
    measured: Measured = {"shown": ""}
    with (
        running(PeerServer(peer, script, mode, args.clients)) as server,
        running(clients_of_peer(server.port, wishes)) as clients,
    ):
        for case in cases:
            clients.start()
            cpu_s = server.cpu_s
            server.play()
            counted = clients.count_all()
            cpu_s = server.cpu_s - cpu_s
            one = _measured(case, counted, cpu_s, counted["last_s"] - counted["first_s"])
            measured["shown"] += one.pop("shown") + "  "
            measured |= one
    return measured


def _measured(case: Case, counted: dict[str, float], cpu_s: float, seconds: float) -> Measured:
    millions = counted["rows"] / cpu_s / 1e6
    return {
        case.name: millions,
        f"{case.name}, more": {"cpu_share": cpu_s / seconds, "rows_per_s": counted["rows"] / seconds, **counted},
        "shown": f"{millions:.3g} M ({cpu_s / seconds:.0%} of a core)",
    }


def scripts(args: argparse.Namespace, cases: list[Case], folder: Path) -> dict[tuple[str, str], Path]:
    """Write a script for each key and mode."""
    paths = {}
    flushes = round(args.peer_seconds / FLUSH_S)
    recorder = Recorder(args.symbols)
    for key in sorted({case.key for case in cases}):
        recorded = {case: recorder.blocks(case.rate, flushes, FLUSH_S) for case in cases if case.key == key}
        for mode in MODES:
            entries = recorder.ticks if mode == "tick" else recorder.joined
            segments = [
                segment(FLUSH_S, args.peer_seconds, [entries(block) for block in blocks])
                for case, blocks in recorded.items()
                if _is_tried(case, mode)
            ]
            paths[key, mode] = write(f"{key}-{mode}", folder, segments)
    return paths


def _is_tried(case: Case, mode: str) -> bool:
    return mode == "joined" or case.rate < SATURATED


def run(args: argparse.Namespace) -> None:
    """Measure, and write fanout.json."""
    cases = [case for case in CASES if not args.case or case.name in args.case]
    peers, versions = available() if args.peers == "all" else ((), {})
    contenders: dict[str, Callable[[], Measured]] = {
        f"ours, {case.name}": partial(measure_ours, args, case) for case in cases
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.peers == "all":
            paths = scripts(args, cases, Path(folder))
            for peer in (LIMIT, *peers):
                for (key, mode), path in paths.items():
                    tried = [case for case in cases if case.key == key and _is_tried(case, mode)]
                    if tried and (peer, mode) != (LIMIT, "tick"):
                        contenders[f"{peer.name}, {key}, {mode}"] = partial(measure_peer, args, peer, mode, tried, path)
        turns = take_turns(contenders, args.rounds)
    figures = [_figure(case, turns, [peer.name for peer in (LIMIT, *peers)]) for case in cases]
    save("fanout", figures, vars(args), turns, peers=versions, measured=turns.measured)


def _figure(case: Case, turns: Run, peers: list[str]) -> Figure:
    """Return the figure of a case; of each peer the better of its two ways."""
    others = {}
    for peer in peers:
        ways = [
            turns.values(name, case.name) for mode in MODES if (name := f"{peer}, {case.key}, {mode}") in turns.measured
        ]
        best = max((way for way in ways if way), key=median, default=[])
        if best:
            others[peer] = best
    unit = "million rows per CPU second"
    return Figure(
        case.key, case.what, unit, turns.values(f"ours, {case.name}", case.name), case.must, case.aim, others=others
    )


def main() -> None:
    parser = arguments(__doc__, seconds=2)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--symbols", type=int, default=500, help="symbols of the market")
    parser.add_argument("--each", type=int, default=20, help="symbols that each client chooses for itself, in b")
    parser.add_argument("--flush-ms", type=float, default=FLUSH_S * 1000)
    parser.add_argument("--mode", choices=("all", "conflated"), default="all")
    parser.add_argument("--warm-up", type=float, default=0.7)
    parser.add_argument("--peer-seconds", type=float, default=0.8, help="of each case of a peer")
    parser.add_argument("--peers", choices=("all", "none"), default="all")
    parser.add_argument("--case", action="append", help="such as 'b 20000'; default: all of the table")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
