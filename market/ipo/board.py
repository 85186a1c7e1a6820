"""Board: the issues as somebody asks for them: some of them, in an order, a page at a time.

The next page begins behind an issue, named by what it was ordered by: what comes and goes meanwhile moves nothing that
stays as it was. What is not known comes last, whichever way round; of equals the id decides.
"""

from __future__ import annotations

import json
import re
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from market.errors import BadValue
from market.ipo.issues import Issue
from market.ipo.kinds import Segment
from market.ipo.life import State
from market.ipo.profit import Thresholds, profitable
from market.ipo.validation import ValidatedGmp
from market.ipo.walkforward import Expectation
from market.money import Money
from market.records import Record

_COMMA = re.compile(r",\s*")
CURSOR = "`next` of a page in the same order"


class Times(NamedTuple):
    """How often an issue was subscribed in all, as one source told last; `book`: whose bids were counted."""

    times: float
    day: date
    source: str
    book: str


class Row(NamedTuple):
    """An issue on the board. `names`: folded, what it may be found by; `expected`: as it is served; `overridden`: the
    premium believed is an operator's.
    """

    issue: Issue
    names: tuple[str, ...]
    believed: ValidatedGmp | None = None
    expected: Expectation | None = None
    times: Times | None = None
    overridden: bool = False


class Order(StrEnum):
    """What a board is ordered by."""

    OPENS = "opens"
    CLOSES = "closes"
    LISTS = "lists"
    GMP = "gmp"
    POINTS = "points"
    CONFIDENCE = "confidence"
    PREDICTED = "predicted"
    NAME = "name"


class Days(NamedTuple):
    """Days from one to another, both included; None: no bound."""

    first: date | None = None
    last: date | None = None

    def hold(self, day: date | None) -> bool:
        """Whether a day lies there; one that is not known lies nowhere but between no bounds."""
        if self.first is None and self.last is None:
            return True
        return day is not None and (self.first or day) <= day <= (self.last or day)


class Wanted(Record):
    """Which issues, and how. Empty or None: whatever it is. `profitable`: None in it is not known; `text` as it was
    given; `low`, `high`: of the premium, a share.
    """

    states: frozenset[State] = frozenset()
    segment: Segment | None = None
    exchange: str | None = None
    opens: Days = Days()
    closes: Days = Days()
    lists: Days = Days()
    profitable: frozenset[bool | None] = frozenset()
    thresholds: Thresholds = Thresholds()
    min_confidence: float | None = None
    low: Money | None = None
    high: Money | None = None
    text: str = ""
    order: Order = Order.OPENS
    descending: bool = True


class Page(NamedTuple):
    """Some rows of `total`; `following`: where the next page begins, None: this is the last."""

    rows: Sequence[Row]
    total: int
    following: str | None


Key = float | str | None


def page(rows: Iterable[Row], wanted: Wanted, limit: int, cursor: str | None = None) -> Page:
    """The first `limit` rows that are wanted, or those behind a cursor. Raises BadValue."""
    place = None if cursor is None else _place(cursor, wanted)
    found = ordered([row for row in rows if matches(row, wanted)], wanted)
    rest = found if place is None else [row for row in found if _behind(row, *place, wanted)]
    shown = rest[:limit]
    following = _cursor(shown[-1], wanted) if len(rest) > limit else None
    return Page(shown, len(found), following)


def matches(row: Row, wanted: Wanted) -> bool:
    """Whether a row is one of those that are wanted."""
    issue, believed = row.issue, row.believed
    gmp = None if believed is None else believed.gmp
    return (
        (not wanted.states or issue.state in wanted.states)
        and (wanted.segment is None or issue.segment is wanted.segment)
        and (wanted.exchange is None or wanted.exchange in _COMMA.split(issue.exchange or ""))
        and wanted.opens.hold(issue.opens)
        and wanted.closes.hold(issue.closes)
        and wanted.lists.hold(issue.lists)
        and (wanted.low is None or (gmp is not None and gmp >= wanted.low))
        and (wanted.high is None or (gmp is not None and gmp <= wanted.high))
        and (wanted.min_confidence is None or _sure(row, wanted.min_confidence))
        and (not wanted.profitable or profitable(gmp, issue.high, wanted.thresholds) in wanted.profitable)
        and _called(row, wanted.text)
    )


def ordered(rows: Iterable[Row], wanted: Wanted) -> list[Row]:
    """Rows in an order."""
    key, by_id = _KEYS[wanted.order], sorted(rows, key=lambda row: row.issue.id)
    known = [row for row in by_id if key(row) is not None]
    known.sort(key=lambda row: key(row), reverse=wanted.descending)  # type: ignore[arg-type, return-value]
    return [*known, *(row for row in by_id if key(row) is None)]


def folded(text: str) -> str:
    """Text as it is searched: without case, accents and punctuation.

    >>> folded("  Amber & Sons, Crème Ltd.")
    'amber and sons creme ltd'
    """
    plain = unicodedata.normalize("NFKD", text).replace("&", " and ").casefold()
    plain = unicodedata.normalize("NFKD", plain)  # what has no case may be made of what has
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(re.findall(r"\w+", bare))


def sought(text: str) -> str:
    """A text that can be searched for, as it was given. Raises BadValue: nothing is left of it."""
    if not folded(text):
        raise BadValue("text", text[:40], "letters or digits of a name or symbol")
    return text


def _called(row: Row, text: str) -> bool:
    asked = folded(text)
    return not asked or any(asked in name for name in row.names)


def _sure(row: Row, least: float) -> bool:
    found = _confidence(row)
    return found is not None and found >= least


def _confidence(row: Row) -> float | None:
    return None if row.believed is None or row.believed.gmp is None else row.believed.confidence


def _gmp(row: Row) -> int | None:
    return None if row.believed is None else row.believed.gmp


def _points(row: Row) -> float | None:
    return None if row.believed is None else row.believed.points


def _predicted(row: Row) -> float | None:
    return None if row.expected is None else row.expected.predicted_points


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


_KEYS: Mapping[Order, Callable[[Row], Key]] = {
    Order.OPENS: lambda row: _day(row.issue.opens),
    Order.CLOSES: lambda row: _day(row.issue.closes),
    Order.LISTS: lambda row: _day(row.issue.lists),
    Order.GMP: _gmp,
    Order.POINTS: _points,
    Order.CONFIDENCE: _confidence,
    Order.PREDICTED: _predicted,
    Order.NAME: lambda row: folded(row.issue.name),
}
_WORDS = frozenset({Order.OPENS, Order.CLOSES, Order.LISTS, Order.NAME})
"""Orders whose key is text."""


def _behind(row: Row, key: Key, issue: str, wanted: Wanted) -> bool:
    mine = _KEYS[wanted.order](row)
    if mine == key:
        return row.issue.id > issue
    if mine is None or key is None:
        return mine is None
    less: bool = mine < key  # type: ignore[operator]
    return less if wanted.descending else not less


def _cursor(row: Row, wanted: Wanted) -> str:
    told = [_way(wanted), _KEYS[wanted.order](row), row.issue.id]
    return urlsafe_b64encode(json.dumps(told).encode()).decode().rstrip("=")


def _place(cursor: str, wanted: Wanted) -> tuple[Key, str]:
    try:
        way, key, issue = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise BadValue("cursor", cursor[:40], CURSOR) from None
    kind = str if wanted.order in _WORDS else (int, float)
    good = key is None or (isinstance(key, kind) and not isinstance(key, bool))
    if way != _way(wanted) or not good or not isinstance(issue, str) or key != key:
        raise BadValue("cursor", cursor[:40], CURSOR)
    return key, issue


def _way(wanted: Wanted) -> str:
    return f"{'-' if wanted.descending else ''}{wanted.order}"
