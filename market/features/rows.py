"""The set of features, and the row that carries them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.features import anchored, crowd, technical
from market.features.feature import TIMEFRAMES, Feature, Unknown
from market.features.moving import Floats

SET = "f1"
"""The version of the set: names, order and formulas never change under it."""

FEATURES: tuple[Feature, ...] = (
    *(feature for timeframe in TIMEFRAMES for feature in technical.features(timeframe)),
    *anchored.FEATURES,
    *crowd.FEATURES,
)

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)

FEATURE = np.dtype(
    [
        ("instrument", "<i4"),
        ("session", "<i4"),
        ("start", "<i8"),
        ("revision", "<i4"),
        ("unknown", "u1"),
        ("padding", "u1", 3),
        ("values", "<f8", (len(FEATURES),)),
    ]
)
"""The features of a minute, known at its end. `session` days since 1970-01-01, `start` ns UTC of the minute, `revision`
of the candle that was used, `unknown` an `Unknown`, `values` in the order of `FEATURES`, NaN where not known.
"""

FeatureRows = npt.NDArray[np.void]

NO_FEATURES: FeatureRows = np.zeros(0, FEATURE)
NO_FEATURES.setflags(write=False)

_ENDS = np.cumsum([*(len(technical.features(t)) for t in TIMEFRAMES), len(anchored.FEATURES), len(crowd.FEATURES)])

PARTS: dict[str, slice] = {
    name: slice(int(end - size), int(end))
    for name, end, size in zip((*TIMEFRAMES, "session", "market"), _ENDS, np.diff(_ENDS, prepend=0), strict=True)
}
"""Where in the values the features of a timeframe, of the session and of the market stand."""

_OWN_RETURNS = [
    NAMES.index(name) for name in ("return_day", "return_1_1m", "return_5_1m", "return_15_1m", "return_60_1m")
]


def own_returns(values: Floats) -> Floats:
    """(horizons, n) of an instrument's values, (features, n): what is compared with the market's."""
    return np.asarray(values[_OWN_RETURNS])


def without_market(made: FeatureRows) -> FeatureRows:
    """Rows, (n,), of a minute of which the whole market is not known; the reason is told where there is no other."""
    out = made.copy()
    out["values"][:, PARTS["market"]] = np.nan
    out["unknown"][made["unknown"] == Unknown.KNOWN] = Unknown.PARTIAL
    return out


def unknown_rows(candles: npt.NDArray[np.void], reasons: npt.NDArray[np.uint8]) -> FeatureRows:
    """A row for each candle, (n,), all values NaN."""
    rows = np.zeros(len(candles), FEATURE)
    for name in ("instrument", "session", "start", "revision"):
        rows[name] = candles[name]
    rows["unknown"], rows["values"] = reasons, np.nan
    return rows
