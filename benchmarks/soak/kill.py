"""m) Does a server with a journal go on after `kill -9`, so that its clients miss nothing and get nothing twice?

    python benchmarks/soak/kill.py               100 kills, 20 of a replay, 20 under load: some minutes
    python benchmarks/soak/kill.py --times 5     as CI does it

The server is killed at random moments, some while it starts, and started again at once, on the same port and with the
same journal. Clients in mode `all`, of msgpack and JSON, take trades, quotes and bars of a second from the first row on
and resume whenever the connection is gone. Under load, 400,000 rows a second, many are killed in the middle of a write;
the clients take five of 500 symbols there. In the end the journal is read by pyarrow alone. Counted is

- missing, twice: rows that a client didn't get, by their numbers, or got again;
- other values: rows of a client that the journal has otherwise, or hasn't at all (as a torn one would be);
- breaks: rows within the journal that are missing, there twice, or not those of the file that is replayed;
- epochs: the server may have one only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from figures import Figure, Measured, arguments, save, take_turns
from harness import HERE, free_port
from wire import JSON, MSGPACK, PONG, Inward, command, frame, request

Key = tuple[str, int, str]
"""A kind, its interval in seconds, a symbol."""
Row = tuple[int, ...]

WANTED = (("trades", 0), ("quotes", 0), ("bars", 1))
SYMBOLS = ("AAPL", "AMZN", "MSFT", "NVDA", "TSLA")
CODECS = (MSGPACK, JSON, MSGPACK, MSGPACK, JSON, MSGPACK)
LOAD_SYMBOLS, LOAD_RATE = 500, 200_000
LEAST_WITH_LOAD = 25
"""Kills from which on there are some under load, too."""
PATIENCE_S = 60.0
START_US = 1_795_404_000_000_000


class Client:
    """Takes every row of all channels, over any number of connections."""

    def __init__(self, codec: str, port: int, kinds: tuple[tuple[str, int], ...]) -> None:
        self.rows: dict[Key, list[Row]] = defaultdict(list)
        self.epochs: set[str] = set()
        self.wrong: Counter[str] = Counter()
        self.connections = 0
        self._codec = codec
        self._port = port
        self._kinds = kinds
        self._channels: dict[int, tuple[Key, list[int]]] = {}

    async def run(self) -> None:
        """Connect again and again, until cancelled."""
        while True:
            try:
                await self._converse()
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.rows.values()))

    def position(self, key: Key) -> int:
        """Return the next row that is needed of a channel."""
        return len(self.rows[key])

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request(self._port, self._codec))
            inward = Inward()
            while data := await reader.read(1 << 16):
                for payload in inward.take(data):
                    message = self._decoded(payload)
                    if isinstance(message, dict) and message["type"] == "welcome":
                        self._resume(message["epoch"], writer)
                    else:
                        self._take(message)
                if inward.pings:
                    writer.write(inward.pings * frame(PONG))
                    inward.pings = 0
        finally:
            writer.close()

    def _decoded(self, payload: bytes) -> Any:
        return json.loads(payload, parse_float=Decimal) if self._codec == JSON else msgpack.unpackb(payload)

    def _resume(self, epoch: str, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.epochs.add(epoch)
        self._channels.clear()
        for kind, interval_s in self._kinds:
            since = {symbol: self.position((kind, interval_s, symbol)) for symbol in SYMBOLS}
            fields = {"op": "subscribe", "symbols": list(SYMBOLS), "kind": kind, "since": since, "epoch": epoch}
            writer.write(command(self._codec, fields | ({"interval_s": interval_s} if interval_s else {})))

    def _take(self, message: Any) -> None:
        if isinstance(message, dict) and message["type"] not in ("trades", "quotes", "bars"):
            self.wrong[message["type"]] += message["type"] in ("error", "gap")
            for each in message.get("channels", ()):
                key = (each["kind"], each.get("interval_s", 0), each["symbol"])
                self._channels[each["channel"]] = key, [scale for _, scale in each["columns"]]
                self.wrong["missed"] += each["missed"] != 0
            self.wrong["refused"] += len(message.get("refused", ()))
            return
        integer, seq, rows = self._rows_of(message)
        key, _ = self._channels[integer]
        expected = self.position(key)
        self.wrong["missing"] += max(0, seq - expected)
        self.wrong["twice"] += max(0, expected - seq)
        self.rows[key] += rows

    def _rows_of(self, message: Any) -> tuple[int, int, list[Row]]:
        if isinstance(message, list):
            integer, seq, n, *packed = message
            columns = [_column(base, offsets, n) for base, offsets in zip(packed[::2], packed[1::2], strict=True)]
            return integer, seq, list(zip(*columns, strict=True))
        integer = int(message["channel"])
        (kind, _, _), scales = self._channels[integer]
        columns = [_whole(message[name], scale) for name, scale in zip(COLUMNS[kind], scales, strict=True)]
        return integer, int(message["seq"]), list(zip(*columns, strict=True))


COLUMNS = {
    "trades": ("time", "price", "size"),
    "quotes": ("time", "bid_price", "bid_size", "ask_price", "ask_size"),
    "bars": ("time", "open", "high", "low", "close", "volume", "notional", "count"),
}


def _column(base: int, offsets: bytes, n: int) -> list[int]:
    """Return a column as section 5 of docs/protocol.md decodes it."""
    if not offsets:
        return [base] * n
    return [base + each for each in np.frombuffer(offsets, f"<u{len(offsets) // n}").tolist()]


def _whole(values: list[Any], scale: int) -> list[int]:
    """Return a column of JSON as whole numbers: decimals, or times with as many digits as their scale."""
    if isinstance(values[0], str):
        return [
            int(np.datetime64(each.removesuffix("Z"), "us" if scale == 6 else "ns").astype(np.int64)) for each in values
        ]
    return [int(Decimal(each).scaleb(scale)) for each in values]


class Trial:
    """A server that is killed again and again, and its clients."""

    def __init__(
        self, options: list[str], kinds: tuple[tuple[str, int], ...], path: Path, chance: random.Random
    ) -> None:
        self.port = free_port()
        self.clients = [Client(codec, self.port, kinds) for codec in CODECS]
        self.told: Counter[str] = Counter()
        self._command = [sys.executable, "-m", "ticker", *options, "--port", str(self.port), "--journal", str(path)]
        self._log = path.parent / "log"
        self._chance = chance

    async def run(self, times: int, alive_s: float) -> None:
        """Kill the server so many times; then let every client get all that the foremost has, and stop it properly."""
        tasks = [asyncio.create_task(client.run()) for client in self.clients]
        for _ in range(times):
            server = await self._start()
            starts = asyncio.create_task(self._listening(server))
            if self._chance.random() < 0.1:
                await asyncio.wait([starts], timeout=self._chance.uniform(0.2, 1.5))
            else:
                await starts
                await asyncio.sleep(self._chance.uniform(0.0, 2 * alive_s))
            starts.cancel()
            server.kill()
            await server.wait()
            self._look_at_log()
        server = await self._start()
        await self._listening(server)
        before = [client.count for client in self.clients]
        await self._until(lambda: all(client.count > count for client, count in zip(self.clients, before, strict=True)))
        keys = set().union(*(client.rows for client in self.clients))
        foremost = {key: max(client.position(key) for client in self.clients) for key in keys}
        await self._until(
            lambda: all(each.position(key) >= seq for each in self.clients for key, seq in foremost.items())
        )
        server.terminate()
        await server.wait()
        self._look_at_log()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise RuntimeError("a client broke down") from outcome  # type: ignore[arg-type]

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.02)

    async def _start(self) -> asyncio.subprocess.Process:
        with self._log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *self._command, cwd=HERE.parent, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def _listening(self, server: asyncio.subprocess.Process) -> None:
        assert server.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await server.stdout.readline()
        if b"listening" not in line:
            raise RuntimeError(f"the server did not start: {line!r}\n{self._log.read_text()}")

    def _look_at_log(self) -> None:
        log = self._log.read_text(errors="replace")
        self.told["torn"] += log.count("killed while it wrote")
        self.told["tracebacks"] += log.count("Traceback")
        self.told["new epochs"] += log.count("a new epoch begins")
        if "Traceback" in log:
            print(log, file=sys.stderr)


def journal_of(path: Path) -> tuple[dict[Key, list[Row]], int]:
    """Return the rows of a journal, read by pyarrow alone, and how many numbers are missing or there twice."""
    found: dict[Key, dict[int, Row]] = defaultdict(dict)
    breaks = 0
    for kind, interval_s in WANTED:
        for file in sorted(path.glob(f"*.{kind}{f'-{interval_s}s' if interval_s else ''}.arrows")):
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
                table = stream.read_all()
            table = table.filter(pc.is_in(table.column("symbol"), pa.array(SYMBOLS)))
            columns = [table.column(name).to_pylist() for name in ("symbol", "seq", *COLUMNS[kind])]
            for symbol, seq, *row in zip(*columns, strict=True):
                rows = found[kind, interval_s, symbol]
                breaks += seq in rows
                rows[seq] = tuple(row)
    breaks += sum(len(rows) != max(rows) + 1 for rows in found.values())
    return {key: [rows[seq] for seq in sorted(rows)] for key, rows in found.items()}, breaks


def compare(clients: list[Client], journal: dict[Key, list[Row]]) -> Counter[str]:
    """Return what was wrong with what clients got, and what they have otherwise than the journal. Each has it up to a
    row that came after the last kill; behind that, the journal may have more."""
    found: Counter[str] = Counter()
    for client in clients:
        found.update(client.wrong)
        for key, theirs in client.rows.items():
            ours = journal.get(key, [])
            found["other values"] += sum(a != b for a, b in zip(theirs, ours, strict=False))
            found["other values"] += max(0, len(theirs) - len(ours))
    return found


def write_csv(path: Path, rows: int, chance: random.Random) -> dict[Key, list[Row]]:
    """Write trades to a file, 2,000 a second; return them."""
    found: dict[Key, list[Row]] = defaultdict(list)
    time_us = START_US
    with path.open("w") as file:
        file.write("time,symbol,price,size\n")
        for number in range(rows):
            time_us += chance.randrange(1, 1000)
            symbol = SYMBOLS[number] if number < len(SYMBOLS) else chance.choice(SYMBOLS)
            price, size = chance.randrange(10_000, 20_000), chance.randrange(1, 500)
            file.write(f"{time_us},{symbol},{price / 100:.2f},{size}\n")
            found["trades", 0, symbol].append((time_us, price, size))
    return found


def measure(args: argparse.Namespace, what: str, times: int) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="journal-") as folder:
        path = Path(folder) / "journal"
        options, kinds, truth = ["--feed", "simulated", "--flush-ms", "5"], WANTED, {}
        if what == "replay":
            source = Path(folder) / "trades.csv"
            truth = write_csv(source, round(2000 * (times + 30) * 4 * args.alive_s), chance)
            options, kinds = ["--feed", "csv", str(source), "--flush-ms", "5"], (("trades", 0), ("bars", 1))
        elif what == "load":
            others = [f"X{number}" for number in range(LOAD_SYMBOLS - len(SYMBOLS))]
            options = ["--feed", "simulated", "--symbols", ",".join([*SYMBOLS, *others]), "--rate", str(LOAD_RATE)]
            options += ["--flush-ms", "100", "--journal-mib", "8192"]
        else:
            options += ["--symbols", ",".join(SYMBOLS), "--rate", str(args.rate)]
        trial = Trial(options, kinds, path, chance)
        asyncio.run(trial.run(times, args.alive_s))
        journal, breaks = journal_of(path)
    breaks += sum(journal[key] != rows[: len(journal[key])] for key, rows in truth.items() if key in journal)
    found = compare(trial.clients, journal)
    rows = sum(map(len, journal.values()))
    epochs = set().union(*(client.epochs for client in trial.clients))
    compared = sum(len(rows) for client in trial.clients for rows in client.rows.values())
    others = {
        name: count for name, count in found.items() if count and name not in ("missing", "twice", "other values")
    }
    return {
        "kills": times,
        "rows": rows,
        "compared": compared,
        "connections": sum(client.connections for client in trial.clients),
        "missing": found["missing"],
        "twice": found["twice"],
        "other": found["other values"] + sum(others.values()),
        "breaks": breaks + trial.told["tracebacks"],
        "epochs": len(epochs),
        "torn": trial.told["torn"],
        "seed": seed,
        "shown": f"{times} kills, {rows:,} rows, {compared:,} compared: {found['missing']} missing, {found['twice']} "
        f"twice, {found['other values']} other values {others or ''}, {breaks} breaks, {len(epochs)} epoch, "
        f"{trial.told['torn']} torn tails, seed {seed}",
    }


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_kill.json."""
    times = {"simulated": args.times, "replay": max(1, args.times // 5), "load": args.times // 5}
    if args.times < LEAST_WITH_LOAD:
        del times["load"]
    contenders = {name: partial(measure, args, name, count) for name, count in times.items()}
    turns = take_turns(contenders, args.rounds)
    counted = (
        ("missing", "missing", 0),
        ("twice", "twice", 0),
        ("other", "other than in the journal", 0),
        ("breaks", "breaks within the journal", 0),
        ("epochs", "epochs", 1),
    )
    figures = [
        Figure("m", f"kill -9 with a journal, {name}, {count} times: {what}", "", turns.values(name, key), must=must,
               more_is_better=False)
        for name, count in times.items()
        for key, what, must in counted
    ]  # fmt: skip
    save("soak_kill", figures, vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=0, rounds=1)
    options.add_argument("--times", type=int, default=100, help="kills (default: %(default)s)")
    options.add_argument("--rate", type=float, default=1000, help="trades a second (default: %(default)g)")
    options.add_argument("--alive-s", type=float, default=0.4, help="of each server, on average (default: %(default)g)")
    options.add_argument("--seed", type=int, help="of when it is killed (default: another one each time)")
    return options


def main() -> None:
    run(parser().parse_args())


if __name__ == "__main__":
    main()
