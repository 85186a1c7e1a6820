"""The readings of one row, together."""

from __future__ import annotations

import pytest

from market.ipo.pages import PageKind
from market.ipo.readings import GmpReading, IssueFacts, SubscriptionReading
from market.ipo.rows import dumped, restored, rows
from market.ipo.specimens import Point, investorgain_board, investorgain_days
from market.money import money
from market.vendors.investorgain import InvestorGain
from tests.market.ipo.issues import AMBER, ISSUES, NOW, ist


def test_a_row_of_a_board_is_one_with_all_its_readings() -> None:
    page = InvestorGain().read(investorgain_board(ISSUES), PageKind.BOARD, NOW)

    found = {row.told.name: row for row in rows(page)}

    assert found.keys() == {one.name for one in ISSUES}
    amber = found[AMBER.name]
    assert [type(one) for one in amber.readings] == [GmpReading, IssueFacts, SubscriptionReading]
    assert (amber.told.price, amber.told.gmp, amber.told.at) == (AMBER.high, AMBER.gmp, AMBER.at)
    assert (amber.told.open, amber.told.close, amber.told.listing) == (AMBER.opens, AMBER.closes, AMBER.lists)


def test_the_days_of_an_issue_come_oldest_first() -> None:
    points = [Point(ist(f"2024-12-{day}T18:00"), money(day)) for day in (31, 30, 29)]
    page = InvestorGain().read(investorgain_days(AMBER, points), PageKind.HISTORY, NOW, AMBER.name)

    assert [row.told.gmp for row in rows(page)] == [money("29"), money("30"), money("31")]


def test_a_stamp_of_the_future_is_of_the_fetch() -> None:
    late = AMBER.model_copy(update={"at": NOW})
    page = InvestorGain().read(investorgain_board([late]), PageKind.BOARD, NOW).model_copy(update={"received": NOW - 5})

    assert [row.told.at for row in rows(page)] == [NOW - 5]


@pytest.mark.parametrize("kind", ["gmps", "facts", "subscriptions"])
def test_a_reading_comes_back_from_plain_values(kind: str) -> None:
    page = InvestorGain().read(investorgain_board(ISSUES), PageKind.BOARD, NOW)
    (one, *_) = getattr(page, kind)

    assert restored(dumped(one)) == one
