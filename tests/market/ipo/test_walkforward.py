"""The walk: nothing is learnt from what comes later, and ours is served only where it has shown to be better."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from adapters.ipo_tables import read
from market.ipo.examples import Tables
from market.ipo.intervals import BOUNDS
from market.ipo.models import FEW, GMP
from market.ipo.scores import scores
from market.ipo.walkforward import EVIDENCE, OURS, SERVED, Task, Walk, expectations, rows_of, walk
from market.sessions import day_number
from tests.market.ipo.made import tables

LATELY = date(2021, 12, 31)


def walked(given: Tables, task: Task = Task.OPEN) -> Walk:
    return walk(*rows_of(given, task), close=task is Task.ALL, competitors={})


def test_a_premium_that_is_right_is_what_is_served() -> None:
    found = walked(tables(240, slope=1.0, level=0.0, noise=0.0))

    assert {gate.served for gate in found.gates} == {GMP}
    assert found.said[:, found.models.index(SERVED)] == pytest.approx(found.came)


@pytest.mark.parametrize(("segment", "served"), [("sme", 99.5), ("mainboard", 150.0)])
def test_no_more_is_served_than_an_sme_issue_can_gain(segment: str, served: float) -> None:
    given = tables(240, slope=1.0, level=-1.0, noise=0.0)  # the close is a point above the open
    last = np.flatnonzero(given.issues["segment"] == segment)[-1]
    given.issues["gmp_eve"][last], given.issues["close_points"][last] = 300.0, np.nan

    found = walked(given, Task.ALL)
    row = np.flatnonzero(found.rows["row"] == last)

    assert found.said[row, found.models.index(GMP)] == 150.0
    assert found.said[row, found.models.index(SERVED)] == pytest.approx(served)


def test_ours_is_not_served_before_it_has_shown_to_be_better() -> None:
    found = walked(tables(240, slope=0.6, level=-8.0, noise=2.0))
    served = [gate.served for gate in found.gates]
    first = served.index(OURS)

    assert served == [GMP] * first + [OURS] * (len(served) - first)
    assert found.gates[first].n > FEW
    assert all((gate.p_better or 0.0) < EVIDENCE for gate in found.gates[:first])
    assert found.gates[-1].p_better is not None and found.gates[-1].p_better > 0.95
    assert found.gates[-1].weights["mainboard"][GMP] < 0.1


def test_where_nothing_has_been_missed_yet_ours_is_the_premium() -> None:
    found = walked(tables(60, slope=0.6, level=-8.0))
    early = found.rows["decided"] < found.rows["decided"][FEW - 2]

    ours, gmp = (found.said[early, found.models.index(name)] for name in (OURS, GMP))

    assert early.sum() > 10
    assert ours.tolist() == gmp.tolist()


@pytest.mark.parametrize("task", list(Task))
def test_what_is_said_of_a_month_depends_on_nothing_that_comes_in_it_or_later(task: Task) -> None:
    given = tables(200, slope=0.7, level=-5.0)
    before = walked(given, task)
    first = int(
        before.rows["decided"].astype("datetime64[D]").astype("datetime64[M]")[-40].astype("datetime64[D]").astype(int)
    )
    for name in ("open_points", "close_points"):
        given.issues[name][given.issues["listed"] >= first] = 500.0

    after = walked(given, task)
    upto = np.flatnonzero(before.rows["decided"] < first)

    assert len(upto) > 50
    assert before.said[upto].tolist() == after.said[upto].tolist()
    assert all(
        np.array_equal(before.bounds[name][upto], after.bounds[name][upto], equal_nan=True) for name in BOUNDS.names
    )


def test_the_gate_and_the_lines_of_a_month_know_nothing_of_its_listings() -> None:
    given = tables(200, slope=0.7, level=-5.0)
    before = walked(given)
    first = day_number(before.gates[-1].month)
    given.issues["open_points"][given.issues["listed"] >= first] = np.nan

    after = walked(given)

    assert after.gates == before.gates


def test_an_issue_without_an_outcome_is_predicted_and_not_learnt_from() -> None:
    given = tables(200, slope=0.7, level=-5.0)
    rows, came = rows_of(given, Task.OPEN)
    came[100] = np.nan

    with_it = walk(rows, came, competitors={})
    without = walk(np.delete(rows, 100), np.delete(came, 100), competitors={})

    assert np.isfinite(with_it.said[100]).all()
    assert np.delete(with_it.said, 100, axis=0) == pytest.approx(without.said)


def test_an_answer_says_whose_it_is_and_why() -> None:
    given = tables(200, slope=0.6, level=-8.0, noise=2.0)
    found = expectations(given, Task.OPEN, walked(given))

    last = found[-1]

    assert last.model == last.gate.served == OURS
    assert last.decided.replace(day=1) == last.gate.month
    assert last.low_points is not None and last.high_points is not None
    assert last.low_points < last.predicted_points < last.high_points
    assert found[0].model == GMP and found[0].low_points is None


def test_a_walk_of_nothing_is_empty() -> None:
    given = tables(3)

    found = walked(Tables(given.issues[:0], given.quotes, given.market, given.flows))

    assert (len(found.rows), found.gates) == (0, ())
    assert all(score.n == 0 and score.mae is None for score in scores(Task.OPEN, found, 0))


@pytest.mark.parametrize(
    ("task", "n", "gmp"),
    [(Task.OPEN, 270, 11.0456), (Task.CLOSE_OF_ISSUE, 256, 16.7409), (Task.ALL, 777, 18.6953)],
)
def test_the_recorded_issues_of_a_task_and_the_error_of_the_premium_alone(
    task: Task, n: int, gmp: float, shared: Path
) -> None:
    rows, came = rows_of(read(shared / "fixtures/ipo/clean"), task)
    known = np.isfinite(came)

    assert known.sum() == n
    assert np.abs(rows["gmp_points"] - came)[known].mean() == pytest.approx(gmp, abs=0.01)


@pytest.mark.parametrize("task", list(Task))
def test_what_is_served_of_recorded_issues_is_no_worse_than_the_premium(task: Task, shared: Path) -> None:
    found = walked(read(shared / "fixtures/ipo/clean"), task)

    told = {score.model: score for score in scores(task, found, day_number(found.gates[-20].month))}

    assert told[SERVED].mae < told[GMP].mae
    assert told[SERVED].n == told[GMP].n > 60
    assert 0.7 < told[SERVED].coverage < 0.9


def test_the_intervals_of_cheap_and_dear_premiums_hold_about_as_many_of_the_recorded_gains(shared: Path) -> None:
    found = walked(read(shared / "fixtures/ipo/clean"), Task.ALL)
    told = found.bounds[:, found.models.index(OURS)]
    within = (found.came >= told["low_points"]) & (found.came <= told["high_points"])
    judged = np.isfinite(found.came) & np.isfinite(told["low_points"]) & (found.rows["decided"] > day_number(LATELY))
    premiums = found.rows["gmp_points"]

    for part in (premiums < 2, (premiums >= 2) & (premiums < 50), premiums >= 50):
        assert (judged & part).sum() > 90
        assert 0.72 < within[judged & part].mean() < 0.88
