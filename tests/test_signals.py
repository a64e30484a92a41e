"""A server and signals, in a process of its own: how it stops, in time and whatever is in the way; SIGHUP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ticker import node, signals
from ticker.config import Settings

ROOT = Path(__file__).resolve().parent.parent

PROGRAM = """
import asyncio, signal, sys, time
from ticker import cli, signals
from ticker.clock import SystemClock
from ticker.config import Settings
from ticker.feed import Feed

class Node:
    def __init__(self, settings, feed, clock):
        pass

    async def start(self):
        return "http://127.0.0.1:8888/"

    async def stop(self):
        pass

    def reload(self):
        print("reread", file=sys.stderr, flush=True)

    async def hang(self):
        print("hanging", file=sys.stderr, flush=True)
        await asyncio.Event().wait()

    async def swallow(self):
        asyncio.create_task(self.be_deaf())
        await asyncio.sleep(0)

    async def be_deaf(self):
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("deaf", file=sys.stderr, flush=True)

    async def block(self):
        print("blocking", file=sys.stderr, flush=True)
        time.sleep(60)

    async def fail(self):
        raise RuntimeError("a bug")

    async def prepare(self):
        signal.raise_signal(signal.SIGHUP)
        return "http://127.0.0.1:8888/"

    async def report(self):
        asyncio.create_task(self.tell_when_it_listens())
        return "http://127.0.0.1:8888/"

    async def tell_when_it_listens(self):
        for _ in range(20):
            await asyncio.sleep(0)
        print("listening", file=sys.stderr, flush=True)

cli.STOP_MARGIN_S = signals.AFTER_STOP_S = {margin_s}
Node.start, Node.stop = Node.{start}, Node.{stop}
sys.exit(cli.serve(Settings("stub", drain_s=0, token_file="{token_file}"), Feed(), SystemClock(), Node))
"""


@pytest.fixture
def start_program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return `start(start=…, stop=…)`, which starts the command line in a process with a node that behaves so."""
    processes: list[subprocess.Popen[str]] = []

    def begin(
        start: str = "start", stop: str = "stop", token_file: str = "", margin_s: float = 0.2, **keywords: Any
    ) -> subprocess.Popen[str]:
        program = PROGRAM
        for name, value in {"start": start, "stop": stop, "token_file": token_file, "margin_s": margin_s}.items():
            program = program.replace(f"{{{name}}}", str(value))
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords},
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        with process:  # closes its pipes, and waits
            process.kill()


def line_of(stream: Any) -> str:
    line = stream.readline()
    assert isinstance(line, str)
    return line.strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_the_node_and_the_exit_code_is_0(
    number: signal.Signals, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_program()
    assert line_of(process.stdout) == "listening on http://127.0.0.1:8888/"

    process.send_signal(number)

    assert process.communicate() == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(
    number: signal.Signals, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_program(stop="hang", margin_s=60)
    line_of(process.stdout)

    process.send_signal(signal.SIGTERM)
    assert line_of(process.stderr) == "hanging"
    process.send_signal(number)

    assert process.wait() == 128 + number


@pytest.mark.parametrize(("stop", "word"), [("hang", "hanging"), ("block", "blocking")])
def test_a_stop_that_takes_too_long_is_cut_short(
    stop: str, word: str, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_program(stop=stop)
    line_of(process.stdout)

    process.send_signal(signal.SIGTERM)

    assert line_of(process.stderr) == word
    assert line_of(process.stderr) == "the stop took longer than 0.2 s and was cut short"
    assert process.wait() == 0


def test_what_is_deaf_to_its_cancellation_does_not_keep_the_process(
    start_program: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start_program(stop="swallow")
    line_of(process.stdout)

    process.send_signal(signal.SIGTERM)

    assert line_of(process.stderr) == "deaf"
    assert line_of(process.stderr).startswith("stopped, but something goes on, such as a feed that is deaf")
    assert process.wait() == 0


def test_the_deadline_is_that_of_the_clients_and_some_and_leaves_a_margin_to_five_seconds() -> None:
    assert node.FEED_STOP_S < signals.STOP_MARGIN_S
    assert Settings("stub").drain_s + signals.STOP_MARGIN_S <= 4.7
    assert signals.AFTER_STOP_S + 0.5 < 5


def test_ctrl_c_while_the_modules_are_imported_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("print('importing', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "ticker", "--feed", "simulated"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert line_of(process.stdout) == "importing"
            process.send_signal(signal.SIGINT)
            output = process.communicate()
        finally:
            process.kill()

    assert output == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize(("start", "word"), [("hang", "hanging"), ("block", "blocking")])
def test_a_signal_while_the_feed_is_prepared_ends_the_process_too(
    start: str, word: str, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_program(start=start)
    assert line_of(process.stderr) == word

    process.send_signal(signal.SIGINT)

    cut = "the stop took longer than 0.2 s and was cut short\n" if start == "block" else ""
    assert process.communicate() == ("", cut)
    assert process.returncode == 0


def test_the_server_runs_on_when_nobody_reads_its_stdout(start_program: Callable[..., subprocess.Popen[str]]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    process = start_program(start="report", stdout=writable)
    os.close(writable)
    assert line_of(process.stderr) == "listening"

    process.send_signal(signal.SIGTERM)

    assert process.communicate()[1] == ""
    assert process.returncode == 0


@pytest.mark.parametrize("start", ["report", "prepare"])
def test_a_hangup_lets_the_node_read_its_files_anew_even_one_that_came_before_it_listened(
    start: str, start_program: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start_program(start=start, token_file="tokens.toml")
    if start == "report":
        assert line_of(process.stderr) == "listening"
        process.send_signal(signal.SIGHUP)

    assert line_of(process.stderr) == "reread"

    process.send_signal(signal.SIGTERM)
    assert process.communicate()[1] == ""
    assert process.returncode == 0


def test_a_hangup_ends_a_server_that_has_no_files_to_read_anew(
    start_program: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start_program()
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGHUP)

    assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_a_hangup_does_not_end_a_server_that_was_started_with_nohup(
    start_program: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start_program(start="report", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert line_of(process.stderr) == "listening"

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)

    assert process.wait(5) == 0
    assert process.communicate()[1] == ""


def test_an_error_of_another_kind_shows_its_traceback(start_program: Callable[..., subprocess.Popen[str]]) -> None:
    process = start_program(start="fail")

    output, log = process.communicate()

    assert (process.returncode, output) == (1, "")
    assert log.startswith("Traceback")
    assert log.endswith("RuntimeError: a bug\n")
