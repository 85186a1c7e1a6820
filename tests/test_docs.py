"""Every command in the README and in docs/ runs: the cheap ones here, those that need a running Bourse against one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from adapters.lake import Lake
from adapters.schemas import candle_table
from cluster.instance import free_base
from market.candles import CANDLE, Provenance
from market.holidays import nse_sessions
from market.ipo.imagined import Imagined
from market.ipo.imagined_past import history
from market.money import UNKNOWN
from market.sessions import MINUTE, day_number, session

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BOURSE = [sys.executable, "-c", "from cluster.main import app; app()"]
WITH_RAY = r"\S+ (doctor|features --from)\b"
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["cluster.main"])
BASE = free_base()
START_SECONDS = 240.0

AROUND = {"make run", "make test", ".venv/bin/bourse chaos --seed 2 --minutes 0.2"}
"""What this very test is run by, or starts in its own way; `tests/cluster/test_chaos.py` runs the chaos."""


def blocks(language: str) -> list[str]:
    return [b for page in PAGES for b in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)]


COMMANDS = sorted({line for block in blocks("sh") for line in block.splitlines() if line.strip()})
BY_THEMSELVES = (
    "actions|check|compact|coverage|doctor|engines|features|import|indicators|instruments|lake|login|models|"
    "outcomes|replay|sessions|sql|user"
)
ALONE = {c for c in COMMANDS if re.match(rf"\.venv/bin/bourse ({BY_THEMSELVES})\b", c)}
WITH_AN_INSTANCE = "ipo|predictor|backfill|alerts|status|timetable|watch|down|feed|repair|reconcile"
RUNNING = {c for c in COMMANDS if re.match(rf"(curl -s |\.venv/bin/bourse ({WITH_AN_INSTANCE})\b)", c)}


def _slow_or_not(command: str) -> object:
    return pytest.param(command, marks=pytest.mark.endurance) if re.match(WITH_RAY, command) else command


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    if words[0] == ".venv/bin/bourse":
        words = [*BOURSE, *words[1:]]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "KITE_API_KEY": "demo"}
    return subprocess.run(words, cwd=folder, env=known, capture_output=True, text=True, timeout=240)


def run_there(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In whichever way ends sooner; with Ray only a process of its own will do."""
    short = command.startswith(".venv/bin/bourse") and not re.match(WITH_RAY, command)
    return run_forked(command, folder) if short else run(command, folder)


def run_forked(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The same in a process that has everything imported already, which is most of what a short command costs."""
    out, err = folder / "stdout", folder / "stderr"
    one = FORKS.Process(target=_bourse, args=(shlex.split(command)[1:], folder, out, err))
    one.start()
    one.join(240)
    return subprocess.CompletedProcess(command, one.exitcode, out.read_text(), err.read_text())


def _bourse(words: list[str], folder: Path, out: Path, err: Path) -> None:
    for path, stream in ((out, 1), (err, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    os.environ["KITE_API_KEY"] = "demo"
    sys.argv = ["bourse", *words]
    from cluster.main import app

    app()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment of its own: the shipped file on other ports."""
    shipped = (ROOT / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(re.sub(r"base: \d+", f"base: {BASE}", shipped))
    (tmp_path / "circular.csv").write_text(blocks("csv")[0])
    (tmp_path / "candles.csv").write_text("Date,Close\n2025-11-20,100.0\n2025-11-21,101.5\n")
    for name in ("minutes", "vix", "flows"):
        (tmp_path / f"{name}.csv").write_text(blocks(f"csv {name}")[0])
    (tmp_path / "actions.csv").write_text(next(b for b in blocks("text") if b.startswith("symbol,kind")))
    return tmp_path


def recording(path: Path) -> None:
    """A day of two shares that traded for three minutes."""
    stamps = [f"2016-08-25T09:{15 + k}:00+05:30" for k in range(3)] * 2
    columns = {
        "symbol": ["AAA"] * 3 + ["BBB"] * 3,
        "ts": stamps,
        "open": [100.0, 101.0, 102.0] * 2,
        "high": [101.5, 102.5, 103.0] * 2,
        "low": [99.5, 100.5, 101.0] * 2,
        "close": [101.0, 102.0, 101.5] * 2,
        "volume": [100, 50, 75] * 2,
    }
    parquet.write_table(pa.table(columns), path)


def lake_of(folder: Path) -> None:
    """A lake of two candles where the shipped file has it."""
    rows = np.zeros(2, CANDLE)
    rows["interval"], rows["provenance"], rows["completeness"], rows["vwap"] = 60, Provenance.LIVE, 1.0, UNKNOWN
    rows["start"] = session(date(2016, 8, 25)).open + np.arange(2) * MINUTE
    rows["session"] = day_number(date(2016, 8, 25))
    Lake(str(folder / "data/lake")).append("candles", candle_table(rows, ["NSE:RELIANCE"]), {"docs": 1})


def past(folder: Path) -> Path:
    """A history of issues: five months that were imagined."""
    folder.mkdir()
    sessions = nse_sessions(date(2024, 5, 1), date(2024, 9, 30))
    for name, body in history(Imagined(3, sessions), max(one.close for one in sessions)).items():
        (folder / name).write_bytes(body)
    return folder


def end_of_day(path: Path) -> None:
    """The exchange's file of a day in the old layout, with one share."""
    head = "SYMBOL,SERIES,OPEN,HIGH,LOW,CLOSE,LAST,PREVCLOSE,TOTTRDQTY,TOTTRDVAL,TIMESTAMP,TOTALTRADES,ISIN,"
    path.write_text(f"{head}\nRELIANCE,EQ,1000,1010,995,1005,1004,999,200,200500,25-AUG-2016,17,INE002A01018,\n")


def test_every_command_of_the_docs_is_known_here() -> None:
    assert set(COMMANDS) - ALONE - RUNNING - AROUND == set()
    assert len(RUNNING) > 5


@pytest.mark.parametrize("command", [_slow_or_not(c) for c in sorted(ALONE) if "replay" not in c])
def test_a_command_that_needs_nothing_running_works(command: str, folder: Path) -> None:
    if re.match(r"\S+ (features|lake|sql)\b", command):
        lake_of(folder)

    done = run_there(command, folder)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_the_replay_and_the_lake_it_leaves_are_as_the_readme_says(folder: Path) -> None:
    recording(folder / "bars.parquet")

    done = [run(c, folder) for c in sorted(ALONE) if "replay" in c]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    read = [
        subprocess.run([sys.executable, "-c", b], cwd=folder, env=known, capture_output=True, text=True)
        for b in blocks("python")
    ]

    assert [d.returncode for d in done] == [0], done[0].stdout + done[0].stderr
    assert "6 candles equal, 0 differ" in done[0].stdout
    assert [r.stderr for r in read if r.returncode] == []
    assert len(read) > 2 and all("NSE:AAA" in r.stdout for r in read)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_the_commands_for_a_running_bourse_work(folder: Path) -> None:
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "screen.txt").open("w") as screen:
        up = subprocess.Popen([*BOURSE, "up"], cwd=folder, env=known, stdout=screen, stderr=screen)
    try:
        _until_it_answers(up, folder)

        end_of_day(folder / "cm25AUG2016bhav.csv")
        here = [b.replace("127.0.0.1:8000", f"127.0.0.1:{BASE}") for b in blocks("python live")]
        shown = [subprocess.run([sys.executable, "-c", b], env=known, capture_output=True, text=True) for b in here]
        asked = sorted(RUNNING, key=lambda c: ("down" in c, "--clear" in c))
        meant = {"127.0.0.1:8000": f"127.0.0.1:{BASE}", "ISSUE": _an_issue(), "FOLDER": str(past(folder / "past"))}
        done = {c: run_there(re.sub("|".join(meant), lambda m: meant[m[0]], c), folder) for c in asked}

        assert [s.stderr for s in shown if s.returncode] == [] and len(shown) == 2
        assert {c: d.stderr for c, d in done.items() if d.returncode} == {}
        assert {c for c, d in done.items() if c.startswith("curl") and not d.stdout.startswith("{")} == set()
        assert "NSE:RELIANCE" in done[next(c for c in done if "/api/stock/RELIANCE" in c)].stdout
        assert up.wait(200) == 0
        assert "(raylet)" not in (folder / "screen.txt").read_text()
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
            up.wait(200)


def _an_issue() -> str:
    """The id of one: the IPO desk's first refresh has found it."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        found = httpx.get(f"http://127.0.0.1:{BASE}/api/v1/ipos?limit=1", timeout=10.0).json()
        if found.get("total"):
            return str(found["issues"][0]["id"])
        time.sleep(0.5)
    raise AssertionError(found)


def _until_it_answers(up: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and up.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{BASE}/health", timeout=20.0).json().get("status") == "ok":
                return
        except (httpx.HTTPError, ValueError):
            pass
        time.sleep(0.2)
    raise AssertionError((folder / "screen.txt").read_text())
