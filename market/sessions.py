"""Sessions: when the exchange trades. IST lives here and on screens.

A session is named by its date in India. Pre-open packets move the volume base and fold into no candle; continuous
trading is [open, close). A session may be short, in the evening (muhurat) or on a weekend: nothing here assumes 09:15
to 15:30.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.records import Record

IST = ZoneInfo("Asia/Kolkata")
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND

PREOPEN = time(9, 0)
OPEN = time(9, 15)
CLOSE = time(15, 30)


class Phase(StrEnum):
    """What the exchange does at an instant."""

    CLOSED = "closed"
    PREOPEN = "pre-open"
    CONTINUOUS = "continuous"


class Session(Record):
    """One trading day; instants in ns UTC, `preopen` <= `open` < `close`."""

    date: date
    preopen: int
    open: int
    close: int

    @property
    def minutes(self) -> int:
        """How many one-minute candles the session has."""
        return (self.close - self.open) // MINUTE


def at(day: date, clock: time) -> int:
    """The instant, ns UTC, at which India's clocks show this.

    >>> at(date(2016, 8, 25), time(9, 15))
    1472096700000000000
    """
    return int(datetime.combine(day, clock, IST).timestamp()) * SECOND


def instant(nanoseconds: int) -> datetime:
    """An aware UTC datetime, to the microsecond."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC) + timedelta(microseconds=nanoseconds % SECOND // 1000)


def nanoseconds(moment: datetime) -> int:
    """ns UTC of an aware datetime. Raises BadValue for a naive one."""
    if moment.tzinfo is None:
        raise BadValue("time", moment.isoformat(), "a time with its zone, for example 2016-08-25T09:15:00+05:30")
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * SECOND + moment.microsecond * 1000


def day_number(day: date) -> int:
    """Days since 1970-01-01, as `CANDLE.session` holds it."""
    return day.toordinal() - date(1970, 1, 1).toordinal()


def session(day: date, opens: time = OPEN, closes: time = CLOSE) -> Session:
    """The session of a day, with the usual hours unless told otherwise; pre-open is the quarter of an hour before."""
    start = at(day, opens)
    return Session(date=day, preopen=start - 15 * MINUTE, open=start, close=at(day, closes))


class Sessions:
    """The sessions of a span of days, in order."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._sessions = sorted(sessions, key=lambda s: s.open)
        self._midnights = [at(s.date, time(0)) for s in self._sessions]
        self._by_date = {s.date: s for s in self._sessions}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    def on(self, day: date) -> Session | None:
        """The session of that day, or None: it is a holiday."""
        return self._by_date.get(day)

    def of(self, when: int) -> Session | None:
        """The session whose day in India holds this instant, or None."""
        i = bisect_right(self._midnights, when) - 1
        return self._sessions[i] if i >= 0 and when < self._midnights[i] + DAY else None

    def phase(self, when: int) -> Phase:
        """What the exchange does at this instant."""
        today = self.of(when)
        if today is None or when >= today.close or when < today.preopen:
            return Phase.CLOSED
        return Phase.PREOPEN if when < today.open else Phase.CONTINUOUS

    def after(self, when: int) -> Session | None:
        """The first session that opens later than this instant."""
        return next((s for s in self._sessions if s.open > when), None)

    def table(self) -> npt.NDArray[np.int64]:
        """(n, 4): midnight in India, pre-open, open, close, all ns UTC, oldest first."""
        rows = [(m, s.preopen, s.open, s.close) for m, s in zip(self._midnights, self._sessions, strict=True)]
        return np.array(rows, np.int64).reshape(-1, 4)
