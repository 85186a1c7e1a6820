"""The commands that train and train again: what they refuse, and one model registered, reproduced and not promoted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.lake import Lake
from adapters.schemas import candle_table
from cluster.instance import free_base
from cluster.main import app
from cluster.revision import revision
from pipelines.training import THREADS
from tests.pipelines.test_training import DAYS, SHARES, day_rows, walk

SPAN = ("--from", DAYS[0].date.isoformat(), "--to", DAYS[-1].date.isoformat())
DAILY = ("--horizon", "1d", "--daily", "--folds", "2", "--members", "linear", "--cores", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("deployment")
    symbols = ", ".join(s.symbol for s in SHARES)
    own = f"{{universe: [{symbols}], partitions: 1, ports: {{base: {free_base()}}}}}"
    (tmp_path / "cluster.yaml").write_text(f"cluster_name: t\nprovider: {{type: local}}\nmetadata: {{bourse: {own}}}\n")
    rows = np.concatenate([day_rows(k, *reversed(walk(k, 0.0))) for k in range(2)])
    lake = Lake(str(tmp_path / "data" / "lake"))
    lake.append("candles", candle_table(rows, [s.symbol for s in SHARES]), {"test": 1})
    return tmp_path


def process(folder: Path, *words: str, threads: int = 1) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a Ray is started once in one; numeric libraries are told of `threads`."""
    said = [sys.executable, "-m", "cluster.main", *words, "--config", str(folder / "cluster.yaml")]
    known = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    return subprocess.run(said, env=known, capture_output=True, text=True, timeout=580)


def bourse(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--config", str(folder / "cluster.yaml")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--horizon", "3m"), "5m, 15m, 60m, 1d"),
        (("--horizon", "15m", "--daily"), "--horizon 1d"),
        (("--horizon", "15m"), "bourse features --from"),
        ((*DAILY, "--members", "linear,oracle"), "members: 'oracle'"),
        ((*DAILY, "--symbols", "TCS,NOPE"), "--symbols: 'NSE:NOPE'"),
        ((*DAILY, "--members", ","), "--members"),
        ((*DAILY, "--folds", "0"), "folds"),
        ((*DAILY, "--embargo", "-1"), "embargo"),
        ((*DAILY, "--every", "0"), "every"),
        ((*DAILY, "--from", "2016-08-31", "--to", "2016-08-30"), "a day up to 2016-08-30"),
        ((*DAILY, "--without", "RELIANCE,TCS"), "some symbols left"),
        ((*DAILY, "--without", "ZZZ"), "symbols that would be learnt from"),
        ((*DAILY, "--out", "/nowhere/report.html"), "a folder that is there"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = bourse(folder, "train", *words)

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr


def test_a_version_that_has_no_number_is_refused_in_one_line(folder: Path) -> None:
    done = bourse(folder, "reproduce", "direction-15m")

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "direction-15m@3" in done.stderr


def test_an_empty_lake_is_refused_with_the_commands_that_fill_it(tmp_path: Path) -> None:
    own = f"{{universe: [NSE:TCS], ports: {{base: {free_base()}}}}}"
    (tmp_path / "cluster.yaml").write_text(f"cluster_name: t\nprovider: {{type: local}}\nmetadata: {{bourse: {own}}}\n")

    done = bourse(tmp_path, "train", "--horizon", "15m", "--features")

    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "bourse import, bourse backfill" in done.stderr


def test_the_revision_is_the_commit_or_the_release(tmp_path: Path) -> None:
    assert revision(tmp_path).startswith(("release ", "unknown"))


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.endurance
def test_a_model_is_registered_reproduced_and_without_an_edge_not_promoted(folder: Path) -> None:
    out = folder / "report.html"

    made = process(folder, "train", *DAILY, *SPAN, "--members", "linear,xgboost", "--out", str(out))
    again = process(folder, "reproduce", "direction-1d-daily@1", "--cores", "2", threads=2)
    refused = process(folder, "promote", "direction-1d-daily@1")

    assert made.returncode == 0, made.stderr
    assert "registered as direction-1d-daily@1; it has no edge and will not be promoted" in made.stdout
    assert "NO_EDGE" in out.read_text()
    told = json.loads(out.with_suffix(".json").read_text())
    assert [row["name"] for row in told["rows"]] == ["ensemble", "linear", "xgboost", "no-trade", "last-value"]
    assert date.fromisoformat(told["first"]) >= DAYS[0].date
    assert (again.returncode, "direction-1d-daily@1 is equal" in again.stdout) == (0, True), again.stdout + again.stderr
    assert refused.returncode == 1 and "NO_EDGE" in refused.stderr
