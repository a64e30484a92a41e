"""Alpaca's own JavaScript SDK, an npm package, pointed at this server by its `url`, where there is Node 20 or later."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.journeys.bots import BTC, HERE, MINUTE_US, Bot, Until, port_of, serving, snippet, stream_of
from tests.rig import AAPL, MSFT, HandFeed
from ticker.feed import Replay

PACKAGE = "@alpacahq/alpaca-trade-api@4.0.2"
PREFIX = HERE.parent.parent / "build" / "npm"


def node_version() -> int:
    """Return the major version of the machine's Node, 0 where there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return 0
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0])


pytestmark = pytest.mark.skipif(node_version() < 20, reason="Node 20 or later and npm aren't here")


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Install the package, unless it is there from the last time; return where Node finds it."""
    ready = PREFIX / PACKAGE.replace("/", "-")
    if not ready.exists():
        PREFIX.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(PREFIX), PACKAGE]
        subprocess.run(command, check=True, timeout=100)
        ready.touch()
    return {**os.environ, "NODE_PATH": str(PREFIX / "node_modules")}


def bot(environment: Mapping[str, str], until: Until) -> Bot:
    return Bot(["node", str(Path(HERE) / "alpaca_bot.cjs")], environment, until)


async def test_a_bot_gets_shares_and_coins_and_changes_its_mind(environment: Mapping[str, str], until: Until) -> None:
    feed = HandFeed((AAPL, MSFT, BTC), replay=Replay(1.0))
    async with serving(feed) as node, bot(environment, until) as sdk:
        await sdk.ask("open", name="shares", sort="stock", url=stream_of(node))
        await sdk.ask("open", name="coins", sort="crypto", url=stream_of(node, "v1beta3/crypto/us"))
        await sdk.ask("subscribe", name="shares", channel="trades", symbols=["AAPL"])
        await sdk.ask("subscribe", name="coins", channel="quotes", symbols=["*"])
        await sdk.ask("run", name="shares")
        await sdk.ask("run", name="coins")
        await sdk.said("subscription", stream="shares")
        await sdk.said("subscription", stream="coins")
        feed.trades(("AAPL", 123_456, 18931, 100), ("MSFT", 123_457, 42000, 5))
        feed.quotes(("BTC/USD", 0, 9_500_000, 1234, 9_500_100, 5))

        (trade,) = await sdk.rows("shares", "trades", 1)
        assert (trade["symbol"], trade["price"], trade["size"]) == ("AAPL", 189.31, 100)
        assert trade["timestampRaw"] == "2026-11-23T12:00:00.123456000Z"
        (quote,) = await sdk.rows("coins", "quotes", 1)
        assert (quote["bidPrice"], quote["bidSize"], quote["askPrice"], quote["askSize"]) == (
            95000,
            0.1234,
            95001,
            0.0005,
        )

        await sdk.ask("subscribe", name="shares", channel="bars", symbols=["*"])
        await sdk.ask("unsubscribe", name="shares", channel="trades", symbols=["AAPL"])
        await until(lambda: confirmations(sdk)[-1]["bars"] == ["*"] and not confirmations(sdk)[-1]["trades"])
        feed.trades(("AAPL", MINUTE_US, 19000, 1))
        (bar,) = await sdk.rows("shares", "bars", 1)
        assert (bar["symbol"], bar["open"], bar["volume"], bar["timestampRaw"]) == (
            "AAPL",
            189.31,
            100,
            "2026-11-23T12:00:00.000000000Z",
        )
        assert len(sdk.data("shares", "trades")) == 1


async def test_a_bot_comes_back_after_a_cut_and_after_a_restart(environment: Mapping[str, str], until: Until) -> None:
    feed = HandFeed((AAPL, MSFT))
    async with bot(environment, until) as sdk:
        async with serving(feed) as node:
            port = port_of(node)
            await sdk.ask("open", name="a", sort="stock", url=stream_of(node))
            await sdk.ask("subscribe", name="a", channel="trades", symbols=["AAPL"])
            await sdk.ask("run", name="a")
            await sdk.said("subscription", stream="a")
            for connection in list(node._connections._open):
                connection.abort()
            await sdk.logged("a reconnected")
            await until(lambda: len(confirmations(sdk)) == 2)
            feed.trades(("AAPL", 0, 100, 1))
            await sdk.rows("a", "trades", 1)
        again = HandFeed((AAPL, MSFT))
        async with serving(again, port):
            await sdk.logged("a reconnected", 2)
            await until(lambda: len(confirmations(sdk)) == 3)
            again.trades(("AAPL", 2, 300, 1))
            assert [row["price"] for row in await sdk.rows("a", "trades", 2)] == [1, 3]


async def test_a_wrong_key_is_refused_for_good(environment: Mapping[str, str], until: Until) -> None:
    async with serving(HandFeed(), alpaca_key="PK:right") as node, bot(environment, until) as sdk:
        await sdk.ask("open", name="a", sort="stock", url=stream_of(node), secret="wrong")
        await sdk.ask("run", name="a")

        await sdk.logged("a error: auth failed")


async def test_the_bot_of_the_documentation_runs(environment: Mapping[str, str], until: Until, tmp_path: Path) -> None:
    feed = HandFeed()
    async with serving(feed) as node:
        file = tmp_path / "bot.cjs"
        file.write_text(snippet("js").replace("127.0.0.1:8888", f"127.0.0.1:{port_of(node)}"))
        async with Bot(["node", str(file)], environment, until, says_ready=False) as sdk:
            await until(
                lambda: any(session.subscriptions.wants_every_row for session in node._connections.sessions), 20
            )
            feed.trades(("AAPL", 5, 18931, 100))

            await until(lambda: sdk.lines, 20)
            assert sdk.lines == ["AAPL 189.31 100 2026-11-23T12:00:00.000005000Z"]


def confirmations(sdk: Bot) -> list[dict[str, list[str]]]:
    return [each["lists"] for each in sdk.events if each["event"] == "subscription"]
