"""picows, as its documentation does it: `transport.send` for each client."""

from __future__ import annotations

import asyncio
from typing import Any

import picows
from play import Player, Room

room = Room()


class Listener(picows.WSListener):
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            room.enter(transport, frame.get_payload_as_ascii_text())
            transport.send(picows.WSMsgType.TEXT, b"ok")
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        room.leave(transport)


async def broadcast(name: str, connections: list[Any], payload: bytes) -> None:
    binary = picows.WSMsgType.BINARY
    for transport in connections:
        transport.send(binary, payload)


async def main() -> None:
    player = Player(room, broadcast)
    await picows.ws_create_server(lambda request: Listener(), "127.0.0.1", player.port)
    await player.run()


asyncio.run(main())
