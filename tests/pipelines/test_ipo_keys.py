"""Pages of one kind that tell of one issue each: NSE's bids, which leave out of which symbol they are."""

from __future__ import annotations

from adapters.ipos import Book
from market.ipo.exchange_specimens import nse_categories, nse_issues
from market.ipo.pages import PageKind
from market.ipo.specimens import Specimen
from market.sessions import DAY, MINUTE
from market.vendors.nse_ipo import NseIssues
from pipelines import ipos
from tests.market.ipo.issues import AMBER, BIDS, COBALT, NOW
from tests.pipelines.desk import changed

OTHER = changed(COBALT, exchange="NSE", demand=BIDS)
BAD = b'{"dataList": "none"}'


def bids(book: Book, of: Specimen, body: bytes, at: int) -> ipos.Taken:
    return ipos.take(book, ipos.read(NseIssues(), PageKind.SUBSCRIPTION, body, at, of.symbol), body, at)


def listed(book: Book) -> None:
    body = nse_issues([AMBER, OTHER])
    ipos.take(book, ipos.read(NseIssues(), PageKind.UPCOMING, body, NOW), body, NOW)


def alarms(book: Book) -> list[tuple[str, str]]:
    with book.looking() as run:
        return [(one.source, one.key) for one in run.alarms()]


def test_a_good_page_of_one_issue_does_not_end_the_alarm_of_another(book: Book) -> None:
    listed(book)
    bad = bids(book, AMBER, BAD, NOW)

    good = bids(book, OTHER, nse_categories(OTHER, NOW), NOW + MINUTE)

    assert bad.alarm is not None and bad.alarm.subject == f"nse subscription {AMBER.symbol}"
    assert (good.trouble, good.alarm) == ("", None)
    assert alarms(book) == [("nse", AMBER.symbol)]


def test_a_good_page_of_the_same_issue_ends_it(book: Book) -> None:
    bad = bids(book, AMBER, BAD, NOW)

    good = bids(book, AMBER, nse_categories(AMBER, NOW), NOW + MINUTE)

    assert bad.alarm is not None and good.alarm is not None
    assert (good.alarm.topic, good.alarm.over) == (bad.alarm.topic, True)
    assert alarms(book) == []


def test_equal_bytes_of_two_issues_are_bids_of_both(book: Book) -> None:
    listed(book)
    body = nse_categories(AMBER, NOW)

    taken = [bids(book, one, body, NOW + k) for k, one in enumerate((AMBER, OTHER))]

    with book.looking() as run:
        found = {one.symbol: {bid.page for bid in run.bids(one.id) if bid.book == "all"} for one in run.every()}
    assert [one.again for one in taken] == [False, False]
    assert found[AMBER.symbol] == found[OTHER.symbol] == {taken[0].digest}


def test_a_page_that_has_not_changed_is_known_though_another_issue_s_came_between(book: Book) -> None:
    bodies = {one.symbol: nse_categories(one, NOW + k) for k, one in enumerate((AMBER, OTHER))}

    taken = [bids(book, one, bodies[one.symbol], NOW + k * MINUTE) for k, one in enumerate((AMBER, OTHER) * 2)]

    assert [one.again for one in taken] == [False, False, True, True]


def test_the_same_unreadable_bytes_of_two_issues_are_two_alarms(book: Book) -> None:
    for k, one in enumerate((AMBER, OTHER)):
        bids(book, one, BAD, NOW + k)

    assert sorted(alarms(book)) == sorted([("nse", AMBER.symbol), ("nse", OTHER.symbol)])


def test_an_alarm_of_an_issue_nobody_asks_for_any_more_is_none(book: Book) -> None:
    bids(book, AMBER, BAD, NOW)
    before = alarms(book)

    bids(book, OTHER, nse_categories(OTHER, NOW), NOW + 4 * DAY)

    assert before == [("nse", AMBER.symbol)]
    assert alarms(book) == []
