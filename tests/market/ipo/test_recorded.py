"""The recorded pages and payloads, each read by its source's codec; what is expected was read off the pages by eye."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest

from benchmarks.sources import RECORDED
from market import notices
from market.errors import LayoutChanged
from market.ipo.changes import check
from market.ipo.kinds import Segment
from market.ipo.pages import Glance, Page, PageKind
from market.ipo.readings import Book, Category, Demand, Status
from market.money import money
from market.sessions import IST, nanoseconds
from market.vendors import nse_bhavcopy
from market.vendors.investorgain import InvestorGain
from tests.market.ipo.issues import ist

PAGES = "fixtures/ipo/pages"
SNAPSHOTS = (
    "20250628T141531_e5988101f2",
    "20250628T144717_92f4242630",
    "20250628T174948_0201bf4f60",
    "20250628T204105_720ab255a8",
    "20250711T210504_47ac090faa",
    "20250711T210512_9e876bda0b",
    "20250711T210630_5a70faa3e7",
    "20250712T101923_f0c799c49e",
)


COUNTS = {
    "ig_performance_20250904_be09dbdda7_rowfiltered": (132, 88, 132, 131, 0),
    "iforinvest_gmp_board_2024-12": (20, 14, 20, 0, 0),
    # The stored copy ends within its last cell, `NSE SM`: that cell is refused.
    "ipograymarket_gmp_board_2024-08": (17, 12, 17, 0, 1),
    "ipowatch_gmp_board_2024-12": (18, 13, 18, 0, 0),
    "subscription_chalet_hotels_2019": (0, 0, 0, 4, 0),
    "subscription_chatha_foods_sme_2024": (0, 0, 0, 4, 0),
    "report118_row_ather_energy": (0, 0, 1, 0, 0),
    "detail_ather_energy_2025": (0, 0, 1, 1, 0),
    "ipo-active-category_AUGMONT_2026-08-22": (0, 0, 0, 1, 0),
    "ipo-current-issue_2026-08-22": (0, 0, 2, 2, 0),
    "sample_listCurrentIPO": (0, 0, 1, 1, 0),
    "sample_listUpcomingIPO": (0, 0, 1, 0, 0),
    "sample_listPastIPO": (0, 0, 1, 0, 0),
    "nse-active-category-vnl": (0, 0, 0, 1, 0),
    "nse-current-issue": (0, 0, 3, 3, 0),
    "nse-detail-rkfal-sme": (0, 0, 1, 0, 0),
}
"""How many premiums, known premiums, facts, subscriptions and refused cells each page has."""


def read(shared: Path, name: str) -> Page:
    return next(one for one in RECORDED if name in one.file).read(shared)


def snapshot(shared: Path, name: str) -> Page:
    at = nanoseconds(datetime.strptime(name[:15], "%Y%m%dT%H%M%S").replace(tzinfo=IST))
    body = (shared / PAGES / "investorgain" / f"ig_board_{name}_rowfiltered.json").read_bytes()
    return InvestorGain().read(body, PageKind.BOARD, at)


@pytest.mark.parametrize("name", COUNTS)
def test_a_recorded_page_is_read_with_no_heading_unknown(shared: Path, name: str) -> None:
    page = read(shared, name)

    known = sum(reading.gmp is not None for reading in page.gmps)
    assert (len(page.gmps), known, len(page.facts), len(page.subscriptions), len(page.refused)) == COUNTS[name]
    assert page.unknown == ()


def test_no_page_is_left_out(shared: Path) -> None:
    files = {p for folder in (PAGES, "fixtures/nse/ipo") for p in (shared / folder).rglob("*") if p.is_file()}
    read_here = {shared / one.file for one in RECORDED}
    boards = {p for p in files if p.name.startswith("ig_board_")}
    elsewhere = {p for p in files if p.name == "sample_holidays.json"}
    daily = {p for p in files if p.suffix == ".csv"}

    assert files == read_here | boards | elsewhere | daily
    assert len(boards) == len(SNAPSHOTS)
    assert {Path(one.file).stem for one in RECORDED} == {*COUNTS, "list_mainboard_2026_shell_no_rows"}


@pytest.mark.parametrize(
    ("name", "counts"), zip(SNAPSHOTS, [(135, 90)] * 4 + [(148, 100)] * 2 + [(153, 102)] * 2, strict=True)
)
def test_a_snapshot_of_the_board_is_read_whole(shared: Path, name: str, counts: tuple[int, int]) -> None:
    page = snapshot(shared, name)

    assert (len(page.gmps), sum(one.gmp is not None for one in page.gmps)) == counts
    assert (page.refused, page.unknown, page.blank) == ((), (), 0)
    assert {one.segment for one in page.gmps} == {Segment.MAINBOARD, Segment.SME}
    assert all(one.status is not Status.UNKNOWN for one in page.gmps)
    assert all(one.at is None or one.at <= page.received for one in page.gmps)


def test_the_snapshots_one_after_the_other_raise_no_alarm(shared: Path) -> None:
    before: Glance | None = None
    told = []
    for name in SNAPSHOTS:
        page = snapshot(shared, name)
        told += check(page, before, b"")
        before = page.glance()

    assert told == []


def test_a_snapshot_whose_columns_are_shifted_raises_an_alarm(shared: Path) -> None:
    body = (shared / PAGES / "investorgain" / f"ig_board_{SNAPSHOTS[1]}_rowfiltered.json").read_text()
    shifted = body.replace('"Price▲▼"', '"X"').replace('"Lot▲▼"', '"Price▲▼"').replace('"X"', '"Lot▲▼"')
    page = InvestorGain().read(shifted.encode(), PageKind.BOARD, ist("2025-06-28T14:47"))

    with pytest.raises(LayoutChanged, match="issues have another price"):
        check(page, snapshot(shared, SNAPSHOTS[0]).glance(), b"")


def test_a_row_of_the_board_by_eye(shared: Path) -> None:
    page = snapshot(shared, "20250711T210630_5a70faa3e7")

    crizac = page.gmps[0]
    assert (crizac.name, crizac.segment, crizac.status, crizac.rating) == (
        "Crizac",
        Segment.MAINBOARD,
        Status.LISTED,
        3,
    )
    assert (crizac.gmp, crizac.points, crizac.high, crizac.estimated) == (
        money("41.5"),
        16.94,
        money(245),
        money("286.5"),
    )
    assert (crizac.opens, crizac.closes, crizac.lists) == (date(2025, 7, 2), date(2025, 7, 4), date(2025, 7, 9))
    assert crizac.at == ist("2025-07-09T09:37")
    assert page.facts[0].listed_at == money("281.05")


def test_a_premium_of_the_report_equals_that_of_the_board_for_every_issue_of_both(shared: Path) -> None:
    page = snapshot(shared, SNAPSHOTS[-1])

    board = {one.name: one for one in page.gmps if one.place.startswith("board")}
    report = {one.name: one for one in page.gmps if one.place.startswith("performance")}
    both = board.keys() & report.keys()
    assert len(both) >= 15
    assert {name: board[name].gmp for name in both} == {name: report[name].gmp for name in both}


def test_the_boards_of_2024_by_eye(shared: Path) -> None:
    watch = {one.name: one for one in read(shared, "ipowatch_gmp").gmps}
    other = {one.name: one for one in read(shared, "ipograymarket").gmps}
    third = {one.name: one for one in read(shared, "iforinvest").gmps}

    assert (watch["Indo Farm Equipment"].gmp, watch["Indo Farm Equipment"].high) == (None, money(215))
    assert (watch["Indo Farm Equipment"].opens, watch["Indo Farm Equipment"].closes) == (
        date(2024, 12, 31),
        date(2025, 1, 2),
    )
    assert (watch["Rosmerta Digital Services"].gmp, watch["Rosmerta Digital Services"].opens) == (money(20), None)
    assert watch["Mamata Machinery"].sauda == money(13_000)
    assert (other["ECOS Mobility"].gmp, other["ECOS Mobility"].closes) == (money(160), date(2024, 8, 30))
    assert third["Property Share Investment Trust"].high == money(1_050_000)
    assert third["Suraksha Diagnostic"].opens == date(2024, 11, 29)
    assert third["Mamata Machinery"].status is Status.UPCOMING


def test_an_issue_s_page_by_eye(shared: Path) -> None:
    page = read(shared, "detail_ather")

    (ather,) = page.facts
    assert (ather.name, ather.symbol, ather.code, ather.isin) == (
        "Ather Energy",
        "ATHERENERG",
        "544397",
        "INE0LEZ01016",
    )
    assert (ather.low, ather.high, ather.lot, ather.shares) == (money(304), money(321), 46, 92_867_945)
    assert (ather.size_crore, ather.segment, ather.listed_at) == (2981.0, Segment.MAINBOARD, money(328))
    assert (ather.opens, ather.closes, ather.lists) == (date(2025, 4, 28), date(2025, 4, 30), date(2025, 5, 6))
    assert page.subscriptions[0].times(Category.TOTAL) == 1.26


def test_a_subscription_of_2019_by_eye(shared: Path) -> None:
    whole, *days = read(shared, "chalet").subscriptions

    assert (whole.name, whole.day, whole.number, whole.opens) == (
        "Chalet Hotels",
        date(2019, 1, 31),
        3,
        date(2019, 1, 29),
    )
    assert whole.demand[0] == Demand(category=Category.QIB, times=4.66, offered=11_711_444, bid=54_543_307)
    assert whole.times(Category.EMPLOYEE) is None
    assert [(one.number, one.times(Category.NII)) for one in days] == [(1, 0.3), (2, 0.47), (3, 1.1)]


def test_nse_s_own_book_and_both_books_by_eye(shared: Path) -> None:
    own = read(shared, "ipo-current-issue_2026").subscriptions[0]
    both = read(shared, "AUGMONT").subscriptions[0]

    assert (own.symbol, own.book, own.opens) == ("AUGMONT", Book.NSE, date(2026, 8, 21))
    assert own.times(Category.TOTAL) == pytest.approx(1.79, abs=0.001)
    assert (both.book, both.at) == (Book.ALL, ist("2026-08-21T17:00"))
    assert [round(both.times(c) or 0, 2) for c in (Category.QIB, Category.BNII, Category.SNII, Category.TOTAL)] == [
        1.76, 3.05, 5.82, 2.74,
    ]  # fmt: skip
    assert both.demand[-1].bid == 21_143_029


def test_an_sme_issue_s_page_at_nse_before_the_first_bid_by_eye(shared: Path) -> None:
    page = read(shared, "rkfal")

    (fact,) = page.facts
    assert (fact.name, fact.symbol, fact.segment) == ("R.K. Fashion Accessories Limited", "RKFAL", Segment.SME)
    assert (fact.low, fact.high, fact.lot, fact.shares) == (money(77), money(82), 1600, 4_267_200)
    assert page.subscriptions == ()


def test_a_shell_without_rows_is_a_changed_layout(shared: Path) -> None:
    with pytest.raises(LayoutChanged, match="Mainboard IPOs Watch 2026"):
        read(shared, "list_mainboard_2026_shell_no_rows")


def test_nse_s_holidays_and_daily_file_are_read_by_what_reads_them_already(shared: Path) -> None:
    holidays = notices.read("h", (shared / PAGES / "nse/sample_holidays.json").read_text(), "NSE's site, 2023")
    daily = nse_bhavcopy.read((shared / "fixtures/nse/ipo/nse-bhavcopy-01102026.csv").read_bytes())

    assert [one.date for one in holidays] == [date(2023, 1, 26)]
    assert daily.day == date(2026, 10, 1)
