"""Rows on Alpaca's streams in both codecs: against msgpack and json, and Decimal on the whole numbers."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker.columns import Block, columns_of, offsets_of
from ticker.model import Instrument, Series
from ticker.protocol.alpaca import AlpacaError
from ticker.protocol.alpaca_codec import FRAME_BYTES, AlpacaCodec
from ticker.protocol.alpaca_json import JsonAlpacaCodec
from ticker.protocol.alpaca_msgpack import MsgpackAlpacaCodec, timestamps
from ticker.protocol.alpaca_rows import DAYS, id_base

EPOCH = "9f2c51d0"
AAPL, F = Instrument("AAPL"), Instrument("F", price_scale=4, size_scale=3, time_scale=9)
ODD = Instrument('Ö%"\\x', size_scale=2)
BTC = Instrument("BTC/USD", price_scale=2, size_scale=8, time_scale=9, asset_class="crypto")
ALL = (AAPL, F, ODD, BTC)
TRADES = Series("trades")
CODECS = (MsgpackAlpacaCodec, JsonAlpacaCodec)
SECOND_NS = 10**9


@dataclass
class Catalogue:
    instruments: Sequence[Instrument] = field(default=ALL)

    def channels(self, series: Series, conflated: bool, numbers: Any) -> Any:
        raise AssertionError("nothing is numbered on these streams")


def block(runs: dict[int, list[tuple[int, ...]]], series: Series = TRADES, seq: int = 0, **more: Any) -> Block:
    """Return rows of these symbols, by number: whole numbers in the order of the kind's columns."""
    rows = [row for run in runs.values() for row in run]
    width = len(columns_of(series.kind))
    columns = tuple(np.array(column, np.int64) for column in zip(*rows, strict=True)) if rows else ()
    assert len(columns) == width
    return Block(
        series,
        EPOCH,
        0,
        np.array(list(runs), np.int64),
        offsets_of(np.array([len(run) for run in runs.values()])),
        np.full(len(runs), seq, np.int64),
        columns,
        **more,
    )


def messages(frames: bytes) -> list[Any]:
    """Return what the frames hold, as a client reads them."""
    found = []
    while frames:
        opcode, size = frames[0], frames[1]
        head = {126: 4, 127: 10}.get(size, 2)
        if head > 2:
            size = int.from_bytes(frames[2:head], "big")
        payload, frames = frames[head : head + size], frames[head + size :]
        assert size < 1 << 20
        if opcode == 0x82:
            found.append(msgpack.unpackb(payload))
        else:
            assert opcode == 0x81
            found.append(json.loads(payload, parse_constant=pytest.fail))
    return found


def rows_of(
    codec: type[AlpacaCodec], asset_class: str, rows: Block, instruments: Sequence[Instrument] = ALL
) -> list[Any]:
    made = codec(asset_class, Catalogue(instruments))  # type: ignore[abstract]
    (array,) = messages(made.join(made.encode(rows, Catalogue(instruments)), rows.counts.tolist()))
    assert isinstance(array, list)
    assert all(next(iter(row)) == "T" for row in array)
    return array


def time_of(value: Any) -> int:
    """Return a message's time in nanoseconds."""
    if isinstance(value, msgpack.Timestamp):
        return int(value.to_unix_nano())
    whole, _, fraction = value.removesuffix("Z").partition(".")
    assert not fraction.endswith("0")
    assert value.endswith("Z")
    assert bool(fraction) == ("." in value)
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * SECOND_NS + int(fraction.ljust(9, "0"))


def exact(value: int, scale: int) -> float:
    return float(Decimal(value).scaleb(-scale))


@pytest.mark.parametrize("codec", CODECS)
def test_a_trade_of_shares_has_all_fields_in_the_vendors_order(codec: Any) -> None:
    (row,) = rows_of(codec, "us_equity", block({0: [(1_614_009_104_208_000, 18931, 100)]}, seq=1200))

    assert list(row) == ["T", "S", "i", "x", "p", "s", "c", "z", "t"]
    assert time_of(row.pop("t")) == 1_614_009_104_208_000_000
    i = id_base(EPOCH) + 1200
    assert row == {"T": "t", "S": "AAPL", "i": i, "x": "V", "p": 189.31, "s": 100, "c": ["@"], "z": "C"}
    assert type(row["i"]) is type(row["s"]) is int
    assert type(row["p"]) is float


def test_json_times_have_no_zeros_at_the_end() -> None:
    rows = {0: [(1_614_009_104_208_000, 1, 1), (1_614_021_300_000_000, 1, 1)], 1: [(1_614_021_300_123_456_789, 1, 1)]}

    times = [row["t"] for row in rows_of(JsonAlpacaCodec, "us_equity", block(rows))]

    assert times == ["2021-02-22T15:51:44.208Z", "2021-02-22T19:15:00Z", "2021-02-22T19:15:00.123456789Z"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_quote_of_shares_has_all_fields_in_the_vendors_order(codec: Any) -> None:
    quote = block({0: [(1_000_001, 18930, 300, 18932, 2**40)]}, Series("quotes"))

    (row,) = rows_of(codec, "us_equity", quote)

    assert list(row) == ["T", "S", "bx", "bp", "bs", "ax", "ap", "as", "c", "z", "t"]
    assert time_of(row.pop("t")) == 1_000_001_000
    assert (row["bx"], row["ax"], row["c"], row["z"]) == ("V", "V", ["R"], "C")
    assert (row["bp"], row["bs"], row["ap"], row["as"]) == (189.3, 300, 189.32, 2**32 - 1)
    assert type(row["bs"]) is type(row["as"]) is int


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("series", "letter"), [(Series("bars", 60), "b"), (DAYS, "d")])
def test_a_bar_of_shares_has_all_fields_in_the_vendors_order(codec: Any, series: Series, letter: str) -> None:
    bar = block({1: [(60 * SECOND_NS, 10_000, 30_000, 5_000, 20_001, 7_999, 10_000 * 7_999, 12)]}, series)

    (row,) = rows_of(codec, "us_equity", bar)

    assert list(row) == ["T", "S", "o", "h", "l", "c", "v", "n", "vw", "t"]
    assert time_of(row.pop("t")) == 60 * SECOND_NS
    assert row == {"T": letter, "S": "F", "o": 1.0, "h": 3.0, "l": 0.5, "c": 2.0001, "v": 7, "n": 12, "vw": 1.0}
    assert type(row["v"]) is type(row["n"]) is int


@pytest.mark.parametrize("codec", CODECS)
def test_coins_have_fractions_and_no_exchange_conditions_or_tape(codec: Any) -> None:
    (trade,) = rows_of(codec, "crypto", block({3: [(5, 9_500_000, 1_234)]}, seq=3))
    (quote,) = rows_of(codec, "crypto", block({3: [(5, 1, 10**8, 2, 5 * 10**7)]}, Series("quotes")))
    (bar,) = rows_of(codec, "crypto", block({3: [(0, 1, 1, 1, 1, 10**7, 2 * 10**7, 4)]}, Series("bars", 60)))

    assert list(trade) == ["T", "S", "i", "p", "s", "tks", "t"]
    assert (trade["p"], trade["s"], trade["tks"], time_of(trade["t"])) == (95000.0, 0.00001234, "-", 5)
    assert list(quote) == ["T", "S", "bp", "bs", "ap", "as", "t"]
    assert (quote["bp"], quote["bs"], quote["ap"], quote["as"]) == (0.01, 1.0, 0.02, 0.5)
    assert (bar["v"], bar["n"], bar["vw"]) == (0.1, 4, 0.02)
    assert type(bar["v"]) is float


@pytest.mark.parametrize("codec", CODECS)
def test_fractions_of_shares_are_rounded_down_and_nothing_is_negative(codec: Any) -> None:
    rows = rows_of(codec, "us_equity", block({1: [(1, 1, 1999), (2, -5, 999), (3, 1, -1)]}))

    assert [row["s"] for row in rows] == [1, 0, 0]
    assert rows[1]["p"] == -0.0005


@pytest.mark.parametrize("codec", CODECS)
def test_an_average_that_nobody_knows_is_zero(codec: Any) -> None:
    bars = block(
        {0: [(0, 100, 100, 100, 100, 50, 0, 0), (60_000_000, 100, 100, 100, 100, 0, 0, 0)]}, Series("bars", 60)
    )

    assert [(row["vw"], row["n"]) for row in rows_of(codec, "us_equity", bars)] == [(0.0, 0), (0.0, 0)]


@pytest.mark.parametrize("codec", CODECS)
def test_sums_beyond_64_bits_are_the_nearest_numbers_that_fit(codec: Any) -> None:
    estimates = (np.array([2.0**70, np.nan]), np.array([2.0**80, np.nan]))
    rows = {0: [(0, 100, 100, 100, 100, 7, 7, 9), (60_000_000, 100, 100, 100, 100, 5, 500, 1)]}

    large, usual = rows_of(codec, "us_equity", block(rows, Series("bars", 60), estimates=estimates))

    assert 2**63 - 2048 <= large["v"] <= 2**63 - 1
    assert large["vw"] == pytest.approx(2**10 / 100)
    assert (usual["v"], usual["vw"]) == (5, 1.0)


WHOLE = st.integers(-(2**53), 2**53)
TIMES_US = st.integers(-(10**12), 4 * 10**15) | st.integers(0, 10**6).map(lambda s: s * 10**6)


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
def test_any_rows_read_as_what_they_are(codec: Any, data: Any) -> None:
    numbers = data.draw(st.sets(st.integers(0, 2), min_size=1).map(sorted))
    sizes = st.integers(0, 2**40)
    run = st.lists(st.tuples(TIMES_US, WHOLE, sizes), min_size=1, max_size=6)
    runs = {number: data.draw(run) for number in numbers}

    rows = rows_of(codec, "us_equity", block(runs, seq=7))

    expected = [(number, seq, *row) for number in numbers for seq, row in enumerate(runs[number], 7)]
    assert len(rows) == len(expected)
    for row, (number, seq, time, price, size) in zip(rows, expected, strict=True):
        instrument = ALL[number]
        assert row["S"] == instrument.symbol
        assert row["i"] == id_base(EPOCH) + seq
        assert row["p"] == exact(price, instrument.price_scale)
        assert row["s"] == min(size // 10**instrument.size_scale, 2**32 - 1)
        assert time_of(row["t"]) == time * 10 ** (9 - instrument.time_scale)


@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(0, 2**32), min_size=1), st.data())
def test_times_are_the_bytes_that_msgpack_itself_writes(seconds: list[int], data: Any) -> None:
    nanoseconds = [data.draw(st.sampled_from([0, 1, 999_999_999])) for _ in seconds]

    matrix, widths = timestamps(np.array(seconds), np.array(nanoseconds))

    lengths = [matrix.shape[1]] * len(seconds) if widths is None else widths.tolist()
    written = [row[:length].tobytes() for row, length in zip(matrix, lengths, strict=True)]
    stamps = [msgpack.Timestamp(s, ns) for s, ns in zip(seconds, nanoseconds, strict=True)]
    assert written == [msgpack.packb(stamp) for stamp in stamps]


def test_a_time_on_the_second_takes_four_bytes_and_others_eight() -> None:
    codec = MsgpackAlpacaCodec("us_equity", Catalogue())
    on_second, between = codec.encode(block({0: [(7_000_000, 1, 1)], 1: [(7_000_000_001, 1, 1)]}), Catalogue())

    assert on_second.endswith(b"\xa1t\xd6\xff" + struct.pack(">I", 7))
    assert between.endswith(b"\xa1t\xd7\xff" + struct.pack(">Q", 1 << 34 | 7))


@pytest.mark.parametrize("codec", CODECS)
def test_control_messages_are_alone_in_their_frame_as_arrays(codec: Any) -> None:
    frame = codec("us_equity", Catalogue()).control({"T": "success", "msg": "connected"})

    assert messages(frame) == [[{"T": "success", "msg": "connected"}]]


def test_what_is_joined_is_one_array_in_one_frame_with_its_length_in_the_shortest_form() -> None:
    codec, catalogue = MsgpackAlpacaCodec("us_equity", Catalogue()), Catalogue()
    for count in (1, 15, 16, 3000):
        run = block({0: [(i, i, i) for i in range(count)]})
        frames = codec.join(codec.encode(run, catalogue), [count])
        payload = frames[2 if len(frames) < 128 else 4 if len(frames) < 65540 else 10 :]
        assert payload.startswith(msgpack.Packer().pack_array_header(count))
        assert len(messages(frames)) == 1
    assert codec.join([b"", b""], [0, 0]) == b""


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mixed", [False, True])
def test_no_frame_reaches_a_mebibyte_and_none_of_the_rows_is_lost(codec: Any, mixed: bool) -> None:
    made, catalogue = codec("us_equity", Catalogue()), Catalogue()
    large = [(i * 1_000_000 + (i % 3 if mixed else 1), i, i) for i in range(25_000)]
    rows = block({0: large, 1: [(1, 1, 1000)], 2: large[:9_000]})

    frames = made.join(made.encode(rows, catalogue), rows.counts.tolist())

    arrays = messages(frames)
    assert len(arrays) > 1
    flat = [(row["S"], row["s"]) for array in arrays for row in array]
    assert flat == [*(("AAPL", i) for i in range(25_000)), ("F", 1), *((ODD.symbol, i // 100) for i in range(9_000))]
    assert FRAME_BYTES < 1 << 20


@pytest.mark.parametrize("codec", CODECS)
def test_symbols_that_appear_later_are_written_too(codec: Any) -> None:
    instruments = [AAPL]
    catalogue = Catalogue(instruments)
    made = codec("us_equity", catalogue)
    made.encode(block({0: [(1, 1, 1)]}), catalogue)
    instruments += [F, Instrument("MSFT")]

    parts = made.encode(block({0: [(1, 1, 1)], 1: [(1, 10_000, 1000)], 2: [(1, 100, 1)]}), catalogue)

    (array,) = messages(made.join(parts, [1, 1, 1]))
    assert [(row["S"], row["p"], row["s"]) for row in array] == [("AAPL", 0.01, 1), ("F", 1.0, 1), ("MSFT", 1.0, 1)]


def test_json_is_read_from_text_and_from_bytes() -> None:
    codec = JsonAlpacaCodec("us_equity", Catalogue())

    assert codec.decode('{"action":"auth"}') == codec.decode(b'{"action":"auth"}') == {"action": "auth"}


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (JsonAlpacaCodec, "[1]"),
        (JsonAlpacaCodec, "nonsense"),
        (JsonAlpacaCodec, b"\xff\xfe\x00"),
        (JsonAlpacaCodec, '{"a": NaN}'),
        (JsonAlpacaCodec, "[" * 100_000),
        (MsgpackAlpacaCodec, "{}"),
        (MsgpackAlpacaCodec, b""),
        (MsgpackAlpacaCodec, b"\xc1"),
        (MsgpackAlpacaCodec, b"\x91\x80"),
        (MsgpackAlpacaCodec, b"\x81\xa1a"),
        (MsgpackAlpacaCodec, b"\x91" * 100_000),
        (MsgpackAlpacaCodec, b"\x81\x90\x01"),
    ],
)
def test_what_is_no_map_is_invalid_syntax(codec: Any, data: str | bytes) -> None:
    with pytest.raises(AlpacaError, match="invalid syntax"):
        codec("us_equity", Catalogue()).decode(data)


@pytest.mark.parametrize("codec", CODECS)
@given(st.binary() | st.text())
def test_no_bytes_raise_anything_else(codec: Any, data: str | bytes) -> None:
    try:
        assert isinstance(codec("us_equity", Catalogue()).decode(data), dict)
    except AlpacaError:
        pass


def test_objects_of_history_are_rows_without_type_and_symbol() -> None:
    (text,) = JsonAlpacaCodec("us_equity", Catalogue()).objects(block({0: [(1_000_000, 18931, 7)]}, seq=2))

    assert json.loads(text) == {
        "i": id_base(EPOCH) + 2,
        "x": "V",
        "p": 189.31,
        "s": 7,
        "c": ["@"],
        "z": "C",
        "t": "1970-01-01T00:00:01Z",
    }


def test_ids_of_epochs_differ_and_are_exact_in_javascript() -> None:
    assert id_base("9f2c51d0") != id_base("9f2c51d1")
    assert id_base("9f2c51d0") % 2**32 == 0
    assert id_base("9f2c51d0") + 2**32 < 2**53


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [1, 31, 32, 63, 64, 128])
def test_symbols_of_any_length_are_written(codec: Any, length: int) -> None:
    instruments = [Instrument("é株"[i] * length) for i in range(2)]

    rows = rows_of(codec, "us_equity", block({0: [(1, 100, 1)], 1: [(2, 200, 2)]}), instruments)

    assert [(row["S"], row["p"]) for row in rows] == [(instruments[0].symbol, 1.0), (instruments[1].symbol, 2.0)]
