"""Sheets: tables of candles as people have them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from adapters import tables
from adapters.tables import Anew, studied
from market.errors import BadValue
from market.indicators import studies

IST = ZoneInfo("Asia/Kolkata")
SMA = studies("sma:2")
OBV = studies("obv")


def closes(**columns: Sequence[object]) -> pa.Table:
    return pa.table({"close": [1.0, 2.0, 4.0, 8.0], "volume": [1, 2, 4, 8], **columns})


def test_columns_are_found_in_any_case_and_all_are_kept() -> None:
    sheet = pa.table({"note": ["a", "b", "c"], " CLOSE ": [1, 2, 4], "Adj Close": [9.0, 9.0, 9.0]})

    found = studied(sheet, SMA)

    assert found.column_names == ["note", " CLOSE ", "Adj Close", "sma_2"]
    assert found["sma_2"].to_pylist() == [None, 1.5, 3.0]


def test_rows_keep_their_order_and_follow_their_time() -> None:
    days = [date(2025, 1, 9 - k) for k in range(4)]

    found = studied(closes(date=days), SMA)

    assert found["date"].to_pylist() == days
    assert found["sma_2"].to_pylist() == [1.5, 3.0, 6.0, None]


def test_each_symbol_is_by_itself() -> None:
    found = studied(closes(symbol=["B", "A", "B", "A"]), SMA)

    assert found["sma_2"].to_pylist() == [None, None, 2.5, 5.0]


def test_symbols_and_times_mixed() -> None:
    at = [datetime(2025, 1, 1, 9, minute) for minute in (16, 16, 15, 15)]

    found = studied(closes(Ticker=["B", "A", "B", "A"], Timestamp=at), SMA)

    assert found["sma_2"].to_pylist() == [2.5, 5.0, None, None]


@pytest.mark.parametrize(
    ("anew", "step", "expected"),
    [
        # Two minutes of one day, two of the next: up by 2; then 4 and up by 8.
        (Anew.AUTO, timedelta(hours=12), [1.0, 3.0, 4.0, 12.0]),
        (Anew.NEVER, timedelta(hours=12), [1.0, 3.0, 7.0, 15.0]),
        # A row a day is one run, unless it is asked for otherwise.
        (Anew.AUTO, timedelta(days=1), [1.0, 3.0, 7.0, 15.0]),
        (Anew.DAY, timedelta(days=1), [1.0, 2.0, 4.0, 8.0]),
    ],
)
def test_what_never_forgets_starts_anew_each_day(anew: Anew, step: timedelta, expected: list[float]) -> None:
    at = [datetime(2025, 1, 1) + k * step for k in range(4)]

    assert studied(closes(time=at), OBV, anew)["obv"].to_pylist() == expected


def test_a_time_with_a_zone_counts_the_days_of_india() -> None:
    # 23:00 and 23:30 in India are one day, 00:00 and 00:30 the next; in UTC they are one.
    first = datetime(2025, 1, 1, 23, 0, tzinfo=IST)
    at = pa.array([first + timedelta(minutes=30 * k) for k in range(4)], pa.timestamp("us", "UTC"))

    assert studied(closes(time=at), OBV)["obv"].to_pylist() == [1.0, 3.0, 4.0, 12.0]


def test_a_date_and_a_time_of_day_are_one_time() -> None:
    days, clock = [date(2025, 1, 2)] * 2 + [date(2025, 1, 1)] * 2, pa.array([60, 0, 60, 0], pa.time32("s"))

    found = studied(closes(date=days, time=clock), [*SMA, *OBV])

    assert found["sma_2"].to_pylist() == [1.5, 3.0, 6.0, None]
    # Each day by itself: 8, then the close fell with 4; 2, then it fell with 1.
    assert found["obv"].to_pylist() == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("sheet", "time", "said"),
    [
        (pa.table({"price": [1.0]}), None, "price' is not allowed; it lacks close"),
        (pa.table({"close": [1.0], "Close": [1.0]}), None, "one column of the name close"),
        (pa.table({"close": [1.0, None, 2.0]}), None, "close: 'empty' is not allowed; row 2"),
        (pa.table({"close": [1.0, 2.0, float("nan")]}), None, "close: nan is not allowed; row 3"),
        (pa.table({"close": [1.0, float("inf")]}), None, "close: inf is not allowed; row 2"),
        (pa.table({"close": ["1.0", "2.0", "x"]}), None, "close: 'x' is not allowed; row 3 is no number"),
        (pa.table({"close": [True, False]}), None, "a column of numbers"),
        (closes(date=["1/2/1990"] * 4), None, "date: '1/2/1990' is not allowed; give times as"),
        (closes(date=[date(2025, 1, k) for k in (1, 2, 1, 3)]), None, "rows 1 and 3' is not allowed; they are of the"),
        (closes(date=[date(2025, 1, 1), None, None, None]), None, "date: 'empty' is not allowed; row 2"),
        (closes(symbol=["A", None, "A", "A"]), None, "symbol: 'empty' is not allowed; row 2"),
        (closes(), "when", "name one of close, volume, or none"),
        (closes(sma_2=[0.0] * 4), None, "the file has a column of this name"),
    ],
)
def test_what_cannot_be_computed_is_told(sheet: pa.Table, time: str | None, said: str) -> None:
    with pytest.raises(BadValue) as refused:
        studied(sheet, SMA, time=time)

    assert said in str(refused.value)


def test_one_time_in_two_symbols_is_no_fault() -> None:
    found = studied(closes(date=[date(2025, 1, k) for k in (1, 1, 2, 2)], symbol=["A", "B", "A", "B"]), SMA)

    assert found["sma_2"].to_pylist() == [None, None, 2.5, 5.0]


def test_without_a_time_rows_are_in_order() -> None:
    assert studied(closes(date=["x"] * 4), SMA, time=tables.IN_ORDER)["sma_2"].to_pylist() == [None, 1.5, 3.0, 6.0]
    with pytest.raises(BadValue, match="no time that tells the day"):
        studied(closes(), OBV, Anew.DAY)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.decimal128(23, 4)])
def test_every_kind_of_number_is_read(kind: pa.DataType) -> None:
    sheet = pa.table({"close": pa.array([1, 2, 4]).cast(kind)})

    assert studied(sheet, SMA)["sma_2"].to_pylist() == [None, 1.5, 3.0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_comes_back_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    found = studied(closes(date=[date(2025, 1, k) for k in (1, 2, 3, 4)]), SMA)

    tables.write(found, tmp_path / f"out{suffix}")

    assert tables.read(tmp_path / f"out{suffix}").to_pydict() == found.to_pydict()
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


def test_a_packed_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"Close\n1\n2\n"))

    assert studied(tables.read(tmp_path / "a.csv.gz"), SMA)["sma_2"].to_pylist() == [None, 1.5]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", None, "cannot be read"),
        ("a.xls", b"", "ends in .csv"),
        ("a.parquet", b"not parquet", "cannot be read"),
        ("a.csv", b"", "cannot be read"),
        ("a.csv", b"close\n", "at least one row"),
        ("a.csv", b"close,volume\n1,2\n3\n", "cannot be read"),
        ("a.csv.gz", b"not packed", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(BadValue, match=said):
        tables.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "no/such/folder/a.csv"])
def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="out"):
        tables.write(closes(), tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_an_indian_minute_file_as_it_was_recorded(shared: Path) -> None:
    path = shared / "fixtures" / "indicators" / "stock_indicators" / "quotes" / "issue0859.adx.nan.csv.gz"

    found = studied(tables.read(path), studies("vwap,rsi:14"))

    typical = pc.divide(pc.add(pc.add(found["High"], found["Low"]), found["Close"]), 3.0).to_numpy()
    days = np.array([at.astimezone(IST).date() for at in found["Timestamp"].to_pylist()])
    opens = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    assert len(opens) > 1
    traded = found["Volume"].to_numpy()[opens] > 0
    np.testing.assert_allclose(found["vwap"].to_numpy()[opens], np.where(traded, typical[opens], np.nan))
    assert found["rsi_14"].null_count == 14
