"""Backfill: which spans of history to ask a vendor for, and what its answers are short of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta

import numpy as np

from market.candles import INTERVALS, Candles, Provenance
from market.instruments import Instrument, Kind
from market.money import UNKNOWN
from market.records import Record
from market.repair import SETTLED
from market.sessions import MINUTE, Session, at


class Span(Record):
    """Neighbouring sessions that one request covers, both included."""

    first: date
    last: date
    sessions: tuple[Session, ...]

    def edges(self, interval: str) -> tuple[int, int]:
        """The starts, ns UTC, of the first and the last candle of the span; a day starts at its midnight."""
        first, last = self.sessions[0], self.sessions[-1]
        if interval == "1d":
            return at(first.date, time(0), first.zone), at(last.date, time(0), last.zone)
        return first.open, last.close - MINUTE


class Missing(Record):
    """Sessions of a symbol without a candle, `first` to `last`, `sessions` of them, and why."""

    symbol: str
    first: date
    last: date
    sessions: int
    reason: str


def spans(sessions: Iterable[Session], longest: timedelta, now: int) -> list[Span]:
    """The sessions that are over, and settled, by `now`, ns UTC, in pieces of at most `longest`, oldest first.

    They depend on nothing else, so a backfill that goes on asks for the same pieces.
    """
    found: list[list[Session]] = []
    for session in sessions:
        if session.close + SETTLED > now:
            continue
        if not found or session.date - found[-1][0].date >= longest:
            found.append([])
        found[-1].append(session)
    return [Span(first=of[0].date, last=of[-1].date, sessions=tuple(of)) for of in found]


def whole(span: Span, interval: str, held: Mapping[date, int]) -> bool:
    """Whether the candles held of each session, by date, are all there can be of the span."""
    return all(held.get(s.date, 0) >= (s.minutes if interval == "1m" else 1) for s in span.sessions)


def taken(candles: Candles, instrument: Instrument, interval: str) -> Candles:
    """A vendor's candles, (n,), as they are imported: `instrument` 0, what it does not say unknown."""
    rows: Candles = candles[candles["interval"] == INTERVALS[interval]].copy()
    rows["instrument"], rows["revision"], rows["provenance"] = 0, 0, Provenance.IMPORTED
    rows["completeness"] = 1.0
    index = instrument.kind is Kind.INDEX
    rows["volume"][(rows["volume"] == UNKNOWN) & index] = 0
    quiet = (rows["volume"] == 0) & (rows["high"] == rows["low"]) & (not index)
    rows["trades"] = np.where(quiet, 0, rows["trades"])
    rows["vwap"] = np.where(rows["volume"] > 0, rows["vwap"], UNKNOWN)
    return rows


def missing(
    symbol: str, sessions: Sequence[date], held: AbstractSet[date], failed: Mapping[date, str], vendor: str
) -> list[Missing]:
    """The runs of sessions, oldest first, of which there is no candle; `failed`: those that could not be asked for.

    Those before the first one there is are called what they probably are: not listed yet.
    """
    begin = min(held, default=None)
    found: list[Missing] = []
    for k, day in enumerate(sessions):
        if day in held:
            continue
        early = f"not listed yet, or before what {vendor} has" if begin and day < begin else f"{vendor} has none"
        reason = failed.get(day) or (early if begin else f"{vendor} has nothing of it")
        last = found[-1] if found else None
        if last and last.reason == reason and k and last.last == sessions[k - 1]:
            found[-1] = last.model_copy(update={"last": day, "sessions": last.sessions + 1})
        else:
            found.append(Missing(symbol=symbol, first=day, last=day, sessions=1, reason=reason))
    return found


def days_of(candles: Candles) -> dict[date, int]:
    """How many candles there are of each session."""
    days, counts = np.unique(candles["session"], return_counts=True)
    return {date(1970, 1, 1) + timedelta(days=int(d)): int(n) for d, n in zip(days, counts, strict=True)}
