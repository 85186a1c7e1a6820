"""Features: the one definition of every column a model sees, computed in bulk and live, equal.

`compute` takes one instrument's whole series, `Window` goes minute by minute over many; both arrange candles for the
same functions: `technical` on each timeframe, `anchored` since the open, `crowd` of the whole market in the minute.
"""

from market.features.bulk import compute, sums
from market.features.crowd import SUMS, Market, Members, market_of, members_of, merged
from market.features.feature import Feature, Unknown
from market.features.rows import FEATURE, FEATURES, NAMES, NO_FEATURES, PARTS, SET, FeatureRows, without_market
from market.features.series import Factors
from market.features.window import MEMORY, Window

__all__ = [
    "FEATURE",
    "FEATURES",
    "MEMORY",
    "NAMES",
    "NO_FEATURES",
    "PARTS",
    "SET",
    "SUMS",
    "Factors",
    "Feature",
    "FeatureRows",
    "Market",
    "Members",
    "Unknown",
    "Window",
    "compute",
    "market_of",
    "members_of",
    "merged",
    "sums",
    "without_market",
]
