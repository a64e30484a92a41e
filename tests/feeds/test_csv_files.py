"""Files as they lie about: compressed, marked, quoted, cut off, unsorted, too many, not there."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feeds.csv_names import date_of, interval_of, symbol_of
from feeds.csv_progress import Progress
from tests.feeds.csv_rig import make, replay
from ticker.feed import FatalFeedError

TEXT = "time,symbol,price,size\n1723161255342,AAPL,189.31,100\n1723161255343,MSFT,410.5,7\n"
ROWS = [
    ("AAPL", 1723161255342 * 10**6, Decimal("189.31"), Decimal(100)),
    ("MSFT", 1723161255343 * 10**6, Decimal("410.5"), Decimal(7)),
]


def zst(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


WAYS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "without a last line end": lambda text: text.rstrip().encode(),
    "gz": lambda text: gzip.compress(text.encode()),
    "gz of two members": lambda text: gzip.compress(text[:40].encode()) + gzip.compress(text[40:].encode()),
    "zst": lambda text: zst(text.encode()),
    "BOM": lambda text: text.encode("utf-8-sig"),
    "BOM in gz": lambda text: gzip.compress(text.encode("utf-8-sig")),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "bars": lambda text: text.replace(",", "|").encode(),
    "decimal commas": lambda text: text.replace(",", ";").replace(".", ",").encode(),
    "quotes": lambda text: ('"' + text.strip().replace(",", '","').replace("\n", '"\n"') + '"\n').encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n").encode(),
    "a note above": lambda text: ("# from my broker\n" + text).encode(),
    "header in capitals": lambda text: text.replace("time,symbol,price,size", "TIME,Symbol,PRICE,Size").encode(),
    "header with blanks": lambda text: text.replace("time,symbol,price,size", " Time , Symbol,Price ,Size").encode(),
    "blanks": lambda text: text.replace(",", ", ").encode(),
    "trailing commas": lambda text: text.replace("\n", ",\n").encode(),
    "other columns in Latin-1": lambda text: text.replace("\n", ",naïve\n").encode("latin-1"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_rows_come_out_however_the_file_is_written(tmp_path: Path, way: str) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(WAYS[way](TEXT))

    assert (await replay(path)).rows() == ROWS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (b"time,symbol,price,size\n", "a header and no rows"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-12], "cannot be read"),
        (gzip.compress(TEXT.encode(), mtime=0)[:20] + b"xxxxxxxxx" * 9, "cannot be read"),
        (b"PK\x03\x04 zip", "an archive; unpack it"),
        (TEXT.encode("utf-16"), "UTF-16 text; save it as UTF-8"),
        (bytes(5000), "not text"),
        (b"PAR1nonsense", "cannot be read"),
    ],
)
async def test_a_file_that_is_no_good_is_told_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)

    with pytest.raises(FatalFeedError) as caught:
        await make(path).prepare()

    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


async def test_a_missing_file_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FatalFeedError, match=r"nowhere\.csv: No such file or directory"):
        await make(tmp_path / "nowhere.csv").prepare()
    with pytest.raises(FatalFeedError, match="Is a directory"):
        await make(tmp_path).prepare()


async def test_the_file_that_is_no_good_is_the_one_that_is_named(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(TEXT)
    bad.write_text("")

    with pytest.raises(FatalFeedError, match=r"bad\.csv: empty"):
        await make(good, bad).prepare()


async def test_a_quote_that_is_never_closed_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(TEXT + '1723161255344,AAPL,"189\n' + "1723161255344,AAPL,189,1\n" * 10)

    with pytest.raises(FatalFeedError, match=r"x\.csv:4: has 3 cells, not 4"):
        await replay(path)


async def test_newest_first_is_sorted_and_equal_times_keep_the_files_order(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    times = [30, 30, 20, 10, 10, 10]
    path.write_text("time,price\n" + "".join(f"17231612550{t},{i}\n" for i, t in enumerate(times)))

    replayed = await replay(path)

    assert [int(row[2]) for row in replayed.rows()] == [3, 4, 5, 2, 0, 1]


async def test_what_does_not_fit_sort_mib_is_refused_with_that_word(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price\n" + "".join(f"{1723161255000 - i},{i}\n" for i in range(30_000)))

    with pytest.raises(FatalFeedError, match=r"x\.csv: .*not in order of time.*2 MiB.*--sort-mib 1"):
        await make(path, "--sort-mib", 1).prepare()

    assert len((await replay(path, "--sort-mib", 2)).rows()) == 30_000


async def test_files_in_order_need_no_room_for_sorting(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(TEXT)

    assert (await replay(path, "--sort-mib", 0)).rows() == ROWS


async def test_without_a_scan_symbols_are_announced_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(TEXT)

    replayed = await replay(path, "--no-scan", "--scale", "price=3,size=0")

    assert replayed.instruments == {}
    assert replayed.rows() == ROWS
    assert {each.price_scale for each in replayed.emit.known.values()} == {3}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1723161255344,AAPL,1.234,1", "price has more than 2 decimals"),
        ("1723161255344,AAPL,1.23,0.5", "size has more than 0 decimals"),
        ("1723161255341,AAPL,1.23,1", "time is earlier than the row before"),
        ("1723161255344.0001,AAPL,1.23,1", "time is finer than its scale"),
        ("oops,AAPL,1.23,1", "time is not a number"),
    ],
)
async def test_without_a_scan_bad_rows_end_the_replay_when_they_come(tmp_path: Path, row: str, reason: str) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(TEXT + row + "\n" + "1723161255350,AAPL,1.23,1\n")

    with pytest.raises(FatalFeedError, match=rf"trades\.csv:4: {reason}"):
        await replay(path, "--no-scan", "--scale", "price=2,size=0,time=6")

    replayed = await replay(path, "--no-scan", "--scale", "price=2,size=0,time=6", "--on-bad-row", "skip")
    assert len(replayed.rows()) == 3
    assert replayed.feed.bad_rows.count == 1


async def test_without_a_scan_nanoseconds_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,price,size\n1723161255342123456,1,1\n")

    replayed = await replay(path, "--no-scan", "--scale", "price=2,size=0")

    assert [row[1] for row in replayed.rows()] == [1723161255342123456]


async def test_a_file_that_changes_after_its_scan_ends_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text(TEXT)
    feed = make(path, "--speed", "max")
    await feed.prepare()
    path.write_text(TEXT + "1723161255344,NEW,1,1\n")

    with pytest.raises(FatalFeedError, match=r"trades\.csv: changed since it was scanned"):
        await feed.run((await replay(path)).emit)


BAR = "{},1,1,1,1,1\n"


@pytest.mark.parametrize(
    ("name", "minutes", "interval_s"),
    [
        ("x.csv", [0, 1, 2, 5, 9], 60),
        ("x.csv", [0, 5, 10, 20], 300),
        ("x-5min.csv", [0, 10, 20], 300),
        ("x-1m.csv", [0, 7, 20], 60),
        ("x-daily.csv", [0], 86400),
        ("x-daily.csv", [0, 1, 2], 60),
    ],
)
async def test_the_interval_of_bars_is_told_by_their_spacing_or_the_name(
    tmp_path: Path, name: str, minutes: list[int], interval_s: int
) -> None:
    path = tmp_path / name
    rows = "".join(BAR.format(1723161600 + 60 * minute) for minute in minutes)
    path.write_text("time,open,high,low,close,volume\n" + rows)

    assert (await replay(path)).feed.bars_s == (interval_s,)


async def test_bars_off_their_grid_are_told_and_left_where_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.csv"
    rows = "".join(BAR.format(1723161600 + 1800 + 3600 * hour) for hour in range(3))
    path.write_text("time,open,high,low,close,volume\n" + rows)
    caplog.set_level("INFO")

    replayed = await replay(path)

    assert "its bars do not start at multiples of their interval" in caplog.text
    assert replayed.rows()[0][1] == (1723161600 + 1800) * 10**9


async def test_the_interval_of_a_single_bar_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("time,open,high,low,close,volume\n" + BAR.format(1723161600))

    with pytest.raises(FatalFeedError, match=r"x\.csv: .*--interval-s"):
        await replay(path)

    assert (await replay(path, "--interval-s", 60)).feed.bars_s == (60,)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT-trades-2024-08-08.csv", "BTCUSDT"), ("20131007_ibm_Trade_Tick.csv.gz", "IBM"),
        ("20140501_eurusd_tick_quote.csv", "EURUSD"), ("nt-spy-minute-2011-03.csv", "SPY"),
        ("30min-bitstampUSD-2.csv", "BITSTAMPUSD"), ("orcl-2010-googlefinance-malformed.csv", "ORCL"),
        ("tesla-stock-price.csv", "TESLA"), ("ETHUSDT-1m-2024-08.csv.zst", "ETHUSDT"), ("BTC-USD.csv", "BTC-USD"),
        ("EUR_USD 2014.csv", "EUR_USD"), ("brk.b_daily.parquet", "BRK.B"), ("AAPL.csv", "AAPL"), ("trades.csv", ""),
        ("2024-08-08.csv", ""), ("F.csv", "F"), ("DAT_ASCII_EURUSD_M1_2012.csv", "EURUSD"),
    ],
)  # fmt: skip
def test_symbols_are_what_is_left_of_a_name(name: str, symbol: str) -> None:
    assert symbol_of("some/where/" + name) == symbol


def test_days_and_intervals_are_found_in_names() -> None:
    assert str(date_of("20131007_ibm.csv")) == str(date_of("ibm-2013-10-07.csv")) == "2013-10-07"
    assert date_of("ibm_12345678.csv") is None
    assert date_of("ibm_201310071.csv") is None
    assert [interval_of(name) for name in ("x-1h.csv", "x_M5.csv", "x-2s.csv", "x.csv", "M.csv")] == [
        3600, 300, 2, None, None]  # fmt: skip


async def test_a_symbol_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_text("1723161255342,1.5,2\n")

    with pytest.raises(FatalFeedError, match=r"trades\.csv: neither a column nor the file's name.*--symbol"):
        await replay(path)

    assert list((await replay(path, "--symbol", "btc/usd")).instruments) == ["btc/usd"]


async def test_symbols_may_be_given_for_each_file_and_beat_a_column(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(TEXT)

    replayed = await replay(tmp_path / "a", tmp_path / "b", "--symbol", "X,Y")

    assert [row[0] for row in replayed.rows()] == ["X", "Y", "X", "Y"]


def test_the_bar_shows_on_a_terminal_only(tmp_path: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    path = tmp_path / "x.csv"
    path.write_text(TEXT)
    terminal, pipe = Terminal(), io.StringIO()

    for stream in (terminal, pipe):
        progress = Progress((str(path),), stream)
        with progress.of(str(path)) as on_read:
            on_read(len(TEXT) // 2)

    assert "50% x.csv" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert pipe.getvalue() == ""


async def test_many_symbols_are_read_and_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    symbols = [f"S{i % 997}" for i in range(20_000)]
    path.write_text("time,symbol,price\n" + "".join(f"{1723161255000 + i},{s},{i}\n" for i, s in enumerate(symbols)))

    replayed = await replay(path)

    rows = replayed.rows()
    assert [row[0] for row in rows] == symbols
    assert np.array_equal([int(row[2]) for row in rows], np.arange(20_000))
