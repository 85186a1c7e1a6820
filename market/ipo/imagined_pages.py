"""Imagined pages: what each source's site would answer at an instant, of issues that nobody issues.

A path begins with the source's name, and goes on as on the source's own site. InvestorGain's board is laid out
otherwise every week: the JSON behind it, and the rows as a browser saw them in each of its layouts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from market.ipo import exchange_specimens, specimens
from market.ipo.asking import NAMES
from market.ipo.imagined import Imagined
from market.ipo.kinds import Segment
from market.ipo.readings import Category, Demand, Status
from market.ipo.specimens import Board, Specimen
from market.sessions import DAY, IST, SECOND

ROBOTS = """# The demo of a market platform: nothing here is real.
User-agent: *
Allow: /
Disallow: /investorgain/admin/
Disallow: /ipowatch/wp-admin/
"""
ON_BOARDS = timedelta(days=15)
"""For so long after its listing an issue stays on a board."""

MOST_ROWS = 10
"""Chittorgarh's reports have no more on a page, whatever is asked."""

NSE_BOOK = 0.68
"""The part of the bids that come by NSE."""

BIDDING = frozenset({Status.OPEN, Status.CLOSING})
AHEAD = frozenset({Status.UPCOMING, *BIDDING})

_REPORT = re.compile(r"cloud/report/data-read/(82|118|25|21)/1/\d+/\d+/[\d-]+/0/all")
_BOARD = re.compile(r"cloud/report/data-read/331/1/\d+/\d+/[\d-]+/0/all")
_TRACKER = re.compile(r"report/ipo-gmp-performance-tracker/377/(ipo|sme)/")


class Written(NamedTuple):
    """A page: its bytes, what they are, and whether the site gives it only to whom it knows."""

    body: bytes
    kind: str
    guarded: bool = False


class Pages:
    """The sites of all sources."""

    def __init__(self, imagined: Imagined) -> None:
        self._imagined = imagined

    def find(self, path: str, query: Mapping[str, str], now: int) -> Written | None:
        """The page at a path like `/nse/api/ipo-current-issue`; None: there is none. `now`: ns UTC."""
        if path == "/robots.txt":
            return Written(ROBOTS.encode(), "text/plain")
        name, _, rest = path.removeprefix("/").partition("/")
        if name not in NAMES:
            return None
        issues = self._imagined.issues(now, name)
        match name:
            case "investorgain":
                return _investorgain(rest, issues, now)
            case "ipowatch":
                return _ipowatch(rest, issues, now)
            case "chittorgarh":
                return _chittorgarh(rest, issues)
            case "nse":
                return _nse(rest, query, issues, now)
            case _:
                return _bse(rest, issues, now)


def _investorgain(rest: str, issues: Sequence[Specimen], now: int) -> Written | None:
    if _BOARD.fullmatch(rest):
        layouts = [None, *Board]
        layout = layouts[now // (7 * DAY) % len(layouts)]
        shown = _on_boards(issues, now)
        return _json(
            specimens.investorgain_data(shown) if layout is None else specimens.investorgain_seen(shown, layout)
        )
    if found := _TRACKER.fullmatch(rest):
        segment = Segment.MAINBOARD if found[1] == "ipo" else Segment.SME
        listed = [one for one in issues if one.status is Status.LISTED and one.segment is segment]
        return _html(specimens.investorgain_performance(listed))
    return None


def _ipowatch(rest: str, issues: Sequence[Specimen], now: int) -> Written | None:
    if rest != "ipo-grey-market-premium-latest-ipo-gmp/":
        return None
    shown = _on_boards(issues, now)
    return _html(specimens.ipowatch_board(shown, max((one.at for one in shown), default=None)))


def _chittorgarh(rest: str, issues: Sequence[Specimen]) -> Written | None:
    found = _REPORT.fullmatch(rest)
    if found is None:
        return None
    named = [one.model_copy(update={"name": f"{one.name} Ltd."}) for one in reversed(issues)]
    if found[1] == "21":
        return _json(
            specimens.chittorgarh_live(
                [one for one in named if one.demand and one.status is not Status.LISTED][:MOST_ROWS]
            )
        )
    if found[1] == "25":
        named = [one for one in named if one.status is Status.LISTED]
    return _json(specimens.chittorgarh_report(named[:MOST_ROWS]))


def _nse(rest: str, query: Mapping[str, str], issues: Sequence[Specimen], now: int) -> Written | None:
    named = [_limited(one) for one in issues if one.exchange == "NSE"]
    match rest:
        case "market-data/all-upcoming-issues-ipo":
            return _html(b"<!DOCTYPE html>\n<html><head><title>All upcoming issues</title></head><body></body></html>")
        case "api/all-upcoming-issues":
            found = exchange_specimens.nse_issues([_by_nse(one) for one in named if one.status in AHEAD])
        case "api/ipo-current-issue":
            found = exchange_specimens.nse_issues([_by_nse(one) for one in named if one.status in BIDDING])
        case "api/public-past-issues":
            found = exchange_specimens.nse_past([one for one in named if one.status not in AHEAD])
        case "api/ipo-active-category":
            one = next((one for one in named if one.symbol == query.get("symbol") and one.demand), None)
            if one is None:
                return None
            found = exchange_specimens.nse_categories(one, now - now % (3600 * SECOND))
        case _:
            return None
    return _json(found)._replace(guarded=True)


def _bse(rest: str, issues: Sequence[Specimen], now: int) -> Written | None:
    if rest != "publicissue.html":
        return None
    named = [_limited(one) for one in issues if one.code]
    return _html(exchange_specimens.bse_issues(_on_boards(named, now)))


def _on_boards(issues: Sequence[Specimen], now: int) -> list[Specimen]:
    today = datetime.fromtimestamp(now // SECOND, IST).date()
    return [one for one in issues if today <= one.lists + ON_BOARDS]


def _limited(one: Specimen) -> Specimen:
    """As an exchange has it: with its whole name, and open to the end of its last day."""
    status = Status.OPEN if one.status is Status.CLOSING else one.status
    return one.model_copy(update={"name": f"{one.name} Limited", "status": status})


def _by_nse(one: Specimen) -> Specimen:
    """With the bids of NSE's own book alone, as its lists count them."""
    total = next((bid for bid in one.demand if bid.category is Category.TOTAL), None)
    if total is None or total.bid is None or not total.offered:
        return one
    bid = int(total.bid * NSE_BOOK)
    mine = Demand(category=Category.TOTAL, times=round(bid / total.offered, 2), offered=total.offered, bid=bid)
    return one.model_copy(update={"demand": (mine,)})


def _html(body: bytes) -> Written:
    return Written(body, "text/html; charset=utf-8")


def _json(body: bytes) -> Written:
    return Written(body, "application/json; charset=utf-8")
