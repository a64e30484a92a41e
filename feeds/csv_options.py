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
from feeds.csv_recognise import UNITS, Hints
from feeds.csv_times import TimeFormat
from feeds.csv_zones import Zone

ROLE_NAMES = ("time", "date", "symbol", *QUANTITY)
_ALIASES = {"bid": "bid_price", "ask": "ask_price", "qty": "size", "quantity": "size", "amount": "size"}
T = TypeVar("T")
_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for. `symbols` are one for all files, or one a file; `scale` is for replays without a scan."""

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


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Add the feed's options to a parser."""
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", default=(), help="CSV (plain, .gz or .zst) or Parquet files to replay, merged by time")
    add("--speed", metavar="N|max", default="1", help="how many times as fast as it happened; max: as fast as the slowest client takes it (default: %(default)s)")
    add("--loop", action="store_true", help="begin again at the end, with times that go on: each round is shifted by the files' span")
    add("--wait-for", metavar="N", default="0", help="begin when N clients have subscribed in mode all (default: %(default)s)")
    add("--restamp", action="store_true", help="shift all times so that the first row happens now")
    add("--layout", metavar="NAME", default="", help=f"how the files are written, where it cannot be seen: {', '.join(sorted(n for n in BY_NAME if BY_NAME[n].look))}")
    add("--columns", metavar="ROLE=COLUMN,…", default="", help="which column is what, by header name or number from 1, such as time=3,price=1,size=2; "
        f"roles are {', '.join(ROLE_NAMES)}")
    add("--time-format", metavar="FORMAT", default="", help="how times are written: s, ms, us, ns (since 1970, or since midnight where below a day) or words of strptime such as '%%Y%%m%%d %%H:%%M:%%S'")
    add("--timezone", metavar="ZONE", default="", help="of times that don't tell theirs: UTC, UTC-05, America/New_York (default: the layout's, else UTC)")
    add("--date", metavar="YYYY-MM-DD", default="", help="the day of times since midnight, where no day stands in the file's name")
    add("--symbol", metavar="X[,Y…]", default="", help="the symbol of all rows, or one for each file, in place of a column's or the file name's")
    add("--interval-s", metavar="N", default="", help="the interval of bars in seconds, where their spacing or the file's name doesn't tell it")
    add("--no-scan", action="store_true", help="don't read the files through first; needs --scale, and files in order of time")
    add("--scale", metavar="price=N,size=N", default="", help="decimals of all prices and sizes with --no-scan, such as price=2,size=0 (and time=9 for nanoseconds)")
    add("--on-bad-row", metavar="stop|skip", default="stop", help="what to do about a row that cannot be read (default: %(default)s)")
    add("--sort-mib", metavar="N", default="512", help="memory for sorting files that aren't in order of time (default: %(default)s)")
    add("--replay-window-ms", metavar="N", default="1000", help="flush at least every N ms of event time, so that the order between symbols is right to that; 0: off (default: %(default)s)")


def parse_options(args: argparse.Namespace) -> Options:
    """Return the options. Raises ValueError with one line that begins with the option's name and says what would be right."""
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
            raise ValueError(f"--columns: expected pairs such as time=1,price=2 of {', '.join(ROLE_NAMES)}, got {pair!r}")
        if role in columns:
            raise ValueError(f"--columns: expected each role once, got {role} twice")
        columns[role] = column
    has = set(columns)
    if columns and not ("time" in has and ("price" in has or {"bid_price", "ask_price"} <= has or {"open", "high", "low", "close"} <= has)):
        raise ValueError(f"--columns: expected time and price, or bid_price and ask_price, or open, high, low and close; got {text}")
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
