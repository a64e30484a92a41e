"""The subprotocol `ticker.v1.json`: the same messages as text, for tools and to read along (protocol, section 6)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ticker.columns import Block, columns_of, scales_of
from ticker.model import Instrument
from ticker.protocol.codec import Catalogue, Snapshot, Time
from ticker.protocol.frames import TEXT, frame
from ticker.protocol.messages import MessageError
from ticker.protocol.untrusted import DEPTH, Unreadable, read_json

MESSAGE_ROWS = 2048
"""Rows a message holds at most: eight columns of some 40 characters stay below 1 MiB."""


class JsonCodec:
    """Encodes control messages and blocks as text frames. Numbers have their scale's digits and are never rounded."""

    subprotocol = "ticker.v1.json"

    def decode(self, data: str | bytes) -> dict[Any, Any]:
        if not isinstance(data, str):
            raise MessageError("a binary frame on a JSON connection")
        try:
            message = read_json(data)
        except Unreadable as error:
            raise MessageError(f"the message is not JSON of {DEPTH} levels at most") from error
        if not isinstance(message, dict):
            raise MessageError("the message is not a map")
        return message

    def control(self, message: Mapping[str, Any]) -> bytes:
        return frame(TEXT, render(message).encode())

    def encode(self, block: Block, catalogue: Catalogue) -> list[bytes]:
        channels = catalogue.channels(block.series, block.conflated, block.symbols).tolist()
        return [
            self._run(block, run, channel, catalogue.instruments[symbol])
            for run, (channel, symbol) in enumerate(zip(channels, block.symbols.tolist(), strict=True))
        ]

    def join(self, parts: Sequence[bytes], rows: Sequence[int]) -> bytes:
        return b"".join(parts)

    def _run(self, block: Block, run: int, channel: int, instrument: Instrument) -> bytes:
        part = b""
        seq = int(block.seqs[run])
        if block.missed is not None and block.missed[run]:
            part = self.control({"type": "gap", "channel": channel, "seq": seq, "missed": int(block.missed[run])})
        end = int(block.offsets[run + 1])
        for start in range(int(block.offsets[run]), end, MESSAGE_ROWS):
            rows = slice(start, min(start + MESSAGE_ROWS, end))
            head: dict[str, Any] = {"type": block.series.kind, "channel": channel, "symbol": instrument.symbol}
            if block.conflated:
                head["mode"] = "conflated"
            if block.series.interval_s:
                head["interval_s"] = block.series.interval_s
            head["seq"] = seq
            body = ", ".join([render(head)[1:-1], *_columns(block, rows, instrument)])
            part += frame(TEXT, f"{{{body}}}".encode())
            counted = block.conflated and block.series.kind != "bars"
            seq += int(block.columns[-1][rows].sum()) if counted else rows.stop - rows.start
        return part


def render(value: Any) -> str:
    """Return a control message as JSON: a Time as RFC 3339, a Snapshot as a map of plain numbers, text as ASCII."""
    if isinstance(value, Time):
        return f'"{rfc3339([value], 9)[0]}"'
    if isinstance(value, Snapshot):
        first = f'"{value.names[0]}": "{rfc3339([int(value.values[0])], value.scales[0])[0]}"'
        rest = zip(value.names[1:], value.values[1:], value.scales[1:], strict=True)
        return "{" + ", ".join([first, *(f'"{name}": {plain(each, scale)}' for name, each, scale in rest)]) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {render(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(render, value)) + "]"
    return json.dumps(value)


def rfc3339(times: Any, scale: int) -> list[str]:
    """Return UNIX times at scale 6 or 9 as RFC 3339 in UTC with that many digits."""
    stamps = np.asarray(times, np.int64).view("M8[us]" if scale == 6 else "M8[ns]")
    return [f"{stamp}Z" for stamp in np.datetime_as_string(stamps).tolist()]


def plain(value: int | float, scale: int) -> str:
    """Return value / 10**scale as a decimal without exponent: all of its digits, and no others."""
    if isinstance(value, float):
        return f"{Decimal(value).scaleb(-scale):f}"
    if not scale:
        return str(value)
    digits = f"{abs(value):0{scale + 1}d}"
    fraction = digits[-scale:].rstrip("0")
    return "-" * (value < 0) + digits[:-scale] + ("." + fraction if fraction else "")


def _columns(block: Block, rows: slice, instrument: Instrument) -> list[str]:
    scales = scales_of(instrument, block.series.kind, block.conflated)
    texts = []
    for number, column in enumerate(columns_of(block.series.kind, block.conflated)):
        values = block.columns[number][rows]
        if column.quantity == "time":
            texts.append('"time": ["' + '", "'.join(rfc3339(values, scales[number])) + '"]')
            continue
        numbers: list[int | float] = values.tolist()
        if block.estimates is not None and number in (5, 6):
            estimates = block.estimates[number - 5][rows].tolist()
            numbers = [each if each == each else exact for each, exact in zip(estimates, numbers, strict=True)]
        scale = scales[number]
        texts.append(f'"{column.name}": [' + ", ".join(plain(each, scale) for each in numbers) + "]")
    return texts
