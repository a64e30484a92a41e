"""Parquet files with the columns of the CSV layouts: any type, exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feeds.csv_rig import DATA, replay
from ticker.feed import FatalFeedError

NS = 1723161255342123456
US = NS // 1000


def write(folder: Path, name: str = "x.parquet", rows: int = 1 << 20, **columns: pa.Array) -> Path:
    path = folder / name
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def prices(count: int = 2) -> dict[str, pa.Array]:
    return {"price": pa.array(["1.5", "2.25"][:count]).cast(pa.decimal128(9, 4)), "size": pa.array([1, 2][:count])}


TIMES = {
    "timestamp of us in UTC": (pa.array([US], pa.timestamp("us", "UTC")), US * 1000),
    "timestamp of ns in New York": (pa.array([NS], pa.timestamp("ns", "America/New_York")), NS),
    "timestamp of ms without a zone": (pa.array([US // 1000], pa.timestamp("ms")), US // 1000 * 10**6),
    "timestamp of s": (pa.array([US // 10**6], pa.timestamp("s")), US // 10**6 * 10**9),
    "integer of ns": (pa.array([NS]), NS),
    "integer of ms": (pa.array([US // 1000], pa.uint64()), US // 1000 * 10**6),
    "double of s": (pa.array([1723161255.342]), 1723161255342 * 10**6),
    "text": (pa.array(["2024-08-08T23:54:15.342123456Z"]), NS),
    "dictionary of text": (pa.array(["2024-08-08 23:54:15"]).dictionary_encode(), 1723161255 * 10**9),
}


@pytest.mark.parametrize("how", TIMES)
async def test_times_of_any_type_are_exact(tmp_path: Path, how: str) -> None:
    column, expected = TIMES[how]

    replayed = await replay(write(tmp_path, time=column, **prices(1)))

    assert replayed.rows() == [("X", expected, Decimal("1.5"), Decimal(1))]


async def test_timestamps_without_a_zone_are_of_the_time_zone_given(tmp_path: Path) -> None:
    moment = datetime(2013, 3, 11, 9, 30)
    path = write(tmp_path, time=pa.array([moment], pa.timestamp("us")), **prices(1))

    replayed = await replay(path, "--timezone", "America/New_York")

    assert replayed.rows()[0][1] == int(datetime(2013, 3, 11, 13, 30, tzinfo=UTC).timestamp()) * 10**9


async def test_days_make_daily_bars(tmp_path: Path) -> None:
    one = pa.array([1.5, 2.5])
    path = write(tmp_path, date=pa.array([date(2024, 8, 8), date(2024, 8, 9)]), open=one, high=one, low=one, close=one)

    replayed = await replay(path)

    assert replayed.feed.bars_s == (86400,)
    assert replayed.rows()[0][:3] == ("X", 1723075200 * 10**9, Decimal("1.5"))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(1e-9, 1e7), st.floats(0, 1e4, width=32)), min_size=1, max_size=20))
def test_doubles_are_taken_by_their_shortest_decimal(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[float, float]]
) -> None:
    import asyncio

    pairs = [(float(f"{price:.9g}"), size) for price, size in pairs]
    pairs = [(price, 1.0 if size < 1e-3 else size) for price, size in pairs]
    sizes = pa.array([size for _, size in pairs], pa.float32())
    path = write(
        tmp_path_factory.mktemp("parquet"),
        time=pa.array([NS] * len(pairs)),
        symbol=pa.array([f"S{i}" for i in range(len(pairs))]),
        price=pa.array([price for price, _ in pairs]),
        size=sizes,
    )

    replayed = asyncio.run(replay(path))

    shortest = [Decimal(str(size)) for size in sizes.to_numpy()]
    assert [row[2:] for row in replayed.rows()] == [
        (Decimal(repr(price)), size) for (price, _), size in zip(pairs, shortest, strict=True)
    ]


async def test_the_log_says_that_doubles_are_no_decimals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    await replay(write(tmp_path, time=pa.array([NS]), price=pa.array([0.1]), size=pa.array([1])))

    assert "price are doubles, taken by their shortest decimal" in caplog.text


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([1.5, None, 2.5]), "price is empty"),
        (pa.array([1.5, float("nan"), 2.5]), "price is not a number: 'nan'"),
        (pa.array([1.5, float("inf"), 2.5]), "price is not a number: 'inf'"),
        (pa.array(["1.5", "-", "2.5"]), "price is not a number: '-'"),
    ],
)
async def test_a_bad_row_is_told_by_its_number(tmp_path: Path, column: Any, reason: str) -> None:
    path = write(tmp_path, time=pa.array([NS, NS, NS]), price=column, size=pa.array([1, 1, 1]))

    with pytest.raises(FatalFeedError) as caught:
        await replay(path)
    assert str(caught.value).startswith(f"{path}: row 2: {reason}")

    replayed = await replay(path, "--on-bad-row", "skip")
    assert [row[2] for row in replayed.rows()] == [Decimal("1.5"), Decimal("2.5")]


async def test_times_that_are_missing_are_bad_rows(tmp_path: Path) -> None:
    times = pa.array([US, None], pa.timestamp("us", "UTC"))

    with pytest.raises(FatalFeedError, match=r"row 2: time is empty"):
        await replay(write(tmp_path, time=times, **prices()))


async def test_columns_may_come_in_any_order_and_many_row_groups(tmp_path: Path) -> None:
    count = 5000
    path = write(
        tmp_path,
        rows=700,
        note=pa.array(["x"] * count),
        size=pa.array(range(count)),
        ticker=pa.array(["A", "B"] * (count // 2)).dictionary_encode(),
        price=pa.array([Decimal(i) / 4 for i in range(count)], pa.decimal128(38, 18)),
        local_time=pa.array([0] * count),
        exch_time=pa.array([NS // 1000 + i for i in range(count)]),
    )

    replayed = await replay(path)

    assert replayed.rows() == [("AB"[i % 2], (NS // 1000 + i) * 1000, Decimal(i) / 4, Decimal(i)) for i in range(count)]


async def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, wann=pa.array([NS]), kurs=pa.array(["1.5"]))

    replayed = await replay(path, "--columns", "time=wann,price=2")

    assert replayed.rows() == [("X", NS, Decimal("1.5"), Decimal(0))]


async def test_a_parquet_file_with_the_rows_of_a_csv_file_is_replayed_the_same(tmp_path: Path) -> None:
    import pyarrow.csv

    table = pyarrow.csv.read_csv(DATA / "usdm-bookticker-ns-2024-08-08.csv")
    pq.write_table(table, tmp_path / "x.parquet")

    from_text = await replay(DATA / "usdm-bookticker-ns-2024-08-08.csv")
    from_parquet = await replay(tmp_path / "x.parquet")

    assert from_parquet.rows() == from_text.rows()


async def test_an_empty_or_strange_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(FatalFeedError, match=r"x\.parquet: empty"):
        await replay(write(tmp_path, time=pa.array([], pa.int64())))
    with pytest.raises(FatalFeedError, match=r"x\.parquet: layout not recognised \(columns alpha, beta\)"):
        await replay(write(tmp_path, alpha=pa.array([1]), beta=pa.array([2])))
