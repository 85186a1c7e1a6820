"""The command that lists sessions and takes circulars in, and where else they count."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from adapters.notices import FILE, Notices
from cluster.calendars import calendar
from cluster.main import app
from cluster.settings import read
from cluster.up import replayed
from cluster.wiring import Wiring
from market.errors import BadSetting, StoreRefused
from market.holidays import clocks
from market.notices import FIELDS

HEAD = """
cluster_name: bourse
provider: {type: local, head_ip: 127.0.0.1, worker_ips: []}
metadata:
  bourse:
    ports: {base: 23000}
"""
SOON = date.today() + timedelta(days=7 - date.today().weekday() + 5)
"""A Saturday: no session, unless somebody says so."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    return tmp_path


def bourse(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["sessions", *words, "--config", str(folder / "cluster.yaml")])


def circular(folder: Path, *rows: str) -> str:
    path = folder / "circular.csv"
    path.write_text("\n".join([",".join(FIELDS), *rows]))
    return str(path)


def wiring(folder: Path) -> Wiring:
    stores: Any = SimpleNamespace(bus="unix:///bus", cache="unix:///cache")
    return Wiring(read(folder / "cluster.yaml", {}), stores)


# Hours: money9.com, 24 February 2021; UTC is five and a half hours behind India.
def test_sessions_are_listed_with_their_hours_kind_phases_and_source(folder: Path) -> None:
    done = bourse(folder, "nse", "--from", "2021-02-24", "--to", "2021-02-24")

    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "Wed 2021-02-24  extended  03:45-06:10 10:15-11:30 UTC  09:15-11:40 15:45-17:00 IST"
    assert "pause 11:40, pre-open 15:30, extended 15:45, closing 17:00 to 17:30" in lines[1]
    assert lines[2] == "NSE's notice, money9.com, 24 February 2021"
    assert lines[3] == "1 sessions of NSE from 2021-02-24 to 2021-02-24"


def test_with_an_end_alone_the_listing_ends_there(folder: Path) -> None:
    done = bourse(folder, "NSE", "--to", "2020-01-01")

    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "1 sessions of NSE from 2020-01-01 to 2020-01-01"


def test_as_json_each_session_has_every_clock(folder: Path) -> None:
    done = bourse(folder, "NASDAQ", "--from", "2024-11-28", "--to", "2024-11-30", "--json")

    body = json.loads(done.stdout)
    assert (body["exchange"], body["zone"]) == ("NASDAQ", "America/New_York")
    (friday,) = body["sessions"]
    assert [friday[name] for name in ("date", "kind", "open", "close_ist", "close_local", "minutes")] == [
        "2024-11-29", "half", "2024-11-29T14:30:00Z", "2024-11-29T23:30:00+05:30", "2024-11-29T13:00:00-05:00", 210,
    ]  # fmt: skip
    assert [p["phase"] for p in friday["phases"]] == ["pre-open", "continuous", "closing"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["LSE"], "exchange: 'LSE' is not allowed; one of NSE, BSE, NASDAQ, NYSE"),
        (["NSE", "--from", "2024-01-02", "--to", "2024-01-01"], "a day not before `from`, 2024-01-02"),
        (["NSE", "--from", "9999-12-31"], "from: '9999-12-31' is not allowed; a day from 2000-01-01 to 2035-12-31"),
        (["NSE", "--from", "1999-12-31"], "a day from 2000-01-01 to 2035-12-31"),
        (["NSE", "--from", "2024-01-02", "--to", "2040-01-01"], "a day from 2000-01-01 to 2035-12-31"),
        (["NSE", "--from", "24/01/2024"], "%Y-%m-%d"),
        (["NSE", "circular.csv"], "go with import"),
        (["import"], "sessions import takes a FILE"),
        (["import", "nowhere.csv"], "No such file"),
    ],
)
def test_what_cannot_be_is_one_clear_line(folder: Path, words: list[str], said: str) -> None:
    done = bourse(folder, *words)

    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_circular_is_taken_in_and_counts_from_the_next_start(folder: Path) -> None:
    before = wiring(folder)

    done = bourse(folder, "import", circular(folder, f"NSE,{SOON},muhurat,18:15-19:15,NSE/CMTR/1"))

    assert done.exit_code == 0, done.stderr
    assert f"NSE {SOON}: no session (without a session so far) becomes muhurat 18:15-19:15 (NSE/CMTR/1)" in done.stdout
    assert "1 days of circular.csv taken" in done.stdout and "started again" in done.stdout
    assert [s for s in before.sessions if s.date == SOON] == []
    after = wiring(folder)
    (taken,) = (s for s in after.sessions if s.date == SOON)
    assert (clocks(taken), taken.source) == ("18:15-19:15", "NSE/CMTR/1")
    assert taken in after.gateway().sessions
    assert [n.date for n in after.gateway().notices] == [SOON]
    assert {s for s in {p.name: p.plan for p in after.parts()}["timetable"].calendars["NSE"] if s.date == SOON}


def test_a_wrong_row_leaves_everything_as_it_was(folder: Path) -> None:
    bourse(folder, "import", circular(folder, f"NSE,{SOON},muhurat,18:15-19:15,NSE/CMTR/1"))
    kept = (folder / "data" / FILE).read_bytes()

    done = bourse(folder, "import", circular(folder, "NSE,2026-12-24,holiday,,X", "NSE,2026-12-23,holyday,,X"))

    assert done.exit_code == 2
    assert "circular.csv, row 2, kind: 'holyday' is not allowed" in done.stderr
    assert (folder / "data" / FILE).read_bytes() == kept


def test_the_newer_of_two_circulars_counts(folder: Path) -> None:
    for row in (f"NSE,{SOON},muhurat,18:15-19:15,first", f"NSE,{SOON},holiday,,second"):
        done = bourse(folder, "import", circular(folder, row))

    assert "muhurat 18:15-19:15 (first) becomes no session (second)" in done.stdout
    assert calendar(read(folder / "cluster.yaml", {}), SOON, SOON).on(SOON) is None


def test_nse_s_own_list_is_taken_with_the_source_the_operator_names(folder: Path, shared: Path) -> None:
    listed = shared / "fixtures/nse/holidays.json"

    done = bourse(folder, "import", str(listed), "--source", "nseindia.com, read 2023-10-16")

    assert "1 days of holidays.json taken" in done.stdout and "0 of them changes" in done.stdout
    assert [n.source for n in Notices(folder / "data").read()] == ["nseindia.com, read 2023-10-16: Republic Day"]


def test_a_damaged_file_of_notices_stops_the_start_with_one_line(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / FILE).write_text('[{"exchange": "NSE"')

    with pytest.raises(StoreRefused, match="put it right or remove it"):
        wiring(folder)
    assert bourse(folder, "NSE").exit_code == 2


def test_a_replay_with_a_folder_of_its_own_keeps_the_notices(folder: Path) -> None:
    bourse(folder, "import", circular(folder, f"NSE,{SOON},muhurat,18:15-19:15,NSE/CMTR/1"))

    settings = replayed(read(folder / "cluster.yaml", {}), Path("bars.parquet"), SOON)

    assert calendar(settings, SOON, SOON, "NSE").on(SOON) is not None


@pytest.mark.parametrize("module", ["market.holidays", "actors.feed", "actors.candles", "actors.archive"])
def test_who_is_only_handed_sessions_loads_no_calendar_library(module: str) -> None:
    code = f"import sys, {module}; print('pandas' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_an_american_universe_trades_by_new_york(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(
        HEAD + "    universe: us20\n"
        "    feeds: { sources: { sim: { kind: simulated, dialect: polygon } } }\n"
        "    timetable:\n"
        "      mine: { at: 20 min after close, do: compact }\n"
        "      india: { at: 20 min after close, do: compact, exchange: NSE }\n"
    )

    plans = {part.name: part.plan for part in wiring(folder).parts()}

    assert {s.exchange for s in plans["candles-0"].sessions} == {"NASDAQ"}
    table = plans["timetable"]
    assert {name: table.jobs[name].exchange for name in ("mine", "india", "train-15m")} == {
        "mine": "NASDAQ",
        "india": "NSE",
        "train-15m": "NASDAQ",
    }
    assert {name: {s.exchange for s in days} for name, days in table.calendars.items()} == {
        "NASDAQ": {"NASDAQ"},
        "NSE": {"NSE"},
    }


def test_exchanges_that_do_not_trade_together_are_not_mixed(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(HEAD + "    universe: [NSE:RELIANCE, NASDAQ:AAPL]\n")

    with pytest.raises(BadSetting, match="exchanges that trade together"):
        read(folder / "cluster.yaml", {})
