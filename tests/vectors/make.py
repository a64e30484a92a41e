"""Write frames.json: golden messages, put together from docs/protocol.md with plain msgpack and nothing of ours.

Run `python tests/vectors/make.py` after a change here; a test holds that the file is what this script writes.

`frames.json` is a list. Each entry has `name`, `what` (it shows), `frame_hex` (the bytes of the WebSocket message) and
`expect`. For rows, `descriptor` is the channel's entry in `subscribed`, and `expect` has `channel`, `seq`, `n`, and
`columns`: by name, each value as a decimal with all digits of the column's scale (times are UNIX seconds). For control
messages `descriptor` is null, and `expect` has `message`, the map.

Expected values are written as whole numbers of the column's scale and get their point by moving it in the text.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgpack

TRADES = (("time", 6), ("price", 2), ("size", 0))
SUMMARIES = (
    ("time", 6),
    ("open", 2),
    ("high", 2),
    ("low", 2),
    ("close", 2),
    ("volume", 0),
    ("notional", 2),
    ("count", 0),
)
QUOTES = (("time", 6), ("bid_price", 2), ("bid_size", 0), ("ask_price", 2), ("ask_size", 0))
QUOTE_UPDATES = (*QUOTES, ("count", 0))
T = 1_795_404_000_123_456
FORMATS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}

Column = tuple[Any, bytes, list[int]]


def point(value: int, scale: int) -> str:
    """Return value / 10**scale by moving the point in the digits."""
    if not scale:
        return str(value)
    digits = str(abs(value)).rjust(scale + 1, "0")
    return ("-" if value < 0 else "") + digits[:-scale] + "." + digits[-scale:]


def same(value: int, n: int = 1) -> Column:
    """Return a column in which all rows equal the base."""
    return value, b"", [value] * n


def packed(base: int, width: int, offsets: list[int], values: list[int]) -> Column:
    """Return a column of `base` and offsets of `width` bytes; `values` says what they come to."""
    return base, b"".join(struct.pack(FORMATS[width], offset) for offset in offsets), values


def floats(values: list[int]) -> Column:
    """Return a column of sums beyond 64 bits."""
    return 0.0, b"".join(struct.pack("<d", float(value)) for value in values), values


def rows(
    name: str,
    what: str,
    *columns: Column,
    scales: tuple[tuple[str, int], ...] = TRADES,
    kind: str = "trades",
    mode: str = "all",
    channel: int = 7,
    seq: int = 1200,
) -> dict[str, Any]:
    """Return the vector of one data message."""
    n = len(columns[0][2])
    message: list[Any] = [channel, seq, n]
    for base, offsets, _ in columns:
        message += [base, offsets]
    descriptor: dict[str, Any] = {
        "channel": channel,
        "kind": kind,
        "symbol": "AAPL",
        "mode": mode,
        "seq": seq,
        "missed": 0,
        "columns": [list(column) for column in scales],
        "snapshot": None,
    }
    if mode == "conflated":
        descriptor["interval_ms"] = 250
    if kind == "bars":
        descriptor["interval_s"] = 60
    expected = {
        column: [point(value, scale) for value in values]
        for (column, scale), (_, _, values) in zip(scales, columns, strict=True)
    }
    return {
        "name": name,
        "what": what,
        "frame_hex": msgpack.packb(message).hex(),
        "descriptor": descriptor,
        "expect": {"channel": channel, "seq": seq, "n": n, "columns": expected},
    }


def control(name: str, what: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return the vector of one control message."""
    return {
        "name": name,
        "what": what,
        "frame_hex": msgpack.packb(message).hex(),
        "descriptor": None,
        "expect": {"message": message},
    }


def widths() -> list[dict[str, Any]]:
    vectors = [
        rows("one row", "widths 0 only: the base is the value", same(T), same(18931), same(100)),
        rows(
            "the page's example",
            "the 31 bytes of section 5",
            packed(T, 1, [0, 5, 10], [T, T + 5, T + 10]),
            packed(18931, 1, [0, 2, 1], [18931, 18933, 18932]),
            same(100, 3),
        ),
        rows("equal rows", "width 0 with several rows", same(T, 4), same(18931, 4), same(100, 4)),
    ]
    for width, largest in ((1, 255), (2, 65535), (4, 4294967295), (8, 4294967296)):
        vectors.append(
            rows(
                f"width {width}",
                f"offsets of {width} bytes, little-endian, the largest among them",
                packed(T, width, [0, 1, largest], [T, T + 1, T + largest]),
                packed(
                    18931,
                    width,
                    [largest, 0, 258 % (largest + 1)],
                    [18931 + largest, 18931, 18931 + 258 % (largest + 1)],
                ),
                packed(0, width, [1, largest, 0], [1, largest, 0]),
            )
        )
    many = 300
    vectors.append(
        rows(
            "300 rows",
            "n and the lengths of offsets beyond one byte (bin 16)",
            packed(T, 2, [i * 200 for i in range(many)], [T + i * 200 for i in range(many)]),
            packed(18931, 1, [i % 256 for i in range(many)], [18931 + i % 256 for i in range(many)]),
            same(100, many),
        )
    )
    return vectors


def bases() -> list[dict[str, Any]]:
    return [
        rows(
            "negative prices",
            "a negative base, and a sum that crosses 0",
            same(T, 3),
            packed(-3763, 2, [0, 3762, 3800], [-3763, -1, 37]),
            same(1, 3),
        ),
        rows(
            "base above the minimum",
            "base need not be the minimum: an offset of 2^64 - 5 is -5",
            same(T, 3),
            packed(18931, 8, [0, 2**64 - 5, 5], [18931, 18926, 18936]),
            same(100, 3),
        ),
        rows(
            "wrap around",
            "the sum is modulo 2^64: from the largest to the smallest",
            same(T, 3),
            packed(2**63 - 1, 1, [0, 1, 2], [2**63 - 1, -(2**63), -(2**63) + 1]),
            packed(-(2**63), 8, [0, 2**63, 2**64 - 1], [-(2**63), 0, 2**63 - 1]),
        ),
        rows(
            "beyond 2^53",
            "whole numbers that a double does not hold",
            packed(T, 1, [0, 1], [T, T + 1]),
            packed(2**53, 1, [0, 1], [2**53, 2**53 + 1]),
            packed(-(2**53) - 1, 1, [1, 0], [-(2**53), -(2**53) - 1]),
        ),
        rows(
            "before 1970",
            "negative times",
            packed(-1_500_000, 4, [0, 1_500_000], [-1_500_000, 0]),
            same(5, 2),
            same(0, 2),
        ),
        rows(
            "other scales",
            "nanoseconds, eight digits of a price, three of a size",
            packed(T * 1000 + 789, 1, [0, 1], [T * 1000 + 789, T * 1000 + 790]),
            packed(1, 8, [0, 6_000_012_345_677], [1, 6_000_012_345_678]),
            packed(1, 2, [999, 0], [1000, 1]),
            scales=(("time", 9), ("price", 8), ("size", 3)),
        ),
    ]


def integers() -> list[dict[str, Any]]:
    """Return a row for each boundary of msgpack's integers, which come in the shortest form."""
    places = (0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, 2**53 - 1)
    vectors = [
        rows(f"whole number {place}", "seq, price and size at a boundary", same(T), same(place), same(place), seq=place)
        for place in places
    ]
    for place in (-1, -32, -33, -128, -129, -32768, -32769, -2147483648, -2147483649, -(2**63)):
        vectors.append(rows(f"whole number {place}", "a price at a boundary", same(T), same(place), same(0)))
    for number in (0, 127, 128, 65535, 65536):
        vectors.append(rows(f"channel {number}", "channel at a boundary", same(T), same(1), same(1), channel=number))
    return vectors


def kinds() -> list[dict[str, Any]]:
    summary = (
        packed(T, 1, [0, 9], [T, T + 9]),
        packed(18931, 1, [0, 70], [18931, 19001]),
        same(19002, 2),
        packed(18700, 1, [55, 0], [18755, 18700]),
        packed(18990, 1, [0, 1], [18990, 18991]),
        packed(300, 4, [0, 120045], [300, 120345]),
        packed(5679300, 8, [0, 2272712000 + 2**32], [5679300, 5679300 + 2272712000 + 2**32]),
        packed(3, 2, [0, 1197], [3, 1200]),
    )
    quote = (
        packed(T, 1, [0, 3], [T, T + 3]),
        packed(18930, 1, [0, 1], [18930, 18931]),
        packed(0, 2, [300, 0], [300, 0]),
        same(18932, 2),
        same(200, 2),
    )
    return [
        rows(
            "trades conflated",
            "summaries of 3 and 1200 trades",
            *summary,
            scales=SUMMARIES,
            mode="conflated",
            channel=8,
        ),
        rows("quotes", "a size that is 0: unknown", *quote, scales=QUOTES, kind="quotes", channel=9),
        rows(
            "quotes conflated",
            "the newest of 4 and of 1 quotes",
            *quote,
            packed(1, 1, [3, 0], [4, 1]),
            scales=QUOTE_UPDATES,
            kind="quotes",
            mode="conflated",
            channel=10,
        ),
        rows("bars", "two bars that have ended", *summary, scales=SUMMARIES, kind="bars", channel=11),
        rows(
            "bars conflated",
            "the running bar",
            *(same(values[0]) for _, _, values in summary),
            scales=SUMMARIES,
            kind="bars",
            mode="conflated",
            channel=12,
        ),
        rows(
            "sums beyond 64 bits",
            "notional as floats, beside a volume that fits; one of the floats would fit",
            *summary[:6],
            floats([2**63, 1 << 60]),
            summary[7],
            scales=SUMMARIES,
            mode="conflated",
            channel=8,
        ),
        rows(
            "both sums beyond 64 bits",
            "volume and notional as floats, negative ones too",
            *(same(values[0], 2) for _, _, values in summary[:5]),
            floats([2**64, 2**63 + 2**40]),
            floats([-(2**70), 2**80]),
            same(1, 2),
            scales=SUMMARIES,
            mode="conflated",
            channel=8,
        ),
    ]


def controls() -> list[dict[str, Any]]:
    described = {
        "channel": 7,
        "kind": "trades",
        "symbol": "AAPL",
        "mode": "all",
        "seq": 1200,
        "missed": 0,
        "columns": [list(column) for column in TRADES],
        "snapshot": [T, 18931, 19002, 18755, 18990, 120345, 2278391200, 1200],
    }
    return [
        control(
            "welcome",
            "the server's first message",
            {
                "type": "welcome",
                "protocol": 1,
                "server": "1.0.0",
                "epoch": "9f2c51d0",
                "time": T * 1000,
                "feed": "simulated",
                "kinds": ["trades", "quotes", "bars"],
                "intervals": [1, 5, 60, 3600, 86400],
                "auth": False,
                "clock": {"time": T * 1000, "speed": 0.5},
                "heartbeat_s": 10,
                "limits": {"message_bytes": 262144, "channels": 100000, "commands_per_s": 50},
            },
        ),
        control(
            "subscribed",
            "an answer with a refusal",
            {
                "type": "subscribed",
                "id": 1,
                "channels": [described],
                "refused": [{"symbol": "Ωß", "code": "unknown_symbol"}],
            },
        ),
        control(
            "channel",
            "a description by itself; a notional beyond 64 bits; an unknown number of missed rows",
            {
                **described,
                "type": "channel",
                "missed": None,
                "snapshot": [T, 18931, 19002, 18755, 18990, 120345, 2.5e20, 1200],
            },
        ),
        control("gap", "lost rows", {"type": "gap", "channel": 7, "seq": 1900, "missed": 700}),
        control("heartbeat", "rows sent so far", {"type": "heartbeat", "time": T * 1000, "rows": 2**40}),
        control("goodbye", "before a close", {"type": "goodbye", "reason": "shutdown", "reconnect_ms": 2300}),
    ]


def vectors() -> list[dict[str, Any]]:
    """Return all vectors."""
    return [*widths(), *bases(), *integers(), *kinds(), *controls()]


def text() -> str:
    """Return what frames.json holds: one vector a line."""
    lines = [json.dumps(vector, ensure_ascii=False) for vector in vectors()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    (Path(__file__).parent / "frames.json").write_text(text())
