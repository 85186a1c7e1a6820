"""Predictions again and again: months that are over are walked once, and what says the same is not published anew."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from adapters.ipos import WALKS, Book, Said
from market.ipo.examples import Tables
from market.ipo.walkforward import Task, rows_of, walk
from market.money import money
from market.sessions import MINUTE
from pipelines import ipos
from tests.market.ipo.issues import AMBER, ISSUES, NOW
from tests.market.ipo.made import tables as history
from tests.pipelines.desk import changed, take

LATER = changed(AMBER, opens=date(2025, 2, 3), closes=date(2025, 2, 5), lists=date(2025, 2, 10))


def kept(book: Book) -> dict[str, Any]:
    with book.looking() as run:
        found = run.one("SELECT state FROM ipo_state WHERE name = :name", name=WALKS)
    return {} if found is None else found["state"]


def forget(book: Book) -> None:
    with book.writing() as run:
        run.all("DELETE FROM ipo_state WHERE name = :name", name=WALKS)
        run.all("DELETE FROM ipo_predictions")


def surprised(tables: Tables) -> Tables:
    """The same history, but one early issue came otherwise."""
    issues = tables.issues.copy()
    issues["open_points"][10] += 30.0
    return tables._replace(issues=issues)


def test_what_is_predicted_is_the_same_with_and_without_what_was_kept(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)
    first = ipos.predict(book, NOW, history())
    months = kept(book)["tasks"]
    with book.writing() as run:
        run.all("DELETE FROM ipo_predictions")

    with_it = ipos.predict(book, NOW, history())
    forget(book)
    without = ipos.predict(book, NOW, history())

    assert with_it == without == first != []
    assert all(len(months[task]) > 12 for task in Task)


def test_a_month_that_is_over_is_not_walked_again(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)
    ipos.predict(book, NOW, history())
    before = kept(book)
    later = NOW + 60 * MINUTE
    take(book, changed(AMBER, gmp=money("70"), at=later), *ISSUES[1:], at=later)
    ipos.validate(book, later)

    fresh = ipos.predict(book, later, history())

    assert fresh and kept(book) == before


def test_months_behind_an_outcome_that_became_another_are_walked_again(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)
    ipos.predict(book, NOW, history())
    before = kept(book)["tasks"]
    with book.writing() as run:
        run.all("DELETE FROM ipo_predictions")

    after = ipos.predict(book, NOW, surprised(history()))
    now = kept(book)["tasks"]
    forget(book)

    assert ipos.predict(book, NOW, surprised(history())) == after
    assert before["open"].keys() & now["open"].keys() and before["open"].keys() - now["open"].keys()


def test_what_other_models_said_is_not_gone_on_from(book: Book) -> None:
    take(book, *ISSUES)
    ipos.validate(book, NOW)
    ipos.predict(book, NOW, history())
    with book.writing() as run:
        assert any(run.walks(kept(book)["by"]).values())
        assert not any(run.walks("another").values())


def test_a_walk_goes_on_from_the_months_of_one_before_it() -> None:
    rows, came = rows_of(history(), Task.ALL)
    memory: dict[str, Any] = {}
    whole = walk(rows, came, close=True, competitors={}, memory=memory)
    marked = next(iter(memory.values()))
    marked.said[:] = 77.0

    again = walk(rows, came, close=True, competitors={}, memory=memory)

    assert not (whole.said == 77.0).any()
    assert (again.said == 77.0).all(axis=1).sum() == len(marked.said)
    assert again.said[len(marked.said) :].tobytes() == whole.said[len(marked.said) :].tobytes()


def said(**words: Any) -> Said:
    told = {
        "issue": "x", "task": Task.OPEN, "model": "ours", "at": 1, "decided": date(2025, 1, 1), "gmp_points": 10.0,
        "predicted_points": 9.0, "low_points": 1.0, "high_points": 20.0, "p_gain_10": 0.5, "p_loss": 0.1,
        "served": True, "gate": {"served": "ours", "n": 30},
    }  # fmt: skip
    return Said(**told | words)


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ({"at": 2}, True),
        ({"gate": {"served": "ours", "n": 31}}, True),
        ({"predicted_points": 9.009, "p_loss": 0.1009}, True),
        ({"predicted_points": 9.011}, False),
        ({"p_gain_10": 0.5011}, False),
        ({"low_points": None}, False),
        ({"served": False}, False),
        ({"gate": {"served": "gmp", "n": 30}}, False),
        ({"decided": date(2025, 1, 2)}, False),
    ],
)
def test_what_moved_by_a_rounding_says_the_same(words: dict[str, Any], same: bool) -> None:
    assert ipos._same(said(**words), said()) is same
    assert ipos._same(said(), None) is False


def test_a_premium_that_moves_by_a_hair_is_not_published_until_it_has_moved_by_more(book: Book) -> None:
    published: list[int] = []
    for step in range(6):
        at = NOW + step * 60 * MINUTE
        gmp = AMBER.gmp + 100 * step  # a paisa; of 321 rupees one is 0.003 points
        take(book, changed(LATER, gmp=gmp, at=at), at=at)
        ipos.validate(book, at)
        found = ipos.predict(book, at, history())
        published += [step for one in found if one.model == "gmp" and one.task is Task.OPEN]

    assert published[0] == 0 and len(published) == 2 and published[1] > 1


def test_what_is_not_told_by_either_is_the_same() -> None:
    bare = said(low_points=None, high_points=None, p_gain_10=None, p_loss=None)

    assert ipos._same(bare, bare)
    assert np.isinf(ipos._apart(bare, said(), "p_loss"))
