"""Specimens: pages of our own making in each source's real layouts, for the demo and for tests.

A `Specimen` is one invented issue; each function writes it, or many, as a source does: its headings, its way of saying
nothing, dates without a year, ratings glued to numbers, shares in India's grouping. What is written here is read back
equal by the source's codec. No page of anybody else is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from enum import StrEnum
from html import escape
from typing import NamedTuple

from market.ipo import written
from market.ipo.kinds import Segment
from market.ipo.readings import Category, Demand, Status
from market.money import Money
from market.records import Record


class Specimen(Record):
    """One issue with all that any page tells of it, as in `market.ipo.readings`."""

    number: int
    name: str
    symbol: str
    code: str
    isin: str
    segment: Segment
    exchange: str
    low: Money
    high: Money
    lot: int
    shares: int
    size_crore: float
    opens: date
    closes: date
    allots: date
    refunds: date
    lists: date
    status: Status = Status.UPCOMING
    gmp: Money | None = None
    rating: int = 1
    at: int
    demand: tuple[Demand, ...] = ()
    listed_at: Money | None = None
    closed_at: Money | None = None

    def times(self, category: Category) -> float | None:
        """How often a category is subscribed; None: nothing is told."""
        return next((one.times for one in self.demand if one.category is category), None)


class Point(NamedTuple):
    """A premium as it stood at an instant, ns UTC."""

    at: int
    gmp: Money | None


class Board(StrEnum):
    """InvestorGain's board, by the month of 2025 from which it was laid out so."""

    JUNE = "june"
    AUGUST = "august"
    SEPTEMBER = "september"


_MARKS = {
    Status.UPCOMING: "U",
    Status.OPEN: "O",
    Status.CLOSING: "CT",
    Status.CLOSED: "C",
    Status.ALLOTTED: "C Allotted",
    Status.LISTING: "LT",
}
_ARROWS = "▲▼"


def investorgain_board(issues: Sequence[Specimen], layout: Board = Board.JUNE) -> bytes:
    """The board as a page with one table."""
    rows = [_board_row(issue, layout) for issue in issues]
    return written.page("IPO GMP Live", written.table(rows, "mainTable"))


def investorgain_seen(issues: Sequence[Specimen], layout: Board = Board.JUNE) -> bytes:
    """The board's rows as a browser saw them, mainboard and SME apart and together."""
    rows = [(issue.segment, {f"{k}{_ARROWS}": v for k, v in _board_row(issue, layout).items()}) for issue in issues]
    parts = {"mainboardGMP": Segment.MAINBOARD, "smeGMP": Segment.SME}
    told = {name: [row for segment, row in rows if segment is part] for name, part in parts.items()}
    return written.body({"allGMP": [row for _, row in rows], **told})


def investorgain_data(issues: Sequence[Specimen]) -> bytes:
    """The JSON behind the board."""
    rows = []
    for one in issues:
        gmp = "--" if one.gmp is None else written.plain(one.gmp)
        rows.append(
            {
                "Name": f'<a href="/gmp/{_slug(one)}/{one.number}/">{escape(one.name)} <span>{_tag(one)}</span></a>',
                "GMP": f"&#8377;<b>{gmp}</b> ({_points(one):.2f}%)",
                "Price (₹)": written.plain(one.high),
                "IPO Size": f"₹{one.size_crore:,.2f} Cr",
                "Lot": f"{one.lot:,}",
                "P/E": "-",
                "Sub": written.times(one.times(Category.TOTAL), "-"),
                "Open": written.short(one.opens),
                "Close": written.short(one.closes),
                "BoA Dt": written.short(one.allots),
                "Listing": written.short(one.lists),
                "Updated-On": f"<small><b>{written.stamp(one.at)}</b></small>",
                "~id": one.number,
                "~ipo_name": f"{one.name} IPO",
                "~IPO_Category": "SME" if one.segment is Segment.SME else "IPO",
                "~Srt_Open": one.opens.isoformat(),
                "~Srt_Close": one.closes.isoformat(),
                "~Srt_BoA_Dt": one.allots.isoformat(),
                "~Str_Listing": one.lists.isoformat(),
                "~gmp_percent_calc": f"{_points(one):.2f}",
                "~urlrewrite_folder_name": f"/gmp/{_slug(one)}/{one.number}/",
            }
        )
    return written.body({"msg": 1, "reportTableData": rows})


def investorgain_performance(issues: Sequence[Specimen]) -> bytes:
    """The report of listed issues, with the rating glued to the premium, and `₹0` where there was no quote."""
    rows = []
    for one in issues:
        gmp = Money(0) if one.gmp is None else one.gmp
        codes = one.code if one.exchange == "BSE" else one.symbol
        known = one.listed_at, one.closed_at
        listed, closed = (f"{written.plain(p)} ({_over(p, one.high):.2f}%)" if p is not None else "" for p in known)
        rows.append(
            {
                "IPO": f"{one.name} {_kind(one)} ({f'{one.symbol},{one.code}' if _main(one) else codes})",
                "Listing Date": f"{one.lists.day}-{one.lists:%b-%Y}",
                "IPO Size": f"{one.size_crore:,.2f}",
                "Subscription": written.times(one.times(Category.TOTAL), ""),
                "GMP": f"₹{written.plain(gmp)}{one.rating}🔥Hot inbox",
                "IPO Price": f"₹ {written.plain(one.high)}",
                "Estimated Price": f"₹ {written.plain(Money(one.high + gmp))} ({100 * gmp / one.high:.2f}%)",
                "Listing Price": listed,
                "Listing Day Closing Price": closed,
            }
        )
    return written.page("IPO GMP Performance Tracker", written.table(rows, "mainTable"))


def investorgain_days(issue: Specimen, points: Sequence[Point]) -> bytes:
    """An issue's page: a row for each day of its premium."""
    rows = [
        {
            "Date": f"{written.ist(point.at):%d-%m-%Y}",
            "IPO Price": written.plain(issue.high),
            "GMP": "₹--" if point.gmp is None else f"₹{written.plain(point.gmp)}",
            "Sub2 Sauda Rate": "--",
            "Estimated Listing Price": _estimated(issue.high, point.gmp),
            "Last Updated": f"{written.ist(point.at):%d-%b-%Y %H:%M}",
        }
        for point in points
    ]
    return written.page(f"{issue.name} IPO GMP", written.table(rows, ""))


def ipowatch_board(issues: Sequence[Specimen], updated: int | None) -> bytes:
    """The board among other tables of its page; `updated`: ns UTC of the page's own line, None for a page without."""
    rows = []
    for one in issues:
        last = f"{one.closes.day} {one.closes:%b}"
        kind = "Mainboard" if _main(one) else f"{one.exchange} SME"
        gain = "-%" if one.gmp is None else f"{_points(one):.0f}%"
        rows.append(
            {
                "Current IPOs": one.name,
                "IPO GMP": "₹-" if one.gmp is None else f"₹{written.plain(one.gmp)}",
                "Price": f"₹{written.plain(one.high)}",
                "Gain": gain,
                "Date": f"{one.opens.day}-{last}",
                "Kostak": "₹-",
                "Subject": "₹-",
                "Type": kind,
            }
        )
    words = written.table([{"What is GMP?": "A premium that nobody guarantees", "": "Ask a broker"}], "")
    line = "" if updated is None else f"<p>Last Updated: {written.ist(updated):%B %d, %Y %H:%M}</p>"
    return written.page("IPO GMP", line + written.table(rows, "tablepress-1") + words)


def chittorgarh_report(issues: Sequence[Specimen]) -> bytes:
    """A report with timetable, codes and close of the first day, all in one; an unknown close as it writes it."""
    rows = []
    for one in issues:
        closed = one.high if one.closed_at is None else one.closed_at
        dates = {
            "~Issue_Open_Date": one.opens, "~Issue_Close_Date": one.closes, "~Timetable_BOA_dt": one.allots,
            "~Timetable_Refunds_dt": one.refunds, "~IPO_Listing_date": one.lists,
        }  # fmt: skip
        rows.append(
            {
                "~id": one.number,
                "Company": one.name,
                "Issue Category": "Mainboard" if _main(one) else "SME",
                "Opening Date": f"{one.opens:%d-%b-%Y}",
                "Closing Date": f"{one.closes:%d-%b-%Y}",
                "Listing Date": f"{one.lists:%d-%b-%Y}",
                "Listing At": "BSE, NSE" if _main(one) else f"{one.exchange} SME",
                "ISIN": one.isin,
                "BSE Scrip Code": one.code,
                "NSE Symbol": one.symbol,
                "Issue Price (Rs.)": f"{written.plain(one.low)} to {written.plain(one.high)}",
                "Issue Amount (Rs.cr.)": f"{one.size_crore:,.2f}",
                "Close Price on Listing (Rs.)": written.plain(closed),
                "% Gain/Loss": f"<span>{_over(closed, one.high):.2f}</span>",
                **{key: f"{day}T00:00:00.000Z" for key, day in dates.items()},
            }
        )
    return written.body({"msg": 1, "reportTableData": rows, "totalRecords": len(rows), "totalPages": 1})


def chittorgarh_live(issues: Sequence[Specimen]) -> bytes:
    """The report of the subscription as it stands, issue by issue."""
    named = {
        "QIB (x)": Category.QIB,
        "NII (x)": Category.NII,
        "Retail (x)": Category.RETAIL,
        "Total (x)": Category.TOTAL,
    }
    rows = [
        {
            "~id": one.number,
            "Company": one.name,
            "Issue Category": "Mainboard" if _main(one) else "SME",
            "Open Date": f"{one.opens:%d-%b-%Y}",
            "Close Date": f"{one.closes:%d-%b-%Y}",
            "Size (Rs.cr.)": f"{one.size_crore:,.2f}",
            **{name: written.times(one.times(category), "-").rstrip("x") for name, category in named.items()},
        }
        for one in issues
    ]
    return written.body({"msg": 1, "reportTableData": rows, "totalRecords": len(rows), "totalPages": 1})


def chittorgarh_issue(one: Specimen) -> bytes:
    """An issue's page: its facts, and its bids by category."""
    first, last = one.opens, one.closes
    facts = {
        "IPO Date": f"{first.day} {first:%b, %Y} to {last.day} {last:%b, %Y}",
        "Listed on": f"{one.lists:%a, %b} {one.lists.day}, {one.lists.year}",
        "Price Band": f"₹{written.plain(one.low)} to ₹{written.plain(one.high)}",
        "Lot Size": f"{one.lot} Shares",
        "Listing At": "BSE, NSE" if _main(one) else f"{one.exchange} SME",
        "Total Issue Size": f"{written.indian(one.shares)} shares (agg. up to ₹{one.size_crore:,.2f} Cr)",
        "BSE Script Code / NSE Symbol": f"{one.code} / {one.symbol}",
        "ISIN": one.isin,
    }
    return written.page(
        f"{one.name} IPO", f"<h1>{escape(one.name)} IPO Details</h1>" + written.keyed(facts) + _bid_table(one)
    )


def chittorgarh_subscription(one: Specimen, days: Sequence[tuple[date, Mapping[Category, float]]]) -> bytes:
    """The page of an issue's subscription: by category, and for each day of bidding the times of each category."""
    named = {"QIB": Category.QIB, "NII": Category.NII, "Retail": Category.RETAIL, "Total": Category.TOTAL}
    rows = [
        {"Date": f"Day {k} {day:%B} {day.day}, {day.year}", **{n: f"{times[c]:.2f}" for n, c in named.items()}}
        for k, (day, times) in enumerate(days, 1)
    ]
    span = f"{one.opens:%B} {one.opens.day}, {one.opens.year} - {one.closes:%B} {one.closes.day}, {one.closes.year}"
    head = f"<h1>{escape(one.name)} IPO Subscription Details</h1><p>{span}</p>"
    return written.page(f"{one.name} IPO Subscription", head + _bid_table(one) + written.table(rows, ""))


def _board_row(one: Specimen, layout: Board) -> dict[str, str]:
    gmp = f"₹{'--' if one.gmp is None else written.plain(one.gmp)} ({_points(one):.2f}%)"
    june = layout is Board.JUNE
    listed = one.listed_at
    mark = (
        f"L@{written.plain(listed)} ({_over(listed, one.high):.2f}%)"
        if listed is not None
        else _MARKS.get(one.status, "C")
    )
    row = {"Name": f"{one.name} {_kind(one)} {mark}", "GMP": gmp if june else gmp + written.stamp(one.at)}
    if layout is Board.SEPTEMBER:
        row["GMP Range (L/H)"] = (
            "-- ↓ / -- ↑" if one.gmp is None else f"{written.plain(one.gmp)} ↓ / {written.plain(one.gmp)} ↑"
        )
    row |= {
        "Fire Rating": "🔥" * one.rating,
        "Sub": written.times(one.times(Category.TOTAL), ""),
        "Price": written.plain(one.high),
    }
    row |= {"Est Listing": _estimated(one.high, one.gmp)} if june else {}
    row |= {"IPO Size": f"₹{one.size_crore:.2f} Cr", "Lot": f"{one.lot:,}", "Open": written.short(one.opens)}
    row |= {
        "Close": written.short(one.closes),
        "BoA Dt": written.short(one.allots),
        "Listing": written.short(one.lists),
    }
    return row | ({"GMP Updated": written.stamp(one.at)} if june else {})


def _estimated(price: Money, gmp: Money | None) -> str:
    return f"{written.plain(Money(price + (gmp or 0)))} ({100 * (gmp or 0) / price:.2f}%)"


def _bid_table(one: Specimen) -> str:
    rows = [
        {
            "Category": bid.category.value.upper()
            if bid.category in (Category.QIB, Category.NII)
            else bid.category.value,
            "Subscription (times)": "[.]" if bid.times is None else f"{bid.times:.2f}",
            "Shares Offered": written.indian(bid.offered or 0),
            "Shares bid for": written.indian(bid.bid or 0),
        }
        for bid in one.demand
    ]
    return written.table(rows, "")


def _main(one: Specimen) -> bool:
    return one.segment is Segment.MAINBOARD


def _kind(one: Specimen) -> str:
    return "IPO" if _main(one) else f"{one.exchange} SME"


def _tag(one: Specimen) -> str:
    return f"{_kind(one)} {_MARKS.get(one.status, 'C')}"


def _slug(one: Specimen) -> str:
    return f"{one.name.lower().replace(' ', '-')}-ipo"


def _points(one: Specimen) -> float:
    return 100 * (one.gmp or 0) / one.high


def _over(price: Money, issue: Money) -> float:
    return 100 * (price / issue - 1)
