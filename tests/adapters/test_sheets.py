"""Sheets: files of candles read a piece at a time, times in every way they are written."""

from __future__ import annotations

from datetime import date, time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from adapters import sheets
from market.errors import BadValue
from market.imports import Form, Interval, Label
from market.money import UNKNOWN
from market.sessions import at, day_number

DAY = date(2016, 8, 25)
HEAD = "symbol,ts,open,high,low,close,volume"
COLUMNS = {name: name for name in ("symbol", "open", "high", "low", "close", "volume")} | {"time": "ts"}
QUARTER = at(DAY, time(9, 15))


def sheet(folder: Path, *lines: str, head: str = HEAD) -> sheets.Sheet:
    path = folder / "bars.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return sheets.opened(path)


def line(stamp: str, symbol: str = "AAA") -> str:
    return f"{symbol},{stamp},100,101,99,100.5,10"


def read(one: sheets.Sheet, **form: object) -> list[int]:
    """When each row of a file starts."""
    told = Form.model_validate({"columns": COLUMNS, "interval": "1m", **form})
    return [int(k) for piece in sheets.pieces(one, sheets.wanted(COLUMNS)) for k in sheets.raw(piece, told).at]


@pytest.mark.parametrize(
    ("stamp", "zone", "label"),
    [
        ("2016-08-25 09:15:00", "Asia/Kolkata", "start"),
        ("2016-08-25T09:16", "Asia/Kolkata", "end"),
        ("2016-08-25 03:45:00", "UTC", "start"),
        ("2016-08-25T09:15:00+05:30", None, "start"),
        ("2016-08-25T09:15:00+0530", None, "start"),
        ("2016-08-25T03:46:00Z", None, "end"),
        ("25-AUG-2016 09:15:00", "Asia/Kolkata", "start"),
        ("1472096700", None, "start"),
        ("1472096700000", None, "start"),
    ],
)
def test_a_minute_starts_at_the_same_instant_however_it_is_written(
    tmp_path: Path, stamp: str, zone: str | None, label: Label
) -> None:
    assert read(sheet(tmp_path, line(stamp)), zone=zone, label=label) == [1472096700 * 10**9]


@pytest.mark.parametrize(
    ("stamp", "label"),
    [
        ("2016-08-25", "start"),
        ("25-AUG-2016", "start"),
        ("20160825", "start"),
        ("2016-08-25 00:00:00", "start"),
        ("2016-08-24T18:30:00Z", "start"),
        ("2016-08-25 15:30:00", "end"),
        ("2016-08-26 00:00:00", "end"),
    ],
)
def test_a_day_is_the_one_where_the_exchange_is(tmp_path: Path, stamp: str, label: Label) -> None:
    assert read(sheet(tmp_path, line(stamp)), interval="1d", label=label) == [day_number(DAY)]


def test_a_time_that_is_none_spoils_its_own_row_only(tmp_path: Path) -> None:
    stamps = ("2016-08-25 09:15:00", "2016-13-45 09:15:00", "", "soon", "2016-08-25 09:15:00+05:30")

    found = read(sheet(tmp_path, *map(line, stamps)), zone="Asia/Kolkata")

    assert found == [QUARTER, *[UNKNOWN] * 4]


def test_days_and_months_that_may_be_either_must_be_told(tmp_path: Path) -> None:
    one = sheet(tmp_path, line("08-09-2016 09:15"))

    with pytest.raises(BadValue, match="--time-format"):
        sheets.surveyed(one, COLUMNS, "NSE")
    told = read(one, zone="Asia/Kolkata", time_format="%d-%m-%Y %H:%M")
    assert told == [at(date(2016, 9, 8), time(9, 15))]


@pytest.mark.parametrize(
    ("stamps", "aware", "dates", "interval"),
    [
        (["2016-08-25 09:15:00", "2016-08-25 09:16:00"], False, False, "1m"),
        (["2016-08-25T09:15:00+05:30", "2016-08-25T09:16:00+05:30"], True, False, "1m"),
        (["2016-08-25", "2016-08-26"], False, True, "1d"),
        (["2016-08-24T18:30:00Z", "2016-08-25T18:30:00Z"], True, True, "1d"),
        (["2016-08-25 09:15:00", "2016-08-25 09:20:00"], False, False, None),
    ],
)
def test_a_file_says_how_it_writes_its_times(
    tmp_path: Path, stamps: list[str], aware: bool, dates: bool, interval: Interval | None
) -> None:
    found = sheets.surveyed(sheet(tmp_path, *map(line, stamps)), COLUMNS, "NSE")

    assert (found.aware, found.dates, found.interval) == (aware, dates, interval)


def test_lines_that_are_torn_are_kept_with_their_numbers_and_move_no_others(tmp_path: Path) -> None:
    good = line("2016-08-25 09:15:00")
    one = sheet(tmp_path, good, "AAA,1,2", good, good, "x", good, "y")

    found = list(sheets.pieces(one, sheets.wanted(COLUMNS), 2))

    assert [piece.numbers.tolist() for piece in found] == [[1, 3], [4, 6]] or [
        piece.numbers.tolist() for piece in found
    ] == [[1, 3], [4, 6], []]
    assert [one for piece in found for one in piece.torn] == [(2, "AAA,1,2"), (5, "x"), (7, "y")]
    assert found[0].torn == ((2, "AAA,1,2"),)


def test_a_piece_of_a_parquet_file_is_the_same_read_alone_or_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    table = pa.table({"ts": list(range(100)), "open": np.arange(100) / 2})
    parquet.write_table(table, path, row_group_size=33)
    one = sheets.opened(path)

    in_turn = list(sheets.pieces(one, ["ts", "open"], 15))
    alone = [sheets.piece(one, ["ts", "open"], k, 15) for k in range(sheets.count(one, 15) or 0)]

    assert [p.table["ts"].to_pylist() for p in alone] == [list(range(k, min(k + 15, 100))) for k in range(0, 100, 15)]
    assert [p.table for p in in_turn] == [p.table for p in alone]
    assert [p.numbers.tolist() for p in in_turn] == [p.numbers.tolist() for p in alone]


def test_numbers_in_text_are_read_and_words_are_not(tmp_path: Path) -> None:
    one = sheet(tmp_path, 'AAA,2016-08-25,"1,234.50",1e3,-5,abc,')

    piece = next(sheets.pieces(one, sheets.wanted(COLUMNS)))
    found = sheets.raw(piece, Form(columns=COLUMNS, interval="1d"))

    assert [found.prices[name].tolist()[0] for name in ("open", "high", "low")] == [1234.5, 1000.0, -5.0]
    assert np.isnan(found.prices["close"][0]) and found.volume is not None and np.isnan(found.volume[0])


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe,\n1", b"PAR1garbage"])
def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / ("bars.parquet" if body.startswith(b"PAR") else "bars.csv")
    path.write_bytes(body)

    with pytest.raises(BadValue, match="can be read"):
        sheets.opened(path)
