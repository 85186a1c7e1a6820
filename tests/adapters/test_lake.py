"""The lake: exactly-once commits, going back, reading."""

import os
import signal
import subprocess
import sys
import threading
from datetime import date, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adapters.lake import Lake
from adapters.schemas import CANDLES, TICKS, candle_rows, candle_table, decimals, lacking_table, tick_table, units
from market.candles import CANDLE, Provenance
from market.errors import BadValue, LeaseLost, LineDown, StoreRefused
from market.money import UNKNOWN
from market.sessions import MINUTE, at, day_number, session
from market.ticks import blank

DAY = date(2016, 8, 25)
SYMBOLS = ["NSE:RELIANCE", "NSE:TCS"]
REPO = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from adapters.lake import Lake
from tests.adapters.test_lake import entry

lake = Lake(sys.argv[1])
cursor = lake.cursors("candles", ["candles:0"])["candles:0"]
for number in range(cursor + 1, int(sys.argv[2]) + 1):
    lake.append("candles", entry(number), {"candles:0": number})
    print(number, flush=True)
"""


def minute(number: int, instrument: int = 0, revision: int = 0, day: date = DAY) -> np.ndarray:
    row = np.zeros(1, CANDLE)
    row["instrument"], row["interval"] = instrument, 60
    row["start"] = session(day).open + number * MINUTE
    row["open"], row["high"], row["low"], row["close"] = 28505000, 28510000, 28500000, 28505025
    row["volume"], row["trades"], row["vwap"], row["open_interest"] = 100 + number, 3, 28504999, UNKNOWN
    row["completeness"], row["session"] = 1.0, day_number(day)
    row["revision"], row["provenance"] = revision, Provenance.LIVE
    return row


def entry(number: int) -> pa.Table:
    return candle_table(minute(number), SYMBOLS)


def volumes(lake: Lake) -> list[int]:
    raw = DeltaTable(f"{lake_root(lake)}/candles").to_pyarrow_table()
    return sorted(raw["volume"].to_pylist())


def lake_root(lake: Lake) -> str:
    return lake._root


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@given(hnp.arrays(np.int64, st.integers(0, 20), elements=st.integers(-(10**18) + 1, 10**18 - 1) | st.just(UNKNOWN)))
def test_money_survives_the_way_to_decimals_and_back(amounts):
    column = decimals(amounts)

    column.validate(full=True)
    expected = [None if a == UNKNOWN else Decimal(int(a)).scaleb(-4) for a in amounts]
    assert column.to_pylist() == expected
    assert units(pa.chunked_array([column])).tolist() == amounts.tolist()
    if len(amounts) > 1:
        assert units(pa.chunked_array([column[1:]])).tolist() == amounts[1:].tolist()


def test_a_candle_reads_in_rupees_with_nulls_for_what_is_unknown():
    gap = minute(1)
    for name in ("open", "high", "low", "close", "vwap"):
        gap[name] = UNKNOWN
    gap["provenance"] = Provenance.GAP

    first, second = candle_table(np.concatenate([minute(0), gap]), SYMBOLS).to_pylist()

    assert first["symbol"] == "NSE:RELIANCE" and first["interval"] == "1m"
    assert first["start"].isoformat() == "2016-08-25T03:45:00+00:00"
    assert (first["open"], first["close"]) == (Decimal("2850.5000"), Decimal("2850.5025"))
    assert first["open_interest"] is None and first["session"] == DAY
    assert second["open"] is None and second["vwap"] is None and second["provenance"] == "GAP"


def test_a_tick_reads_in_rupees_under_its_feeds_name():
    ticks = blank(1)
    ticks["instrument"], ticks["source"], ticks["price"], ticks["day_volume"] = 1, 1, 12345, 77
    ticks["at"] = ticks["received"] = session(DAY).open + 1_500
    ticks["quoted"] = UNKNOWN

    row = tick_table(ticks, SYMBOLS, ["kite", "standby"]).to_pylist()[0]

    assert (row["symbol"], row["source"], row["price"]) == ("NSE:TCS", "standby", Decimal("1.2345"))
    assert row["at"].isoformat() == "2016-08-25T03:45:00.000001+00:00"
    assert row["quoted"] is None and row["bid"] is None and row["session"] == DAY


def test_a_tick_just_after_midnight_in_india_belongs_to_the_new_date():
    ticks = blank(2)
    ticks["at"] = session(DAY).open - (9 * 60 + 15) * MINUTE + np.array([-1, 0])

    sessions = tick_table(ticks, SYMBOLS, ["kite"])["session"].to_pylist()

    assert sessions == [date(2016, 8, 24), DAY]


def test_a_code_nobody_listed_is_refused():
    row = minute(0)
    row["instrument"] = 2

    with pytest.raises(BadValue):
        candle_table(row, SYMBOLS)


def test_rows_go_to_the_lake_and_come_back_the_same(lake):
    rows = np.concatenate([minute(n, i) for i in (0, 1) for n in range(5)])
    lake.append("candles", candle_table(rows, SYMBOLS), {"candles:0": 9})

    back = candle_rows(lake.read_candles(None, "1m", DAY, DAY), {"NSE:RELIANCE": 0, "NSE:TCS": 1})

    assert back.tobytes() == rows.tobytes()


def test_a_repeated_commit_is_known_and_writes_nothing(lake):
    first = lake.append("candles", entry(1), {"candles:0": 1})

    repeat = lake.append("candles", entry(1), {"candles:0": 1})

    assert first is not None and repeat is None
    assert volumes(lake) == [101]


def test_a_commit_below_the_cursor_is_known_after_a_restart(lake):
    lake.append("candles", entry(5), {"candles:0": 5})

    assert Lake(lake_root(lake)).append("candles", entry(4), {"candles:0": 4}) is None
    assert volumes(lake) == [105]


def test_a_writer_that_was_overtaken_is_stopped(lake):
    other = Lake(lake_root(lake))
    for owner in (lake, other):
        owner.cursors("candles", ["candles:0"])
    lake.append("candles", entry(1), {"candles:0": 1})

    with pytest.raises(LeaseLost):
        other.append("candles", entry(1), {"candles:0": 2})

    assert volumes(lake) == [101]
    assert other.cursors("candles", ["candles:0"]) == {"candles:0": 1}
    assert other.append("candles", entry(2), {"candles:0": 2}) is not None


def test_of_two_writers_at_once_one_commits_each_entry(lake):
    lake.cursors("candles", ["candles:0"])
    start = threading.Barrier(2)

    def write(mine: Lake) -> None:
        start.wait()
        number = 1
        while number <= 15:
            try:
                mine.append("candles", entry(number), {"candles:0": number})
            except LeaseLost:
                number = mine.cursors("candles", ["candles:0"])["candles:0"]
            number += 1

    writers = [threading.Thread(target=write, args=(Lake(lake_root(lake)),)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert volumes(lake) == [100 + n for n in range(1, 16)]


def test_writers_of_different_partitions_do_not_stop_each_other(lake):
    other = Lake(lake_root(lake))
    lake.append("candles", entry(1), {"candles:0": 1})

    assert other.append("candles", entry(2), {"candles:1": 1}) is not None
    assert lake.append("candles", entry(3), {"candles:0": 2}) is not None
    assert volumes(lake) == [101, 102, 103]


@pytest.mark.endurance
def test_a_writer_killed_again_and_again_leaves_every_row_once(tmp_path):
    root, wanted, kills = str(tmp_path / "lake"), 40, 0
    survived = False
    while not survived:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, root, str(wanted)], cwd=REPO, stdout=subprocess.PIPE, text=True
        )
        for line in writer.stdout:
            # Killed at once after a commit was announced: the next one is under way.
            if kills < 6 and int(line) % 5 == kills % 5:
                os.kill(writer.pid, signal.SIGKILL)
                kills += 1
                break
        writer.stdout.close()
        survived = writer.wait() == 0

    assert kills == 6
    assert volumes(Lake(root)) == [100 + n for n in range(1, wanted + 1)]


def test_a_log_that_went_back_takes_the_table_and_its_cursors_back(lake):
    for number in range(1, 61):
        lake.append("candles", entry(number), {"candles:0": number, "candles:1": 10 * number})

    kept = lake.rewind("candles", {"candles:0": 57, "candles:1": 555})

    assert kept == {"candles:0": 55, "candles:1": 550}
    assert Lake(lake_root(lake)).cursors("candles", list(kept)) == kept
    assert volumes(lake) == [100 + n for n in range(1, 56)]
    lake.append("candles", entry(56), {"candles:0": 56, "candles:1": 560})
    assert volumes(lake) == [100 + n for n in range(1, 57)]


def test_a_log_that_lost_everything_empties_the_table(lake):
    lake.append("candles", entry(1), {"candles:0": 7})

    assert lake.rewind("candles", {"candles:0": 0}) == {"candles:0": 0}
    assert volumes(lake) == []


def test_nothing_goes_back_when_the_log_holds_it_all(lake):
    lake.append("candles", entry(1), {"candles:0": 7})
    before = DeltaTable(f"{lake_root(lake)}/candles").version()

    assert lake.rewind("candles", {"candles:0": 9}) == {"candles:0": 7}
    assert DeltaTable(f"{lake_root(lake)}/candles").version() == before


def test_the_newest_revision_is_read_once(lake):
    lake.append("candles", candle_table(np.concatenate([minute(0), minute(1, revision=2)]), SYMBOLS), {"a": 1})
    lake.append("candles", candle_table(minute(1, revision=1), SYMBOLS), {"a": 2})

    read = lake.read_candles(["NSE:RELIANCE"], "1m", DAY, DAY)

    assert read["revision"].to_pylist() == [0, 2]


def test_a_read_takes_the_asked_symbols_intervals_and_sessions_only(lake):
    later = date(2016, 8, 26)
    hour = minute(0)
    hour["interval"] = 3600
    rows = np.concatenate([minute(0), minute(0, instrument=1), minute(0, day=later), hour])
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 1})

    read = lake.read_candles(["NSE:RELIANCE"], "1m", DAY, DAY)

    assert read.select(["symbol", "interval", "session"]).to_pylist() == [
        {"symbol": "NSE:RELIANCE", "interval": "1m", "session": DAY}
    ]
    assert len(lake.read_candles(None, None, DAY, later)) == 4
    assert lake.sessions("candles") == [DAY, later]


def test_nobodys_candles_are_none(lake):
    lake.append("candles", entry(1), {"a": 1})

    assert len(lake.read_candles([], "1m", DAY, DAY)) == 0


def test_the_official_daily_candle_stands_apart_from_ours(lake):
    ours, official = minute(0), minute(0)
    ours["interval"] = official["interval"] = 86_400
    official["start"], official["provenance"] = at(DAY, time(0)), Provenance.OFFICIAL
    rows = np.concatenate([ours, official, minute(0), minute(0, instrument=1)])
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 1})

    daily = [lake.read_candles(None, "1d", DAY, DAY), lake.read_daily(SYMBOLS, [session(DAY)])]

    assert [t["provenance"].to_pylist() for t in daily] == [["LIVE"], ["LIVE"]]
    assert lake.read_official(None, DAY, DAY)["provenance"].to_pylist() == ["OFFICIAL"]
    assert lake.read_daily(SYMBOLS, []).num_rows == 0


def test_minutes_that_a_vendor_lacks_are_remembered(lake):
    start = session(DAY).open
    assert lake.read_lacking(SYMBOLS, DAY, DAY) == []
    short = [("NSE:TCS", start, DAY), ("NSE:TCS", start + MINUTE, date(2016, 8, 26))]
    lake.append("lacking", lacking_table(short, "kite"), {"repair": 1})

    assert lake.read_lacking(SYMBOLS, DAY, DAY) == [("NSE:TCS", start)]
    assert lake.read_lacking(["NSE:RELIANCE"], DAY, date(2016, 8, 26)) == []


def test_a_reader_follows_what_a_writer_adds_and_needs_no_table_to_start(lake):
    reader = Lake(lake_root(lake))
    empty = reader.read_candles(None, None, DAY, DAY)
    lake.append("candles", entry(0), {"a": 1})
    one = reader.read_candles(None, None, DAY, DAY)
    lake.append("candles", entry(1), {"a": 2})

    assert empty.schema == CANDLES
    assert [len(t) for t in (empty, one, reader.read_candles(None, None, DAY, DAY))] == [0, 1, 2]


def test_small_files_are_joined_and_no_row_is_lost(lake):
    for number in range(1, 31):
        lake.append("candles", entry(number), {"a": number})

    files = DeltaTable(f"{lake_root(lake)}/candles").file_uris()

    assert len(files) < 10
    assert volumes(lake) == [100 + n for n in range(1, 31)]
    assert sum(pq.read_metadata(f).num_rows for f in files) == 30


@pytest.mark.parametrize(("table", "schema"), [("ticks", TICKS), ("candles", CANDLES)])
def test_any_delta_reader_may_read_the_table(lake, table, schema):
    lake.cursors(table, ["a"])

    written = DeltaTable(f"{lake_root(lake)}/{table}")

    assert (written.protocol().min_reader_version, written.protocol().min_writer_version) == (1, 2)
    assert written.metadata().partition_columns == ["session"]
    assert pa.schema(written.schema().to_arrow()).names == schema.names


def test_a_table_whose_first_commit_never_came_is_created(lake):
    Path(lake_root(lake), "candles", "_delta_log").mkdir(parents=True)

    assert lake.append("candles", entry(1), {"a": 1}) is not None
    assert volumes(lake) == [101]


def test_a_folder_of_something_else_is_refused_and_left_alone(lake):
    folder = Path(lake_root(lake), "candles")
    folder.mkdir(parents=True)
    (folder / "letters.txt").write_text("dear diary")

    with pytest.raises(StoreRefused, match="neither empty nor a Delta table"):
        lake.append("candles", entry(1), {"a": 1})

    assert [p.name for p in folder.iterdir()] == ["letters.txt"]


def test_a_file_in_the_place_of_a_table_is_refused(lake):
    Path(lake_root(lake)).mkdir()
    Path(lake_root(lake), "candles").write_text("not a folder")

    with pytest.raises(StoreRefused):
        lake.append("candles", entry(1), {"a": 1})


def test_another_programs_table_is_refused(lake):
    DeltaTable.create(f"{lake_root(lake)}/candles", pa.schema([("symbol", pa.int64())]))

    with pytest.raises(StoreRefused, match="no column symbol of type string"):
        lake.append("candles", entry(1), {"a": 1})


def test_a_log_nobody_can_read_is_refused(lake):
    lake.append("candles", entry(1), {"a": 1})
    log = Path(lake_root(lake), "candles", "_delta_log", "00000000000000000000.json")
    log.write_text("{ torn")

    with pytest.raises(StoreRefused):
        Lake(lake_root(lake)).cursors("candles", ["a"])


def test_a_table_that_vanished_is_a_line_down_for_a_writer(lake):
    with pytest.raises((LineDown, StoreRefused)):
        Lake("/proc/nowhere").append("candles", entry(1), {"a": 1})


def test_a_table_we_do_not_keep_is_a_bad_value(lake):
    with pytest.raises(BadValue, match="one of ticks, candles"):
        lake.cursors("orders", ["a"])
