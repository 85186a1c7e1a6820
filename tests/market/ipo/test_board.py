"""The board: folding, days, orders, and pages that stay parts of one order whatever comes and goes."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import BadValue
from market.ipo.board import Days, Order, Row, Wanted, folded, ordered, page, sought
from market.ipo.issues import Issue
from market.ipo.life import State
from market.ipo.validation import ValidatedGmp
from market.money import Money

DAY = date(2025, 1, 6)


def row(name: str, opens: int | None = None, gmp: int | None = None, confidence: float = 0.5) -> Row:
    """An issue that opens so many days after DAY, with a premium in 1/10,000 rupees."""
    issue = Issue(
        id=name,
        name=name,
        high=Money(1_000_000),
        opens=None if opens is None else DAY + timedelta(days=opens),
        first_at=1,
        seen_at=1,
    )
    believed = ValidatedGmp(
        issue=name, at=1, gmp=None if gmp is None else Money(gmp), points=None if gmp is None else gmp / 10_000,
        confidence=confidence, disagreement_points=None, shown_points=None, age=None, used=(), refused=(), spike=None,
    )  # fmt: skip
    return Row(issue, (folded(name),), believed)


ROWS = st.lists(
    st.builds(
        row,
        st.text("abc", min_size=1, max_size=4),
        st.none() | st.integers(0, 3),
        st.none() | st.integers(-3, 3),
        st.sampled_from([0.0, 0.5]),
    ),
    unique_by=lambda one: one.issue.id,
    max_size=25,
)
WANTED = st.builds(Wanted, order=st.sampled_from(Order), descending=st.booleans())


def walked(pages: list[list[Row]], wanted: Wanted, limit: int) -> list[str]:
    """The issues of page after page, each of the board as it is then; the last board stays."""
    found: list[str] = []
    cursor, k = None, 0
    while True:
        cut = page(pages[min(k, len(pages) - 1)], wanted, limit, cursor)
        found += [one.issue.id for one in cut.rows]
        cursor, k = cut.following, k + 1
        if cursor is None:
            return found


@given(ROWS, WANTED, st.integers(1, 5))
def test_the_pages_of_a_board_are_its_order_cut(rows: list[Row], wanted: Wanted, limit: int) -> None:
    assert walked([rows], wanted, limit) == [one.issue.id for one in ordered(rows, wanted)]


@given(ROWS, ROWS, WANTED, st.integers(1, 5))
def test_what_stays_as_it_was_is_shown_once_whatever_comes_and_goes(
    before: list[Row], after: list[Row], wanted: Wanted, limit: int
) -> None:
    had = {one.issue.id: one for one in before}
    later = [had.get(one.issue.id, one) for one in after]
    stays = {one.issue.id for one in later} & had.keys()

    found = walked([before, later], wanted, limit)

    assert [one for one in found if one in stays] == [
        one.issue.id for one in ordered(before, wanted) if one.issue.id in stays
    ]
    assert len(found) == len(set(found))


@given(ROWS, WANTED)
def test_an_order_knows_the_known_first_and_equals_by_their_id(rows: list[Row], wanted: Wanted) -> None:
    keys = {
        Order.OPENS: lambda one: one.issue.opens,
        Order.GMP: lambda one: one.believed.gmp,
        Order.CONFIDENCE: lambda one: None if one.believed.gmp is None else one.believed.confidence,
        Order.PREDICTED: lambda one: None,
    }
    key = keys.get(wanted.order, lambda one: one.issue.name)
    if wanted.order in (Order.CLOSES, Order.LISTS, Order.POINTS):
        return

    found = ordered(rows, wanted)

    known = [one for one in found if key(one) is not None]
    assert found[: len(known)] == known
    for one, other in pairwise(known):
        assert key(one) != key(other) or one.issue.id < other.issue.id
        assert key(one) == key(other) or (key(one) > key(other)) is wanted.descending


@pytest.mark.parametrize(
    ("text", "name"),
    [("CRÈME", "Crème & Sons"), ("creme and", "Crème & Sons"), ("\uff23\uff32\uff25\uff2d\uff25", "Creme"),
     ("straße", "STRASSE"),
     ("a.b", "A-B Ltd"), ("हिंद", "हिंद उद्योग")],
)  # fmt: skip
def test_text_is_found_whatever_its_case_accents_and_marks(text: str, name: str) -> None:
    found = page([row(name), row("another")], Wanted(text=sought(text)), 10)

    assert [one.issue.name for one in found.rows] == [name]


@given(st.text(max_size=20))
def test_what_is_folded_stays_so(text: str) -> None:
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize("text", ["", "  ", "-!", "\u0301"])
def test_a_text_without_a_letter_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="text"):
        sought(text)


def test_days_hold_their_ends_and_nothing_that_is_not_known() -> None:
    between = Days(DAY, DAY + timedelta(days=1))

    assert [between.hold(DAY + timedelta(days=k)) for k in (-1, 0, 1, 2)] == [False, True, True, False]
    assert [Days(DAY).hold(None), Days(None, DAY).hold(None), Days().hold(None)] == [False, False, True]


def test_a_confidence_is_asked_of_premiums_alone() -> None:
    rows = [row("a", gmp=1, confidence=0.0), row("b", gmp=None), row("c", gmp=0, confidence=0.7)]

    kept = {least: [one.issue.id for one in page(rows, Wanted(min_confidence=least), 9).rows] for least in (0.0, 0.7)}

    assert kept == {0.0: ["a", "c"], 0.7: ["c"]}


def test_states_are_any_of_those_named() -> None:
    rows = [row("a"), row("b")]

    assert [page(rows, Wanted(states=frozenset(states)), 9).total for states in ((), (State.OPEN,), State)] == [2, 0, 2]


@pytest.mark.parametrize("cursor", ["", "e30", "W10", "bnVsbA", "WyItb3BlbnMiLCAxLCAieCJd", "=" * 9, "é", "A" * 5000])
def test_a_cursor_of_nobody_s_is_refused(cursor: str) -> None:
    with pytest.raises(BadValue, match="cursor"):
        page([row("a")], Wanted(), 1, cursor)
