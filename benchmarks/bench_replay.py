"""i) How many rows of a CSV file does a replay at full speed bring to one client that checks each?

    python benchmarks/bench_replay.py

The file is made of the simulated market: 3 million trades of 50 symbols, 10,000 a second. The client (loadgen.c)
decodes every value of every row into a sum that depends on the order of each channel's rows, and that must come out
as it does from the file. Counted: rows a second from the moment at which the replay begins to read the file again
(half a second after the client subscribed, as `--wait-for` has it) to the last row at the client. With the default
window of event time (1 s) and with none; and, beside it, a quiet market: real trades of one symbol, 28 a second, file
behind file.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from figures import Figure, Measured, arguments, save, take_turns
from harness import HERE, PATIENCE_S, Clients, Server, VoidError, running, subscribe

from feeds.simulated_market import Market
from feeds.simulated_symbols import made_up, profile

SYMBOLS, PER_SECOND = 50, 10_000
QUIET_S = 0.5
"""How long after the last command `--wait-for` begins; the load generator's clock runs since its answer."""
REAL = HERE.parent / "tests" / "data" / "BTCUSDT-trades-2024-08-08.csv.gz"
CASES = {
    "the default window": ("made", ["--replay-window-ms", "1000"]),
    "no window": ("made", ["--replay-window-ms", "0"]),
    "the default window, a quiet market": ("real", ["--replay-window-ms", "1000"]),
    "no window, a quiet market": ("real", ["--replay-window-ms", "0"]),
}


class Recording(NamedTuple):
    """A file, how it is read, and what its rows add up to (None: not known)."""

    path: Path
    options: list[str]
    rows: int
    check_sum: int | None


def made(folder: Path, rows: int) -> Recording:
    """Write trades of the simulated market."""
    symbols = list(made_up(SYMBOLS))
    codes, price, size, *_ = Market([profile(each) for each in symbols], float(PER_SECOND), seed=1).take(rows)
    gaps = np.random.default_rng(1).integers(0, 2 * 1_000_000 // PER_SECOND, rows)
    time_us = 1_700_000_000_000_000 + np.cumsum(gaps)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=SYMBOLS)
    seqs = np.empty(rows, np.int64)
    seqs[order] = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = (time_us, price, size)
    with np.errstate(over="ignore"):
        weights = (seqs + 1).astype(np.uint64)
        check_sum = sum(int((weights * (i + 1) * column.astype(np.uint64)).sum()) for i, column in enumerate(columns))
    path = folder / "made.csv"
    with path.open("w") as file:
        file.write("time,symbol,price,size\n")
        for start in range(0, rows, 100_000):
            part = slice(start, start + 100_000)
            cells = zip(*(column[part].tolist() for column in (time_us, codes, price, size)), strict=True)
            file.writelines(f"{t},{symbols[c]},{p // 100}.{p % 100:02d},{s}\n" for t, c, p, s in cells)
    options = ["--columns", "time=time,symbol=symbol,price=price,size=size", "--time-format", "us", "--timezone", "UTC"]
    return Recording(path, options, rows, check_sum % 2**64)


def real(folder: Path, times: int) -> Recording:
    """Write real trades, the file several times, each time a whole number of seconds later."""
    lines = [line.split(",") for line in gzip.decompress(REAL.read_bytes()).decode().splitlines()]
    first, last = int(lines[0][4]), int(lines[-1][4])
    span = (last - first) // 1000 * 1000 + 1000
    path = folder / "BTCUSDT-trades-2024-08-08.csv"
    with path.open("w") as file:
        for number in range(times):
            file.writelines(
                ",".join((*cells[:4], str(int(cells[4]) + number * span), *cells[5:])) + "\n" for cells in lines
            )
    return Recording(path, [], times * len(lines), None)


def measure(recording: Recording, options: list[str]) -> Measured:
    """Replay a file once."""
    options = [str(recording.path), *recording.options, "--speed", "max", "--wait-for", "1", *options]
    with (
        running(Server.of_ours("--feed", "csv", *options)) as server,
        running(Clients(server.port, [subscribe(["*"])], check_every=1)) as clients,
    ):
        clients.start()
        cpu_s, counted = server.cpu_s, clients.count()
        deadline_s = time.monotonic() + PATIENCE_S
        while counted["rows"] < recording.rows and time.monotonic() < deadline_s:
            time.sleep(0.05)
            counted = clients.count()
        cpu_s = server.cpu_s - cpu_s
    if counted["rows"] != recording.rows:
        raise VoidError(f"{counted['rows']:,} rows of {recording.rows:,}")
    if recording.check_sum not in (None, counted["check_sum"]):
        raise VoidError("the rows are not those of the file")
    seconds = counted["last_s"] - QUIET_S
    millions = counted["rows"] / seconds / 1e6
    shown = f"{millions:.2f} million rows/s ({counted['rows'] / counted['messages']:.0f} rows a message)"
    return {"millions": millions, "cpu_s": cpu_s, "seconds": seconds, "shown": shown}


def run(args: argparse.Namespace) -> None:
    """Measure, and write replay.json."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = {"made": made(Path(folder), args.rows)}
        if REAL.exists():
            recordings["real"] = real(Path(folder), args.real_times)
        contenders = {
            name: partial(measure, recordings[which], options)
            for name, (which, options) in CASES.items()
            if which in recordings
        }
        turns = take_turns(contenders, args.rounds)
    figures = [
        Figure(
            "i",
            f"CSV replay at full speed to one client that checks each row, {name}",
            "million rows a second",
            turns.values(name, "millions"),
            *((1.0, 2.0) if CASES[name][0] == "made" else ()),
        )
        for name in contenders
    ]
    save("replay", figures, vars(args), turns, measured=turns.measured)


def main() -> None:
    parser = arguments(__doc__, seconds=0)
    parser.add_argument("--rows", type=int, default=3_000_000, help="of the file that is made")
    parser.add_argument("--real-times", type=int, default=20, help="how often the real file is repeated")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
