"""Recorded files: exact prices in, a clear refusal for everything else."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adapters import recordings
from market.errors import BadValue
from market.instruments import Kind
from market.sessions import IST, MINUTE, at, session

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "fixtures" / "market"
DAY = date(2016, 8, 25)
OPEN = datetime(2016, 8, 25, 9, 15, tzinfo=IST)


def columns(count: int = 3, **changed: object) -> dict[str, object]:
    """Two symbols, `count` minutes each, by column."""
    starts = [OPEN + timedelta(minutes=k) for k in range(count)]
    told = {
        "symbol": ["TCS"] * count + ["BANKNIFTY"] * count,
        "ts": starts * 2,
        "open": [2500.05] * count + [19000.1] * count,
        "high": [2501.35] * count + [19010.2] * count,
        "low": [2499.95] * count + [18990.3] * count,
        "close": [2500.15] * count + [19005.4] * count,
        "volume": [100] * count + [0] * count,
    }
    return told | changed


def parquet(path: Path, told: dict[str, object]) -> Path:
    table = pa.table({k: v if isinstance(v, pa.Array) else pa.array(v) for k, v in told.items()})
    pq.write_table(table, path / "bars.parquet")
    return path / "bars.parquet"


def csv(path: Path, told: dict[str, list[object]], zone: str = "+05:30") -> Path:
    lines = [",".join(told)]
    for row in zip(*told.values(), strict=True):
        cells = [f"{c:%Y-%m-%dT%H:%M:%S}{zone}" if isinstance(c, datetime) else str(c) for c in row]
        lines.append(",".join(cells))
    (path / "bars.csv").write_text("\n".join(lines) + "\n")
    return path / "bars.csv"


@pytest.mark.parametrize("write", [parquet, csv])
def test_floats_become_exact_money_by_symbol_and_start(tmp_path: Path, write: object) -> None:
    recording = recordings.read(write(tmp_path, columns()), DAY)

    assert recording.symbols == ["NSE:BANKNIFTY", "NSE:TCS"]
    assert recording.rows["instrument"].tolist() == [0, 0, 0, 1, 1, 1]
    assert recording.rows["start"][:2].tolist() == [at(DAY, OPEN.time()), at(DAY, OPEN.time()) + MINUTE]
    assert recording.rows[3].tolist()[2:] == (25_000_500, 25_013_500, 24_999_500, 25_001_500, 100)


def test_symbols_may_be_a_dictionary_and_name_their_exchange(tmp_path: Path) -> None:
    symbols = pa.array(["BSE:TCS", "NSE:TCS"] * 3).dictionary_encode()
    told = columns(symbol=symbols, ts=[OPEN, OPEN] + [OPEN + timedelta(minutes=k // 2) for k in range(2, 6)])

    recording = recordings.read(parquet(tmp_path, told), DAY)

    assert recording.symbols == ["BSE:TCS", "NSE:TCS"]


def test_the_universe_numbers_symbols_and_tells_indices_apart(tmp_path: Path) -> None:
    index, share = recordings.universe(recordings.read(parquet(tmp_path, columns()), DAY))

    assert (index.id, index.kind, index.tokens["kite"]) == (0, Kind.INDEX, 1000 * 256 + 9)
    assert (share.id, share.kind, share.tokens["kite"]) == (1, Kind.EQUITY, 1001 * 256 + 1)


def test_an_index_whose_volume_is_recorded_travels_with_it(tmp_path: Path) -> None:
    traded = recordings.read(parquet(tmp_path, columns(volume=[100] * 6)), DAY)

    assert recordings.universe(traded)[0].tokens["kite"] & 0xFF == 1


def test_the_day_before_gives_the_previous_closes(tmp_path: Path) -> None:
    both = [OPEN - timedelta(days=1), OPEN, OPEN + timedelta(minutes=1)] * 2
    told = columns(ts=both, close=[2500.0, 2500.15, 2500.2, 19000.5, 19001.0, 19002.0])

    recording = recordings.read(parquet(tmp_path, told), DAY)

    assert recording.closes == {0: 190_005_000, 1: 25_000_000}
    assert recordings.sessions(parquet(tmp_path, told)) == [date(2016, 8, 24), DAY]


def test_a_recording_becomes_a_tape(tmp_path: Path) -> None:
    tape = recordings.tape(parquet(tmp_path, columns()), session(DAY))

    assert {i: tape.closes[i] for i in (0, 1)} == {0: 190_054_000, 1: 25_001_500}


@pytest.mark.parametrize(("changed", "told"), [
    ({"ts": [OPEN.replace(tzinfo=None) + timedelta(minutes=k) for k in range(3)] * 2}, r"ts.*with their zone"),
    ({"open": [float("nan")] + [2500.0] * 5}, "open"),
    ({"open": [2500.12345] + [2500.05] * 5}, "four decimals"),
    ({"volume": [1.5] * 6}, "whole"),
    ({"volume": [-1] * 6}, "volume"),
    ({"high": [1.0] * 6}, "low <= open"),
    ({"close": ["x"] * 6}, "close"),
    ({"ts": [OPEN] * 6}, "once"),
    ({"symbol": ["TCS", None, "TCS", "A", "A", "A"]}, "symbol"),
])  # fmt: skip
def test_rows_that_cannot_be_are_refused(tmp_path: Path, changed: dict[str, object], told: str) -> None:
    with pytest.raises(BadValue, match=told):
        recordings.read(parquet(tmp_path, columns(**changed)), DAY)


def test_naive_times_in_csv_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"ts.*with their zone"):
        recordings.read(csv(tmp_path, columns(), zone=""), DAY)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    told = columns()
    del told["low"]

    with pytest.raises(BadValue, match="low is missing"):
        recordings.read(parquet(tmp_path, told), DAY)


def test_an_empty_session_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=r"2016-08-25 to 2016-08-25, 1 session"):
        recordings.read(parquet(tmp_path, columns()), date(2016, 8, 26))


@pytest.mark.parametrize("name", ["absent.parquet", "garbage.parquet", "garbage.csv"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    if name.startswith("garbage"):
        (tmp_path / name).write_bytes(b"\x00\x01 not a table \xff")

    with pytest.raises(BadValue, match="recording"):
        recordings.read(tmp_path / name, DAY)


@pytest.mark.parametrize(("name", "first", "last", "count"), [
    ("nse_1min_2016", date(2016, 8, 16), date(2016, 9, 2), 14),
    ("nse_1min_banks_2023", date(2023, 4, 3), date(2023, 5, 12), 26),
])  # fmt: skip
def test_the_shared_recordings_hold_their_sessions(name: str, first: date, last: date, count: int) -> None:
    path = SHARED / name / "bars.parquet"
    if not path.exists():
        pytest.skip(f"{path} is not here")

    days = recordings.sessions(path)

    assert (days[0], days[-1], len(days)) == (first, last, count)
    assert (np.diff(recordings.read(path, first).rows["start"]) != 0).all()
