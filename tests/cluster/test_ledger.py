"""The commands about what the lake holds, as far as they need a bus only."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.bus import Bus
from adapters.lake import Lake
from adapters.redis_server import RedisServer
from adapters.schemas import candle_table
from cluster.main import app
from market.candles import CANDLE, INTERVALS, Provenance
from market.sessions import day_number, session

HEAD = """
cluster_name: b
provider: {type: local}
metadata: {bourse: {universe: [NSE:RELIANCE], partitions: 1}}
"""
COLUMNS = "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,"
SHARE = "RELIANCE,EQ,1000,1010,995,1005,1004,999,200,200500,{day:%d-%b-%Y},17,INE002A01018,"


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("b")
    one = RedisServer(folder / "bus", folder / "run", "bus", memory=64 << 20, durable=True)
    one.start()
    yield one.url
    one.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    return tmp_path


def bourse(folder: Path, bus: str, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(folder / "cluster.yaml")], env={"BUS_URL": bus})


def end_of_day(folder: Path, day: date) -> str:
    path = folder / f"{day}.csv"
    path.write_text(f"{COLUMNS}\n{SHARE.format(day=day)}\n")
    return str(path)


def keep(folder: Path, *days: date) -> None:
    """Put a whole daily candle of each of these days into the lake."""
    rows = np.zeros(len(days), CANDLE)
    rows["start"], rows["interval"] = [session(day).open for day in days], INTERVALS["1d"]
    rows["session"], rows["trades"], rows["completeness"] = [day_number(day) for day in days], 1, 1.0
    rows["provenance"] = Provenance.LIVE
    Lake(str(folder / "data" / "lake")).append("candles", candle_table(rows, ["NSE:RELIANCE"]), {"test": 1})


# 21 November 2021 was a Sunday, 1 November 2035 is to come, 25 August 2016 was a Thursday.
@pytest.mark.parametrize(
    ("day", "said"),
    [
        (date(2021, 11, 21), "is of 2021-11-21, which is no session of NSE until now"),
        (date(2035, 11, 1), "is of 2035-11-01, which is no session of NSE until now"),
        (date(1985, 6, 3), "a day from 2000-01-01"),
    ],
)
def test_a_file_of_a_day_that_was_no_session_is_refused_and_leaves_nothing(
    folder: Path, bus: str, day: date, said: str
) -> None:
    before = Bus(bus).numbers("ticks", "reconcile", [0])

    done = bourse(folder, bus, "reconcile", end_of_day(folder, day))

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert Bus(bus).numbers("ticks", "reconcile", [0]) == before


def test_a_file_of_an_earlier_session_is_taken_without_naming_it(folder: Path, bus: str) -> None:
    done = bourse(folder, bus, "reconcile", end_of_day(folder, date(2016, 8, 25)))

    assert done.exit_code == 0, done.output
    assert "2016-08-25: " in done.stdout


def test_a_day_nobody_knows_in_the_lake_does_not_end_coverage(folder: Path, bus: str) -> None:
    keep(folder, date(1985, 6, 3), date(2016, 8, 25))

    done = bourse(folder, bus, "coverage")

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2016-08-25 to 2016-08-25, 1 symbols, 1 sessions")


def test_coverage_is_of_two_years_at_most(folder: Path, bus: str) -> None:
    keep(folder, date(2010, 6, 3), date(2016, 8, 25))

    long = bourse(folder, bus, "coverage", "--from", "2000-01-01", "--to", "2035-12-31")
    newest = bourse(folder, bus, "coverage")

    assert (long.exit_code, long.stderr.count("\n")) == (2, 1)
    assert "a day at most 732 days before --to" in long.stderr
    assert newest.stdout.startswith("2016-08-25 to 2016-08-25")


def zipped(folder: Path, name: str, *files: str) -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.writestr(file, f"{COLUMNS}\n{SHARE.format(day=date(2016, 8, 25))}\n" * 50)
    return path


def test_a_zip_that_cannot_be_read_is_one_line_that_says_so(folder: Path, bus: str) -> None:
    two, cut, flipped = zipped(folder, "2.zip", "a", "b"), zipped(folder, "cut.zip", "a"), zipped(folder, "f.zip", "a")
    cut.write_bytes(cut.read_bytes()[:60])
    body = bytearray(flipped.read_bytes())
    body[31 : 31 + 20] = bytes(b ^ 0xFF for b in body[31 : 31 + 20])
    flipped.write_bytes(body)

    said = [bourse(folder, bus, "reconcile", str(path)) for path in (two, cut, flipped)]

    assert [one.exit_code for one in said] == [2, 2, 2]
    lines = [one.stderr.splitlines() for one in said]
    assert lines[0] == ["2.zip: '2 files' is not allowed; a zip with one file in it"]
    assert [len(one) for one in lines] == [1, 1, 1]
    assert all("a zip that is damaged" in one for (one,) in lines[1:]), lines


def test_a_repair_of_days_nobody_knows_is_one_line(folder: Path, bus: str) -> None:
    done = bourse(folder, bus, "repair", "--session", "0002-01-01", "--days", "3660")

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "--session: '0002-01-01' is not allowed; a day from 2000-01-01" in done.stderr


def test_a_day_cannot_be_drawn_from_less_than_nothing(folder: Path, bus: str) -> None:
    done = bourse(folder, bus, "chaos", "--seed", "-1", "--minutes", "0.05")

    assert done.exit_code == 2
    assert "--seed" in done.stderr and "Traceback" not in done.stderr
