"""The commands about corporate actions."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.lake import Lake
from cluster.main import app
from cluster.settings import read
from market.candles import Provenance
from tests.adapters.test_actions import candles

HEAD = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
metadata:
  bourse:
    ports: {base: 23000}
"""
TABLE = "symbol,date,dividend_adj,split_ratio\nBAJFINANCE,2016-09-08,0,5.0\nX,2016-09-08,0,1.0\n"
WHY = ("--reason", "the exchange's circular", "--by", "me")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path


def bourse(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["actions", *words, "--config", str(folder / "cluster.yaml")])


def prices(folder: Path) -> None:
    rows = [(date(2016, 9, 7), 11330.0, 11393.3), (date(2016, 9, 8), 1153.9, 1162.8)]
    lake = Lake(read(folder / "cluster.yaml", {}).lake)
    lake.append("candles", candles("NSE:BAJFINANCE", rows, Provenance.OFFICIAL), {"prices": 1})


def test_half_an_event_is_found_by_the_audit_and_put_right_by_hand(folder: Path) -> None:
    prices(folder)

    took, again = (bourse(folder, "import", str(folder / "table.csv")) for _ in range(2))
    found = bourse(folder, "audit", "--json")
    bourse(folder, "set", "BAJFINANCE", "split", "2016-09-08", "5", *WHY)
    done = bourse(folder, "set", "BAJFINANCE", "bonus", "2016-09-08", "1:1", *WHY)
    clean = bourse(folder, "audit", "--symbols", "BAJFINANCE")

    assert "table.csv: 1 actions, 1 of them new" in took.stdout
    assert "not read: NSE:X 2016-09-08: a split of 1.0 for 1 changes nothing" in took.stdout
    assert "table.csv: 1 actions, 0 of them new" in again.stdout
    (broken,) = json.loads(found.stdout)["breaks"]
    assert (found.exit_code, broken["symbol"], broken["session"]) == (1, "NSE:BAJFINANCE", "2016-09-08")
    assert "BONUS 1:1 (operator), SPLIT 5 (operator); prices before it x 1/10" in done.stdout
    assert (clean.exit_code, clean.stdout) == (0, "0 unexplained breaks in 2 daily candles of 1 shares\n")


def test_a_share_is_shown_by_any_of_its_names_as_known_then(folder: Path) -> None:
    bourse(folder, "import", str(folder / "table.csv"))
    bourse(folder, "set", "BAJAUTOFIN", "rename", "2010-09-29", "BAJFINANCE", *WHY)
    (folder / "own.csv").write_text("symbol,kind,ex_date,value,known\nBAJFINANCE,BONUS,2016-09-08,1:1,2016-07-26\n")
    bourse(folder, "import", str(folder / "own.csv"), "--source", "nse")

    now = bourse(folder, "show", "bajfinance", "--json")
    then = bourse(folder, "show", "BAJFINANCE", "--json", "--as-of", "2016-07-26")
    all_of_it = bourse(folder, "show", "BAJFINANCE", "--all")

    assert [a["kind"] for a in json.loads(now.stdout)["actions"]] == ["RENAME", "BONUS"]
    assert [a["factor"] for a in json.loads(then.stdout)["actions"]] == [None, "1/2"]
    assert "yahoo" in all_of_it.stdout
    assert "3 actions of NSE:BAJFINANCE" in all_of_it.stdout


def test_an_operator_who_says_half_is_told_what_it_stands_in_place_of(folder: Path) -> None:
    bourse(folder, "import", str(folder / "table.csv"))

    done = bourse(folder, "set", "BAJFINANCE", "bonus", "2016-09-08", "1:1", *WHY)
    same = bourse(folder, "set", "BAJFINANCE", "bonus", "2016-09-08", "1:1", *WHY)

    assert "in place of SPLIT 5 of yahoo: set what of it still holds, too" in done.stdout
    assert "nothing new" in same.stdout


@pytest.mark.parametrize(
    ("value", "odd"), [("100/100000", "1/1000"), ("1/20", ""), ("1/21", "1/21"), ("20", ""), ("21", "21")]
)
def test_an_operator_is_told_of_a_factor_that_is_hardly_meant(folder: Path, value: str, odd: str) -> None:
    prices(folder)

    done = bourse(folder, "set", "BAJFINANCE", "demerger", "2016-09-08", value, *WHY)

    assert done.exit_code == 0
    assert (f"a factor of {odd} is outside 1/20 to 20" in done.stdout) == bool(odd)
    assert ("is outside" in done.stdout) == bool(odd)


def test_a_bad_file_is_one_line_and_the_others_are_taken(folder: Path) -> None:
    (folder / "bad.csv").write_text("symbol,kind,ex_date,value\nINFY,SPLIT,2018-09-04,0\n")

    done = bourse(folder, "import", str(folder / "bad.csv"), str(folder / "table.csv"))

    assert done.exit_code == 1
    assert done.stderr.startswith("bad.csv, row 1, value: '0' is not allowed")
    assert "table.csv: 1 actions, 1 of them new" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "INFY", "split", "2018-09-04", "2"], "--reason"),
        (["set", "INFY", "split", "2018-09-04", "0", *WHY], "how many shares each one became"),
        (["set", "INFY", "dividend", "2018-09-04", "0", *WHY], "rupees above 0"),
        (["set", "INFY", "split", "2018-02-30", "2", *WHY], "a date like 2016-09-08"),
        (["set", "INFY", "split", "2018-09-04", "2", *WHY, "--known", "then"], "known: 'then' is not allowed"),
        (["set", "INFY", "split", "2018-09-04", "2", *WHY, "--isin", "X1"], "isin: 'X1' is not allowed"),
        (["set", "NOBODY", "split", "2018-09-04", "2", *WHY], "symbol: 'NSE:NOBODY' is not allowed"),
        (["set", "INFY", "merger", "2018-09-04", "2", *WHY], "one of SPLIT, BONUS"),
        (["show", "NOBODY"], "symbol: 'NOBODY' is not allowed"),
        (["show", "INFY", "--as-of", "2018"], "--as-of: '2018' is not allowed"),
        (["audit", "--symbols", "NOBODY"], "symbol: 'NOBODY' is not allowed"),
        (["audit", "--from", "2018-01-02", "--to", "2018-01-01"], "--from 2018-01-02 is after --to 2018-01-01"),
        (["import", "x.csv", "--source", "operator"], "bourse actions set"),
    ],
)
def test_what_cannot_be_is_one_clear_line(folder: Path, words: list[str], said: str) -> None:
    done = bourse(folder, *words)

    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
