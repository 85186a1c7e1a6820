"""Cells: what stands in a cell of a page, each way it is written, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.ipo import cells, written
from market.ipo.cells import Premium
from market.money import Money, money
from tests.market.ipo.issues import ist

NEAR = date(2025, 1, 1)
NOW = ist("2025-09-04T20:00")

UNKNOWN = (
    "",
    "-",
    "--",
    "₹-",
    "₹\u2013",
    "₹--",
    "\u2014",
    "-%",
    "NA",
    "N/A",
    "n.a.",
    "[.]",
    "[ ]",
    "TBA",
    "Coming Soon",
)


@pytest.mark.parametrize(
    "reader", [cells.money, cells.price, cells.band, cells.points, cells.times, cells.crore, cells.count]
)
@pytest.mark.parametrize("cell", UNKNOWN)
def test_a_way_of_saying_nothing_is_none_and_not_zero(reader: Callable[[str], object], cell: str) -> None:
    assert reader(cell) is None


@pytest.mark.parametrize(
    ("reader", "cell", "value"),
    [
        (cells.money, "₹ 1,050.50", money("1050.50")),
        (cells.money, "₹10,50,000", money(1_050_000)),
        (cells.money, "Rs.82 per equity share", money(82)),
        (cells.money, "₹-3", money(-3)),
        (cells.money, "-₹3", money(-3)),
        (cells.money, "0", money(0)),
        (cells.price, "₹ 286.5 (16.94%)", money("286.5")),
        (cells.band, "Rs.750 to Rs.788", (money(750), money(788))),
        (cells.band, "₹304 to ₹321", (money(304), money(321))),
        (cells.band, "1014.00-1065.00", (money(1014), money(1065))),
        (cells.points, "(-2.22%)", -2.22),
        (cells.points, "+20.00%", 20.0),
        (cells.times, "62.89x", 62.89),
        (cells.times, "101x", 101.0),
        (cells.crore, "₹1,387.34 Cr", 1387.34),
        (cells.crore, "860.00", 860.0),
        (cells.crore, "₹50 Lakhs", 0.5),
        (cells.count, "11,711,444", 11_711_444),
        (cells.count, "5,45,43,307", 54_543_307),
        (cells.count, "2.1143029E7", 21_143_029),
        (cells.count, "7715999.0", 7_715_999),
        (cells.count, "46 Shares", 46),
        (cells.shares, '"Offering of upto 42,67,200 fresh equity shares (with 2,14,400 equity shares)"', 4_267_200),
        (cells.codes, "CRIZAC,544439", ("CRIZAC", "544439")),
        (cells.codes, "544397 / ATHERENERG", ("ATHERENERG", "544397")),
        (cells.codes, "544074", (None, "544074")),
        (cells.isin, "INE0LEZ01016", "INE0LEZ01016"),
    ],
)
def test_a_number_is_read_in_each_way_it_is_written(reader: Callable[[str], object], cell: str, value: object) -> None:
    assert reader(cell) == value


@pytest.mark.parametrize(
    ("reader", "cell"),
    [
        (cells.money, "₹1,2"),
        (cells.money, "12 or 13"),
        (cells.money, "-₹-3"),
        (cells.money, "0.12345"),
        (cells.money, "१२"),
        (cells.price, "0"),
        (cells.price, "-5"),
        (cells.band, "321 to 304"),
        (cells.count, "1.5"),
        (cells.count, "-4"),
        (cells.times, "-1x"),
        (cells.codes, "Fabtech Technologies"),
        (cells.isin, "INE0LEZ0101"),
        (cells.money, "9" * 300),
        (cells.money, "₹10,000,001"),
        (cells.money, "-999999999999999"),
        (cells.band, "100 to 999999999999999"),
    ],
)
def test_what_is_no_such_number_is_refused(reader: Callable[[str], object], cell: str) -> None:
    with pytest.raises(ValueError):
        reader(cell)


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("₹150 (107.14%)4-Sep 18:02", Premium(money(150), 107.14, ist("2025-09-04T18:02"))),
        ("₹-- (0.00%)", Premium(None, None, None)),
        ("₹-- (%)", Premium(None, None, None)),
        ("₹-3 (-2.22%)", Premium(money(-3), -2.22, None)),
        ("₹0.5 (0.54%)", Premium(money("0.5"), 0.54, None)),
        ("₹0 (0.00%)", Premium(money(0), 0.0, None)),
        ("₹194", Premium(money(194), None, None)),
        ("₹-- (0.00%)18-Aug 7:33", Premium(None, None, ist("2025-08-18T07:33"))),
    ],
)
def test_a_premium_is_told_from_what_stands_behind_it(cell: str, told: Premium) -> None:
    assert cells.premium(cell, NOW) == told


@pytest.mark.parametrize(
    ("cell", "price", "estimated", "gmp", "rating"),
    [
        ("₹64🔥Hot inbox", "80", "86", "6", 4),
        ("₹352🔥Hot inbox", "100", "135", "35", 2),
        ("₹-52🔥Hot inbox", "100", "95", "-5", 2),
        ("₹1.51🔥Hot inbox", "414", "415.5", "1.5", 1),
        ("₹41.53🔥Hot inbox", "245", "286.5", "41.5", 3),
        ("₹01🔥Hot inbox", "147", "147", None, 1),
        ("₹--1🔥Hot inbox", "147", "147", None, 1),
    ],
)
def test_a_rating_is_taken_off_a_premium(cell: str, price: str, estimated: str, gmp: str | None, rating: int) -> None:
    told = cells.rated(cell, money(price), money(estimated))

    assert told == (None if gmp is None else money(gmp), rating)


@pytest.mark.parametrize("cell", ["₹64🔥", "₹67🔥", "₹🔥", "64 of 80"])
def test_a_rated_premium_that_the_estimate_contradicts_is_refused(cell: str) -> None:
    with pytest.raises(ValueError):
        cells.rated(cell, money("80"), money("144"))


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("15-Oct", date(2024, 10, 15)),
        ("2-Jan", date(2025, 1, 2)),
        ("31-Dec", date(2024, 12, 31)),
        ("9-Jul-2025", date(2025, 7, 9)),
        ("22-MAR-2024", date(2024, 3, 22)),
        ("Tue, May 6, 2025", date(2025, 5, 6)),
        ("January 29, 2019", date(2019, 1, 29)),
        ("2025-04-28T00:00:00.000Z", date(2025, 4, 28)),
        ("15-10-2025", date(2025, 10, 15)),
        ("29-Feb", date(2024, 2, 29)),
        ("4 Sept", date(2024, 9, 4)),
    ],
)
def test_a_date_without_a_year_is_the_nearest(cell: str, day: date) -> None:
    assert cells.day(cell, NEAR) == day


@pytest.mark.parametrize(
    ("cell", "first", "last"),
    [
        ("19-23 Dec", date(2024, 12, 19), date(2024, 12, 23)),
        ("31-2 Jan", date(2024, 12, 31), date(2025, 1, 2)),
        ("25-29 Sept", date(2024, 9, 25), date(2024, 9, 29)),
        ("11-13 Dec,2024", date(2024, 12, 11), date(2024, 12, 13)),
        ("29-3 Dec, 2024", date(2024, 11, 29), date(2024, 12, 3)),
        ("28 to 30 Apr, 2025", date(2025, 4, 28), date(2025, 4, 30)),
        ("15 Oct 2025 to 17 Oct 2025", date(2025, 10, 15), date(2025, 10, 17)),
        ("05-Oct-2026 to 07-Oct-2026", date(2026, 10, 5), date(2026, 10, 7)),
        ("30 Dec, 2024 to 1 Jan, 2025", date(2024, 12, 30), date(2025, 1, 1)),
    ],
)
def test_a_span_of_days_may_cross_a_month_or_a_year(cell: str, first: date, last: date) -> None:
    assert cells.span(cell, NEAR) == (first, last)


@pytest.mark.parametrize("cell", ["2024", "Coming Soon", "", "-"])
def test_a_span_that_is_not_fixed_is_none(cell: str) -> None:
    assert cells.span(cell, NEAR) is None


@pytest.mark.parametrize("cell", ["31-Feb", "5-Octember", "12 Ma", "32-Jan-2025", "1-Jan-0001", "tomorrow"])
def test_what_is_no_date_is_refused(cell: str) -> None:
    with pytest.raises(ValueError):
        cells.day(cell, NEAR)


def test_a_stamp_of_india_without_a_year_is_an_instant_before_the_fetch() -> None:
    assert cells.stamp("31-Dec 9:07", ist("2025-01-01T00:30")) == ist("2024-12-31T09:07")
    assert cells.stamp("21-Aug-2026 17:00:00", ist("2026-08-21T18:00")) == ist("2026-08-21T17:00")
    assert cells.stamp("December 19, 2024 10:30 AM", ist("2024-12-20T00:00")) == ist("2024-12-19T10:30")
    assert cells.stamp("December 19, 2024", ist("2024-12-20T00:00")) == ist("2024-12-19T00:00")
    with pytest.raises(ValueError, match="after the page was fetched"):
        cells.stamp("4-Sep 23:00", NOW)


def test_words_lose_their_tags_entities_and_blanks_of_every_kind() -> None:
    assert cells.text("&#8377;<b>110</b> (10.33%)") == "₹110 (10.33%)"
    assert cells.text("Cedaar\xa0Textile\u200b \n IPO") == "Cedaar Textile IPO"


@given(st.integers(-(10**9), 10**9))
def test_any_amount_that_is_written_is_read_back(amount: int) -> None:
    assert cells.money(f"₹{written.plain(Money(amount))}") == amount


@given(st.integers(0, 10**12))
def test_a_count_is_the_same_in_both_groupings(number: int) -> None:
    assert cells.count(written.indian(number)) == cells.count(f"{number:,}") == number


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.integers(-150, 150))
def test_any_date_near_the_fetch_is_read_back_without_its_year(day: date, apart: int) -> None:
    near = date.fromordinal(day.toordinal() + apart)

    assert cells.day(written.short(day), near) == day


READERS = (
    cells.money, cells.price, cells.band, cells.points, cells.times, cells.crore, cells.count, cells.shares,
    cells.reach, cells.isin, cells.codes, cells.symbol, cells.code,
    lambda c: cells.day(c, NEAR), lambda c: cells.span(c, NEAR), lambda c: cells.stamp(c, NOW),
    lambda c: cells.premium(c, NOW), lambda c: cells.rated(c, None, None),
)  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.text("0123456789,.-+%()₹xJanSeptDec🔥 :/\u2013", max_size=30)))
def test_any_text_is_a_value_none_or_refused(cell: str) -> None:
    for reader in READERS:
        try:
            reader(cell)
        except ValueError as e:
            assert str(e)
