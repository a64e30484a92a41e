"""`python -m ticker.client` as people use it, against the scripted server."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ticker.client.__main__ import csv_lines, main, text_lines
from ticker.columns import Batch
from ticker.model import Channel

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def client(*arguments: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "ticker.client", *arguments]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(*arguments: str) -> tuple[int | None, list[str], str]:
    """Run it to its end; return exit code, lines of stdout, and stderr."""
    async with client(*arguments) as process:
        out, errors = await process.communicate()
        return process.returncode, out.decode().splitlines(), errors.decode()


async def test_it_prints_a_row_a_line_until_it_has_enough(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 7}, refused={"NOPE": "unknown_symbol"})
        assert (command["symbols"], command["since"]) == (["AAPL", "NOPE"], {"AAPL": 0, "NOPE": 0})
        peer.trades(7, 0, 2)
        peer.send({"type": "gap", "channel": 7, "seq": 150, "missed": 148})
        peer.trades(7, 150, 5)
        await peer.gone()

    server.plays(script)
    code, lines, errors = await run(server.url, "AAPL", "NOPE", "--since-start", "--rows", "3")

    assert lines == [
        "2026-11-23T03:20:00.000000Z AAPL price=0.00 size=1",
        "2026-11-23T03:20:00.000001Z AAPL price=0.01 size=2",
        "2026-11-23T03:20:00.000150Z AAPL price=1.50 size=151",
    ]
    assert errors.splitlines() == [
        "cannot be had: NOPE (unknown_symbol)",
        "AAPL trades: 148 rows missed before row 150 of e1",
    ]
    assert code == 0
    await server.played()


async def test_csv_has_a_header_and_it_ends_with_the_feed(server: Any, wire: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        command = await peer.subscribed({"AAPL": 12})
        assert (command["kind"], command["mode"], command["interval_s"]) == ("bars", "conflated", 5)
        assert command["interval_ms"] == 500
        peer.send(wire.rows(12, 0, (wire.START, 10, 12, 9, 11, 30, 330, 5)))
        peer.send({"type": "status", "state": "ended", "clock": None}, {"type": "heartbeat", "time": 0, "rows": 1})
        await peer.gone()

    server.plays(script)
    options = ("--kind", "bars", "--interval-s", "5", "--mode", "conflated", "--interval-ms", "500", "--format", "csv")
    code, lines, errors = await run(server.url, "*", *options)

    assert lines == [
        "symbol,time,open,high,low,close,volume,notional,count",
        "AAPL,2026-11-23T03:20:00.000000Z,0.10,0.12,0.09,0.11,30,3.30,5",
    ]
    assert (code, errors) == (0, "the feed is ended\n")


async def test_ctrl_c_ends_it_quietly(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        peer.trades(7, 0, 1)
        await peer.gone()

    server.plays(script)
    async with client(server.url, "AAPL") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()

        assert (process.returncode, errors) == (0, b"")
    await server.played()


async def test_a_closed_pipe_ends_it_quietly(server: Any, until: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({"AAPL": 7})
        for seq in range(0, 100_000, 1000):
            peer.trades(7, seq, 1000)
        await peer.gone()

    server.plays(script)
    pipe = f"{sys.executable} -m ticker.client {server.url} AAPL | head -n 2; test ${{PIPESTATUS[0]}} = 0 || echo wrong"
    process = await asyncio.create_subprocess_exec("bash", "-c", pipe, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    out, errors = await process.communicate()

    assert (len(out.splitlines()), errors) == (2, b"")
    assert b"wrong" not in out
    await server.played()


async def test_symbols_of_which_none_exists_are_exit_code_1(server: Any) -> None:
    async def script(peer: Any) -> None:
        peer.welcome()
        await peer.subscribed({}, refused={"NOPE": "unknown_symbol"})
        await peer.gone()

    server.plays(script)
    assert await run(server.url, "NOPE") == (1, [], "cannot be had: NOPE (unknown_symbol)\n")


async def test_no_server_is_one_line_and_exit_code_1(server: Any) -> None:
    await server.stop()

    code, lines, errors = await run(server.url, "AAPL")

    assert (code, lines) == (1, [])
    assert errors.startswith(f"{server.url}: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "required: url, SYMBOL"),
        (("ws://h/stream", "A", "--kind", "news"), "--kind: invalid choice"),
        (("ws://h/stream", "A", "--rows", "0"), "--rows: expected a number from 1, not 0"),
        (("ws://h/stream", "A", "--interval-ms", "soon"), "--interval-ms: expected a number from 1, not soon"),
        (("nowhere", "A"), "expected an address such as ws://127.0.0.1:8888/stream"),
        (("ws://h/stream", "A", "*"), "symbols: '*' stands alone"),
    ],
)
def test_wrong_options_are_told(arguments: tuple[str, ...], complaint: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))

    assert caught.value.code == 2
    assert complaint in capsys.readouterr().err


def test_the_help_shows_how(capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])

    page = capsys.readouterr().out
    assert caught.value.code == 0
    for option in (
        "--kind",
        "--mode",
        "--interval-s",
        "--interval-ms",
        "--since-start",
        "--rows",
        "--format",
        "--token-file",
        "TICKER_TOKEN",
    ):
        assert option in page
    assert "Exit codes" in page


def test_numbers_have_all_digits_of_their_scale_and_no_exponent() -> None:
    columns = (np.array([1795404000123456]), np.array([1]), np.array([-500]))
    batch = Batch(Channel("trades", 'A,"B'), "e", 0, columns, (6, 8, 2))

    assert text_lines(batch) == ['2026-11-23T03:20:00.123456Z A,"B price=0.00000001 size=-5.00']
    assert csv_lines(batch) == ['"A,""B",2026-11-23T03:20:00.123456Z,0.00000001,-5.00']
