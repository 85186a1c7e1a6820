"""Features over the whole series of one instrument at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from market.candles import INTERVALS, Candles, newest_revisions
from market.errors import BadValue
from market.features import anchored, crowd, rows, technical
from market.features.anchored import Day
from market.features.feature import TIMEFRAMES, Unknown
from market.features.moving import Floats, mean
from market.features.series import (
    COLUMNS,
    Factors,
    Hours,
    Ints,
    Series,
    bars,
    days_of,
    has_prices,
    hours_of,
    newest_of,
    previous_closes,
    reasons,
    rolled,
    series_of,
    stale,
)
from market.features.technical import Bars


def compute(
    minutes: Candles,
    daily: Candles,
    market: crowd.Market,
    sessions: Ints,
    factors: Factors | None = None,
    daily_factors: Factors | None = None,
) -> rows.FeatureRows:
    """`FEATURE` rows of one instrument, (n,), one for each minute, oldest first.

    `minutes`: its 1 m candles and `daily` its 1 d candles, the newest revision of each counts; `market`: of the same
    minutes; `sessions`: `Sessions.table()`; `factors`, `daily_factors`: one for each of the rows given, by which splits
    and the like are taken out; a constant one changes nothing. Rows that were adjusted and rounded before differ from
    live ones by the rounding. Of the daily candles a minute sees those of earlier sessions only. Raises BadValue for
    candles of several instruments.
    """
    minutes, factors = _in_order(minutes, factors, "1m")
    hours = hours_of(sessions)
    out = rows.unknown_rows(minutes, reasons(minutes, hours.place(minutes["start"])))
    known = out["unknown"] == Unknown.KNOWN
    series = series_of(minutes[known], factors.of(known) if factors else None)
    if not len(series):
        return out
    days = _days(daily, daily_factors)
    old = stale(series["quiet"][None], series["session"][None].astype(np.float64))[0]
    values = _values(series, days, hours)
    groups = np.full(len(series), market.members.group[minutes["instrument"][0]])
    values[rows.PARTS["market"]] = market.values(series["start"], groups, rows.own_returns(values))
    values[:, old] = np.nan
    out["values"][known] = values.T
    out["unknown"][known] = np.where(old, Unknown.STALE, Unknown.KNOWN)
    return out


def sums(
    minutes: Candles,
    daily: Candles,
    members: crowd.Members,
    sessions: Ints,
    factors: Factors | None = None,
    daily_factors: Factors | None = None,
) -> crowd.Sums:
    """What one instrument adds to the market: `SUMS` rows, (m,), one for each minute with a price. Arguments as those
    of `compute`.
    """
    minutes, factors = _in_order(minutes, factors, "1m")
    known = reasons(minutes, hours_of(sessions).place(minutes["start"])) == Unknown.KNOWN
    series = series_of(minutes[known], factors.of(known) if factors else None)
    if not len(series):
        return crowd.merged([])
    previous = previous_closes(series, _days(daily, daily_factors))
    moved = crowd.returns(series["close"][None], previous[None])[:, 0]
    groups = np.full(len(series), members.group[minutes["instrument"][0]])
    return crowd.grouped(series["start"], groups, series["close"], moved)


def _days(daily: Candles, factors: Factors | None) -> Series:
    """The daily candles by session, each once."""
    daily, factors = _in_order(daily, factors, "1d")
    priced = has_prices(daily)
    days = days_of(daily[priced], factors.of(priced) if factors else None)
    return newest_of(days[:0], days)


def _in_order(candles: Candles, factors: Factors | None, interval: str) -> tuple[Candles, Factors | None]:
    """Those of an interval, each once, by start. Raises BadValue for several instruments or too few factors."""
    if len(candles) and (candles["instrument"] != candles["instrument"][0]).any():
        raise BadValue("candles", np.unique(candles["instrument"])[:5].tolist(), "give one instrument at a time")
    if factors is not None and not len(factors.price) == len(factors.volume) == len(candles):
        raise BadValue("factors", len(factors.price), f"give one for each of the {len(candles)} candles")
    fits = candles["interval"] == INTERVALS[interval]
    if fits.all() and (len(candles) < 2 or (np.diff(candles["start"]) > 0).all()):
        return candles, factors
    if factors is None:
        return newest_revisions(candles[fits]), None
    order = np.flatnonzero(fits)
    order = order[np.lexsort((candles["revision"][order], candles["start"][order]))]
    order = order[np.append(np.diff(candles["start"][order]) > 0, True)] if len(order) else order
    return candles[order], factors.of(order)


def _values(series: Series, days: Series, hours: Hours) -> Floats:
    """(features, n), those of the market still missing."""
    out = np.empty((len(rows.FEATURES), len(series)))
    minute = bars(series)
    out[rows.PARTS["1m"]] = technical.values(minute, "1m")[:, 0]
    for timeframe in ("5m", "15m"):
        longer, seen = rolled(series, hours, TIMEFRAMES[timeframe])
        out[rows.PARTS[timeframe]] = _picked(technical.values(bars(longer), timeframe)[:, 0], seen)
    seen = np.searchsorted(days["session"], series["session"]) - 1
    usual = np.full(len(series), np.nan)
    out[rows.PARTS["1d"]] = np.nan
    if len(days):
        out[rows.PARTS["1d"]] = _picked(technical.values(bars(days), "1d")[:, 0], seen)
        usual = np.where(seen >= 0, mean(days["volume"], 20)[seen], np.nan)
    part = out[rows.PARTS["session"]]
    part[:-2] = _anchored(series, hours, previous_closes(series, days), usual)
    ends = [*np.flatnonzero(np.diff(series["session"])) + 1, len(series)]
    for first, end in pairwise([0, *ends]):
        begin = max(first - anchored.SUPERTREND, 0)
        high, low, close = (column[0, begin:end] for column in (minute.high, minute.low, minute.close))
        part[-2:, first:end] = anchored.supertrend(high, low, close, first - begin)
    return out


def _picked(values: Floats, seen: Ints) -> Floats:
    """The columns seen, (features, n); NaN where none is."""
    picked = values[:, seen]
    picked[:, seen < 0] = np.nan
    return picked


def _anchored(series: Series, hours: Hours, previous: Floats, usual: Floats) -> Floats:
    """(features, n), of the sessions laid side by side."""
    new = np.append(True, series["session"][1:] != series["session"][:-1])
    first, number = np.flatnonzero(new), np.cumsum(new) - 1
    column = np.arange(len(series)) - first[number]
    place = hours.place(series["start"][first])
    grids = []
    for values in (series["start"] - hours.opens[place][number], *(series[name] for name in COLUMNS)):
        grid = np.full((len(first), int(column.max()) + 1), np.nan)
        grid[number, column] = values
        grids.append(grid)
    length = (hours.closes - hours.opens)[place].astype(np.float64)
    with np.errstate(invalid="ignore"):
        made = anchored.values(
            Day(grids[0], Bars(*grids[1:]), length[:, None], previous[first][:, None], usual[first][:, None])
        )
    return np.asarray(made[:, number, column])
