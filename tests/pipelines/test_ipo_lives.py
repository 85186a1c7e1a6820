"""An issue's life in the desk: how it is known to be listed, and what a change of its days does."""

from __future__ import annotations

from datetime import date

import pytest

from adapters.ipos import Book
from market.ipo import written
from market.ipo.alerts import IssueAlert, IssueEvent
from market.ipo.exchange_specimens import nse_past
from market.ipo.life import State
from market.ipo.pages import PageKind
from market.ipo.readings import Status
from market.ipo.registry import SOURCES
from market.ipo.specimens import chittorgarh_issue, chittorgarh_report
from market.money import money
from market.sessions import DAY, MINUTE
from pipelines import ipos
from tests.market.ipo.issues import AMBER, NOW, ist
from tests.pipelines.desk import changed, take

LATE = ist("2025-01-18T12:00")
"""Twelve days after AMBER was listed."""


def tell(book: Book, source: str, kind: PageKind, body: bytes, at: int) -> ipos.Taken:
    """Take a page of an official source."""
    return ipos.take(book, ipos.read(SOURCES[source](), kind, body, at), body, at)


def test_a_close_of_a_day_that_is_over_lists_and_scores_an_issue_nobody_is_told_of_as_new(book: Book) -> None:
    report = chittorgarh_report([changed(AMBER, closed_at=money("353.1"))])

    tell(book, "chittorgarh", PageKind.PERFORMANCE, report, LATE)
    alerts = ipos.validate(book, LATE + MINUTE).alerts
    outcomes = ipos.score(book, LATE + MINUTE)

    with book.looking() as run:
        assert [one.state for one in run.every()] == [State.LISTED]
    assert [one.close_points for one in outcomes] == [pytest.approx(10.0)]
    assert alerts == ()


def test_the_list_of_past_issues_ends_one_that_a_board_showed_without_an_end(book: Book) -> None:
    take(book, AMBER)
    ipos.sent(book, ipos.validate(book, NOW).alerts, NOW)
    past = nse_past([changed(AMBER, status=Status.LISTED)])

    tell(book, "nse", PageKind.PAST, past, LATE)
    alerts = ipos.validate(book, LATE + MINUTE).alerts

    with book.looking() as run:
        assert [one.state for one in run.every()] == [State.LISTED]
    assert IssueEvent.NEW not in {one.event for one in alerts}
    assert ipos.score(book, LATE + DAY) == []  # no price of the listing is known yet


WAITS = changed(AMBER, status=Status.UPCOMING, demand=(), symbol="AMBERSONS")
PUT_OFF = changed(
    WAITS, opens=date(2025, 1, 13), closes=date(2025, 1, 15), allots=date(2025, 1, 16), refunds=date(2025, 1, 17),
    lists=date(2025, 1, 20),
)  # fmt: skip


@pytest.mark.parametrize("source", ["ipowatch", "investorgain"])
@pytest.mark.parametrize("first", ["2024-12-29T12:00", "2024-12-30T12:00"])  # before and after the clock opened it
def test_an_issue_that_its_source_puts_off_stays_one_and_waits_again(book: Book, source: str, first: str) -> None:
    start = ist(first)
    take(book, WAITS, at=start, source=source)
    told = [*alerts(book, start)]

    taken = take(book, PUT_OFF, at=start + MINUTE, source=source)
    told += [*alerts(book, start + 2 * MINUTE), *alerts(book, ist("2025-01-01T12:00"))]

    with book.looking() as run:
        (issue,) = run.every()
    assert taken.issues == taken.unsure == ()
    assert (issue.opens, issue.closes, issue.state) == (PUT_OFF.opens, PUT_OFF.closes, State.ANNOUNCED)
    assert issue.lists in (None, PUT_OFF.lists)
    assert [one.event for one in told].count(IssueEvent.NEW) == 1
    assert IssueEvent.CLOSING not in {one.event for one in told}


def test_after_it_was_put_off_it_opens_and_closes_on_its_new_days(book: Book) -> None:
    take(book, WAITS, at=ist("2024-12-29T12:00"))
    take(book, PUT_OFF, at=ist("2024-12-29T14:00"))
    states = []

    for at in ("2025-01-12T12:00", "2025-01-13T10:00", "2025-01-15T17:00"):
        ipos.validate(book, ist(at))
        with book.looking() as run:
            states += [one.state for one in run.every()]

    assert states == [State.ANNOUNCED, State.OPEN, State.CLOSED]


def test_an_issue_whose_old_days_still_stand_beside_the_new_is_two(book: Book) -> None:
    start = ist("2024-12-29T12:00")
    take(book, WAITS, at=start)

    taken = take(book, WAITS, changed(PUT_OFF, number=1700), at=start + MINUTE)

    assert len(taken.issues) == 1


def test_an_issue_of_which_bids_were_taken_is_another_when_it_comes_again(book: Book) -> None:
    take(book, AMBER)

    taken = take(book, PUT_OFF, at=NOW + DAY)

    assert len(taken.issues) == 1


def alerts(book: Book, now: int) -> tuple[IssueAlert, ...]:
    """Validate, and have said what is due."""
    found = ipos.validate(book, now).alerts
    ipos.sent(book, found, now)
    return found


def test_a_premium_that_lost_its_point_is_read_as_another_source_has_it_and_says_so(book: Book) -> None:
    take(book, changed(AMBER, gmp=money("41.5"), at=NOW), at=NOW)

    taken = take(book, changed(AMBER, gmp=money("4150")), at=NOW + MINUTE, source="ipowatch")

    (believed,) = ipos.validate(book, NOW + 2 * MINUTE).believed
    with book.looking() as run:
        told = {one.source: one.gmp for one in run.premiums(believed.issue)}
    assert told == {"investorgain": money("41.5"), "ipowatch": money("41.5")}
    assert believed.gmp == money("41.5")
    assert [why.partition(":")[0] for _, why in taken.refused] == ["premium 4150.00 of ipowatch"]


def test_a_size_that_lost_its_thousands_is_not_learned_and_says_so(book: Book) -> None:
    take(book, changed(AMBER, size_crore=1335.74))

    report = chittorgarh_report([changed(AMBER, size_crore=335.74)])
    taken = tell(book, "chittorgarh", PageKind.LIST, report, NOW + MINUTE)

    with book.looking() as run:
        (issue,) = run.every()
    assert (issue.size_crore, issue.origins["size_crore"].source) == (1335.74, "investorgain")
    assert [why.partition(":")[0] for _, why in taken.refused] == ["size_crore of chittorgarh"]


def test_a_first_price_of_before_a_split_is_what_the_sources_are_scored_by(book: Book) -> None:
    listed = changed(AMBER, status=Status.LISTED, listed_at=money("353.1"), at=ist("2025-01-06T09:30"))
    traded = written.table([{"Price Details": "Open", "BSE": "₹70.62", "NSE": "₹70.62"}], "prices")
    adjusted = chittorgarh_issue(listed).replace(b"</body>", traded.encode() + b"</body>")
    take(book, AMBER)
    take(book, listed, at=LATE)

    taken = tell(book, "chittorgarh", PageKind.ISSUE, adjusted, LATE + MINUTE)
    outcomes = ipos.score(book, LATE + DAY)

    assert [one.open_points for one in outcomes] == [pytest.approx(10.0)]
    assert [why.partition(":")[0] for _, why in taken.refused] == ["listed_at of chittorgarh"]
