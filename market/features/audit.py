"""Audits: whether two makings of the same features agree, and whether one looks ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from market.candles import Candles
from market.features.moving import Floats
from market.features.rows import FEATURES, NAMES, FeatureRows

TOLERANCE = 1e-9
"""Of the larger of the expected value and the feature's scale."""


class Agreement(NamedTuple):
    """How far rows are from what was expected of them.

    `worst`: the largest difference, in units of the larger of the expected value and the feature's scale, and `where`,
    of which feature it is; infinite where one is known and the other is not, or where the reasons differ.
    """

    rows: int
    values: int
    worst: float
    where: str

    @property
    def holds(self) -> bool:
        """Whether they are equal."""
        return self.worst <= TOLERANCE


def agreement(made: FeatureRows, expected: FeatureRows) -> Agreement:
    """Compare rows of the same instruments and minutes, (n,) each in one order; infinitely far when they are not."""
    keys = ("instrument", "start", "session", "unknown")
    if len(made) != len(expected) or any((made[key] != expected[key]).any() for key in keys):
        return Agreement(len(made), 0, np.inf, "rows")
    if not len(made):
        return Agreement(0, 0, 0.0, "")
    off = distance(made["values"], expected["values"])
    known = int(np.count_nonzero(~np.isnan(expected["values"])))
    column = int(off.max(axis=0).argmax())
    return Agreement(len(made), known, float(off.max()), NAMES[column])


def distance(made: Floats, expected: Floats) -> Floats:
    """(n, features) differences of values, in their own units; infinite where only one of both is known."""
    scales = np.array([feature.scale for feature in FEATURES])
    neither = np.isnan(made) & np.isnan(expected)
    off = np.abs(made - expected) / np.maximum(np.abs(expected), scales)
    return np.where(neither, 0.0, np.where(np.isnan(off), np.inf, off))


def leaks(compute: Callable[[Candles], FeatureRows], minutes: Candles, cuts: Iterable[int]) -> list[str]:
    """The features that knew of later minutes: those that come out otherwise once the future is cut off.

    `minutes` of one instrument, oldest first, are cut to the first so many, at each of `cuts`; `compute` then has to
    give, to the last bit, the rows it gives with all of them.
    """
    whole, found = compute(minutes), set()
    for cut in cuts:
        short = compute(minutes[:cut])
        if len(short) != cut or (short["unknown"] != whole["unknown"][:cut]).any():
            return list(NAMES)
        same = short["values"].view(np.int64) == whole["values"][:cut].view(np.int64)
        both_unknown = np.isnan(short["values"]) & np.isnan(whole["values"][:cut])
        found.update(np.flatnonzero(~(same | both_unknown).all(axis=0)).tolist())
    return [NAMES[k] for k in sorted(found)]
