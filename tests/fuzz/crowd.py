"""Strangers at a running server's port, some at once, who write what chance makes up; counts what they are told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from urllib.parse import urlsplit

from tests.fuzz.wires import STREAMS, Frames, Requests, check_frames, converse, statuses, visit

AT_ONCE = 8
FRAMES_EACH = 20
REQUESTS_EACH = 4


async def write_frames(url: str, frames: int, seed: int | str) -> Counter[str]:
    """Write so many frames, over the streams of both dialects in both codecs. Raises WrongError."""
    seen: Counter[str] = Counter()
    turns = iter(range(frames // FRAMES_EACH))

    async def stranger() -> None:
        for turn in turns:
            path, headers, is_text = STREAMS[turn % len(STREAMS)]
            maker, chance = Frames(f"{seed} {turn}", path, is_text), random.Random(f"{seed} {turn}")
            pieces = [maker.frame() for _ in range(FRAMES_EACH)]
            if chance.random() < 0.2:
                pieces[-1] = pieces[-1][: chance.randrange(len(pieces[-1]) + 1)]
            if chance.random() < 0.3:  # one write is not one frame
                data = b"".join(pieces)
                pieces = [data[at : at + 7] for at in range(0, 70, 7)] + [data[70:]]
            answer = await converse(url, path, headers, pieces)
            seen.update(check_frames(answer, is_text, maker.closes))

    await asyncio.gather(*(stranger() for _ in range(AT_ONCE)))
    return seen


async def write_requests(url: str, requests: int, seed: int | str) -> Counter[str]:
    """Write so many HTTP requests. Raises WrongError."""
    seen: Counter[str] = Counter()
    turns = iter(range(requests // REQUESTS_EACH))
    host = urlsplit(url).netloc
    last = f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()

    async def stranger() -> None:
        for turn in turns:
            maker = Requests(f"{seed} {turn}")
            data = b"".join(maker.request(host) for _ in range(REQUESTS_EACH))
            seen.update(map(str, statuses(await visit(url, data + last))))

    await asyncio.gather(*(stranger() for _ in range(AT_ONCE)))
    return seen
