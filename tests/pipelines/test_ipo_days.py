"""On which days bids stand: those of bidding by the exchange's calendar, whenever and in whatever order pages came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import permutations

import numpy as np
import pytest

from adapters.ipos import Book
from adapters.migrations.versions.ipos_0003 import TABLES
from market.holidays import sessions_of
from market.ipo.exchange_specimens import nse_categories, nse_issues
from market.ipo.pages import PageKind
from market.ipo.readings import Category, Demand
from market.ipo.specimens import Specimen
from market.sessions import Sessions, session
from market.vendors.nse_ipo import NseIssues
from pipelines import ipos
from tests.market.ipo.issues import AMBER, ist
from tests.market.ipo.made import tables as history
from tests.pipelines.desk import changed

# Christmas of 2024, a Wednesday, is a holiday: bidding goes on over it, and over a weekend.
OVER = changed(AMBER, opens=date(2024, 12, 24), closes=date(2024, 12, 30), lists=date(2025, 1, 2))
CALENDAR = sessions_of("NSE", date(2024, 12, 1), date(2025, 1, 31), ())
AFTER = ist("2024-12-30T18:00")
WHEN = {
    "2024-12-24T11:00": date(2024, 12, 24),
    "2024-12-25T12:00": date(2024, 12, 24),
    "2024-12-26T09:59": date(2024, 12, 24),
    "2024-12-26T10:00": date(2024, 12, 26),
    "2024-12-27T00:30": date(2024, 12, 26),
    "2024-12-29T16:00": date(2024, 12, 27),
    "2024-12-30T09:00": date(2024, 12, 27),
    "2024-12-30T17:00": date(2024, 12, 30),
    "2025-01-01T12:00": date(2024, 12, 30),
}


def listed(book: Book, at: int, issue: Specimen = OVER) -> None:
    body = nse_issues([issue])
    ipos.take(book, ipos.read(NseIssues(), PageKind.UPCOMING, body, at), body, at)


def bid(book: Book, when: str, times: float) -> None:
    at = ist(when)
    demand = tuple(
        Demand(category=one, times=times, offered=1000, bid=round(1000 * times))
        for one in (Category.QIB, Category.TOTAL)
    )
    body = nse_categories(changed(OVER, demand=demand), at)
    ipos.take(book, ipos.read(NseIssues(), PageKind.SUBSCRIPTION, body, at, OVER.symbol), body, at)


def stand(book: Book) -> list[tuple[date, float | None]]:
    with book.looking() as run:
        return [(one.day, one.times) for one in run.bids() if (one.category, one.book) == ("total", "all")]


@pytest.mark.parametrize(("when", "day"), WHEN.items())
def test_bids_stand_on_the_last_day_of_bidding(book: Book, when: str, day: date) -> None:
    listed(book, ist("2024-12-23T11:00"))
    bid(book, when, 1.5)

    ipos.validate(book, ist(when) + 1, CALENDAR)

    assert stand(book) == [(day, 1.5)]


def test_before_the_first_day_of_bidding_there_are_none(book: Book) -> None:
    listed(book, ist("2024-12-23T11:00"))

    bid(book, "2024-12-24T08:00", 0.0)

    assert stand(book) == []


def test_in_whatever_order_pages_come_the_same_bids_stand(book: Book) -> None:
    pages = [("2024-12-27T16:00", 2.0), ("2024-12-29T16:00", 2.5), ("2024-12-31T16:00", 9.0)]
    found = []

    for order in permutations([*pages, None]):
        with book.writing() as run:
            run.all(f"TRUNCATE {', '.join(TABLES)} RESTART IDENTITY CASCADE")
        for page in order:  # the list is what tells the closing day
            bid(book, *page) if page else listed(book, ist("2025-01-01T11:00"))
        ipos.validate(book, ist("2025-01-01T12:00"), CALENDAR)
        found.append(stand(book))

    assert found == [[(date(2024, 12, 27), 2.5), (date(2024, 12, 30), 9.0)]] * 24


def test_a_closing_day_that_is_put_off_gives_the_bids_their_days_back(book: Book) -> None:
    listed(book, ist("2024-12-23T11:00"), changed(OVER, closes=date(2024, 12, 26)))
    bid(book, "2024-12-26T16:00", 1.0)
    bid(book, "2024-12-27T16:00", 2.0)
    before = stand(book)

    listed(book, ist("2024-12-27T17:00"))

    assert before == [(date(2024, 12, 26), 2.0)]
    assert stand(book) == [(date(2024, 12, 26), 1.0), (date(2024, 12, 27), 2.0)]


def test_days_of_bidding_are_counted_in_sessions(book: Book) -> None:
    listed(book, ist("2024-12-23T11:00"))
    bid(book, "2024-12-24T16:00", 1.0)
    bid(book, "2024-12-26T16:00", 2.0)
    bid(book, "2024-12-29T16:00", 3.0)

    ipos.validate(book, AFTER, CALENDAR)

    assert days(book, ("qib_day1", "qib_day2", "qib_day3")) == [1.0, 2.0, 3.0]


def test_a_holiday_that_is_called_off_is_one_of_bidding(book: Book) -> None:
    listed(book, ist("2024-12-23T11:00"))
    bid(book, "2024-12-25T16:00", 1.0)
    ipos.validate(book, AFTER, CALENDAR)
    before = stand(book)

    ipos.validate(book, AFTER + 1, Sessions(sorted([*CALENDAR, session(date(2024, 12, 25))], key=lambda s: s.date)))

    assert before == [(date(2024, 12, 24), 1.0)]
    assert stand(book) == [(date(2024, 12, 25), 1.0)]


def days(book: Book, names: Sequence[str]) -> list[float]:
    with book.looking() as run:
        found = ipos.with_book(run, history(), run.every(), CALENDAR)
    row = found.issues[-1]
    return [float(np.round(row[name], 6)) for name in names]
