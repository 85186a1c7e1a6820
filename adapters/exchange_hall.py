"""The hall of the simulated exchange: what its vendors' desks know of the day, and the history they all sell."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import time
from typing import Protocol

import numpy as np

from market.money import SCALE
from market.sessions import MINUTE, at
from market.tape import Bars, Tape, fold

REMEMBERED = 10
"""Sessions whose minutes a desk still has."""


class Hall(Protocol):
    """What a desk asks of the exchange it stands in."""

    @property
    def tape(self) -> Tape:
        """The session that plays."""
        ...

    @property
    def step(self) -> int:
        """The newest step everybody may know of; -1 before the first."""
        ...

    @property
    def clock(self) -> int:
        """Market time, ns UTC."""
        ...


class History:
    """The minutes of the sessions that played, and of the one that plays as far as it has come."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._past: deque[Tape] = deque(maxlen=REMEMBERED)

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over."""
        self._past.append(tape)

    def minutes(self, instrument: int, first: int, last: int) -> Bars:
        """Those that start in [first, last], ns UTC, oldest first; the one under way up to now."""
        bars = np.concatenate([self._of(tape, instrument) for tape in self._tapes()])
        mine: Bars = bars[(bars["start"] >= first) & (bars["start"] <= last)]
        return mine[np.argsort(mine["start"], kind="stable")]

    def days(self, instrument: int, first: int, last: int) -> Bars:
        """One for each session, from its midnight where the exchange is, that starts in [first, last], ns UTC."""
        found = []
        for tape in self._tapes():
            bars, midnight = self._of(tape, instrument), at(tape.session.date, time(0), tape.session.zone)
            if len(bars) and first <= midnight <= last:
                day = bars[:1].copy()
                day["start"], day["close"] = midnight, bars["close"][-1]
                day["high"], day["low"], day["volume"] = bars["high"].max(), bars["low"].min(), bars["volume"].sum()
                found.append(day)
        return np.concatenate(found) if found else self._of(self._hall.tape, -1)

    def candles(self, instrument: int, minutes: int) -> Iterator[tuple[int, Bars]]:
        """The start, ns UTC, and the minutes of every candle of so many, counted from its session's open."""
        for tape in self._tapes():
            bars = self._of(tape, instrument)
            opens, length = tape.session.open, minutes * MINUTE
            start = opens + (bars["start"] - opens) // length * length
            yield from ((int(begin), bars[start == begin]) for begin in np.unique(start))

    def _tapes(self) -> list[Tape]:
        return list(dict.fromkeys([*self._past, self._hall.tape]))  # one that has ended and is the last is both

    def _of(self, tape: Tape, instrument: int) -> Bars:
        bars: Bars = tape.bars[tape.bars["instrument"] == instrument]
        if tape is not self._hall.tape:
            return bars
        now = self._hall.clock if self._hall.step >= 0 else 0
        under_way = tape.between(now - now % MINUTE, now)
        known = [bars[bars["start"] + MINUTE <= now], fold(under_way[under_way["instrument"] == instrument])]
        return np.concatenate(known)


def in_rupees(bars: Bars) -> list[float | int]:
    """Open, high, low and close of these minutes together, and their volume."""
    prices = (bars["open"][0], bars["high"].max(), bars["low"].min(), bars["close"][-1])
    return [*(int(p) / SCALE for p in prices), int(bars["volume"].sum())]
