"""A server process is told to go: what its clients see, what its log says, and what they find when it is back."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, ServerProcess
from tests.wire import CLOSE, Closed, Wire, frame, is_data, kind_of, n_of

Start = Callable[..., ServerProcess]
LIMIT_S = 20.0


async def leave(wire: Wire) -> tuple[Any, int]:
    """Read to the end and answer the close; return the last message and the close code."""
    last: Any = None
    try:
        while True:
            last = await wire.receive()
    except Closed as closed:
        if closed.code != 1006:
            await wire.write(frame(CLOSE, struct.pack("!H", closed.code)))
        return last, closed.code


async def ended(server: ServerProcess) -> int:
    """Return the exit code of a server that has been told to go."""
    return await asyncio.to_thread(server.process.wait, LIMIT_S)


async def test_half_of_the_clients_are_stalled_and_the_others_are_told_when_to_come_back(
    start_server: Start, until: Any
) -> None:
    server = start_server("--feed", "simulated", "--symbols", "20", "--rate", "20000", "--drain-s", "3")
    stalled = [await Wire.open(server.url, receive_bytes=4096) for _ in range(10)]
    reading = [await Wire.open(server.url) for _ in range(10)]
    for wire in (*stalled, *reading):
        for kind in ("trades", "quotes"):
            await wire.send({"op": "subscribe", "kind": kind, "symbols": ["*"]})
    leaving = [asyncio.create_task(leave(wire)) for wire in reading]
    await until(lambda: all(wire.received > 700_000 for wire in reading), 60)

    server.process.send_signal(signal.SIGTERM)
    ends = await asyncio.gather(*leaving)

    assert await ended(server) == 0
    assert {(kind_of(last), last["reason"], code) for last, code in ends} == {("goodbye", "shutdown", 1001)}
    assert len({last["reconnect_ms"] for last, _ in ends}) > 7  # spread over 4.5 s, in milliseconds
    said = re.search(
        r"stopped: said goodbye to 20 clients in (\S+) s; 10 of them were cut with (\d+) bytes", server.log
    )
    assert said is not None, server.log
    assert float(said[1]) >= 3
    assert int(said[2]) > 0
    for wire in stalled:
        wire.close()


async def test_a_replay_at_full_speed_is_ended_though_a_client_holds_it_back(
    start_server: Start, tmp_path: Path
) -> None:
    path = tmp_path / "trades.csv"
    rows = (f"{1_723_161_255_000 + number},AAPL,{100 + number % 7}.5,{number % 90}\n" for number in range(100_000))
    path.write_text("time,symbol,price,size\n" + "".join(rows))
    server = start_server(
        "--feed", "csv", str(path), "--speed", "max", "--loop", "--wait-for", "2", "--drain-s", "2", "--outbox-mib", "1"
    )
    stuck, quick = await Wire.open(server.url, receive_bytes=4096), await Wire.open(server.url)
    await stuck.subscribe(["AAPL"])
    await quick.subscribe(["AAPL"])
    while quick.rows < 10_000:
        await quick.receive()

    server.process.send_signal(signal.SIGTERM)
    last, code = await leave(quick)

    assert (kind_of(last), code) == ("goodbye", 1001)
    assert await ended(server) == 0
    assert "stopped: said goodbye to 2 clients" in server.log
    stuck.close()


async def test_a_file_that_never_comes_keeps_nobody_from_ending_the_server(tmp_path: Path) -> None:
    pipe, log = tmp_path / "trades.csv", tmp_path / "log"
    os.mkfifo(pipe)
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "ticker", "--feed", "csv", str(pipe), "--port", "0", "--drain-s", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
        ) as process,
    ):
        try:
            async with asyncio.timeout(LIMIT_S):
                writer = await asyncio.to_thread(os.open, pipe, os.O_WRONLY)  # returns once the server reads
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, LIMIT_S)
            os.close(writer)
        finally:
            process.kill()

    assert code == 0
    assert re.search(r"(ended regardless|was cut short)\n$", log.read_text())


async def test_after_a_restart_without_a_journal_a_client_is_told_honestly_that_nobody_knows(
    start_server: Start,
) -> None:
    arguments = ("--feed", "simulated", "--symbols", "AAPL", "--rate", "200")
    first = start_server(*arguments)
    async with await Wire.open(first.url) as wire:
        await wire.subscribe(["AAPL"])
        _, seq, n, *_ = await wire.data()
        epoch, following = wire.welcome["epoch"], seq + n
        first.process.send_signal(signal.SIGTERM)
        last, code = await leave(wire)
    assert (kind_of(last), code, await ended(first)) == ("goodbye", 1001, 0)
    port = first.url.rstrip("/").rpartition(":")[2]

    second = start_server(*arguments, "--port", port)
    async with await Wire.open(second.url) as neighbour, await Wire.open(second.url) as wire:
        await neighbour.subscribe(["AAPL"])
        while neighbour.rows < 20:
            await neighbour.receive()
        answer = await wire.subscribe(["AAPL"], since={"AAPL": following}, epoch=epoch)
        (channel,) = answer["channels"]
        message = await wire.data()

        assert wire.welcome["epoch"] != epoch
        assert channel["missed"] is None
        assert channel["seq"] >= 20
        assert channel["snapshot"][-1] == channel["seq"]  # its count: all rows of this epoch so far
        assert message[1] == channel["seq"]
        assert is_data(message)
        assert n_of(message) > 0
