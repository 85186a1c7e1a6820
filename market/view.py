"""View: the whole market at one moment, from the latest quotes: who rises, who falls, in which sectors, how nervously.

Shares that have traded in the newest session and whose previous close is known are compared with it; the others are
counted as `unknown`. The overall sentiment is breadth: BULLISH where at least one and a half times as many shares rise
as fall, BEARISH the other way round, else NEUTRAL; and nothing is BULLISH while the volatility index is EXTREME.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from market.instruments import Instrument, Kind
from market.money import SCALE, UNKNOWN
from market.quotes import QuoteRows, change
from market.records import Record

BULLISH = 1.5
"""Rising shares for one falling one; its inverse is bearish."""

VIX = "NSE:INDIA VIX"
Regime = Literal["LOW", "NORMAL", "HIGH", "EXTREME"]
REGIMES: tuple[tuple[float, Regime], ...] = ((30.0, "EXTREME"), (20.0, "HIGH"), (12.0, "NORMAL"), (0.0, "LOW"))
"""From which value of the volatility index on, in points. Source: univest.in, "NSE India VIX today", read 2026-11-21:
near 10 to 12 is low, 20 and above high, above 30 goes with large swings.
"""

SHOWN = 10
"""So many gainers and losers stand in a view."""

NO_SECTOR = "Other"


class Mover(Record):
    """A share and how far it moved since the previous close; `price` in rupees."""

    symbol: str
    price: float
    change_percent: float


class Sector(Record):
    """The shares of a sector: the mean of their changes, each counting the same, and how many rose, fell, stood."""

    name: str
    change_percent: float
    advancing: int
    declining: int
    unchanged: int


class Volatility(Record):
    """The volatility index, in points."""

    symbol: str
    value: float
    change_percent: float | None
    regime: Regime


class MarketView(Record):
    """The market at `at`, ns UTC of market time. `breadth`: rising shares for one falling one; `sectors`: strongest
    first; `stale`: of the shares counted, those whose quote is too old to act on; `feed`: the state of the active feed.
    """

    at: int
    feed: str
    stale: int
    advancing: int
    declining: int
    unchanged: int
    unknown: int
    breadth: float
    change_percent: float | None
    gainers: tuple[Mover, ...]
    losers: tuple[Mover, ...]
    sectors: tuple[Sector, ...]
    volatility: Volatility | None
    overall: Literal["BULLISH", "NEUTRAL", "BEARISH"]


class Watch:
    """The market's instruments, arranged once; `view` looks at their quotes."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._symbols = [i.symbol for i in instruments]
        self.shares = np.array([i.kind != Kind.INDEX for i in instruments], np.bool_)
        """(n,) of those that count for gainers and breadth."""
        named = [i.sector or NO_SECTOR for i in instruments]
        self._sectors = sorted({name for name, share in zip(named, self.shares, strict=True) if share})
        places = {name: k for k, name in enumerate(self._sectors)}
        self._sector = np.array([places.get(name, -1) for name in named], np.int64)
        self._vix = self._symbols.index(VIX) if VIX in self._symbols else -1

    def view(self, rows: QuoteRows, stale: npt.NDArray[np.bool_], at: int, feed: str) -> MarketView:
        """`rows`: `QUOTE`, (n,), of all instruments by id; `stale` (n,): which of them are too old to act on."""
        moved = change(rows)[1]
        today = self.traded(rows)
        up, down = int((moved[today] > 0).sum()), int((moved[today] < 0).sum())
        volatility = self._volatility(rows, moved)
        order = today[np.argsort(-moved[today], kind="stable")]
        rising = [k for k in order[:SHOWN].tolist() if moved[k] > 0]
        falling = [k for k in order[::-1][:SHOWN].tolist() if moved[k] < 0]
        return MarketView(
            at=at,
            feed=feed,
            stale=int(stale[today].sum()),
            advancing=up,
            declining=down,
            unchanged=len(today) - up - down,
            unknown=int(self.shares.sum()) - len(today),
            breadth=round(up / max(down, 1), 4),
            change_percent=_percent(moved[today].mean()) if len(today) else None,
            gainers=tuple(self._mover(rows, moved, k) for k in rising),
            losers=tuple(self._mover(rows, moved, k) for k in falling),
            sectors=self._strengths(moved, today),
            volatility=volatility,
            overall=_overall(up, down, volatility),
        )

    def traded(self, rows: QuoteRows) -> npt.NDArray[np.intp]:
        """The shares, by id, that have traded in the newest session and whose change is known."""
        known = self.shares & np.isfinite(change(rows)[1])
        return np.flatnonzero(known & (rows["session"] == rows["session"].max(initial=-1)))

    def _mover(self, rows: QuoteRows, moved: npt.NDArray[np.float64], k: int) -> Mover:
        return Mover(symbol=self._symbols[k], price=int(rows["price"][k]) / SCALE, change_percent=_percent(moved[k]))

    def _strengths(self, moved: npt.NDArray[np.float64], today: npt.NDArray[np.intp]) -> tuple[Sector, ...]:
        of, changes, count = self._sector[today], moved[today], len(self._sectors)
        members = np.bincount(of, minlength=count)
        up, down = (np.bincount(of[side], minlength=count) for side in (changes > 0, changes < 0))
        means = np.bincount(of, changes, minlength=count) / np.maximum(members, 1)
        there = np.flatnonzero(members)
        return tuple(
            Sector(
                name=self._sectors[k],
                change_percent=_percent(means[k]),
                advancing=int(up[k]),
                declining=int(down[k]),
                unchanged=int(members[k] - up[k] - down[k]),
            )
            for k in there[np.argsort(-means[there], kind="stable")].tolist()
        )

    def _volatility(self, rows: QuoteRows, moved: npt.NDArray[np.float64]) -> Volatility | None:
        if self._vix < 0 or rows["price"][self._vix] == UNKNOWN:
            return None
        value, percent = int(rows["price"][self._vix]) / SCALE, float(moved[self._vix])
        known = _percent(percent) if np.isfinite(percent) else None
        return Volatility(symbol=VIX, value=value, change_percent=known, regime=regime(value))


def regime(value: float) -> Regime:
    """The band that a value of the volatility index, in points, lies in; its lower edge belongs to it.

    >>> [regime(v) for v in (11.99, 12.0, 20.0, 30.0)]
    ['LOW', 'NORMAL', 'HIGH', 'EXTREME']
    """
    return next((name for edge, name in REGIMES if value >= edge), "LOW")


def _overall(up: int, down: int, volatility: Volatility | None) -> Literal["BULLISH", "NEUTRAL", "BEARISH"]:
    if down and down >= BULLISH * up:
        return "BEARISH"
    calm = volatility is None or volatility.regime != "EXTREME"
    return "BULLISH" if up and up >= BULLISH * down and calm else "NEUTRAL"


def _percent(value: float) -> float:
    return round(float(value), 4)
