"""Coverage: for every instrument and session, whether its candles are all there, and if not, why.

A minute is *missing* if no row of it was ever written or the row is a GAP, *incomplete* if a feed was LIVE for a part
of it only. A session of an instrument is

- `holiday`: the exchange did not trade that day;
- `not listed`: others have candles of the session and this instrument has none at all;
- `halted`: every minute is there and whole, and in none of them did it trade;
- `complete`: every minute is there and whole;
- `gap`: everything else. Where nobody has a candle of the session, all its minutes are missing.

A closed session is told by its daily candle: that is rolled from all its minutes, so its completeness is 1 only if
theirs are. Only sessions for which it is not are looked at minute by minute.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

import numpy as np

from market.alerts import OperatorAlert
from market.candles import INTERVALS, Candles, Provenance
from market.records import Record
from market.sessions import IST, MINUTE, instant

SPANS = 20
"""Spans of minutes named in one answer; all are counted."""

MINUTES = INTERVALS["1m"]


class Coverage(StrEnum):
    """What an instrument's session is."""

    COMPLETE = "complete"
    GAP = "gap"
    HOLIDAY = "holiday"
    HALTED = "halted"
    NOT_LISTED = "not listed"


class Cause(StrEnum):
    """Why minutes of a session are not there, or not whole."""

    NEVER_RECORDED = "never recorded"
    NO_FEED = "no feed was live"
    PART = "a feed was live for a part"
    NOBODY_HAS = "the vendor has none either"


class Span(Record):
    """Neighbouring minutes with one cause: [start, end), ns UTC."""

    start: int
    end: int
    cause: Cause


class Entry(Record):
    """One instrument's session. `minutes`: how many it has had so far; `missing`, `incomplete`: how many of them.

    `covered`: the share of its time for which the candles are there, 0..1; None on a holiday.
    """

    symbol: str
    session: date
    coverage: Coverage
    minutes: int = 0
    missing: int = 0
    incomplete: int = 0
    covered: float | None = None
    spans: tuple[Span, ...] = ()


def gaps_begun(rows: Candles, running: int) -> list[int]:
    """Where runs of GAP minutes begin among rows just closed, ns UTC; the one already `running` is not told again."""
    gap = (rows["interval"] == MINUTES) & (rows["provenance"] == Provenance.GAP)
    starts = np.unique(rows["start"][gap])
    begun: list[int] = starts[np.diff(starts, prepend=starts[:1] - 2 * MINUTE) != MINUTE].tolist()
    first = rows["start"][rows["interval"] == MINUTES]
    goes_on = running and begun and begun[0] == int(first.min())
    return begun[1:] if goes_on else begun


def gap_alert(start: int, text: str = "", *, over: bool = False) -> OperatorAlert:
    """The alert for an outage in which no feed was LIVE from this minute on, or for its end."""
    clock = instant(start).astimezone(IST).strftime("%Y-%m-%d %H:%M")
    said = text or f"no feed was live from {clock} in India: the minutes are gaps until they are repaired"
    return OperatorAlert(kind="gap", subject=f"outage of {clock}", at=start, text=said, over=over)
