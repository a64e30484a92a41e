"""`python -m ticker.client ws://… AAPL MSFT` prints what comes, one row a line."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ticker.client.connection import stream_url
from ticker.client.conversation import Status
from ticker.client.errors import ClientError, MissedRows, SymbolsRefused
from ticker.client.request import request_of
from ticker.client.stream import Stream, connect
from ticker.client.token import Token
from ticker.columns import Batch, columns_of
from ticker.model import KINDS
from ticker.protocol.text import rfc3339

TOKEN_VARIABLE = "TICKER_TOKEN"

DESCRIPTION = """\
Print trades, quotes or bars of a Tickercast server, one row a line: time, symbol, then name=value for each column.
Prices and sizes are exact. Lost connections are made again and resumed. What cannot be had (rows that the server has
forgotten, symbols that it doesn't know) is said on stderr at its place, and so is the feed's state when it changes."""

EPILOG = """\
examples:
  python -m ticker.client ws://127.0.0.1:8888/stream AAPL MSFT
  python -m ticker.client ws://127.0.0.1:8888/stream '*' --kind bars --interval-s 1
  python -m ticker.client ws://127.0.0.1:8888/stream AAPL --since-start --rows 1000 --format csv > aapl.csv

It ends by itself when the feed has ended, or after --rows; Ctrl-C and a closed pipe (| head) end it quietly too.
Exit codes: 0, or 1 if there is no server or it refused, or 2 if the options are wrong."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        stream_url(options.url)
        request_of(options.symbols, options.kind, options.mode, options.interval_s, options.interval_ms)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        return asyncio.run(_print(options))
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Python flushes stdout once more as it ends; let it do so into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ticker.client",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="the server's address: ws://HOST:PORT/stream, or http://HOST:PORT/ as it prints")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL", help="what to subscribe to; '*' alone is everything")
    parser.add_argument("--kind", choices=KINDS, default="trades", help="default: trades")
    parser.add_argument(
        "--mode",
        choices=("all", "conflated"),
        default="all",
        help="every row (default), or a summary of what happened since the last one",
    )
    parser.add_argument(
        "--interval-s", type=_positive, metavar="N", help="length of bars in seconds: 1, 5, 60 (default), 3600 or 86400"
    )
    parser.add_argument(
        "--interval-ms",
        type=_positive,
        metavar="N",
        help="in mode conflated, the least time between updates of a symbol (default: 250)",
    )
    parser.add_argument(
        "--since-start", action="store_true", help="begin with the oldest rows that the server still has"
    )
    parser.add_argument("--rows", type=_positive, metavar="N", help="end after N rows")
    parser.add_argument("--format", choices=("text", "csv"), default="text", help="default: text")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"file of the token, where the server asks for one, read for each connection; or set {TOKEN_VARIABLE}",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text}")
    return int(text)


async def _print(options: argparse.Namespace) -> int:
    left = options.rows
    is_csv = options.format == "csv"
    render = csv_lines if is_csv else text_lines
    async with connect(options.url, token=_token(options.token_file), on_status=_tell_status) as stream:
        subscription = _subscribe(stream, options)
        if is_csv:
            columns = columns_of(options.kind, options.mode == "conflated")
            _write([",".join(("symbol", *(column.name for column in columns)))])
        await subscription
        if subscription.refused.keys() >= set(options.symbols):
            return 1
        async for batch in subscription:
            lines = render(batch)[:left]
            _write(lines)
            if left is not None:
                left -= len(lines)
                if not left:
                    break
    return 0


def _token(path: str | None) -> Token | None:
    """Return what to authenticate with. No option holds it: everyone on a machine can read command lines."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    return lambda: Path(path).read_text("utf-8").strip()


def _write(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _subscribe(stream: Stream, options: argparse.Namespace) -> Any:
    return stream.subscribe(
        options.symbols,
        options.kind,
        options.mode,
        interval_s=options.interval_s,
        interval_ms=options.interval_ms,
        since=0 if options.since_start else None,
        on_missed=_tell,
        on_refused=_tell,
    )


def _tell(what: MissedRows | SymbolsRefused) -> None:
    print(what, file=sys.stderr)


def _tell_status(status: Status) -> None:
    if status.state != "live":
        print(f"the feed is {status.state}", file=sys.stderr)


def text_lines(batch: Batch) -> list[str]:
    """Return a line for each row: time, symbol, then `name=value`, every number with all digits of its scale."""
    names = batch.names[1:]
    columns = [[f"{name}={value:f}" for value in batch.decimals(name)] for name in names]
    symbol = batch.channel.symbol
    return [" ".join((time, symbol, *values)) for time, *values in zip(_times(batch), *columns, strict=True)]


def csv_lines(batch: Batch) -> list[str]:
    """Return a line for each row: the symbol, then the columns."""
    columns = [[f"{value:f}" for value in batch.decimals(name)] for name in batch.names[1:]]
    symbol = batch.channel.symbol
    if any(each in symbol for each in ',"\r\n'):
        symbol = '"' + symbol.replace('"', '""') + '"'
    return [",".join((symbol, *row)) for row in zip(_times(batch), *columns, strict=True)]


def _times(batch: Batch) -> list[str]:
    return rfc3339(batch.columns[0], batch.scales[0])


if __name__ == "__main__":
    sys.exit(main())
