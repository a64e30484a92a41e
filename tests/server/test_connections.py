"""All connections at once: how many there were, and why each of them ended."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from tests.rig import HandFeed
from tests.server import certificates
from tests.server.served import served
from tests.wire import BINARY, CLOSE, JSON, TEXT, Wire, frame
from ticker.clock import ManualClock

WRONG = {
    "bad_message": frame(BINARY, b"\xc1"),
    "protocol_error": frame(0x3, b"x"),
    "too_big": frame(BINARY, bytes(300_000)),
}


@pytest.mark.parametrize("reason", WRONG)
async def test_a_close_is_counted_by_what_the_client_did_wrong(reason: str, until: Any) -> None:
    async with served() as (url, node):
        wire = await Wire.open(url)
        await wire.write(WRONG[reason])
        await wire.ending()
        wire.close()

        await until(lambda: node._market.counts.closes)
        assert node._market.counts.closes == {reason: 1}
        assert node._market.counts.opened == 1


async def test_text_that_is_no_utf_8_is_counted_as_such(until: Any) -> None:
    async with served() as (url, node):
        wire = await Wire.open(url, [JSON])
        await wire.write(frame(TEXT, b"\xff"))
        await wire.ending()
        wire.close()

        await until(lambda: node._market.counts.closes)
        assert node._market.counts.closes == {"bad_text": 1}


@pytest.mark.parametrize("how", ["by a close", "without a word", "by a reset", "in the midst of a frame"])
async def test_whoever_goes_is_gone_however(how: str, until: Any) -> None:
    async with served() as (url, node):
        wire = await Wire.open(url)
        if how == "by a close":
            await wire.write(frame(CLOSE, b"\x03\xe8"))
            assert (await wire.ending()).code == 1000
        elif how == "in the midst of a frame":
            await wire.write(frame(BINARY, os.urandom(100))[:50])
        if how == "by a reset":
            wire.reset()
        else:
            wire.close()

        await until(lambda: node._market.counts.closes)
        assert node._market.counts.closes == {"gone": 1}
        await until(lambda: len(node._visits) == 0)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_peer_that_answers_nothing_is_counted_as_silent_after_30_seconds(
    encrypted: bool, tmp_path: Any
) -> None:
    clock, settings, trust = ManualClock(), dict[str, str](), None
    if encrypted:
        settings["tls_cert"], settings["tls_key"] = certificates.make(tmp_path)
        trust = certificates.trusting(settings["tls_cert"])
    async with served(clock, **settings) as (url, node), await Wire.open(url, tls=trust) as wire:
        wire.answers_pings = False
        reading = asyncio.create_task(wire.ending())
        began_s = clock.monotonic()

        while not node._market.counts.closes:
            await clock.advance(1)
            await asyncio.sleep(0)
            assert clock.monotonic() - began_s < 45

        assert node._market.counts.closes == {"silent": 1}
        assert clock.monotonic() - began_s >= 30
        assert (await reading).code == 1006


async def test_those_that_are_sent_away_are_counted_so(until: Any) -> None:
    async with served() as (url, node):
        wires = [await Wire.open(url) for _ in range(3)]
        ending = [asyncio.create_task(wire.ending()) for wire in wires]

        stopping = asyncio.create_task(node.stop())
        for each, wire in zip(ending, wires, strict=True):
            assert (await each).code == 1001
            wire.close()
        await stopping

        assert node._market.counts.closes == {"going_away": 3}


async def test_a_connection_too_many_is_counted_as_opened_and_closed_for_the_limit(until: Any) -> None:
    async with served(max_connections=1) as (url, node), await Wire.open(url):
        wire = await Wire.open(url)
        assert (await wire.ending()).code == 4029
        wire.close()

        await until(lambda: node._market.counts.closes)
        assert node._market.counts.closes == {"limit": 1}
        assert node._market.counts.opened == 2


async def test_one_that_is_too_slow_is_counted_as_such(until: Any) -> None:
    feed = HandFeed()
    async with served(feed=feed, outbox_mib=1) as (url, node):
        wire = await Wire.open(url, receive_bytes=4096)
        await wire.subscribe(["AAPL"])
        for seed in range(40):
            feed.flood(20_000, seed=seed)
            await asyncio.sleep(0)

        assert (await wire.ending()).code == 4008
        wire.close()
        await until(lambda: node._market.counts.closes)
        assert node._market.counts.closes == {"too_slow": 1}
