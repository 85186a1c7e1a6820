"""Indicators against every reference there is: how many cases of each source there are, and that all of them pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import references
from benchmarks.references import Case, LeftOut, split
from benchmarks.report import Report

CASES = {
    "TA-Lib regression suite": (184, 37),
    "hand-calculated sheets": (50, 5),
    "Stock.Indicators baseline": (50, 33),
    "ChartSchool": (28, 4),
    "Tulip": (44, 65),
}
"""Compared, and left out with a reason."""


@pytest.mark.parametrize("source", list(references.SOURCES))
def test_every_case_of_a_source_passes(source: str, shared: Path) -> None:
    cases, left = split(references.SOURCES[source](shared / "fixtures" / "indicators"))

    assert [case.name for case in cases if not case.passed] == []
    assert (len(cases), len(left)) == CASES[source]
    assert all(case.rows and one.why for case in cases for one in left)


def test_the_whole_of_a_suite_is_compared_or_left_out(shared: Path) -> None:
    root = shared / "fixtures" / "indicators"
    points = sum(1 for _ in (root / "talib_regtest" / "expected.csv").open()) - 1
    columns = sum(1 for _ in (root / "stock_indicators" / "baseline_index.csv").open()) - 1
    examples = {path.stem for path in (root / "ta_chartschool").glob("*.csv")}

    assert len(list(references.talib_points(root))) == points
    assert len(list(references.baseline(root))) == columns
    assert {one.name.split()[0] for one in references.chartschool(root)} == examples


def test_a_case_fails_by_one_row_that_is_wrong_or_unknown() -> None:
    theirs = np.array([np.nan, 5.0, 2.0, 3.0])

    assert Case("", np.array([np.nan, 1.0, 2.0, 3.0]), theirs, first=2).passed
    assert not Case("", np.array([np.nan, 1.0, 2.0, 3.0]), theirs, first=1).passed
    assert not Case("", np.array([np.nan, 5.0, np.nan, 3.0]), theirs).passed
    assert not Case("", theirs, np.full(4, np.nan)).passed
    assert Case("", theirs + 0.004, theirs, tolerance=0.005).passed
    assert not Case("", theirs + 0.006, theirs, tolerance=0.005).passed


def test_the_table_has_a_line_a_source(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, left = split(iter([LeftOut("a", "not offered")]))
    assert (found, left) == ([], [LeftOut("a", "not offered")])

    references.run(Report("REFERENCES", False))

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["source", "cases", "passed", "left_out"]
    assert [line[:28].strip() for line in lines[1:]] == list(CASES)
