"""Two issues of the book that a person says are one."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from adapters.ipo_joins import joins
from adapters.ipos import Book
from market.errors import BadValue
from market.ipo.alerts import IssueEvent
from market.ipo.kinds import Segment
from market.ipo.life import State
from market.ipo.readings import Status
from market.money import money
from market.sessions import DAY, MINUTE
from pipelines import ipos
from tests.market.ipo.issues import AMBER, DELTA, NOW, ist
from tests.market.ipo.made import tables as history
from tests.pipelines.desk import changed, everything, take

RENAMED = changed(
    AMBER, number=1600, name="Zinc Pumps", symbol=None, code=None, isin=None, high=money("322"), gmp=money("44"),
    lot=50, at=NOW + 30 * MINUTE,
)  # fmt: skip
HOUR = 60 * MINUTE


def two(book: Book) -> tuple[str, str]:
    """An issue, and the same under another name and price, which nobody could tell to be it; their ids."""
    take(book, AMBER)
    take(book, RENAMED, at=NOW + HOUR, source="ipowatch")
    with book.looking() as run:
        for one in run.reviews():
            assert one.told.name == RENAMED.name
    for number in [one.number for one in waiting(book)]:
        ipos.decide(book, number, None, "asha", "another company", NOW + HOUR)
    with book.looking() as run:
        ids = {one.name: one.id for one in run.every()}
    return ids[AMBER.name], ids[RENAMED.name]


def waiting(book: Book) -> list[Any]:
    with book.looking() as run:
        return run.reviews()


def joined(book: Book, double: str, issue: str, now: int = NOW + 2 * HOUR) -> Any:
    return ipos.join(book, double, issue, "asha", "it was renamed", now)


def test_everything_of_two_issues_goes_to_one(book: Book) -> None:
    issue, double = two(book)
    ipos.validate(book, NOW + HOUR)
    ipos.predict(book, NOW + HOUR, history())

    done = joined(book, double, issue)

    with book.looking() as run:
        (whole,) = run.every()
        names, premiums = run.names(issue), run.premiums(issue)
        assert (whole.id, whole.lot, whole.high) == (issue, AMBER.lot, AMBER.high)
        assert names == [("investorgain", AMBER.name), ("ipowatch", RENAMED.name)]
        assert [one.gmp for one in premiums] == [AMBER.gmp, RENAMED.gmp]
        assert run.validations(double) == run.predictions(double) == run.premiums(double) == []
        assert {one.issue for one in run.validations()} == {issue}
        assert joins(run, issue) == [done]
    assert (done.double, done.issue, done.by, done.because) == (double, issue, "asha", "it was renamed")
    rows = everything(book)
    assert double not in str([rows[table] for table in rows if table != "ipo_state"])


def test_what_both_had_of_one_instant_is_kept_in_the_record(book: Book) -> None:
    issue, double = two(book)
    ipos.validate(book, NOW + HOUR)
    with book.looking() as run:
        before = {one.issue: one for one in run.validations()}

    done = joined(book, double, issue)

    with book.looking() as run:
        assert run.validations() == [before[issue]]
    (left,) = done.left["ipo_validations"]
    assert left["record"] == before[double].model_dump(mode="json")


def test_the_old_id_answers_with_the_issue_it_was_joined_to(book: Book) -> None:
    issue, double = two(book)
    joined(book, double, issue)
    take(book, AMBER, changed(DELTA, name="Quartz Mills", status=Status.UPCOMING, listed_at=None, closed_at=None),
         at=NOW + 3 * HOUR)  # fmt: skip

    ipos.override(book, double, money("10"), "asha", "a typo", NOW + 3 * HOUR)

    with book.looking() as run:
        assert run.issue(double) == run.issue(issue)
        assert list(run.overrides()) == [issue]
        with pytest.raises(BadValue, match="'nothing'"):
            run.issue("nothing")


def test_an_issue_joined_to_one_that_is_joined_later_leads_to_the_last(book: Book) -> None:
    issue, double = two(book)
    third = changed(RENAMED, number=1700, name="Kelp Weavers", high=money("323"), lot=60)
    take(book, changed(AMBER, at=NOW + 2 * HOUR), third, at=NOW + 2 * HOUR)
    for one in waiting(book):
        ipos.decide(book, one.number, None, "asha", "another company", NOW + 2 * HOUR)
    with book.looking() as run:
        (last,) = {one.id for one in run.every()} - {issue, double}

    joined(book, double, issue, NOW + 3 * HOUR)
    joined(book, issue, last, NOW + 4 * HOUR)

    with book.looking() as run:
        assert [run.issue(name).id for name in (double, issue, last)] == [last] * 3


def test_pages_that_come_after_find_the_joined_issue(book: Book) -> None:
    issue, double = two(book)
    joined(book, double, issue)
    later = NOW + 3 * HOUR

    first = take(book, changed(AMBER, gmp=money("46"), at=later), at=later)
    second = take(book, changed(RENAMED, gmp=money("47"), at=later), at=later, source="ipowatch")
    (found,) = ipos.validate(book, later + MINUTE).believed

    assert (first.issues, first.unsure, second.issues, second.unsure) == ((), (), (), ())
    assert {one.reading.source: one.reading.gmp for one in found.used} == {
        "investorgain": money("46"),
        "ipowatch": money("47"),
    }


def test_an_event_that_was_told_of_either_is_not_told_again(book: Book) -> None:
    issue, double = two(book)
    first = ipos.validate(book, NOW + HOUR).alerts
    ipos.sent(book, first, NOW + HOUR)

    joined(book, double, issue)

    assert {(one.issue, one.event) for one in first} >= {(issue, IssueEvent.NEW), (double, IssueEvent.NEW)}
    assert ipos.validate(book, NOW + 3 * HOUR).alerts == ()


def test_an_alert_that_waits_is_told_of_the_issue_that_is_there(book: Book) -> None:
    issue, double = two(book)
    told = ipos.validate(book, NOW + HOUR).alerts
    ipos.sent(book, [one for one in told if one.issue == issue], NOW + HOUR)
    with book.writing() as run:
        run.all("DELETE FROM ipo_alerts WHERE issue = :issue AND event = 'ipo_profitable'", issue=issue)

    joined(book, double, issue)

    with book.looking() as run:
        assert [(one.issue, one.event) for one in run.unsent()] == [(issue, IssueEvent.PROFITABLE)]


def test_of_two_premiums_that_were_set_the_later_stands(book: Book) -> None:
    issue, double = two(book)
    ipos.override(book, issue, money("10"), "asha", "a typo", NOW + HOUR)
    ipos.override(book, double, money("11"), "ben", "a typo", NOW + HOUR + MINUTE, pinned=True)

    joined(book, double, issue)

    with book.looking() as run:
        assert [(one.issue, one.gmp) for one in run.overrides().values()] == [(issue, money("11"))]


def test_of_bids_of_one_day_the_later_stand(book: Book) -> None:
    issue, double = two(book)
    with book.writing() as run:
        total = next(one for one in run.bids(issue) if one.category == "total")
        run.put_bids([total.model_copy(update={"issue": double, "times": 2.5, "at": total.at + 1})])

    done = joined(book, double, issue)

    with book.looking() as run:
        assert [one.times for one in run.bids(issue) if one.category == "total"] == [2.5]
    assert [row["times"] for row in done.left["ipo_bids"]] == [total.times]


def test_what_came_of_one_scores_the_sources_of_both(book: Book) -> None:
    issue, double = two(book)
    listed = ist("2025-01-06T11:00")
    take(book, changed(AMBER, status=Status.LISTED, listed_at=money("354.8"), at=NOW), at=listed)
    ipos.score(book, listed)

    joined(book, double, issue, listed + MINUTE)

    with book.looking() as run:
        validator = run.validator()
        (outcome,) = run.outcomes()
    assert (outcome.issue, issue in validator, double in validator) == (issue, False, False)
    assert ipos.score(book, listed + DAY) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"isin": "INE0BBB01011"}, "differ in ISIN"),
        ({"segment": Segment.SME}, "differ in segment"),
        ({"lists": date(2025, 1, 14)}, "differ in lists"),
        ({"state": State.WITHDRAWN}, "withdrawn"),
    ],
)
def test_issues_whose_facts_contradict_are_not_joined(book: Book, words: dict[str, Any], why: str) -> None:
    issue, double = two(book)
    with book.writing() as run:
        known = run.issue(issue).model_copy(update={"isin": AMBER.isin})
        run.put_issues([known, run.issue(double).model_copy(update=words)])
    before = everything(book)

    with pytest.raises(BadValue, match=why):
        joined(book, double, issue)

    assert everything(book) == before


def test_a_joining_wants_two_issues_and_a_reason(book: Book) -> None:
    issue, double = two(book)

    with pytest.raises(BadValue, match="another issue"):
        joined(book, issue, issue)
    with pytest.raises(BadValue, match="'nothing'"):
        joined(book, "nothing", issue)
    with pytest.raises(BadValue, match="in words"):
        ipos.join(book, double, issue, "asha", " ", NOW)


def test_a_row_that_waits_between_two_issues_waits_for_the_one_they_became(book: Book) -> None:
    issue, double = two(book)
    take(book, changed(AMBER, name="Kelp Weavers", gmp=money("20")), at=NOW + 2 * HOUR, source="ipowatch")
    (before,) = waiting(book)

    joined(book, double, issue, NOW + 3 * HOUR)

    (after,) = waiting(book)
    with book.looking() as run:
        assert run.matcher().queue[after.number].verdict.candidates == after.candidates == (issue,)
    assert issue in before.candidates


def test_the_id_of_a_joined_issue_is_not_given_again(book: Book) -> None:
    issue, double = two(book)
    joined(book, double, issue)

    with book.looking() as run:
        matcher = run.matcher()
    made = {matcher._named(one) for one in matcher.known(issue)}

    assert double not in made and len(made) == 2
