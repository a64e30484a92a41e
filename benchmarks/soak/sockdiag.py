"""How much the kernel has been given to send on each connection of a server, asked from outside (Linux, netlink).

By sock_diag(7), linux/inet_diag.h and struct tcp_info of linux/tcp.h. /proc/net/tcp would not do: bytes that have
arrived but are not acknowledged yet would count twice.
"""

from __future__ import annotations

import socket
import struct

_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP, _DONE, _ERROR = 4, 20, 0x301, 3, 2
_INFO = 2
_ESTABLISHED_AND_CLOSING = 0xFFE & ~(1 << 10)
_HEAD, _MESSAGE = struct.Struct("=IHHII"), struct.Struct("=4B2H")
_MESSAGE_BYTES, _WQUEUE, _BYTES_ACKED = 72, 60, 120


class SockDiag:
    """Asks the kernel."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)

    def handed(self, port: int) -> dict[int, int]:
        """Return how many bytes the kernel was given so far for each client of a server, by the client's port."""
        ask = struct.pack("=4BI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, _ESTABLISHED_AND_CLOSING)
        ask += struct.pack("!2H", port, 0) + bytes(44)
        self._netlink.send(_HEAD.pack(16 + len(ask), _BY_FAMILY, _REQUEST_DUMP, 1, 0) + ask)
        found: dict[int, int] = {}
        while True:
            data = self._netlink.recv(1 << 18)
            while data:
                size, kind, *_ = _HEAD.unpack_from(data)
                if kind == _DONE:
                    return found
                if kind == _ERROR:
                    raise OSError("sock_diag was refused")
                self._note(data[16:size], found)
                data = data[(size + 3) & ~3 :]

    def close(self) -> None:
        """Ask no more."""
        self._netlink.close()

    @staticmethod
    def _note(message: bytes, found: dict[int, int]) -> None:
        (client_port,) = struct.unpack_from("!H", message, 6)
        (waiting,) = struct.unpack_from("=I", message, _WQUEUE)
        at = _MESSAGE_BYTES
        while at < len(message):
            size, kind = struct.unpack_from("=2H", message, at)
            if kind == _INFO and size >= 4 + _BYTES_ACKED + 8:
                (acknowledged,) = struct.unpack_from("=Q", message, at + 4 + _BYTES_ACKED)
                found[client_port] = acknowledged + waiting
            at += (size + 3) & ~3
