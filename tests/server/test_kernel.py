"""What the kernel tells of a real connection on this machine."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from ticker.server.kernel import acknowledged, unacknowledged, unsent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell nothing, and 0 is returned")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return both ends of a connection: one that writes without waiting, one that receives little at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(listener.getsockname())
        writer, _ = listener.accept()
        with writer:
            writer.setblocking(False)
            yield writer, reader


def test_what_the_peer_does_not_read_has_yet_to_be_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, _ = pair
    assert unsent(writer) == 0

    given = writer.send(bytes(100_000))

    assert given - 20_000 < unsent(writer) <= unacknowledged(writer) <= given


def test_what_the_peer_reads_is_acknowledged_sooner_or_later(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, reader = pair
    given = writer.send(bytes(50_000))

    left = given
    while left:
        left -= len(reader.recv(left))

    writer.setblocking(True)
    while unacknowledged(writer):  # the last acknowledgement may be delayed by the peer's kernel
        pass
    assert (unsent(writer), acknowledged(writer)) == (0, given)


def test_a_closed_socket_holds_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    writer, _ = pair
    writer.send(bytes(100_000))
    writer.close()

    assert (unsent(writer), unacknowledged(writer), acknowledged(writer)) == (0, 0, 0)
