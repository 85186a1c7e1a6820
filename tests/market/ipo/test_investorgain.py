"""InvestorGain's own ways: what its names tell, its report of live bids, premiums of trusts."""

from __future__ import annotations

import json

import pytest

from market.ipo.kinds import Kind, Segment
from market.ipo.pages import Page, PageKind
from market.ipo.readings import Category, Status
from market.money import Money, money
from market.vendors.investorgain import InvestorGain
from tests.market.ipo.issues import ist

NOW = ist("2025-08-20T18:00")
ROW = {"GMP▲▼": "₹-- (0.00%)", "Price▲▼": "100", "Open▲▼": "18-Aug", "Close▲▼": "20-Aug"}


def board(*names: str) -> Page:
    body = json.dumps({"allGMP": [{"Name▲▼": name, **ROW} for name in names]}).encode()
    return InvestorGain().read(body, PageKind.BOARD, NOW)


@pytest.mark.parametrize(
    ("written", "name", "segment", "exchange", "status"),
    [
        ("Crizac IPO U", "Crizac", Segment.MAINBOARD, None, Status.UPCOMING),
        ("Cedaar Textile\xa0IPO NSE SME O", "Cedaar Textile", Segment.SME, "NSE", Status.OPEN),
        ("Aten Papers & BSE SME CT", "Aten Papers &", Segment.SME, "BSE", Status.CLOSING),
        ("Rama Telecom NSE SME C Allotted", "Rama Telecom", Segment.SME, "NSE", Status.ALLOTTED),
        ("Neetu Yoshi BSE SME LT", "Neetu Yoshi", Segment.SME, "BSE", Status.LISTING),
        ("Marc Loire SME L@80.00 (-20%)", "Marc Loire", Segment.SME, None, Status.LISTED),
        ("SME Finance IPO C", "SME Finance", Segment.MAINBOARD, None, Status.CLOSED),
        ("A name without a tag", "A name without a tag", None, None, Status.UNKNOWN),
    ],
)
def test_a_name_tells_segment_exchange_and_status(
    written: str, name: str, segment: Segment, exchange: str | None, status: Status
) -> None:
    (one,) = board(written).gmps

    assert (one.name, one.segment, one.exchange, one.status) == (name, segment, exchange, status)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("Knowledge Realty IPO REIT O", Kind.REIT),
        ("Anzen IPO InvIT C", Kind.INVIT),
        ("CFF Fluid FPO U", Kind.FPO),
        ("Crizac IPO U", Kind.IPO),
    ],
)
def test_a_trust_and_a_later_offer_are_told_from_an_issue_of_shares(written: str, kind: Kind) -> None:
    assert board(written).gmps[0].kind is kind


@pytest.mark.parametrize(("at", "price"), [("L@300.00 (17.65%)", money(300)), ("L@-- (%)", None), ("LT", None)])
def test_the_first_price_is_an_outcome_among_the_facts(at: str, price: Money | None) -> None:
    page = board(f"Vigor Plast NSE SME {at}")

    assert (page.facts[0].name, page.facts[0].listed_at) == ("Vigor Plast", price)
    assert page.gmps[0].gmp is None


def test_a_status_that_nobody_knows_is_refused_and_makes_no_new_name() -> None:
    page = board("Crizac IPO U", "Vigor Plast NSE SME Postponed")

    assert [one.name for one in page.gmps] == ["Crizac"]
    assert "ends in no status that is known here" in page.refused[0].reason


def test_the_report_of_live_bids_has_the_premium_glued_to_its_names() -> None:
    row = {
        "Name": "Vigor Plast NSE SMEGMP:₹-- (0.00%)O", "Total": "2.51x", "QIB": "1.04", "SHNI": "2.2", "BHNI": "1.8",
        "NII": "1.9", "RII": "4.07", "IPO Size": "₹25.10 Cr", "IPO Price": "85", "P/E": "10.1", "Close Date": "20-Aug",
    }  # fmt: skip

    page = InvestorGain().read(json.dumps({"sub": [row]}).encode(), PageKind.SUBSCRIPTION, NOW)

    (one,) = page.subscriptions
    assert (one.name, one.segment, one.exchange, one.status) == ("Vigor Plast", Segment.SME, "NSE", Status.OPEN)
    assert {bid.category: bid.times for bid in one.demand} == {
        Category.TOTAL: 2.51, Category.QIB: 1.04, Category.SNII: 2.2, Category.BNII: 1.8, Category.NII: 1.9,
        Category.RETAIL: 4.07,
    }  # fmt: skip
    assert (page.refused, page.unknown) == ((), ())
