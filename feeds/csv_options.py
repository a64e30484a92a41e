"""The options of the feed `csv`, from text to values."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from feeds.csv_layouts import BY_NAME, QUANTITY
from feeds.csv_recognise import Hints
from feeds.csv_time_plan import UNITS
from feeds.csv_times import TimeFormat
from feeds.csv_zones import Zone

_HEADLESS = tuple(sorted(name for name, layout in BY_NAME.items() if layout.look))
ROLE_NAMES = ("time", "date", "symbol", *QUANTITY)
_ALIASES = {"bid": "bid_price", "ask": "ask_price", "qty": "size", "quantity": "size", "amount": "size"}
T = TypeVar("T")
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. `symbols` are one for all files, or one a file; `scale` is for replays without scan."""

    files: tuple[str, ...]
    speed: float | None = 1.0
    loop: bool = False
    wait_for: int = 0
    restamp: bool = False
    hints: Hints = field(default_factory=Hints)
    symbols: tuple[str, ...] = ()
    scan: bool = True
    scale: Mapping[str, int] = field(default_factory=dict)
    skip_bad_rows: bool = False
    sort_mib: int = 512
    window_ms: int = 1000


_WITH_VALUE = (
    ("--speed", "N|max", "1", "how many times as fast as it happened, or max: as fast as the slowest client takes it"),
    ("--wait-for", "N", "0", "begin when N clients have subscribed in mode all"),
    ("--layout", "NAME", "", "how files are written, where it cannot be seen: " + ", ".join(_HEADLESS)),
    ("--columns", "ROLE=COLUMN,…", "", "which column is what, by header name or by number from 1, such as "
     "time=3,price=1,size=2; the roles are " + ", ".join(ROLE_NAMES)),
    ("--time-format", "FORMAT", "", "how times are written: s, ms, us or ns (since 1970, or since midnight where they "
     "are below a day), or words of strptime such as '%Y%m%d %H:%M:%S'"),
    ("--timezone", "ZONE", "", "of times that don't tell theirs: UTC, UTC-05, America/New_York (default: UTC, or the "
     "layout's)"),
    ("--date", "YYYY-MM-DD", "", "the day of times since midnight, where the file's name tells none"),
    ("--symbol", "X[,Y…]", "", "the symbol of all rows, or one for each file, in place of a column's or the name's"),
    ("--interval-s", "N", "", "the interval of bars in seconds, where neither their spacing nor the name tells it"),
    ("--scale", "price=N,size=N", "", "decimals of prices and sizes, with --no-scan (and time=9 for nanoseconds)"),
    ("--on-bad-row", "stop|skip", "stop", "what to do about a row that cannot be read"),
    ("--sort-mib", "N", "512", "memory for sorting files that aren't in order of time"),
    ("--replay-window-ms", "N", "1000", "flush at least every N ms of event time, so that the order between symbols is "
     "right to that; 0: off"),
)  # fmt: skip
_FLAGS = (
    ("--loop", "begin again at the end, with times that go on: each round is shifted by the files' span"),
    ("--restamp", "shift all times so that the first row happens now"),
    ("--no-scan", "begin at once, without reading the files through first; needs --scale and files in order of time"),
)


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Add the feed's options to a parser."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", default=(), help="CSV (plain, .gz, .zst) or Parquet files, merged by time"
    )
    for name, metavar, default, text in _WITH_VALUE:
        text = text.replace("%", "%%") + (" (default: %(default)s)" if default else "")
        parser.add_argument(name, metavar=metavar, default=default, help=text)
    for name, text in _FLAGS:
        parser.add_argument(name, action="store_true", help=text)


def parse_options(args: argparse.Namespace) -> Options:
    """Return the options. Raises ValueError with a line that begins with an option's name and says what is right."""
    files = args.files
    files = tuple(shlex.split(files) if isinstance(files, str) else files or ())
    if not files:
        raise ValueError("FILE: expected one or more files, such as --feed csv trades.csv")
    scan = not _flag("--no-scan", args.no_scan)
    scale = _scale(str(args.scale))
    if scan and scale:
        raise ValueError("--scale: expected only with --no-scan; else the scan finds it")
    if not scan and not {"price", "size"} <= scale.keys():
        raise ValueError(f"--scale: expected price=N,size=N with --no-scan, got {args.scale or 'nothing'}")
    symbols = tuple(each.strip() for each in str(args.symbol).split(",") if each.strip())
    if len(symbols) not in (0, 1, len(files)):
        raise ValueError(f"--symbol: expected one, or one for each of {len(files)} files, got {len(symbols)}")
    for symbol in symbols:
        if len(symbol) > 128 or not symbol.isprintable():
            raise ValueError(f"--symbol: expected 1 to 128 characters, got {symbol[:140]!r}")
    on_bad_row = str(args.on_bad_row)
    if on_bad_row not in ("stop", "skip"):
        raise ValueError(f"--on-bad-row: expected stop or skip, got {on_bad_row}")
    return Options(
        files,
        _speed(str(args.speed)),
        _flag("--loop", args.loop),
        _whole("--wait-for", args.wait_for, 0, 100_000),
        _flag("--restamp", args.restamp),
        _hints(args),
        symbols,
        scan,
        scale,
        on_bad_row == "skip",
        _whole("--sort-mib", args.sort_mib, 0, 1 << 20),
        _whole("--replay-window-ms", args.replay_window_ms, 0, 86_400_000),
    )


def _hints(args: argparse.Namespace) -> Hints:
    layout, columns = str(args.layout), _columns(str(args.columns))
    if layout and layout not in BY_NAME:
        raise ValueError(f"--layout: expected one of {', '.join(sorted(BY_NAME))}, got {layout}")
    if layout and columns:
        raise ValueError("--layout: expected alone, not with --columns")
    time_format = str(args.time_format)
    if time_format and time_format not in UNITS:
        if "%" not in time_format:
            raise ValueError(f"--time-format: expected s, ms, us, ns or words of strptime, got {time_format!r}")
        _checked("--time-format", TimeFormat, time_format)
    zone = str(args.timezone)
    if zone:
        _checked("--timezone", Zone, zone)
    day = _checked("--date", _day, str(args.date)) if args.date else None
    interval_s = _whole("--interval-s", args.interval_s, 1, 366 * 86400) if str(args.interval_s) else None
    return Hints(layout, columns, time_format, zone, day, "", interval_s)


def _checked(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None


def _columns(text: str) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        role, sign, column = (each.strip() for each in pair.partition("="))
        role = _ALIASES.get(role, role)
        if not sign or not column or role not in ROLE_NAMES:
            raise ValueError(
                f"--columns: expected pairs such as time=1,price=2 of {', '.join(ROLE_NAMES)}, got {pair!r}"
            )
        if role in columns:
            raise ValueError(f"--columns: expected each role once, got {role} twice")
        columns[role] = column
    has = set(columns)
    if columns and not (
        "time" in has
        and ("price" in has or {"bid_price", "ask_price"} <= has or {"open", "high", "low", "close"} <= has)
    ):
        raise ValueError(
            f"--columns: expected time and price, or bid_price and ask_price, or open, high, low and close; got {text}"
        )
    return columns


def _scale(text: str) -> dict[str, int]:
    scale: dict[str, int] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"(price|size|time)\s*=\s*(\d{1,2})", pair)
        if found is None or int(found[2]) > 18 or (found[1] == "time" and found[2] not in ("6", "9")):
            raise ValueError(f"--scale: expected price=N,size=N of 0 to 18 (and time=6 or 9), got {pair!r}")
        scale[found[1]] = int(found[2])
    return scale


def _speed(text: str) -> float | None:
    if text.lower() == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 1e-6 <= speed <= 1e9:
        raise ValueError(f"--speed: expected a number above 0, such as 0.5 or 10, or max, got {text}")
    return speed


def _whole(option: str, value: object, least: int, most: int) -> int:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise ValueError(f"{option}: expected a whole number between {least:,} and {most:,}, got {text}")
    return int(text)


def _flag(option: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in _YES + _NO:
        raise ValueError(f"{option}: expected 1 or 0, got {value}")
    return str(value).lower() in _YES


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a day such as 2013-10-07, got {text!r}") from None
