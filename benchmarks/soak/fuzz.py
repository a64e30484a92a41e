"""q) Does anything that a stranger may send raise, disturb a neighbour, or stay in memory?

    python benchmarks/soak/fuzz.py                                             1,000,000 messages: some six minutes
    python benchmarks/soak/fuzz.py --messages 20000 --frames 8000 --requests 4000    a short one

Messages are made of the protocol pages' own, changed in structure and in bytes, and go through both codecs and both
dialects in memory; each must be answered as the pages say (`tests/fuzz/strangers.py`). Frames that break every rule of
RFC 6455, and HTTP requests that are almost right, go to the port of a server, and messages of mad servers through the
client library. Counted are uncaught exceptions and answers that the pages do not allow; while it goes on neighbours get
every row, in order. Memory is by how much the least of it grows, from the middle third to the last: of Python's
allocated blocks, and of resident memory, which goes up and down by 40 MiB where messages are made in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # for tests/fuzz

from figures import Figure, Measured, arguments, save, take_turns
from harness import Clients, Server, running, subscribe
from trial import tracebacks

from tests.fuzz.crowd import write_frames, write_requests
from tests.fuzz.hostile import Servers
from tests.fuzz.strangers import Street

STREET = 20_000
"""Messages until other neighbours move in: the model that these are held against keeps all of their rows."""
VISITS = 20_000
"""Frames, or requests, from one look at the server's memory to the next."""


class Findings:
    """What went wrong, told once each; and how much memory there was, after how many messages."""

    def __init__(self) -> None:
        self.faults = 0
        self.seen: Counter[str] = Counter()
        self.memory: dict[str, list[tuple[int, float]]] = {}

    def look_for(self, what: Callable[[], object], context: str) -> None:
        """Do something; note what it raises."""
        try:
            what()
        except Exception:
            self.faults += 1
            print(f"  FAULT in {context}:\n{traceback.format_exc()[-2000:]}", file=sys.stderr, flush=True)

    def note(self, name: str, count: int, size: float) -> None:
        self.memory.setdefault(name, []).append((count, size))

    def growth(self, name: str) -> float:
        """Return by how much the least grows in a million more, from the middle third to the last.

        What is taken at times and given back is no growth.
        """
        points = self.memory[name]
        third = len(points) // 3
        if not third:
            return 0.0
        middle, last = points[third : 2 * third], points[2 * third :]
        return (_least(last) - _least(middle)) * 1e6 / (last[-1][0] - middle[-1][0])


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    findings = Findings()
    for number in range(0, args.messages, STREET):
        context = f"messages of the seed '{seed} {number}'"
        findings.look_for(partial(_street, findings, f"{seed} {number}", min(STREET, args.messages - number)), context)
        gc.collect()
        findings.note("messages", number + STREET, _own_mib())
        findings.note("blocks", number + STREET, sys.getallocatedblocks())
    servers = Servers(seed)
    findings.look_for(partial(servers.speak, args.messages // 4), f"mad servers of the seed {seed}")
    options = ["--feed", "simulated", "--symbols", "50", "--rate", "1000", "--history-mib", "1", "--bars-mib", "1"]
    with (
        running(Server.of_ours(*options)) as server,
        running(Clients(server.port, [subscribe(["*"])] * 4, check_every=1)) as neighbours,
    ):
        neighbours.start()
        url = f"http://127.0.0.1:{server.port}/"
        for name, write, count in (("frames", write_frames, args.frames), ("requests", write_requests, args.requests)):
            for number in range(0, count, VISITS):
                words = f"{seed} {name} {number}"
                some = min(VISITS, count - number)
                findings.look_for(lambda: findings.seen.update(asyncio.run(write(url, some, words))), words)  # noqa: B023
                findings.note(name, number + some, server.resident_kib / 1024)
        findings.look_for(neighbours.count, "a neighbour's rows")
        findings.faults += tracebacks(server)
    growths = {name: findings.growth(name) for name in findings.memory}
    return {
        "faults": findings.faults,
        "seen": findings.seen,
        "client_seen": servers.seen,
        "memory": findings.memory,
        "seed": seed,
        **{f"{name}_growth": growth for name, growth in growths.items()},
        "shown": f"{findings.faults} faults; for a million more: "
        + ", ".join(f"{name} {growth:+.1f}" for name, growth in growths.items())
        + f"; seed {seed}",
    }


def _street(findings: Findings, seed: str, messages: int) -> None:
    street = Street(seed)
    try:
        street.listen(messages)
        street.part()
    finally:
        findings.seen.update(street.seen)


def _own_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def _least(points: Sequence[tuple[int, float]]) -> float:
    return min(size for _, size in points)


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_fuzz.json."""
    turns = take_turns({"fuzz": partial(measure, args)}, args.rounds)
    counts = f"{args.messages:,} messages, {args.frames:,} frames, {args.requests:,} requests"
    what = f"{counts}, {args.messages // 4:,} messages to the client"
    figures = [
        Figure("q", f"{what}: exceptions and wrong answers", "", turns.values("fuzz", "faults"),
               must=0, more_is_better=False),
        *(Figure("q", f"memory for a million {name} more", "MiB", turns.values("fuzz", f"{name}_growth"),
                 must=8, more_is_better=False)
          for name in ("messages", "frames", "requests")),
        Figure("q", "objects for a million messages more", "blocks", turns.values("fuzz", "blocks_growth"),
               must=20_000, more_is_better=False),
    ]  # fmt: skip
    save("soak_fuzz", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=0, rounds=1)
    options.add_argument("--messages", type=int, default=1_000_000, help="default: %(default)s")
    options.add_argument("--frames", type=int, default=400_000, help="default: %(default)s")
    options.add_argument("--requests", type=int, default=200_000, help="default: %(default)s")
    options.add_argument("--seed", type=int, help="of what they say (default: another one each time)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
