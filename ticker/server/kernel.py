"""What the kernel tells of a connection: how much of what it was given is not on its way yet, or has not arrived."""

from __future__ import annotations

import array
import socket
import sys

try:
    import fcntl
except ImportError:  # Windows tells nothing
    fcntl = None  # type: ignore[assignment]

_SIOCOUTQ, _SIOCOUTQNSD = 0x5411, 0x894B
"""From linux/sockios.h: bytes that the peer has not acknowledged; of these, bytes that were not sent yet."""
_BYTES_ACKED = 120
"""Where `tcpi_bytes_acked` is in struct tcp_info of linux/tcp.h (Linux 4.1 and later)."""
_TELLS = fcntl is not None and sys.platform == "linux"
_answer = array.array("i", [0])


def unsent(sock: socket.socket) -> int:
    """Return how many bytes have yet to be sent, since the peer takes no more; 0 where the kernel doesn't tell."""
    return _ask(sock, _SIOCOUTQNSD)


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel has not taken yet, sent or not; 0 where the kernel doesn't tell."""
    return _ask(sock, _SIOCOUTQ)


def acknowledged(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel has taken since the beginning; 0 where ours doesn't tell."""
    if not _TELLS:
        return 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    except OSError:
        return 0
    return int.from_bytes(info[_BYTES_ACKED:], sys.byteorder)


def _ask(sock: socket.socket, question: int) -> int:
    if not _TELLS:
        return 0
    try:
        fcntl.ioctl(sock, question, _answer)
    except (OSError, ValueError):  # it is closed, or no TCP
        return 0
    return _answer[0]
