"""Candles: OHLCV over one fixed interval, as columns.

A candle covers [start, start + interval). A minute without a trade while the feed was LIVE is a row with `trades` 0
that carries the last price; a minute in which no feed was LIVE is a GAP row without prices. `vwap` is UNKNOWN where
the volume is 0. A volume in a minute with `trades` 0 is of trades that may not move a price.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from market.errors import BadValue

CANDLE = np.dtype(
    [
        ("instrument", "<i4"),
        ("interval", "<i4"),
        ("start", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("vwap", "<i8"),
        ("open_interest", "<i8"),
        ("completeness", "<f8"),
        ("session", "<i4"),
        ("revision", "<i4"),
        ("provenance", "u1"),
        ("padding", "u1", 7),
    ]
)
"""`interval` in seconds, `start` ns UTC, prices 1/10,000, `session` days since 1970-01-01, `completeness` 0..1 of
LIVE time.
"""

Candles = npt.NDArray[np.void]

NO_CANDLES: Candles = np.zeros(0, CANDLE)
NO_CANDLES.setflags(write=False)


class Provenance(IntEnum):
    """Where a candle comes from."""

    LIVE = 1
    REPAIRED = 2
    OFFICIAL = 3
    GAP = 4
    IMPORTED = 5


INTERVALS: dict[str, int] = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
"""Name to seconds. `1d` is the whole session, whatever its length; all are anchored at the session's open."""

INTERVAL_NAMES = {seconds: name for name, seconds in INTERVALS.items()}


def interval(name: str) -> int:
    """Seconds of an interval's name. Raises BadValue."""
    if name not in INTERVALS:
        raise BadValue("interval", name, f"one of {', '.join(INTERVALS)}")
    return INTERVALS[name]


def newest_revisions(rows: Candles) -> Candles:
    """The highest revision of every (instrument, interval, start), ordered by instrument, interval, start."""
    order = np.lexsort((rows["revision"], rows["start"], rows["interval"], rows["instrument"]))
    rows = rows[order]
    if len(rows) < 2:
        return rows
    key = rows[["instrument", "interval", "start"]]
    newest: Candles = rows[np.append(key[1:] != key[:-1], True)]
    return newest
