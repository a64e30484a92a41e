"""The golden frames are what their script writes, and the decoder of the protocol page reads them."""

from __future__ import annotations

import ast
import json
import runpy
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

HERE = Path(__file__).parent
VECTORS = json.loads((HERE / "frames.json").read_text())


def column(base: Any, offsets: bytes, n: int) -> Any:
    """The decoder of the protocol page, to the letter."""
    if isinstance(base, float):
        return np.frombuffer(offsets, "<f8")
    if not offsets:
        return np.full(n, base, np.int64)
    return base + np.frombuffer(offsets, f"<u{len(offsets) // n}").astype(np.int64)


def test_the_file_is_what_the_script_writes() -> None:
    assert runpy.run_path(str(HERE / "make.py"))["text"]() == (HERE / "frames.json").read_text()


def test_the_script_knows_nothing_of_ours() -> None:
    tree = ast.parse((HERE / "make.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    sources = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert imported == {"json", "struct", "msgpack"}
    assert sources == {"__future__", "pathlib", "typing"}


def test_names_are_unique_and_every_width_kind_and_mode_is_there() -> None:
    rows = [vector for vector in VECTORS if vector["descriptor"]]
    messages = [msgpack.unpackb(bytes.fromhex(vector["frame_hex"])) for vector in rows]

    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)
    assert {(each["descriptor"]["kind"], each["descriptor"]["mode"]) for each in rows} == {
        (kind, mode) for kind in ("trades", "quotes", "bars") for mode in ("all", "conflated")
    }
    assert {len(offsets) // message[2] for message in messages for offsets in message[4::2]} == {0, 1, 2, 4, 8}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_pages_decoder_reads_it(vector: dict[str, Any]) -> None:
    message = msgpack.unpackb(bytes.fromhex(vector["frame_hex"]))
    if vector["descriptor"] is None:
        assert message == vector["expect"]["message"]
        return
    channel, seq, n = message[:3]
    found = {
        name: [f"{Decimal(int(value)).scaleb(-scale):f}" for value in column(base, offsets, n).tolist()]
        for (name, scale), base, offsets in zip(
            vector["descriptor"]["columns"], message[3::2], message[4::2], strict=True
        )
    }

    assert {"channel": channel, "seq": seq, "n": n, "columns": found} == vector["expect"]
