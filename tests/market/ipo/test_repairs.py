"""Repairs: certain or refused; by hand, and over every wrong figure that was found in real tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from benchmarks.sources import crores, judged, right
from market.ipo import repairs
from market.ipo.repairs import Kept, Refused, Repaired
from market.money import money


@pytest.mark.parametrize(
    ("told", "witness", "repaired"),
    [
        ("335.74", "1335.74", "1335.74"),
        ("56.79", "6056.79", "6056.79"),
        ("442.93", "1442.01", "1442.93"),
        ("0", "3000", "3000"),
        ("335.74", "1400", None),
        ("1335.74", "335.74", None),
        ("335.74", None, None),
    ],
)
def test_lost_thousands_come_back_only_with_a_witness(told: str, witness: str | None, repaired: str | None) -> None:
    found = repairs.size(crores(told), crores(witness) if witness else None)

    assert isinstance(found, Refused) if repaired is None else isinstance(found, Repaired)
    assert repaired is None or (isinstance(found, Repaired) and found.value == crores(repaired))


def test_a_size_two_sources_agree_on_is_kept() -> None:
    assert repairs.size(crores("860"), crores("860.4")) == Kept(value=crores("860"))


@pytest.mark.parametrize(
    ("told", "witness", "value"),
    [("30350", "303.5", "303.5"), ("303.5", "303.5", "303.5"), ("30350", "300", None), ("30350", None, None)],
)
def test_a_lost_point_comes_back_only_with_a_witness(told: str, witness: str | None, value: str | None) -> None:
    found = repairs.premium(money(told), money(witness) if witness else None)

    assert isinstance(found, Refused) if value is None else not isinstance(found, Refused)
    assert value is None or (not isinstance(found, Refused) and found.value == money(value))


@pytest.mark.parametrize(
    ("told", "estimated", "value"),
    [
        ("64", "106", "6"),  # a premium of 6 and a rating of 4
        ("-52", "95", "-5"),
        ("1.51", "101.5", "1.5"),
        ("1", "100", "0"),
        ("64", "164", "64"),
        ("64", "107", None),
        ("69", "106", None),  # no rating is 9
        ("64", None, None),
    ],
)
def test_a_rating_is_cut_off_where_the_estimated_price_says_so(
    told: str, estimated: str | None, value: str | None
) -> None:
    found = repairs.unglued(money(told), money("100"), money(estimated) if estimated else None)

    assert isinstance(found, Refused) if value is None else not isinstance(found, Refused)
    assert value is None or (not isinstance(found, Refused) and found.value == money(value))


def test_a_close_out_of_reach_or_in_place_of_a_missing_one_is_refused() -> None:
    price, opened = money("100"), money("120")

    assert isinstance(repairs.first_close(money("60"), price, opened), Refused)
    assert isinstance(repairs.first_close(price, price, money("101")), Refused)
    assert isinstance(repairs.first_close(money("118"), price, None), Refused)
    assert isinstance(repairs.first_close(money("118"), price, opened, money("140")), Refused)
    assert repairs.first_close(money("118"), price, opened) == Kept(value=money("118"))
    assert repairs.first_close(price, price, money("101"), price) == Kept(value=price)


def test_days_that_cannot_be_say_why() -> None:
    closes, listing = date(2024, 6, 28), date(2024, 7, 3)

    assert repairs.listing_day(listing, closes) is None
    assert repairs.listing_day(closes, closes) is not None
    assert repairs.quote_day(date(2024, 7, 2), listing) is None
    assert repairs.quote_day(listing, listing) is not None


def test_every_known_bad_value_is_repaired_with_certainty_or_refused(shared: Path) -> None:
    found = list(judged(shared / "fixtures/ipo/clean"))

    for row, one in found:
        assert isinstance(one, (Repaired, Refused)), row
        assert one.why
        assert isinstance(one, Refused) or right(row, one), row
    assert (len(found), sum(isinstance(one, Repaired) for _, one in found)) == (195, 140)
