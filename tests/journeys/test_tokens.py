"""Tokens on a server that runs: a file that changes while clients listen, tokens that follow one another, bots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.conftest import ROOT
from tests.wire import JSON, Wire, fetch, is_data, n_of
from ticker.client import SymbolsRefused, Unauthenticated, connect

FEED = ("--feed", "simulated", "--symbols", "AAPL,MSFT", "--rate", "2000", "--flush-ms", "10")
SECRET = "a secret of the issuer, of 32 bytes and more"


class TokenFile:
    """A file that `python -m ticker.access` has written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, name: str, *options: str) -> str:
        """Make a token; return it."""
        command = [sys.executable, "-m", "ticker.access", name, *options]
        made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        with self.path.open("a") as file:
            file.write(made.stdout)
        return made.stderr.splitlines()[-1]

    def change(self, old: str, new: str) -> None:
        """Write the file anew, as a whole."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(self.path.read_text().replace(old, new))
        fresh.replace(self.path)


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens.toml")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_that_is_taken_out_of_the_file_ends_its_connections_and_others_go_on(
    start_server: Callable[..., Any], tokens: TokenFile
) -> None:
    kept, gone = tokens.add("kept"), tokens.add("gone")
    server = start_server(*FEED, "--token-file", str(tokens.path))
    async with (
        await Wire.open(server.url, headers=bearer(kept)) as other,
        await Wire.open(server.url, headers=bearer(gone)) as wire,
    ):
        await other.subscribe(["*"])
        await wire.subscribe(["*"])
        written = tokens.path.read_text()

        tokens.path.write_text("[[token]\n")
        server.process.send_signal(signal.SIGHUP)
        while "not read again" not in server.log:
            await wire.data()
        tokens.path.write_text(written[: written.index("[[token]]", 20)])
        server.process.send_signal(signal.SIGHUP)

        assert (await wire.ending()).code == 4001
        assert (await Wire.open(server.url, headers=bearer(gone))).status == 401
        assert (await other.ask(op="ping", id=1))["rows"] == other.rows
    assert kept not in server.log
    assert gone not in server.log


async def test_a_token_that_is_renewed_in_band_loses_no_tick(
    start_server: Callable[..., Any], tokens: TokenFile
) -> None:
    names = [tokens.add("bot", "--symbols", patterns) for patterns in ("*", "AAPL", "A*,M*")]
    server = start_server(*FEED, "--token-file", str(tokens.path))
    seen: set[int] = set()
    async with await Wire.open(server.url, [JSON]) as wire:
        await wire.ask(op="auth", token=names[0])
        answer = await wire.subscribe(["*"])
        expected = {each["channel"]: each["seq"] for each in answer["channels"]}
        (apple,) = (each["channel"] for each in answer["channels"] if each["symbol"] == "AAPL")
        renewals = 0
        while renewals < 30 or len(seen) < 2:
            message = await wire.receive()
            if message["type"] == "channel":
                expected[message["channel"]] = message["seq"]
            elif message["type"] == "revoked":
                for channel in message["channels"]:
                    assert channel != apple
                    del expected[channel]
            elif is_data(message):
                assert message["seq"] == expected[message["channel"]]
                expected[message["channel"]] += n_of(message)
                seen.add(message["channel"])
                renewals += 1
                if renewals % 2 == 0:
                    await wire.send({"op": "auth", "token": names[renewals // 2 % 3]})


async def test_a_bot_renews_its_json_web_token_and_loses_nothing(
    start_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ticker.client.stream.refresh_delay", lambda left_s: 0.2)
    (tmp_path / "key").write_text(SECRET)
    server = start_server(*FEED, "--jwt-key", str(tmp_path / "key"), "--jwt-algorithm", "HS256")
    made: list[str] = []

    def token() -> str:
        claims = {"sub": "bot", "aud": "tickercast", "exp": time.time() + 60 + len(made), "symbols": "AAPL"}
        made.append(jwt.encode(claims, SECRET, "HS256"))
        return made[-1]

    refused: list[SymbolsRefused] = []
    async with connect(server.url, token=token) as stream:
        assert stream.welcome["name"] == "bot"
        subscription = await stream.subscribe(["AAPL", "MSFT"], on_refused=refused.append)
        expected = subscription.positions["AAPL"].seq
        async for batch in subscription:
            assert batch.seq == expected
            expected = batch.next_seq
            if len(made) > 3:
                break
        await stream.ping()
        assert stream.reconnects == 0
    assert [each.symbols for each in refused] == [{"MSFT": "forbidden"}]
    assert not any(each in server.log for each in made)


async def test_a_bot_with_a_token_that_is_not_right_is_told_and_does_not_come_back(
    start_server: Callable[..., Any],
) -> None:
    server = start_server(*FEED, TICKER_TOKENS="bot:0123456789abcdef0123,another-token-without-name")
    assert "TICKER_TOKENS" not in server.log

    with pytest.raises(Unauthenticated, match="token: not known here"):
        async with connect(server.url, token="0123456789abcdef"):
            pass
    async with connect(server.url, token="another-token-without-name") as stream:
        assert await stream.symbols() == ["AAPL", "MSFT"]
    status, _, body = await fetch(server.url, "/api/symbols", headers=bearer("0123456789abcdef0123"))
    assert (status, json.loads(body)["symbols"]) == (200, ["AAPL", "MSFT"])


def test_the_command_line_client_has_its_token_from_environment_or_file(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = start_server(*FEED, TICKER_TOKENS="bot:0123456789abcdef0123")
    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "ticker.client", server.url, "AAPL", "--rows", "2", *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name != "TICKER_TOKEN"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments, environment in (
            ((), {"TICKER_TOKEN": "0123456789abcdef0123"}),
            (("--token-file", str(tmp_path / "token")), {}),
            ((), {}),
            ((), {"TICKER_TOKEN": "wrong"}),
        )
    ]
    said = [run.communicate(timeout=60) for run in runs]

    assert [run.returncode for run in runs] == [0, 0, 1, 1]
    assert [len(output.splitlines()) for output, _ in said] == [2, 2, 0, 0]
    assert "the server asks for a token" in said[2][1]
    assert "token: not known here" in said[3][1]
