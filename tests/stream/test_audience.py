"""Encoding a block once, and joining what each set of channels gets of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.stream.conftest import CODECS, EPOCH, INSTRUMENTS, TRADES, Run, block_of
from tests.stream.reference import frames
from ticker.model import Series
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.alpaca_msgpack import MsgpackAlpacaCodec
from ticker.protocol.codec import Codec, RowCodec
from ticker.stream.audience import Audience, Encoded
from ticker.stream.directory import Directory
from ticker.stream.outbox import Entry, Outbox, Pressure
from ticker.stream.packed import Store

QUOTES = Series("quotes")
ONE, TWO = (1, 18931, 100), (2, 18932, 100)
MAKERS: list[Callable[[Directory], RowCodec]] = [
    *(lambda _, codec=codec: codec for codec in CODECS),
    *(partial(codec, "us_equity") for codec in (JsonAlpacaCodec, MsgpackAlpacaCodec)),
]


@pytest.fixture
def directory() -> Directory:
    return Directory(EPOCH, [TRADES, QUOTES], INSTRUMENTS)


def payloads(data: bytes) -> list[bytes]:
    return [payload for _, payload in frames(data)]


def encoded(directory: Directory, codec: Codec, *runs: Run) -> Encoded:
    return Encoded(codec, block_of(0, runs), directory)


@pytest.mark.parametrize("codec", CODECS, ids=["msgpack", "json"])
@pytest.mark.parametrize(("numbers", "places"), [((0,), [0]), ((2,), [1]), ((0, 1, 2), [0, 1]), (None, [0, 1])])
def test_an_audience_gets_the_frames_of_its_channels_in_order(
    directory: Directory, codec: Codec, numbers: tuple[int, ...] | None, places: Sequence[int]
) -> None:
    runs: list[Run] = [(0, 5, 0, [ONE, TWO]), (2, 7, 0, [ONE])]
    single = [codec.encode(block_of(0, [run]), directory)[0] for run in runs]
    audience = Audience(codec, 0, ((TRADES, numbers),), -1)

    data, rows, entry = audience.joined({TRADES: encoded(directory, codec, *runs)})

    assert payloads(data) == [payload for place in places for payload in payloads(single[place])]
    assert rows == sum([2, 1][place] for place in places)
    assert entry is None


def test_a_symbol_with_a_gap_within_the_block_gets_all_its_frames_and_rows(directory: Directory) -> None:
    block = encoded(directory, CODECS[0], (0, 5, 0, [ONE]), (0, 8, 2, [TWO]), (1, 0, 0, [ONE]))
    audience = Audience(CODECS[0], 0, ((TRADES, (0,)),), -1)

    data, rows, entry = audience.joined({TRADES: block})

    assert len(payloads(data)) == 3  # rows, gap, rows
    assert rows == 2
    assert entry == Entry(missed=2)


def test_series_that_had_nothing_and_channels_of_others_give_nothing(directory: Directory) -> None:
    audience = Audience(CODECS[0], 0, ((QUOTES, (0,)), (TRADES, (1,))), -1)

    joined = audience.joined({TRADES: encoded(directory, CODECS[0], (0, 5, 0, [ONE])), QUOTES: None})

    assert joined == (b"", 0, None)


def test_symbols_that_appeared_after_a_block_was_encoded_have_nothing_in_it(directory: Directory) -> None:
    block = encoded(directory, CODECS[0], (0, 5, 0, [ONE]))
    audience = Audience(CODECS[0], 0, ((TRADES, (0, 1, 2, 40)),), -1)

    _, rows, _ = audience.joined({TRADES: block})

    assert rows == 1


@pytest.mark.parametrize("make", MAKERS, ids=["msgpack", "json", "alpaca json", "alpaca msgpack"])
@pytest.mark.parametrize("numbers", [(0,), (1,), (0, 1, 2), (0, 2, 40), None])
def test_a_block_that_is_packed_gives_everyone_the_same(
    directory: Directory, make: Callable[[Directory], RowCodec], numbers: tuple[int, ...] | None
) -> None:
    codec = make(directory)
    audience = Audience(codec, 0, ((TRADES, numbers),), -1)
    block = Encoded(codec, block_of(0, [(0, 5, 0, [ONE]), (0, 8, 2, [TWO]), (2, 7, 0, [ONE, TWO])]), directory)
    before = audience.joined({TRADES: block})

    nbytes = block.pack(Store())

    assert audience.joined({TRADES: block}) == before
    assert before[1] in (0, 2, 4)
    assert nbytes < 1000


def test_the_oldest_position_counts_those_who_are_late() -> None:
    audience = Audience(CODECS[0], 0, ((TRADES, (0,)),), 7)
    assert audience.oldest == 7

    audience.late[Outbox(1, Pressure())] = 3

    assert audience.oldest == 3
