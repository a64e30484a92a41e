"""The short form of benchmarks/soak/kill.py: real servers, real kills, and the journal read by pyarrow alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def test_clients_go_on_across_kills_and_have_what_the_journal_has(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/soak/kill.py", "--times", "5", "--alive-s", "0.2"]
    environment = os.environ | {"BENCHMARK_RESULTS": str(tmp_path)}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=140)

    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "soak_kill.json").read_text())["measured"]
    assert [each["kills"] for (each,) in measured.values()] == [5, 1], done.stdout + done.stderr
    for (each,) in measured.values():
        assert each["compared"] > 0
        faults = {name: each[name] for name in ("missing", "twice", "other", "breaks")}
        assert faults == {"missing": 0, "twice": 0, "other": 0, "breaks": 0}, done.stdout
        assert each["epochs"] == 1
