"""InvestorGain: the board of grey-market premiums, its performance report and an issue's days.

One database in four views: the rendered board (a table, or JSON of its rows under `allGMP`, `allPerf` ... as a browser
saw them), the JSON behind it (`reportTableData`, display keys in HTML and machine keys with `~`), the performance
report, and a page for each issue. A page without rows is the shell of a site that is drawn in the browser: its layout
has changed. `--` is no quote, and no zero; the performance report writes the same as `₹0`, with the rating of the fire
glued behind it. Dates have no year and stamps no zone. Source: www.investorgain.com, its own pages as recorded
2025-06-28 to 2025-09-04; nothing of it is documented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from typing import Any

from market.codecs import Call
from market.errors import BadPayload, BadValue, LayoutChanged
from market.ipo import cells
from market.ipo.kinds import Kind, Segment
from market.ipo.pages import Layout, Page, PageKind, Row, Sheet
from market.ipo.readings import Book, Category, Demand, GmpReading, IssueFacts, Status, SubscriptionReading
from market.ipo.sources import Address, Policy, headers
from market.ipo.tables import Grid, document, grid, parsed, shape
from market.money import Money

ROOT = "https://www.investorgain.com"
DATA = "https://webnodejs.investorgain.com/cloud/report/data-read"

BOARD = Layout(
    "board",
    {
        "name": "name", "ipo name": "name", "gmp": "gmp", "gmp range l h": "reach", "gmp range": "reach",
        "fire rating": "rating", "rating": "rating", "sub": "times", "subscription": "times", "price": "band",
        "ipo price": "band", "est listing": "estimated", "ipo size": "size", "lot": "lot", "open": "opens",
        "close": "closes", "boa dt": "allots", "listing": "lists", "gmp updated": "at", "updated on": "at",
        "~id": "id", "~ipo name": "plain", "~srt open": "opens iso", "~srt close": "closes iso",
        "~srt boa dt": "allots iso", "~str listing": "lists iso", "~ipo category": "category",
    },
    frozenset({"name", "gmp", "band"}),
    frozenset(
        {"~urlrewrite folder name", "~gmp percent calc", "p e", "anchor", "~highlight row", "~issue open date"}
    ),
)  # fmt: skip
PERFORMANCE = Layout(
    "performance",
    {
        "ipo": "name", "name": "name", "listing date": "lists", "ipo size": "size", "subscription": "times",
        "gmp": "rated", "ipo price": "band", "estimated price": "estimated", "listing price": "listed at",
        "closing price": "closed at", "listing day closing price": "closed at",
    },
    frozenset({"name", "lists", "rated", "band"}),
    frozenset({"ltp", "closing price ltp"}),
)  # fmt: skip
DAYS = Layout(
    "days",
    {
        "date": "day", "gmp date": "day", "ipo price": "band", "price": "band", "gmp": "gmp",
        "sub2 sauda rate": "sauda", "sub2": "sauda", "estimated listing price": "estimated", "est listing": "estimated",
        "last updated": "at", "updated on": "at",
    },
    frozenset({"day", "gmp", "band"}),
    frozenset({"gmp trend", "estimated profit"}),
)  # fmt: skip
BIDS = Layout(
    "bids",
    {
        "name": "name", "ipo": "name", "total": "total", "qib": "qib", "shni": "snii", "snii": "snii", "bhni": "bnii",
        "bnii": "bnii", "nii": "nii", "rii": "retail", "ipo size": "size", "ipo price": "band", "close date": "closes",
        "emp": "employee", "~ipo name": "plain", "~srt close": "closes iso", "~ipo category": "category", "~id": "id",
    },
    frozenset({"name", "total", "qib"}),
    frozenset({"p e", "~urlrewrite folder name"}),
)  # fmt: skip
_LAYOUTS = {
    PageKind.BOARD: (BOARD, PERFORMANCE, BIDS),
    PageKind.PERFORMANCE: (PERFORMANCE,),
    PageKind.SME_PERFORMANCE: (PERFORMANCE,),
    PageKind.HISTORY: (DAYS,),
    PageKind.SUBSCRIPTION: (BIDS,),
}
_CATEGORIES = (
    Category.TOTAL,
    Category.QIB,
    Category.NII,
    Category.BNII,
    Category.SNII,
    Category.RETAIL,
    Category.EMPLOYEE,
)
_MARKS = {"U": Status.UPCOMING, "O": Status.OPEN, "CT": Status.CLOSING, "C": Status.CLOSED, "LT": Status.LISTING}
_NAME = re.compile(
    r"(?P<name>\S.*?)\s+(?P<tag>(?:IPO\s+)?(?:BSE SME|NSE SME|SME|IPO|FPO))(?P<kind>\s+(?:REIT|InvIT))?"
    r"(?:\s*GMP:\s*(?P<gmp>[^()]{0,20}\([^()]{0,12}\)))?"
    r"(?:\s*(?P<status>U|O|CT|C Allotted|C|LT|L@\s*(?P<listed>[0-9.,]+|--?)\s*(?:\([^()]*\))?))?"
    r"(?:\s*\((?P<codes>[^()]*)\))?"
)

_TRUSTS = {"REIT": Kind.REIT, "INVIT": Kind.INVIT}
_TAGGED = re.compile(r"\s(?:IPO|SME|FPO)\b")


class InvestorGain:
    """Satisfies `Source`."""

    name = "investorgain"
    policy = Policy(gap=5.0, every=1800.0, largest=4 << 20)

    def __init__(self, root: str = DATA) -> None:
        self.root = root

    def addresses(self, day: date) -> list[Address]:
        """The board of a day and its year's performance."""
        begun = day.year if day.month >= 4 else day.year - 1
        when = f"{day.month}/{day.year}/{begun}-{(begun + 1) % 100:02}"
        board = f"{self.root}/331/1/{when}/0/all?search=&v="
        tracker = f"{ROOT}/report/ipo-gmp-performance-tracker/377"
        parts = {PageKind.PERFORMANCE: "ipo", PageKind.SME_PERFORMANCE: "sme"}
        pages = [(kind, f"{tracker}/{part}/?year={day.year}") for kind, part in parts.items()]
        return [
            Address(PageKind.BOARD, Call(board, headers(f"{ROOT}/", "application/json"))),
            *(Address(kind, Call(url, headers(f"{ROOT}/", "text/html"))) for kind, url in pages),
        ]

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What a board, a report or an issue's page tells; `key`: of `HISTORY`, the issue's name.

        Raises BadPayload, LayoutChanged.
        """
        if kind is PageKind.HISTORY and not key:
            raise BadValue("key", key, "the name of the issue whose page it is")
        if kind not in _LAYOUTS:
            raise BadPayload(self.name, body[:1024], f"it has no page of kind {kind}")
        sheet = Sheet(self.name, kind, body, received, key)
        empty = False
        for found in self._grids(body):
            layout = next((one for one in _LAYOUTS[kind] if one.fits(found.headings)), None)
            empty |= not found.rows and shape(self.name, body) == "json"
            if layout is None:
                if not found.rows:
                    continue
                if shape(self.name, body) == "json":
                    names = ", ".join(found.headings)
                    raise LayoutChanged(
                        self.name, body, f"{found.place} has headings of no known layout: {names}"[:400]
                    )
                continue
            sheet.read(found, layout, partial(self._row, sheet, layout, key))
        return sheet.page(may_be_empty=empty)

    def _grids(self, body: bytes) -> Iterator[Grid]:
        if shape(self.name, body) == "json":
            yield from self._sections(body, parsed(self.name, body))
            return
        for table in document(self.name, body).tables:
            for layout in (BOARD, PERFORMANCE, DAYS, BIDS):
                under = next((found for start in layout.starts() if (found := table.under(start))), None)
                if under is not None:
                    yield under
                    break

    def _sections(self, body: bytes, said: Any) -> Iterator[Grid]:
        if not isinstance(said, Mapping):
            raise BadPayload(self.name, body, "an answer that is no object")
        if "msg" in said and said["msg"] != 1:
            raise BadPayload(self.name, body, f"refused: {str(said.get('error', said['msg']))[:120]}")
        lists = {name: rows for name, rows in said.items() if isinstance(rows, list)}
        if not lists:
            raise LayoutChanged(self.name, body, f"no list of rows among {', '.join(map(str, said))[:120]}")
        for name, rows in lists.items():
            yield grid(self.name, body, str(name), rows)

    def _row(self, sheet: Sheet, layout: Layout, key: str, row: Row) -> None:
        told = _Name(row, key)
        if layout is BIDS:
            sheet.add(row, lambda: self._bids(sheet, row, told))
            return
        band = row.read("band", cells.band)
        sheet.add(row, lambda: self._gmp(sheet, row, told, band))
        if layout is not DAYS:
            sheet.add(row, lambda: self._facts(sheet, row, told, band))
        if row.read("times", cells.times) is not None:
            sheet.add(row, lambda: self._bids(sheet, row, told))

    def _gmp(self, sheet: Sheet, row: Row, told: _Name, band: tuple[Money, Money] | None) -> GmpReading:
        low, high = band or (None, None)
        estimated = row.read("estimated", cells.price)
        rating: int | None
        if row.text("rated"):
            gmp, rating = row.read("rated", lambda cell: cells.rated(cell, high, estimated)) or (None, None)
            points, at = None if gmp is None else row.read("estimated", _behind), None
        else:
            gmp, points, at = row.read("gmp", lambda cell: cells.premium(cell, sheet.received)) or (None, None, None)
            rating = row.text("rating").count("🔥") or None
        lowest, highest = row.read("reach", cells.reach) or (None, None)
        stamp = row.read("at", lambda cell: cells.stamp(cell, sheet.received)) or at
        if row.text("day"):
            stamp = stamp or row.read("day", lambda cell: cells.stamp(cell, sheet.received))
        return GmpReading(
            **told.issue(self.name, row),
            gmp=gmp,
            points=points,
            low=low,
            high=high,
            estimated=None if gmp is None else estimated,
            lowest=lowest,
            highest=highest,
            sauda=row.read("sauda", cells.money),
            rating=rating if rating is None or 1 <= rating <= 5 else None,
            at=stamp,
            **{name: day for name, day in _days(sheet, row).items() if name != "allots"},
        )

    def _facts(self, sheet: Sheet, row: Row, told: _Name, band: tuple[Money, Money] | None) -> IssueFacts:
        low, high = band or (None, None)
        return IssueFacts(
            **told.issue(self.name, row),
            low=low,
            high=high,
            lot=row.read("lot", cells.count),
            size_crore=row.read("size", cells.crore),
            listed_at=row.read("listed at", cells.price) or told.listed,
            closed_at=row.read("closed at", cells.price),
            **_days(sheet, row),
        )

    def _bids(self, sheet: Sheet, row: Row, told: _Name) -> SubscriptionReading:
        fields = [(category, category.value) for category in _CATEGORIES]
        found = [(category, row.read(field, cells.times)) for category, field in fields]
        total = row.read("times", cells.times)
        demand = [Demand(category=category, times=times) for category, times in found if times is not None]
        demand += [Demand(category=Category.TOTAL, times=total)] if total is not None else []
        if not demand:
            raise ValueError("no category has a number of times")
        opens = _days(sheet, row)["opens"]
        return SubscriptionReading(**told.issue(self.name, row), demand=tuple(demand), book=Book.UNKNOWN, opens=opens)


class _Name:
    """What a name's cell tells besides it: `Vigor Plast NSE SME L@85.00 (4.94%)`, `Crizac IPO (CRIZAC,544439)`."""

    def __init__(self, row: Row, key: str) -> None:
        written = row.text("name") or key
        if len(written) > cells.VALUE:
            raise ValueError(f"a name of {len(written)} characters")
        found = _NAME.fullmatch(written)
        if found is None and not row.text("plain") and _TAGGED.search(written):
            raise ValueError(f"{written[:60]!r} ends in no status that is known here")
        self.name = re.sub(r"\s+(?:IPO|FPO)$", "", row.text("plain")) or (found["name"] if found else written)
        tag = " ".join((found["tag"] if found else "").split())
        category = row.text("category").upper()
        self.segment = Segment.SME if "SME" in f"{tag} {category}" else None
        if self.segment is None and (tag in ("IPO", "FPO") or category == "IPO"):
            self.segment = Segment.MAINBOARD
        self.exchange = tag.replace("IPO", "").split()[0] if tag.endswith(("BSE SME", "NSE SME")) else None
        trust = (found["kind"] or "").strip().upper() if found else ""
        self.kind = _TRUSTS.get(trust) or (Kind.FPO if tag == "FPO" else Kind.IPO if self.segment else None)
        mark = (found["status"] or "") if found else ""
        listed = mark.startswith("L@") or bool(row.text("rated"))
        allotted = Status.ALLOTTED if mark == "C Allotted" else Status.UNKNOWN
        self.status = Status.LISTED if listed else _MARKS.get(mark, allotted)
        self.listed = cells.price(found["listed"]) if found and found["listed"] else None
        self.symbol, self.code = cells.codes(found["codes"]) if found and found["codes"] else (None, None)

    def issue(self, source: str, row: Row) -> dict[str, Any]:
        return {
            "source": source, "name": self.name, "symbol": self.symbol, "code": self.code, "segment": self.segment,
            "kind": self.kind, "exchange": self.exchange, "status": self.status, "place": row.place, "cells": row.cells,
        }  # fmt: skip


def _days(sheet: Sheet, row: Row) -> dict[str, Any]:
    near: Callable[[str], date | None] = lambda cell: cells.day(cell, sheet.near)  # noqa: E731
    found = {
        name: row.read(f"{name} iso", near) or row.read(name, near) for name in ("opens", "closes", "allots", "lists")
    }
    opens, closes = found["opens"], found["closes"]
    if opens and closes and not timedelta(0) <= closes - opens <= timedelta(days=60):
        raise ValueError(f"it opens on {opens} and closes on {closes}")
    return found


def _behind(cell: str) -> float | None:
    found = re.search(r"\([^()]*%\s*\)$", cell)
    return None if found is None else cells.points(found[0])
