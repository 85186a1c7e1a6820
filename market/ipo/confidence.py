"""Confidence: how likely a validated premium is near what comes.

It is the probability that the listing gain lies within `TOLERANCE_POINTS` of the premium, both in points of the issue
price. The error is taken as a Laplace variable whose scale adds up from what makes premiums wrong: a little always; the
error the sources have shown; their height; their disagreement; their age. No part can make a premium better. The parts
are fitted by likelihood to outcomes, so that of the premiums called 0.7 about 70 in 100 come that near; with few of
them, what was fitted to those on record counts too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.sessions import DAY

TOLERANCE_POINTS = 10.0
FEW = 60
"""Outcomes below which nothing is fitted, and at which they count as much as those on record. A desk fits anew when so
many more have come.
"""
ROUNDS = 300
LEAST_SCALE = 0.5
APART = 0.5
"""The scale is never below this part of the disagreement: sources far apart are too rare for outcomes to tell."""
LEAST_PART = 0.1
"""Each part begins here at least: one that is 0 would stay 0."""

# Fitted to the last premiums of 771 issues listed from December 2019 to July 2025; where the height and the shown error
# are known, how far sources differ told nothing more.
PARTS = (0.0, 0.54, 0.23, 0.0, 1.4)

Floats = npt.NDArray[np.float64]


class Doubts(NamedTuple):
    """What makes a premium doubtful: the error its sources have shown, its height, how far the sources are from it, all
    in points of the issue price, and its age, ns.
    """

    shown_points: float
    height_points: float
    disagreement_points: float
    age: int


class Confidence:
    """The scale of the error, `parts` by which it grows: always, and for each of `Doubts`, age in days; fitted to so
    many `outcomes` beside those on record.
    """

    def __init__(self, parts: tuple[float, ...] = (), outcomes: int = 0) -> None:
        """Raises BadValue: not five numbers from 0 on, one of them above it."""
        parts = tuple(parts) or PARTS
        if (
            len(parts) != 1 + len(Doubts._fields)
            or not all(math.isfinite(p) and p >= 0 for p in parts)
            or not any(parts)
        ):
            raise BadValue("parts", parts, "five numbers from 0 on, not all of them 0")
        self.parts, self.outcomes = parts, outcomes

    def of(self, doubts: Doubts) -> float:
        """The probability, 0 to 1, that the gain comes within TOLERANCE_POINTS."""
        scale = max(float(_row(doubts) @ np.array(self.parts)), LEAST_SCALE, APART * doubts.disagreement_points)
        return 1.0 - math.exp(-TOLERANCE_POINTS / scale)

    def snapshot(self) -> dict[str, Any]:
        """As plain values."""
        return {"parts": list(self.parts), "outcomes": self.outcomes}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """Raises BadValue: these are not the values of a `snapshot`."""
        try:
            return cls(tuple(float(part) for part in state["parts"]), int(state.get("outcomes", 0)))
        except (KeyError, TypeError, ValueError) as e:
            raise BadValue("state", type(state).__name__, f"what Confidence.snapshot gave: {e}") from e


def fitted(doubts: list[Doubts], errors: list[float]) -> Confidence:
    """What outcomes suggest: of each premium its doubts and how far off it was, in points, (n,) each.

    The parts are those on record where outcomes are fewer than FEW, and count as FEW outcomes where they are more.
    Raises BadValue: not as many of one as of the other.
    """
    if len(doubts) != len(errors):
        raise BadValue("errors", len(errors), f"as many as doubts: {len(doubts)}")
    if len(doubts) < FEW:
        return Confidence()
    rows = np.stack([_row(one) for one in doubts])
    off = np.array(errors, np.float64)
    recorded = np.array(PARTS)
    parts: Floats = np.maximum(recorded, LEAST_PART)
    for _ in range(ROUNDS):
        scale = np.maximum(rows @ parts, LEAST_SCALE)
        # Each round raises the likelihood, and no part below 0. Source: Fevotte, Bertin, Durrieu 2009, Itakura-Saito.
        parts = parts * (rows.T @ (off / scale**2)) / np.maximum(rows.T @ (1.0 / scale), 1e-12)
    trust = len(doubts) / (len(doubts) + FEW)
    return Confidence(tuple(float(part) for part in recorded + trust * (parts - recorded)), len(doubts))


def _row(doubts: Doubts) -> Floats:
    return np.array([1.0, doubts.shown_points, abs(doubts.height_points), doubts.disagreement_points, doubts.age / DAY])
