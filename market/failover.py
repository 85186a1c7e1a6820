"""Failover: which feed is the active one, decided from the marks in the log and the operator's wishes.

Times are of the market, the newest mark of any feed; durations are by a clock of our own, which goes on with whichever
feed goes on: how far two feeds' times lie apart does not matter, nor that one of them jumps.

A feed is in trouble when it is MUTE, when it has been DOWN for `PATIENCE` (a line that is back within a second is no
trouble), or when it has said nothing for as long as it may be mute while other feeds went on: a dead process writes no
marks.

Each feed has a breaker. Trouble while the exchange trades opens it. It is half-open once the feed is LIVE again, and
closed when it has stayed LIVE for `return_after`, twice as long for each time it failed again within `FORGET` of that.
The active feed stays while it is not in trouble. Of the others the first in order that is LIVE with a closed breaker is
better than the active one if it stands before it (so the return is calm), or if the active one is in trouble; then one
that is half-open will do. When none is LIVE the active one stays, and so it does while the exchange is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal

import numpy as np
from pydantic import Field

from market.alerts import OperatorAlert
from market.records import Record
from market.sessions import IST, MINUTE, SECOND, Sessions, instant
from market.ticks import FeedState, Kind, Ticks
from market.wishes import Wishes

PATIENCE = SECOND
FORGET = 10 * MINUTE
APART = 5 * SECOND
"""A feed whose time moved against the others' by more than this has another clock now."""
LONGEST = 15 * MINUTE
"""A feed that flaps is tried again after this at the latest."""

Reason = Literal["start", "mute", "down", "silent", "closed", "return", "forced", "gone"]


class Breaker(StrEnum):
    """Whether a feed may be trusted: `closed` yes, `open` no, `half-open` it is LIVE again and on trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Rule(Record):
    """One feed in the order of trust. `source`: its number in the log; `silent_after`: ns of market time; `standby`:
    the primary or one of its chain of fallbacks, taken unasked; another is taken only by force.
    """

    name: str
    source: int = Field(ge=0)
    standby: bool = True
    silent_after: int = Field(default=3 * SECOND, gt=0)


class Standing(Record):
    """What is known of one feed.

    `at`, `since`: of its newest mark, market time, ns UTC. By our own clock, ns, 0 for never: `heard`: when that mark
    came; `trouble`: since when it is in trouble; `well`: since when it has been LIVE; `settled`: when its breaker was
    closed last. `offset`: our clock less its time; `fails`: how often it failed in a row.
    """

    state: FeedState | None = None
    at: int = 0
    since: int = 0
    offset: int = 0
    heard: int = 0
    trouble: int = 0
    well: int = 0
    settled: int = 0
    fails: int = 0
    breaker: Breaker = Breaker.CLOSED


class Seam(Record):
    """One switch. `number`: counts them; `at`: market time of the decision; `since`: the last data of the feed that
    was left, both ns UTC.
    """

    number: int = Field(ge=0)
    old: str = ""
    new: str
    source: int = Field(ge=0)
    at: int = Field(ge=0)
    since: int = Field(ge=0)
    reason: Reason


class State(Record):
    """All that a restarted switch must know."""

    now: int = 0
    clock: int = 0
    feeds: dict[str, Standing] = Field(default_factory=dict)
    seam: Seam | None = None


class Failover:
    """Follows the marks of the feeds in `rules`, most trusted first, and says when to switch.

    `return_after`: ns of market time a feed must have been LIVE before it is trusted again.
    """

    def __init__(self, rules: Sequence[Rule], sessions: Sessions, return_after: int = 30 * SECOND) -> None:
        self.rules = tuple(rules)
        self.wishes = Wishes()
        self.seam: Seam | None = None
        self.now = 0
        self._clock = 0
        self._sessions = sessions
        self._return_after = return_after
        self._by_source = {rule.source: rule for rule in rules}
        self._silent_after = {rule.name: rule.silent_after for rule in rules}
        self._feeds = {rule.name: Standing() for rule in rules}

    @property
    def active(self) -> str | None:
        """The active feed's name; None before the first decision."""
        return self.seam.new if self.seam else None

    def standing(self, name: str) -> Standing:
        """What is known of a feed."""
        return self._feeds[name]

    def return_after(self, name: str) -> int:
        """ns of market time for which a feed must stay LIVE until its breaker closes."""
        return min(self._return_after << min(max(self._feeds[name].fails - 1, 0), 30), max(LONGEST, self._return_after))

    def snapshot(self) -> State:
        """What a successor goes on from."""
        return State(now=self.now, clock=self._clock, feeds=self._feeds, seam=self.seam)

    def restore(self, state: State) -> None:
        """Go on from a predecessor's state; feeds that are no longer there are forgotten."""
        self.now, self._clock, self.seam = state.now, state.clock, state.seam
        self._feeds |= {name: standing for name, standing in state.feeds.items() if name in self._feeds}

    def switched(self, seam: Seam) -> None:
        """A switch stands in the log, whoever decided it."""
        if self.seam is None or seam.number > self.seam.number:
            self.seam = seam

    def step(self, rows: Ticks) -> None:
        """Take in the marks among `TICK` rows, (n,), in the order of the log."""
        for row in rows[rows["kind"] == Kind.MARK]:
            rule = self._by_source.get(int(row["source"]))
            if rule is not None and row["flags"] != FeedState.ACTIVE:
                self._hear(rule.name, row)
                self._judge()

    def decide(self) -> Seam | None:
        """The switch that is due now, or None."""
        if not self.now:
            return None
        best, reason = self._best()
        active = self.active
        if best is None or best == active:
            return None
        rule = next(r for r in self.rules if r.name == best)
        since = self._feeds[active].since if active in self._feeds else self.now
        return Seam(
            number=self.seam.number + 1 if self.seam else 0,
            old=active or "",
            new=best,
            source=rule.source,
            at=self.now,
            since=min(since, self.now),
            reason=reason,
        )

    def _best(self) -> tuple[str | None, Reason]:
        names = [rule.name for rule in self.rules if rule.standby]
        active, wishes = self.active, self.wishes
        if wishes.forced in self._feeds:
            return wishes.forced, "forced"
        if active is None:
            return names[0], "start"
        if active not in self._feeds:
            return self._first(names) or names[0], "gone"
        if wishes.held:
            return active, "start"
        if active in wishes.closed:
            return self._first([n for n in names if n != active]), "closed"
        trouble = self._trouble(active)
        if trouble is not None:
            return self._first([n for n in names if n != active]), trouble
        if not self._trading():
            return active, "return"
        before = names[: names.index(active)] if active in names else names
        better = [n for n in before if self._ready(n) and self._closed(n)]
        return (better[0] if better else active), "return"

    def _first(self, names: Sequence[str]) -> str | None:
        ready = [n for n in names if self._ready(n)]
        return next((n for n in ready if self._closed(n)), ready[0] if ready else None)

    def _closed(self, name: str) -> bool:
        return self._feeds[name].breaker is Breaker.CLOSED

    def _ready(self, name: str) -> bool:
        live = self._feeds[name].state is FeedState.LIVE
        return live and self._trouble(name) is None and name not in self.wishes.closed

    def _trading(self) -> bool:
        return not self._sessions.phase(self.now).resting

    def _trouble(self, name: str) -> Reason | None:
        """What is wrong with a feed, whatever the hour."""
        feed = self._feeds[name]
        if self._clock - feed.heard > self._silent_after[name]:
            return "silent"
        if feed.state is FeedState.MUTE:
            return "mute"
        down = feed.state is FeedState.DOWN
        return "down" if down and self._clock - feed.trouble >= PATIENCE else None

    def _hear(self, name: str, row: np.void) -> None:
        feed, state, at = self._feeds[name], FeedState(int(row["flags"])), int(row["at"])
        self.now = max(self.now, at)
        self._clock = self._clock or at
        ours = at + feed.offset
        if not feed.at or abs(ours - self._clock) > APART:
            ours = self._clock
        self._clock = max(self._clock, ours)
        told: dict[str, object] = {"state": state, "at": at, "heard": self._clock, "offset": ours - at}
        told["since"] = at if state is FeedState.LIVE else int(row["quoted"])
        if state is FeedState.LIVE and feed.state is not FeedState.LIVE:
            told["well"] = self._clock
        if state in (FeedState.MUTE, FeedState.DOWN) and feed.state not in (FeedState.MUTE, FeedState.DOWN):
            told["trouble"] = self._clock
        self._feeds[name] = feed.model_copy(update=told)

    def _judge(self) -> None:
        """Move the breakers of all feeds to where they belong by now."""
        for rule in self.rules:
            feed = self._feeds[rule.name]
            if not feed.heard:
                self._feeds[rule.name] = feed.model_copy(update={"heard": self._clock})
                continue
            moved = self._breaker(rule.name, feed)
            if moved:
                self._feeds[rule.name] = feed.model_copy(update=moved)

    def _breaker(self, name: str, feed: Standing) -> Mapping[str, object]:
        trouble = self._trouble(name)
        if trouble is not None:
            if feed.breaker is Breaker.OPEN or not self._trading():
                return {}
            again = feed.breaker is Breaker.HALF_OPEN or (feed.fails and self._clock - feed.settled < FORGET)
            return {"breaker": Breaker.OPEN, "fails": feed.fails + 1 if again else 1}
        if feed.breaker is Breaker.OPEN and feed.state is FeedState.LIVE:
            return {"breaker": Breaker.HALF_OPEN, "well": self._clock}
        tried = feed.breaker is Breaker.HALF_OPEN and feed.state is FeedState.LIVE
        if tried and self._clock - feed.well >= self.return_after(name):
            return {"breaker": Breaker.CLOSED, "settled": self._clock}
        return {}


def told(seam: Seam) -> OperatorAlert | None:
    """What the operator hears of a switch; None of the first one. It is over with the return to a trusted feed."""
    if not seam.old:
        return None
    text = {
        "mute": f"{seam.old} has been mute since {_clock(seam.since)}",
        "down": f"{seam.old} has been down since {_clock(seam.since)}",
        "silent": f"{seam.old} says nothing; its last word is of {_clock(seam.since)}",
        "closed": f"{seam.old} was closed by hand",
        "return": f"{seam.new} is well again",
        "forced": f"{seam.new} was forced by hand",
    }.get(seam.reason, f"{seam.old} is not in the file any more")
    return OperatorAlert(
        kind="switch",
        subject="feeds",
        at=seam.at,
        severity="info",
        text=f"{text}: {seam.new} is the active feed since {_clock(seam.at)}",
        over=seam.reason == "return",
    )


def _clock(at: int) -> str:
    return f"{instant(at).astimezone(IST):%H:%M:%S} IST"


def order(primary: str, fallbacks: Mapping[str, str | None]) -> list[str]:
    """The feeds from the primary along its chain of fallbacks, each once.

    >>> order("a", {"c": None, "a": "b", "b": "a"})
    ['a', 'b']
    """
    chain = [primary]
    while (following := fallbacks[chain[-1]]) is not None and following not in chain:
        chain.append(following)
    return chain
