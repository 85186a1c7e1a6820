"""Intervals: how far a prediction may be off, and how likely a gain or a loss is, from how far the last ones were.

Conformal: a miss is measured in the scale that misses of such a premium have had, a line on its height, and the next
misses are taken to lie as the last ones did. The last of them count most, so that a calm market narrows the interval,
and the share that is left out moves with what the intervals of late have covered. No shape of the errors is assumed;
probabilities are shares of the misses.

The line is fitted, for a scale in mere proportion held 62 in 100 of the cheap premiums' gains and 91 of the dear ones':
where the market went cheap, as in 2025, the interval was too narrow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from market.ipo.examples import GAIN, Floats

COVERED = 0.8
FEWEST = 25
"""Misses below which nothing is said."""

HALF_LIFE = 100
"""Listings after which a miss counts half."""

STEP = 0.02
"""How far the share left out moves with each listing that was within or outside, times what was expected of it."""

LEAST, MOST = 0.1, 0.3
"""Of the share left out."""

START = (5.0, 0.3)
"""Where the line of the scale begins: points of a premium of 0, and a share of its height."""

ROUNDS = 100
LEAST_SCALE = 1.0
"""Points: nobody knows better."""

BOUNDS = np.dtype([(name, "<f8") for name in ("low_points", "high_points", "p_gain_10", "p_loss")])
"""The 80 % interval, and the probabilities of a gain of 10 points and more, and of less than 0."""


def bounds(said: Floats, scales: Floats, misses: Floats, left_out: float = 1 - COVERED) -> npt.NDArray[np.void]:
    """(m,) `BOUNDS` of predictions, points, with their scales, by past misses, (n,), oldest first, came less said in
    the scale; NaN of fewer than `FEWEST`.
    """
    out = np.full(len(said), np.nan, np.dtype((np.float64, 4))).view(BOUNDS)[:, 0]
    if len(misses) < FEWEST:
        return out
    order = np.argsort(misses, kind="stable")
    aged = recency(len(misses))
    ordered, share = misses[order], np.cumsum(aged[order] / aged[-1])
    # Half of the next listing's own weight on either side: the correction of a small sample.
    level = np.array([left_out / 2, 1 - left_out / 2]) * (share[-1] + 1.0)
    low, high = ordered[np.clip(np.searchsorted(share, level), 0, len(ordered) - 1)]
    out["low_points"], out["high_points"] = said + low * scales, said + high * scales
    for name, edge in (("p_gain_10", GAIN), ("p_loss", 0.0)):
        below = np.searchsorted(ordered, (edge - said) / scales, "left")
        p = (np.concatenate([[0.0], share])[below] + 0.5) / (share[-1] + 1.0)
        out[name] = p if name == "p_loss" else 1 - p
    return out


def scales(heights: Floats, past: Floats, missed: Floats) -> Floats:
    """How far predictions may be off, (m,), points, by the `heights` of their premiums: by past ones, (n,), oldest
    first, and how far those missed, without sign. A line by likelihood, as if the misses were Laplace's.
    """
    rows, aged = np.column_stack([np.ones(len(past)), past]), recency(len(past))
    parts: Floats = np.array(START)
    for _ in range(ROUNDS):
        scale = np.maximum(rows @ parts, LEAST_SCALE)
        # Each round raises the likelihood, and no part below 0. Source: Fevotte, Bertin, Durrieu 2009, Itakura-Saito.
        parts = parts * (rows.T @ (aged * missed / scale**2)) / np.maximum(rows.T @ (aged / scale), 1e-12)
    return np.asarray(np.maximum(parts[0] + parts[1] * heights, LEAST_SCALE))


def recency(count: int) -> Floats:
    """Weights of listings, (n,), oldest first, that sum to 1: each counts half of one `HALF_LIFE` listings after it."""
    aged = 0.5 ** (np.arange(count)[::-1] / HALF_LIFE)
    return np.asarray(aged / aged.sum())


def adapted(left_out: float, within: npt.NDArray[np.bool_]) -> float:
    """The share to leave out after intervals that came to be within or not, (n,), oldest first. Source: Gibbs and
    Candès 2021, adaptive conformal inference.
    """
    for one in within:
        left_out = min(max(left_out + STEP * ((1 - COVERED) - (not one)), LEAST), MOST)
    return left_out
