"""Troubles: when an operator hears of a feed that is not well, once for each trouble, and once when it is over.

A feed that is not LIVE while its exchange trades is in trouble; after `PATIENCE` of it the operator hears. It is well
again only after `CALM` of LIVE, or of an open line when the exchange has closed: a line that revives for the length of
a snapshot is the same trouble still. A refused login and an eviction are told at once, whatever the hour: waiting does
not mend them. What was told and not called over outlives the feed's process: a new one takes it up.

A part that breaks again and again cannot tell of itself, nor can a feed that never heard its market's clock: that is
told by who restarts them, of kind `part` and by the wall's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum

from market.alerts import OperatorAlert, still_open
from market.sessions import SECOND
from market.ticks import FeedState

KIND = "feed"
PART = "part"
OFTEN = 5
"""A part that broke so often within `WITHIN` will not mend by being restarted."""
WITHIN = 60 * SECOND
BY_HAND = "closed by hand"
PATIENCE = 30 * SECOND
CALM = 10 * SECOND


class Health(StrEnum):
    """How a feed is, as far as its operator is concerned."""

    WELL = "well"
    RESTING = "resting"
    """It brings nothing, and nothing is expected of it: no session, or closed by hand."""
    TROUBLED = "troubled"
    EVICTED = "evicted"
    BROKEN = "broken"
    REFUSED = "refused"


class Troubles:
    """What has been told of one feed, or of what else has a health; `kind`: of which kind its alerts are.

    Times are ns of market time and never fall; a fallen one counts as the last.
    """

    def __init__(self, feed: str, told: Iterable[OperatorAlert] = (), kind: str = KIND) -> None:
        """`told`: alerts in the order of their telling, of whatever; those of this feed that are open are taken up."""
        self._feed, self._kind = feed, kind
        mine = [a for a in still_open(told) if a.kind == kind and a.subject == feed]
        self.open: OperatorAlert | None = mine[-1] if mine else None
        self._now = mine[-1].at if mine else 0
        self._ill: int | None = None
        self._well: int | None = None

    def step(self, now: int, health: Health, reason: str = "") -> OperatorAlert | None:
        """The alert due at `now`, if one is; `reason` says what is wrong, or how to log in."""
        self._now = now = max(now, self._now)
        if health is Health.WELL:
            return self._recovered(now)
        self._well = None
        if health is Health.RESTING:
            self._ill = None
            return None
        if self._ill is None:
            self._ill = now
        if health is Health.REFUSED:
            urgent = self.open is None or self.open.severity != "critical"
            return self._tell(now, "critical", f"login needed; {reason}") if urgent else None
        if self.open is not None:
            return None
        if health is Health.EVICTED:
            return self._tell(now, "warning", f"another client uses this account and is given our place; {reason}")
        if health is Health.BROKEN:
            return self._tell(now, "critical", reason)
        if now - self._ill >= PATIENCE:
            return self._tell(self._ill, "warning", f"no data for {(now - self._ill) // SECOND} s; {reason}")
        return None

    def closed(self) -> OperatorAlert | None:
        """The operator closed the feed: whatever was open is over."""
        self._ill = self._well = None
        return self._over(BY_HAND)

    def _recovered(self, now: int) -> OperatorAlert | None:
        self._well = now if self._well is None else self._well
        if now - self._well < CALM:
            return None
        self._ill = None
        return self._over("it is well again" if self._kind == PART else "it brings data again")

    def _tell(self, at: int, severity: str, text: str) -> OperatorAlert:
        # The bus knows an alert by its millisecond: this one comes behind the one that is open.
        at = max(at, self.open.at + SECOND) if self.open is not None else at
        told = {"kind": self._kind, "subject": self._feed, "at": at, "severity": severity, "text": text}
        self.open = OperatorAlert.model_validate(told)
        return self.open

    def _over(self, text: str) -> OperatorAlert | None:
        if self.open is None:
            return None
        over = self.open.model_copy(update={"over": True, "severity": "info", "text": text})
        self.open = None
        return over


class PartTroubles:
    """What has been told of one part by who restarts it. Times are ns of the wall's clock."""

    def __init__(self, part: str, told: Iterable[OperatorAlert] = ()) -> None:
        """`told`: as for `Troubles`."""
        self._part = part
        self._troubles = Troubles(part, told, PART)
        self._breaks: deque[int] = deque(maxlen=OFTEN)
        self._why = ""

    def broke(self, now: int, reason: str) -> None:
        """Its run broke, and is called again."""
        self._breaks.append(now)
        self._why = reason

    def step(self, now: int, absent: str = "") -> OperatorAlert | None:
        """The alert due at `now`, if one is; `absent`: why it is a feed that never heard its market, else empty."""
        if len(self._breaks) == OFTEN and now - self._breaks[0] < WITHIN:
            text = f"{self._part} broke {OFTEN} times within a minute; {self._why}"
            return self._troubles.step(now, Health.BROKEN, text)
        health = Health.TROUBLED if absent else Health.WELL
        return self._troubles.step(now, health, f"{self._part} has never come up: {absent}")


def absent(health: Mapping[str, object]) -> str:
    """Why a part, by what it says of itself, is a feed that is DOWN and never heard its market's clock, else empty."""
    waits = health.get("part") == "feed" and health.get("state") == FeedState.DOWN.name and not health["market_time"]
    return str(health["trouble"] or "no line yet") if waits and health["trouble"] != BY_HAND else ""
