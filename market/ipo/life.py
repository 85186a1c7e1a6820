"""Life: what happens to an issue from its announcement to its listing, and when it should.

An issue is announced with its dates, which may be put off, and often on the very day when it had been held for open. It
opens for bids on its first day; a price band that is revised, or a strike of the banks, extends that, and is heard of
when it had been held for closed. It closes at 17:00 of its last day, T. Shares are allotted on T+1,
money goes back and shares arrive on T+2, and trading begins at 10:00 of T+3. A source may tell of the listing and never
have told of the allotment. An issue can be withdrawn at any time before it is listed, even when it was allotted; when
it comes again, under the same symbol, it is another issue. Mainboard and SME issues live alike; only the first trade of
an SME issue is bounded.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from market.errors import BadValue
from market.ipo.kinds import Segment
from market.records import Record
from market.sessions import Kind, Sessions


class State(StrEnum):
    """Where in its life an issue is. `LISTED` and `WITHDRAWN` are the ends of it."""

    ANNOUNCED = "announced"
    OPEN = "open"
    CLOSED = "closed"
    ALLOTTED = "allotted"
    LISTED = "listed"
    WITHDRAWN = "withdrawn"


class Postponed(Record):
    """It will open on other days. `at` of every event: ns UTC."""

    at: int


class Opened(Record):
    """Bids are taken."""

    at: int


class Extended(Record):
    """Bids are taken for longer than was announced."""

    at: int


class Closed(Record):
    """The last bid was taken."""

    at: int


class Allotted(Record):
    """It is known who gets how many shares."""

    at: int


class Listed(Record):
    """The first trade."""

    at: int


class Withdrawn(Record):
    """It will not be listed."""

    at: int


Event = Postponed | Opened | Extended | Closed | Allotted | Listed | Withdrawn

MOVES: dict[tuple[State, type[Event]], State] = {
    (State.ANNOUNCED, Postponed): State.ANNOUNCED,
    (State.ANNOUNCED, Opened): State.OPEN,
    (State.ANNOUNCED, Withdrawn): State.WITHDRAWN,
    (State.OPEN, Postponed): State.ANNOUNCED,
    (State.OPEN, Extended): State.OPEN,
    (State.OPEN, Closed): State.CLOSED,
    (State.OPEN, Withdrawn): State.WITHDRAWN,
    (State.CLOSED, Extended): State.OPEN,
    (State.CLOSED, Allotted): State.ALLOTTED,
    (State.CLOSED, Listed): State.LISTED,
    (State.CLOSED, Withdrawn): State.WITHDRAWN,
    (State.ALLOTTED, Listed): State.LISTED,
    (State.ALLOTTED, Withdrawn): State.WITHDRAWN,
}

# SEBI circular SEBI/HO/CFD/TPD1/CIR/P/2023/140 of 9 August 2023: T+3 instead of T+6, as the issuer likes for issues
# that open from 1 September 2023, and for all that open from 1 December 2023.
VOLUNTARY, MANDATORY = date(2023, 9, 1), date(2023, 12, 1)

# NSE's circular of 4 July 2024: the special pre-open of an SME issue ends at most 90 % above the issue price.
SME_CAP_SINCE, SME_CAP_POINTS = date(2024, 7, 4), 90.0


class Expected(Record):
    """When it should be allotted, credited and listed. `earliest`: of the listing, where the issuer may choose."""

    allotment: date
    credit: date
    earliest: date
    listing: date


def move(state: State, event: Event) -> State:
    """Where an event leads. Raises BadValue: nothing of the kind can happen in this state."""
    try:
        return MOVES[state, type(event)]
    except KeyError:
        allowed = ", ".join(kind.__name__.lower() for at, kind in MOVES if at is state) or "nothing: its life is over"
        name = type(event).__name__.lower()
        raise BadValue("event", name, f"of an issue that is {state}: {allowed}") from None


def expected(opens: date, closes: date, sessions: Sessions) -> Expected:
    """The dates that follow from the days of bidding, by the exchange's calendar.

    Raises BadValue: bidding ends before it begins, or the calendar ends before the listing.
    """
    if closes < opens:
        raise BadValue("closes", closes.isoformat(), f"a day from {opens.isoformat()} on, when it opens")
    days = [day for day in working_days(sessions) if day > closes]
    latest = 3 if opens >= MANDATORY else 6
    if len(days) < latest:
        raise BadValue("closes", closes.isoformat(), f"a day with {latest} working days after it in the calendar")
    # Before T+3: basis of allotment on T+4, credit on T+5. Source: SEBI/HO/CFD/DIL2/CIR/P/2018/138, 1 November 2018.
    allotment, credit = (days[0], days[1]) if latest == 3 else (days[3], days[4])
    earliest = days[2] if opens >= VOLUNTARY else days[latest - 1]
    return Expected(allotment=allotment, credit=credit, earliest=earliest, listing=days[latest - 1])


def working_days(sessions: Sessions) -> list[date]:
    """Those of a calendar: a session on a weekday but no muhurat, when banks rest."""
    return [s.date for s in sessions if s.date.weekday() < 5 and s.kind is not Kind.MUHURAT]


def opening_cap(segment: Segment, listing: date) -> float | None:
    """The most an issue can gain by its first trade, in points of the issue price; None: it has no such bound.

    >>> opening_cap(Segment.SME, date(2025, 1, 8)), opening_cap(Segment.MAINBOARD, date(2025, 1, 8))
    (90.0, None)
    """
    return SME_CAP_POINTS if segment is Segment.SME and listing >= SME_CAP_SINCE else None
