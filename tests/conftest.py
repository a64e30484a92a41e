"""What every test has: a loop that loses no exception, a log whose errors are failures, the server as a process."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tornado.ioloop import IOLoop

ROOT = Path(__file__).resolve().parent.parent
START_S = 20.0
STOP_S = 5.0

# Shared machines make single examples slow now and then; slowness is what benchmarks/ is for.
hypothesis.settings.register_profile("tickercast", deadline=None, print_blob=True)
hypothesis.settings.register_profile("same", hypothesis.settings.get_profile("tickercast"), derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tickercast"))


# What is ignored is inherited: started with nohup or in the background of a script, servers would be deaf to these.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_itemcollected(item: Any) -> None:
    """Give every `async def` test the `io_loop`, asked for or not: pytest-tornasync would take a deprecated default."""
    if inspect.iscoroutinefunction(getattr(item, "obj", None)) and "io_loop" not in item.fixturenames:
        item.fixturenames.insert(0, "io_loop")


def pytest_collection_finish() -> None:
    """Put the imported modules out of the garbage collector's sight: `io_loop` collects after each test."""
    gc.collect()
    gc.freeze()


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def errors() -> Iterator[list[logging.LogRecord]]:
    """Return the records of level ERROR and above that this test caused so far, newest last.

    A test that provokes errors asserts what they say and clears the list; what stays in it is a failure.
    """
    handler = _Errors()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler.records
    root.removeHandler(handler)


@pytest.fixture
def failures_are_expected(errors: list[logging.LogRecord]) -> Iterator[None]:
    """See that the test has provoked errors, whatever they say."""
    yield
    assert errors
    errors.clear()


@pytest.fixture(autouse=True)
def _no_unexpected_errors(errors: list[logging.LogRecord]) -> Iterator[None]:
    yield
    if errors:
        format_record = logging.Formatter("%(name)s: %(message)s").format
        pytest.fail("errors were logged:\n" + "\n".join(map(format_record, errors)), pytrace=False)


@pytest.fixture
def io_loop(_no_unexpected_errors: None) -> Iterator[IOLoop]:
    """Return the test's event loop; pytest-tornasync runs `async def` tests on it, `run_sync` what a fixture awaits.

    Tasks that still run when the test ends are cancelled and awaited. An exception that nobody saw, in a task or a
    callback, is logged by asyncio or Tornado once its task is collected, and so fails the test that lost it.
    """
    loop = IOLoop(make_current=False)
    yield loop
    loop.run_sync(_cancel_what_still_runs, timeout=10)
    gc.collect()
    loop.close(all_fds=True)


async def _cancel_what_still_runs() -> None:
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
    await asyncio.sleep(0)
    await asyncio.get_running_loop().shutdown_asyncgens()


class ServerProcess:
    """A server started as users start it, `python -m ticker …`, on a free port of 127.0.0.1.

    `url` ends with a slash, `stream_url` is the WebSocket's. `process` is the plain `subprocess.Popen`.
    """

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process; closed by `close`)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ticker", "--port", "0", *arguments],
            cwd=ROOT,
            env=clean | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self.url = ""

    @property
    def stream_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "stream"

    def wait_until_it_listens(self) -> None:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if readable else ""
        if not line.startswith(("listening on http://", "listening on https://")):
            self.process.kill()
            pytest.fail(f"the server did not start: {line!r}\n{self.log}", pytrace=False)
        self.url = line.removeprefix("listening on ").strip()

    @property
    def log(self) -> str:
        """What it wrote to stderr so far."""
        # The descriptor's offset is shared with the process: read without moving it.
        return os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal unless it ended already; return its exit code. More than five seconds is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"the server did not end within {STOP_S} s\n{self.log}", pytrace=False)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@pytest.fixture
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Return `start(*arguments, **environment)`, which returns a ServerProcess that listens already.

    Those that still run at the test's end get SIGTERM and must end in time with exit code 0.
    """
    with ExitStack() as stack:
        running: list[ServerProcess] = []

        def start(*arguments: str, **environment: str) -> ServerProcess:
            server = ServerProcess(arguments, environment)
            stack.callback(server.close)
            server.wait_until_it_listens()
            running.append(server)
            return server

        yield start
        for server in running:
            if server.process.poll() is None:
                code = server.stop()
                assert code == 0, f"exit code {code}\n{server.log}"


@pytest.fixture(scope="session")
def chromium_path() -> str | None:
    """Return the machine's Chromium for Playwright's `executable_path`; None lets Playwright use its own download.

    Each is asked for its version, as in `.ci/setup`: Ubuntu's chromium-browser is a script that only points at a snap.
    """
    names = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
    for path in filter(None, map(shutil.which, names)):
        if subprocess.run([path, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return path
    return None


@pytest.fixture
def until() -> Callable[..., Any]:
    """Return `await until(condition)`: wait for a state that no event announces, for half a minute at most."""

    async def wait(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"still false after {timeout_s} s: {inspect.getsource(condition).strip()}"
            )
            await asyncio.sleep(0.005)

    return wait
