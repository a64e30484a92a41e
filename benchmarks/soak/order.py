"""k) Does everyone get every row once, in order and right, whatever they do, and does the ledger add up?

    python benchmarks/soak/order.py                               1,000,000 rows, 200 clients: a minute
    python benchmarks/soak/order.py --rows 20000 --clients 24     a short one

Trades and quotes of 40 symbols come at a given rate. The clients speak msgpack and JSON, our protocol and Alpaca's.
They join, leave (with a close, a FIN, a reset), subscribe, unsubscribe, change mode and interval, resume or don't, ask
for everything, ask for rows again, and stall. Each keeps a ledger. A violation is:

- a row or an update that does not begin where the one before ended, or comes after `unsubscribed`;
- a value that is not the one the feed made: prices, sizes and times of rows, all eight columns of an update, snapshots;
- a bar that is not the sum of its trades, or is another one for another client;
- a channel in which delivered + merged + missed + what was not asked for isn't what was produced;
- a count of rows in `pong` or `heartbeat` that isn't what came; an answer that is missing or comes too late.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for harness.py, figures.py

from alpaca_wanderer import AlpacaWanderer
from figures import Figure, Measured, arguments, save, take_turns
from native_wanderer import NativeWanderer
from oracle import Oracle, Violations
from trial import playing, tracebacks
from wanderer import Wanderer
from wire import ALPACA_JSON, ALPACA_MSGPACK, JSON, MSGPACK

SYMBOLS = 40
CODECS = (MSGPACK, JSON, MSGPACK, ALPACA_MSGPACK, MSGPACK, JSON, MSGPACK, ALPACA_JSON)
"""The codecs of clients, by turns."""
STAYING_S = 1.0
"""From when on before the tape's end nobody does anything any more."""


def measure(args: argparse.Namespace) -> Measured:
    """Run one round."""
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(2**32)
    # Rows of both kinds count, and a round has 150 of each.
    with playing(SYMBOLS, args.rate / 2, "--outbox-mib", "1", rounds=round(args.rows / 300)) as (server, tape):
        rounds = round(args.rows / 2 / tape.round_rows)
        violations = Violations()
        oracle = Oracle(tape, violations)
        trial = Trial(args, server.port, oracle, rounds, random.Random(seed))
        asyncio.run(trial.run())
        for _ in range(tracebacks(server)):
            violations.add("traceback", "see the server's log above")
        if server.process.poll() is not None:
            violations.add("crash", f"the server ended with {server.process.returncode}")
    for words in violations.told:
        print(f"    {words}", file=sys.stderr)
    did = sum((client.did for client in trial.clients), Counter())
    return {
        "rows": 2 * rounds * tape.round_rows,
        "violations": violations.count,
        "kinds": dict(violations.kinds),
        "values": oracle.values,
        "did": dict(did),
        "seed": seed,
        **trial.totals(),
        "shown": f"{violations.count} violations in {2 * rounds * tape.round_rows:,} rows, {trial.taken():,} taken by "
        f"{args.clients} clients, {oracle.values:,} values compared, {sum(did.values()):,} deeds, seed {seed}",
    }


class Trial:
    """All clients of a round."""

    def __init__(self, args: argparse.Namespace, port: int, oracle: Oracle, rounds: int, chance: random.Random) -> None:
        self._oracle = oracle
        self._rounds = rounds
        tape = oracle.tape
        self._ends_s = tape.start_us / 1e6 + rounds * tape.round_rows / tape.rate
        self._bars_s = args.bars_s
        self.clients: list[Wanderer] = []
        for number, codec in zip(range(args.clients), itertools.cycle(CODECS), strict=False):
            kind = NativeWanderer if codec in (MSGPACK, JSON) else AlpacaWanderer
            own = random.Random(chance.randrange(2**32))
            self.clients.append(kind(f"client {number}", port, codec, oracle, own, args.busy_s, self._produced))
        self.natives: Sequence[NativeWanderer] = [c for c in self.clients if isinstance(c, NativeWanderer)]
        self.alpacas: Sequence[AlpacaWanderer] = [c for c in self.clients if isinstance(c, AlpacaWanderer)]

    async def run(self) -> None:
        """Let all wander until the tape is about to end, then settle."""
        await asyncio.gather(
            *(client.wander(lambda: time.time() > self._ends_s - STAYING_S) for client in self.clients)
        )
        await asyncio.gather(*(client.settle() for client in self.natives))  # now all has been published
        await asyncio.gather(*(client.settle() for client in self.alpacas))
        await self._compare_bars()

    def taken(self) -> int:
        """Return how many rows all have taken, merged ones counted each."""
        return sum(client.rows for client in self.alpacas) + sum(
            account.delivered + account.merged for client in self.natives for account in client.ledger.accounts.values()
        )

    def totals(self) -> dict[str, int]:
        """Return the sum of all ledgers of trades and quotes."""
        ticks = [
            account
            for client in self.natives
            for series, account in client.ledger.accounts.items()
            if series[0] != "bars"
        ]
        names = ("delivered", "merged", "missed", "unasked", "again")
        return {name: sum(getattr(account, name) for account in ticks) for name in names} | {
            "channels": len(ticks),
            "alpaca_rows": sum(client.rows for client in self.alpacas),
        }

    def _produced(self, symbol: int) -> int:
        return self._oracle.tape.produced(symbol, self._rounds)

    async def _compare_bars(self) -> None:
        """Get all bars, and compare them with the trades; and Alpaca's minutes with them."""
        oracle, symbols = self._oracle, range(self._oracle.tape.symbols)
        witness = self.natives[0]
        await witness.come_back()
        for interval_s in self._bars_s:
            await witness.get_bars(interval_s, [self._produced(symbol) for symbol in symbols])
        await witness.get_bars(60, None)
        witness.leave("close")
        for series in list(oracle.bars):
            held = oracle.compare_bars(series)
            if series[1] in self._bars_s and held != self._produced(series[2]):
                oracle.violations.add("bar", f"{series}: they hold {held} trades of {self._produced(series[2])}")
        for client in self.alpacas:
            for (symbol, start_us), bar in client.minutes.items():
                native = oracle.bars.get(("bars", 60, symbol), {}).values()
                exact = [(*(each / 100 for each in row[1:5]), row[5], row[7]) for row in native if row[0] == start_us]
                if exact != [bar]:
                    oracle.violations.add("bar", f"{client.name}: minute {start_us} of {symbol}: {bar}, not {exact}")


def run(args: argparse.Namespace) -> None:
    """Measure, and write soak_order.json."""
    turns = take_turns({"order": partial(measure, args)}, args.rounds)
    what = f"order and ledger: {args.rows:,} rows, {args.clients} clients that join, leave and change, all codecs"
    figure = Figure("k", what, "violations", turns.values("order", "violations"), must=0, more_is_better=False)
    save("soak_order", [figure], vars(args), turns, measured=turns.measured)


def parser() -> argparse.ArgumentParser:
    """Return the parser of this trial's options."""
    options = arguments(__doc__, seconds=0, rounds=1)
    options.add_argument("--rows", type=int, default=1_000_000, help="trades and quotes (default: %(default)s)")
    options.add_argument("--rate", type=float, default=20_000, help="of these a second (default: %(default)g)")
    options.add_argument("--clients", type=int, default=200, help="default: %(default)s")
    options.add_argument("--busy-s", type=float, default=0.5, help="between two deeds of each (default: %(default)g)")
    options.add_argument("--bars-s", type=int, nargs="+", default=[1, 5], help="bars that are waited for in the end")
    options.add_argument("--seed", type=int, help="of what the clients do (default: another one each time)")
    return options


if __name__ == "__main__":
    run(parser().parse_args())
