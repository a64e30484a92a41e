"""Reading against a slow reference, the `csv` module and Decimal, and what happens to rows that are bad."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feeds.csv_delimited import DelimitedReader
from feeds.csv_numbers import Numbers, exact
from feeds.csv_reader import Rows
from feeds.csv_recognise import Hints, plan_of
from feeds.csv_text import Piece, pieces
from tests.feeds.csv_rig import DATA, make, replay
from ticker.feed import FatalFeedError

HEAD = "time,symbol,price,size,note\n"
GOOD = "1723161255342,AAPL,189.31,100,\n"


def write(folder: Path, text: str, name: str = "trades.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Draw the text of a number that any vendor might write."""
    whole = draw(st.integers(0, 10**8))
    fraction = draw(st.text("0123456789", max_size=8))
    sign = draw(st.sampled_from(["", "", "", "+", "-"]))
    text = sign + draw(st.sampled_from([str(whole), f"{whole:,}", f"0{whole}"])) + ("." + fraction if fraction else "")
    text += draw(st.sampled_from(["", "", "", "e1", "E-2"])) if "," not in text else ""
    return draw(st.sampled_from(["", " "])) + text


@st.composite
def cells(draw: st.DrawFn) -> str:
    """Draw a cell for a number, most of the time a good one."""
    return draw(
        st.one_of(numbers(), numbers(), numbers(), st.sampled_from(["", "-", "NaN", "inf", "1,23", "1.2.3", "x", "１"]))
    )


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    symbols = st.sampled_from(["A", "B", "Ünited", " A ", "C,D", 'E"F', ""])
    times = st.sampled_from(["1723161255342", "1723161255343.5", "0", "", "x", "99999999999999999999"])
    notes = st.sampled_from(["", "x", "two\nlines", 'a "quoted" word', "a,b", "\r\n"])
    good_times = st.just("1723161255342")
    row = st.tuples(st.one_of(good_times, good_times, times), symbols, cells(), cells(), notes).map(list)
    ragged = st.lists(st.sampled_from(["1", "x"]), min_size=1, max_size=7)
    return draw(st.lists(st.one_of(row, row, row, row, ragged), max_size=30))


def reference(text: str) -> tuple[list[tuple[int, str, Decimal, Decimal]], list[int]]:
    """Return the good rows of a file of times, symbols, prices, sizes and notes, and the lines of the bad ones."""
    good, bad = [], []
    reader = csv.reader(io.StringIO(text, newline=""))
    next(reader)
    line = reader.line_num + 1
    for row in reader:
        start, line = line, reader.line_num + 1
        if not any(cell.strip() for cell in row) and len(row) <= 1:
            continue
        try:
            if len(row) != 5:
                raise ValueError
            time = Decimal(row[0].strip()) * 10**6
            price, size = (decimal(cell) for cell in row[2:4])
            symbol = row[1].strip()
            if not symbol or size < 0 or not 0 <= time < 230 * 365 * 86400 * 10**9 or time % 1:
                raise ValueError
            good.append((int(time), symbol, price, size))
        except (ValueError, ArithmeticError):
            bad.append(start)
    return good, bad


def decimal(cell: str) -> Decimal:
    cell = cell.strip()
    if not cell.isascii() or "_" in cell:
        raise ValueError
    groups = cell.split(".")[0].lstrip("+-").split(",")
    if len(groups) > 1:
        if any(len(group) != 3 for group in groups[1:]) or not 1 <= len(groups[0]) <= 3 or "e" in cell.lower():
            raise ValueError
        cell = cell.replace(",", "")
    number = Decimal(cell)
    if not number.is_finite():
        raise ValueError
    return number


def unpacked(reader: DelimitedReader, parts: list[Rows]) -> list[tuple[int, str, Decimal, Decimal]]:
    names = list(reader.symbols)
    found = []
    for rows in parts:
        price, size = rows.numbers
        assert price is not None
        assert size is not None
        for i, (time, code) in enumerate(zip(rows.time.tolist(), rows.codes.tolist(), strict=True)):
            values = [Decimal(n.wide.get(i, int(n.values[i]))).scaleb(-n.scale) for n in (price, size)]
            found.append((time, names[code], values[0], values[1]))
    return found


@settings(max_examples=100)
@given(tables(), st.sampled_from(["\n", "\r\n"]), st.integers(64, 4000), st.booleans(), st.integers(0, 2))
def test_any_file_is_read_as_the_slow_reference_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    end: str,
    size: int,
    blank_lines: bool,
    parsers: int,
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerow(["time", "symbol", "price", "size", "note"])
    writer.writerows([["1723161255342", "A", "1.5", "2", "what most rows look like"]] * 31)
    for row in table:
        writer.writerow(row)
        if blank_lines:
            text.write(end)
    path = write(tmp_path_factory.mktemp("csv"), text.getvalue())
    reader = DelimitedReader(plan_of(str(path), Hints(time_format="ms")))

    parts = list(reader.rows(None, size, parsers))

    good, bad = reference(text.getvalue())
    assert unpacked(reader, parts) == good
    assert [row.line for rows in parts for row in rows.bad] == bad
    lines = [line for rows in parts for line in rows.lines().tolist()]
    assert len(lines) == len(good)
    assert not set(lines) & set(bad)


@given(numbers())
def test_text_is_taken_exactly(text: str) -> None:
    whole, decimals = exact(text)

    assert Decimal(whole).scaleb(-decimals) == decimal(text)
    assert decimals == 0 or whole % 10


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-(10**24), 10**24)), min_size=1, max_size=30),
    st.integers(0, 6),
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
)
@example([(0, -(2**63))], 0, [0, 0, 0])
def test_numbers_are_put_at_their_symbols_scales_or_refused(
    rows: list[tuple[int, int]], scale: int, scales: list[int]
) -> None:
    codes = np.array([code for code, _ in rows])
    pairs = [(whole, 0) for _, whole in rows]
    column = pa.array([Decimal(whole) for whole, _ in pairs], pa.decimal128(38, 0)).cast(pa.decimal128(38, scale))

    for numbers_ in (Numbers.of_pairs(pairs, scale), Numbers.of_decimals(column, scale)):
        values, misfits = numbers_.at_scales(codes, np.array(scales))
        needed = numbers_.decimals(codes, np.zeros(3, np.int64))

        for i, (code, whole) in enumerate(rows):
            fits = abs(whole * 10 ** scales[code]) < 2**63
            assert (misfits is not None and misfits[i]) == (not fits)
            assert not fits or values[i] == whole * 10 ** scales[code]
        assert needed.tolist() == [0, 0, 0]
        assert numbers_.any_negative == any(whole < 0 for _, whole in rows)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"), ("  ", "is empty"), ("-", "is not a number: '-'"), ("NaN", "not a number"), (".", "not a n"),
        ("1,23", "is not a number: '1,23'"), ("1,2345", "not a number"), (",123", "not a number"), ("1_0", "not a num"),
        ("inf", "not a number"), ("0x10", "not a number"), ("11:34", "not a number"), ("1e99999", "not a number"),
        ("1e99", "is too large"), ("9" * 50, "is too large"), ("€5", "not a number"), ("1 000", "not a number"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        exact(text)


def test_thousands_commas_count_only_between_groups_of_three() -> None:
    assert exact("4,787,699") == (4787699, 0)
    assert exact("-1,234.50") == (-12345, 1)
    assert exact("1.234,5", decimal_comma=True) == (12345, 1)
    assert exact("$1,234.5") == (12345, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1723161255342,AAPL,,100,", "price is empty"),
        ("1723161255342,AAPL,-,100,", "price is not a number: '-'"),
        ("1723161255342,AAPL,NaN,100,", "price is not a number: 'NaN'"),
        ("1723161255342,AAPL,189.31,null,", "size is not a number: 'null'"),
        ("1723161255342,AAPL,189.31,-5,", "size is negative: '-5'"),
        ("1723161255342,AAPL,189.31", "has 3 cells, not 5"),
        ("1723161255342,AAPL,189.31,1,,,", "has 7 cells, not 5"),
        ("11:34,AAPL,189.31,100,", "time is not a number: '11:34'"),
        (",AAPL,189.31,100,", "time is empty"),
        ("1723161255342999,AAPL,189.31,100,", "time lies outside of the years"),
        ("1723161255342,,189.31,100,", "symbol is not one of 1 to 128 characters"),
        ("1723161255342,AAPL,1.1234567890123456789,100,", "price has more than 18 decimals"),
        ("1723161255342,AAPL,1e30,100,", "price does not fit 18 digits"),
    ],
)
async def test_a_bad_row_is_told_with_file_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path, HEAD + GOOD * 20 + row + "\n" + GOOD)

    with pytest.raises(FatalFeedError) as caught:
        await replay(path)

    assert str(caught.value).startswith(f"{path}:22: {reason}")
    assert "--on-bad-row skip" in str(caught.value)


@pytest.mark.parametrize(
    "pack", [gzip.compress, lambda data: pa.compress(data, "zstd", asbytes=True)], ids=["gz", "zst"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_lines_are_counted_as_an_editor_does(tmp_path: Path, pack: object, end: str) -> None:
    assert callable(pack)
    note = '1723161255342,AAPL,189.31,100,"a note\nof two lines"\n'
    text = HEAD + "\n" + GOOD * 3000 + "\n  \n" + note + "1723161255342,AAPL,x,100,\n" + GOOD * 10
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(pack(b"\xef\xbb\xbf" + text.replace("\n", end).encode()))

    with pytest.raises(
        FatalFeedError, match=rf"trades\.csv\.gz:{1 + 1 + 3000 + 2 + 2 + 1}: price is not a number: 'x'"
    ):
        await replay(path)


async def test_bad_rows_are_skipped_counted_and_the_first_ten_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, HEAD + (GOOD + "1723161255342,AAPL,-,100,\n") * 15)
    caplog.set_level("INFO")

    replayed = await replay(path, "--on-bad-row", "skip")

    told = [record.message for record in caplog.records if "bad row skipped" in record.message]
    assert [message.split("trades.csv:")[1] for message in told] == [
        f"{line}: price is not a number: '-'" for line in range(3, 23, 2)
    ]
    assert "15 rows (15 bad ones skipped)" in caplog.text
    assert "15 bad rows skipped in all" in caplog.text
    assert len(replayed.rows()) == replayed.feed.bad_rows.count == 15


async def test_nothing_is_emitted_from_a_file_whose_last_row_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + GOOD * 50_000 + "1723161255342,AAPL,oops,1,\n")

    with pytest.raises(FatalFeedError, match=r":50002: price is not a number: 'oops'"):
        await make(path).prepare()


async def test_a_price_too_large_for_the_digits_of_another_is_told_by_its_line(tmp_path: Path) -> None:
    text = HEAD + "1723161255342,A,10000000000,1,\n" + GOOD + "1723161255342,A,0.0000000001,1,\n"
    path = write(tmp_path, text)

    with pytest.raises(FatalFeedError, match=r"trades\.csv:2: price does not fit 18 digits"):
        await replay(path)
    replayed = await replay(path, "--on-bad-row", "skip")

    assert [row[2] for row in replayed.rows()] == [Decimal("189.31"), Decimal("0.0000000001")]
    assert replayed.feed.bad_rows.count == 1


async def test_scales_are_those_of_significant_digits_by_symbol(tmp_path: Path) -> None:
    rows = "1723161255342,BTC,61837.63000000,0.00009000,\n1723161255342,PEPE,0.000012345678,20000000000000.000,\n"
    path = write(tmp_path, HEAD + rows * 2)

    replayed = await replay(path)

    scales = {symbol: (i.price_scale, i.size_scale) for symbol, i in replayed.instruments.items()}
    assert scales == {"BTC": (2, 5), "PEPE": (12, 0)}
    btc, pepe = (Decimal("61837.63"), Decimal("0.00009")), (Decimal("0.000012345678"), Decimal(20000000000000))
    assert [row[2:] for row in replayed.rows()] == [btc, pepe] * 2


async def test_eighteen_digits_come_out_as_they_stand_there(tmp_path: Path) -> None:
    prices = ["123456789.123456789", "0.000000000000000001", "-5", "999999999999999999"]
    for i, price in enumerate(prices):
        path = write(tmp_path, f"{HEAD}1723161255342,A{i},{price},1,\n", f"{i}.csv")

        assert [row[2] for row in (await replay(path)).rows()] == [Decimal(price)]


async def test_the_whole_binance_file_is_read_row_by_row_as_its_text_says() -> None:
    name = "BTCUSDT-trades-2024-08-08.csv.gz"

    replayed = await replay(DATA / name)

    lines = gzip.decompress((DATA / name).read_bytes()).decode().splitlines()
    cells_ = [line.split(",") for line in lines]
    assert len(cells_) == 9757
    assert replayed.rows() == [("BTCUSDT", int(c[4]) * 10**6, Decimal(c[1]), Decimal(c[2])) for c in cells_]


async def test_the_whole_ibm_file_is_read_row_by_row_as_its_text_says() -> None:
    name = "20131007_ibm_Trade_Tick.csv.gz"

    replayed = await replay(DATA / name)

    midnight = datetime(2013, 10, 7, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)
    since_1970 = (midnight - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    cells_ = [line.split(",") for line in gzip.decompress((DATA / name).read_bytes()).decode().splitlines()]
    assert len(cells_) == 24293
    assert replayed.rows() == [
        ("IBM", (since_1970 + int(c[0])) * 10**6, Decimal(c[1]) / 10000, Decimal(c[2])) for c in cells_
    ]


@given(st.text('ab,"\n', max_size=200), st.integers(1, 60))
def test_pieces_are_the_whole_file_and_start_where_they_say(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    path = write(tmp_path_factory.mktemp("csv"), "x" + text)

    found = list(pieces(str(path), ",", size=size))

    assert b"".join(piece.data for piece in found) == ("x" + text).encode()
    at = 1
    for piece in found:
        assert piece.line == at
        at += piece.data.count(b"\n")


@given(st.lists(st.lists(st.sampled_from(["a", 'q"q', "l\nl", ",", ""]), min_size=2, max_size=3), max_size=40))
def test_a_piece_is_cut_between_rows(rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    piece = Piece(text.getvalue().encode(), 7)

    parts = list(piece.cut(",", 16))

    assert b"".join(part.data for part in parts) == piece.data
    assert [row for part in parts for row in csv.reader(io.StringIO(part.data.decode(), newline=""))] == rows
