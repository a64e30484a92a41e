"""Accepting goes on whatever happens: descriptors that run out, clients that are gone before they are let in."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import IOStream

from tests.wire import Wire, is_data
from ticker.server import accept
from ticker.server.accept import Acceptor

LIMIT = 64


class Listener:
    """A listening socket whose `accept` fails as the script says, and then works."""

    def __init__(self, *failures: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.failures = list(failures)
        self.address = self._socket.getsockname()

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> Any:
        if self.failures:
            code = self.failures.pop(0)
            raise OSError(code, os.strerror(code))
        return self._socket.accept()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def clients() -> Iterator[Callable[[Listener], socket.socket]]:
    connected: list[socket.socket] = []

    def connect(listener: Listener) -> socket.socket:
        connected.append(socket.create_connection(listener.address))
        return connected[-1]

    yield connect
    for client in connected:
        client.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM])
async def test_when_it_cannot_accept_it_pauses_and_says_so_once(
    code: int,
    clients: Callable[[Listener], socket.socket],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    until: Any,
) -> None:
    monkeypatch.setattr(accept, "PAUSE_S", 0.01)
    caplog.set_level(logging.INFO)
    listener, accepted = Listener(code, code, code), list[IOStream]()
    acceptor = Acceptor(listener, lambda stream, address: accepted.append(stream))  # type: ignore[arg-type]

    clients(listener)
    clients(listener)
    await until(lambda: len(accepted) == 2)

    acceptor.close()
    for stream in accepted:
        stream.close()
    assert listener.failures == []
    assert [record.getMessage() for record in caplog.records] == [
        f"accepting pauses until connections close: {os.strerror(code)}"
    ]


async def test_a_client_that_is_gone_already_is_passed_over(
    clients: Callable[[Listener], socket.socket], caplog: pytest.LogCaptureFixture, until: Any
) -> None:
    listener, accepted = Listener(errno.ECONNABORTED), list[IOStream]()
    acceptor = Acceptor(listener, lambda stream, address: accepted.append(stream))  # type: ignore[arg-type]

    clients(listener)
    await until(lambda: accepted)

    acceptor.close()
    accepted[0].close()
    assert not caplog.records


async def test_closing_while_it_pauses_leaves_nothing_behind(
    clients: Callable[[Listener], socket.socket], monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(accept, "PAUSE_S", 0.01)
    listener, accepted = Listener(errno.EMFILE), list[IOStream]()
    acceptor = Acceptor(listener, lambda stream, address: accepted.append(stream))  # type: ignore[arg-type]

    clients(listener)
    await until(lambda: not listener.failures)
    acceptor.close()
    resumed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.03, resumed.set)
    await resumed.wait()

    assert not accepted
    with pytest.raises(ConnectionRefusedError):
        clients(listener)


async def test_a_server_without_descriptors_serves_those_it_has_and_later_the_others(
    start_server: Any, tmp_path: Path, until: Any
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))\n"
    )
    server = start_server("--feed", "simulated", PYTHONPATH=str(tmp_path))
    opening = [asyncio.create_task(Wire.open(server.url)) for _ in range(LIMIT + 10)]
    await until(lambda: "accepting pauses" in server.log and sum(task.done() for task in opening) > LIMIT / 4)
    inside = [task.result() for task in opening if task.done()]

    await inside[0].subscribe(["*"])
    assert is_data(await inside[0].data())
    welcomes = []
    for each in asyncio.as_completed(opening):
        wire = await each
        welcomes.append(wire.welcome["type"])
        wire.close()

    assert len(inside) < LIMIT
    assert welcomes == ["welcome"] * (LIMIT + 10)
    assert server.log.count("accepting pauses") == 1
    assert "Traceback" not in server.log
