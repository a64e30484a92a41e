"""aiohttp, as its chat demo does it: `await send_bytes` for each client."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import WSMsgType, web
from play import Player, Room

room = Room()


async def handle(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                room.enter(socket, message.data)
                await socket.send_str("ok")
    finally:
        room.leave(socket)
    return socket


async def broadcast(name: str, connections: list[Any], payload: bytes) -> None:
    for socket in connections:
        try:
            await socket.send_bytes(payload)
        except ConnectionError:
            pass


async def main() -> None:
    player = Player(room, broadcast)
    app = web.Application()
    app.router.add_get("/stream", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", player.port).start()
    await player.run()


asyncio.run(main())
