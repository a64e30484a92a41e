"""Settings and their ranges; options and the environment that stands in for them."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ticker import plugins
from ticker.config import Environment, Parser, Settings, UsageError, add_options, raise_file_limit, variable_of

README = Path(__file__).resolve().parent.parent / "README.md"

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8888,
    "flush_ms": 50,
    "history_mib": 256,
    "history_s": 3600,
    "bars_mib": 128,
    "outbox_mib": 16,
    "backlog_mib": 64,
    "stall_s": 30,
    "heartbeat_s": 10,
    "alpaca_key": "",
    "alpaca_plan": "none",
    "token_file": "",
    "no_auth": False,
    "jwt_key": "",
    "jwt_algorithm": "",
    "jwt_audience": "tickercast",
    "auth_s": 10,
    "allow_origin": "",
    "allow_host": "",
    "tls_cert": "",
    "tls_key": "",
    "trusted_proxy": "",
    "max_connections": 100_000,
    "max_connections_per_address": 20_000,
    "max_connections_per_principal": 1000,
    "max_channels": 100_000,
    "max_commands_per_s": 50,
    "max_message_kib": 256,
    "max_header_kib": 16,
    "drain_s": 3,
    "journal": "",
    "journal_mib": 1024,
    "journal_fsync_s": 1,
    "log_format": "text",
    "log_level": "info",
}


def parser_of_a_feed() -> Parser:
    """Return a parser of the server's options and of all sorts that a feed may add."""
    parser = Parser()
    parser.add_argument("--feed", default="simulated")
    add_options(parser.add_argument_group())
    group = parser.add_argument_group()
    group.add_argument("files", metavar="FILE", nargs="+")
    group.add_argument("--speed", default="1")
    group.add_argument("--rounds", type=int, default=1)
    group.add_argument("--share", type=float, default=0.5)
    group.add_argument("--loop", action="store_true")
    group.add_argument("--scan", action=argparse.BooleanOptionalAction, default=True)
    group.add_argument("--on-bad-row", choices=["stop", "skip"], default="stop")
    group.add_argument("--token", action="append")
    group.add_argument("--span", nargs=2)
    return parser


def parse(*arguments: str, **environment: str) -> argparse.Namespace:
    parser = parser_of_a_feed()
    Environment(environment).apply(parser, arguments)
    return parser.parse_everything(arguments)


def refusal(*arguments: str, **environment: str) -> str:
    with pytest.raises(UsageError) as error:
        parse(*arguments, **environment)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_settings_have_defaults() -> None:
    assert dataclasses.asdict(Settings("simulated")) == {"feed": "simulated", **DEFAULTS, "tokens": ()}


@pytest.mark.parametrize("feed", ["simulated", "csv"])
def test_the_readme_has_a_row_for_every_option_with_its_variable_and_default(feed: str) -> None:
    table = re.findall(
        r"^\| `(--[a-z-]+|FILE)[^|]* \| ?(.*) \| `(TICKER_[A-Z_]+)` \|", README.read_text(), re.MULTILINE
    )
    rows = {option: (default, variable) for option, default, variable in table}
    parser = Parser()
    add_options(parser.add_argument_group())
    plugins.load(feed).options(parser.add_argument_group())

    for action in parser._actions:
        default, variable = rows[action.option_strings[0] if action.option_strings else str(action.metavar)]
        assert variable == variable_of(action)
        if isinstance(action.default, int | float) and action.default is not False:
            assert default == f"{action.default:g}"
        elif action.default:
            assert default == action.default


def test_options_without_arguments_are_the_default_settings() -> None:
    assert Settings.from_options(parse("a.csv")) == Settings("simulated")


def test_every_setting_has_an_option_and_a_variable() -> None:
    texts = {
        "host": "::1",
        "alpaca_key": "K:S,K2:a:b",
        "alpaca_plan": "free",
        "log_level": "debug",
        "log_format": "json",
        "token_file": "tokens.toml",
        "no_auth": True,
        "jwt_key": "key.pem",
        "jwt_algorithm": "ES256",
        "jwt_audience": "quotes",
        "allow_origin": "https://a.example,http://b.example:8080",
        "allow_host": "a.example,b.example",
        "tls_cert": "cert.pem",
        "tls_key": "key.pem",
        "trusted_proxy": "127.0.0.1,10.0.0.0/8,::1",
        "journal": "rows",
    }
    whole = {name: 9 for name, default in DEFAULTS.items() if type(default) is int and name.startswith("max_")}
    given: dict[str, Any] = dict.fromkeys(DEFAULTS, 7.5) | {"port": 1} | whole | texts

    options = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items()]
    variables = {f"TICKER_{name.upper()}": str(value) for name, value in given.items()}

    assert Settings.from_options(parse("a.csv", *options)) == Settings("simulated", **given)
    assert Settings.from_options(parse("a.csv", **variables)) == Settings("simulated", **given)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("port", [0, 65535]),
        ("flush_ms", [0, 0.5, 10_000]),
        ("history_mib", [0, 0.1, 64]),
        ("history_s", [0, 86_400]),
        ("bars_mib", [0, 32]),
        ("outbox_mib", [1, 2.5]),
        ("backlog_mib", [1, 2.5, 4096]),
        ("stall_s", [0.1, 86_400]),
        ("heartbeat_s", [0.1, 3600]),
        ("log_level", ["debug", "info", "warning", "error"]),
        ("host", ["localhost", "::", "0.0.0.0"]),
        ("alpaca_key", ["", "PK:abc", "PK:a:b", "PK:abc,oauth:token"]),
        ("alpaca_plan", ["none", "free"]),
    ],
)
def test_values_in_range_are_taken(name: str, right: list[Any]) -> None:
    option = f"--{name.replace('_', '-')}"

    for value in right:
        assert getattr(Settings("simulated", **{name: value}), name) == value
        assert getattr(parse("a.csv", option, str(value)), name) == value


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("port", [-1, 65536, 1.5, True, "80"], "expected a whole number between 0 and 65,535"),
        ("flush_ms", [-1, 10_001, float("nan"), None], "expected a number between 0 and 10,000"),
        ("history_mib", [-0.1, float("inf")], "expected a number between 0 and 1,048,576"),
        ("history_s", [-1], "expected a number between 0 and 31,536,000"),
        ("bars_mib", [-1], "expected a number between 0 and 1,048,576"),
        ("outbox_mib", [0.5, 0], "expected a number between 1 and 4,096"),
        ("backlog_mib", [0.5, 0], "expected a number between 1 and 1,048,576"),
        ("stall_s", [0, float("nan")], "expected a number between 0.1 and 86,400"),
        ("heartbeat_s", [0], "expected a number between 0.1 and 3,600"),
        ("log_level", ["INFO", "loud"], "expected one of debug, info, warning, error"),
        ("host", ["", " "], "expected a name or an address"),
        ("allow_host", ["a.example:443", "https://a.example", "a b", "[::1]", "*", "*.", ","], "expected NAME"),
        ("allow_origin", ["a.example", "null", "*", "https://a.example/", "https://u@a.example"], "expected ORIGIN"),
        ("trusted_proxy", ["proxy.example", "10.0.0.0/", "10.0.0.0/8;10.1.1.1"], "expected ADDRESS"),
    ],
)
def test_values_out_of_range_are_refused_with_what_would_be_right(name: str, wrong: list[Any], expected: str) -> None:
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name}: {expected}.*, got {re.escape(repr(value))}$"):
            Settings("simulated", **{name: value})


@pytest.mark.parametrize("text", ["abc", "", "1e999", "0x10", "10 ms"])
def test_an_option_that_is_no_number_is_refused_with_what_would_be_right(text: str) -> None:
    assert refusal("a.csv", f"--flush-ms={text}") == f"--flush-ms: expected a number between 0 and 10,000, got {text!r}"


def test_a_whole_number_stays_one() -> None:
    assert repr(parse("a.csv", "--history-mib", "64").history_mib) == "64"
    assert repr(parse("a.csv", "--history-mib", "0.5").history_mib) == "0.5"


def test_abbreviations_are_off() -> None:
    assert refusal("a.csv", "--flush", "10") == "--flush is no option here; did you mean --flush-ms?"


def test_an_unknown_option_gets_a_guess_where_there_is_one() -> None:
    assert refusal("a.csv", "--prot=80") == "--prot is no option here; did you mean --port?"
    assert refusal("a.csv", "--quux") == "--quux is no option here; --help tells which there are"


def test_files_and_options_may_stand_in_any_order() -> None:
    args = parse("a.csv", "--loop", "b.csv", "--speed", "10", "c.csv")

    assert (args.files, args.loop, args.speed) == (["a.csv", "b.csv", "c.csv"], True, "10")


def test_missing_files_are_asked_for() -> None:
    assert refusal() == "the following arguments are required: FILE"


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("TICKER_SPEED", "max", "speed", "max"),
        ("TICKER_ROUNDS", "3", "rounds", 3),
        ("TICKER_SHARE", "0.25", "share", 0.25),
        ("TICKER_LOOP", "1", "loop", True),
        ("TICKER_LOOP", "yes", "loop", True),
        ("TICKER_LOOP", "0", "loop", False),
        ("TICKER_SCAN", "off", "scan", False),
        ("TICKER_SCAN", "TRUE", "scan", True),
        ("TICKER_ON_BAD_ROW", "skip", "on_bad_row", "skip"),
        ("TICKER_TOKEN", "a", "token", ["a"]),
        ("TICKER_SPAN", f"1{os.pathsep}2", "span", ["1", "2"]),
        ("TICKER_SPEED", "-1", "speed", "-1"),
        ("TICKER_SPEED", "", "speed", "1"),
    ],
)
def test_any_option_of_a_feed_may_be_a_variable(variable: str, value: str, name: str, expected: Any) -> None:
    assert getattr(parse("a.csv", **{variable: value}), name) == expected


def test_files_may_be_a_variable() -> None:
    variable = {"TICKER_FILES": os.pathsep.join(["a.csv", "b c.csv"])}

    assert parse(**variable).files == ["a.csv", "b c.csv"]
    assert parse("c.csv", **variable).files == ["c.csv"]


def test_the_command_line_beats_the_environment() -> None:
    args = parse(
        "a.csv", "--port=1", "--speed", "2", "--no-scan", "--token", "b",
        TICKER_PORT="2", TICKER_SPEED="3", TICKER_SCAN="1", TICKER_TOKEN="a",
    )  # fmt: skip

    assert (args.port, args.speed, args.scan, args.token) == (1, "2", False, ["b"])


def test_a_variable_that_the_command_line_beats_is_not_even_read() -> None:
    assert parse("a.csv", "--port=1", TICKER_PORT="tcp://10.0.0.1:80").port == 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TICKER_PORT", "tcp://10.0.0.1:80", "expected a whole number between 0 and 65,535, got 'tcp://10.0.0.1:80'"),
        ("TICKER_LOG_LEVEL", "loud", "expected one of debug, info, warning, error, got 'loud'"),
        ("TICKER_ROUNDS", "many", "expected a whole number, got 'many'"),
        ("TICKER_SHARE", "half", "expected a number, got 'half'"),
        ("TICKER_LOOP", "maybe", "expected 1 or 0, got 'maybe'"),
        ("TICKER_SPAN", "1", "expected 2 arguments"),
    ],
)
def test_a_bad_variable_is_told_by_its_name(variable: str, value: str, message: str) -> None:
    assert refusal("a.csv", **{variable: value}) == f"{variable}: {message}"


def test_a_bad_choice_names_the_good_ones() -> None:
    message = refusal("a.csv", TICKER_ON_BAD_ROW="ignore")

    assert message.startswith("TICKER_ON_BAD_ROW: invalid choice: 'ignore' (choose from ")
    assert "skip" in message


def test_what_a_feed_says_of_an_option_is_said_of_the_variable_that_it_came_from() -> None:
    environment = Environment({"TICKER_SPEED": "-1"})
    environment.apply(parser_of_a_feed(), ["a.csv"])

    assert environment.renamed("--speed: expected more", ["a.csv"]) == "TICKER_SPEED: expected more"
    assert environment.renamed("--speedy: expected more", ["a.csv"]) == "--speedy: expected more"
    assert environment.renamed("--speed: expected more", ["--speed=-1"]) == "--speed: expected more"
    assert environment.renamed("--share: expected more", ["a.csv"]) == "--share: expected more"


def test_variables_that_no_option_was_found_for_are_known() -> None:
    environment = Environment({"TICKER_PROT": "1", "TICKER_PORT": "1", "TICKER_HELP": "1", "TICKERS": "1", "PATH": "/"})
    environment.apply(parser_of_a_feed(), [])

    assert environment.unused == ["TICKER_HELP", "TICKER_PROT"]


def test_the_file_limit_is_raised_to_the_hard_limit() -> None:
    # In a process of its own: this one keeps its limits.
    program = (
        "import resource as r; from ticker.config import raise_file_limit; r.setrlimit(r.RLIMIT_NOFILE, (64, 512)); "
        "print(raise_file_limit(), r.getrlimit(r.RLIMIT_NOFILE))"
    )

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert output == "512 (512, 512)\n"


def test_a_hard_limit_that_cannot_be_had_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def refuse_infinity(which: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        if limits[0] == resource.RLIM_INFINITY:
            raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse_infinity)

    assert raise_file_limit() == 10_240
    assert asked == [(resource.RLIM_INFINITY, resource.RLIM_INFINITY), (10_240, resource.RLIM_INFINITY)]


def test_a_machine_without_such_limits_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)

    assert raise_file_limit() is None
