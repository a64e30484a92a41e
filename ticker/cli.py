"""The command line: reads what is wanted, starts the node, says where it listens, ends it on a signal."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

import ticker
from ticker import plugins
from ticker.access.errors import AccessError
from ticker.access.tokens import Entry, entries_of
from ticker.clock import Clock, SystemClock
from ticker.config import Environment, Parser, Settings, UsageError, add_options, raise_file_limit
from ticker.feed import FatalFeedError, Feed
from ticker.journal import JournalError
from ticker.logs import start_logging
from ticker.selector import new_event_loop
from ticker.signals import STOP_MARGIN_S, Signals

log = logging.getLogger(__name__)

TOKENS_VARIABLE = "TICKER_TOKENS"
"""Tokens, `NAME:TOKEN` or `TOKEN` with commas between."""

DESCRIPTION = """\
Stream live market data to any number of bots and dashboards over WebSocket.

Once it says "listening on http://127.0.0.1:8888/", open that address in a browser for a page of live prices, or
connect a bot to ws://127.0.0.1:8888/stream. Logs go to stderr.
"""
EXAMPLES = """\
examples:
  python -m ticker --feed simulated                        a market that never closes
  python -m ticker --feed simulated --symbols AAPL,MSFT --rate 5000 --port 9000
  python -m ticker --feed csv trades.csv.gz --speed 10     a replay, ten times as fast as it happened
  python -m ticker --feed my_feeds.kraken:KrakenFeed       a feed of your own
  python -m ticker --feed csv --help                       with the options of that feed
  TICKER_PORT=9000 python -m ticker --feed simulated       each option is an environment variable, too
  TICKER_TOKENS=bot:TOKEN python -m ticker --feed simulated --host 0.0.0.0
                                                           for other machines, whose clients need this token

exit codes: 0 ended by SIGINT or SIGTERM, 1 it cannot run (the port is in use, the file is not good), 2 a bad option
"""


class Node(Protocol):
    """What the command line wants of a server: `ticker.node.Node` is the one."""

    async def start(self) -> str:
        """Prepare the feed, listen, return the URL. Raises FatalFeedError or OSError."""
        ...

    async def stop(self) -> None: ...

    def reload(self) -> None:
        """Read the files anew that can change while it runs."""


NodeFactory = Callable[[Settings, Feed, Clock], Node]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code. What can be expected to go wrong is one line on stderr."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:  # before the server has its own handler
        return 128 + signal.SIGINT


def _main(arguments: Sequence[str]) -> int:
    environment = Environment(os.environ)
    first = _first_parser()
    environment.apply(first, arguments)
    wanted, _ = first.parse_known_args(arguments)
    if wanted.version:
        say(f"tickercast {ticker.__version__}")
        return 0
    if wanted.list_feeds:
        say(feed_list())
        return 0
    if wanted.feed is None and not wanted.help:
        raise UsageError(f"--feed: expected a feed's name, one of {', '.join(plugins.names())}; --help tells more")
    try:
        feed_class = None if wanted.feed is None else plugins.load(wanted.feed)
    except plugins.PluginError as error:
        raise UsageError(environment.renamed(f"--feed: {error}", arguments)) from error
    parser = _whole_parser(wanted.feed, feed_class)
    if feed_class is None or wanted.help:
        say(parser.format_help().rstrip())
        return 0
    environment.apply(parser, arguments)
    args = parser.parse_everything(arguments)
    clock = SystemClock()
    try:
        settings = Settings.from_options(args, _tokens(environment))
        feed = feed_class.from_options(args, clock)
    except ValueError as error:
        raise UsageError(environment.renamed(str(error), arguments)) from error
    start_logging(settings.log_level, settings.log_format)
    if environment.unused:
        log.warning("no options of --feed %s, ignored: %s", settings.feed, ", ".join(environment.unused))
    try:
        return serve(settings, feed, clock)
    except UsageError as error:
        raise UsageError(environment.renamed(str(error), arguments)) from error


def _tokens(environment: Environment) -> tuple[Entry, ...]:
    """Return the hashes of the tokens in the environment, and take them out of it: nobody needs them any more."""
    text = environment.take_secret(TOKENS_VARIABLE)
    os.environ.pop(TOKENS_VARIABLE, None)
    try:
        return entries_of(text) if text else ()
    except AccessError as error:
        raise UsageError(f"{TOKENS_VARIABLE}: {error}") from None


def serve(settings: Settings, feed: Feed, clock: Clock, make_node: NodeFactory | None = None) -> int:
    """Run a node until a signal ends it; return the exit code.

    The first SIGINT or SIGTERM stops it, which takes --drain-s and some at most. The second ends the process on the
    spot. SIGHUP lets it read its files anew; one without such files ends, as it should when its terminal is closed.
    """
    if make_node is None:
        from ticker import node  # here, because only a server needs Tornado: `--help` is quicker without

        make_node = node.Node
    raise_file_limit()
    try:
        # Asked before the feed reads its files, so that nobody waits for that in vain.
        socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with (
            Signals(rereads=settings.rereads, stop_s=settings.drain_s + STOP_MARGIN_S) as signals,
            asyncio.Runner(loop_factory=new_event_loop) as runner,
        ):
            runner.run(_serve(lambda: make_node(settings, feed, clock), signals))
    except (FatalFeedError, JournalError) as error:
        complain(str(error))
    except OSError as error:
        if (reason := why_not_listening(error, settings)) is None:
            raise
        complain(reason)
    else:
        return 0
    return 1


async def _serve(make_node: Callable[[], Node], signals: Signals) -> None:
    node = make_node()
    starting, wanted = asyncio.create_task(node.start()), asyncio.create_task(signals.wait())
    try:
        await asyncio.wait({starting, wanted}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            gc.collect()
            gc.freeze()  # what a start has made is there to stay: no collection need look at it again
            say(f"listening on {starting.result()}")
            signals.on_hangup(node.reload)
            await wanted
            await node.stop()
    finally:
        starting.cancel()
        wanted.cancel()
        signals.note_stopped()


def why_not_listening(error: OSError, settings: Settings) -> str | None:
    """Return one line on why the address cannot be listened on, None if the error is about something else."""
    host, port = settings.host, settings.port
    if isinstance(error, socket.gaierror):
        return f"host {host} is unknown ({error.strerror}); choose another with --host"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} of {host} is not permitted to this user; choose one above 1023 with --port"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"host {host} is no address of this machine; choose another with --host"
    return None


def feed_list() -> str:
    """Return a line for each installed feed: what it is, or why it cannot be used."""
    feeds = plugins.installed()
    width = max(len(feed.name) for feed in feeds)
    return "\n".join(f"{feed.name:{width}}  {_description(feed)}" for feed in feeds)


def _description(feed: plugins.Installed) -> str:
    if feed.error is None:
        return feed.summary
    return "unusable: " + feed.error.removeprefix(f"feed {feed.name!r}").lstrip(": ")


def _first_parser() -> Parser:
    """Return a parser of the options that decide which others there are."""
    parser = Parser(prog="ticker")
    _add_first_options(parser)
    return parser


def _whole_parser(feed_name: str | None, feed_class: type[Feed] | None) -> Parser:
    parser = Parser(
        prog="ticker",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=_HelpFormatter,
    )
    _add_first_options(parser)
    if feed_class is not None:
        group = parser.add_argument_group(f"options of --feed {feed_name}", feed_class.summary)
        try:
            feed_class.options(group)
            files = "".join(f" {action.metavar or action.dest} …" for action in parser._get_positional_actions())
            parser.usage = f"python -m ticker --feed {feed_name}{files} [options]"
            add_options(parser.add_argument_group("options of the server"))
        except argparse.ArgumentError as error:
            raise UsageError(f"--feed: {feed_name} has an option of the server's name: {error}") from error
    else:
        parser.usage = "python -m ticker --feed NAME [options]"
        add_options(parser.add_argument_group("options of the server"))
    return parser


def _add_first_options(parser: Parser) -> None:
    group = parser.add_argument_group("what to do")
    group.add_argument(
        "--feed",
        metavar="NAME",
        help=f"where the ticks come from: {', '.join(plugins.names())}, or package.module:Class",
    )
    group.add_argument("--list-feeds", action="store_true", help="say which feeds are installed, and end")
    group.add_argument("-h", "--help", action="store_true", help="show this, with --feed its options too, and end")
    group.add_argument("--version", action="store_true", help="show the version, and end")


def say(text: str) -> None:
    """Print to stdout, at once."""
    _print(text, sys.stdout)


def complain(text: str) -> None:
    """Print to stderr, as one line."""
    _print(" ".join(text.split()), sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    """Print, whatever the stream's encoding. That nobody reads it any more is no reason to fail, now or at exit."""
    if stream is None:  # closed before the process began
        return
    try:
        print(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding), file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples' lines, and names such as `binance-trades` in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)
