"""Issues: one issue as the desk knows it, made of what all sources told, and where in its life it stands.

Of two sources that tell a fact differently the better one counts: an exchange before Chittorgarh, that before a board
of premiums; of one source what it told last. Each fact keeps which page told it. An issue is listed when a page calls
it so, or tells its first price; and from the day after its listing, when a close of that day is known, or an exchange
or Chittorgarh names the day even then. A day told before is a plan. Bidding opens and closes by the clock too, unless
the issue is put off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from typing import Any

from market.errors import BadValue
from market.ipo import repairs
from market.ipo.facts import POINTS
from market.ipo.kinds import Kind, Segment
from market.ipo.life import (
    MOVES,
    Allotted,
    Closed,
    Event,
    Extended,
    Listed,
    Opened,
    Postponed,
    State,
    Withdrawn,
    move,
)
from market.ipo.readings import Reading, Status
from market.money import Money
from market.names import LINE
from market.records import Record
from market.sessions import at as instant_at

RANKS = {"nse": 3, "bse": 3, "chittorgarh": 2, "investorgain": 1}
"""Whose word of a fact counts more; a source that is not here, least."""

OFFICIAL = 2
"""Rank from which a source's day of listing, told when it is over, is that of a listing that has been."""

FACTS = (
    "name", "segment", "kind", "symbol", "code", "isin", "exchange", "low", "high", "lot", "shares", "size_crore",
    "opens", "closes", "allots", "refunds", "lists", "listed_at", "closed_at",
)  # fmt: skip
BIDS_FROM, BIDS_UNTIL, TRADES_FROM = time(10), time(17), time(10)
"""On India's clocks."""

NEAR = timedelta(days=7)
"""Sources differ by no more about a day of one issue."""

COURSE = (State.ANNOUNCED, State.OPEN, State.CLOSED, State.ALLOTTED, State.LISTED)
STEPS: Mapping[State, type[Event]] = {
    State.OPEN: Opened,
    State.CLOSED: Closed,
    State.ALLOTTED: Allotted,
    State.LISTED: Listed,
}
STANDS = {
    Status.UPCOMING: State.ANNOUNCED,
    Status.OPEN: State.OPEN,
    Status.CLOSING: State.OPEN,
    Status.CLOSED: State.CLOSED,
    Status.ALLOTTED: State.ALLOTTED,
    Status.LISTING: State.CLOSED,
    Status.LISTED: State.LISTED,
    Status.WITHDRAWN: State.WITHDRAWN,
}
"""How far an issue is, at least, of which a page says so."""


class Origin(Record):
    """Who told a fact: the source, and the page's digest and time of fetch, ns UTC."""

    source: str
    page: str
    received: int


class Issue(Record):
    """An issue of shares. Money a share; `size_crore` crore rupees; days in IST; `listed_at`, `closed_at`: first price
    and close of the day of listing; `first_at`, `seen_at`: ns UTC, when it was first and last told of; `origins`: of
    each fact that is known.
    """

    id: str
    name: str
    segment: Segment | None = None
    kind: Kind | None = None
    symbol: str | None = None
    code: str | None = None
    isin: str | None = None
    exchange: str | None = None
    low: Money | None = None
    high: Money | None = None
    lot: int | None = None
    shares: int | None = None
    size_crore: float | None = None
    opens: date | None = None
    closes: date | None = None
    allots: date | None = None
    refunds: date | None = None
    lists: date | None = None
    listed_at: Money | None = None
    closed_at: Money | None = None
    status: Status = Status.UNKNOWN
    state: State = State.ANNOUNCED
    first_at: int
    seen_at: int
    origins: Mapping[str, Origin] = {}

    @property
    def over(self) -> bool:
        """Whether its life is: nothing more is to be predicted."""
        return self.state in (State.LISTED, State.WITHDRAWN)

    @property
    def shares_only(self) -> bool:
        """Whether it is one for models and alerts; one of which no source says what it is, is taken for one."""
        return self.kind in (None, Kind.IPO)

    @property
    def listing(self) -> int | None:
        """Of the first trade, ns UTC; None: the day is not known."""
        return None if self.lists is None else instant_at(self.lists, TRADES_FROM)

    @property
    def open_points(self) -> float | None:
        """What the first trade brought, points of the issue price; None: not known."""
        return _gain(self.listed_at, self.high)

    @property
    def close_points(self) -> float | None:
        """What the listing day's close brought. A close that cannot be is not known: see `repairs.first_close`."""
        if self.closed_at is None or self.high is None:
            return None
        if self.listed_at is None and self.closed_at != self.high:
            return _gain(self.closed_at, self.high)
        judged = repairs.first_close(self.closed_at, self.high, self.listed_at)
        return None if isinstance(judged, repairs.Refused) else _gain(self.closed_at, self.high)


def learned(before: Issue | None, name: str, readings: Iterable[Reading], origin: Origin) -> Issue:
    """An issue after a row's readings; `name`: its id. The readings of an older page do not undo a newer one's."""
    told = list(readings)
    words: dict[str, Any] = before.model_dump() if before is not None else _begun(name, told[0], origin)
    origins = dict(before.origins) if before is not None else {}
    for reading in told:
        for field in FACTS:
            value = getattr(reading, field, None)
            if field == "name" and value == reading.symbol:
                continue  # NSE's table of bids has no name, only the symbol it was asked by
            if value is not None and _counts(origins.get(field), origin):
                words[field], origins[field] = value, origin
    if origin.received >= words["seen_at"]:
        words["seen_at"] = origin.received
        words["status"] = next((one.status for one in told if one.status is not Status.UNKNOWN), words["status"])
    words["first_at"] = min(words["first_at"], origin.received)
    words["origins"] = origins
    issue = _redated(before, Issue.model_validate(words), origin.received)
    return advanced(issue, origin.received)


def unopened(issue: Issue) -> bool:
    """Whether no page has said that bids were taken: then it can be put off, and afterwards only be filed anew."""
    said = STANDS.get(issue.status, State.ANNOUNCED)
    return said is State.ANNOUNCED and issue.state in (State.ANNOUNCED, State.OPEN)


def joined(issue: Issue, double: Issue) -> Issue:
    """An issue, and another that turned out to be the same: of each fact the better source's word, as if one had told
    of them all. Raises BadValue: they cannot be the same.
    """
    if issue.id == double.id:
        raise BadValue("double", double.id, "another issue than the one it is to become")
    if why := _apart(issue, double):
        raise BadValue("double", double.id, f"the same issue as {issue.id}, but {why}")
    words, origins = issue.model_dump(), dict(issue.origins)
    for field, origin in double.origins.items():
        if _counts(origins.get(field), origin):
            words[field], origins[field] = getattr(double, field), origin
    if double.seen_at > issue.seen_at and double.status is not Status.UNKNOWN:
        words["status"] = double.status
    seen_at = max(issue.seen_at, double.seen_at)
    further = max(issue.state, double.state, key=(*COURSE, State.WITHDRAWN).index)
    words |= {"first_at": min(issue.first_at, double.first_at), "seen_at": seen_at, "state": further}
    return advanced(Issue.model_validate(words | {"origins": origins}), seen_at)


def advanced(issue: Issue, at: int) -> Issue:
    """Where it stands `at`, ns UTC: by what pages say, and by the clock. Before its listing day it is not listed,
    whatever a page says: one slip would be final.
    """
    told = [STANDS[issue.status]] if issue.status in STANDS else []
    if issue.listed_at is not None or _traded(issue, at):
        told.append(State.LISTED)
    if issue.lists is not None and at < instant_at(issue.lists, time(0)):
        told = [goal for goal in told if goal is not State.LISTED]
    if issue.status is not Status.POSTPONED:
        if issue.opens is not None and at >= instant_at(issue.opens, BIDS_FROM):
            told.append(State.OPEN)
        if issue.closes is not None and at >= instant_at(issue.closes, BIDS_UNTIL):
            told.append(State.CLOSED)
    state = issue.state
    for goal in told:
        state = _reached(state, goal, at)
    return issue if state is issue.state else issue.model_copy(update={"state": state})


def _begun(name: str, first: Reading, origin: Origin) -> dict[str, Any]:
    told = {"id": name, "name": first.name, "status": Status.UNKNOWN}
    return told | {"first_at": origin.received, "seen_at": origin.received}


def _traded(issue: Issue, at: int) -> bool:
    if issue.lists is None or issue.status is Status.POSTPONED:
        return False
    over = instant_at(issue.lists + timedelta(days=1), time(0))
    origin = issue.origins.get("lists")
    told = origin is not None and RANKS.get(origin.source, 0) >= OFFICIAL and origin.received >= over
    return at >= over and (told or issue.closed_at is not None)


def _redated(before: Issue | None, issue: Issue, at: int) -> Issue:
    if before is None:
        return issue
    if _later(before.opens, issue.opens, BIDS_FROM, at) and (issue.state, Postponed) in MOVES:
        state = move(issue.state, Postponed(at=at))
        old = [field for field in ("closes", "allots", "refunds", "lists") if _before(issue, field)]
        origins = {field: origin for field, origin in issue.origins.items() if field not in old}
        return issue.model_copy(update={"state": state, "origins": origins, **dict.fromkeys(old)})
    if _later(before.closes, issue.closes, BIDS_UNTIL, at) and (issue.state, Extended) in MOVES:
        return issue.model_copy(update={"state": move(issue.state, Extended(at=at))})
    return issue


def _later(before: date | None, now: date | None, clock: time, at: int) -> bool:
    return before is not None and now is not None and now > before and at < instant_at(now, clock)


def _before(issue: Issue, field: str) -> bool:
    day = getattr(issue, field)
    return day is not None and issue.opens is not None and day < issue.opens


def _apart(issue: Issue, double: Issue) -> str:
    for field in ("segment", "kind"):
        mine, theirs = getattr(issue, field), getattr(double, field)
        if None not in (mine, theirs) and mine is not theirs:
            return f"they differ in {field}: {mine} and {theirs}"
    if issue.isin and double.isin and issue.isin[:LINE] != double.isin[:LINE]:
        return f"they differ in ISIN: {issue.isin} and {double.isin}"
    for field in ("opens", "closes", "lists"):
        mine, theirs = getattr(issue, field), getattr(double, field)
        if mine and theirs and abs(mine - theirs) > NEAR:
            return f"they differ in {field}: {mine} and {theirs}"
    if (issue.state is State.WITHDRAWN) is not (double.state is State.WITHDRAWN):
        return "one of them was withdrawn"  # filed anew it is another issue
    return ""


def _counts(before: Origin | None, now: Origin) -> bool:
    if before is None:
        return True
    ranks = RANKS.get(before.source, 0), RANKS.get(now.source, 0)
    return ranks[1] > ranks[0] or (ranks[1] == ranks[0] and now.received >= before.received)


def _reached(state: State, goal: State, at: int) -> State:
    if state in (State.LISTED, State.WITHDRAWN):
        return state
    if goal is State.WITHDRAWN:
        return move(state, Withdrawn(at=at))
    while COURSE.index(state) < COURSE.index(goal):
        step = State.LISTED if state is State.CLOSED and goal is State.LISTED else COURSE[COURSE.index(state) + 1]
        state = move(state, STEPS[step](at=at))
    return state


def _gain(came: Money | None, price: Money | None) -> float | None:
    return None if came is None or price is None else POINTS * (came / price - 1)
