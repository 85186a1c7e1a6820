"""IPOWatch, and boards that look like it: premiums of the issues of the day, one table among many of a WordPress page.

The board is the table whose headings have name, premium, price and dates; past issues and tables of words stand on the
same page. No row has a stamp: the page's "last updated" line is all that tells of freshness, and is often absent.
"Gain" is the premium in per cent, not what was realised. `₹-` with either dash, `-%` and an empty cell are unknown; a
year alone is the date of an issue that was put off. A link's title can stand in the place of a name. Source:
ipowatch.in, ipograymarket.com, iforinvest.com, boards of August and December 2024.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial

from market.codecs import Call
from market.errors import BadPayload
from market.ipo import cells
from market.ipo.kinds import Segment
from market.ipo.pages import Layout, Page, PageKind, Row, Sheet
from market.ipo.readings import GmpReading, IssueFacts, Status
from market.ipo.sources import Address, Policy, headers
from market.ipo.tables import Grid, Table, barred, document, heading, shape

ROOT = "https://ipowatch.in"
BOARD_PAGE = "/ipo-grey-market-premium-latest-ipo-gmp/"

BOARD = Layout(
    "board",
    {
        "current ipos": "name", "ipo name": "name", "company": "name", "stock ipo": "name", "ipo gmp": "gmp",
        "gmp": "gmp", "price": "band", "ipo price": "band", "price band": "band", "gain": "points", "date": "dates",
        "open close date": "dates", "kostak": "kostak", "kostak rates": "kostak", "subject": "sauda",
        "subject to sauda": "sauda", "type": "type", "ipo type": "type",
    },
    frozenset({"name", "gmp", "band", "dates"}),
)  # fmt: skip
TYPES = {
    "mainboard": (Segment.MAINBOARD, None),
    "mainline": (Segment.MAINBOARD, None),
    "nse sme": (Segment.SME, "NSE"),
    "bse sme": (Segment.SME, "BSE"),
    "sme": (Segment.SME, None),
}
_TITLE = re.compile(r"\s+IPO(?:\s+20[0-9]{2})?(?:\s*[:|\u2013-]\s.*|:.*)?$", re.IGNORECASE)
_DATE = r"(?:[0-9]{1,2}[-\s][A-Za-z]{3,9}|[A-Za-z]{3,9}\s[0-9]{1,2}),?[-\s]20[0-9]{2}"
_UPDATED = re.compile(
    rf"last updated(?:\s+on)?\s*[:\u2013-]?\s*({_DATE}(?:,?\s(?:at\s)?[0-9]{{1,2}}:[0-9]{{2}}(?:\s?[AP]M)?)?)",
    re.IGNORECASE,
)


class IpoWatch:
    """Satisfies `Source`; `name`: of the board that is read so."""

    policy = Policy(gap=10.0, every=1800.0, largest=4 << 20)

    def __init__(self, name: str = "ipowatch", url: str = f"{ROOT}{BOARD_PAGE}") -> None:
        self.name, self.url = name, url

    def addresses(self, day: date) -> list[Address]:
        """The board; it has no other days."""
        return [Address(PageKind.BOARD, Call(self.url, headers(self.url, "text/html")))]

    def read(self, body: bytes, kind: PageKind, received: int, key: str = "") -> Page:
        """What the board tells. Raises BadPayload, LayoutChanged."""
        if kind is not PageKind.BOARD:
            raise BadPayload(self.name, body[:1024], f"it has no page of kind {kind}")
        sheet = Sheet(self.name, kind, body, received, key)
        if shape(self.name, body) == "text":
            words = " ".join(body.decode("utf-8-sig").split())
            boards = _boards(barred(self.name, body, BOARD.starts()))
        else:
            page = document(self.name, body)
            words, boards = page.words, _boards(page.tables)
        updated = _UPDATED.search(words)
        at = None
        if updated:
            try:
                at = cells.stamp(updated[1], received)
            except ValueError as e:
                sheet.refuse("the page", "last updated", updated[0], str(e))
        for board in boards:
            sheet.read(board, BOARD, partial(self._row, sheet, at))
        return sheet.page()

    def _row(self, sheet: Sheet, at: int | None, row: Row) -> None:
        segment, exchange = row.read("type", _type) or (None, None)
        low, high = row.read("band", cells.band) or (None, None)
        opens, closes = row.read("dates", lambda cell: cells.span(cell, sheet.near)) or (None, None)
        upcoming = row.text("dates").lower() == "coming soon"
        issue = {
            "source": self.name,
            "name": _TITLE.sub("", row.text("name")),
            "segment": segment,
            "exchange": exchange,
            "status": Status.UPCOMING if upcoming else Status.UNKNOWN,
            "place": row.place,
            "cells": row.cells,
            "low": low,
            "high": high,
            "opens": opens,
            "closes": closes,
        }
        gmp = row.read("gmp", cells.money)
        told = {
            "gmp": gmp,
            "points": None if gmp is None else row.read("points", cells.points),
            "kostak": row.read("kostak", cells.money),
            "sauda": row.read("sauda", cells.money),
            "at": at,
        }
        sheet.add(row, lambda: GmpReading.model_validate(issue | told))
        sheet.add(row, lambda: IssueFacts.model_validate(issue))


def _boards(found: Sequence[Table]) -> Iterator[Grid]:
    for table in found:
        board = next((under for start in BOARD.starts() if (under := table.under(start))), None)
        if board is not None and not any(heading(name).startswith("list") for name in board.headings):
            yield board


def _type(cell: str) -> tuple[Segment, str | None] | None:
    if cells.missing(cell):
        return None
    if cell.lower() not in TYPES:
        raise ValueError(f"{cell[:40]!r} is none of {', '.join(TYPES)}")
    return TYPES[cell.lower()]
