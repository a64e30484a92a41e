"""The trials of benchmarks/soak/, in short: the same code, small sizes."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
sys.path[:0] = [str(BENCHMARKS / "soak"), str(BENCHMARKS)]  # scripts that import each other by name
