"""uWebSockets through socketify: `publish` to a topic, `send` where only one client wants it.

On libuv's loop alone: socketify's own `run` turns asyncio's loop all the time, which would cost it its place here.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from play import Player, Room
from socketify import App, AppListenOptions, OpCode

room = Room()


class Pause:
    """Gives the loop a turn, or as many as it takes in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._ms = round(seconds * 1000)

    def __await__(self) -> Generator[int, None, None]:
        yield self._ms


def main() -> None:
    app = App()
    loop = app.loop.uv_loop

    async def broadcast(name: str, connections: list[Any], payload: bytes) -> None:
        if len(connections) == 1:
            connections[0].send(payload, OpCode.BINARY)
        elif connections:
            app.publish(name, payload, OpCode.BINARY)

    player = Player(room, broadcast, Pause)

    def on_message(socket: Any, message: str | bytes, opcode: OpCode) -> None:
        wish = room.enter(socket, str(message))
        if player.mode == "tick":
            for topic in wish:
                socket.subscribe(f"topic {topic}")
        else:
            socket.subscribe(f"wish {list(room.by_wish).index(wish)}")
        socket.send("ok", OpCode.TEXT)

    app.ws("/stream", {"message": on_message, "idle_timeout": 0, "max_backpressure": 64 << 20})
    app.listen(AppListenOptions(port=player.port, host="127.0.0.1"), lambda config: None)
    playing = player.run()
    while True:
        due: list[int] = []
        pause_ms = playing.send(None)
        if not pause_ms:
            loop.run_nowait()
            continue
        timer = loop.create_timer(pause_ms, 0, due.append, pause_ms)
        while not due:
            loop.run_once()
        del timer


main()
