"""Coverage: for every instrument and session, whether its candles are all there, and if not, why.

A minute is *missing* if no row of it was ever written or the row is a GAP, *incomplete* if a feed was LIVE for a part
of it only. A session of an instrument is

- `holiday`: the exchange did not trade that day;
- `not listed`: others have candles of the session, this instrument has none at all, and no official one either;
- `halted`: every minute is there and whole, and in none of them did it trade;
- `complete`: every minute is there and whole;
- `gap`: everything else. Where nobody has a candle of the session, all its minutes are missing.

A closed session is told by its daily candle: that is rolled from all its minutes, so its completeness is 1 only if
theirs are. Only sessions for which it is not are looked at minute by minute. A daily candle that was imported, or is
the exchange's own, says nothing of minutes: it shows that the instrument was listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from market.alerts import OperatorAlert
from market.candles import INTERVALS, Candles, Provenance
from market.records import Record
from market.sessions import IST, MINUTE, Session, Sessions, day_number, instant

MINUTES = INTERVALS["1m"]
LONGEST_DAYS = 366 * 2
"""No more is looked at in one go."""


class State(StrEnum):
    """What an instrument's session is."""

    COMPLETE = "complete"
    GAP = "gap"
    HOLIDAY = "holiday"
    HALTED = "halted"
    NOT_LISTED = "not listed"


class Cause(StrEnum):
    """Why a minute is not there, or not whole."""

    NEVER_RECORDED = "never recorded"
    NO_FEED = "no feed was live"
    PART = "a feed was live for a part"
    NOBODY_HAS = "the vendor has none either"


class Span(Record):
    """Neighbouring minutes with one cause: [start, end), ns UTC."""

    start: int
    end: int
    cause: Cause


class Shortfall(Record):
    """A session of an instrument that is not complete. `minutes`: how many of it have ended; `covered`: 0..1."""

    symbol: str
    session: date
    state: State
    minutes: int
    missing: int = 0
    incomplete: int = 0
    covered: float = 0.0
    spans: tuple[Span, ...] = ()


class Else(NamedTuple):
    """What is known of a session besides the minutes of those asked for.

    `recorded`: anybody has a candle of it; `official`: places of the instruments that have a daily one all the same, an
    official or an imported one; `lacking`:
    (place, start) of the minutes that a vendor was asked for and does not have.
    """

    recorded: bool
    official: Collection[int] = ()
    lacking: Collection[tuple[int, int]] = ()


class Survey:
    """The state of every instrument's session from `first` to `last`, as known at `now`, ns UTC.

    Instruments are the places of `symbols`, (n,), sessions those that have begun, (m,). Give it the daily candles, then
    the minutes of what is `open`.
    """

    def __init__(self, symbols: Sequence[str], sessions: Sessions, span: tuple[date, date], now: int) -> None:
        self.symbols, (self.first, self.last) = tuple(symbols), span
        self.sessions = [s for s in sessions if span[0] <= s.date <= span[1] and s.open + MINUTE <= now]
        self.minutes = np.array([s.elapsed(now) for s in self.sessions], np.int64)
        self._state = np.full((len(self.symbols), len(self.sessions)), -1, np.int8)
        self._covered = np.zeros(self._state.shape)
        self.shortfalls: list[Shortfall] = []
        trading = {s.date for s in sessions}
        days = (span[0] + timedelta(days=k) for k in range((span[1] - span[0]).days + 1))
        self.holidays = [d for d in days if d.weekday() < SATURDAY and d not in trading]

    @property
    def covered(self) -> float | None:
        """The share of all time that should be covered for which there are candles, 0..1; None where there is none."""
        due = self.minutes * (self._state != _NOT_LISTED)
        return float((due * self._covered).sum() / due.sum()) if due.sum() else None

    def counts(self) -> dict[str, int]:
        """How many sessions of an instrument are in each state; holidays once for each instrument."""
        found = {state.value: int(np.count_nonzero(self._state == k)) for k, state in enumerate(_STATES)}
        return {**found, State.HOLIDAY.value: len(self.symbols) * len(self.holidays)}

    def record(self, most: int | None = None) -> dict[str, JsonValue]:
        """Everything as plain values; `most`: so many shortfalls are named, all are counted.

        A session of `sessions` that is not among a symbol's shortfalls is complete, or halted.
        """
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            "symbols": list(self.symbols),
            "sessions": [s.date.isoformat() for s in self.sessions],
            "holidays": [d.isoformat() for d in self.holidays],
            "covered": self.covered,
            "counts": dict(self.counts()),
            "shortfalls_found": len(self.shortfalls),
            "shortfalls": [_told(s) for s in self.shortfalls[:most]],
            "halted": [
                {"symbol": self.symbols[i], "session": self.sessions[k].date.isoformat()}
                for i, k in np.argwhere(self._state == _HALTED)[:most].tolist()
            ],
        }

    def settle(self, daily: Candles) -> None:
        """Take daily candles, (k,), newest revisions: a closed session whose candle is whole needs no look."""
        days = {day_number(s.date): k for k, s in enumerate(self.sessions)}
        rolled = ~np.isin(daily["provenance"], (Provenance.OFFICIAL, Provenance.IMPORTED))
        rows = daily[rolled & (daily["completeness"] >= 1)]
        rows = rows[np.isin(rows["session"], list(days))]
        at = rows["instrument"], np.array([days[d] for d in rows["session"].tolist()], np.int64)
        self._state[at] = np.where(rows["trades"] == 0, _HALTED, _COMPLETE)
        self._covered[at] = 1.0

    def open(self) -> Iterator[tuple[Session, list[str]]]:
        """The sessions that are not settled, and the symbols whose minutes must be looked at."""
        for k, session in enumerate(self.sessions):
            who = np.flatnonzero(self._state[:, k] < 0).tolist()
            if who:
                yield session, [self.symbols[i] for i in who]

    def look(self, session: Session, minutes: Candles, more: Else) -> None:
        """Judge what is open of a session by its minutes, (k,), newest revisions."""
        k = self.sessions.index(session)
        who = np.flatnonzero(self._state[:, k] < 0)
        starts = session.starts(MINUTE)[: self.minutes[k]]
        rows = minutes[np.isin(minutes["instrument"], who) & np.isin(minutes["start"], starts)]
        at = np.searchsorted(who, rows["instrument"]), np.searchsorted(starts, rows["start"])
        part, quiet = np.zeros((len(who), len(starts))), np.ones((len(who), len(starts)), np.bool_)
        cause = np.full(part.shape, _NEVER, np.int8)
        part[at], quiet[at] = rows["completeness"], rows["trades"] == 0
        cause[at] = np.where(rows["provenance"] == Provenance.GAP, _NO_FEED, _PART)
        for place, start in more.lacking:
            row, column = np.searchsorted(who, place), np.searchsorted(starts, start)
            if row < len(who) and who[row] == place and column < len(starts) and starts[column] == start:
                cause[row, column] = _NOBODY
        present = np.isin(np.arange(len(who)), at[0])
        for i, place in enumerate(who.tolist()):
            listed = present[i] or place in more.official or not more.recorded
            whole = bool((part[i] >= 1).all())
            self._covered[place, k] = part[i].mean()
            self._state[place, k] = (
                _NOT_LISTED if not listed else _GAP if not whole else _HALTED if quiet[i].all() else _COMPLETE
            )
            if not (listed and whole):
                self.shortfalls.append(self._shortfall(place, k, starts, part[i], cause[i]))

    def _shortfall(
        self,
        place: int,
        k: int,
        starts: npt.NDArray[np.int64],
        part: npt.NDArray[np.float64],
        cause: npt.NDArray[np.int8],
    ) -> Shortfall:
        state = _STATES[self._state[place, k]]
        short = np.flatnonzero((part < 1) & (state is State.GAP))
        missing = int(np.count_nonzero(part[short] <= 0))
        return Shortfall(
            symbol=self.symbols[place],
            session=self.sessions[k].date,
            state=state,
            minutes=len(starts),
            missing=missing,
            incomplete=len(short) - missing,
            covered=float(self._covered[place, k]),
            spans=_spans(starts[short], cause[short]),
        )


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
    said = text or f"no feed was live from {clock} in India on: these minutes are gaps until they are repaired"
    return OperatorAlert(kind="gap", subject=f"outage of {clock}", at=start, text=said, over=over)


def under_way(shortfalls: Iterable[Shortfall], session: Session, now: int) -> bool:
    """Whether the last minute of a session that has ended by `now`, ns UTC, is one in which no feed was LIVE."""
    last = int(session.starts(MINUTE)[session.elapsed(now) - 1]) + MINUTE
    mine = (one for one in shortfalls if one.session == session.date)
    return now < session.close and any(s.end >= last and s.cause is Cause.NO_FEED for one in mine for s in one.spans)


def _told(one: Shortfall) -> dict[str, JsonValue]:
    spans: list[JsonValue] = [
        {"from": instant(s.start).isoformat(), "to": instant(s.end).isoformat(), "cause": s.cause.value}
        for s in one.spans
    ]
    return {**one.model_dump(mode="json"), "spans": spans}


def _spans(starts: npt.NDArray[np.int64], causes: npt.NDArray[np.int8]) -> tuple[Span, ...]:
    if not len(starts):
        return ()
    cuts = np.flatnonzero((np.diff(starts) != MINUTE) | (np.diff(causes) != 0))
    firsts, lasts = np.append(0, cuts + 1), np.append(cuts, len(starts) - 1)
    return tuple(
        Span(start=int(starts[a]), end=int(starts[b]) + MINUTE, cause=_CAUSES[causes[a]])
        for a, b in zip(firsts, lasts, strict=True)
    )


SATURDAY = 5

_STATES = (State.COMPLETE, State.GAP, State.HALTED, State.NOT_LISTED)
_COMPLETE, _GAP, _HALTED, _NOT_LISTED = range(len(_STATES))
_CAUSES = tuple(Cause)
_NEVER, _NO_FEED, _PART, _NOBODY = range(len(_CAUSES))
