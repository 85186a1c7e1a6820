"""Troubles: when an operator hears of a feed that is not well, once for each trouble, and once when it is over.

A feed that is not LIVE while its exchange trades is in trouble; after `PATIENCE` of it the operator hears. It is well
again only after `CALM` of LIVE, or of an open line when the exchange has closed: a line that revives for the length of
a snapshot is the same trouble still. A refused login and an eviction are told at once, whatever the hour: waiting does
not mend them. What was told and not called over outlives the feed's process: a new one takes it up.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from market.alerts import OperatorAlert, still_open
from market.sessions import SECOND

KIND = "feed"
PATIENCE = 30 * SECOND
CALM = 10 * SECOND


class Health(StrEnum):
    """How a feed is, as far as its operator is concerned."""

    WELL = "well"
    RESTING = "resting"
    """It brings nothing, and nothing is expected of it: no session, or closed by hand."""
    TROUBLED = "troubled"
    EVICTED = "evicted"
    REFUSED = "refused"


class Troubles:
    """What has been told of one feed. Times are ns of market time and never fall; a fallen one counts as the last."""

    def __init__(self, feed: str, told: Iterable[OperatorAlert] = ()) -> None:
        """`told`: alerts in the order of their telling, of whatever; those of this feed that are open are taken up."""
        self._feed = feed
        mine = [a for a in still_open(told) if a.kind == KIND and a.subject == feed]
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
        if now - self._ill >= PATIENCE:
            return self._tell(self._ill, "warning", f"no data for {(now - self._ill) // SECOND} s; {reason}")
        return None

    def closed(self) -> OperatorAlert | None:
        """The operator closed the feed: whatever was open is over."""
        self._ill = self._well = None
        return self._over("closed by hand")

    def _recovered(self, now: int) -> OperatorAlert | None:
        self._well = now if self._well is None else self._well
        if now - self._well < CALM:
            return None
        self._ill = None
        return self._over("it brings data again")

    def _tell(self, at: int, severity: str, text: str) -> OperatorAlert:
        # The bus knows an alert by its millisecond: this one comes behind the one that is open.
        at = max(at, self.open.at + SECOND) if self.open is not None else at
        told = {"kind": KIND, "subject": self._feed, "at": at, "severity": severity, "text": text}
        self.open = OperatorAlert.model_validate(told)
        return self.open

    def _over(self, text: str) -> OperatorAlert | None:
        if self.open is None:
            return None
        over = self.open.model_copy(update={"over": True, "severity": "info", "text": text})
        self.open = None
        return over
