"""Reads what a stranger wrote: msgpack and JSON, no deeper and no wider than a message can be.

A few kilobytes of msgpack may declare a thousand arrays within each other, of as many elements each as there are bytes,
and the reader sets room aside for all of them before it sees that nothing follows (43 ms of the loop, 2 GiB of address
space). So what may hold many arrays is walked through first. Nearly no message may: it has a map and a list or two.
"""

from __future__ import annotations

import json
from typing import Any

import msgpack

DEPTH = 8
"""How deep maps and lists may be in each other; a command needs two."""
MOST_CONTAINERS = 64
"""How many a message may have where it has to be walked through; a command has three at most."""
_HEADS = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""The first bytes of msgpack's maps and arrays; within numbers and other alphabets the same bytes mean nothing."""
_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTENSIONS = (0xC7, 0xC8, 0xC9)
_COUNTS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_FIXED = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_FIXED |= {0xD4: 3, 0xD5: 4, 0xD6: 6, 0xD7: 10, 0xD8: 18}


class Unreadable(Exception):
    """A message is none, or deeper or wider than a message can be."""


def read_msgpack(data: bytes) -> Any:
    """Return what one msgpack value stands for. Raises Unreadable if it is none, or too deep."""
    if len(data) - len(data.translate(None, _HEADS)) > DEPTH:
        _walk(data)
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise Unreadable("not msgpack") from error


def read_json(text: str | bytes) -> Any:
    """Return what one JSON value stands for. Raises Unreadable if it is none, or too deep."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error
    if _openings(text) > DEPTH:
        _check_depth(value)
    return value


def _openings(text: str | bytes) -> int:
    """Return how many maps and lists a text may have: within its strings the same characters mean nothing."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _walk(data: bytes) -> None:
    """Raise Unreadable where a value is too deep or too manifold, or has fewer bytes than it declares elements."""
    place, left, opened = 0, [1], 0  # `left` is how many values each open map or array still has
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        if place >= len(data):
            raise Unreadable("incomplete")
        head = data[place]
        if head not in _HEADS:
            place += _length(data, place, head)
            continue
        place, count = _opened(data, place, head)
        if count > len(data) - place:
            raise Unreadable("incomplete")
        opened += 1
        if len(left) > DEPTH or opened > MOST_CONTAINERS:
            raise Unreadable("too many maps and lists, in each other or in all")
        left.append(count)


def _opened(data: bytes, place: int, head: int) -> tuple[int, int]:
    """Return where the first value of a map or an array begins, and how many values it has."""
    if head < 0x90:
        return place + 1, 2 * (head & 0x0F)
    if head < 0xA0:
        return place + 1, head & 0x0F
    begin = place + 1 + _COUNTS[head]
    count = int.from_bytes(data[place + 1 : begin])
    return begin, 2 * count if head >= 0xDE else count


def _length(data: bytes, place: int, head: int) -> int:
    """Return how many bytes a value occupies that is neither map nor array."""
    if 0xA0 <= head < 0xC0:
        return 1 + (head & 0x1F)
    width = _SIZES.get(head)
    if width is None:
        return _FIXED.get(head, 1)
    size = int.from_bytes(data[place + 1 : place + 1 + width])
    return 1 + width + size + (head in _EXTENSIONS)


def _check_depth(value: Any) -> None:
    """Raise Unreadable if maps and lists are too deep in each other."""
    within = [value]
    for _ in range(DEPTH + 1):
        containers = [each for each in within if isinstance(each, dict | list)]
        if not containers:
            return
        within = [inner for each in containers for inner in (each.values() if isinstance(each, dict) else each)]
    raise Unreadable("nested too deep")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
