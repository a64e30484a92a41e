"""The selector that serves some at a time: everyone has a turn, and so has everything else."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
from collections.abc import Iterator

import pytest

from ticker import cli
from ticker.clock import Clock, SystemClock
from ticker.config import Settings
from ticker.feed import FatalFeedError, Feed
from ticker.selector import AT_ONCE, new_event_loop

if sys.platform != "linux":
    pytest.skip("the selector is epoll's", allow_module_level=True)
from ticker.selector import FairSelector


@pytest.fixture
def selector() -> Iterator[FairSelector]:
    with FairSelector() as selector:
        yield selector


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    """Return the ends of pipes in which a byte waits: three times what is served at once."""
    ends = [os.pipe() for _ in range(3 * AT_ONCE)]
    for _, writing in ends:
        os.write(writing, b"!")
    yield [reading for reading, _ in ends]
    for pair in ends:
        for end in pair:
            os.close(end)


def test_all_that_are_ready_have_their_turn_though_none_is_ever_done(selector: FairSelector, pipes: list[int]) -> None:
    for pipe in pipes:
        selector.register(pipe, selectors.EVENT_READ, f"pipe {pipe}")

    turns = [selector.select(0) for _ in range(6)]

    assert [len(turn) for turn in turns] == [AT_ONCE] * 6
    seen = [key.fd for turn in turns for key, _ in turn]
    assert seen[: len(pipes)] == seen[len(pipes) :]
    assert sorted(seen[: len(pipes)]) == sorted(pipes)
    assert all(key.data == f"pipe {key.fd}" for turn in turns for key, _ in turn)


def test_what_comes_meanwhile_is_done_in_between(pipes: list[int]) -> None:
    loop = new_event_loop()
    done: list[str] = []

    def read(pipe: int) -> None:
        if not done:
            loop.call_soon(done.append, "something else")
        os.read(pipe, 1)
        done.append("pipe")
        loop.remove_reader(pipe)
        if done.count("pipe") == len(pipes):
            loop.stop()

    for pipe in pipes:
        loop.add_reader(pipe, read, pipe)
    loop.run_forever()
    loop.close()

    assert done.index("something else") == AT_ONCE


def test_each_is_told_what_it_is_ready_for_as_by_the_selector_of_the_library(selector: FairSelector) -> None:
    plain = selectors.EpollSelector()
    pairs = [socket.socketpair() for _ in range(4)]
    pairs[1][1].send(b"!")
    pairs[2][1].close()
    pairs[3][1].send(b"!")
    both = selectors.EVENT_READ | selectors.EVENT_WRITE
    for (end, _), wanted in zip(pairs, (both, both, selectors.EVENT_READ, selectors.EVENT_WRITE), strict=True):
        selector.register(end, wanted)
        plain.register(end, wanted)

    assert selector.select(0) == plain.select(0)
    assert [events for _, events in selector.select(0)] == [selectors.EVENT_WRITE, both, 1, selectors.EVENT_WRITE]

    plain.close()
    for end in (end for pair in pairs for end in pair):
        end.close()


def test_it_waits_until_something_is_ready_and_no_longer_than_asked(selector: FairSelector) -> None:
    reading, writing = os.pipe()
    selector.register(reading, selectors.EVENT_READ)

    assert selector.select(0) == selector.select(-1) == selector.select(0.0001) == []
    os.write(writing, b"!")
    assert len(selector.select()) == len(selector.select(60)) == 1
    selector.unregister(reading)
    assert selector.select(0) == []

    os.close(reading)
    os.close(writing)


def test_nothing_stays_open(pipes: list[int]) -> None:
    before = os.listdir("/proc/self/fd")

    loop = new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

    assert os.listdir("/proc/self/fd") == before


def test_a_server_is_run_by_it(capsys: pytest.CaptureFixture[str]) -> None:
    class Asking:
        """A node that tells what runs it."""

        def __init__(self, settings: Settings, feed: Feed, clock: Clock) -> None:
            pass

        async def start(self) -> str:
            raise FatalFeedError(type(asyncio.get_running_loop()._selector).__name__)  # type: ignore[attr-defined]

        async def stop(self) -> None:
            pass

    cli.serve(Settings("simulated"), Feed(), SystemClock(), Asking)  # type: ignore[arg-type]

    assert capsys.readouterr().err == "FairSelector\n"
