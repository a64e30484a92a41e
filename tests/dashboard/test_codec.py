"""The page's JavaScript against plain msgpack and Decimal: what is decoded and written is exact."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack

Serve = Callable[..., Any]
OpenTab = Callable[..., Any]

VECTORS = Path(__file__).parent.parent / "vectors" / "frames.json"
CODEC = "const { Rows, CodecError, decode, encode } = await import('/static/codec.js');"
DECIMAL = "const { decimal, ratio, shown } = await import('/static/decimal.js');"
BYTES = "const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));"
DECODE_ALL = f"""async (frames) => {{
    {CODEC} {DECIMAL} {BYTES}
    const rows = new Rows();
    return frames.map(({{ hex, scales }}) => {{
      rows.read(bytes(hex));
      const column = (scale, place) => Array.from({{ length: rows.n }}, (_, i) => decimal(rows.at(place, i), scale));
      return [rows.channel, rows.seq, rows.n, ...scales.map(column)];
    }});
}}"""


def text(value: int, scale: int) -> str:
    return f"{Decimal(value).scaleb(-scale):f}"


async def test_golden_frames_are_decoded_to_their_decimals(serve: Serve, open_tab: OpenTab) -> None:
    vectors = [each for each in json.loads(VECTORS.read_text()) if "channel" in each["expect"]]
    assert vectors
    tab = await open_tab(f"{serve().url}empty")

    frames = [
        {"hex": each["frame_hex"], "scales": [scale for _, scale in each["descriptor"]["columns"]]} for each in vectors
    ]
    decoded = await tab.page.evaluate(DECODE_ALL, frames)

    for vector, (channel, seq, n, *columns) in zip(vectors, decoded, strict=True):
        expect = vector["expect"]
        names = [name for name, _ in vector["descriptor"]["columns"]]
        assert (channel, seq, n) == (expect["channel"], expect["seq"], expect["n"]), vector["name"]
        assert dict(zip(names, columns, strict=True)) == expect["columns"], vector["name"]


async def test_golden_control_messages_are_decoded(serve: Serve, open_tab: OpenTab) -> None:
    vectors = [each for each in json.loads(VECTORS.read_text()) if "message" in each["expect"]]
    assert vectors
    tab = await open_tab(f"{serve().url}empty")

    decoded = await tab.page.evaluate(
        f"""async (frames) => {{
            {CODEC} {BYTES}
            const plain = (key, value) => (typeof value === "bigint" ? `${{value}}n` : value);
            return frames.map((hex) => JSON.stringify(decode(bytes(hex)), plain));
        }}""",
        [each["frame_hex"] for each in vectors],
    )

    for vector, found in zip(vectors, decoded, strict=True):
        assert json.loads(found) == as_javascript(vector["expect"]["message"]), vector["name"]


def as_javascript(value: Any) -> Any:
    """Return a value with whole numbers that a double doesn't hold as text, with the n that a BigInt has."""
    if isinstance(value, dict):
        return {key: as_javascript(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_javascript(each) for each in value]
    return f"{value}n" if isinstance(value, int) and abs(value) > 2**53 - 1 else value


async def test_columns_of_any_base_and_width_are_decoded_exactly(serve: Serve, open_tab: OpenTab) -> None:
    choose = random.Random(5)
    frames, expected = [], []
    for width in (0, 1, 2, 4, 8):
        for base in (0, -1, 18931, 2**53 - 1, -(2**53), 2**53, 1795404000123456789, 2**63 - 1, -(2**63)):
            n, scale = choose.randint(1, 4), choose.choice((0, 2, 8, 18))
            offsets = [choose.choice((0, 1, 2 ** (8 * width) - 1, choose.getrandbits(8 * width))) for _ in range(n)]
            offsets = [offset if width else 0 for offset in offsets]
            packed = b"".join(offset.to_bytes(width, "little") for offset in offsets)
            values = [(base + offset + 2**63) % 2**64 - 2**63 for offset in offsets]
            seq = choose.getrandbits(choose.choice((7, 31, 52)))
            frames.append({"hex": msgpack.packb([7, seq, n, base, packed]).hex(), "scales": [scale]})
            expected.append([7, seq, n, [text(value, scale) for value in values]])
    floats = [1e19, 2.5e20, 9.75e18]
    frames.append({"hex": msgpack.packb([7, 0, 3, 0.0, struct.pack("<3d", *floats)]).hex(), "scales": [1]})
    expected.append([7, 0, 3, [text(int(value), 1) for value in floats]])
    tab = await open_tab(f"{serve().url}empty")

    assert await tab.page.evaluate(DECODE_ALL, frames) == expected


async def test_what_is_no_data_message_is_refused(serve: Serve, open_tab: OpenTab) -> None:
    good = msgpack.packb([7, 0, 2, 5, b"\x01\x02"])
    bad = {
        "empty": b"",
        "no columns": msgpack.packb([7, 0, 2]),
        "half a column": msgpack.packb([7, 0, 2, 5]),
        "three bytes for two rows": msgpack.packb([7, 0, 2, 5, b"abc"]),
        "offsets of three bytes": msgpack.packb([7, 0, 1, 5, b"abc"]),
        "no rows": msgpack.packb([7, 0, 0, 5, b""]),
        "text for a base": msgpack.packb([7, 0, 1, "5", b""]),
        "text for offsets": msgpack.packb([7, 0, 1, 5, ""]),
        "floats of four bytes": msgpack.packb([7, 0, 1, 0.0, b"abcd"]),
        "beyond 64 bits": msgpack.packb([7, 0, 1, 2**63, b""]),
        "bytes behind": good + b"\x00",
        **{f"cut at {end}": good[:end] for end in range(1, len(good))},
    }
    tab = await open_tab(f"{serve().url}empty")

    refused = await tab.page.evaluate(
        f"""async (frames) => {{
            {CODEC} {BYTES}
            const isRefused = (hex) => {{
              try {{
                new Rows().read(bytes(hex));
                return false;
              }} catch (error) {{
                return error instanceof CodecError;
              }}
            }};
            return frames.map(isRefused);
        }}""",
        [good.hex(), *(frame.hex() for frame in bad.values())],
    )

    assert dict(zip(["good", *bad], refused, strict=True)) == {"good": False, **dict.fromkeys(bad, True)}


async def test_control_messages_and_commands_are_plain_msgpack(serve: Serve, open_tab: OpenTab) -> None:
    message = {
        "type": "welcome",
        "time": 1795404000000000000,
        "nothing": None,
        "list": [True, False, 1.5, -1, -129, 40000, 2**32, "é" * 40, "x" * 300, list(range(20))],
        "__proto__": {"a": -(2**40)},
        **{f"key {number}": number for number in range(20)},
    }
    command = {
        "op": "subscribe",
        "symbols": ["AAPL", "Ω" * 40, *(f"S{number}" for number in range(20))],
        "since": {f"S{number}": number * 10**9 for number in range(20)},
        "odd": [127, 128, 2**31, 2**32, 2**53 - 1, -1, -32, -33, -(2**53) + 1],
    }
    tab = await open_tab(f"{serve().url}empty")

    decoded, encoded, long = await tab.page.evaluate(
        f"""async ([hex, command]) => {{
            {CODEC} {BYTES}
            const plain = (key, value) => (typeof value === "bigint" ? `${{value}}n` : value);
            const since = new Map(Object.entries(command.since));
            const long = encode(new Map(Array.from({{ length: 70_000 }}, (_, i) => [`S${{i}}`, i]))).slice(0, 8);
            const written = [encode({{ ...command, since }}), long].map((each) => Array.from(each));
            return [JSON.stringify(decode(bytes(hex)), plain), ...written];
        }}""",
        [msgpack.packb(message).hex(), command],
    )

    assert json.loads(decoded) == {**message, "time": "1795404000000000000n"}
    assert msgpack.unpackb(bytes(encoded)) == command
    assert bytes(long) == b"\xdf" + (70_000).to_bytes(4, "big") + b"\xa2S0"


async def test_decimals_are_written_digit_by_digit(serve: Serve, open_tab: OpenTab) -> None:
    cases = [(value, scale) for value in (0, 7, -7, 18931, 2**53 - 1, -(2**53) + 1) for scale in (0, 1, 2, 5, 17)]
    tab = await open_tab(f"{serve().url}empty")

    written, grouped, averages = await tab.page.evaluate(
        f"""async (cases) => {{
            {DECIMAL}
            const write = (how) => cases.map(([value, scale]) => how(value, scale));
            const averages = [ratio(10, 3, 0, 2), ratio(-5, 2, 0, 0), ratio(2n ** 70n, 3, 2, 1)];
            return [write(decimal), write(shown), averages.map(String)];
        }}""",
        cases,
    )

    assert written == [text(value, scale) for value, scale in cases]
    assert grouped == [f"{Decimal(value).scaleb(-scale):,f}".replace("-", "−") for value, scale in cases]
    assert averages == ["333", "-2", str((2**70 * 10 // 100 + 1) // 3)]
