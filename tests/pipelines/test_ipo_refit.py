"""The confidence of the desk, fitted anew by what came of what it believed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from adapters.ipos import Book
from market.ipo.confidence import FEW, PARTS, TOLERANCE_POINTS, Confidence, Doubts, fitted
from market.ipo.facts import amount
from market.ipo.issues import Issue
from market.ipo.kinds import Segment
from market.ipo.life import State
from market.ipo.validation import ValidatedGmp
from market.money import money
from market.sessions import DAY, instant
from pipelines import ipos
from tests.market.ipo.issues import NOW

PRICE = money("100")
RNG = np.random.default_rng(7)
HEIGHTS = RNG.uniform(5, 60, 4 * FEW).round(2)
ERRORS = RNG.exponential(2 + 0.8 * HEIGHTS).round(2)
"""Errors that grow with the height more than those on record do."""


def doubts(k: int) -> Doubts:
    return Doubts(3.0, float(HEIGHTS[k]), 0.0, DAY // 2)


def told(book: Book, which: Iterable[int], override: bool = False) -> None:
    """Issues, one a day, of which something was believed, and which then were listed."""
    with book.writing() as run:
        for k in which:
            lists = instant(NOW + k * DAY).date()
            came = money(f"{100 + HEIGHTS[k] + ERRORS[k]:.2f}")
            made = Issue(
                id=f"issue-{k}", name=f"Issue {k}", segment=Segment.SME, high=PRICE, lists=lists, listed_at=came,
                state=State.LISTED, first_at=0, seen_at=0,
            )  # fmt: skip
            shown, height, apart, age = doubts(k)
            believed = ValidatedGmp(
                issue=made.id, at=NOW + (k - 1) * DAY, gmp=amount(height, PRICE), points=height, confidence=0.5,
                disagreement_points=apart, shown_points=shown, age=age, used=(), refused=(), spike=None,
            )  # fmt: skip
            run.put_issues([made])
            word = run.add_override(made.id, money("1"), "asha", "a typo", NOW, pinned=True) if override else None
            run.add_validation(believed, word)


def confidence(book: Book) -> Confidence:
    with book.looking() as run:
        return run.validator().confidence


def off(which: Iterable[int]) -> Confidence:
    found = list(which)
    return fitted([doubts(k) for k in found], [float(ERRORS[k]) for k in found])


def test_the_confidence_is_fitted_anew_when_sixty_more_have_come_and_not_before(book: Book) -> None:
    told(book, range(3 * FEW))
    found = []
    for day in (FEW - 2, FEW - 1, 2 * FEW - 2, 2 * FEW - 1):
        ipos.score(book, NOW + day * DAY)
        found.append(confidence(book).outcomes)

    assert found == [0, FEW, FEW, 2 * FEW]
    assert confidence(book).parts == pytest.approx(off(range(2 * FEW)).parts)


def test_nothing_is_fitted_to_what_has_not_come_yet(book: Book) -> None:
    told(book, range(2 * FEW))
    ipos.score(book, NOW + (FEW - 1) * DAY)

    assert confidence(book).parts == pytest.approx(off(range(FEW)).parts)


def test_what_is_fitted_is_the_same_when_it_is_scored_again(book: Book) -> None:
    told(book, range(FEW))
    ipos.score(book, NOW + FEW * DAY)
    before = confidence(book).snapshot()

    ipos.score(book, NOW + FEW * DAY)

    assert confidence(book).snapshot() == before


def test_what_an_operator_set_proves_nothing_about_the_sources(book: Book) -> None:
    told(book, range(FEW), override=True)

    ipos.score(book, NOW + FEW * DAY)

    assert (confidence(book).outcomes, confidence(book).parts) == (0, PARTS)


def test_later_premiums_come_as_near_as_the_fitted_confidence_says(book: Book) -> None:
    told(book, range(2 * FEW))
    before = confidence(book)
    ipos.score(book, NOW + 2 * FEW * DAY)
    later = range(2 * FEW, 4 * FEW)

    def surprise(by: Confidence) -> float:
        return float(np.mean([(by.of(doubts(k)) - (ERRORS[k] <= TOLERANCE_POINTS)) ** 2 for k in later]))

    assert surprise(confidence(book)) < surprise(before) - 0.01
