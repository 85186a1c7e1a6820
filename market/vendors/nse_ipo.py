"""NSE's issues: what is open, what comes, what was, how often each is subscribed, and an issue's own page; JSON alone.

Numbers are words, some with an exponent (`2.1143029E7`), some empty. `issueSize` is in shares. The list of open issues
counts the bids of one exchange: NSE's, or BSE's where `isBse` is set; the table of categories counts both. Those go by
`srNo`, not by their words: `Others` stands there three times. A re-filed issue keeps its symbol, so a subscription is
bound to the day the issue opened. An answer of HTML means that the site's page must be visited first. Source:
www.nseindia.com, payloads of 2024-03-26, 2026-08-22 and 2026-10-01.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from market.codecs import Call
from market.errors import BadPayload, BadValue, LayoutChanged
from market.ipo import cells
from market.ipo.kinds import Kind, Segment
from market.ipo.pages import Layout, Page, PageKind, Row, Sheet
from market.ipo.readings import Book, Category, Demand, IssueFacts, Status, SubscriptionReading
from market.ipo.sources import Address, Policy, headers
from market.ipo.tables import grid, heading, parsed

ROOT = "https://www.nseindia.com"
PAST_DAYS = 60

ISSUES = Layout(
    "issues",
    {
        "symbol": "symbol", "companyname": "name", "series": "series", "issuestartdate": "opens",
        "issueenddate": "closes", "status": "status", "issuesize": "shares", "issueprice": "band",
        "noofsharesoffered": "offered", "noofsharesbid": "bid", "nooftime": "times", "isbse": "bse",
    },
    frozenset({"symbol", "name", "series", "opens", "closes"}),
    frozenset({"category", "srno", "sr no", "lotsize", "sharesoffered", "issuetype"}),
)  # fmt: skip
PAST = Layout(
    "past issues",
    {
        "symbol": "symbol", "companyname": "name", "securitytype": "series", "ipostartdate": "opens",
        "ipoenddate": "closes", "pricerange": "band", "issueprice": "price", "listingdate": "lists",
    },
    frozenset({"symbol", "name", "series", "opens", "closes"}),
    frozenset({"company"}),
)  # fmt: skip
BIDS = Layout(
    "categories",
    {
        "category": "category", "srno": "number", "noofshareoffered": "offered", "noofsharesbid": "bid",
        "nooftotalmeant": "times",
    },
    frozenset({"category", "number", "times"}),
)  # fmt: skip
ISSUE = Layout(
    "issue",
    {
        "symbol": "symbol", "issue period": "period", "price range": "band", "lot size": "lot",
        "minimum order quantity": "lot", "issue size": "size",
    },
    frozenset({"symbol", "period"}),
)  # fmt: skip
SERIES: Mapping[str, tuple[Segment | None, Kind]] = {
    "EQ": (Segment.MAINBOARD, Kind.IPO),
    "BE": (Segment.MAINBOARD, Kind.IPO),
    "SME": (Segment.SME, Kind.IPO),
    "SM": (Segment.SME, Kind.IPO),
    "ST": (Segment.SME, Kind.IPO),
    "IV": (None, Kind.INVIT),
    "RR": (None, Kind.REIT),
    "DEBT": (None, Kind.OTHER),
}
STATUS = {"active": Status.OPEN, "forthcoming": Status.UPCOMING, "closed": Status.CLOSED}
_NUMBERS = {
    "1": (Category.QIB, "qualified"),
    "2": (Category.NII, "non institutional"),
    "2.1": (Category.BNII, "more than ten lakh"),
    "2.2": (Category.SNII, "upto ten lakh"),
    "3": (Category.RETAIL, "individual"),
    "4": (Category.EMPLOYEE, "employee"),
}
_WORDS = {
    "shareholder": Category.SHAREHOLDER,
    "policyholder": Category.POLICYHOLDER,
    "market maker": Category.MARKET_MAKER,
}
_UPDATED = re.compile(r"updated as on\s*(.*)", re.IGNORECASE)


class NseIssues:
    """Satisfies `Source`."""

    name = "nse"
    policy = Policy(gap=2.0, every=900.0, largest=4 << 20, visit=f"{ROOT}/market-data/all-upcoming-issues-ipo")

    def addresses(self, day: date) -> list[Address]:
        """What comes, what is open, and what was issued in the last `PAST_DAYS`."""
        past = f"from_date={day - timedelta(days=PAST_DAYS):%d-%m-%Y}&to_date={day:%d-%m-%Y}"
        asked = [
            (PageKind.UPCOMING, "all-upcoming-issues?category=ipo"),
            (PageKind.LIST, "ipo-current-issue"),
            (PageKind.PAST, f"public-past-issues?{past}"),
        ]
        return [Address(kind, self._call(path)) for kind, path in asked]

    def issue(self, symbol: str) -> list[Address]:
        """An issue's own page and its bids by category."""
        safe = quote(symbol, safe="")
        return [
            Address(PageKind.ISSUE, self._call(f"ipo-detail?symbol={safe}")),
            Address(PageKind.SUBSCRIPTION, self._call(f"ipo-active-category?symbol={safe}&issueType=ipo")),
        ]

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What an answer tells; `key`: of `SUBSCRIPTION`, the symbol, which the answer leaves out.

        Raises BadPayload, LayoutChanged, BadValue for a missing key.
        """
        if kind is PageKind.SUBSCRIPTION and not key:
            raise BadValue("key", key, "the symbol whose bids they are")
        said = parsed(self.name, body)
        sheet = Sheet(self.name, kind, body, received, key)
        match kind:
            case PageKind.UPCOMING | PageKind.LIST:
                self._list(sheet, said, ISSUES)
            case PageKind.PAST:
                self._list(sheet, said, PAST)
            case PageKind.SUBSCRIPTION:
                self._bids(sheet, said, key)
            case PageKind.ISSUE:
                self._issue(sheet, said)
            case _:
                raise BadPayload(self.name, body[:1024], f"it has no page of kind {kind}")
        return sheet.page(may_be_empty=kind in (PageKind.UPCOMING, PageKind.LIST, PageKind.PAST))

    def _call(self, path: str) -> Call:
        return Call(f"{ROOT}/api/{path}", headers(self.policy.visit or ROOT, "application/json"))

    def _list(self, sheet: Sheet, said: Any, layout: Layout) -> None:
        rows = said.get("data") if isinstance(said, Mapping) else said
        found = grid(self.name, sheet.body, "data", rows)
        sheet.read(found, layout, partial(self._row, sheet))

    def _row(self, sheet: Sheet, row: Row) -> None:
        segment, kind = row.read("series", _series) or (None, None)
        other = row.text("bse") == "1"
        symbol = row.read("symbol", cells.symbol)
        issue = {
            "source": self.name,
            "name": row.text("name"),
            "symbol": symbol,
            "segment": segment,
            "kind": kind,
            "exchange": "BSE" if other else "NSE",
            "place": row.place,
            "cells": row.cells,
            "opens": row.read("opens", lambda cell: cells.day(cell, sheet.near)),
        }
        price = row.read("price", cells.price)
        low, high = row.read("band", cells.band) or (price, price)
        facts = {
            "status": row.read("status", _status) or Status.UNKNOWN,
            "low": low,
            "high": high,
            "shares": row.read("shares", cells.count),
            "closes": row.read("closes", lambda cell: cells.day(cell, sheet.near)),
            "lists": row.read("lists", lambda cell: cells.day(cell, sheet.near)),
        }
        sheet.add(row, lambda: IssueFacts.model_validate(issue | facts))
        total = _demand(row, Category.TOTAL)
        if total.times is not None:
            book = Book.BSE if other else Book.NSE
            sheet.add(row, lambda: SubscriptionReading.model_validate(issue | {"demand": (total,), "book": book}))

    def _bids(self, sheet: Sheet, said: Any, key: str, name: str = "", opens: date | None = None) -> None:
        rows = said.get("dataList") if isinstance(said, Mapping) else None
        if not isinstance(rows, list):
            raise LayoutChanged(self.name, sheet.body, "no dataList of categories")
        found = grid(self.name, sheet.body, "dataList", rows)
        demand: list[Demand] = []
        places: list[Row] = []

        def read(row: Row) -> None:
            category = _category(row)
            if category is not None:
                demand.append(_demand(row, category))
                places.append(row)

        sheet.read(found, BIDS, read)
        if not any(one.times is not None for one in demand):
            return
        updated = _UPDATED.fullmatch(str(said.get("updateTime"))[: cells.VALUE])
        told = {
            "source": self.name, "name": name or key, "symbol": key, "exchange": "NSE", "book": Book.ALL,
            "demand": tuple(demand), "place": found.place, "opens": opens,
            "cells": tuple(cell for row in places for cell in row.cells),
        }  # fmt: skip

        def reading() -> SubscriptionReading:
            at = cells.stamp(updated[1], sheet.received) if updated else None
            return SubscriptionReading.model_validate(told | {"at": at})

        sheet.add(places[0], reading)

    def _issue(self, sheet: Sheet, said: Any) -> None:
        info = said.get("issueInfo") if isinstance(said, Mapping) else None
        rows = info.get("dataList") if isinstance(info, Mapping) else None
        if not isinstance(info, Mapping) or not isinstance(rows, list):
            raise LayoutChanged(self.name, sheet.body, "no issueInfo with a dataList")
        pairs = {
            str(row["title"]).strip(): str(row.get("value", ""))[: cells.LONGEST]
            for row in rows
            if isinstance(row, Mapping) and row.get("title")
        }
        known = {title: value for title, value in pairs.items() if heading(title) in ISSUE.fields}
        found = grid(self.name, sheet.body, "issueInfo", [known])
        name = str(info.get("heading") or "")
        opened: list[date] = []
        sheet.read(found, ISSUE, partial(self._facts, sheet, name, opened))
        bids, symbol = said.get("activeCat"), str(info.get("symbol") or pairs.get("Symbol", ""))
        if isinstance(bids, Mapping) and bids.get("dataList") and symbol:
            self._bids(sheet, bids, symbol, name, opened[0] if opened else None)

    def _facts(self, sheet: Sheet, name: str, opened: list[date], row: Row) -> None:
        low, high = row.read("band", cells.band) or (None, None)
        opens, closes = row.read("period", lambda cell: cells.span(cell, sheet.near)) or (None, None)
        opened += [opens] if opens else []
        # Only an issue of the SME platform reserves a part for a market maker.
        sme = "market maker" in row.text("size").lower()
        symbol = row.read("symbol", cells.symbol)
        facts = {
            "source": self.name, "name": name or symbol or "", "symbol": symbol, "exchange": "NSE", "place": row.place,
            "cells": row.cells, "segment": Segment.SME if sme else None, "low": low, "high": high,
            "lot": row.read("lot", cells.count), "shares": row.read("size", cells.shares), "opens": opens,
            "closes": closes,
        }  # fmt: skip
        sheet.add(row, lambda: IssueFacts.model_validate(facts))


def _series(cell: str) -> tuple[Segment | None, Kind] | None:
    if cells.missing(cell):
        return None
    if cell.upper() not in SERIES:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(SERIES)}")
    return SERIES[cell.upper()]


def _status(cell: str) -> Status | None:
    if cell.lower() not in STATUS:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(STATUS)}")
    return STATUS[cell.lower()]


def _category(row: Row) -> Category | None:
    number, words = row.text("number"), row.text("category").lower()
    if number in _NUMBERS:
        category, word = _NUMBERS[number]
        if word not in words:
            raise ValueError(f"category {number} is {words[:60]!r}, {word} is due")
        return category
    if words == "total":
        return Category.TOTAL
    if not re.fullmatch(r"[0-9]+", number):
        return None  # the row of headings, or a part of a category
    return next((category for word, category in _WORDS.items() if word in words), Category.OTHER)


def _demand(row: Row, category: Category) -> Demand:
    offered, bid = row.read("offered", cells.count), row.read("bid", cells.count)
    times = None if offered == 0 else row.read("times", cells.times)
    return Demand(category=category, times=times, offered=offered, bid=bid)
