"""Readings: indicators in rupees for screens, of many instruments' one-minute closes at once.

MACD 12, 26, 9, exponential averages of 50, 100 and 200, Bollinger's bands of 20 and 2 deviations: those of
`market.indicators` over the closes that are given, the newest row of each. Over 700 minutes, as a window holds them,
what came before would still weigh 1e-12 of an average of 50, 6e-6 of one of 100 and 0.7 % of one of 200.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from market import indicators
from market.money import SCALE, from_floats

AVERAGES = (50, 100, 200)
BAND = 20
DEVIATIONS = 2.0

COLUMNS = ("macd", "macd_signal", *(f"ema_{n}" for n in AVERAGES), "upper", "middle", "lower")

READING = np.dtype([(name, "<i8") for name in COLUMNS])
"""Money, UNKNOWN where there are not as many closes as an indicator needs."""

Readings = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]


def readings(closes: Floats) -> Readings:
    """Of (n, rows) closes in 1/10,000, the newest last, NaN before an instrument's first: (n,) `READING`."""
    rupees = closes / SCALE
    found = np.full((len(rupees), len(COLUMNS)), np.nan)
    whole = np.isfinite(rupees[:, 0])
    if whole.any():
        # Each is a sum of the closes by fixed weights; less the newest, whose weight is the rest, few digits are lost.
        newest = rupees[whole, -1:]
        behind = rupees[whole] - newest
        smoothed = np.stack([behind @ weights for weights in _weights(rupees.shape[1])], axis=1)
        found[whole, : len(AVERAGES) + 2] = smoothed + newest * ([0.0, 0.0] + [1.0] * len(AVERAGES))
    for k in np.flatnonzero(~whole & np.isfinite(rupees[:, -1])).tolist():
        found[k, : len(AVERAGES) + 2] = _newest(rupees[k, np.isfinite(rupees[k])])
    band = rupees[:, -BAND:]
    middle, reach = band.mean(axis=1), DEVIATIONS * band.std(axis=1)
    if rupees.shape[1] >= BAND:
        found[:, -3:] = np.stack([middle + reach, middle, middle - reach], axis=1)
    out = np.empty(len(rupees), READING)
    for k, name in enumerate(COLUMNS):
        out[name] = from_floats(found[:, k])
    return out


def _newest(close: Floats) -> list[float]:
    line, signal, _ = indicators.macd(close)
    return [line[-1], signal[-1], *(indicators.ema(close, n)[-1] for n in AVERAGES)]


@lru_cache(maxsize=4)
def _weights(rows: int) -> Floats:
    """How much each of so many closes weighs in the newest value of each: (5, rows); NaN of one that needs more."""
    return np.ascontiguousarray(np.transpose([_newest(impulse) for impulse in np.eye(rows)]))
