"""Commits in bulk: many hands write, one commits, each row once; and reads of a version by its number."""

import os
import pickle
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from adapters.deltalog import DeltaLog
from adapters.lake import Lake
from adapters.schemas import CANDLES, FEATURES, candle_table, feature_table, feature_values
from adapters.staging import Staged, folder
from market.errors import BadValue, LeaseLost, StoreRefused
from market.money import UNKNOWN
from market.sessions import MINUTE, day_number, session
from tests.adapters.test_lake import DAY, REPO, SYMBOLS, entry, lake_root, minute, volumes

LATER = date(2016, 8, 26)
ROW = np.dtype(
    [
        ("instrument", "i4"),
        ("session", "i4"),
        ("start", "i8"),
        ("revision", "i4"),
        ("unknown", "i2"),
        ("values", "f8", 2),
    ]
)
REASONS = ["", "gap", "warming up"]
RUN = datetime(2016, 9, 1, tzinfo=UTC)

JOB = """
import os, signal, sys
from adapters.lake import Lake
from tests.adapters.test_lake import entry

lake = Lake(sys.argv[1])
staged = [lake.stage("candles", entry(n)) for n in range(1, 6)]
if sys.argv[2] == "before":
    os.kill(os.getpid(), signal.SIGKILL)
version = lake.commit("candles", staged, {"bulk": 1})
if sys.argv[2] == "after":
    os.kill(os.getpid(), signal.SIGKILL)
print(version)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def features(*rows: tuple[int, int, float, float], unknown: int = 0, revision: int = 0, names=("a", "b"), **more):
    made = np.zeros(len(rows), ROW)
    for k, (instrument, number, *values) in enumerate(rows):
        made["instrument"][k], made["start"][k] = instrument, session(DAY).open + number * MINUTE
        made["values"][k] = values
    made["session"], made["unknown"], made["revision"] = day_number(DAY), unknown, revision
    return feature_table(made, SYMBOLS, "v1", names, REASONS, **more)


def table_of(lake: Lake, name: str = "candles") -> DeltaTable:
    return DeltaTable(f"{lake_root(lake)}/{name}")


def nanoseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000


def test_what_many_staged_one_commit_takes_in(lake):
    days = pa.concat_tables([entry(1), candle_table(minute(2, day=LATER), SYMBOLS), entry(3)])
    staged = [lake.stage("candles", days), Lake(lake_root(lake)).stage("candles", entry(4))]
    before = lake.version("candles")

    sent = [pickle.loads(pickle.dumps(s)) for s in staged]  # noqa: S301  (our own, as Ray sends it)
    version = lake.commit("candles", sent, {"bulk": 1})

    assert version == before + 1 == table_of(lake).version()
    assert volumes(lake) == [101, 102, 103, 104]
    assert [s.rows for s in staged] == [3, 1]
    assert lake.sessions("candles") == [DAY, LATER]
    assert lake.read_candles(None, "1m", LATER, LATER)["volume"].to_pylist() == [102]


def test_nothing_of_what_is_staged_is_seen_before_the_commit(lake):
    lake.append("candles", entry(1), {"a": 1})

    lake.stage("candles", entry(2))

    assert volumes(lake) == [101]


def test_staged_candles_come_back_to_the_byte(lake):
    rows = candle_table(np.concatenate([minute(n, i) for i in (0, 1) for n in range(5)]), SYMBOLS)

    lake.commit("candles", [lake.stage("candles", rows)], {"bulk": 1})

    assert lake.read_candles(None, "1m", DAY, DAY).equals(rows)


def test_what_was_staged_survives_a_restart_as_json(lake):
    kept = lake.stage("candles", entry(1)).model_dump_json()

    Lake(lake_root(lake)).commit("candles", [Staged.model_validate_json(kept)], {"bulk": 1})

    assert volumes(lake) == [101]


def test_a_repeated_commit_of_staged_files_is_known(lake):
    staged = [lake.stage("candles", entry(1))]
    lake.commit("candles", staged, {"bulk": 1})

    assert lake.commit("candles", staged, {"bulk": 1}) is None
    assert Lake(lake_root(lake)).commit("candles", [lake.stage("candles", entry(1))], {"bulk": 1}) is None
    assert volumes(lake) == [101]


def test_of_two_committers_of_one_run_the_second_is_stopped(lake):
    other = Lake(lake_root(lake))
    for one in (lake, other):
        one.cursors("candles", ["bulk"])
    lake.commit("candles", [lake.stage("candles", entry(1))], {"bulk": 1})

    with pytest.raises(LeaseLost):
        other.commit("candles", [other.stage("candles", entry(2))], {"bulk": 2})

    assert volumes(lake) == [101]


def test_commits_of_others_in_between_do_not_stop_one(lake):
    staged = [lake.stage("candles", entry(1))]
    Lake(lake_root(lake)).append("candles", entry(2), {"archive": 1})

    assert lake.commit("candles", staged, {"bulk": 1}) == 2
    assert volumes(lake) == [101, 102]


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_job_killed_around_its_commit_and_run_again_leaves_every_row_once(tmp_path, killed):
    root = str(tmp_path / "lake")

    first = subprocess.run([sys.executable, "-c", JOB, root, killed], cwd=REPO)
    again = subprocess.run([sys.executable, "-c", JOB, root, "never"], cwd=REPO, capture_output=True, text=True)

    assert first.returncode == -signal.SIGKILL
    assert again.stdout.strip() == ("None" if killed == "after" else "1"), again.stderr
    assert volumes(Lake(root)) == [101, 102, 103, 104, 105]


def test_a_staged_file_that_is_gone_or_cut_is_refused_and_nothing_committed(lake):
    for harm in (os.unlink, lambda path: os.truncate(path, 100)):
        staged = [lake.stage("candles", entry(1)), lake.stage("candles", entry(2))]
        harm(Path(lake_root(lake), "candles", staged[1].files[0].path))

        with pytest.raises(StoreRefused, match="stage it again"):
            lake.commit("candles", staged, {"bulk": 1})

    assert volumes(lake) == []


def test_one_file_twice_or_of_another_table_is_refused(lake):
    staged = lake.stage("candles", entry(1))

    with pytest.raises(BadValue, match="each file once"):
        lake.commit("candles", [staged, staged], {"bulk": 1})
    with pytest.raises(BadValue, match="what was staged for ticks"):
        lake.commit("ticks", [staged], {"bulk": 1})


def test_rows_that_do_not_fit_are_refused_before_a_byte_is_written(lake):
    for rows in (entry(1).drop_columns(["open"]), entry(1).append_column("rsi", pa.array([1.0]))):
        with pytest.raises(BadValue, match="columns"):
            lake.stage("candles", rows)

    assert not Path(lake_root(lake)).exists()


def test_a_run_that_found_nothing_still_moves_its_cursor(lake):
    staged = lake.stage("candles", CANDLES.empty_table())

    assert lake.commit("candles", [staged], {"bulk": 1}) == 1
    assert lake.cursors("candles", ["bulk"]) == {"bulk": 1}
    assert lake.commit("candles", [staged], {"bulk": 1}) is None


def test_statistics_let_a_reader_skip_files(lake):
    lake.commit("candles", [lake.stage("candles", entry(n)) for n in (1, 2, 3)], {"bulk": 1})

    late = f"start >= '{(RUN - timedelta(days=7) + timedelta(hours=3, minutes=48)).isoformat()}'"
    said = [Path(f).name for f in table_of(lake).file_uris(file_pruning_predicate=late)]

    assert len(table_of(lake).file_uris()) == 3
    assert len(said) == 1
    assert {tuple(r.values()) for r in pa.table(table_of(lake).get_add_actions(flatten=True)).select(
        ["num_records", "min.symbol", "max.symbol", "null_count.start"]
    ).to_pylist()} == {(1, "NSE:RELIANCE", "NSE:RELIANCE", 0)}  # fmt: skip


def test_staged_files_are_joined_like_any_other(lake):
    lake.commit("candles", [lake.stage("candles", entry(n)) for n in range(6)], {"bulk": 1})

    gone = lake.compact("candles", DAY)

    assert gone == 5
    assert volumes(lake) == [100 + n for n in range(6)]


def test_a_version_reads_the_same_whatever_comes_later(lake):
    lake.append("candles", entry(1), {"a": 1})
    pinned = lake.version("candles")
    first = lake.read_candles(None, "1m", DAY, DAY, version=pinned)

    lake.append("candles", candle_table(minute(1, revision=1), SYMBOLS), {"a": 2})
    lake.compact("candles", DAY)

    assert lake.read_candles(None, "1m", DAY, DAY, version=pinned).equals(first)
    assert Lake(lake_root(lake)).read_candles(None, "1m", DAY, DAY)["revision"].to_pylist() == [1]


@pytest.mark.parametrize("version", [-1, 2, 99])
def test_a_version_that_never_was_is_a_bad_value(lake, version):
    lake.append("candles", entry(1), {"a": 1})

    with pytest.raises(BadValue, match=r"version of candles up to 1"):
        lake.read_candles(None, "1m", DAY, DAY, version=version)


def test_an_instant_names_the_newest_version_committed_by_then(lake):
    for number in (1, 2, 3):
        lake.append("candles", entry(number), {"a": number})
    log = DeltaLog(folder(f"{lake_root(lake)}/candles", {}))
    committed = [datetime.fromtimestamp(log.committed(v) / 1000, UTC) for v in log.versions]

    found = [lake.version("candles", at) for at in committed]

    # Two commits of one millisecond count as one: the later of them.
    assert all(v >= k and committed[v] == committed[k] for k, v in enumerate(found))
    assert lake.version("candles", committed[-1] + timedelta(days=1)) == 3
    with pytest.raises(BadValue, match="as_of"):
        lake.version("candles", committed[0] - timedelta(milliseconds=1))


def test_a_table_nothing_was_written_to_has_no_version(lake):
    with pytest.raises(BadValue, match="something was written to"):
        lake.version("features")


def test_a_commit_in_bulk_says_what_it_was_computed_from(lake):
    version = lake.commit("features", [lake.stage("features", features((0, 0, 1.0, 2.0)))], {"run": 1}, {"candles": 41})

    assert lake.base("features", version) == {"candles": 41}
    assert lake.base("features", 0) == {}


def test_features_say_unknown_as_null_with_the_reason(lake):
    known, unknown = features((0, 0, 0.5, np.nan)), features((1, 0, np.nan, np.nan), unknown=1)
    lake.append("features", pa.concat_tables([known, unknown]), {"a": 1})

    rows = lake.read_features(None, DAY, DAY, "v1")

    first, second = rows.to_pylist()
    assert (first["symbol"], first["set"], first["run"], first["unknown"]) == ("NSE:RELIANCE", "v1", None, None)
    assert (first["a"], first["b"]) == (0.5, None)
    assert (second["symbol"], second["unknown"], second["a"]) == ("NSE:TCS", "gap", None)
    assert rows.schema.field("a").type == pa.float64()
    np.testing.assert_array_equal(feature_values(rows, ["b", "a"]), [[np.nan, 0.5], [np.nan, np.nan]])


def test_the_newest_run_in_bulk_counts_before_any_live_row(lake):
    old, new = nanoseconds(RUN), nanoseconds(RUN + timedelta(days=1))
    lake.append("features", features((0, 0, 2.0, 0.0), (0, 1, 2.0, 0.0), run=new), {"a": 1})
    lake.append("features", features((0, 0, 1.0, 0.0), (0, 1, 1.0, 0.0), (0, 2, 1.0, 0.0), run=old), {"a": 2})
    lake.append("features", features((0, 0, 9.0, 0.0), (0, 3, 9.0, 0.0), revision=5), {"a": 3})
    lake.append("features", features((0, 3, 8.0, 0.0), revision=4), {"a": 4})

    rows = lake.read_features(["NSE:RELIANCE"], DAY, DAY, "v1")

    assert rows["a"].to_pylist() == [2.0, 2.0, 1.0, 9.0]
    assert rows["start"].to_pylist() == sorted(rows["start"].to_pylist())


def test_features_of_other_symbols_days_and_sets_are_left_out(lake):
    lake.append("features", features((0, 0, 1.0, 0.0), (1, 0, 2.0, 0.0)), {"a": 1})

    assert lake.read_features(["NSE:TCS"], DAY, DAY, "v1")["a"].to_pylist() == [2.0]
    assert [len(lake.read_features(None, d, d, s)) for d, s in ((DAY, "v1"), (LATER, "v1"), (DAY, "v2"))] == [2, 0, 0]


@pytest.mark.parametrize("way", ["append", "commit"])
def test_the_columns_of_features_grow_with_the_set(lake, way):
    def put(rows: pa.Table, number: int) -> None:
        if way == "append":
            lake.append("features", rows, {"a": number})
        else:
            lake.commit("features", [lake.stage("features", rows)], {"a": number})

    pinned = {}
    for number, names in enumerate([("a", "b"), ("b", "c"), ("a", "b")], start=1):
        put(features((0, number, 1.0 * number, 2.0 * number), names=names), number)
        pinned[number] = lake.version("features")

    assert lake.read_features(None, DAY, DAY, "v1").select(["a", "b", "c"]).to_pylist() == [
        {"a": 1.0, "b": 2.0, "c": None},
        {"a": None, "b": 2.0, "c": 4.0},
        {"a": 3.0, "b": 6.0, "c": None},
    ]
    assert lake.read_features(None, DAY, DAY, "v1", version=pinned[1]).column_names == [*FEATURES.names, "a", "b"]
    protocol = table_of(lake, "features").protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)


def test_named_features_come_in_their_order_and_what_is_not_there_is_null(lake):
    lake.append("features", features((0, 0, 1.0, 2.0)), {"a": 1})

    rows = lake.read_features(None, DAY, DAY, "v1", names=["b", "z"])

    assert rows.column_names == [*FEATURES.names, "b", "z"]
    assert rows.select(["b", "z"]).to_pylist() == [{"b": 2.0, "z": None}]
    assert lake.read_features(None, LATER, LATER, "v1", names=["b"]).column_names == [*FEATURES.names, "b"]


def test_features_of_a_lake_without_any_are_none(lake):
    rows = lake.read_features(None, DAY, DAY, "v1", names=["b"])

    assert rows.num_rows == 0 and rows.column_names == [*FEATURES.names, "b"]


def test_a_feature_that_is_no_number_is_refused(lake):
    rows = features((0, 0, 1.0, 2.0)).append_column("c", pa.array(["x"]))

    with pytest.raises(BadValue, match="columns"):
        lake.append("features", rows, {"a": 1})


def test_money_unknown_in_a_staged_row_is_null_in_the_file(lake):
    gap = minute(1)
    for name in ("open", "high", "low", "close", "vwap"):
        gap[name] = UNKNOWN

    staged = lake.stage("candles", candle_table(gap, SYMBOLS))

    file = pq.read_table(Path(lake_root(lake), "candles", staged.files[0].path), partitioning=None)
    assert file["open"].to_pylist() == [None] and "session" not in file.column_names
