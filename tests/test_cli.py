"""The command line as its users meet it: what is printed where, and exit codes. (Signals: see test_signals.py.)"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import websocket_connect

from feeds.simulated import SimulatedFeed
from ticker import __version__, cli, plugins
from ticker.clock import Clock, SystemClock
from ticker.config import Settings
from ticker.feed import FatalFeedError, Feed

ROOT = Path(__file__).resolve().parent.parent

Refuse = Callable[..., str]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("TICKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(cli, "raise_file_limit", lambda: None)


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Return `refuse(*arguments)`, which asserts exit code 2 and returns the one line on stderr."""

    def run(*arguments: str) -> str:
        code = cli.main(arguments)
        output = capsys.readouterr()
        assert (code, output.out) == (2, "")
        assert re.fullmatch(r"[^\n]+\n", output.err)
        return output.err.strip()

    return run


# What is printed, and no server


def test_without_a_feed_one_line_tells_which_there_are(refuse: Refuse) -> None:
    names = ", ".join(plugins.names())

    assert refuse() == f"--feed: expected a feed's name, one of {names}; --help tells more"
    assert refuse("--port", "0") == f"--feed: expected a feed's name, one of {names}; --help tells more"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "80000"], "--port: expected a whole number between 0 and 65,535, got '80000'"),
        (["--port"], "--port: expected one argument"),
        (["--flush-ms", "fast"], "--flush-ms: expected a number between 0 and 10,000, got 'fast'"),
        (["--log-level", "loud"], "--log-level: expected one of debug, info, warning, error, got 'loud'"),
        (["--rat", "1"], "--rat is no option here; did you mean --rate?"),
        (["trades.csv"], "'trades.csv' belongs to no option; --help tells which there are"),
        (["--rate", "fast"], "--rate: expected a number above 0, at most 10,000,000, got fast"),
        (["--symbols", "A B"], "--symbols: expected symbols such as AAPL,MSFT or a number of them, got 'A B'"),
    ],
)
def test_a_bad_option_is_one_line_that_says_what_would_be_right(
    arguments: list[str], line: str, refuse: Refuse
) -> None:
    assert refuse("--feed", "simulated", *arguments) == line


def test_an_unknown_feed_is_one_line(refuse: Refuse) -> None:
    assert refuse("--feed", "simulatd").startswith("--feed: feed 'simulatd' is unknown: did you mean simulated?")
    assert refuse("--feed", "simulatd", "--help").startswith("--feed: feed 'simulatd' is unknown")


def test_a_bad_variable_is_told_by_its_name(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKER_FEED", "simulatd")
    assert refuse().startswith("TICKER_FEED: feed 'simulatd' is unknown")

    monkeypatch.setenv("TICKER_FEED", "simulated")
    monkeypatch.setenv("TICKER_RATE", "fast")
    assert refuse() == "TICKER_RATE: expected a number above 0, at most 10,000,000, got fast"
    assert refuse("--rate=slow") == "--rate: expected a number above 0, at most 10,000,000, got slow"

    monkeypatch.setenv("TICKER_PORT", "web")
    assert refuse() == "TICKER_PORT: expected a whole number between 0 and 65,535, got 'web'"


def test_other_machines_are_not_let_in_by_accident(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "0.0.0.0 can be reached from other machines, and nobody is asked for a token: set --token-file, TICKER_TOKENS"
        " or --jwt-key, or let everyone read everything with --no-auth"
    )
    assert refuse("--feed", "simulated", "--host", "0.0.0.0") == f"--host: {line}"
    assert refuse("--feed", "simulated", "--host=0.0.0.0", "--alpaca-key", "KEY:SECRET") == f"--host: {line}"
    monkeypatch.setenv("TICKER_HOST", "0.0.0.0")
    assert refuse("--feed", "simulated") == f"TICKER_HOST: {line}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--token-file", "/no/such/file"], "--token-file: /no/such/file: No such file or directory"),
        (
            ["--jwt-key", "/dev/null"],
            "--jwt-key: say with --jwt-algorithm which one of HS256, RS256 and ES256 is right",
        ),
        (
            ["--jwt-key", "/dev/null", "--jwt-algorithm", "HS256"],
            "--jwt-key: /dev/null: a secret of HS256 has at least",
        ),
        (["--jwt-algorithm", "HS256"], "--jwt-algorithm: there is no key to use it with"),
        (["--jwt-algorithm", "none"], "--jwt-algorithm: expected one of HS256, RS256, ES256, got 'none'"),
    ],
)
def test_tokens_and_keys_that_are_no_good_are_told_at_the_start(
    arguments: list[str], line: str, refuse: Refuse
) -> None:
    assert refuse("--feed", "simulated", *arguments).startswith(line)


def test_tokens_of_the_environment_are_checked_at_the_start_and_taken_out_of_it(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKER_TOKENS", "bot:short")
    assert refuse("--feed", "simulated").startswith("TICKER_TOKENS: token 1 of 1: a token has at least 16 characters")
    assert "TICKER_TOKENS" not in os.environ

    monkeypatch.setenv("TICKER_TOKENS", "bot:0123456789abcdef")
    assert refuse("--feed", "simulated", "--no-auth").startswith("--no-auth: contradicts TICKER_TOKENS")


def test_help_tells_of_the_feeds_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    without = capsys.readouterr().out
    assert cli.main(["--feed", "simulated", "--help"]) == 0
    page = capsys.readouterr().out

    assert "--seed" not in without
    for words in ("http://127.0.0.1:8888/", "--seed", "--history-mib", SimulatedFeed.summary, "(default: 8888)"):
        assert words in page
    assert max(map(len, page.splitlines())) <= 120


def test_help_is_to_be_had_whatever_the_environment_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKER_PORT", "web")

    assert cli.main(["--help"]) == 0
    assert "--port" in capsys.readouterr().out


def test_help_keeps_names_with_hyphens_in_one_piece(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--feed", "csv", "--help"]) == 0

    assert not re.search(r"[a-z]-\n", capsys.readouterr().out)


def test_help_is_to_be_had_in_any_encoding() -> None:
    command = [sys.executable, "-m", "ticker", "--feed", "csv", "--help"]

    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True)

    assert run.returncode == 0
    assert b"FILE \\u2026 [options]" in run.stdout


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"tickercast {__version__}\n"


def test_feeds_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = [plugins.Installed("bad", "", "feed 'bad' cannot be imported"), plugins.Installed("simulated", "A market")]
    monkeypatch.setattr(plugins, "installed", lambda: feeds)

    assert cli.main(["--list-feeds"]) == 0
    assert capsys.readouterr().out == "bad        unusable: cannot be imported\nsimulated  A market\n"


def test_a_feed_with_an_option_of_the_servers_is_told_so(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = """
    from ticker.feed import Feed

    class Greedy(Feed):
        @classmethod
        def options(cls, parser):
            parser.add_argument("--port")
    """
    tmp_path.joinpath("greedy_feed.py").write_text(textwrap.dedent(feed))
    monkeypatch.syspath_prepend(tmp_path)

    line = refuse("--feed", "greedy_feed:Greedy")

    assert line.startswith("--feed: greedy_feed:Greedy has an option of the server's name: argument --port")


def test_the_module_runs_as_a_program_and_ends_with_the_exit_code() -> None:
    run = subprocess.run([sys.executable, "-m", "ticker", "--feed"], cwd=ROOT, capture_output=True, text=True)

    assert (run.returncode, run.stdout, run.stderr) == (2, "", "--feed: expected one argument\n")


def test_stdout_that_is_closed_is_no_error() -> None:
    command = ["sh", "-c", '"$0" -m ticker --feed simulated --help >&-', sys.executable]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (run.returncode, run.stderr) == (0, "")


def test_a_reader_that_went_away_is_no_error() -> None:
    readable, writable = os.pipe()
    os.close(readable)

    run = subprocess.run(
        [sys.executable, "-m", "ticker", "--help"], cwd=ROOT, stdout=writable, stderr=subprocess.PIPE, text=True
    )
    os.close(writable)

    assert (run.returncode, run.stderr) == (0, "")


# A node that cannot start


class Stub:
    """A node whose start fails."""

    error: Exception

    def __init__(self, settings: Settings, feed: Feed, clock: Clock) -> None:
        pass

    async def start(self) -> str:
        raise self.error

    async def stop(self) -> None:
        pass


@pytest.fixture
def serve_failing(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return `serve(error, **settings)`: exit code and stderr when the node's start raises `error`."""

    def serve(error: Exception, **settings: Any) -> tuple[int, str]:
        failing = type("Failing", (Stub,), {"error": error})
        code = cli.serve(Settings("stub", **settings), Feed(), SystemClock(), failing)
        output = capsys.readouterr()
        assert not output.out
        return code, output.err

    return serve


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.EADDRINUSE, "port 8888 of 127.0.0.1 is in use; choose another with --port"),
        (errno.EACCES, "port 8888 of 127.0.0.1 is not permitted to this user; choose one above 1023 with --port"),
        (errno.EADDRNOTAVAIL, "host 127.0.0.1 is no address of this machine; choose another with --host"),
    ],
)
def test_an_address_that_cannot_be_had_is_one_line(
    number: int, line: str, serve_failing: Callable[..., tuple[int, str]]
) -> None:
    assert serve_failing(OSError(number, os.strerror(number))) == (1, line + "\n")


def test_an_unknown_host_is_told_before_the_feed_is_prepared(
    serve_failing: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert serve_failing(AssertionError("was started"), host="nowhere.invalid") == (
        1,
        "host nowhere.invalid is unknown (Name or service not known); choose another with --host\n",
    )


def test_a_feed_that_cannot_be_prepared_is_one_line(serve_failing: Callable[..., tuple[int, str]]) -> None:
    error = FatalFeedError("trades.csv, line 7: price is 'x',\nexpected a number")

    assert serve_failing(error) == (1, "trades.csv, line 7: price is 'x', expected a number\n")


def test_signals_are_as_before_when_the_node_could_not_start(serve_failing: Callable[..., tuple[int, str]]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    serve_failing(FatalFeedError("no"))

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# The real server


def test_the_first_line_says_where_it_listens_and_the_log_goes_to_stderr(start_server: Callable[..., Any]) -> None:
    server = start_server("--feed", "simulated", "--seed", "7", TICKER_SYMBOLS="AAPL", TICKER_PROT="1")

    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]*/", server.url)
    assert "simulating 1 symbols at 200 trades a second, --seed 7" in server.log
    assert "no options of --feed simulated, ignored: TICKER_PROT" in server.log
    assert re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{3} (INFO|WARNING) +[a-z._]+: ", server.log)
    assert server.stop(signal.SIGINT) == 0
    assert server.process.stdout.read() == ""
    assert "Traceback" not in server.log


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "ticker", "--feed", "simulated", "--port", str(port), "--log-level", "error"]

        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"port {port} of 127.0.0.1 is in use; choose another with --port\n"


def test_an_ipv6_host_stands_in_brackets(start_server: Callable[..., Any]) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        command = [sys.executable, "-m", "ticker", "--feed", "simulated", "--host", "::1", "--log-level", "error"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (
            1, "host ::1 is no address of this machine; choose another with --host\n"
        )  # fmt: skip
        return

    server = start_server("--feed", "simulated", "--host", "::1")

    assert re.fullmatch(r"http://\[::1\]:[1-9][0-9]*/", server.url)


def readme_section(heading: str) -> str:
    """Return what the README has under a heading, down to the next of the same or a higher level."""
    readme = (ROOT / "README.md").read_text()
    match = re.search(rf"^(#+) {heading}\n(.*?)(?=^#{{1,2}} |\Z)", readme, re.MULTILINE | re.DOTALL)
    assert match, f"README.md has no heading {heading!r}"
    return match[2]


async def test_the_readmes_feed_in_ten_lines_runs(start_server: Callable[..., Any], tmp_path: Path) -> None:
    section = readme_section("A feed in ten lines")
    source = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert source is not None
    command = re.search(r"python -m ticker (--feed (\w+):\w+)$", section, re.MULTILINE)
    assert command is not None
    lines = [line for line in source[1].splitlines() if line.strip()]
    assert len(lines) == 10
    tmp_path.joinpath(f"{command[2]}.py").write_text(source[1])

    server = start_server(*command[1].split(), PYTHONPATH=str(tmp_path))

    stream = await websocket_connect(server.stream_url + "?format=json")
    await stream.write_message(json.dumps({"op": "subscribe", "symbols": ["*"]}))
    async with asyncio.timeout(10):
        while (message := json.loads(str(await stream.read_message())))["type"] != "trades":
            pass
    stream.close()
    assert message["symbol"] in source[1]
    assert message["price"]
