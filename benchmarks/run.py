"""Runs the whole table, one benchmark after the other, then writes the table and the chart.

    python benchmarks/run.py                    as `make bench` does it, in less than twenty minutes
    python benchmarks/run.py --only send,wire   some of them; the others' results stay
    python benchmarks/run.py --only soak        as `make soak` does it: the stalled clients and all trials of soak/
    python benchmarks/run.py --only soak_cut    one of these
    python benchmarks/run.py --quick            one short round of each: does everything work? It publishes nothing

Nothing else should run on the machine. A benchmark that fails is told, and the next one begins.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import report
from contenders import available
from figures import PUBLISHED
from harness import HERE

TABLE = tuple(name for name in report.ORDER if name != "soak")
TRIALS = tuple(f"soak_{name}" for name in report.TRIALS)
STALLED = ["bench_stalled.py", "--seconds", "60", "--save", "soak", "--rounds", "2"]
COMMANDS = {"soak": STALLED} | {name: [f"soak/{name.removeprefix('soak_')}.py"] for name in TRIALS}
"""Those that are not called bench_NAME.py. Trials know themselves how many rounds they need."""
QUICK = {
    "send": ["--seconds", "0.7"],
    "fanout": ["--seconds", "1", "--peer-seconds", "0.5"],
    "latency": ["--seconds", "1.5"],
    "memory": ["--clients", "1000"],
    "connections": ["--seconds", "2"],
    "wire": [],
    "encoding": ["--seconds", "0.1"],
    "replay": ["--rows", "500000", "--real-times", "5"],
    "stalled": ["--seconds", "5"],
    "soak": ["--seconds", "5"],
    "soak_order": ["--rows", "20000", "--clients", "24"],
    "soak_cut": ["--cuts", "500"],
    "soak_kill": ["--times", "5"],
    "soak_herd": ["--clients", "100", "--seconds", "1"],
    "soak_trickle": ["--seconds", "10"],
    "soak_churn": ["--seconds", "2", "--warm-s", "1"],
    "soak_bombs": ["--half-open", "100", "--seconds", "1"],
    "soak_fuzz": ["--messages", "20000", "--frames", "8000", "--requests", "4000"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(TABLE), help="default: %(default)s")
    args = parser.parse_args()
    chosen = ["soak", *TRIALS] if args.only == "soak" else args.only.split(",")
    known = (*report.ORDER, *TRIALS)
    if unknown := set(chosen) - set(known):
        parser.error(f"--only: expected some of {', '.join(known)}, not {', '.join(sorted(unknown))}")

    began = time.monotonic()
    if (load := os.getloadavg()[0]) > 0.5:
        print(f"The machine is not idle (load {load:.1f}): the figures will be worth less.")
    if set(chosen) & set(TABLE):
        print("Installing the peers that are missing into benchmarks/build …", flush=True)
        available()
    failed = [name for name in chosen if not _runs(name, args.rounds, args.quick, began)]
    if args.quick:
        print(f"{_minutes(began)}  done; nothing was published")
    else:
        report.main()
        print(f"{_minutes(began)}  done: benchmarks/README.md, benchmarks/results/")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _runs(name: str, rounds: int, quick: bool, began: float) -> bool:
    print(f"{_minutes(began)}  {name}", flush=True)
    program, *options = COMMANDS.get(name, [f"bench_{name}.py"])
    command = [sys.executable, str(HERE / program), *options]
    if name not in COMMANDS:
        command += ["--rounds", str(rounds)]
    environment = dict(os.environ)
    if quick:
        command += ["--rounds", "1", *QUICK.get(name, [])]
    else:
        environment["BENCHMARK_RESULTS"] = str(PUBLISHED)
    return subprocess.run(command, cwd=HERE.parent, env=environment).returncode == 0


def _minutes(began: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    return f"{minutes:2}:{seconds:02}"


if __name__ == "__main__":
    main()
