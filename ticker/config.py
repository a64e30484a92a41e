"""The settings of a server: what they are, which values are right, how options and environment are read."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ticker.access.tokens import Entry

ENVIRONMENT_PREFIX = "TICKER_"
LOG_LEVELS = ("debug", "info", "warning", "error")
_NO_SETTINGS = ("help", "version", "list_feeds")
_NAME = r"(\*\.)?[\w-]+(\.[\w-]+)*\.?|[0-9a-fA-F]*:[0-9a-fA-F:.]+"
_ORIGIN = r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class UsageError(Exception):
    """The server was started in a way that cannot be; the message is one line that says what would be right."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a setting is for, and which values are right."""

    help: str
    metavar: str = "N"
    least: float = 0
    most: float = math.inf
    whole: bool = False
    words: tuple[str, ...] = ()
    pattern: str = ""
    flag: bool = False
    optional: bool = False

    @property
    def expected(self) -> str:
        if self.flag:
            return "expected True or False"
        if self.pattern:
            return f"expected {self.metavar}, several with commas between"
        if self.words:
            return f"expected one of {', '.join(filter(None, self.words))}"
        if self.metavar != "N":
            return "expected a name or an address"
        return f"expected a {'whole ' if self.whole else ''}number between {self.least:,} and {self.most:,}"

    def allows(self, value: object) -> bool:
        if self.flag:
            return isinstance(value, bool)
        if self.pattern:
            return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None
        if self.words:
            return value in self.words
        if self.metavar != "N":
            return isinstance(value, str) and (bool(value.strip()) or (self.optional and not value))
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.least <= value <= self.most

    def parse(self, text: str) -> Any:
        """Return the value that `text` stands for. Raises argparse.ArgumentTypeError."""
        value: object = text
        if self.metavar == "N":
            value = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else _float(text)
        if not self.allows(value):
            raise argparse.ArgumentTypeError(f"{self.expected}, got {text!r}")
        return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _setting(default: Any, help: str, **rule: Any) -> Any:
    return dataclasses.field(default=default, metadata={"rule": _Rule(help, optional=default == "", **rule)})


@dataclass(frozen=True, slots=True)
class Settings:
    """What the person who starts the server decides. Raises ValueError, naming the setting and what would be right."""

    feed: str
    """A feed's name, or `package.module:Class`."""
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 is every one of this machine", metavar="HOST")
    port: int = _setting(8888, "port to listen on; 0 takes a free one", most=65535, whole=True)
    flush_ms: float = _setting(50, "batching window: how long ticks are collected; 0 sends each at once", most=10_000)
    history_mib: float = _setting(256, "memory for rows that clients can resume from", most=1 << 20)
    history_s: float = _setting(3600, "for how long these are kept", most=31_536_000)
    bars_mib: float = _setting(128, "memory for bars that clients can ask for", most=1 << 20)
    outbox_mib: float = _setting(16, "what may wait for a client in mode all; beyond it is closed", least=1, most=4096)
    backlog_mib: float = _setting(
        64, "what may be kept, once, for all who are behind; then those who lack most are closed", least=1, most=1 << 20
    )
    stall_s: float = _setting(30, "a feed that is silent for so long is reported as stalled", least=0.1, most=86_400)
    heartbeat_s: float = _setting(
        10, "a client that was sent nothing for so long gets a heartbeat", least=0.1, most=3600
    )
    alpaca_key: str = _setting(
        "",
        "credentials that Alpaca clients need; without any, all are right for those on this machine",
        metavar="KEY:SECRET",
        pattern=r"([^\s:,]+:[^\s,]+(,[^\s:,]+:[^\s,]+)*)?",
    )
    alpaca_plan: str = _setting(
        "none",
        "the vendor's limits for Alpaca clients; free is one connection per key and stream, and 30 symbols",
        metavar="PLAN",
        words=("none", "free"),
    )
    token_file: str = _setting(
        "", "who may connect: tokens, each with a name and what it allows (docs/operations.md)", metavar="FILE"
    )
    no_auth: bool = _setting(
        False, "let everyone who can connect read everything, on an address of other machines too", flag=True
    )
    jwt_key: str = _setting(
        "", "key that JSON web tokens are checked with: a secret, a public key (PEM) or a JWKS", metavar="FILE"
    )
    jwt_algorithm: str = _setting(
        "", "the one algorithm that is right for them", metavar="NAME", words=("", "HS256", "RS256", "ES256")
    )
    jwt_audience: str = _setting("tickercast", "the audience that they must be made for", metavar="NAME")
    auth_s: float = _setting(10, "who has not authenticated for so long is closed with 4001", least=0.1, most=3600)
    allow_origin: str = _setting(
        "",
        "origins besides our own whose pages may connect",
        metavar="ORIGIN",
        pattern=rf"({_ORIGIN}(,{_ORIGIN})*)?",
    )
    allow_host: str = _setting(
        "",
        "names besides localhost and --host that a request may be sent to; *.example.com is all below it",
        metavar="NAME",
        pattern=rf"(({_NAME})(,({_NAME}))*)?",
    )
    tls_cert: str = _setting(
        "", "certificate chain (PEM); with it the server speaks https and wss only", metavar="FILE"
    )
    tls_key: str = _setting("", "its private key (PEM), if that is in another file", metavar="FILE")
    trusted_proxy: str = _setting(
        "",
        "addresses or networks whose X-Forwarded-For and -Proto are believed",
        metavar="ADDRESS",
        pattern=r"([0-9a-fA-F.:]+(/\d+)?(,[0-9a-fA-F.:]+(/\d+)?)*)?",
    )
    max_connections: int = _setting(100_000, "connections in all", least=1, most=10_000_000, whole=True)
    max_connections_per_address: int = _setting(
        20_000, "connections from one address", least=1, most=10_000_000, whole=True
    )
    max_connections_per_principal: int = _setting(
        1000, "connections of one token, unless it says otherwise", least=1, most=10_000_000, whole=True
    )
    max_channels: int = _setting(100_000, "channels of one connection", least=1, most=10_000_000, whole=True)
    max_commands_per_s: int = _setting(50, "commands of one connection in a second", least=1, most=100_000, whole=True)
    max_message_kib: int = _setting(256, "the longest message of a client", least=4, most=65_536, whole=True)
    max_header_kib: int = _setting(16, "the longest headers of a request", least=1, most=1024, whole=True)
    drain_s: float = _setting(3, "how long a stop may take to send what is queued", most=600)
    journal: str = _setting(
        "", "directory for a journal of all rows, so that clients resume across a crash of the server", metavar="DIR"
    )
    journal_mib: float = _setting(1024, "what the journal may occupy; the oldest rows go first", least=1, most=1 << 30)
    journal_fsync_s: float = _setting(1, "how often it is forced to the disk; 0 is at each flush", most=3600)
    log_format: str = _setting("text", "how it is written", metavar="FORMAT", words=("text", "json"))
    log_level: str = _setting("info", "how much is logged to stderr", metavar="LEVEL", words=LOG_LEVELS)

    tokens: tuple[Entry, ...] = dataclasses.field(default=(), repr=False)
    """The hashes of `TICKER_TOKENS`, which is no option: everyone on a machine can read command lines."""

    def __post_init__(self) -> None:
        for name, rule in _rules().items():
            value = getattr(self, name)
            if not rule.allows(value):
                raise ValueError(f"{name}: {rule.expected}, got {value!r}")

    @property
    def rereads(self) -> bool:
        """Whether there are files that SIGHUP reads anew: certificate, tokens, keys."""
        return bool(self.tls_cert or self.token_file or self.jwt_key)

    @classmethod
    def from_options(cls, args: argparse.Namespace, tokens: tuple[Entry, ...] = ()) -> Settings:
        """Return the settings among parsed options, those of `add_options` and `feed`, and these tokens."""
        return cls(args.feed, **{name: getattr(args, name) for name in _rules()}, tokens=tokens)


def _rules() -> dict[str, _Rule]:
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(Settings) if field.metadata}


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add an option for every setting but the feed."""
    for field in dataclasses.fields(Settings):
        if field.metadata:
            rule: _Rule = field.metadata["rule"]
            if rule.flag:
                group.add_argument(option_name(field.name), action="store_true", help=rule.help)
                continue
            metavar = "|".join(filter(None, rule.words)) or rule.metavar
            group.add_argument(
                option_name(field.name),
                metavar=metavar,
                type=rule.parse,
                default=field.default,
                help=rule.help if field.default == "" else f"{rule.help} (default: %(default)s)",
            )


def option_name(setting: str) -> str:
    """Return the option of a setting: `--flush-ms` of `flush_ms`."""
    return "--" + setting.replace("_", "-")


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and raises UsageError, whose one line says what would be right."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, add_help=False, **keywords)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument ", "", message)
        message = re.sub(r"invalid int value: (.*)", r"expected a whole number, got \1", message)
        message = re.sub(r"invalid float value: (.*)", r"expected a number, got \1", message)
        raise UsageError(" ".join(message.split()))

    def parse_everything(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return all options and files, which may stand in any order. Raises UsageError."""
        args, unknown = self.parse_known_intermixed_args(arguments)
        for word in unknown:
            raise UsageError(self._stranger(word.partition("=")[0]))
        return args

    def _stranger(self, word: str) -> str:
        known = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(word, known, 1)
        guess = f"; did you mean {close[0]}?" if close else "; --help tells which there are"
        return f"{word} is no option here{guess}" if word.startswith("-") else f"{word!r} belongs to no option{guess}"


class Environment:
    """The environment's variables `TICKER_…` as defaults of a parser's options, whosever they are.

    `--flush-ms` is `TICKER_FLUSH_MS`, an option without a value takes 1 or 0, and several values (such as the
    positional FILEs, `TICKER_FILES`) stand with `os.pathsep` between them. A variable that is empty is as good as none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values = {
            name: value for name, value in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and value.strip()
        }
        self._used: dict[str, str] = {}

    def apply(self, parser: Parser, arguments: Sequence[str]) -> None:
        """Make each variable its option's default, unless that is among `arguments`. Raises UsageError naming it."""
        for action in parser._actions:
            name = variable_of(action)
            if action.dest in _NO_SETTINGS or name not in self._values:
                continue
            self._used[name] = max(action.option_strings, key=len, default=action.dest)
            if not _is_among(action, arguments):
                action.default = self._read(action, name)
                action.required = False

    def take_secret(self, name: str) -> str:
        """Return a variable that is no option, "" if there is none; forget it, so that nobody shows it."""
        return self._values.pop(name, "")

    def renamed(self, message: str, arguments: Sequence[str]) -> str:
        """Return a message about an option's value as one about the variable that it came from, if it did."""
        for name, option in self._used.items():
            given = any(word.partition("=")[0] == option for word in arguments)
            if not given and re.match(rf"{re.escape(option)}\b", message):
                return name + message.removeprefix(option)
        return message

    @property
    def unused(self) -> list[str]:
        """The variables that no option was found for."""
        return sorted(self._values.keys() - self._used.keys())

    def _read(self, action: argparse.Action, name: str) -> Any:
        value, options = self._values[name], action.option_strings
        if action.nargs == 0:
            words = self._switch(action, name, value.strip().lower())
        elif action.nargs in (None, "?"):
            words = [f"{options[0]}={value}"] if options else [value]
        else:
            words = [*options[:1], *value.split(os.pathsep)]
        alone = Parser()
        alone._add_action(action)
        try:
            return getattr(alone.parse_args(words), action.dest)
        except UsageError as error:
            message = str(error)
            raise UsageError(f"{name}: {message.partition(': ')[2] or message}") from None

    @staticmethod
    def _switch(action: argparse.Action, name: str, word: str) -> list[str]:
        if word in _TRUE:
            return [action.option_strings[0]]
        if word in _FALSE:
            off = isinstance(action, argparse.BooleanOptionalAction)
            return [option for option in action.option_strings if off and option.startswith("--no-")][:1]
        raise UsageError(f"{name}: expected 1 or 0, got {word!r}")


def variable_of(action: argparse.Action) -> str:
    """Return the environment variable of an option."""
    longest = max(action.option_strings, key=len, default=action.dest)
    if isinstance(action, argparse.BooleanOptionalAction):
        longest = action.option_strings[0]
    return ENVIRONMENT_PREFIX + longest.lstrip("-").replace("-", "_").upper()


def _is_among(action: argparse.Action, arguments: Sequence[str]) -> bool:
    return any(word.partition("=")[0] in action.option_strings for word in arguments)


def raise_file_limit() -> int | None:
    """Let this process open as many files and sockets as its hard limit allows; return how many, None if unknown."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls its hard limit infinite and refuses more than OPEN_MAX.
    for wanted in (hard, 10_240):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return wanted
    return soft
