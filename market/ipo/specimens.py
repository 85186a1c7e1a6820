"""Specimens: pages of our own making in each source's real layouts, for the demo and for tests.

A `Specimen` is one invented issue; each function writes it, or many, as a source does: its headings, its way of saying
nothing, dates without a year, ratings glued to numbers, shares in India's grouping. What is written here is read back
equal by the source's codec. No page of anybody else is copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from html import escape
from typing import NamedTuple

from market.ipo.readings import Category, Demand, Segment, Status
from market.money import Money, decimal
from market.records import Record
from market.sessions import IST


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
_NSE = {Status.OPEN: "Active", Status.UPCOMING: "Forthcoming", Status.CLOSED: "Closed"}
_BSE = {Status.OPEN: "Live", Status.UPCOMING: "Forthcoming", Status.CLOSED: "Closed", Status.LISTED: "Listed"}
_NUMBERS = {
    Category.QIB: ("1", "Qualified Institutional Buyers(QIBs)"),
    Category.NII: ("2", "Non Institutional Investors"),
    Category.BNII: ("2.1", "Non Institutional Investors(Bid amount of more than Ten Lakh Rupees)"),
    Category.SNII: ("2.2", "Non Institutional Investors(Bid amount of more than Two Lakh Rupees upto Ten Lakh Rupees)"),
    Category.RETAIL: ("3", "Retail Individual Investors(RIIs)"),
    Category.EMPLOYEE: ("4", "Employees"),
    Category.TOTAL: (None, "Total"),
}
_ARROWS = "▲▼"


def investorgain_board(issues: Sequence[Specimen], layout: Board = Board.JUNE) -> bytes:
    """The board as a page with one table."""
    rows = [_board_row(issue, layout) for issue in issues]
    return _page("IPO GMP Live", _table(rows, "mainTable"))


def investorgain_seen(issues: Sequence[Specimen], layout: Board = Board.JUNE) -> bytes:
    """The board's rows as a browser saw them, mainboard and SME apart and together."""
    rows = [(issue.segment, {f"{k}{_ARROWS}": v for k, v in _board_row(issue, layout).items()}) for issue in issues]
    parts = {"mainboardGMP": Segment.MAINBOARD, "smeGMP": Segment.SME}
    told = {name: [row for segment, row in rows if segment is part] for name, part in parts.items()}
    return _json({"allGMP": [row for _, row in rows], **told})


def investorgain_data(issues: Sequence[Specimen]) -> bytes:
    """The JSON behind the board."""
    rows = []
    for one in issues:
        gmp = "--" if one.gmp is None else _plain(one.gmp)
        rows.append(
            {
                "Name": f'<a href="/gmp/{_slug(one)}/{one.number}/">{escape(one.name)} <span>{_tag(one)}</span></a>',
                "GMP": f"&#8377;<b>{gmp}</b> ({_points(one):.2f}%)",
                "Price (₹)": _plain(one.high),
                "IPO Size": f"₹{one.size_crore:,.2f} Cr",
                "Lot": f"{one.lot:,}",
                "P/E": "-",
                "Sub": _times(one.times(Category.TOTAL), "-"),
                "Open": _short(one.opens),
                "Close": _short(one.closes),
                "BoA Dt": _short(one.allots),
                "Listing": _short(one.lists),
                "Updated-On": f"<small><b>{_stamp(one.at)}</b></small>",
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
    return _json({"msg": 1, "reportTableData": rows})


def investorgain_performance(issues: Sequence[Specimen]) -> bytes:
    """The report of listed issues, with the rating glued to the premium, and `₹0` where there was no quote."""
    rows = []
    for one in issues:
        gmp = Money(0) if one.gmp is None else one.gmp
        codes = one.code if one.exchange == "BSE" else one.symbol
        known = one.listed_at, one.closed_at
        listed, closed = (f"{_plain(p)} ({_over(p, one.high):.2f}%)" if p is not None else "" for p in known)
        rows.append(
            {
                "IPO": f"{one.name} {_kind(one)} ({f'{one.symbol},{one.code}' if _main(one) else codes})",
                "Listing Date": f"{one.lists.day}-{one.lists:%b-%Y}",
                "IPO Size": f"{one.size_crore:,.2f}",
                "Subscription": _times(one.times(Category.TOTAL), ""),
                "GMP": f"₹{_plain(gmp)}{one.rating}🔥Hot inbox",
                "IPO Price": f"₹ {_plain(one.high)}",
                "Estimated Price": f"₹ {_plain(Money(one.high + gmp))} ({100 * gmp / one.high:.2f}%)",
                "Listing Price": listed,
                "Listing Day Closing Price": closed,
            }
        )
    return _page("IPO GMP Performance Tracker", _table(rows, "mainTable"))


def investorgain_days(issue: Specimen, points: Sequence[Point]) -> bytes:
    """An issue's page: a row for each day of its premium."""
    rows = [
        {
            "Date": f"{_ist(point.at):%d-%m-%Y}",
            "IPO Price": _plain(issue.high),
            "GMP": "₹--" if point.gmp is None else f"₹{_plain(point.gmp)}",
            "Sub2 Sauda Rate": "--",
            "Estimated Listing Price": _estimated(issue.high, point.gmp),
            "Last Updated": f"{_ist(point.at):%d-%b-%Y %H:%M}",
        }
        for point in points
    ]
    return _page(f"{issue.name} IPO GMP", _table(rows, ""))


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
                "IPO GMP": "₹-" if one.gmp is None else f"₹{_plain(one.gmp)}",
                "Price": f"₹{_plain(one.high)}",
                "Gain": gain,
                "Date": f"{one.opens.day}-{last}",
                "Kostak": "₹-",
                "Subject": "₹-",
                "Type": kind,
            }
        )
    words = _table([{"What is GMP?": "A premium that nobody guarantees", "": "Ask a broker"}], "")
    line = "" if updated is None else f"<p>Last Updated: {_ist(updated):%B %d, %Y %H:%M}</p>"
    return _page("IPO GMP", line + _table(rows, "tablepress-1") + words)


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
                "Issue Price (Rs.)": f"{_plain(one.low)} to {_plain(one.high)}",
                "Issue Amount (Rs.cr.)": f"{one.size_crore:,.2f}",
                "Close Price on Listing (Rs.)": _plain(closed),
                "% Gain/Loss": f"<span>{_over(closed, one.high):.2f}</span>",
                **{key: f"{day}T00:00:00.000Z" for key, day in dates.items()},
            }
        )
    return _json({"msg": 1, "reportTableData": rows, "totalRecords": len(rows), "totalPages": 1})


def chittorgarh_issue(one: Specimen) -> bytes:
    """An issue's page: its facts, and its bids by category."""
    first, last = one.opens, one.closes
    facts = {
        "IPO Date": f"{first.day} {first:%b, %Y} to {last.day} {last:%b, %Y}",
        "Listed on": f"{one.lists:%a, %b} {one.lists.day}, {one.lists.year}",
        "Price Band": f"₹{_plain(one.low)} to ₹{_plain(one.high)}",
        "Lot Size": f"{one.lot} Shares",
        "Listing At": "BSE, NSE" if _main(one) else f"{one.exchange} SME",
        "Total Issue Size": f"{_indian(one.shares)} shares (agg. up to ₹{one.size_crore:,.2f} Cr)",
        "BSE Script Code / NSE Symbol": f"{one.code} / {one.symbol}",
        "ISIN": one.isin,
    }
    return _page(f"{one.name} IPO", f"<h1>{escape(one.name)} IPO Details</h1>" + _keyed(facts) + _bid_table(one))


def chittorgarh_subscription(one: Specimen, days: Sequence[tuple[date, Mapping[Category, float]]]) -> bytes:
    """The page of an issue's subscription: by category, and for each day of bidding the times of each category."""
    named = {"QIB": Category.QIB, "NII": Category.NII, "Retail": Category.RETAIL, "Total": Category.TOTAL}
    rows = [
        {"Date": f"Day {k} {day:%B} {day.day}, {day.year}", **{n: f"{times[c]:.2f}" for n, c in named.items()}}
        for k, (day, times) in enumerate(days, 1)
    ]
    span = f"{one.opens:%B} {one.opens.day}, {one.opens.year} - {one.closes:%B} {one.closes.day}, {one.closes.year}"
    head = f"<h1>{escape(one.name)} IPO Subscription Details</h1><p>{span}</p>"
    return _page(f"{one.name} IPO Subscription", head + _bid_table(one) + _table(rows, ""))


def nse_issues(issues: Sequence[Specimen]) -> bytes:
    """The list of open and coming issues, with the bids of NSE's own book."""
    rows = [
        _nse_issue(one) | {
            "issueStartDate": f"{one.opens:%d-%b-%Y}",
            "issueEndDate": f"{one.closes:%d-%b-%Y}",
            "issuePrice": f"Rs.{_plain(one.low)} to Rs.{_plain(one.high)}",
            "issueSize": str(one.shares),
            "status": _NSE.get(one.status, "Closed"),
            "category": "Total",
            **_nse_bids(one, Category.TOTAL, "noOfSharesOffered", "noOfTime"),
        }
        for one in issues
    ]  # fmt: skip
    return _json(rows)


def nse_past(issues: Sequence[Specimen]) -> bytes:
    """The list of past issues."""
    rows = [
        {
            "symbol": one.symbol,
            "companyName": one.name,
            "securityType": "EQ" if _main(one) else "SME",
            "ipoStartDate": f"{one.opens:%d-%b-%Y}".upper(),
            "ipoEndDate": f"{one.closes:%d-%b-%Y}".upper(),
            "priceRange": f"Rs.{_plain(one.low)} to Rs.{_plain(one.high)}",
            "issuePrice": f"   {_plain(one.high)}" if one.status is Status.LISTED else None,
            "listingDate": f"{one.lists:%d-%b-%Y}".upper() if one.status is Status.LISTED else "-",
        }
        for one in issues
    ]
    return _json({"data": rows})


def nse_categories(one: Specimen, at: int) -> bytes:
    """The bids of both exchanges by category; `at`: ns UTC."""
    head = {
        "category": "Category", "noOfShareOffered": "No.of shares offered/reserved",
        "noOfSharesBid": "No. of shares bid for", "noOfTotalMeant": "No. of times of total meant for the category",
        "srNo": "Sr.No.",
    }  # fmt: skip
    rows = [
        {"srNo": _NUMBERS[bid.category][0], "category": _NUMBERS[bid.category][1]}
        | _nse_bids(one, bid.category, "noOfShareOffered", "noOfTotalMeant")
        for bid in one.demand
    ]
    return _json(
        {"dataList": [head, *rows], "symbol": None, "updateTime": f"Updated as on {_ist(at):%d-%b-%Y %H:%M:%S}"}
    )


def bse_issues(issues: Sequence[Specimen]) -> bytes:
    """The list of public issues."""
    rows = [
        {
            "Security Name": one.name,
            "Exchange Platform": "MainBoard" if _main(one) else "SME",
            "Start Date": f"{one.opens:%d-%m-%Y}",
            "End Date": f"{one.closes:%d-%m-%Y}",
            "Offer Price (₹)": f"{_plain(one.low)} - {_plain(one.high)}",
            "Face Value": "10",
            "Type Of Issue": "IPO",
            "Issue Status": _BSE.get(one.status, "Closed"),
        }
        for one in issues
    ]
    return _page("Public Issues", _table(rows, ""))


def bse_issue(one: Specimen) -> bytes:
    """An issue's own page."""
    facts = {
        "Symbol": one.symbol,
        "Scrip Code": one.code,
        "Issue Period": f"{one.opens:%d %b %Y} to {one.closes:%d %b %Y}",
        "Price Band": f"{_plain(one.low)}-{_plain(one.high)}",
        "Issue Size (No. of shares)": _indian(one.shares),
        "Market Lot": str(one.lot),
        "Name of the Registrar": "A registrar",
    }
    return _page("Issue", f"<h1>{escape(one.name)}</h1>" + _keyed(facts))


def _board_row(one: Specimen, layout: Board) -> dict[str, str]:
    gmp = f"₹{'--' if one.gmp is None else _plain(one.gmp)} ({_points(one):.2f}%)"
    june = layout is Board.JUNE
    listed = one.listed_at
    mark = f"L@{_plain(listed)} ({_over(listed, one.high):.2f}%)" if listed is not None else _MARKS.get(one.status, "C")
    row = {"Name": f"{one.name} {_kind(one)} {mark}", "GMP": gmp if june else gmp + _stamp(one.at)}
    if layout is Board.SEPTEMBER:
        row["GMP Range (L/H)"] = "-- ↓ / -- ↑" if one.gmp is None else f"{_plain(one.gmp)} ↓ / {_plain(one.gmp)} ↑"
    row |= {"Fire Rating": "🔥" * one.rating, "Sub": _times(one.times(Category.TOTAL), ""), "Price": _plain(one.high)}
    row |= {"Est Listing": _estimated(one.high, one.gmp)} if june else {}
    row |= {"IPO Size": f"₹{one.size_crore:.2f} Cr", "Lot": f"{one.lot:,}", "Open": _short(one.opens)}
    row |= {"Close": _short(one.closes), "BoA Dt": _short(one.allots), "Listing": _short(one.lists)}
    return row | ({"GMP Updated": _stamp(one.at)} if june else {})


def _estimated(price: Money, gmp: Money | None) -> str:
    return f"{_plain(Money(price + (gmp or 0)))} ({100 * (gmp or 0) / price:.2f}%)"


def _bid_table(one: Specimen) -> str:
    rows = [
        {
            "Category": bid.category.value.upper()
            if bid.category in (Category.QIB, Category.NII)
            else bid.category.value,
            "Subscription (times)": "[.]" if bid.times is None else f"{bid.times:.2f}",
            "Shares Offered": _indian(bid.offered or 0),
            "Shares bid for": _indian(bid.bid or 0),
        }
        for bid in one.demand
    ]
    return _table(rows, "")


def _nse_issue(one: Specimen) -> dict[str, str]:
    return {"companyName": one.name, "symbol": one.symbol, "series": "EQ" if _main(one) else "SME"}


def _nse_bids(one: Specimen, category: Category, offered: str, times: str) -> dict[str, str]:
    bid = next((b for b in one.demand if b.category is category), None)
    if bid is None or bid.offered is None or bid.bid is None:
        return {}
    return {offered: f"{bid.offered}.0", "noOfsharesBid" if times == "noOfTime" else "noOfSharesBid": f"{bid.bid}.0",
            times: "" if bid.times is None else repr(bid.times)}  # fmt: skip


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


def _plain(amount: Money) -> str:
    exact = decimal(amount)
    return f"{exact:f}".rstrip("0").rstrip(".") if exact is not None else "--"


def _times(times: float | None, nothing: str) -> str:
    return nothing if times is None else f"{times:.2f}x"


def _short(day: date) -> str:
    return f"{day.day}-{day:%b}"


def _ist(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1_000_000_000, IST)


def _stamp(at: int) -> str:
    moment = _ist(at)
    return f"{_short(moment.date())} {moment.hour}:{moment:%M}"


def _indian(number: int) -> str:
    head, tail = str(number)[:-3], str(number)[-3:]
    groups = [head[max(0, k - 2) : k] for k in range(len(head), 0, -2)][::-1]
    return ",".join([*groups, tail])


def _json(said: object) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()


def _keyed(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f"<table><tbody>{rows}</tbody></table>"


def _table(rows: Sequence[Mapping[str, str]], name: str) -> str:
    if not rows:
        return f'<table id="{name}"></table>'
    head = "".join(f"<th>{escape(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{v if '<' in v else escape(v)}</td>" for v in row.values()) + "</tr>" for row in rows
    )
    return f'<table id="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _page(title: str, content: str) -> bytes:
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    return f"<!DOCTYPE html>\n<html>{head}<body>{content}</body></html>".encode()
