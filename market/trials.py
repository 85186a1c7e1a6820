"""Trials: which instruments a challenger answers for, beside the champion.

By a stable hash of the instrument and the horizon: an instrument stays on one side for as long as the share stays, and
a larger share takes instruments over without giving any back.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
import numpy.typing as npt

from market.models.examples import Ints32

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


def counted(share: float, champion: float, challenger: float) -> float:
    """The challenger's share where either side counts for less, each 0 to 1: none of 0 and all of 1 stay so.

    >>> counted(0.5, champion=0.5, challenger=1.0)
    0.6666666666666666
    """
    theirs, ours = share * challenger, (1.0 - share) * champion
    return theirs / (theirs + ours) if theirs + ours > 0 else share


def challenged(instruments: Ints32, horizon: str, share: float) -> npt.NDArray[np.bool_]:
    """Whether the challenger answers for each of (n,) instruments. `share`: 0 to 1 of all there might be."""
    return places(instruments, horizon) < share


def places(instruments: Ints32, horizon: str) -> npt.NDArray[np.float64]:
    """Where each of (n,) instruments stands, 0 to below 1, evenly spread.

    Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014: SplitMix64.
    """
    x = instruments.astype(np.uint64) + np.uint64(crc32(horizon.encode()))
    with np.errstate(over="ignore"):
        x = x * _STEP + _STEP
        x = (x ^ (x >> np.uint64(30))) * _MIX[0]
        x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    x ^= x >> np.uint64(31)
    return np.asarray((x >> np.uint64(11)) / float(1 << 53))
