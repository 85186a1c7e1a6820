"""Specimens of the exchanges' pages: their lists, an issue's bids, an issue's own page. See `specimens`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from market.ipo import written
from market.ipo.kinds import Segment
from market.ipo.readings import Category, Status
from market.ipo.specimens import Specimen

_NSE = {Status.OPEN: "Active", Status.UPCOMING: "Forthcoming", Status.CLOSED: "Closed"}
_BSE = {Status.OPEN: "Live", Status.UPCOMING: "Forthcoming", Status.CLOSED: "Closed", Status.LISTED: "Listed"}
_NUMBERS: dict[Category, tuple[str | None, str]] = {
    Category.QIB: ("1", "Qualified Institutional Buyers(QIBs)"),
    Category.NII: ("2", "Non Institutional Investors"),
    Category.BNII: ("2.1", "Non Institutional Investors(Bid amount of more than Ten Lakh Rupees)"),
    Category.SNII: ("2.2", "Non Institutional Investors(Bid amount of more than Two Lakh Rupees upto Ten Lakh Rupees)"),
    Category.RETAIL: ("3", "Retail Individual Investors(RIIs)"),
    Category.EMPLOYEE: ("4", "Employees"),
    Category.TOTAL: (None, "Total"),
}


def nse_issues(issues: Sequence[Specimen]) -> bytes:
    """The list of open and coming issues, with the bids of NSE's own book."""
    rows = [
        _nse_issue(one) | {
            "issueStartDate": f"{one.opens:%d-%b-%Y}",
            "issueEndDate": f"{one.closes:%d-%b-%Y}",
            "issuePrice": f"Rs.{written.plain(one.low)} to Rs.{written.plain(one.high)}",
            "issueSize": str(one.shares),
            "status": _NSE.get(one.status, "Closed"),
            "category": "Total",
            **_nse_bids(one, Category.TOTAL, "noOfSharesOffered", "noOfTime"),
        }
        for one in issues
    ]  # fmt: skip
    return written.body(rows)


def nse_past(issues: Sequence[Specimen]) -> bytes:
    """The list of past issues."""
    rows = [
        {
            "symbol": one.symbol,
            "companyName": one.name,
            "securityType": "EQ" if _main(one) else "SME",
            "ipoStartDate": f"{one.opens:%d-%b-%Y}".upper(),
            "ipoEndDate": f"{one.closes:%d-%b-%Y}".upper(),
            "priceRange": f"Rs.{written.plain(one.low)} to Rs.{written.plain(one.high)}",
            "issuePrice": f"   {written.plain(one.high)}" if one.status is Status.LISTED else None,
            "listingDate": f"{one.lists:%d-%b-%Y}".upper() if one.status is Status.LISTED else "-",
        }
        for one in issues
    ]
    return written.body({"data": rows})


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
    return written.body(
        {"dataList": [head, *rows], "symbol": None, "updateTime": f"Updated as on {written.ist(at):%d-%b-%Y %H:%M:%S}"}
    )


def bse_issues(issues: Sequence[Specimen]) -> bytes:
    """The list of public issues."""
    rows = [
        {
            "Security Name": one.name,
            "Exchange Platform": "MainBoard" if _main(one) else "SME",
            "Start Date": f"{one.opens:%d-%m-%Y}",
            "End Date": f"{one.closes:%d-%m-%Y}",
            "Offer Price (₹)": f"{written.plain(one.low)} - {written.plain(one.high)}",
            "Face Value": "10",
            "Type Of Issue": "IPO",
            "Issue Status": _BSE.get(one.status, "Closed"),
        }
        for one in issues
    ]
    return written.page("Public Issues", written.table(rows, ""))


def bse_issue(one: Specimen) -> bytes:
    """An issue's own page."""
    facts = {
        "Symbol": one.symbol,
        "Scrip Code": one.code,
        "Issue Period": f"{one.opens:%d %b %Y} to {one.closes:%d %b %Y}",
        "Price Band": f"{written.plain(one.low)}-{written.plain(one.high)}",
        "Issue Size (No. of shares)": written.indian(one.shares),
        "Market Lot": str(one.lot),
        "Name of the Registrar": "A registrar",
    }
    return written.page("Issue", f"<h1>{escape(one.name)}</h1>" + written.keyed(facts))


def _nse_issue(one: Specimen) -> dict[str, str | None]:
    return {"companyName": one.name, "symbol": one.symbol, "series": "EQ" if _main(one) else "SME"}


def _nse_bids(one: Specimen, category: Category, offered: str, times: str) -> dict[str, str | None]:
    bid = next((b for b in one.demand if b.category is category), None)
    if bid is None or bid.offered is None or bid.bid is None:
        return {}
    return {offered: f"{bid.offered}.0", "noOfsharesBid" if times == "noOfTime" else "noOfSharesBid": f"{bid.bid}.0",
            times: "" if bid.times is None else repr(bid.times)}  # fmt: skip


def _main(one: Specimen) -> bool:
    return one.segment is Segment.MAINBOARD
