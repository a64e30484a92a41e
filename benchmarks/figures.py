"""Rounds that take turns, and what comes out of them: figures with their spread, written as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import BUILD, HERE, VoidError, machine, median

PUBLISHED = HERE / "results"
RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or BUILD / "results")
"""Where results are written: `run.py` alone publishes, so that no number without a whole run gets into the table."""
TRIES = 3
"""How often a void round is tried again."""

Measured = dict[str, Any]


@dataclass(slots=True)
class Figure:
    """One line of the table. `rounds` are what was measured, as `unit`; `others` those of peers in the same run."""

    key: str
    what: str
    unit: str
    rounds: list[float]
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = True
    others: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def reaches(self) -> str:
        """Which bound the median is at least as good as: `aim`, `must`, `nothing`, or "" where there is none."""
        bounds = [(name, bound) for name, bound in (("aim", self.aim), ("must", self.must)) if bound is not None]
        for name, bound in bounds if self.rounds else ():
            if self.value >= bound if self.more_is_better else self.value <= bound:
                return name
        return "nothing" if bounds else ""


@dataclass
class Run:
    """All rounds of one benchmark."""

    measured: dict[str, list[Measured]]
    void: list[str]

    def ratios(self, name: str, reference: str, what: str) -> list[float]:
        """Return, round by round, how one contender stands to another."""
        pairs = zip(self.measured[name], self.measured[reference], strict=False)
        return [mine[what] / theirs[what] for mine, theirs in pairs]

    def values(self, name: str, what: str) -> list[float]:
        """Return what was measured of a contender."""
        return [each[what] for each in self.measured[name] if what in each]


def take_turns(contenders: Mapping[str, Callable[[], Measured]], rounds: int) -> Run:
    """Let each contender have its turn in each round. A void round is told and tried again; a contender that breaks
    down is told and left out."""
    run = Run({name: [] for name in contenders}, [])
    broken: set[str] = set()
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            if name in broken:
                continue
            began = time.monotonic()
            measured = _tried(name, measure, run, broken)
            if measured is not None:
                run.measured[name].append(measured)
                shown = measured.get("shown", "")
                print(f"  round {number}/{rounds}  {name:28} {shown}  ({time.monotonic() - began:.1f} s)", flush=True)
    return run


def _tried(name: str, measure: Callable[[], Measured], run: Run, broken: set[str]) -> Measured | None:
    for _ in range(TRIES):
        try:
            return measure()
        except VoidError as error:
            run.void.append(f"{name}: {error}")
            print(f"  {name}: round void: {error}", file=sys.stderr, flush=True)
        except (RuntimeError, TimeoutError, OSError) as error:
            print(f"  {name} broke down: {error}", file=sys.stderr, flush=True)
            break
    broken.add(name)
    run.void.append(f"{name}: left out")
    return None


def save(
    name: str, figures: Sequence[Figure], settings: Mapping[str, Any], run: Run | None = None, **more: Any
) -> None:
    """Write what came out as NAME.json, and print it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": name,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {**machine(), "numpy": _numpy(), "system": platform.platform()},
        "settings": dict(settings),
        **more,
        "void": run.void if run else [],
        "figures": [_told(each) for each in figures],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    for each in figures:
        print("  " + line(each), flush=True)


def _told(figure: Figure) -> dict[str, Any]:
    return {
        **asdict(figure),
        "value": figure.value if figure.rounds else None,
        "low": min(figure.rounds, default=None),
        "high": max(figure.rounds, default=None),
        "reaches": figure.reaches,
    }


def line(figure: Figure) -> str:
    """Return a figure in one line."""
    if not figure.rounds:
        return f"{figure.key}) {figure.what}: not measured. {figure.note}"
    low, high = min(figure.rounds), max(figure.rounds)
    text = f"{figure.key}) {figure.what}: {number(figure.value)} {figure.unit} ({number(low)} to {number(high)})"
    if figure.must is not None:
        text += f", must {number(figure.must)}"
    if figure.aim is not None:
        text += f", aim {number(figure.aim)}"
    if figure.others:
        text += "; " + ", ".join(f"{name} {number(median(values))}" for name, values in figure.others.items() if values)
    return text


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"


def arguments(doc: str | None, seconds: float, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=seconds, help="of each round (default: %(default)g)")
    return parser


def _numpy() -> str:
    import numpy

    return numpy.__version__
