"""One instrument's candles as a series to compute on: GAP rows out, prices as floats, adjusted; and longer candles.

Prices stay in 1/10,000, whole numbers wherever nothing was adjusted, so that what is equal on paper is equal here.

A longer candle is made of the minutes that are there: a missing or a GAP minute is not waited for, and one without any
minute is no candle. It may be seen from the minute on that ends with it, by the clock: at the earliest in the row of
its own last minute, never before, and by a minute behind it if that one has no price.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.candles import Candles, Provenance
from market.features.feature import Unknown
from market.features.moving import Floats, before, total
from market.features.technical import Bars
from market.sessions import DAY, MINUTE, SECOND

Ints = npt.NDArray[np.int64]

STALE = 30
"""Live minutes without a trade, one after another, after which a price is too old."""

PRICES = ("open", "high", "low", "close")
_BELOW = 1 << 30
"""More than any revision."""

COLUMNS = (*PRICES, "volume")

SERIES = np.dtype([("start", "<i8"), ("session", "<i8"), *((name, "<f8") for name in (*COLUMNS, "quiet", "revision"))])
"""A row with a price: `session` days since 1970-01-01; `quiet`: 1 where the feed was live and nothing was traded."""

Series = npt.NDArray[np.void]


class Hours(NamedTuple):
    """The sessions' days since 1970-01-01, opens and closes, ns UTC, (m,)."""

    day: Ints
    opens: Ints
    closes: Ints

    def place(self, starts: Ints) -> Ints:
        """The session of each instant, -1 where it lies in none."""
        at = np.searchsorted(self.opens, starts, side="right") - 1
        if not len(self.opens):
            return at
        return np.where((at >= 0) & (starts < self.closes[np.maximum(at, 0)]), at, -1)


def hours_of(table: Ints) -> Hours:
    """Of a `Sessions.table()`, (m, 4 + 2 p)."""
    return Hours((table[:, 0] + DAY // 2) // DAY, table[:, 2], table[:, 3])


def reasons(minutes: Candles, place: Ints) -> npt.NDArray[np.uint8]:
    """What keeps each candle from being known, (n,), but for STALE; `place`: its session, -1 for none."""
    priced = has_prices(minutes)
    gap = minutes["provenance"] == Provenance.GAP
    out = np.where(gap, Unknown.GAP, np.where(priced, Unknown.KNOWN, Unknown.NO_PRICE))
    return np.where(place < 0, Unknown.NO_SESSION, out).astype(np.uint8)


class Factors(NamedTuple):
    """By what prices and volumes are multiplied, (n,) each, one for each candle."""

    price: Floats
    volume: Floats

    def of(self, rows: npt.NDArray[np.generic]) -> Factors:
        """Those of some of the candles."""
        return Factors(self.price[rows], self.volume[rows])


def has_prices(candles: Candles) -> npt.NDArray[np.bool_]:
    """Which candles, (n,), have all their prices, above 0."""
    return np.asarray(np.logical_and.reduce([candles[name] > 0 for name in PRICES]))


def days_of(daily: Candles, factors: Factors | None = None) -> Series:
    """Daily candles with prices as series rows, (n,), whose `start` is their session.

    A session has one, whoever made it: one made of minutes counts before the exchange's own, which differs in the
    closing price and comes later.
    """
    out = series_of(daily, factors)
    out["start"] = out["session"]
    out["revision"] -= np.where(daily["provenance"] == Provenance.OFFICIAL, _BELOW, 0)
    return out


def newest_of(held: Series, told: Series) -> Series:
    """The highest revision of each start, of equals the one told; without those that have no price."""
    both = np.concatenate([held, told])
    both = both[np.lexsort((np.arange(len(both)), both["revision"], both["start"]))]
    both = both[np.append(np.diff(both["start"]) > 0, True)] if len(both) else both
    newest: Series = both[np.isfinite(both["close"])]
    return newest


def series_of(candles: Candles, factors: Factors | None = None) -> Series:
    """The series of priced candles, (n,), adjusted; a volume not known is 0."""
    out = np.zeros(len(candles), SERIES)
    out["start"], out["session"] = candles["start"], candles["session"]
    for name in (*COLUMNS, "revision"):
        out[name] = candles[name]
    out["volume"] = np.maximum(out["volume"], 0.0)
    out["quiet"] = (candles["trades"] == 0) & (candles["volume"] <= 0) & (candles["provenance"] == Provenance.LIVE)
    if factors is not None:
        for name in PRICES:
            out[name] *= factors.price
        out["volume"] *= factors.volume
    return out


def bars(series: Series) -> Bars:
    """One series as `Bars` of one row."""
    return Bars(*(np.ascontiguousarray(series[name])[None] for name in COLUMNS))


def rolled(series: Series, hours: Hours, seconds: int) -> tuple[Series, Ints]:
    """Longer candles of a series of minutes, (k,), and which of them each minute may see as its newest, (n,), -1 for
    none.
    """
    if not len(series):
        return series, np.zeros(0, np.int64)
    place = hours.place(series["start"])
    step, opens = seconds * SECOND, hours.opens[place]
    begin = opens + (series["start"] - opens) // step * step
    first = np.flatnonzero(np.append(True, begin[1:] != begin[:-1]))
    last = np.append(first[1:], len(series)) - 1
    out = np.zeros(len(first), SERIES)
    out["start"], out["session"] = begin[first], series["session"][first]
    out["open"], out["close"] = series["open"][first], series["close"][last]
    out["high"] = np.maximum.reduceat(series["high"], first)
    out["low"] = np.minimum.reduceat(series["low"], first)
    out["volume"] = np.add.reduceat(series["volume"], first)
    number = np.repeat(np.arange(len(first)), last - first + 1)
    ended = series["start"] + MINUTE >= np.minimum(begin + step, hours.closes[place])
    return out, number - ~ended


def previous_closes(series: Series, daily: Series) -> Floats:
    """The close of the session before that of each minute, (n,).

    It is the daily candle's, or the last minute's where that is newer than any daily candle; NaN before both.
    """
    new = np.append(True, series["session"][1:] != series["session"][:-1]) if len(series) else np.zeros(0, np.bool_)
    first = np.flatnonzero(new)
    days = series["session"][first]
    by_minute = np.append(np.nan, series["close"][first[1:] - 1])[: len(first)]
    newest = np.append(-1, days[:-1])[: len(first)]
    at = np.searchsorted(daily["session"], days) - 1
    if len(daily):
        there = (at >= 0) & (daily["session"][at] >= newest)
        by_minute = np.where(there, daily["close"][at], by_minute)
    return np.asarray(by_minute[np.cumsum(new) - 1])


def stale(quiet: Floats, session: Floats) -> npt.NDArray[np.bool_]:
    """Whether a row and those before it, `STALE` in all, are quiet and of one session: (k, rows)."""
    return np.asarray((total(quiet, STALE) == STALE) & (session == before(session, STALE - 1)))
