"""The command that computes features: what it refuses, and a run that is ended half-way and begun again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.lake import Lake
from adapters.schemas import candle_table
from cluster.main import app
from market.features import NAMES, SET
from pipelines.features import GROUP
from tests.pipelines.test_features import LAST, SESSIONS, SHARES, walk

HEAD = """
cluster_name: b
provider: {type: local}
metadata: {bourse: {universe: [NSE:RELIANCE, NSE:TCS, NSE:INFY, "NSE:NIFTY 50"], partitions: 1, ports: {base: 27600}}}
"""
UNIVERSE = ["NSE:RELIANCE", "NSE:TCS", "NSE:INFY", "NSE:NIFTY 50"]
SPAN = ("--from", SESSIONS[0].date.isoformat(), "--to", LAST.isoformat())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(HEAD)
    rows = np.concatenate([walk(share.id, session) for session in SESSIONS for share in SHARES])
    Lake(str(tmp_path / "data" / "lake")).append("candles", candle_table(rows, UNIVERSE), {"test": 1})
    return tmp_path


def bourse(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["features", *words, "--config", str(folder / "cluster.yaml")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "bourse features --from"),
        (("--from", "2016-08-09", "--to", "2016-08-08"), "a day up to 2016-08-08"),
        (("--from", "2016-08-13", "--to", "2016-08-14"), "a session between them"),
        ((*SPAN, "--version", "77"), "77"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = bourse(folder, *words)

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr


def test_the_features_are_listed_with_what_they_are(folder: Path) -> None:
    done = bourse(folder, "--list")

    assert done.exit_code == 0
    assert all(name in done.stdout for name in ("rsi_14_1m", "vwap_gap", "breadth_day"))


@pytest.mark.cluster
@pytest.mark.endurance
def test_a_run_that_is_killed_goes_on_and_a_second_one_changes_nothing(folder: Path) -> None:
    lake = Lake(str(folder / "data" / "lake"))
    apart = [s for k, symbol in enumerate(UNIVERSE) for s in (symbol, *(f"NSE:NONE{k}{n}" for n in range(GROUP - 1)))]
    words = [sys.executable, "-m", "cluster.main", "features", *SPAN, "--cores", "1", "--json"]
    words += ["--symbols", ",".join(apart), "--config", str(folder / "cluster.yaml")]

    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as first:
        while first.poll() is None and not written(lake):
            pass
        os.killpg(first.pid, signal.SIGKILL)
    kept = written(lake)
    second, third = (json.loads(subprocess.check_output(words, stderr=subprocess.DEVNULL)) for _ in range(2))

    whole = len(SESSIONS) * 375
    assert kept in (whole, 2 * whole, 3 * whole)
    assert (second["resumed"], second["known"], second["rows"]) == (True, kept // whole, 4 * whole - kept)
    assert (third["resumed"], third["known"], third["rows"]) == (False, len(UNIVERSE), 0)
    rows = lake.read_features(None, SESSIONS[0].date, LAST, SET, names=NAMES)
    assert rows.num_rows == written(lake) == 4 * whole


def written(lake: Lake) -> int:
    """Rows of features in the lake."""
    return int(lake.dataset("features").count_rows())
