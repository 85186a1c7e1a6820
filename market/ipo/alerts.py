"""Alerts of the IPO desk: what somebody who might apply should hear of an issue, each event once.

They are for issues of shares that are not listed yet. A thing is told when it is true for the first time, not again
when it becomes so once more; only a spike is told each time there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from market.ipo.facts import points
from market.ipo.issues import BIDS_UNTIL, TRADES_FROM, Issue
from market.ipo.life import State
from market.ipo.profit import Thresholds, profitable
from market.ipo.validation import ValidatedGmp
from market.money import Money, decimal
from market.records import Record
from market.sessions import DAY, IST, at, instant

REMINDED_FROM = time(17)
"""On the eve of the listing, on India's clocks."""

AHEAD = (State.ANNOUNCED, State.OPEN)
"""While one can still apply."""

LATELY = 2 * DAY
"""So long after it came true an event is still worth telling."""


class IssueEvent(StrEnum):
    """What there is to tell of an issue."""

    NEW = "ipo_new"
    PROFITABLE = "ipo_profitable"
    SPIKE = "ipo_spike"
    CLOSING = "ipo_closing"
    REMINDER = "ipo_reminder"


class IssueAlert(Record):
    """An event of an issue, told `at`, ns UTC. `about` sets apart events of one kind: of a spike its instant, else
    nothing. `user`: whom it is for, by thresholds of their own; empty: for everybody who has none. `gmp` a share,
    `points` of the issue price: what was believed then; None: nothing was.
    """

    event: IssueEvent
    issue: str
    about: str = ""
    user: str = ""
    at: int
    text: str
    gmp: Money | None = None
    points: float | None = None

    def timely(self, now: int) -> bool:
        """Whether somebody who hears of it only `now`, ns UTC, can still make something of it."""
        day = day_of(self.at)
        if self.event is IssueEvent.CLOSING:
            return now < at(day, BIDS_UNTIL)
        if self.event is IssueEvent.REMINDER:
            morning = at(day, TRADES_FROM)
            return now < (morning if self.at < morning else at(day + timedelta(days=1), TRADES_FROM))
        return now - self.at < LATELY

    @property
    def topic(self) -> str:
        """What it is about, the same whoever comes to it."""
        return f"{self.event}:{self.issue}:{self.about}" + (f":{self.user}" if self.user else "")


def due(
    issue: Issue, believed: ValidatedGmp | None, now: int, listing: date | None, thresholds: Thresholds
) -> Iterator[IssueAlert]:
    """The events that are true `now`, ns UTC, told or not; `listing`: the day it lists, or should."""
    if issue.over or not issue.shares_only:
        return
    gmp, worth = _worth(issue, believed)
    today, clock = (moment := instant(now).astimezone(IST)).date(), moment.time()

    def alert(event: IssueEvent, said: str, about: str = "") -> IssueAlert:
        text = f"{issue.name}: {said}"
        return IssueAlert(event=event, issue=issue.id, about=about, at=now, text=text, gmp=gmp, points=worth)

    yield alert(IssueEvent.NEW, f"a new issue, {_days(issue)}")
    if issue.state in AHEAD and profitable(gmp, issue.high, thresholds):
        yield alert(IssueEvent.PROFITABLE, f"worth an application: {_premium(gmp, worth)}")
    if believed is not None and believed.spike is not None:
        spike = believed.spike
        yield alert(IssueEvent.SPIKE, f"the premium went from {spike.before_points:.1f} to {spike.points:.1f} points",
                    about=str(believed.at))  # fmt: skip
    if issue.closes == today and clock < BIDS_UNTIL and issue.state is State.OPEN:
        yield alert(IssueEvent.CLOSING, f"bids are taken until {BIDS_UNTIL:%H:%M} today; {_premium(gmp, worth)}")
    if listing is not None and _reminds(listing) <= now < at(listing, TRADES_FROM):
        yield alert(IssueEvent.REMINDER, f"it lists on {listing:%d %B %Y}; {_premium(gmp, worth)}")


def due_to(
    issue: Issue, believed: ValidatedGmp | None, now: int, own: Mapping[str, Thresholds]
) -> Iterator[IssueAlert]:
    """What is due to users by thresholds of their own, by user: that it is profitable `now`, ns UTC, told or not."""
    if issue.state not in AHEAD or not issue.shares_only:
        return
    gmp, worth = _worth(issue, believed)
    reached = {one: profitable(gmp, issue.high, one) for one in set(own.values())}
    text = f"{issue.name}: worth an application by your thresholds: {_premium(gmp, worth)}"
    for user, one in own.items():
        if reached[one]:
            yield IssueAlert(
                event=IssueEvent.PROFITABLE, issue=issue.id, user=user, at=now, text=text, gmp=gmp, points=worth
            )


def _worth(issue: Issue, believed: ValidatedGmp | None) -> tuple[Money | None, float | None]:
    gmp = None if believed is None else believed.gmp
    return gmp, points(gmp, issue.high) if gmp is not None and issue.high is not None else None


def _premium(gmp: Money | None, worth: float | None) -> str:
    return "no premium is known" if worth is None or gmp is None else f"premium {_rupees(gmp)}, {worth:.1f} points"


def _reminds(listing: date) -> int:
    return at(listing - timedelta(days=1), REMINDED_FROM)


def _days(issue: Issue) -> str:
    if issue.opens is None or issue.closes is None:
        return "its days are not known"
    return f"open from {issue.opens:%d %B} to {issue.closes:%d %B %Y}"


def _rupees(amount: Money) -> str:
    return f"Rs {decimal(amount)}"


def day_of(now: int) -> date:
    """The day on India's clocks, of ns UTC."""
    found: datetime = instant(now).astimezone(IST)
    return found.date()
