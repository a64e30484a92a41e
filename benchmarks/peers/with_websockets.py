"""websockets, as its page on broadcasting advises: `broadcast(connections, message)`."""

from __future__ import annotations

import asyncio
from typing import Any

import websockets.asyncio.server as websockets
from play import Player, Room

room = Room()


async def handle(connection: websockets.ServerConnection) -> None:
    try:
        async for message in connection:
            room.enter(connection, str(message))
            await connection.send("ok")
    finally:
        room.leave(connection)


async def broadcast(name: str, connections: list[Any], payload: bytes) -> None:
    websockets.broadcast(connections, payload)


async def main() -> None:
    player = Player(room, broadcast)
    async with websockets.serve(handle, "127.0.0.1", player.port):
        await player.run()


asyncio.run(main())
