"""Accepting connections: when descriptors run out it pauses, and says so once."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Connections that are accepted before others get a turn. Each brings a handshake, a command and what it missed, some
2 ms together: when thousands come back at once, that is how long the loop is away."""
PAUSE_S = 0.5
RESERVED = 16
"""Descriptors that clients don't get: a feed must be able to connect again and to open its next file, and even a module
that is imported late takes one."""


class Acceptor:
    """Accepts connections on a listening socket and hands them to `callback(stream, address)`.

    `receive(connection, address)` makes the stream; where it closes the connection instead, it returns None. Tornado's
    own acceptor would raise, and be called again at once, for as long as there are no descriptors.
    """

    def __init__(
        self,
        listener: socket.socket,
        callback: Callable[[IOStream, Any], None],
        receive: Callable[[socket.socket, Any], IOStream | None] = lambda connection, address: IOStream(connection),
    ) -> None:
        self._listener = listener
        self._callback = callback
        self._receive = receive
        self._loop = IOLoop.current()
        self._closed = False
        self._told = False
        self._paused = False
        self._loop.add_handler(listener, self._accept, IOLoop.READ)

    @property
    def is_paused(self) -> bool:
        """Whether it waits for connections to close."""
        return self._paused

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._loop.remove_handler(self._listener)
        self._listener.close()

    def _accept(self, listener: socket.socket, events: int) -> None:
        for _ in range(AT_ONCE):
            if self._closed:
                return
            try:
                _check_descriptors(listener)
                connection, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(error)
                return
            stream = self._receive(connection, address)
            if stream is not None:
                self._callback(stream, address)

    def _pause(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("accepting pauses until connections close: %s", error.strerror)
        self._paused = True
        self._loop.remove_handler(self._listener)
        self._loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._paused = False
        if not self._closed:
            self._loop.add_handler(self._listener, self._accept, IOLoop.READ)


def _check_descriptors(listener: socket.socket) -> None:
    """Raise OSError if only the reserved descriptors are left: the next one is always the lowest that is free."""
    following = os.dup(listener.fileno())
    os.close(following)
    if resource is not None and following >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
