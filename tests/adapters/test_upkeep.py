"""Upkeep: retention takes what is old and nothing that is kept; the check finds what is wrong."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from adapters.lake import Lake
from adapters.schemas import candle_table
from adapters.upkeep import Upkeep
from market.candles import Provenance
from market.errors import BadValue, LineDown, StoreRefused
from market.money import UNKNOWN
from tests.adapters.test_lake import DAY, REPO, SYMBOLS, entry, lake_root, minute, volumes

LATER = date(2016, 8, 26)
AT_ONCE = timedelta(0)
WEEK = timedelta(days=7)

CRASH = """
import os, signal, sys
from datetime import date
from adapters.upkeep import Upkeep

Upkeep(sys.argv[1])._expire("candles", date(2016, 8, 26))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def upkeep(lake: Lake) -> Upkeep:
    return Upkeep(lake_root(lake))


def now() -> datetime:
    return datetime.now(UTC)


def later(number: int) -> pa.Table:
    return candle_table(minute(number, day=LATER), SYMBOLS)


def folder(lake: Lake) -> Path:
    return Path(lake_root(lake), "candles")


def parquets(lake: Lake) -> int:
    return len(list(folder(lake).glob("session=*/*.parquet")))


def log_of(lake: Lake) -> list[str]:
    return sorted(p.name for p in (folder(lake) / "_delta_log").glob("*.json"))


def test_rows_of_old_sessions_go_and_newer_ones_stay(lake, upkeep):
    for number in range(3):
        lake.append("candles", entry(number), {"a": 2 * number + 1})
        lake.append("candles", later(10 + number), {"a": 2 * number + 2})

    done = upkeep.retain("candles", LATER, WEEK, now())

    assert (done.rows, done.files, done.versions) == (3, 0, 0)
    assert volumes(lake) == [110, 111, 112]
    assert lake.sessions("candles") == [LATER]
    assert upkeep.retain("candles", LATER, WEEK, now()).rows == 0


def test_daily_candles_stay_whatever_their_age(lake, upkeep):
    daily = minute(0)
    daily["interval"], daily["volume"] = 86_400, 999
    lake.append("candles", candle_table(np.concatenate([minute(0), daily]), SYMBOLS), {"a": 1})

    assert upkeep.retain("candles", LATER, WEEK, now()).rows == 1
    assert volumes(lake) == [999]
    assert upkeep.retain("candles", LATER, WEEK, now()).rows == 0


def test_without_a_rule_every_row_stays(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})

    assert upkeep.retain("candles", None, AT_ONCE, now()).rows == 0
    assert volumes(lake) == [101]


def test_a_version_that_is_kept_stays_readable_and_one_that_is_not_holds_no_space(lake, upkeep):
    for number in range(1, 5):
        lake.append("candles", entry(number), {"a": number})
    kept = lake.version("candles")
    upkeep.keep("candles", kept, "model-1", now(), WEEK)
    lake.compact("candles", DAY)
    lake.append("candles", later(5), {"a": 5})
    unkept = lake.version("candles")

    upkeep.retain("candles", LATER, AT_ONCE, now())
    before = parquets(lake)
    held = lake.read_candles(None, "1m", DAY, DAY, version=kept)["volume"].to_pylist()
    with pytest.raises(BadValue, match="still kept"):
        lake.read_candles(None, "1m", DAY, DAY, version=unkept)
    upkeep.release("model-1")
    upkeep.retain("candles", LATER, AT_ONCE, now())

    assert held == [101, 102, 103, 104]
    assert volumes(lake) == [105]
    assert (before, parquets(lake)) == (5, 1)  # the four of the version that is kept, and today's
    with pytest.raises(BadValue, match="still kept"):
        lake.read_candles(None, "1m", DAY, DAY, version=kept)


def test_the_log_of_old_versions_goes_and_the_table_is_read_and_written_on(lake, upkeep):
    for number in range(1, 131):
        lake.append("candles", entry(number), {"a": number})
    kept = lake.version("candles") // 2
    upkeep.keep("candles", kept, "model-1", now(), WEEK)
    lines = len(log_of(lake))

    done = upkeep.retain("candles", None, AT_ONCE, now())

    assert done.versions > 30 and len(log_of(lake)) < lines - 30
    held = Lake(lake_root(lake)).read_candles(None, "1m", DAY, DAY, version=kept)
    assert len(held) == int(held["volume"].to_pylist()[-1]) - 100 > 50
    assert Lake(lake_root(lake)).cursors("candles", ["a"]) == {"a": 130}
    lake.append("candles", entry(131), {"a": 131})
    assert volumes(Lake(lake_root(lake))) == [100 + n for n in range(1, 132)]
    assert list(upkeep.check("candles")) == []


def test_an_old_version_stays_readable_as_long_as_old_versions_do(lake, upkeep):
    for number in range(1, 60):
        lake.append("candles", entry(number), {"a": number})

    done = upkeep.retain("candles", None, WEEK, now())

    assert (done.files, done.versions) == (0, 0)
    assert [len(lake.read_candles(None, "1m", DAY, DAY, version=v)) for v in (1, 2)] == [1, 2]


def test_files_nobody_committed_go_when_they_are_old_enough(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    old, young = (folder(lake) / lake.stage("candles", entry(n)).files[0].path for n in (2, 3))
    stamp = (now() - timedelta(days=8)).timestamp()
    os.utime(old, (stamp, stamp))

    done = upkeep.retain("candles", None, WEEK, now())

    assert (done.files, old.exists(), young.exists()) == (1, False, True)


def test_a_file_whose_row_was_kept_long_ago_outlives_its_removal_by_the_week(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    stamp = (now() - timedelta(days=365)).timestamp()
    for file in folder(lake).glob("session=*/*.parquet"):
        os.utime(file, (stamp, stamp))
    version = lake.version("candles")

    upkeep.retain("candles", LATER, WEEK, now())

    assert len(lake.read_candles(None, "1m", DAY, DAY, version=version)) == 1


def test_a_crash_between_the_rows_and_the_files_is_made_good_by_the_next_run(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    lake.append("candles", later(2), {"a": 2})

    crashed = subprocess.run([sys.executable, "-c", CRASH, lake_root(lake)], cwd=REPO)
    between = volumes(lake), parquets(lake)
    done = upkeep.retain("candles", LATER, AT_ONCE, now())

    assert crashed.returncode == -signal.SIGKILL
    assert between == ([102], 2)
    assert (done.rows, done.files, parquets(lake), volumes(lake)) == (0, 1, 1, [102])


def test_retention_beside_a_writer_disturbs_nobody(lake, upkeep):
    for number in range(1, 11):
        lake.append("candles", entry(number), {"old": number})
    lake.cursors("candles", ["a"])
    done = threading.Event()

    def write() -> None:
        for number in range(1, 31):
            lake.append("candles", later(number), {"a": number})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    rows = 0
    while not done.is_set():
        rows += upkeep.retain("candles", LATER, WEEK, now()).rows
    writer.join()

    assert rows + upkeep.retain("candles", LATER, WEEK, now()).rows == 10
    assert volumes(lake) == [100 + n for n in range(1, 31)]
    assert list(upkeep.check("candles")) == []


def test_who_keeps_what_can_be_told_and_ends(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    for name in ("model-2", "model-1"):
        upkeep.keep("candles", 1, name, now(), WEEK)
    first = upkeep.kept()
    upkeep.keep("candles", 1, "model-1", now(), WEEK)

    assert upkeep.kept() == first
    assert [(k.table, k.version, k.name) for k in Upkeep(lake_root(lake)).kept()] == [
        ("candles", 1, "model-1"), ("candles", 1, "model-2"),
    ]  # fmt: skip
    assert [k.name for k in upkeep.release("model-2")] == ["model-2"]
    assert upkeep.release("model-2") == []
    assert [k.name for k in upkeep.kept("candles")] == ["model-1"]


@pytest.mark.parametrize("name", ["", "../../candles", "a b", "x" * 101, ".hidden"])
def test_a_name_that_could_be_a_path_is_refused(lake, upkeep, name):
    lake.append("candles", entry(1), {"a": 1})

    with pytest.raises(BadValue, match="name"):
        upkeep.keep("candles", 1, name, now(), WEEK)


def test_a_version_that_is_about_to_go_can_no_longer_be_kept(lake, upkeep):
    for number in (1, 2):
        lake.append("candles", entry(number), {"a": number})

    with pytest.raises(BadValue, match="was the newest until of late"):
        upkeep.keep("candles", 1, "model-1", now() + WEEK - timedelta(minutes=59), WEEK)
    assert upkeep.kept() == []
    upkeep.keep("candles", 1, "model-1", now(), WEEK)
    # What one keeps already, another may keep too.
    upkeep.keep("candles", 1, "model-2", now() + 2 * WEEK, WEEK)
    upkeep.keep("candles", 2, "model-2", now() + 2 * WEEK, WEEK)


def test_a_version_that_never_was_cannot_be_kept(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})

    for table, version in (("candles", 9), ("candles", -1), ("ticks", 1), ("orders", 1)):
        with pytest.raises(BadValue):
            upkeep.keep(table, version, "model-1", now(), WEEK)
    assert upkeep.kept() == []


def test_nothing_goes_when_a_version_that_is_kept_cannot_be_read(lake, upkeep):
    for number in (1, 2, 3):
        lake.append("candles", entry(number), {"a": number})
    upkeep.keep("candles", 1, "model-1", now(), WEEK)
    for log in log_of(lake)[:2]:
        (folder(lake) / "_delta_log" / log).unlink()

    with pytest.raises((BadValue, LineDown, StoreRefused)):
        upkeep.retain("candles", LATER, AT_ONCE, now())

    assert parquets(lake) == 3


def altered(**values: object) -> np.ndarray:
    """The candle of the sixth minute, with other values."""
    row = minute(5)
    for name, value in values.items():
        row[name] = value
    return row


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (minute(1), "1 rows stand there twice, first NSE:RELIANCE 1m 2016-08-25T03:46:00+00:00 0"),
        (minute(1, revision=2), "1 rows lack a revision, first NSE:RELIANCE 1m 2016-08-25T03:46:00+00:00"),
        (minute(5, revision=2), "1 rows lack a revision, first NSE:RELIANCE 1m 2016-08-25T03:50:00+00:00"),
        (altered(provenance=Provenance.GAP), "1 rows are a GAP, and have prices, first NSE:RELIANCE 1m"),
        (altered(close=UNKNOWN), "1 rows are no GAP, and lack prices, first NSE:RELIANCE 1m"),
        (altered(close=28510001), "1 rows have a price outside their low and high, first NSE:RELIANCE 1m"),
        (altered(open=28499999), "1 rows have a price outside their low and high, first NSE:RELIANCE 1m"),
    ],
)
def test_the_check_finds_wrong_rows_and_names_the_first(lake, upkeep, rows, said):
    lake.append(
        "candles", candle_table(np.concatenate([minute(1), minute(2), minute(2, revision=1)]), SYMBOLS), {"a": 1}
    )
    sound = list(upkeep.check("candles"))
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 2})

    (fault,) = upkeep.check("candles")

    assert sound == []
    assert fault.startswith(f"{DAY}: {said}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.unlink(), "in the log, not there"),
        (lambda path: os.truncate(path, 100), "100 bytes, the log says "),
        (lambda path: path.write_bytes(b"x" * path.stat().st_size), "cannot be read"),
    ],
)
def test_the_check_finds_files_that_are_gone_cut_or_overwritten(lake, upkeep, harm, said):
    lake.append("candles", entry(1), {"a": 1})
    lake.append("candles", later(2), {"a": 2})
    (file,) = folder(lake).glob(f"session={DAY}/*.parquet")

    harm(file)
    found = list(upkeep.check("candles"))

    assert found and found[0].startswith(f"session={DAY}/{file.name}: {said}")
    assert not any(str(LATER) in fault for fault in found)


def test_the_check_finds_a_file_with_other_rows_than_the_log_says(lake, upkeep):
    staged = lake.stage("candles", entry(1))
    told = staged.files[0].model_copy(update={"statistics": '{"numRecords": 7}'})
    lake.commit("candles", [staged.model_copy(update={"files": (told,)})], {"a": 1})

    assert list(upkeep.check("candles")) == [f"{told.path}: 1 rows, the log says 7"]


def test_the_check_finds_a_column_nobody_knows(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    write_deltalake(
        str(folder(lake)), later(2).append_column("mood", pa.array(["x"])), mode="append", schema_mode="merge"
    )

    assert list(upkeep.check("candles")) == ["column mood of type string: nobody knows it"]


def test_a_gap_without_prices_and_a_late_first_revision_are_no_fault(lake, upkeep):
    gap = minute(3)
    for name in ("open", "high", "low", "close", "vwap"):
        gap[name] = UNKNOWN
    gap["provenance"] = Provenance.GAP
    rows = np.concatenate([gap, minute(3, revision=1), minute(4, revision=1)])
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 1})

    assert list(upkeep.check("candles")) == []


def test_the_check_tells_of_kept_versions_that_lost_files(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    upkeep.keep("candles", 1, "model-1", now(), WEEK)
    lake.append("candles", entry(2), {"a": 2})
    lake.compact("candles", DAY)
    gone = DeltaTable(str(folder(lake)), version=1).file_uris()[0]
    Path(gone).unlink()

    (fault,) = upkeep.check("candles")

    assert fault == f"version 1, kept for model-1: session={DAY}/{Path(gone).name}: in the log, not there"


def test_the_check_tells_a_kept_file_of_another_size_from_one_that_is_gone(lake, upkeep):
    lake.append("candles", entry(1), {"a": 1})
    upkeep.keep("candles", 1, "model-1", now(), WEEK)
    lake.append("candles", entry(2), {"a": 2})
    lake.compact("candles", DAY)
    cut = Path(DeltaTable(str(folder(lake)), version=1).file_uris()[0])
    size = cut.stat().st_size
    os.truncate(cut, 100)

    (fault,) = upkeep.check("candles")

    assert fault == f"version 1, kept for model-1: session={DAY}/{cut.name}: 100 bytes, the log says {size}"


def test_the_check_names_the_entry_of_the_log_that_is_corrupt(lake, upkeep):
    for number in (1, 2):
        lake.append("candles", entry(number), {"a": number})
    entry_of_log = folder(lake) / "_delta_log" / f"{1:020}.json"
    entry_of_log.write_bytes(b"{not json")

    found = list(upkeep.check("candles"))

    assert found == [f"_delta_log/{entry_of_log.name}: a corrupt entry of the log"]


def test_the_check_tells_how_far_it_is(lake, upkeep):
    lake.append("candles", pa.concat_tables([entry(1), later(2)]), {"a": 1})
    heard: list[float] = []

    assert list(upkeep.check("candles", heard.append)) == []
    assert heard == [0.5, 1.0]


def test_what_a_table_holds_is_told_with_what_older_versions_take(lake, upkeep):
    for number in (1, 2, 3):
        lake.append("candles", entry(number), {"a": number})
    size = sum(p.stat().st_size for p in folder(lake).glob("session=*/*.parquet"))
    lake.compact("candles", DAY)

    held = upkeep.holdings("candles")

    assert (held.version, held.rows, held.files, held.older, held.older_size) == (4, 3, 1, 3, size)
