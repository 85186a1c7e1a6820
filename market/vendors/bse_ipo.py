"""BSE's issues: the list of public issues and an issue's own page, HTML both.

The list has every kind of offer (rights, buy-backs, bonds): only `IPO` and `FPO` are of shares that come to the market.
Its dates are `DD-MM-YYYY`. The site answers plain clients badly, and may be absent for days: nothing depends on it. An
SME issue has a code of six digits and often no symbol. Source: www.bseindia.com/publicissue.html and
DisplayIPO.aspx as described by public projects; no page of it could be recorded.
"""

from __future__ import annotations

from datetime import date
from functools import partial
from urllib.parse import urlencode

from market.codecs import Call
from market.errors import BadPayload
from market.ipo import cells
from market.ipo.kinds import Kind, Segment
from market.ipo.pages import Layout, Page, PageKind, Row, Sheet
from market.ipo.readings import IssueFacts, Status
from market.ipo.sources import Address, Policy, headers
from market.ipo.tables import Document, Grid, document

ROOT = "https://www.bseindia.com"

ISSUES = Layout(
    "issues",
    {
        "security name": "name", "company": "name", "company name": "name", "exchange platform": "platform",
        "platform": "platform", "start date": "opens", "end date": "closes", "offer price": "band",
        "offer price rs": "band", "type of issue": "type", "issue status": "status", "status": "status",
        "scrip code": "code",
    },
    frozenset({"name", "platform", "opens", "closes", "type"}),
    frozenset({"face value", "face value rs", "link"}),
)  # fmt: skip
ISSUE = Layout(
    "issue",
    {
        "symbol": "symbol", "scrip code": "code", "isin": "isin", "issue period": "period", "price band": "band",
        "issue size": "shares", "issue size no of shares": "shares", "market lot": "lot",
        "minimum bid quantity": "lot", "company name": "name", "name of the company": "name", "platform": "platform",
    },
    frozenset({"period", "band"}),
)  # fmt: skip
PLATFORMS = {"mainboard": Segment.MAINBOARD, "main board": Segment.MAINBOARD, "sme": Segment.SME}
TYPES = {
    "IPO": Kind.IPO, "FPO": Kind.FPO, "REIT": Kind.REIT, "INVIT": Kind.INVIT,
    **dict.fromkeys(("RI", "DPI", "BB", "OFS", "OTB", "TO", "DE", "CMN"), Kind.OTHER),
}  # fmt: skip
STATUS = {
    "live": Status.OPEN,
    "forthcoming": Status.UPCOMING,
    "closed": Status.CLOSED,
    "listed": Status.LISTED,
    "withdrawn": Status.WITHDRAWN,
    "postponed": Status.POSTPONED,
}


class BseIssues:
    """Satisfies `Source`."""

    name = "bse"
    policy = Policy(gap=5.0, every=3600.0, largest=4 << 20, visit=f"{ROOT}/publicissue.html")

    def addresses(self, day: date) -> list[Address]:
        """The list of public issues; it has no other days."""
        return [Address(PageKind.LIST, Call(f"{ROOT}/publicissue.html", headers(ROOT, "text/html")))]

    def issue(self, number: int, opens: date) -> Address:
        """An issue's own page, by the number in the list's link."""
        asked = {"id": number, "type": "IPO", "idtype": 1, "IPONo": number, "startdt": f"{opens:%d/%m/%Y}"}
        url = f"{ROOT}/markets/publicIssues/DisplayIPO.aspx?{urlencode(asked)}"
        return Address(PageKind.ISSUE, Call(url, headers(f"{ROOT}/publicissue.html", "text/html")))

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What the list or an issue's page tells; `key`: of `ISSUE`, the name where the page has none.

        Raises BadPayload, LayoutChanged.
        """
        if kind not in (PageKind.LIST, PageKind.ISSUE):
            raise BadPayload(self.name, body[:1024], f"it has no page of kind {kind}")
        sheet = Sheet(self.name, kind, body, received, key)
        page = document(self.name, body)
        if kind is PageKind.LIST:
            starts = ISSUES.starts()
            for table in page.tables:
                under = next((found for start in starts if (found := table.under(start))), None)
                if under is not None:
                    sheet.read(under, ISSUES, partial(self._row, sheet))
        else:
            sheet.read(_pairs(page), ISSUE, partial(self._issue, sheet, page.headline or key))
        return sheet.page()

    def _row(self, sheet: Sheet, row: Row) -> None:
        facts = {
            "source": self.name, "name": row.text("name"), "code": row.read("code", cells.code), "exchange": "BSE",
            "segment": row.read("platform", _platform), "kind": _type(row.text("type")),
            "status": row.read("status", _status) or Status.UNKNOWN, "place": row.place, "cells": row.cells,
            "opens": row.read("opens", lambda cell: cells.day(cell, sheet.near)),
            "closes": row.read("closes", lambda cell: cells.day(cell, sheet.near)),
        }  # fmt: skip
        low, high = row.read("band", cells.band) or (None, None)
        sheet.add(row, lambda: IssueFacts.model_validate(facts | {"low": low, "high": high}))

    def _issue(self, sheet: Sheet, name: str, row: Row) -> None:
        low, high = row.read("band", cells.band) or (None, None)
        opens, closes = row.read("period", lambda cell: cells.span(cell, sheet.near)) or (None, None)
        symbol = row.read("symbol", cells.symbol)
        facts = {
            "source": self.name, "name": row.text("name") or name or symbol or "", "symbol": symbol,
            "code": row.read("code", cells.code), "isin": row.read("isin", cells.isin), "exchange": "BSE",
            "segment": row.read("platform", _platform), "place": row.place, "cells": row.cells,
            "low": low, "high": high, "lot": row.read("lot", cells.count), "shares": row.read("shares", cells.shares),
            "opens": opens, "closes": closes,
        }  # fmt: skip
        sheet.add(row, lambda: IssueFacts.model_validate(facts))


def _pairs(page: Document) -> Grid:
    pairs: dict[str, str] = {}
    for table in page.tables:
        for key, value in table.pairs().items():
            if key in ISSUE.fields:
                pairs.setdefault(key, value)
    return Grid("pairs", tuple(pairs), [tuple(pairs.values())])


def _platform(cell: str) -> Segment | None:
    if cells.missing(cell):
        return None
    if cell.lower() not in PLATFORMS:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(PLATFORMS)}")
    return PLATFORMS[cell.lower()]


def _type(cell: str) -> Kind:
    if cell.upper() not in TYPES:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(TYPES)}")
    return TYPES[cell.upper()]


def _status(cell: str) -> Status | None:
    if cells.missing(cell):
        return None
    if cell.lower() not in STATUS:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(STATUS)}")
    return STATUS[cell.lower()]
