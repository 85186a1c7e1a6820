"""Scores of a walk, against sums by hand."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from market.ipo.examples import EXAMPLE
from market.ipo.intervals import BOUNDS
from market.ipo.scores import auc, scores
from market.ipo.walkforward import Gate, Task, Walk
from market.sessions import day_number

DAY = day_number(date(2025, 3, 3))


def small() -> Walk:
    """Four issues, the first not judged, the last not listed: 10, 20 and 0 points came of the first three."""
    rows = np.zeros(4, EXAMPLE)
    rows["decided"], rows["listed"] = DAY + np.arange(4), DAY + 1 + np.arange(4)
    said = np.array([[10.0, 10.0, 10.0], [16.0, 20.0, 20.0], [2.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    bounds = np.zeros(said.shape, BOUNDS)
    bounds["low_points"], bounds["high_points"] = said - 3.0, said + 3.0
    bounds["p_gain_10"] = [[1.0] * 3, [0.8] * 3, [0.1] * 3, [0.5] * 3]
    gate = Gate(month=date(2025, 3, 1), served="ours", n=0, better=None, p_better=None, weights={})
    return Walk(rows, np.array([10.0, 20.0, 0.0, np.nan]), ("gmp", "ours", "served"), said, bounds, (gate,))


def test_a_score_is_of_the_issues_listed_after_the_day() -> None:
    gmp, ours, served = scores(Task.OPEN, small(), after=DAY + 1)

    assert (gmp.n, gmp.mae, gmp.r2) == (2, 3.0, 0.9)
    assert (gmp.coverage, gmp.auc, gmp.brier) == (0.5, 1.0, 0.025)
    assert gmp.mae_low == 2.0 and gmp.mae_high == 4.0
    assert (ours.mae, ours.coverage, ours.served) == (0.5, 1.0, False)
    assert (served.mae, served.served, served.months) == (0.5, True, {"ours": 1})


def test_of_no_issue_nothing_is_told() -> None:
    for score in scores(Task.OPEN, small(), after=DAY + 10):
        assert (score.n, score.mae, score.r2, score.auc, score.coverage, score.brier) == (0, *[None] * 5)


@pytest.mark.parametrize(
    ("said", "came", "expected"),
    [
        ([1.0, 2.0, 3.0], [0.0, 9.9, 10.0], 1.0),
        ([3.0, 2.0, 1.0], [0.0, 0.0, 30.0], 0.0),
        ([1.0, 1.0, 2.0, 1.0], [0.0, 10.0, 11.0, 3.0], 0.75),
        ([1.0, 2.0], [11.0, 12.0], None),
        ([], [], None),
    ],
)
def test_the_auc_is_how_often_a_gain_is_told_above_none(
    said: list[float], came: list[float], expected: float | None
) -> None:
    assert auc(np.array(said), np.array(came)) == expected
