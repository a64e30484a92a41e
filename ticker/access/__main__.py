"""`python -m ticker.access NAME` makes a token: prints it once, and the lines that let a token file know it."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta

from ticker.access.errors import AccessError
from ticker.access.tokens import LIMITS, check_name, expiry_of, hash_of, limits_of, patterns_of

TOKEN_BYTES = 32

DESCRIPTION = """\
Make a token for a client of a Tickercast server. The token is printed on stderr, once: it is kept nowhere. The lines
for the file of --token-file, which holds only its hash, are printed on stdout. Send the server SIGHUP to let it read
the file again."""

EPILOG = """\
examples:
  python -m ticker.access bot-1 >> tokens.toml
  python -m ticker.access bot-2 --symbols 'AAPL,BTC*' --expires 30d --connections 2 >> tokens.toml"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    try:
        lines = _lines(token, options)
    except AccessError as error:
        parser.error(str(error))
    print(f"the token of {options.name}, shown only now:\n{token}", file=sys.stderr)
    print("\n".join(lines))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ticker.access",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="whom the token stands for; several tokens may share a name")
    parser.add_argument(
        "--symbols", metavar="PATTERNS", help="what it may see, with commas between: AAPL,BTC*; all unless given"
    )
    parser.add_argument(
        "--expires", metavar="TIME", help="30d, 12h, or a time such as 2027-01-31T12:00:00Z; never unless given"
    )
    for name in LIMITS:
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=int, metavar="N", help="the server's own limit unless given")
    return parser


def _lines(token: str, options: argparse.Namespace) -> list[str]:
    """Return the lines of a token file. Raises AccessError."""
    check_name(options.name)
    lines = ["", "[[token]]", f"name = {_text(options.name)}", f'sha256 = "{hash_of(token).hex()}"']
    if options.symbols is not None:
        patterns = patterns_of([each.strip() for each in options.symbols.split(",")])
        lines.append(f"symbols = [{', '.join(map(_text, patterns))}]")
    if options.expires is not None:
        lines.append(f"expires = {_expiry(options.expires)}")
    given = {name: getattr(options, name) for name in LIMITS if getattr(options, name) is not None}
    return lines + [f"{name} = {value}" for name, value in limits_of(given).items()]


def _expiry(text: str) -> str:
    """Return a time as TOML has it, to the second."""
    span = re.fullmatch(r"([0-9]{1,6})([dh])", text)
    if span is not None:
        expires = datetime.now(UTC) + timedelta(**{"d": {"days": int(span[1])}, "h": {"hours": int(span[1])}}[span[2]])
    else:
        expires_s = expiry_of(text)
        expires = datetime.fromtimestamp(expires_s, UTC)
    return expires.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML is written as one of JSON


if __name__ == "__main__":
    sys.exit(main())
