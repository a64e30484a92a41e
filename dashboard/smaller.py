"""Takes out of the page's files what only their readers need: comments, indentation, long names inside of functions.

Run as a program it does so with its input. That is a process of its own because the library is written in Go, whose
runtime would leave threads and signal handlers behind in the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

LONGEST_S = 20.0


def smaller(files: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return the texts of files, of which `files` has content type and text by name.

    Where the library is missing (it is made for Linux) or fails they are as they were: the same page, but larger.
    """
    return dict(json.loads(_run(json.dumps(dict(files)))))


@cache
def _run(files: str) -> str:
    command = [sys.executable, __file__]
    try:
        done = subprocess.run(command, input=files, capture_output=True, check=True, text=True, timeout=LONGEST_S)
    except (OSError, subprocess.SubprocessError):
        return json.dumps({name: text for name, (_, text) in json.loads(files).items()})
    return done.stdout


def main() -> None:
    """Read files as JSON from stdin, write them to stdout."""
    import minify

    files = json.load(sys.stdin)
    json.dump({name: minify.string(type_.partition(";")[0], text) for name, (type_, text) in files.items()}, sys.stdout)


if __name__ == "__main__":
    main()
