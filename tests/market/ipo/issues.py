"""Invented issues for the tests of the IPO desk, and the time at which their pages are fetched."""

from __future__ import annotations

from datetime import date, datetime

from market.ipo.kinds import Segment
from market.ipo.readings import Category, Demand, Status
from market.ipo.specimens import Specimen
from market.money import money
from market.sessions import IST, nanoseconds


def ist(text: str) -> int:
    """ns UTC of an ISO time on India's clocks."""
    return nanoseconds(datetime.fromisoformat(text).replace(tzinfo=IST))


NOW = ist("2025-01-01T11:00")
"""New Year: a date of December without a year is of the year before."""

BIDS = (
    Demand(category=Category.QIB, times=4.66, offered=1_171_144, bid=5_457_531),
    Demand(category=Category.NII, times=1.1, offered=888_456, bid=977_302),
    Demand(category=Category.RETAIL, times=0.03, offered=2_073_065, bid=62_192),
    Demand(category=Category.EMPLOYEE, times=None, offered=0, bid=0),
    Demand(category=Category.TOTAL, times=1.57, offered=4_132_665, bid=6_497_025),
)

AMBER = Specimen(
    number=1501,
    name="Amber & Sons Foundry",
    symbol="AMBERSONS",
    code="599901",
    isin="INE0AAA01011",
    segment=Segment.MAINBOARD,
    exchange="NSE",
    low=money("304"),
    high=money("321"),
    lot=46,
    shares=92_867_945,
    size_crore=2981.0,
    opens=date(2024, 12, 30),
    closes=date(2025, 1, 1),
    allots=date(2025, 1, 2),
    refunds=date(2025, 1, 3),
    lists=date(2025, 1, 6),
    status=Status.CLOSING,
    gmp=money("41.5"),
    rating=3,
    at=ist("2024-12-31T09:07"),
    demand=BIDS,
)
COBALT = AMBER.model_copy(
    update={
        "number": 1502,
        "name": "Cobalt Looms",
        "symbol": "COBALT",
        "code": "599902",
        "isin": "INE0AAA01029",
        "segment": Segment.SME,
        "exchange": "BSE",
        "low": money("76"),
        "high": money("80"),
        "lot": 1600,
        "shares": 4_267_200,
        "size_crore": 34.14,
        "status": Status.OPEN,
        "gmp": None,
        "rating": 1,
        "demand": (),
    }
)
DELTA = COBALT.model_copy(
    update={
        "number": 1503,
        "name": "Delta Kilns India",
        "symbol": "DELTAKILN",
        "code": "599903",
        "isin": "INE0AAA01037",
        "exchange": "NSE",
        "gmp": money("-3"),
        "rating": 2,
        "opens": date(2024, 12, 20),
        "closes": date(2024, 12, 24),
        "allots": date(2024, 12, 26),
        "refunds": date(2024, 12, 27),
        "lists": date(2024, 12, 30),
        "status": Status.LISTED,
        "listed_at": money("77.5"),
        "closed_at": money("81.35"),
        "demand": BIDS[-1:],
    }
)
ISSUES = (AMBER, COBALT, DELTA)
