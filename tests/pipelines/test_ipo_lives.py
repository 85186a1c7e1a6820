"""An issue's life in the desk: how it is known to be listed, and what a change of its days does."""

from __future__ import annotations

import pytest

from adapters.ipos import Book
from market.ipo.alerts import IssueEvent
from market.ipo.exchange_specimens import nse_past
from market.ipo.life import State
from market.ipo.pages import PageKind
from market.ipo.readings import Status
from market.ipo.registry import SOURCES
from market.ipo.specimens import chittorgarh_report
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
