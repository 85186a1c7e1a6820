"""Features of the session so far: they start anew at each open, so they never forget within it and nothing before.

`Day` holds the sessions of several instruments, or several sessions of one, side by side: (k, minutes with a price),
the first at the left, NaN behind the last. A minute that is missing or a GAP has no column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from market import indicators
from market.features.feature import Feature
from market.features.moving import Floats, ratio
from market.features.technical import Bars
from market.sessions import MINUTE

SUPERTREND = 10
"""Rows of its true range: it starts with these before the open."""

FACTOR = 3.0

FEATURES = tuple(
    Feature(name=name, unit=unit, memory=memory, scale=scale, timeframe="session", formula=formula, source=source)
    for name, unit, memory, scale, formula, source in (
        ("elapsed", "0..1", 0, 1.0, "(end of the minute - open) / (close - open)", "market.sessions"),
        ("minutes_to_close", "minutes", 0, 100.0, "(close - end of the minute) / 60 s", "market.sessions"),
        ("gap", "ratio", 0, 0.01, "first open of the session / previous close - 1", "own"),
        ("return_day", "ratio", 0, 0.01, "close / previous close - 1", "own"),
        ("day_position", "0..1", 0, 1.0, "(close - lowest) / (highest - lowest) since the open", "own"),
        ("day_range", "ratio", 0, 0.01, "(highest - lowest) / close since the open", "own"),
        ("vwap_gap", "ratio", 0, 0.01, "close sum(volume) / sum(p volume) - 1, p = (high + low + close) / 3", "VWAP"),
        ("obv", "-1..1", 0, 1.0, "sum(sign(change) volume) / sum(volume) since the open", "Granville; TA-Lib OBV"),
        ("volume_pace_20", "ratio", 0, 1.0, "sum(volume) / (elapsed mean volume of 20 sessions)", "own"),
        ("supertrend_direction", "-1 or 1", SUPERTREND, 1.0, "1 above the stop, -1 below", "Seban; TA-Lib SUPERTREND"),
        (
            "supertrend_gap",
            "ratio",
            SUPERTREND,
            0.01,
            "stop / close - 1, 10 rows, factor 3",
            "Seban; TA-Lib SUPERTREND",
        ),
    )
)


class Day(NamedTuple):
    """Sessions side by side: minutes (k, n), and of each session (k, 1) floats.

    `start`: of the minute, since the open, ns; `length`: of the session, ns; `previous`: close before it; `usual`: mean
    volume of the 20 daily candles before it.
    """

    start: Floats
    bars: Bars
    length: Floats
    previous: Floats
    usual: Floats


def values(day: Day) -> Floats:
    """(features but the last two, k, n).

    The first row's change for `obv` is the one from its own open. A session whose first minutes are missing begins with
    the first there is. A value that divides by what is 0, as the position in a range of none, is unknown.
    """
    end, bars = day.start + MINUTE, day.bars
    highest, lowest = np.maximum.accumulate(bars.high, axis=1), np.minimum.accumulate(bars.low, axis=1)
    traded = np.cumsum(bars.volume, axis=1)
    flow = np.cumsum((bars.high + bars.low + bars.close) / 3 * bars.volume, axis=1)
    signs = np.sign(np.diff(bars.close, axis=1, prepend=bars.open[:, :1]))
    elapsed = end / day.length
    return np.stack(
        [
            elapsed,
            (day.length - end) / MINUTE,
            np.broadcast_to(ratio(bars.open[:, :1], day.previous), bars.close.shape) - 1 + 0 * bars.close,
            ratio(bars.close, day.previous) - 1,
            ratio(bars.close - lowest, highest - lowest),
            (highest - lowest) / bars.close,
            ratio(bars.close * traded, flow) - 1,
            ratio(np.cumsum(signs * bars.volume, axis=1), traded),
            ratio(traded, elapsed * day.usual),
        ]
    )


def supertrend(high: Floats, low: Floats, close: Floats, lead: int) -> Floats:
    """SuperTrend of 10 rows and factor 3 in one session: (2, n), its direction and its distance from the close.

    One series, (lead + n,): the session's rows behind up to `SUPERTREND` rows before its open, with which the true
    range begins. Source: Seban 2008; TA-Lib SUPERTREND.
    """
    unknown = int(np.count_nonzero(np.isnan(close[:lead])))  # before the first row there is
    high, low, close, lead = high[unknown:], low[unknown:], close[unknown:], lead - unknown
    session = np.arange(len(close)) >= lead
    line, direction = indicators.supertrend(high, low, close, SUPERTREND, FACTOR, session)
    return np.stack([direction[lead:], line[lead:] / close[lead:] - 1])
