"""Prints: the day's volume of instruments whose vendor tells one trade at a time.

What was heard is summed by minute, a repeat counts once; a closed minute's candle has the last word on its minute, so
who begins to listen in the middle of a session ends with the whole session's volume. Prints outside of continuous
trading are in no candle and count as heard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.candles import Candles
from market.sessions import MINUTE
from market.ticks import Ticks

REMEMBERED = 256
"""Prints of an instrument among which a repeat is known."""

Ints = npt.NDArray[np.int64]
Print = tuple[int, int, int, int]
"""Instant, price, size, the vendor's number."""

_OUTSIDE = -1


class TotalsKept(NamedTuple):
    """The totals at one moment. `open`: volume by minute, `newest`: the last print's instant, both by instrument."""

    days: Ints
    closed: Ints
    until: Ints
    open: dict[int, dict[int, int]]
    newest: dict[int, int]


class PrintTotals:
    """The day's volume of instruments 0..count-1, as far as they send prints."""

    def __init__(self, count: int) -> None:
        self._days = np.full(count, -1, np.int64)
        self._closed = np.zeros(count, np.int64)
        self._until = np.zeros(count, np.int64)
        self._open: dict[int, dict[int, int]] = {}
        self._heard: dict[int, dict[Print, None]] = {}
        self._forgotten: dict[int, int] = {}
        self.repeats = 0
        """How many prints were left out because they had been heard, or may have been."""

    def add(self, prints: Ticks, inside: npt.NDArray[np.bool_], day: int) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Hear prints of one day in arrival order; which are new, (n,), and the day's volume with each, (n,).

        `inside`: which are of continuous trading, (n,).
        """
        self._begin(np.unique(prints["instrument"]), day)
        columns = [prints[name].tolist() for name in ("instrument", "at", "price", "day_volume", "sequence")]
        new, totals = np.zeros(len(prints), np.bool_), np.zeros(len(prints), np.int64)
        for k, (who, *one) in enumerate(zip(*columns, strict=True)):
            at, price, size, number = one
            new[k] = self._is_new(who, (at, price, size, number))
            if new[k] and size > 0:
                self._count(who, at - at % MINUTE if inside[k] else _OUTSIDE, size)
            totals[k] = self.total(who)
        self.repeats += len(new) - int(new.sum())
        return new, totals

    def learn(self, candles: Candles, day: int) -> Ints:
        """Take closed one-minute candles of one day, (k,), the newest revision of a minute last.

        Returns the instruments, (m,), whose prints they concern.
        """
        self._begin(np.unique(candles["instrument"]), day)
        fresh = candles[candles["start"] >= self._until[candles["instrument"]]]
        fresh = fresh[np.lexsort((fresh["start"], fresh["instrument"]))]
        again = (np.diff(fresh["start"]) == 0) & (np.diff(fresh["instrument"]) == 0)
        fresh = fresh[~np.append(again, np.zeros(min(len(fresh), 1), np.bool_))]
        np.add.at(self._closed, fresh["instrument"], fresh["volume"])
        np.maximum.at(self._until, fresh["instrument"], fresh["start"] + MINUTE)
        heard = [k for k in fresh["instrument"].tolist() if k in self._open]
        for k in set(heard):
            minutes = self._open[k]
            self._open[k] = {m: v for m, v in minutes.items() if m == _OUTSIDE or m >= self._until[k]}
        return np.array(sorted(set(heard)), np.int64)

    def total(self, instrument: int) -> int:
        """The day's volume of an instrument that sent prints."""
        return int(self._closed[instrument]) + sum(self._open[instrument].values())

    def snapshot(self) -> TotalsKept:
        """What is known. Of single prints only the newest instant: later, one before it counts as a repeat."""
        newest = self._forgotten | {k: max(one[0] for one in heard) for k, heard in self._heard.items() if heard}
        minutes = {k: dict(of) for k, of in self._open.items()}
        return TotalsKept(self._days.copy(), self._closed.copy(), self._until.copy(), minutes, newest)

    def restore(self, kept: TotalsKept) -> None:
        """Go on from there; what was known here is forgotten."""
        self._days, self._closed, self._until = kept.days.copy(), kept.closed.copy(), kept.until.copy()
        self._open = {k: dict(of) for k, of in kept.open.items()}
        self._heard, self._forgotten = {}, dict(kept.newest)

    def _begin(self, who: npt.NDArray[np.int32], day: int) -> None:
        for k in who[self._days[who] < day].tolist():
            self._days[k], self._closed[k], self._until[k] = day, 0, 0
            for memory in (self._open, self._heard, self._forgotten):
                memory.pop(k, None)

    def _is_new(self, who: int, one: Print) -> bool:
        heard = self._heard.setdefault(who, {})
        self._open.setdefault(who, {})
        if one in heard or one[0] < self._forgotten.get(who, 0):
            return False
        heard[one] = None
        if len(heard) > REMEMBERED:
            oldest = next(iter(heard))
            del heard[oldest]
            self._forgotten[who] = max(self._forgotten.get(who, 0), oldest[0])
        return True

    def _count(self, who: int, minute: int, size: int) -> None:
        if minute == _OUTSIDE or minute >= self._until[who]:
            minutes = self._open[who]
            minutes[minute] = minutes.get(minute, 0) + size
