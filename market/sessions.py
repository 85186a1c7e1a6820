"""Sessions: when an exchange trades. Zones live here and on screens.

A session is named by its date on the exchange's own clocks. Pre-open packets move the volume base and fold into no
candle; trading is [open, close) without the pauses. A session may be short, in the evening (muhurat), on a weekend or
in two halves: nothing here assumes 09:15 to 15:30. A pause is not quiet and not a gap: it has no minutes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from market.errors import BadValue
from market.records import Record

IST = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND

PREOPEN = time(9, 0)
OPEN = time(9, 15)
CLOSE = time(15, 30)

ExchangeName = Literal["NSE", "BSE", "NASDAQ", "NYSE"]
ZONES: dict[ExchangeName, ZoneInfo] = {"NSE": IST, "BSE": IST, "NASDAQ": NEW_YORK, "NYSE": NEW_YORK}
"""Every exchange whose sessions are known, and the clocks it goes by."""

FIRST_YEAR, LAST_YEAR = 1970, 2261
YEARS = f"{FIRST_YEAR} to {LAST_YEAR}"
"""Those all of whose instants are whole ns in 64 bits."""

HOURS = 4
"""Columns of `Sessions.table` before those of the pauses."""

NO_TABLE: npt.NDArray[np.int64] = np.zeros((0, HOURS), np.int64)


class Phase(StrEnum):
    """What the exchange does at an instant. `CLOSING` is all trading after the close: it sets no candle."""

    CLOSED = "closed"
    PREOPEN = "pre-open"
    CONTINUOUS = "continuous"
    MUHURAT = "muhurat"
    EXTENDED = "extended"
    PAUSE = "pause"
    CLOSING = "closing"

    @property
    def trading(self) -> bool:
        """Whether candles are made now, and data must be coming."""
        return self in _TRADING

    @property
    def resting(self) -> bool:
        """Whether an open line is all that can be asked of a feed, and not even orders gather for the open."""
        return self in _RESTING


_TRADING = frozenset({Phase.CONTINUOUS, Phase.MUHURAT, Phase.EXTENDED})
_RESTING = frozenset({Phase.CLOSED, Phase.PAUSE, Phase.CLOSING})


class Kind(StrEnum):
    """Why a session is as it is. `HALF` is a short one, `SPECIAL` is on a weekend, `DRILL` tries the second site."""

    REGULAR = "regular"
    MUHURAT = "muhurat"
    BUDGET = "budget"
    SPECIAL = "special"
    DRILL = "drill"
    EXTENDED = "extended"
    HALF = "half"


class Pause(Record):
    """No trading in [start, end), ns UTC; from `preopen` on orders are taken for the second half."""

    start: int
    preopen: int
    end: int


class Session(Record):
    """One trading day; instants in ns UTC, `preopen` <= `open` < `close`.

    `closing`: so many ns of trading after `close`. `extended`: from here on it is later than usual. `source`: who says
    so. Pauses begin and end whole minutes after `open`.
    """

    date: date
    preopen: int
    open: int
    close: int
    exchange: ExchangeName = "NSE"
    kind: Kind = Kind.REGULAR
    pauses: tuple[Pause, ...] = ()
    closing: int = Field(default=0, ge=0)
    extended: int | None = None
    source: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        edges = [self.open]
        for pause in self.pauses:
            edges += [pause.start, pause.end]
            if not pause.start <= pause.preopen <= pause.end:
                raise ValueError("the pre-open of the second half lies in the pause")
        edges.append(self.close)
        if self.preopen > self.open or any(a >= b for a, b in pairwise(edges)):
            raise ValueError("pre-open, open, pauses and close come in this order")
        if self.pauses and any((edge - self.open) % MINUTE for edge in edges[:-1]):
            raise ValueError("pauses begin and end whole minutes after the open")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """The clocks of its exchange."""
        return ZONES[self.exchange]

    @property
    def minutes(self) -> int:
        """How many one-minute candles the session has."""
        return (self.close - self.open - sum(p.end - p.start for p in self.pauses)) // MINUTE

    def starts(self, step: int) -> npt.NDArray[np.int64]:
        """The starts of its candles of `step` ns, (n,): none lies in a pause as a whole."""
        starts = np.arange(self.open, self.close, step, dtype=np.int64)
        for pause in self.pauses:
            starts = starts[(starts < pause.start) | (np.minimum(starts + step, self.close) > pause.end)]
        return starts

    def elapsed(self, now: int) -> int:
        """How many of its minutes have ended by this instant, the first of `starts(MINUTE)`."""
        paused = sum(max(min(p.end, now) - p.start, 0) for p in self.pauses)
        return max(min(self.close, now) - self.open - paused, 0) // MINUTE

    def holds(self, at: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which instants, ns UTC, (n,), lie in its trading: neither outside its hours nor in a pause."""
        inside = (at >= self.open) & (at < self.close)
        for pause in self.pauses:
            inside &= (at < pause.start) | (at >= pause.end)
        return inside

    def began(self, when: int) -> int:
        """The beginning of the newest stretch of trading not after this instant; `open` before the first."""
        return max((p.end for p in self.pauses if p.end <= when), default=self.open)

    def ended(self, when: int) -> int | None:
        """The end of the newest stretch of trading that is over by this instant, or None."""
        edges = [*(p.start for p in self.pauses), self.close]
        return max((edge for edge in edges if edge <= when), default=None)

    def phase(self, when: int) -> Phase:
        """What the exchange does at this instant, as far as this session goes."""
        if not self.preopen <= when < self.close + self.closing:
            return Phase.CLOSED
        if when < self.open:
            return Phase.PREOPEN
        if when >= self.close:
            return Phase.CLOSING
        for pause in self.pauses:
            if pause.start <= when < pause.end:
                return Phase.PAUSE if when < pause.preopen else Phase.PREOPEN
        if self.kind is Kind.MUHURAT:
            return Phase.MUHURAT
        return Phase.EXTENDED if self.extended is not None and when >= self.extended else Phase.CONTINUOUS

    def phases(self) -> list[tuple[Phase, int, int]]:
        """Each phase with its [from, to), ns UTC, in order and without holes."""
        edges = {self.preopen, self.open, self.close, self.close + self.closing, self.extended or self.open}
        edges.update(edge for p in self.pauses for edge in (p.start, p.preopen, p.end))
        line = sorted(edges)
        return [(self.phase(a), a, b) for a, b in pairwise(line)]


def exchange_of(symbols: Iterable[str]) -> ExchangeName:
    """The exchange whose sessions these symbols trade in, by their prefix; NSE for none. Raises BadValue.

    >>> exchange_of(["NSE:RELIANCE", "BSE:TCS"])
    'NSE'
    """
    first: ExchangeName | None = None
    for symbol in symbols:
        found = next((name for name in ZONES if symbol.startswith(f"{name}:")), None)
        if found is None or (first is not None and ZONES[first] is not ZONES[found]):
            allowed = "symbols of exchanges that trade together: of NSE and BSE, or of NASDAQ and NYSE"
            raise BadValue("universe", symbol, allowed)
        first = first or found
    return first or "NSE"


def at(day: date, clock: time, zone: ZoneInfo = IST) -> int:
    """The instant, ns UTC, at which an exchange's clocks show this; India's unless told otherwise.

    >>> at(date(2016, 8, 25), time(9, 15))
    1472096700000000000
    """
    return int(datetime.combine(day, clock, zone).timestamp()) * SECOND


def instant(nanoseconds: int) -> datetime:
    """An aware UTC datetime, to the microsecond."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC) + timedelta(microseconds=nanoseconds % SECOND // 1000)


def nanoseconds(moment: datetime) -> int:
    """ns UTC of an aware datetime. Raises BadValue for a naive one."""
    if moment.tzinfo is None:
        raise BadValue("time", moment.isoformat(), "a time with its zone, for example 2016-08-25T09:15:00+05:30")
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * SECOND + moment.microsecond * 1000


def within_years(name: str, day: date) -> date:
    """A day that somebody named, as it is. Raises BadValue: there is no reckoning with one of its year."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise BadValue(name, day.isoformat(), f"a date like 2021-02-24, of {YEARS}")
    return day


def day_number(day: date) -> int:
    """Days since 1970-01-01, as `CANDLE.session` holds it."""
    return day.toordinal() - date(1970, 1, 1).toordinal()


def session(day: date, opens: time = OPEN, closes: time = CLOSE) -> Session:
    """The session of a day in India, with the usual hours unless told otherwise; pre-open is the quarter of an hour
    before.
    """
    start = at(day, opens)
    return Session(date=day, preopen=start - 15 * MINUTE, open=start, close=at(day, closes))


class Sessions:
    """The sessions of one exchange over a span of days, in order."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._sessions = sorted(sessions, key=lambda s: s.open)
        self._midnights = [at(s.date, time(0), s.zone) for s in self._sessions]
        self._by_date = {s.date: s for s in self._sessions}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def zone(self) -> ZoneInfo:
        """The clocks of the exchange; India's where there is no session."""
        return self._sessions[0].zone if self._sessions else IST

    def on(self, day: date) -> Session | None:
        """The session of that day, or None: it is a holiday."""
        return self._by_date.get(day)

    def of(self, when: int) -> Session | None:
        """The session whose day, by the exchange's clocks, holds this instant, or None."""
        i = bisect_right(self._midnights, when) - 1
        return self._sessions[i] if i >= 0 and when < self._midnights[i] + DAY else None

    def phase(self, when: int) -> Phase:
        """What the exchange does at this instant."""
        today = self.of(when)
        return Phase.CLOSED if today is None else today.phase(when)

    def after(self, when: int) -> Session | None:
        """The first session that opens later than this instant."""
        return next((s for s in self._sessions if s.open > when), None)

    def table(self) -> npt.NDArray[np.int64]:
        """(n, 4 + 2 p): local midnight, pre-open, open, close, all ns UTC, oldest first; then begin and end of as many
        pauses as any of the sessions has, none at all as [close, close).
        """
        most = max((len(s.pauses) for s in self._sessions), default=0)
        rows = np.empty((len(self._sessions), HOURS + 2 * most), np.int64)
        for row, midnight, s in zip(rows, self._midnights, self._sessions, strict=True):
            row[HOURS:] = s.close
            row[:HOURS] = midnight, s.preopen, s.open, s.close
            row[HOURS : HOURS + 2 * len(s.pauses)] = [edge for p in s.pauses for edge in (p.start, p.end)]
        return rows


def ahead(table: npt.NDArray[np.int64]) -> int:
    """How far the clocks behind a `Sessions.table` are ahead of UTC, ns; India's where it is empty.

    By it an instant of trading finds its day: daylight saving moves it by an hour, and nobody trades near midnight.
    """
    if not len(table):
        return 330 * MINUTE
    return (DAY // 2 - int(table[0, 0])) % DAY - DAY // 2
