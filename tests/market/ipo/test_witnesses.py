"""Witnesses: what is put right by another source's word, whoever spoke first, and what is left as it was told."""

from __future__ import annotations

import pytest

from market.ipo.facts import points
from market.ipo.issues import Issue, Origin, learned
from market.ipo.readings import GmpReading, IssueFacts, Reading
from market.ipo.witnesses import mended
from market.money import money
from tests.market.ipo.issues import NOW


def after(*told: Reading) -> tuple[Issue, list[str]]:
    """An issue after readings of one each, and why they were not taken as they are."""
    issue: Issue | None = None
    why: list[str] = []
    for minute, reading in enumerate(told):
        right = mended(issue, [reading])
        why += right.why
        origin = Origin(source=reading.source, page=str(minute), received=NOW + minute)
        issue = learned(right.issue, "amber", right.readings, origin)
    assert issue is not None
    return issue, why


def size(source: str, crore: float) -> IssueFacts:
    return IssueFacts(source=source, name="Amber Foundry", size_crore=crore)


def opened(source: str, rupees: str) -> IssueFacts:
    return IssueFacts(source=source, name="Amber Foundry", listed_at=money(rupees))


def quote(gmp: str, price: str = "100", estimated: str | None = None) -> GmpReading:
    least = None if estimated is None else money(estimated)
    return GmpReading(source="b", name="Amber Foundry", gmp=money(gmp), high=money(price), estimated=least)


@pytest.mark.parametrize(
    ("told", "crore", "mends"),
    [
        ([size("investorgain", 1335.74), size("chittorgarh", 335.74)], 1335.74, 1),
        ([size("chittorgarh", 335.74), size("investorgain", 1335.74)], 1335.74, 1),
        ([size("chittorgarh", 335.74), size("investorgain", 1335.74), size("chittorgarh", 335.74)], 1335.74, 2),
        ([size("chittorgarh", 335.74), size("chittorgarh", 1335.74)], 1335.74, 0),
        ([size("chittorgarh", 335.74), size("investorgain", 1400.0)], 335.74, 0),
        ([size("chittorgarh", 335.74)], 335.74, 0),
    ],
)
def test_a_size_without_its_thousands_gives_way_to_a_witness_whoever_counts_more(
    told: list[Reading], crore: float, mends: int
) -> None:
    issue, why = after(*told)

    assert issue.size_crore == crore
    assert [one.startswith("size_crore of chittorgarh: the thousands were lost") for one in why] == [True] * mends


@pytest.mark.parametrize(
    ("told", "price", "mends"),
    [
        ([opened("chittorgarh", "120"), opened("investorgain", "600")], "600", 1),
        ([opened("investorgain", "600"), opened("chittorgarh", "120")], "600", 1),
        ([opened("investorgain", "600"), opened("chittorgarh", "598")], "598", 0),
        ([opened("investorgain", "600"), opened("chittorgarh", "130")], "130", 0),
    ],
)
def test_a_first_price_adjusted_for_a_split_gives_way_to_one_that_is_not(
    told: list[Reading], price: str, mends: int
) -> None:
    issue, why = after(*told)

    assert (issue.listed_at, len(why)) == (money(price), mends)


@pytest.mark.parametrize(
    ("told", "premiums", "gmp"),
    [
        (quote("30350", "480"), ["303.5"], "303.5"),
        (quote("30350", "480"), ["303.5", "303.5"], "303.5"),
        (quote("30350", "480"), [], "30350"),
        (quote("30350", "480"), ["300"], "30350"),
        (quote("30350", "480"), ["303.5", "30350"], "30350"),
        (quote("30350", "480"), ["303.5", "3035"], "30350"),  # of two witnesses, neither is certain
        (quote("50"), ["5"], "50"),  # likely enough, so that it is no typo
        (quote("64", estimated="106"), [], "6"),  # a premium of 6 and a rating of 4
        (quote("64", estimated="164"), [], "64"),
        (quote("64", estimated="107"), [], "64"),
    ],
)
def test_a_premium_is_put_right_only_where_that_is_certain(told: GmpReading, premiums: list[str], gmp: str) -> None:
    right = mended(None, [told], [money(one) for one in premiums])

    (reading,) = right.readings
    assert isinstance(reading, GmpReading)
    assert reading.gmp == money(gmp)
    assert len(right.why) == (reading.gmp != told.gmp)
    assert not right.why or reading.points == pytest.approx(points(money(gmp), told.high or money("1")))
