"""Every layout that we know, by real rows: as the vendor ships it, and renamed, reordered, redated or cut down."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from feeds.csv_layouts import BY_NAME, LAYOUTS
from tests.feeds.csv_rig import DATA, Row, replay
from ticker.feed import FatalFeedError

ZERO = Decimal(0)


def cells(name: str, separator: str = ",", header: bool = False) -> list[list[str]]:
    """Return a data file's rows by the standard library."""
    data = (DATA / name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    return list(csv.reader(text.splitlines(), delimiter=separator))[1 if header else 0 :]


def ns(moment: datetime) -> int:
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 10**9 + moment.microsecond * 1000


def trade(symbol: str, time_ns: int, price: str, size: str, shift: int = 0) -> Row:
    return symbol, time_ns, Decimal(price).scaleb(-shift), Decimal(size)


def bar(symbol: str, time_ns: int, prices: Iterable[str], volume: str, shift: int = 0) -> Row:
    return symbol, time_ns, *(Decimal(each).scaleb(-shift) for each in prices), Decimal(volume), ZERO, ZERO


def since_midnight(day: datetime, ms: str) -> int:
    """Return UNIX nanoseconds of a New York wall clock on a day without a change of clocks."""
    local = day + timedelta(milliseconds=int(ms))
    return ns(local.replace(tzinfo=ZoneInfo("America/New_York")))


IBM_DAY, AIG_DAY = datetime(2013, 10, 7), datetime(2013, 10, 8)


def utc(text: str, format_: str) -> int:
    return ns(datetime.strptime(text, format_).replace(tzinfo=UTC))


def by_time(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row[1])


EXPECTED: dict[str, tuple[str, str, int, Callable[[], list[Row]]]] = {
    "BTCUSDT-trades-2024-08-08.csv.gz": ("binance-trades", "trades", 0, lambda: [
        trade("BTCUSDT", int(c[4]) * 10**6, c[1], c[2]) for c in cells("BTCUSDT-trades-2024-08-08.csv.gz")]),
    "BTCUSDT-aggTrades-2024-08-08.csv": ("binance-aggtrades", "trades", 0, lambda: [
        trade("BTCUSDT", int(c[5]) * 10**6, c[1], c[2])
        for c in cells("BTCUSDT-aggTrades-2024-08-08.csv", header=True)]),
    "usdm-trades-ns-2024-08-08.csv": ("usdm-trades", "trades", 0, lambda: by_time(
        trade(c[2], int(c[1]) * 10**6, c[4], c[5]) for c in cells("usdm-trades-ns-2024-08-08.csv", header=True))),
    "usdm-bookticker-ns-2024-08-08.csv": ("usdm-bookticker", "quotes", 0, lambda: by_time(
        (c[2], int(c[1]) * 10**6, *map(Decimal, c[3:7]))
        for c in cells("usdm-bookticker-ns-2024-08-08.csv", header=True))),
    "20140501_eurusd_tick_quote.csv": ("lean-quote-ticks", "quotes", 0, lambda: [
        ("EURUSD", ns(datetime(2014, 5, 1, 5, tzinfo=UTC) + timedelta(milliseconds=int(c[0]))),
         Decimal(c[1]), ZERO, Decimal(c[2]), ZERO)
        for c in cells("20140501_eurusd_tick_quote.csv")]),
    "20131007_ibm_Trade_Tick.csv.gz": ("lean-trade-ticks", "trades", 0, lambda: [
        trade("IBM", since_midnight(IBM_DAY, c[0]), c[1], c[2], 4) for c in cells("20131007_ibm_Trade_Tick.csv.gz")]),
    "20131008_aig_Trade_Tick.csv": ("lean-trade-ticks", "trades", 0, lambda: [
        trade("AIG", since_midnight(AIG_DAY, c[0]), c[1], c[2], 4) for c in cells("20131008_aig_Trade_Tick.csv")]),
    **{
        f"20131008_{name}_minute_trade.csv": ("lean-equity-minutes", "bars", 60, lambda name=name: [  # type: ignore[misc]
            bar(name.upper(), since_midnight(AIG_DAY, c[0]), c[1:5], c[5], 4)
            for c in cells(f"20131008_{name}_minute_trade.csv")])
        for name in ("aig", "bac", "ibm", "spy")
    },
    "nt-spy-minute-2011-03.csv": ("ninjatrader-minutes", "bars", 60, lambda: [
        bar("SPY", utc(c[0], "%Y%m%d %H%M%S") - 60 * 10**9, c[1:5], c[5])
        for c in cells("nt-spy-minute-2011-03.csv", ";")]),
    "bitstampUSD.csv": ("bitcoincharts", "trades", 0, lambda: [
        trade("BITSTAMPUSD", int(c[0]) * 10**9, c[1], c[2]) for c in cells("bitstampUSD.csv")]),
    "30min-bitstampUSD-2.csv": ("bitstamp-bars", "bars", 1800, lambda: [
        bar("BITSTAMPUSD", utc(c[0], "%Y-%m-%d %H:%M:%S"), c[1:5], c[5])
        for c in cells("30min-bitstampUSD-2.csv", header=True)]),
    "dash-stock-ticker-demo.csv": ("quandl", "bars", 86400, lambda: by_time(
        bar(c[14], utc(c[1], "%Y-%m-%d"), c[2:6], c[6]) for c in cells("dash-stock-ticker-demo.csv", header=True))),
    "orcl-2010-googlefinance-malformed.csv": ("header", "bars", 86400, lambda: by_time(
        bar("ORCL", utc(c[0], "%d-%b-%y"), c[1:5], c[5])
        for c in cells("orcl-2010-googlefinance-malformed.csv", header=True) if c[1] != "-")),
    "tesla-stock-price.csv": ("header", "bars", 86400, lambda: by_time(
        bar("TESLA", utc(c[0], "%Y/%m/%d"), [c[3], c[4], c[5], c[1]], c[2])
        for c in cells("tesla-stock-price.csv", header=True) if c[0] != "11:34")),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
async def test_rows_of_each_layout_are_those_of_its_text(name: str, caplog: pytest.LogCaptureFixture) -> None:
    layout, kind, interval_s, expected = EXPECTED[name]
    caplog.set_level("INFO")

    replayed = await replay(DATA / name, "--on-bad-row", "skip")

    assert replayed.rows() == expected()
    assert replayed.feed.kinds == (kind,)
    assert replayed.feed.bars_s == ((interval_s,) if interval_s else ())
    assert f"{name}: {layout}: {kind} of" in caplog.text


def test_every_data_file_is_among_them() -> None:
    assert {path.name for path in DATA.glob("*.csv*")} == set(EXPECTED)


def rewritten(name: str, folder: Path, new_name: str, change: Callable[[list[str]], list[str]]) -> Path:
    """Write a copy of a data file under another name with its rows of cells changed."""
    path = folder / new_name
    rows = [change(row) for row in cells(name, ";" if name.startswith("nt-") else ",")]
    separator = ";" if name.startswith("nt-") else ","
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows(rows)
    return path


@pytest.mark.parametrize(
    ("name", "new_name", "symbol"),
    [
        ("BTCUSDT-trades-2024-08-08.csv.gz", "ETHBTC-trades-2025-01-02.csv", "ETHBTC"),
        ("BTCUSDT-trades-2024-08-08.csv.gz", "some_export.csv", "SOME"),
        ("20131007_ibm_Trade_Tick.csv.gz", "20131007_msft_Trade_Tick.csv", "MSFT"),
        ("20131007_ibm_Trade_Tick.csv.gz", "goog.20131007.csv", "GOOG.20131007"),
        ("20140501_eurusd_tick_quote.csv", "gbpusd 2014-05-01.csv", "GBPUSD"),
        ("nt-spy-minute-2011-03.csv", "iwm.txt", "IWM"),
        ("bitstampUSD.csv", "krakenEUR.csv", "KRAKENEUR"),
        ("30min-bitstampUSD-2.csv", "btc.csv", "BTC"),
        ("tesla-stock-price.csv", "f.csv", "F"),
    ],
)
async def test_renamed_files_are_recognised_by_what_is_in_them(
    tmp_path: Path, name: str, new_name: str, symbol: str
) -> None:
    path = rewritten(name, tmp_path, new_name, lambda row: row)

    replayed = await replay(path, "--on-bad-row", "skip")

    expected = EXPECTED[name][3]()
    assert [row[1:] for row in replayed.rows()] == [row[1:] for row in expected]
    assert list(replayed.instruments) == [symbol]


async def test_times_since_midnight_are_of_the_day_in_the_name(tmp_path: Path) -> None:
    path = rewritten("20131007_ibm_Trade_Tick.csv.gz", tmp_path, "20140305_ibm_Trade_Tick.csv", lambda row: row)

    replayed = await replay(path)

    first = cells("20131007_ibm_Trade_Tick.csv.gz")[0]
    assert replayed.rows()[0] == trade("IBM", since_midnight(datetime(2014, 3, 5), first[0]), first[1], first[2], 4)


async def test_times_since_midnight_want_a_day_if_the_name_has_none(tmp_path: Path) -> None:
    path = rewritten("20131007_ibm_Trade_Tick.csv.gz", tmp_path, "ibm.csv", lambda row: row)

    with pytest.raises(FatalFeedError, match=r"ibm\.csv: .*since midnight.*--date"):
        await replay(path)
    replayed = await replay(path, "--date", "2013-10-07")

    assert replayed.rows() == EXPECTED["20131007_ibm_Trade_Tick.csv.gz"][3]()


HEADED = [name for name in EXPECTED if EXPECTED[name][0] in ("header",) or (BY_NAME.get(EXPECTED[name][0]) and
          BY_NAME[EXPECTED[name][0]].marks)]  # fmt: skip


@pytest.mark.parametrize("name", HEADED)
async def test_headed_columns_may_come_in_any_order(tmp_path: Path, name: str) -> None:
    path = rewritten(name, tmp_path, name, lambda row: row[::-1])

    replayed = await replay(path, "--on-bad-row", "skip")

    assert replayed.rows() == EXPECTED[name][3]()


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("BTCUSDT-aggTrades-2024-08-08.csv", ["agg_trade_id", "is_buyer_maker", "first_trade_id"]),
        ("usdm-trades-ns-2024-08-08.csv", ["local_ts_ns", "kind"]),
        ("usdm-bookticker-ns-2024-08-08.csv", ["local_ts_ns"]),
        ("dash-stock-ticker-demo.csv", ["", "ExDividend", "SplitRatio", "AdjOpen"]),
        ("30min-bitstampUSD-2.csv", ["Adj Close"]),
    ],
)
async def test_columns_that_are_not_needed_may_be_missing(tmp_path: Path, name: str, dropped: list[str]) -> None:
    header = cells(name)[0]
    kept = [i for i, column in enumerate(header) if column not in dropped]
    path = rewritten(name, tmp_path, name, lambda row: [row[i] for i in kept])

    assert (await replay(path)).rows() == EXPECTED[name][3]()


async def test_without_the_venues_time_the_recorders_counts(tmp_path: Path) -> None:
    path = rewritten("usdm-trades-ns-2024-08-08.csv", tmp_path, "x.csv", lambda row: [row[0], *row[2:]])

    replayed = await replay(path)

    expected = [trade(c[2], int(c[0]), c[4], c[5]) for c in cells("usdm-trades-ns-2024-08-08.csv", header=True)]
    assert replayed.rows() == expected
    assert {each.time_scale for each in replayed.instruments.values()} == {9}


async def test_a_volume_that_is_missing_is_zero(tmp_path: Path) -> None:
    path = rewritten("30min-bitstampUSD-2.csv", tmp_path, "30min-x.csv", lambda row: row[:5])

    replayed = await replay(path)

    assert {row[6] for row in replayed.rows()} == {ZERO}


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,price,size\n{ms},1.5,2\n",
        "Time;Last;Quantity\n{ms};1.5;2\n",
        "DateTime\tPrice\tAmount\n2024-08-08T23:54:15.342Z\t1.5\t2\n",
        "trade_id,side,amount,price,created_at,received_time\n7,buy,2,1.5,{ms},9\n",
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\nbinance,X,{ms}000,{ms}999,1,buy,1.5,2\n",
        "ticker,conditions,participant_timestamp,price,sequence_number,sip_timestamp,size\nX,12,{ms}000000,1.5,1,9,2\n",
        "Date,Time,Price,Volume\n2024-08-08,23:54:15.342,1.5,2\n",
        "date,time,price,volume\n08/08/2024,23:54:15.342,$1.5,2\n",
        "DATE,TIME_M,SYM_ROOT,SIZE,PRICE\n20240808,23:54:15.342,X,2,1.5\n",
        "timestamp,symbol,side,size,price\n2024-08-08D23:54:15.342000000,X,Buy,2,1.5\n",
        "time_exchange;time_coinapi;price;base_amount\n2024-08-08T23:54:15.342;2024-08-08T23:54:16;1.5;2\n",
        ",price,size\n2024-08-08 23:54:15.342000+00:00,1.5,2\n",
        "instrument_name,trade_id,side,price,size,created_time\nX,1,buy,1.5,2,{ms}\n",
        "# exported by hand\nunix,date,price,size\n{ms},2024-08-08 23:54:15,1.50,2.0\n",
        "{ms},1.5,2\n",
        "2024-08-08 23:54:15.342,1.5,2\n",
    ],
)
async def test_common_headers_of_strangers_are_understood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x-2024-08-08.csv"
    path.write_text(text.replace("{ms}", "1723161255342"))

    replayed = await replay(path)

    assert replayed.rows() == [trade("X", 1723161255342 * 10**6, "1.5", "2")]


@pytest.mark.parametrize(
    "text",
    [
        "symbol,time,bid,ask\nX,{s},1.1,1.2\n",
        "Gmt time,Ask,Bid\n09.08.2024 00:00:00.000,1.2,1.1\n",
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
        "1,1.1,0,1.2,0,{s}000,{s}999\n",
        "EUR/USD,20240809 00:00:00.000,1.1,1.2\n",
    ],
)
async def test_common_quotes_of_strangers_are_understood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text.replace("{s}", "1723161600"))

    replayed = await replay(path)

    assert [row[1:] for row in replayed.rows()] == [(1723161600 * 10**9, Decimal("1.1"), ZERO, Decimal("1.2"), ZERO)]


@pytest.mark.parametrize(
    "text",
    [
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-08-08,1,3,0.5,2,2,7\n2024-08-09,1,3,0.5,2,2,7\n",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>\n"
        "X,D,20240808,000000,1,3,0.5,2,7\nX,D,20240809,000000,1,3,0.5,2,7\n",
        "ticker,volume,open,close,high,low,window_start\nX,7,1,2,3,0.5,1723075200000000000\n"
        "X,7,1,2,3,0.5,1723161600000000000\n",
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        "1723161600,2024-08-09 00:00:00,X,1,3,0.5,2,7,14\n1723075200,2024-08-08 00:00:00,X,1,3,0.5,2,7,14\n",
        "date,minute,high,low,open,close,volume\n2024-08-08,00:00,3,0.5,1,2,7\n2024-08-09,00:00,3,0.5,1,2,7\n",
        '"Date","Price","Open","High","Low","Volume"\n"2024-08-09","2","1","3","0.5","7"\n'
        '"2024-08-08","2","1","3","0.5","7"\n',
        "2024-08-08,1,3,0.5,2,7\n2024-08-09,1,3,0.5,2,7\n",
        "2024/08/08,00:00,1,3,0.5,2,7\n2024/08/09,00:00,1,3,0.5,2,7\n",
        "Datum;Open;High;Low;Close;Volume;Time\nx;1;3;0,5;2;7;2024-08-08\nx;1;3;0,5;2;7;2024-08-09\n",
    ],
)
async def test_common_bars_of_strangers_are_understood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)

    replayed = await replay(path, "--timezone", "UTC")

    day = 1723075200 * 10**9
    assert replayed.rows() == [
        bar("X", day, ["1", "3", "0.5", "2"], "7"),
        bar("X", day + 86400 * 10**9, ["1", "3", "0.5", "2"], "7"),
    ]
    assert replayed.feed.bars_s == (86400,)


async def test_dollar_signs_and_american_days_of_a_nasdaq_download_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "Date,Close/Last,Volume,Open,High,Low\n10/16/2024,$2.00,7,$1.00,$3.00,$0.50\n10/15/2024,$2,7,$1,$3,$0.5\n"
    )

    replayed = await replay(path)

    assert replayed.rows() == [
        bar("X", utc(day, "%m/%d/%Y"), ["1", "3", "0.5", "2"], "7") for day in ("10/15/2024", "10/16/2024")
    ]


@pytest.mark.parametrize(("name", "is_told"), [("x.csv", False), ("x-2024-03-04.csv", True)])
async def test_a_day_that_may_be_a_month_is_asked_for_unless_the_name_tells(
    tmp_path: Path, name: str, is_told: bool
) -> None:
    path = tmp_path / name
    path.write_text("time,price\n03/04/2024 09:30:00,1\n")

    if is_told:
        assert (await replay(path)).rows() == [trade("X", utc("2024-03-04 09:30", "%Y-%m-%d %H:%M"), "1", "0")]
        return
    with pytest.raises(FatalFeedError, match=r"%m/%d/%Y .* or %d/%m/%Y .*--time-format"):
        await replay(path)


async def test_klines_bring_notional_and_count(tmp_path: Path) -> None:
    path = tmp_path / "BTCUSDT-1m-2024-08-08.csv"
    row = "{0}000,10.5,11,10,10.75,3,{1}999,31.875,4,1,10.5,0\n"
    path.write_text(row.format(1723075200, 1723075259) + row.format(1723075260, 1723075319))

    replayed = await replay(path)

    assert [row[7:] for row in replayed.rows()] == [(Decimal("31.875"), Decimal(4))] * 2


async def test_a_notional_that_fits_no_scale_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    row = "{},1.12345678,1.12345678,1,1,1000000000,1.{}1,3\n"
    path.write_text(
        "time,open,high,low,close,volume,quote_volume,count\n" + row.format(60, "0" * 17) + row.format(120, 0)
    )

    replayed = await replay(path, "--time-format", "s", "--date", "2024-08-08")

    assert [row[7:] for row in replayed.rows()] == [(ZERO, Decimal(3))] * 2


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("alpha,beta,gamma\n1,2,3\n", "columns alpha, beta, gamma"),
        ("foo,1,2,bar\n", "foo,1,2,bar"),
        ("time,note\n1723161255,hello\n", "columns time, note"),
    ],
)
async def test_an_unknown_layout_is_told_in_one_line_that_names_what_was_seen(
    tmp_path: Path, text: str, seen: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)

    with pytest.raises(FatalFeedError) as caught:
        await replay(path)

    message = str(caught.value)
    assert str(path) in message
    assert seen in message
    assert "--columns" in message
    assert "\n" not in message


async def test_columns_are_named_by_number_from_1_or_by_header(tmp_path: Path) -> None:
    bare, headed = tmp_path / "bare.csv", tmp_path / "headed.csv"
    bare.write_text("a,1.5,x,20240808 23:54:15,2\n")
    headed.write_text("id,Kurs,x,Wann,Menge\na,1.5,x,20240808 23:54:15,2\n")
    how = ["--time-format", "%Y%m%d %H:%M:%S", "--timezone", "America/New_York", "--symbol", "X"]

    by_number = await replay(bare, "--columns", "time=4,price=2,size=5", *how)
    by_name = await replay(headed, "--columns", "time=Wann,price=kurs,size=Menge", *how)

    expected = [trade("X", ns(datetime(2024, 8, 9, 3, 54, 15, tzinfo=UTC)), "1.5", "2")]
    assert by_number.rows() == by_name.rows() == expected


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ("time=1,price=6", "columns are counted from 1 to 5"),
        ("time=0,price=2", "columns are counted from 1 to 5"),
        ("time=1,price=nope", "no such column; its header has a, b, c, d, e"),
        ("time=1,price=1", "expected each column once"),
    ],
)
async def test_columns_that_are_not_there_are_told(tmp_path: Path, columns: str, reason: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b,c,d,e\n1,2,3,4,5\n")

    with pytest.raises(FatalFeedError, match=reason):
        await replay(path, "--columns", columns)


async def test_a_layout_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "20140501_x.csv"
    path.write_text("1787,1.38727,1.38729\n")

    guessed = await replay(path)
    named = await replay(path, "--layout", "lean-crypto-ticks")

    assert guessed.feed.kinds == ("quotes",)
    assert named.rows() == [trade("X", 1398902400 * 10**9 + 1787 * 10**6, "1.38727", "1.38729")]


async def test_a_layout_with_more_columns_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1723161255342,1.5,2\n")

    with pytest.raises(FatalFeedError, match="--layout binance-trades has 7 columns, the file 3"):
        await replay(path, "--layout", "binance-trades")


def test_layouts_say_what_they_are_and_how_they_are_recognised() -> None:
    assert len(BY_NAME) == len(LAYOUTS)
    for layout in LAYOUTS:
        assert layout.about
        assert bool(layout.look) == bool(layout.roles)
        assert layout.look or layout.marks
