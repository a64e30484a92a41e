"""The peers: which there are, how they are installed, how one is started.

They are installed on demand into `benchmarks/build`, never into the project's own environment. One that cannot be had
is told as such and left out.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness import BUILD, HERE, Clients, Server, build, free_port, masked

VENV = BUILD / "venv"
NODE = BUILD / "node"
PEERS = HERE / "peers"
PYTHON = VENV / "bin" / "python"


class Peer(NamedTuple):
    """A broadcast server of another library. `package` is what it is installed as, on PyPI or (for `.js`) npm."""

    name: str
    program: str
    package: str = ""

    def command(self, port: int, script: Path, mode: str, clients: int) -> list[str]:
        """Return how it is started."""
        arguments = [str(port), str(script), mode, str(clients)]
        if self.program.endswith(".c"):
            return [str(build(f"peers/{self.program[:-2]}")), *arguments]
        runner = "node" if self.program.endswith(".js") else str(PYTHON)
        return [runner, str(PEERS / self.program), *arguments]


LIMIT = Peer("C, only send()", "send.c")
LIBRARIES = (
    Peer("uWebSockets (socketify)", "with_socketify.py", "socketify"),
    Peer("picows", "with_picows.py", "picows"),
    Peer("ws on Node", "with_ws.js", "ws"),
    Peer("aiohttp", "with_aiohttp.py", "aiohttp"),
    Peer("websockets.broadcast", "with_websockets.py", "websockets"),
    Peer("Tornado write_message", "with_tornado.py", "tornado"),
)


@functools.cache
def available() -> tuple[tuple[Peer, ...], dict[str, str]]:
    """Install what is missing. Return the peers that can be had, and for all of them their version or what is wrong."""
    found, versions = [], {}
    for peer in LIBRARIES:
        version, error = _install(peer)
        versions[peer.name] = version or f"not to be had: {error}"
        if version:
            found.append(peer)
        else:
            print(f"  {peer.name} cannot be installed and is left out: {error}", file=sys.stderr)
    return tuple(found), versions


def _install(peer: Peer) -> tuple[str, str]:
    """Return the version that is installed, or "" and what went wrong."""
    if version := _version(peer):
        return version, ""
    if peer.program.endswith(".js"):
        if not shutil.which("npm"):
            return "", "there is no Node here"
        NODE.mkdir(parents=True, exist_ok=True)
        error = _tried(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(NODE), peer.package])
    else:
        error = "" if PYTHON.exists() else _tried([sys.executable, "-m", "venv", str(VENV)])
        pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", peer.package]
        error = error or _tried(pip)
    return _version(peer), error


def _version(peer: Peer) -> str:
    if peer.program.endswith(".js"):
        package = NODE / "node_modules" / peer.package / "package.json"
        return str(json.loads(package.read_text())["version"]) if package.exists() and shutil.which("node") else ""
    for folder in VENV.glob("lib/python*/site-packages"):
        for found in importlib.metadata.distributions(name=peer.package, path=[str(folder)]):
            return found.version
    return ""


def _tried(command: Sequence[str]) -> str:
    """Run a command; return the last line of what it said if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"exit code {done.returncode}")


class PeerServer(Server):
    """A peer that plays a script (see `peers/play.py`)."""

    def __init__(self, peer: Peer, script: Path, mode: str, clients: int) -> None:
        super().__init__(peer.command(free_port(), script, mode, clients), PYTHONPATH=str(PEERS))

    def stop(self) -> None:
        """End the peer; that clients leave without a word makes some of them talk, so their log is not shown."""
        self.end()
        self._log.close()

    def play(self, patience_s: float = 60.0) -> None:
        """Play the next segment to its end."""
        self.process.send_signal(signal.SIGUSR2)
        if self.read_line(patience_s) != "done":
            raise RuntimeError(f"{self.process.args!r} ended too soon\n{self.log}")


def clients_of_peer(port: int, wishes: Sequence[Sequence[int]], check_every: int = 100) -> Clients:
    """Connect a client for each wish, a choice of topics."""
    commands = (masked(",".join(map(str, wish)).encode(), 0x81) for wish in wishes)
    return Clients(port, commands, subprotocol="", answers=1, check_every=check_every)
