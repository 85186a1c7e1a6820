"""The commands about the lake: answers in every form, upkeep that says what it did, faults in one line."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from adapters.lake import Lake
from adapters.schemas import candle_table, feature_table, tick_table
from cluster.jobs import COMMANDS, TIMETABLE
from cluster.main import app
from cluster.settings import read
from market.errors import BadSetting
from market.features import FEATURE, NAMES, SET, Unknown
from market.sessions import session
from market.ticks import blank
from tests.adapters.test_lake import DAY, SYMBOLS, entry, minute

HEAD = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
metadata:
  bourse:
    ports: {base: 23000}
"""
OLD = date(2016, 7, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    return tmp_path


@pytest.fixture
def lake(folder: Path) -> Lake:
    """Two candles of a day, one corrected, and one of five weeks before; a tick of each day."""
    lake = Lake(str(folder / "data/lake"))
    rows = np.concatenate([minute(1), minute(2), minute(2, revision=1), minute(0, day=OLD)])
    lake.append("candles", candle_table(rows, SYMBOLS), {"a": 1})
    ticks = blank(2)
    ticks["at"] = ticks["received"] = [session(OLD).open, session(DAY).open]
    lake.append("ticks", tick_table(ticks, SYMBOLS, ["kite"]), {"a": 1})
    return lake


def bourse(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(folder / "cluster.yaml")])


def test_an_answer_is_a_table_on_the_screen(folder, lake):
    done = bourse(
        folder, "sql", "SELECT symbol, close, revision FROM newest_candles ORDER BY start DESC", "--rows", "2"
    )

    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert lines[:3] == [
        ["symbol", "close", "revision"], ["NSE:RELIANCE", "2850.5025", "1"], ["NSE:RELIANCE", "2850.5025", "0"],
    ]  # fmt: skip
    assert len(lines) == 4 and "and more; --rows shows more of them, --out keeps all" in done.stdout


def test_no_more_of_a_table_is_worked_out_than_is_shown(folder, lake):
    query = "SELECT CASE WHEN n < 100000 THEN n ELSE error('too far') END AS n FROM range(10000000) r(n)"

    some = bourse(folder, "sql", query, "--rows", "3")
    everything = bourse(folder, "sql", "SELECT 7 AS a, 8 AS a", "--rows", "1")

    assert (some.exit_code, some.stdout.split()[:4]) == (0, ["n", "0", "1", "2"]), some.output
    assert everything.stdout.split()[2:] == ["7", "8"]


def test_an_answer_as_json_is_a_list_of_rows(folder, lake):
    query = "SELECT start, close, open_interest, session, 'nan'::DOUBLE AS none FROM newest_candles ORDER BY start"

    rows = json.loads(bourse(folder, "sql", query, "--format", "json").stdout)

    assert len(rows) == 3
    assert rows[0] == {
        "start": "2016-07-20T03:45:00Z",
        "close": 2850.5025,
        "open_interest": None,
        "session": "2016-07-20",
        "none": None,
    }
    assert json.loads(bourse(folder, "sql", "SELECT 1 AS a WHERE false", "--format", "json").stdout) == []


def test_an_answer_goes_to_a_file_by_its_name(folder, lake):
    for name in ("answer.csv", "answer.parquet", "answer.json"):
        done = bourse(folder, "sql", "SELECT * FROM candles ORDER BY start, revision", "--out", str(folder / name))
        assert (done.exit_code, done.stdout.split()[0]) == (0, "4"), done.output

    assert pcsv.read_csv(folder / "answer.csv")["volume"].to_pylist() == [100, 101, 102, 102]
    assert pq.read_table(folder / "answer.parquet")["close"].to_pylist() == [Decimal("2850.5025")] * 4
    assert len(json.loads((folder / "answer.json").read_text())) == 4
    assert sorted(p.name for p in folder.iterdir() if "answer" in p.name) == [
        "answer.csv",
        "answer.json",
        "answer.parquet",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sql", "SELEC 1"), "query: Parser Error: syntax error"),
        (("sql", "COPY candles TO 'x'"), "query: one statement that reads"),
        (("sql", "SELECT 1", "--out", "answer.txt"), "a name that ends in .csv, .json or .parquet"),
        (("sql", "SELECT 1", "--out", "nowhere/answer.csv"), "nowhere/answer.csv: there is no folder nowhere"),
        (("sql", "SELEC 1", "--out", "nowhere/answer.csv"), "there is no folder nowhere"),
        (("sql", "SELECT 1", "--format", "parquet"), "it needs --out FILE"),
        (("sql", "SELECT 1", "--format", "table", "--out", "answer.csv"), "it goes to the screen"),
        (("lake", "keep", "99", "--for", "m"), "version: 99 is not allowed"),
        (("lake", "keep", "1", "--for", "../m"), "name: '../m' is not allowed"),
        (("lake", "keep", "1", "--for", "m", "--table", "orders"), "table: 'orders' is not allowed"),
        (("lake", "check", "orders"), "table: 'orders' is not allowed"),
        (("lake", "check", "features"), "one that something was written to"),
        (("compact", "--all", "--session", "2016-08-25"), "--all and --session: one of them"),
    ],
)
def test_what_cannot_be_is_one_clear_line(folder, lake, words, said):
    done = bourse(folder, *words)

    assert done.exit_code == 2
    assert said in done.stderr and "Traceback" not in done.output


def test_a_lake_nothing_was_written_to_is_no_fault_but_for_a_query(folder):
    assert [bourse(folder, "lake", *w).exit_code for w in ((), ("check",), ("retain",), ("kept",), ("compact",))] == [
        0
    ] * 5
    refused = bourse(folder, "sql", "SELECT 1")

    assert refused.exit_code == 2 and "nothing was written to this lake yet" in refused.stderr
    assert not (folder / "data").exists()


def test_a_query_that_fails_half_way_leaves_the_old_file(folder, lake):
    out = folder / "answer.csv"
    out.write_text("what was there")

    done = bourse(folder, "sql", "SELECT CAST(symbol AS INTEGER) FROM candles", "--out", str(out))

    assert done.exit_code == 2 and "Conversion Error" in done.stderr
    assert out.read_text() == "what was there" and [p.name for p in folder.glob(".answer*")] == []


def test_the_holdings_name_each_table(folder, lake):
    done = bourse(folder, "lake")

    lines = [line.split()[:3] for line in done.stdout.splitlines()]
    assert lines[1:] == [["ticks", "1", "2"], ["candles", "1", "4"]]


def test_a_sound_lake_is_said_to_be_and_a_fault_is_a_line_and_exit_code_1(folder, lake):
    sound = bourse(folder, "lake", "check")
    lake.append("candles", entry(1), {"a": 2})
    faulty = bourse(folder, "lake", "check")

    assert (sound.exit_code, sound.stdout.splitlines()) == (0, ["ticks: sound", "candles: sound"])
    assert faulty.exit_code == 1
    assert faulty.stdout.splitlines() == [
        "ticks: sound",
        "candles: 2016-08-25: 1 rows stand there twice, first NSE:RELIANCE 1m 2016-08-25T03:46:00+00:00 0",
    ]


def test_retention_by_default_takes_old_ticks_and_no_candle(folder, lake):
    done = bourse(folder, "lake", "retain", "--session", "2016-08-25")

    assert done.exit_code == 0, done.output
    assert lake.sessions("ticks") == [DAY] and lake.sessions("candles") == [OLD, DAY]
    assert "ticks: 1 rows before 2016-07-26 removed, 0 files, the log of 0 versions" in done.stdout


def test_retention_of_candles_is_a_setting(folder, lake):
    (folder / "cluster.yaml").write_text(HEAD + "    retention: {lake: {candles_days: 35, ticks_days: keep}}\n")

    done = bourse(folder, "lake", "retain")

    assert done.exit_code == 0, done.output
    assert lake.sessions("ticks") == [OLD, DAY] and lake.sessions("candles") == [DAY]


def test_features_go_by_their_own_rule(folder, lake):
    rows = np.zeros(1, FEATURE)
    rows["session"], rows["start"] = (OLD - date(1970, 1, 1)).days, session(OLD).open
    lake.append("features", feature_table(rows, SYMBOLS, SET, NAMES, [u.name for u in Unknown]), {"a": 1})
    (folder / "cluster.yaml").write_text(HEAD + "    retention: {lake: {features_days: 10}}\n")

    done = bourse(folder, "lake", "retain", "--session", "2016-08-25")

    assert done.exit_code == 0, done.output
    assert lake.sessions("features") == []


def test_retention_of_one_table_goes_on_when_another_cannot_be_tended(folder, lake):
    kept = bourse(folder, "lake", "keep", "1", "--for", "m", "--table", "candles")
    for number in (3, 4):
        lake.append("candles", entry(number), {"a": number})
    log = folder / "data/lake/candles/_delta_log"
    (log / f"{0:020}.json").unlink()

    done = bourse(folder, "lake", "retain", "--session", "2016-08-25")

    assert kept.exit_code == 0
    assert done.exit_code == 1 and "candles" in done.stderr and "Traceback" not in done.output
    assert lake.sessions("ticks") == [DAY]


def test_a_version_is_kept_listed_and_released(folder, lake):
    kept = bourse(folder, "lake", "keep", "1", "--for", "direction.v3")
    listed = bourse(folder, "lake", "kept")
    released = bourse(folder, "lake", "release", "direction.v3")
    again = bourse(folder, "lake", "release", "direction.v3")

    assert kept.stdout == "version 1 of candles is kept for direction.v3\n"
    assert listed.stdout.splitlines()[1].split()[:3] == ["candles", "1", "direction.v3"]
    assert released.stdout == "version 1 of candles is released\n"
    assert (again.exit_code, again.stdout) == (0, "nothing is kept for direction.v3\n")


def test_all_sessions_are_compacted_at_once_and_small_tables_whole(folder, lake):
    for number in (3, 4):
        lake.append("candles", candle_table(minute(number, day=OLD), SYMBOLS), {"a": number})

    by_day = bourse(folder, "lake", "compact")
    whole = bourse(folder, "compact", "--all")

    assert "candles: 0 files fewer for 2016-08-25" in by_day.stdout
    assert "candles: 2 files fewer\n" in whole.stdout
    assert len(lake.read_candles(None, None, OLD, DAY)) == 5


def test_retention_is_a_job_behind_compaction() -> None:
    assert COMMANDS["retain"][:2] == ("lake", "retain")
    assert TIMETABLE["retain"].at == "23:30 on session days" > str(TIMETABLE["compact"].at)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("ticks_days: 0", "retention.lake.ticks_days"),
        ("candles_days: forever", "retention.lake.candles_days"),
        ("versions_days: keep", "retention.lake.versions_days"),
        ("orders_days: 3", "retention.lake.orders_days"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_path(folder, said, path):
    (folder / "cluster.yaml").write_text(HEAD + f"    retention: {{lake: {{{said}}}}}\n")

    with pytest.raises(BadSetting, match=path) as refused:
        read(folder / "cluster.yaml", {})

    assert "\n" not in str(refused.value)
