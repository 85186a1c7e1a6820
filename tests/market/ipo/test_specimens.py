"""Specimens: what is written as a source writes it is read back equal by the source's codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import product

import pytest

from market.ipo import exchange_specimens, specimens
from market.ipo.pages import Page, PageKind
from market.ipo.readings import Book, Category, GmpReading, Status
from market.ipo.specimens import Board, Point, Specimen
from market.money import money
from market.vendors.bse_ipo import BseIssues
from market.vendors.chittorgarh import Chittorgarh
from market.vendors.investorgain import InvestorGain
from market.vendors.ipowatch import IpoWatch
from market.vendors.nse_ipo import NseIssues
from tests.market.ipo.issues import AMBER, BIDS, COBALT, DELTA, ISSUES, NOW, ist

Writer = Callable[[Sequence[Specimen], Board], bytes]
NOON = NOW - NOW % 60_000_000_000


def clean(page: Page) -> Page:
    """The page, when nothing of it was refused, unknown or told twice."""
    assert (page.refused, page.unknown, page.repeated) == ((), (), 0)
    return page


def told(one: Specimen) -> tuple[object, ...]:
    return one.name, one.segment, one.gmp, one.high, one.opens, one.closes, one.lists, one.at


def read(one: GmpReading) -> tuple[object, ...]:
    return one.name, one.segment, one.gmp, one.high, one.opens, one.closes, one.lists, one.at


@pytest.mark.parametrize(
    ("write", "layout"), list(product((specimens.investorgain_board, specimens.investorgain_seen), Board))
)
def test_a_board_is_read_back_in_each_of_its_layouts(write: Writer, layout: Board) -> None:
    page = InvestorGain().read(write(ISSUES, layout), PageKind.BOARD, NOW)

    assert (page.refused, page.unknown) == ((), ())
    assert [read(one) for one in page.gmps] == [told(one) for one in ISSUES]
    assert [one.status for one in page.gmps] == [Status.CLOSING, Status.OPEN, Status.LISTED]
    assert [one.exchange for one in page.gmps] == [None, "BSE", "NSE"]
    assert [one.rating for one in page.gmps] == [3, 1, 2]
    assert [(one.lot, one.size_crore, one.allots) for one in page.facts] == [
        (one.lot, one.size_crore, one.allots) for one in ISSUES
    ]
    assert [one.listed_at for one in page.facts] == [None, None, money("77.5")]
    assert [one.times(Category.TOTAL) for one in page.subscriptions] == [1.57, 1.57]


def test_only_the_layout_of_september_has_the_range_of_a_premium() -> None:
    june, september = (
        InvestorGain().read(specimens.investorgain_board([AMBER], layout), PageKind.BOARD, NOW).gmps[0]
        for layout in (Board.JUNE, Board.SEPTEMBER)
    )

    assert (june.lowest, june.highest, june.estimated) == (None, None, money("362.5"))
    assert (september.lowest, september.highest, september.estimated) == (AMBER.gmp, AMBER.gmp, None)


def test_the_json_behind_the_board_is_read_back() -> None:
    page = clean(InvestorGain().read(specimens.investorgain_data(ISSUES), PageKind.BOARD, NOW))

    assert [read(one) for one in page.gmps] == [told(one) for one in ISSUES]
    assert [one.points for one in page.gmps] == [12.93, None, -3.75]
    assert [one.lot for one in page.facts] == [46, 1600, 1600]


def test_a_performance_report_is_read_back_and_its_zero_is_no_quote() -> None:
    page = clean(InvestorGain().read(specimens.investorgain_performance(ISSUES), PageKind.PERFORMANCE, NOW))

    assert [(one.gmp, one.rating) for one in page.gmps] == [(AMBER.gmp, 3), (None, 1), (DELTA.gmp, 2)]
    assert [(one.symbol, one.code) for one in page.facts] == [
        ("AMBERSONS", "599901"),
        (None, "599902"),
        ("DELTAKILN", None),
    ]
    assert [(one.listed_at, one.closed_at) for one in page.facts][-1] == (DELTA.listed_at, DELTA.closed_at)


def test_the_days_of_an_issue_are_read_back() -> None:
    days = [
        Point(ist("2024-12-29T22:10"), None),
        Point(ist("2024-12-30T21:45"), money("12")),
        Point(AMBER.at, AMBER.gmp),
    ]

    body = specimens.investorgain_days(AMBER, days)
    page = clean(InvestorGain().read(body, PageKind.HISTORY, NOW, AMBER.name))

    assert [Point(one.at or 0, one.gmp) for one in page.gmps] == days
    assert {one.name for one in page.gmps} == {AMBER.name}


@pytest.mark.parametrize("updated", [None, ist("2024-12-31T18:30")])
def test_ipowatch_s_board_is_read_back_with_the_stamp_of_its_page(updated: int | None) -> None:
    page = clean(IpoWatch().read(specimens.ipowatch_board(ISSUES, updated), PageKind.BOARD, NOW))

    assert [(one.name, one.segment, one.gmp, one.high) for one in page.gmps] == [
        (one.name, one.segment, one.gmp, one.high) for one in ISSUES
    ]
    assert [(one.opens, one.closes) for one in page.gmps] == [(one.opens, one.closes) for one in ISSUES]
    assert {one.at for one in page.gmps} == {updated}
    assert (page.gmps[0].kostak, page.gmps[0].sauda) == (None, None)


def test_a_report_of_chittorgarh_is_read_back_and_a_close_it_does_not_know_is_none() -> None:
    page = clean(Chittorgarh().read(specimens.chittorgarh_report(ISSUES), PageKind.PERFORMANCE, NOW))

    for one, fact in zip(ISSUES, page.facts, strict=True):
        assert (fact.name, fact.isin, fact.code, fact.symbol) == (one.name, one.isin, one.code, one.symbol)
        assert (fact.low, fact.high, fact.size_crore, fact.segment) == (one.low, one.high, one.size_crore, one.segment)
        assert (fact.opens, fact.closes, fact.allots, fact.lists) == (one.opens, one.closes, one.allots, one.lists)
        assert fact.closed_at == one.closed_at


def test_an_issue_s_page_of_chittorgarh_is_read_back() -> None:
    page = clean(Chittorgarh().read(specimens.chittorgarh_issue(AMBER), PageKind.ISSUE, NOW))

    (fact,) = page.facts
    assert (fact.name, fact.isin, fact.code, fact.symbol) == (AMBER.name, AMBER.isin, AMBER.code, AMBER.symbol)
    assert (fact.low, fact.high, fact.lot, fact.shares) == (AMBER.low, AMBER.high, AMBER.lot, AMBER.shares)
    assert (fact.size_crore, fact.opens, fact.closes, fact.lists) == (2981.0, AMBER.opens, AMBER.closes, AMBER.lists)
    assert page.subscriptions[0].demand == BIDS
    assert page.subscriptions[0].opens == AMBER.opens


def test_the_subscription_of_each_day_is_read_back() -> None:
    days = [
        (
            date(2024, 12, 30),
            dict(zip((Category.QIB, Category.NII, Category.RETAIL, Category.TOTAL), times, strict=True)),
        )
        for times in [(0.01, 0.3, 0.0, 0.07)]
    ]

    body = specimens.chittorgarh_subscription(AMBER, days)
    page = clean(Chittorgarh().read(body, PageKind.SUBSCRIPTION, NOW))

    whole, first = page.subscriptions
    assert (whole.name, whole.demand, whole.opens) == (AMBER.name, BIDS, AMBER.opens)
    assert (first.day, first.number) == (date(2024, 12, 30), 1)
    assert {one.category: one.times for one in first.demand} == days[0][1]


def test_nse_s_open_issues_are_read_back_with_its_own_book_alone() -> None:
    page = clean(NseIssues().read(exchange_specimens.nse_issues(ISSUES), PageKind.LIST, NOW))

    assert [(one.name, one.symbol, one.segment, one.low, one.high) for one in page.facts] == [
        (one.name, one.symbol, one.segment, one.low, one.high) for one in ISSUES
    ]
    assert [(one.shares, one.opens, one.closes) for one in page.facts] == [
        (one.shares, one.opens, one.closes) for one in ISSUES
    ]
    assert [(one.symbol, one.book, one.demand, one.opens) for one in page.subscriptions] == [
        ("AMBERSONS", Book.NSE, BIDS[-1:], AMBER.opens),
        ("DELTAKILN", Book.NSE, BIDS[-1:], DELTA.opens),
    ]


def test_nse_s_past_issues_are_read_back_and_a_dash_is_no_date() -> None:
    page = clean(NseIssues().read(exchange_specimens.nse_past(ISSUES), PageKind.PAST, NOW))

    assert [(one.symbol, one.opens, one.closes) for one in page.facts] == [
        (one.symbol, one.opens, one.closes) for one in ISSUES
    ]
    assert [one.lists for one in page.facts] == [None, None, DELTA.lists]
    assert [(one.low, one.high) for one in page.facts] == [(one.low, one.high) for one in ISSUES]


def test_nse_s_categories_are_read_back_as_both_books_at_their_time() -> None:
    body = exchange_specimens.nse_categories(AMBER, NOON)

    page = clean(NseIssues().read(body, PageKind.SUBSCRIPTION, NOW, "AMBERSONS"))

    (one,) = page.subscriptions
    assert (one.symbol, one.demand, one.book, one.at) == ("AMBERSONS", BIDS, Book.ALL, NOON)


def test_bse_s_list_and_an_issue_s_page_are_read_back() -> None:
    listed = clean(BseIssues().read(exchange_specimens.bse_issues(ISSUES), PageKind.LIST, NOW))
    own = clean(BseIssues().read(exchange_specimens.bse_issue(COBALT), PageKind.ISSUE, NOW))

    assert [(one.name, one.segment, one.low, one.high, one.opens, one.closes) for one in listed.facts] == [
        (one.name, one.segment, one.low, one.high, one.opens, one.closes) for one in ISSUES
    ]
    (fact,) = own.facts
    assert (fact.name, fact.code, fact.symbol, fact.lot, fact.shares) == (
        "Cobalt Looms",
        "599902",
        "COBALT",
        1600,
        4_267_200,
    )
    assert (fact.low, fact.high, fact.opens, fact.closes) == (COBALT.low, COBALT.high, COBALT.opens, COBALT.closes)
    assert fact.segment is None
