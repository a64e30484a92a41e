"""Tornado, as its chat demo does it: `write_message` to each client."""

from __future__ import annotations

import asyncio
from typing import Any

from play import Player, Room
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

room = Room()


class Stream(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        room.enter(self, str(message))
        self.write_message("ok")

    def on_close(self) -> None:
        room.leave(self)


async def broadcast(name: str, connections: list[Any], payload: bytes) -> None:
    for connection in connections:
        try:
            connection.write_message(payload, binary=True)
        except WebSocketClosedError:
            pass


async def main() -> None:
    player = Player(room, broadcast)
    Application([("/stream", Stream)]).listen(player.port, "127.0.0.1")
    await player.run()


asyncio.run(main())
