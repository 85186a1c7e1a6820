"""The commands import and backfill: what they ask for, what they refuse in one line, what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.lake import Lake
from cluster.main import app

HEAD = """
cluster_name: b
provider: {type: local}
metadata: {bourse: {universe: [NSE:RELIANCE], partitions: 1, ports: {base: 27000}%s}}
"""
MINUTES = "sym,when,o,h,l,c,v\nAAA,2016-08-25 09:15,100,101,99,100.5,10\nAAA,2016-08-25 09:16,100,101,99,100.5,x\n"
NAMED = ("--columns", "symbol=sym,time=when")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD % "")
    (tmp_path / "bars.csv").write_text(MINUTES)
    return tmp_path


def bourse(folder: Path, *words: str, said: str = "") -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(folder / "cluster.yaml")], input=said)


def take(folder: Path, *words: str, file: str = "bars.csv") -> Result:
    return bourse(folder, "import", str(folder / file), *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "'sym, when, o, h, l, c, v' is not allowed; one for each of time, symbol: say --columns time=NAME"),
        (NAMED, "--zone"),
        ((*NAMED, "--zone", "Nowhere"), "--zone: 'Nowhere'"),
        ((*NAMED, "--zone", "IST"), "--label"),
        ((*NAMED, "--zone", "IST", "--label", "middle"), "start or end"),
        ((*NAMED, "--interval", "5m"), "1m or 1d"),
        ((*NAMED, "--exchange", "LSE"), "one of NSE, BSE, NASDAQ, NYSE"),
        (("--columns", "time=nope"), "a column of the file: sym, when, o, h, l, c, v"),
        (("--columns", "nope=when"), "one of time, symbol"),
        ((*NAMED, "--symbol", "../../etc"), "--symbol: '../../etc' is not allowed"),
        ((*NAMED, "--rename", "A=REL/X"), "--rename: 'A=REL/X' is not allowed"),
        (("--series", "A=o"), "together with --known RULE"),
        (("--series", "A=o", "--known", "soon", "--columns", "time=when"), "same day HH:MM"),
        (("--series", "A=zz", "--known", "same day 19:00", "--columns", "time=when"), "--series: 'zz'"),
    ],
)
def test_what_is_not_said_is_asked_for_in_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = take(folder, *words)

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr
    assert not (folder / "data" / "lake").exists()


def test_a_file_is_taken_in_once_and_what_was_refused_is_counted(folder: Path) -> None:
    words = (*NAMED, "--zone", "IST", "--label", "start", "--json")

    first, second = take(folder, *words), take(folder, *words)
    again = take(folder, *words, "--again")

    assert "candles of 1m, named by the start of the minute; symbol is sym, time is when, open is o" in first.stderr
    told = [json.loads(done.stdout) for done in (first, second, again)]
    assert [(t["read"], t["added"], t["held"], t["known"]) for t in told] == [(2, 1, 0, 0), (0, 0, 0, 1), (2, 0, 1, 0)]
    assert told[0]["refused"] == {"a volume or count that is no whole number from 0 on": 1}
    lake = Lake(str(folder / "data" / "lake"))
    [row] = lake.dataset("candles").to_table().to_pylist()
    assert (row["symbol"], row["interval"], row["provenance"]) == ("NSE:AAA", "1m", "IMPORTED")
    assert f"{row['start']:%H:%M}" == "03:45"
    assert len(lake.dataset("quarantine").to_table()) == 1


def test_end_labels_are_a_minute_earlier(folder: Path) -> None:
    (folder / "ends.csv").write_text(MINUTES.replace("09:16", "09:17").replace("09:15", "09:16"))

    take(folder, *NAMED, "--zone", "Asia/Kolkata", "--label", "start")
    done = take(folder, *NAMED, "--zone", "Asia/Kolkata", "--label", "end", "--json", file="ends.csv")

    assert (json.loads(done.stdout)["held"], json.loads(done.stdout)["differing"]) == (1, 0)


def test_an_index_without_a_column_of_symbols_and_official_days(folder: Path) -> None:
    (folder / "vix.csv").write_text("date,open,high,low,close\n2016-08-25,13,14,12,13.5\n")
    (folder / "days.csv").write_text("symbol,date,open,high,low,close,volume\nAAA,2016-08-25,13,14,12,13.5,7\n")

    done = [
        take(folder, "--symbol", "INDIA VIX", file="vix.csv"),
        take(folder, "--official", file="days.csv"),
        take(folder, file="days.csv"),
    ]

    assert [d.exit_code for d in done] == [0, 0, 0], [d.output for d in done]
    rows = Lake(str(folder / "data" / "lake")).dataset("candles").to_table().to_pylist()
    assert {(row["symbol"], row["provenance"], f"{row['start']:%H:%M}") for row in rows} == {
        ("NSE:INDIA VIX", "IMPORTED", "03:45"), ("NSE:AAA", "OFFICIAL", "18:30"), ("NSE:AAA", "IMPORTED", "03:45"),
    }  # fmt: skip


def test_series_come_by_the_same_door(folder: Path) -> None:
    (folder / "flows.csv").write_text("date,fii_net,dii_net\n2026-05-14,187.46,684.33\n")

    done = take(folder, "--series", "FII=fii_net,DII=dii_net", "--known", "same day 19:00", file="flows.csv")

    assert done.exit_code == 0, done.output
    assert "2 values added" in done.stdout
    rows = Lake(str(folder / "data" / "lake")).dataset("series").to_table().to_pylist()
    assert {(row["name"], row["value"], f"{row['known']:%d %H:%M}") for row in rows} == {
        ("FII", 187.46, "14 13:30"), ("DII", 684.33, "14 13:30"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (("--from", "2016-08-25", "--interval", "5m"), "", "--interval: '5m' is not allowed; 1m or 1d"),
        (("--from", "2016-08-25", "--to", "2016-08-24"), "", "--to: '2016-08-24'"),
        (("--from", "1985-08-25"), "", "--from: '1985-08-25'"),
        (("--from", "2016-08-25", "--symbols", "NOBODY"), "", "one of the 1 of this universe"),
        (
            ("--from", "2016-08-25", "--to", "2016-08-25"),
            ", feeds: {sources: {sim: {kind: simulated, dialect: flattrade}}}",
            "no daily candles of FlatTrade's",
        ),
    ],
)
def test_a_backfill_that_cannot_be_is_one_line(folder: Path, words: tuple[str, ...], more: str, said: str) -> None:
    (folder / "cluster.yaml").write_text(HEAD % more)

    done = bourse(folder, "backfill", *words)

    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "content", [np.random.default_rng(7).bytes(4000), b"a,b\nS\xe9\n" * 500], ids=["binary", "torn"]
)
def test_a_file_that_is_no_text_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "r.csv").write_bytes(content)
    run = "from cluster.main import app; app()"
    words = ["import", "r.csv", "--zone", "Asia/Kolkata", "--label", "end", "--config", "cluster.yaml"]
    repo = str(Path(__file__).resolve().parents[2])

    done = subprocess.run(
        [sys.executable, "-c", run, *words], cwd=folder, env={**os.environ, "PYTHONPATH": repo},
        capture_output=True, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, ""), done.stderr
