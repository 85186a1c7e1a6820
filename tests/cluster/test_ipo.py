"""The command that scores the IPO desk's predictions."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from adapters.ipo_tables import DAYS, FLOWS, ISSUES, QUOTES, WORDS
from cluster.main import app
from market.ipo.examples import NO_DAY, Tables
from tests.market.ipo.made import tables

EPOCH = date(1970, 1, 1)
FIELDS = {"task", "model", "n", "mae", "r2", "auc", "coverage", "served"}
MODELS = ["gmp", "robust_line", "subscription", "forest_boost", "ours", "served"]


def write(folder: Path, given: Tables) -> Path:
    names = ("ipo_master.csv", "gmp_daily.csv", "market_daily.csv", "fpi_monthly.csv")
    for name, rows, columns in zip(names, given, (ISSUES, QUOTES, DAYS, FLOWS), strict=True):
        lines = [",".join(columns.values())]
        lines += [",".join(cell(row[field], column) for field, column in columns.items()) for row in rows]
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def cell(value: object, column: str) -> str:
    if isinstance(value, np.integer):
        day = EPOCH + timedelta(days=int(value)) if value != NO_DAY else ""
        return str(day)[: 7 if column == "month" else 10]
    if column in WORDS:
        return next(word for word, meant in WORDS[column].items() if meant == value)
    return "" if isinstance(value, float) and np.isnan(value) else str(value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("ipo"), tables(50, slope=0.6, level=-8.0, noise=2.0, every=14))


def evaluate(data: Path, until: str, *more: str) -> Result:
    return CliRunner().invoke(app, ["ipo", "evaluate", "--data", str(data), "--train-until", until, *more])


@pytest.fixture(scope="module")
def told(data: Path) -> Result:
    return evaluate(data, "2024-09-30", "--json")


def test_each_task_and_model_is_a_line_and_one_of_a_task_is_served(told: Result) -> None:
    lines = [json.loads(line) for line in told.stdout.splitlines()]

    assert told.exit_code == 0
    assert [(one["task"], one["model"]) for one in lines] == [
        (task, model) for task in ("open", "close_of_issue", "all") for model in MODELS
    ]
    assert all(one.keys() >= FIELDS for one in lines)
    assert [one["model"] for one in lines if one["served"]] == ["served"] * 3
    assert len({one["n"] for one in lines if one["task"] == "open"}) == 1
    assert lines[0]["n"] == 4


def test_the_same_tables_give_the_same_lines(data: Path, told: Result) -> None:
    again = evaluate(data, "2024-09-30", "--json")

    assert again.stdout == told.stdout


def test_people_are_told_the_units(data: Path) -> None:
    done = evaluate(data, "2024-09-30")

    assert done.exit_code == 0
    for word in ("MAE, points", "95 % interval", "AUC, gain of 10", "forest_boost", "close_of_issue"):
        assert word in done.stdout


@pytest.mark.parametrize(
    ("until", "said"), [("2031-01-01", "2031-01-01"), ("01-06-2025", "01-06-2025"), ("2025-02-30", "2025-02-30")]
)
def test_a_day_that_will_not_do_is_told(data: Path, until: str, said: str) -> None:
    done = evaluate(data, until, "--json")

    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    done = evaluate(tmp_path / "none", "2025-01-01")

    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_a_column_that_is_missing_is_one_line(data: Path, tmp_path: Path) -> None:
    for path in data.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("gain_open_pct", "gain"))

    done = evaluate(tmp_path, "2025-01-01")

    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "gain_open_pct" in done.stderr
