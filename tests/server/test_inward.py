"""What a client's frames may be, what ends its connection, and how much of the loop it may take."""

from __future__ import annotations

import asyncio
import struct
import zlib

import msgpack
import pytest

from tests.rig import HandFeed, running
from tests.wire import BINARY, CLOSE, CONTINUATION, JSON, TEXT, Wire, frame
from ticker.clock import ManualClock
from ticker.server import inward

PING = msgpack.packb({"op": "ping"})


def in_fragments(count: int, payload: bytes = PING) -> bytes:
    """Return a message in so many fragments, all but the first of which are empty."""
    empty = frame(CONTINUATION, final=False) * (count - 2)
    return frame(BINARY, payload, final=False) + empty + frame(CONTINUATION)


async def test_a_message_may_come_in_many_fragments() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(in_fragments(inward.MOST_FRAGMENTS))

        assert (await wire.answer())["type"] == "pong"


async def test_a_message_of_too_many_fragments_is_closed_with_1009_however_small_they_are() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(in_fragments(inward.MOST_FRAGMENTS + 2))

        closed = await wire.ending()

    assert (closed.code, closed.reason) == (1009, "message of too many fragments")


async def test_fragments_are_counted_by_message() -> None:
    half = inward.MOST_FRAGMENTS // 2 + 1
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        for _ in range(3):
            await wire.write(in_fragments(half))

            assert (await wire.answer())["type"] == "pong"


@pytest.mark.parametrize("final", [True, False], ids=["whole", "fragment"])
async def test_a_frame_without_a_mask_ends_the_connection_and_is_not_obeyed(final: bool) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(BINARY, PING, final=final, masked=False))

        assert (await wire.ending()).code == 1002


async def test_a_fragment_without_a_mask_ends_the_connection_behind_one_that_has_a_mask() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(BINARY, PING, final=False) + frame(CONTINUATION, final=True, masked=False))

        assert (await wire.ending()).code == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999])
async def test_a_close_is_answered_by_its_own_code(code: int) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(CLOSE, struct.pack("!H", code) + "até já".encode()))

        assert (await wire.ending()).code == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
async def test_a_code_that_may_not_be_sent_is_not_sent_back(code: int) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(CLOSE, struct.pack("!H", code)))

        closed = await wire.ending()

    assert (closed.code, closed.reason) == (1002, "")


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff"], ids=["half a code", "a reason of no UTF-8"])
async def test_a_close_that_cannot_be_read_ends_the_connection(payload: bytes) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(CLOSE, payload))

        assert (await wire.ending()).code == 1002


async def test_an_empty_close_is_answered_by_one() -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as wire:
        await wire.write(frame(CLOSE))

        assert (await wire.ending()).code == 1005


async def test_whoever_has_had_a_turn_waits_while_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(HandFeed()) as url, await Wire.open(url) as greedy, await Wire.open(url) as modest:
        monkeypatch.setattr(inward, "TURN_S", 0.0)
        monkeypatch.setattr(inward, "REST", 1e9)
        await greedy.write(frame(BINARY, PING) * 2)

        assert (await greedy.answer())["type"] == "pong"
        assert (await modest.ask(op="ping"))["type"] == "pong"
        with pytest.raises(BlockingIOError):
            greedy.sock.recv(1)


@pytest.mark.parametrize("opcode", [0x9, 0xA, CONTINUATION], ids=["pings", "pongs", "empty fragments"])
async def test_frames_that_say_nothing_are_part_of_a_turn(opcode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [JSON]) as greedy, await Wire.open(url) as modest:
        monkeypatch.setattr(inward, "TURN_S", 100 * inward.FRAME_S)
        monkeypatch.setattr(inward, "REST", 1e9)
        empty = frame(opcode, final=opcode != CONTINUATION)
        begin = frame(TEXT, b"{}", final=False) if opcode == CONTINUATION else b""
        await greedy.write(begin + empty * 100 + frame(CLOSE))

        assert (await modest.ask(op="ping"))["type"] == "pong"
        assert not await _has_ended(greedy)


async def _has_ended(wire: Wire) -> bool:
    """Tell whether the server's close is among what has come so far."""
    try:
        while data := wire.sock.recv(65536):
            if b"\x88" in data:
                return True
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("begun", ["half a frame", "a fragment", "a head", "a fragment and pings"])
async def test_a_message_that_is_begun_and_never_finished_is_closed_in_time(begun: str) -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await Wire.open(url) as wire:
        whole = frame(BINARY, PING)
        fragment = frame(BINARY, PING, final=False)
        await wire.write({"half a frame": whole[:-1], "a head": whole[:1]}.get(begun, fragment))
        wire.answers_pings = False  # an answer would end up within the frame
        reading = asyncio.create_task(wire.ending())

        began_s = clock.monotonic()
        while not reading.done():
            if begun == "a fragment and pings":
                await wire.write(frame(0x9))
            await clock.advance(1)
            await asyncio.sleep(0)
            assert clock.monotonic() - began_s < 60

        if begun == "a head":  # a single byte is nothing yet: its sender is gone when it has answered no ping for 30 s
            assert (await reading).code == 1006
        else:
            assert (await reading).code == 1008
            assert clock.monotonic() - began_s >= inward.MESSAGE_S


async def test_messages_that_take_a_while_in_all_are_each_within_their_time() -> None:
    clock = ManualClock()
    async with running(HandFeed(), clock) as url, await Wire.open(url) as wire:
        for _ in range(6):
            await wire.write(frame(BINARY, PING, final=False))
            await clock.advance(10)
            await wire.write(frame(CONTINUATION))

            assert (await wire.answer())["type"] == "pong"


@pytest.mark.parametrize("bit", [0x40, 0x20, 0x10], ids=["compressed", "RSV2", "RSV3"])
async def test_a_frame_that_says_it_is_compressed_is_not_unpacked_but_ends_the_connection_with_1002(bit: int) -> None:
    bomb = zlib.compress(b"\0" * 20_000_000, 9, wbits=-15)
    offered = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    async with running(HandFeed()) as url, await Wire.open(url, headers=offered) as wire:
        whole = bytearray(frame(BINARY, bomb))
        whole[0] |= bit
        await wire.write(bytes(whole))

        assert (await wire.ending()).code == 1002


async def test_text_that_is_no_utf_8_ends_the_connection_with_1007() -> None:
    async with running(HandFeed()) as url, await Wire.open(url, [JSON]) as wire:
        await wire.write(frame(TEXT, b'{"op": "ping", "id": "\xff"}'))

        assert (await wire.ending()).code == 1007
