"""The command line: what each command says of itself, refuses, and shows."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from adapters.lake import Lake
from adapters.schemas import candle_table
from cluster.instance import free_base
from cluster.main import app
from cluster.running import speed_of, tables
from cluster.tending import jobs_table
from market.candles import CANDLE
from market.sessions import MINUTE, day_number

CONFIG = """
cluster_name: bourse
provider: {{type: local, head_ip: 127.0.0.1, worker_ips: []}}
metadata: {{bourse: {{ports: {{base: {base}}}}}}}
"""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A cluster file whose ports nobody listens on."""
    file = tmp_path / "cluster.yaml"
    file.write_text(CONFIG.format(base=free_base()))
    return file


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A file that is there; nobody gets as far as reading it."""
    file = tmp_path / "bars.csv"
    file.write_text("symbol,ts,open,high,low,close,volume\n")
    return file


def bourse(*words: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(w) for w in words])
    return done.exit_code, COLOUR.sub("", done.stdout), COLOUR.sub("", done.stderr)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("up", ["until Ctrl-C", "--replay", "--session", "--speed", "--config"]),
        ("down", ["End the instance", "--config"]),
        ("status", ["lag", "--json"]),
        ("watch", ["live table", "symbols", "--seconds"]),
        ("replay", ["compare the candles with the file", "Exit code 0", "--lake", "--speed", "--session"]),
        ("timetable", ["when it runs next", "--json", "run"]),
        ("alerts", ["still open", "--all", "--json"]),
        ("compact", ["small files", "--session"]),
        ("check", ["what the config comes to"]),
        ("doctor", ["wrong with this machine"]),
    ],
)
def test_every_command_says_what_it_is_for(command: str, says: list[str]) -> None:
    code, out, _ = bourse(command, "--help")
    _, whole, _ = bourse("--help")

    assert code == 0
    assert [word for word in says if word not in out] == []
    assert re.search(rf"\b{command}\b", whole)


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf", "100001"])
def test_a_speed_that_cannot_be_is_one_line(speed: str, config: Path, recording: Path, tmp_path: Path) -> None:
    words = ("--session", "2016-08-25", "--lake", tmp_path / "lake", "-c", config)

    code, _, error = bourse("replay", recording, *words, f"--speed={speed}")

    assert code == 2
    assert f"--speed: {speed!r} is not allowed; a number above 0, at most 100000, or max" in error.splitlines()


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("1", 1.0), ("0.5", 0.5), ("100000", 100_000.0)])
def test_a_speed_is_a_number_or_max(text: str, speed: float | None) -> None:
    assert speed_of(text) == speed


def test_up_wants_the_file_and_the_day_together(config: Path, recording: Path) -> None:
    only_file = bourse("up", "-c", config, "--replay", recording)
    only_day = bourse("up", "-c", config, "--session", "2016-08-25")

    assert only_file[0] == only_day[0] == 2
    assert only_file[2].strip() == only_day[2].strip()
    assert only_file[2].strip() == "--replay and --session go together: the file and the day in it"


def test_a_recording_or_a_day_that_is_none_is_refused(config: Path, recording: Path, tmp_path: Path) -> None:
    lake = ("--lake", tmp_path / "lake", "-c", config)

    missing = bourse("replay", tmp_path / "none.parquet", "--session", "2016-08-25", *lake)
    not_a_day = bourse("replay", recording, "--session", "25 August", *lake)
    empty = bourse("replay", recording, "--session", "2016-08-25", *lake)

    assert [missing[0], not_a_day[0], empty[0]] == [2, 2, 2]
    assert "none.parquet" in missing[2]
    assert "25 August" in not_a_day[2]
    assert "Traceback" not in empty[2]


@pytest.mark.parametrize(
    "words", [("status",), ("status", "--json"), ("watch", "RELIANCE"), ("timetable",), ("alerts", "--all")]
)
def test_without_a_gateway_there_is_one_line(words: tuple[str, ...], config: Path) -> None:
    code, out, error = bourse(*words, "-c", config)

    assert code == 2
    assert out == ""
    assert len(error.strip().splitlines()) == 1
    assert error.startswith("no gateway on port")
    assert "bourse up starts one" in error


def test_a_fault_in_the_config_is_one_line_for_every_command(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CONFIG.format(base="high"))

    answers = [bourse(*words, "-c", file) for words in (("status",), ("down",), ("watch", "TCS"), ("up",))]

    for code, _, error in answers:
        assert code == 2
        assert "ports.base" in error
        assert len(error.strip().splitlines()) == 1


def test_the_status_record_is_shown_as_tables() -> None:
    fold = {"cursor": 1, "market_time": 1472097600000000000, "ticks": 12345, "late": 7, "duplicate": 3, "candles": 45}
    feed = {
        "part": "feed", "actor": "feed-sim", "name": "sim", "state": "LIVE", "market_time": 1472097601000000000,
        "frames": 1234, "ticks": 56789, "bad": 2, "lag_ms": 1.25, "up": True, "pid": 11, "restarts": 0,
        "resident": 50 << 20, "trouble": "",
    }  # fmt: skip
    candles = {
        "part": "candles", "actor": "candles-0", "name": "0-1", "up": False, "pid": 12, "restarts": 4,
        "resident": 300 << 20, "lag_seconds": 1.5, "trouble": "connection refused", "partitions": {"0": fold},
    }  # fmt: skip
    made = {
        "cursor": 1,
        "market_time": 1472097600000000000,
        "minutes": 375,
        "rows": 18750,
        "unknown": 12,
        "given_up": 1,
    }
    scores = {
        "rows": 18750, "without": 50, "abstained": 9, "versions": ["direction-15m@3"], "trouble": "no answer in 1.0 s",
        "closing_ms": {"count": 375, "p50": 61.5, "p99": 210.25}, "asking_ms": {"count": 374, "p50": 9.0, "p99": 19.5},
    }  # fmt: skip
    analysis = {
        "part": "analysis", "actor": "analysis-0", "name": "0-1", "up": True, "pid": 13, "restarts": 0, "trouble": "",
        "closing_ms": {"count": 375, "p50": 41.5, "p99": 180.25}, "partitions": {"1": made}, "scores": scores,
    }  # fmt: skip
    bus = {"used": 64 << 20, "limit": 512 << 20, "pressure": "ok"}
    console = Console(width=200, record=True, file=None, quiet=False)

    with console.capture() as shown:
        console.print(tables({"parts": [feed, candles, analysis], "bus": bus, "candles_today": 9876}))

    lines = COLOUR.sub("", shown.get()).splitlines()
    assert any(re.search(r"sim +LIVE +2016-08-25 09:30:01 +1,234 +56,789 +2 +1.25", line) for line in lines)
    assert any(re.search(r"0 +2016-08-25 09:30:00 +12,345 +7 +3 +45", line) for line in lines)
    assert any(re.search(r"1 +2016-08-25 09:30:00 +375 +18,750 +12 +1 +41.5 +180.25", line) for line in lines)
    scored = r"analysis-0 +18,750 +50 +9 +61.5 +210.25 +19.5 +direction-15m@3 +no answer in 1.0 s"
    assert any(re.search(scored, line) for line in lines)
    assert any(re.search(r"candles-0 +away +12 +4 +1.5 s +300 MiB +connection refused", line) for line in lines)
    assert any(re.search(r"feed-sim +LIVE +11 +0 +50 MiB", line) for line in lines)
    assert lines[-1].strip() == "bus 64 MiB of 512 MiB (ok), candles today 9,876"


def test_a_status_without_parts_is_still_shown() -> None:
    console = Console(width=120)

    with console.capture() as shown:
        console.print(tables({"parts": [{"part": "archive", "name": "archive", "actor": "archive"}]}))

    assert "archive" in shown.get()
    assert "candles today" not in shown.get()


def test_a_job_that_is_not_in_the_timetable_is_one_line(config: Path) -> None:
    code, _, error = bourse("timetable", "run", "dance", "-c", config)

    assert code == 2
    assert error.strip().startswith("job: 'dance' is not allowed; one of instruments, repair,")


def test_the_timetable_is_shown_in_indias_time() -> None:
    last = {"at": 1472097300000000000, "by_hand": False, "attempt": 2, "state": "failed", "reason": "no [bond]"}
    jobs = [
        {"job": "repair", "at": "every 10 min while open", "next": 1472097900000000000, "last": last},
        {"job": "compact", "at": "cron 0 2 * * *", "next": None, "last": None},
    ]
    console = Console(width=200)

    with console.capture() as shown:
        console.print(jobs_table(jobs))

    lines = COLOUR.sub("", shown.get()).splitlines()
    assert re.search(
        r"repair +every 10 min.* +Thu 25 Aug 09:35:00 +Thu 25 Aug 09:25:00 +failed \(try 2\) +no \[bond\]", lines[1]
    )
    assert lines[2].split() == ["compact", "cron", "0", "2", "*", "*", "*"]


def test_open_alerts_stand_under_the_status() -> None:
    alert = {"severity": "critical", "text": "log in [kite]", "at": "2016-08-25T03:55:00Z"}
    console = Console(width=200)

    with console.capture() as shown:
        console.print(tables({"alerts": [alert]}))

    assert "critical: log in [kite] (since 2016-08-25 09:25:00)" in COLOUR.sub("", shown.get()).splitlines()


def test_compacting_joins_the_files_of_a_session_and_keeps_its_rows(config: Path) -> None:
    lake, before = Lake(str(config.parent / "data" / "lake")), np.zeros(1, CANDLE)
    before["session"], before["interval"] = day_number(date(2016, 8, 25)), 60
    for number in range(1, 4):
        before["start"] = number * MINUTE
        lake.append("candles", candle_table(before, ["NSE:TCS"]), {"candles:0": number})

    none, newest, other = (
        bourse("compact", "-c", config, *words)
        for words in (["--session", "2016-08-24"], [], ["--session", "2016-08-25"])
    )

    assert (none[0], none[1].splitlines()) == (0, ["candles: nothing of 2016-08-24"])
    assert newest[1].splitlines() == ["candles: 2 files fewer for 2016-08-25"]
    assert "candles: 0 files fewer for 2016-08-25" in other[1]
    assert lake.read_candles(None, None, date(2016, 8, 25), date(2016, 8, 25)).num_rows == 3
