"""Visiting: when a source may be asked, and for which of its pages. Instants are ns UTC and always arguments.

A source is asked for one thing at a time, with its gap between two: its robots file first, once a day, where it is to
be obeyed; then the page that gives the cookies, where there is one; then the page that has waited longest. A page that
came is due again after `every`, one that failed sooner, but later each time. After `TRIPS` failures in a row the
breaker is open: the source is left alone, for longer each time, and then tried with one request. What `Retry-After`
says holds for the whole source. No source waits for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from market.codecs import Call
from market.failover import Breaker
from market.ipo.pages import PageKind
from market.records import Record
from market.sessions import DAY, MINUTE, SECOND

TRIPS = 3
COOL, COOLEST = 10 * MINUTE, 6 * 60 * MINUTE
"""For how long an open breaker leaves a source alone: at first, and at most."""

AGAIN = MINUTE
"""After which a page that failed is due again, twice as long each time, never longer than its `every`."""

ROBOTS_EVERY = DAY
"""Source: RFC 9309, section 2.4: a robots file is not used for longer."""

FORGOTTEN = 30 * DAY
"""A page that nobody asked for since then is forgotten: of an issue that is over."""

LONGEST_AWAY = DAY
"""Longer than that nobody sends us away, whatever is said."""


class Purpose(StrEnum):
    """What is fetched: the robots file, the page of the cookies, or a page to read."""

    ROBOTS = "robots"
    COOKIES = "cookies"
    PAGE = "page"


class Errand(NamedTuple):
    """One thing to fetch. `page`: its name among the source's, the same from day to day; `kind` and `key` as
    `Source.read` wants them.
    """

    source: str
    page: str
    call: Call
    kind: PageKind | None = None
    key: str = ""
    purpose: Purpose = Purpose.PAGE


class Visit(Record):
    """What came of an errand. `status`: of HTTP, None where nothing answered; `digest`: SHA-256 of the `size` bytes,
    hex, None where there are none; `received`: ns UTC; `cached`: the source said that they are still those we have;
    `trouble`: why there is nothing to read, empty where there is.
    """

    source: str
    page: str
    purpose: Purpose
    kind: PageKind | None
    url: str
    received: int
    status: int | None = None
    digest: str | None = None
    size: int = 0
    cached: bool = False
    trouble: str = ""


class Turn(Record):
    """When a page is due, ns UTC, and how often in a row it failed."""

    due: int
    fails: int = 0


class Robots(Record):
    """A robots file as it was read `at`, ns UTC; empty where the host has none."""

    text: str
    at: int


class Standing(Record):
    """How a source stands. `asked`: the last request; `away`: it is not asked before, ns UTC both; `fails`: in a row;
    `warm`: it has given its cookies; `robots`: the files of its hosts; `gap`: ns they want between two requests.
    """

    asked: int | None = None
    away: int = 0
    fails: int = 0
    warm: bool = False
    gap: int = 0
    robots: Mapping[str, Robots] = {}
    pages: Mapping[str, Turn] = {}

    def breaker(self, now: int) -> Breaker:
        """Open while the source is left alone for its failures, half-open until the next request comes out well."""
        if self.fails < TRIPS:
            return Breaker.CLOSED
        return Breaker.OPEN if now < self.away else Breaker.HALF_OPEN

    def free(self, gap: int) -> int:
        """From when on the source may be asked; `gap`: ns between two requests."""
        return max(self.away, 0 if self.asked is None else self.asked + max(gap, self.gap))

    def due(self, page: str) -> int:
        """When a page is due; at once where it was never asked for."""
        turn = self.pages.get(page)
        return 0 if turn is None else turn.due


class Standings(Record):
    """How all sources stand, by name: what must survive of visiting them."""

    sources: Mapping[str, Standing] = {}


def current(standing: Standing, now: int) -> Standing:
    """As it counts now: one of a time to come is of another clock, which was set back, and tells nothing."""
    return standing if standing.asked is None or standing.asked <= now + MINUTE else Standing()


def came(standing: Standing, page: str, now: int, every: int) -> Standing:
    """After a good answer: all is forgiven, and the page has its next turn after `every` ns."""
    pages = _turned(standing, page, Turn(due=now + every), now)
    return standing.model_copy(update={"asked": now, "away": 0, "fails": 0, "pages": pages})


def failed(standing: Standing, page: str, now: int, every: int, away: int = 0) -> Standing:
    """After a bad one. `away`: the ns for which the source itself wants to be left alone."""
    fails = standing.fails + 1
    alone = min(COOL << min(fails - TRIPS, 16), COOLEST) if fails >= TRIPS else 0
    before = standing.pages.get(page, Turn(due=0)).fails
    turn = Turn(due=now + min(AGAIN << min(before, 16), every), fails=before + 1)
    until = now + max(alone, min(away, LONGEST_AWAY))
    pages = _turned(standing, page, turn, now)
    return standing.model_copy(update={"asked": now, "away": until, "fails": fails, "pages": pages})


def passed(standing: Standing, page: str, now: int, every: int) -> Standing:
    """After a page that may not be asked for: nothing was sent, and it has its next turn all the same."""
    return standing.model_copy(update={"pages": _turned(standing, page, Turn(due=now + every), now)})


def in_nanoseconds(seconds: float) -> int:
    """Of the seconds of a `Policy`, or of what a site says: never below 0, never above `LONGEST_AWAY`."""
    return round(min(max(seconds, 0.0), LONGEST_AWAY / SECOND) * SECOND)


def _turned(standing: Standing, page: str, turn: Turn, now: int) -> dict[str, Turn]:
    kept = {name: one for name, one in standing.pages.items() if one.due > now - FORGOTTEN}
    return {**kept, page: turn}
