"""Chittorgarh: the facts of issues, their subscription by category and day, and what came of them. No premiums.

Its reports are JSON (`reportTableData`; 82 list, 118 timetable, 25 listings, 21 live subscription); the pages around
them are shells without a table, and a shell is a changed layout, not an empty list. An issue's page is HTML: tables of
keys and values, the subscription, the prices of the first day. Its gain is by the close of that day, and a close that
is not known is written as the issue price with 0.00 %. ISO dates are midnight Z of a date in India: the date is taken
as it stands. Numbers are grouped in both ways on one page. Market makers are left out of the subscription of SME
issues. Source: www.chittorgarh.com, pages of 2019 to 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

from market.codecs import Call
from market.errors import BadPayload, LayoutChanged
from market.ipo import cells
from market.ipo.kinds import Kind, Segment
from market.ipo.pages import Layout, Page, PageKind, Row, Sheet
from market.ipo.readings import Book, Category, Demand, IssueFacts, SubscriptionReading
from market.ipo.sources import Address, Policy, headers
from market.ipo.tables import Document, Grid, Table, barred, document, grid, parsed, shape
from market.money import Money

ROOT = "https://www.chittorgarh.com"
DATA = "https://webnodejs.chittorgarh.com/cloud/report/data-read"
REPORTS = {PageKind.LIST: 82, PageKind.TIMETABLE: 118, PageKind.PERFORMANCE: 25, PageKind.SUBSCRIPTION: 21}

REPORT = Layout(
    "report",
    {
        "company": "name", "company name": "name", "issuer company": "name", "issue type": "segment",
        "issue category": "segment", "opening date": "opens", "open date": "opens", "closing date": "closes",
        "close date": "closes", "allotment date": "allots", "listing date": "lists", "~issue open date": "opens iso",
        "~issue close date": "closes iso", "~timetable boa dt": "allots iso", "~timetable refunds dt": "refunds iso",
        "~ipo listing date": "lists iso", "~il ipo listing date": "lists iso", "issue price rs": "band",
        "issue price": "band", "issue amount rs cr": "size", "issue size rs cr": "size", "amount rs cr": "size",
        "listing at": "listing at", "isin": "isin", "bse scrip code": "code", "nse symbol": "symbol",
        "close price on listing rs": "closed at", "% gain loss": "gain", "lot size": "lot",
    },
    frozenset({"name", "opens"}),
    frozenset(
        {
            "~id", "~urlrewrite folder name", "~highlight row", "~orderdate", "~compare name", "~compare image",
            "lead manager", "lead managers", "left lead manager", "compare",
        }
    ),
)  # fmt: skip
_BIDS = {
    "qib": "qib", "qib x": "qib", "nii": "nii", "nii x": "nii", "bnii": "bnii", "bnii x": "bnii", "snii": "snii",
    "snii x": "snii", "retail": "retail", "retail x": "retail", "rii": "retail", "individual investor": "retail",
    "emp": "employee", "employee": "employee", "employees": "employee", "employee x": "employee",
    "shareholder": "shareholder", "shareholders": "shareholder", "others": "other", "others x": "other",
    "total": "total", "total x": "total",
}  # fmt: skip
LIVE = Layout(
    "live subscription",
    _BIDS | {"company": "name", "company name": "name", "close date": "closes", "closing date": "closes",
             "issue type": "segment", "issue category": "segment", "open date": "opens", "opening date": "opens"},
    frozenset({"name", "total"}),
    frozenset({"size rs cr", "issue size rs cr", "~id", "~urlrewrite folder name", "applications"}),
)  # fmt: skip
CATEGORIES = Layout(
    "categories",
    {
        "investor category": "category", "category": "category", "subscription times": "times",
        "shares offered": "offered", "shares bid for": "bid",
    },
    frozenset({"category", "times", "offered", "bid"}),
    frozenset({"total amount rs cr", "total application"}),
)  # fmt: skip
DAYS = Layout("days", _BIDS | {"date": "day"}, frozenset({"day", "qib", "total"}))
RESERVED = Layout(
    "reservation",
    {"category": "category", "shares offered": "offered", "amount rs cr": "amount", "size %": "part"},
    frozenset({"category", "offered", "amount"}),
)
_LAYOUTS = (CATEGORIES, DAYS, RESERVED)
_TRADING = frozenset({"price details", "bse", "nse"})
_WORDS = {
    "qualified institutions": Category.QIB, "qualified institutional": Category.QIB, "qib": Category.QIB,
    "qib ex anchor": Category.QIB, "non institutional buyers": Category.NII, "non institutional": Category.NII,
    "nii": Category.NII, "bnii": Category.BNII, "snii": Category.SNII, "retail investors": Category.RETAIL,
    "retail": Category.RETAIL, "individual investors": Category.RETAIL, "employees": Category.EMPLOYEE,
    "employee": Category.EMPLOYEE, "shareholders": Category.SHAREHOLDER, "policyholders": Category.POLICYHOLDER,
    "market maker": Category.MARKET_MAKER, "anchor investors": Category.ANCHOR, "others": Category.OTHER,
    "total": Category.TOTAL,
}  # fmt: skip
SEGMENTS: Mapping[str, tuple[Segment | None, Kind]] = {
    "mainboard": (Segment.MAINBOARD, Kind.IPO),
    "mainboard ipo": (Segment.MAINBOARD, Kind.IPO),
    "mainboard fpo": (Segment.MAINBOARD, Kind.FPO),
    "sme": (Segment.SME, Kind.IPO),
    "sme ipo": (Segment.SME, Kind.IPO),
    "sme fpo": (Segment.SME, Kind.FPO),
    "reit": (None, Kind.REIT),
    "invit": (None, Kind.INVIT),
}
_NUMBERED = re.compile(r"Day\s+([0-9]{1,2})\s+(.+)")
_BY_DAY = re.compile(r"\bby ([A-Z][a-z]+ [0-9]{1,2}, 20[0-9]{2}) \(Day ([0-9]{1,2})\)")
_SPAN = re.compile(r"[A-Z][a-z]+ [0-9]{1,2}, 20[0-9]{2} - [A-Z][a-z]+ [0-9]{1,2}, 20[0-9]{2}")
_CLOSING = re.compile(r"\s+(?:Ltd\.?|Limited)?\s*IPO\s*(?:Details|Subscription.*)?$")


class Chittorgarh:
    """Satisfies `Source`."""

    name = "chittorgarh"
    policy = Policy(gap=5.0, every=1800.0, largest=4 << 20)

    def __init__(self, root: str = DATA) -> None:
        self.root = root

    def addresses(self, day: date) -> list[Address]:
        """The first page of each report for a day's year."""
        begun = day.year if day.month >= 4 else day.year - 1
        when = f"1/{day.month}/{day.year}/{begun}-{(begun + 1) % 100:02}/0/all"
        say = headers(f"{ROOT}/", "application/json")
        return [Address(k, Call(f"{self.root}/{report}/{when}?search=&v=", say)) for k, report in REPORTS.items()]

    def issue(self, slug: str, number: int) -> list[Address]:
        """An issue's own page and that of its subscription."""
        say = headers(f"{ROOT}/", "text/html")
        return [
            Address(PageKind.ISSUE, Call(f"{ROOT}/ipo/{slug}/{number}/", say)),
            Address(PageKind.SUBSCRIPTION, Call(f"{ROOT}/ipo_subscription/{slug}/{number}/", say)),
        ]

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What a report or an issue's page tells; `key`: the issue's name where its page has no headline.

        Raises BadPayload, LayoutChanged.
        """
        sheet = Sheet(self.name, kind, body, received, key)
        form = shape(self.name, body)
        if form == "json" and kind in REPORTS:
            return sheet.page(may_be_empty=self._report(sheet, parsed(self.name, body)))
        if kind not in (PageKind.ISSUE, PageKind.SUBSCRIPTION):
            if form == "html":
                document(self.name, body)  # a shell raises here, by its own name
                raise LayoutChanged(self.name, body, "a page where a report's JSON is due")
            raise BadPayload(self.name, body, f"neither JSON nor a page of kind {kind}")
        if form == "text":
            found = barred(self.name, body, [start for layout in _LAYOUTS for start in layout.starts()])
            words = body.decode("utf-8-sig")
            page = Document("", _headline(words), " ".join(words.split()), found)
        else:
            page = document(self.name, body)
        name = _CLOSING.sub("", page.headline) or key
        if kind is PageKind.ISSUE:
            self._facts(sheet, page, name)
        self._bids(sheet, page, name)
        return sheet.page()

    def _report(self, sheet: Sheet, said: Any) -> bool:
        if isinstance(said, Mapping) and "reportTableData" not in said:
            if "Company" not in said:
                raise BadPayload(self.name, sheet.body, f"refused: {str(said.get('error', said.get('msg')))[:120]}")
            said = [said]
        rows = said["reportTableData"] if isinstance(said, Mapping) else said
        found = grid(self.name, sheet.body, "reportTableData", rows)
        layout = LIVE if sheet.kind is PageKind.SUBSCRIPTION else REPORT
        sheet.read(found, layout, partial(self._live if layout is LIVE else self._row, sheet))
        return not found.rows

    def _row(self, sheet: Sheet, row: Row) -> None:
        segment, kind = row.read("segment", _segment) or (_by_exchange(row.text("listing at")), None)
        low, high = row.read("band", cells.band) or (None, None)
        closed = row.read("closed at", cells.price)
        if closed == high and not row.read("gain", cells.points):
            closed = None  # how it writes a close that it does not know
        facts = {
            "source": self.name, "name": row.text("name"), "symbol": row.read("symbol", cells.symbol),
            "code": row.read("code", cells.code), "isin": row.read("isin", cells.isin), "segment": segment,
            "kind": kind, "exchange": _exchange(row.text("listing at")), "place": row.place, "cells": row.cells,
            "low": low, "high": high, "lot": row.read("lot", cells.count), "size_crore": row.read("size", cells.crore),
            "closed_at": closed, **_dates(sheet, row, "opens", "closes", "allots", "refunds", "lists"),
        }  # fmt: skip
        sheet.add(row, lambda: IssueFacts.model_validate(facts))

    def _live(self, sheet: Sheet, row: Row) -> None:
        segment, kind = row.read("segment", _segment) or (None, None)
        told = {
            "source": self.name, "name": row.text("name"), "segment": segment, "kind": kind, "place": row.place,
            "cells": row.cells, "demand": _demands(row), **_dates(sheet, row, "opens"),
        }  # fmt: skip
        sheet.add(row, lambda: SubscriptionReading.model_validate(told))

    def _facts(self, sheet: Sheet, page: Document, name: str) -> None:
        pairs: dict[str, str] = {}
        for table in page.tables:
            for key, value in table.pairs().items():
                pairs.setdefault(key, value)
        where = pairs.get("listing at", "")
        found = Grid("pairs", tuple(pairs), [tuple(pairs.values())])
        sheet.read(found, _pairs_layout(found), partial(self._issue, sheet, name, where, _first_day(page.tables)))

    def _issue(self, sheet: Sheet, name: str, where: str, first: Mapping[str, Sequence[str]], row: Row) -> None:
        low, high = row.read("band", cells.band) or row.read("price", cells.band) or (None, None)
        opens, closes = row.read("period", lambda cell: cells.span(cell, sheet.near)) or (None, None)
        symbol, code = row.read("codes", cells.codes) or (None, None)
        facts = {
            "source": self.name, "name": name, "symbol": symbol, "code": code, "isin": row.read("isin", cells.isin),
            "segment": _by_exchange(where), "exchange": _exchange(where), "place": row.place, "cells": row.cells,
            "low": low, "high": high, "lot": row.read("lot", cells.count), "shares": row.read("size", cells.shares),
            "size_crore": row.read("size", _aggregate), "opens": opens, "closes": closes,
            "lists": row.read("lists", lambda cell: cells.day(cell, sheet.near)),
            "listed_at": _traded(first.get("open")), "closed_at": _traded(first.get("last trade")),
        }  # fmt: skip
        sheet.add(row, lambda: IssueFacts.model_validate(facts))

    def _bids(self, sheet: Sheet, page: Document, name: str) -> None:
        by_day = _BY_DAY.search(page.words)
        opens = _opens(sheet, page)
        for table in page.tables:
            layout, under = _under(table)
            if layout is CATEGORIES and under is not None:
                rows: list[tuple[Row, Demand]] = []
                sheet.read(under, CATEGORIES, partial(_category_row, rows))
                demand = tuple(one for _, one in rows)
                told = {
                    "source": self.name, "name": name, "demand": demand, "book": Book.ALL, "place": under.place,
                    "cells": tuple(cell for row, _ in rows for cell in row.cells),
                    "opens": opens, "day": cells.day(by_day[1], sheet.near) if by_day else None,
                    "number": int(by_day[2]) if by_day else None,
                }  # fmt: skip
                if any(one.times is not None for one in demand):
                    sheet.add(rows[0][0], partial(SubscriptionReading.model_validate, told))
            elif layout is DAYS and under is not None:
                sheet.read(under, DAYS, partial(self._day, sheet, name, opens))

    def _day(self, sheet: Sheet, name: str, opens: date | None, row: Row) -> None:
        found = _NUMBERED.fullmatch(row.text("day"))
        if found is None:
            raise ValueError(f"{row.text('day')[:40]!r} is no numbered day")
        told = {
            "source": self.name, "name": name, "demand": _demands(row), "book": Book.ALL, "number": int(found[1]),
            "opens": opens, "day": cells.day(found[2], sheet.near), "place": row.place, "cells": row.cells,
        }  # fmt: skip
        sheet.add(row, lambda: SubscriptionReading.model_validate(told))


def _pairs_layout(found: Grid) -> Layout:
    fields = {
        "ipo date": "period", "issue date": "period", "listed on": "lists", "tentative listing date": "lists",
        "price band": "band", "issue price": "price", "lot size": "lot", "listing at": "where",
        "total issue size": "size", "issue size": "size", "bse script code nse symbol": "codes", "isin": "isin",
    }  # fmt: skip
    # Everything else of such a page is words about the company.
    return Layout("issue", fields, frozenset({"period"}), frozenset(found.headings) - fields.keys())


def _opens(sheet: Sheet, page: Document) -> date | None:
    told = next((p["ipo date"] for p in (table.pairs() for table in page.tables) if "ipo date" in p), None)
    found = _SPAN.search(page.words)
    try:
        span = cells.span(told or (found[0] if found else ""), sheet.near)
    except ValueError:
        return None  # the page's facts refuse the same words
    return span[0] if span else None


def _under(table: Table) -> tuple[Layout | None, Grid | None]:
    for layout in _LAYOUTS:
        for start in layout.starts():
            if (found := table.under(start)) is not None:
                return layout, found
    return None, None


def _category_row(rows: list[tuple[Row, Demand]], row: Row) -> None:
    words = " ".join(re.sub(r"[^a-z]+", " ", row.text("category").lower()).split())
    if words not in _WORDS:
        raise ValueError(f"{row.text('category')[:40]!r} is no category of bidders")
    offered = row.read("offered", cells.count)
    times = None if offered == 0 else row.read("times", cells.times)
    bid = row.read("bid", cells.count)
    rows.append((row, Demand(category=_WORDS[words], times=times, offered=offered, bid=bid)))


def _demands(row: Row) -> tuple[Demand, ...]:
    found = [(category, row.read(category.value, cells.times)) for category in Category]
    demand = tuple(Demand(category=category, times=times) for category, times in found if times is not None)
    if not demand:
        raise ValueError("no category has a number of times")
    return demand


def _dates(sheet: Sheet, row: Row, *names: str) -> dict[str, date | None]:
    near = sheet.near
    return {
        name: row.read(f"{name} iso", lambda cell: cells.day(cell, near))
        or row.read(name, lambda c: cells.day(c, near))
        for name in names
    }


def _segment(cell: str) -> tuple[Segment | None, Kind] | None:
    words = " ".join(cell.lower().replace("-", " ").split())
    if cells.missing(cell):
        return None
    if words not in SEGMENTS:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(SEGMENTS)}")
    return SEGMENTS[words]


def _by_exchange(where: str) -> Segment | None:
    if "SME" in where.upper():
        return Segment.SME
    return Segment.MAINBOARD if _exchange(where) else None


def _exchange(where: str) -> str | None:
    return ", ".join(name for name in ("BSE", "NSE") if name in where.upper()) or None


def _aggregate(cell: str) -> float | None:
    found = re.search(r"up to (₹[^()]{1,40})\)", cell)
    return cells.crore(found[1]) if found else None


def _first_day(found: Sequence[Table]) -> dict[str, Sequence[str]]:
    for table in found:
        under = table.under(_TRADING)
        if under is not None:
            return {row[0].lower(): row[1:] for row in under.rows if len(row) == len(under.headings)}
    return {}


def _traded(prices: Sequence[str] | None) -> Money | None:
    # The last column is NSE's, the one before it BSE's.
    return next((p for p in (cells.price(cell) for cell in reversed(prices or ())) if p is not None), None)


def _headline(words: str) -> str:
    return next((line for line in words.splitlines() if line.endswith("IPO Subscription Details")), "")
