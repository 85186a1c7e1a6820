"""Models of a listing's gain: the premium itself, what competes with it, and ours, which adds to it what it has shown.

Ours measure how far a gain was from the premium in the scale of the premium, `SCALE` points more than its size: dear
premiums miss by more, and would else drown the others. Lines and planes are robust: a miss counts by its size.
Where something is not known the middle of what was learnt from stands for it. An SME issue cannot gain more than its
caps since 4 July 2024, and our members say no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

import numpy as np

from market.ipo.examples import Examples, Floats
from market.sessions import day_number

GMP = "gmp"
ROBUST = "robust_line"
SUBSCRIPTION = "subscription"
FOREST = "forest_boost"

SCALE = 10.0
"""Points added to the size of a premium."""

FEW = 25
"""Examples below which nothing is learnt: the premium stands alone."""

SHRINK = 100.0
"""Listings of a segment at which its own fit counts as much as that of all."""

HALF_LIFE = 365.0
"""Days after which a listing counts half in the recent line."""

PENALTY = 300.0
"""Of the residual's coefficients, by features in their spread: as if about so many listings said nothing."""

BEND = 1.35
"""Spreads of a miss from which on it counts by its size, not its square."""

NORMAL = 1.4826
"""The standard deviation over the median size of normal errors."""

STEPS = 50
LEAST = 1e-9
WIDE = 4.0
"""Spreads from the middle beyond which a feature is taken to be there."""

# NSE and BSE bound the special pre-open of SME issues at 90 % above the issue price; the close may lie 5 % higher.
# Source: ipo-sources, section 1; the exchanges' circulars of 4 July 2024.
CAPPED = day_number(date(2024, 7, 4))
CAP_OPEN = 90.0
CAP_CLOSE = 99.5

TIMES = ("qib", "nii", "rii", "total")

Model = Callable[[Examples, Floats, Examples], Floats]
"""Learn from examples, (n,), and what came of them, points, (n,), none NaN; say what will of others: (m,) points."""


def gmp_alone(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """The premium, in points of the issue price."""
    return asked["gmp_points"].copy()


def robust_line(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """Huber's line on the premium."""
    return _plane(learnt["gmp_points"][:, None], came, asked["gmp_points"][:, None])


def subscription(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """Huber's plane on the logarithms of the subscription, by category and in all; no premium."""
    known, wanted = _spread(_times(learnt), _times(asked))
    return _plane(known, came, wanted)


def forest_boost(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """The mean of a random forest and of gradient boosting over plain features, as the first seed has it."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

    known, wanted = _spread(_plain(learnt), _plain(asked))
    forest = RandomForestRegressor(100, random_state=7).fit(known, came)
    boosted = GradientBoostingRegressor(random_state=7).fit(known, came)
    return np.asarray((forest.predict(wanted) + boosted.predict(wanted)) / 2)


def recent_line(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """A robust line in the scale of the premium, of which a listing counts half after `HALF_LIFE` days."""
    ages = asked["decided"].min(initial=np.iinfo(np.int64).max) - learnt["listed"]
    return _scaled(learnt, came, asked, 0.5 ** (ages / HALF_LIFE))


def residual(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    """A line in the scale of the premium, and a plane, held down, on what it left: trend, subscription, and how recent
    listings did; a segment's own as far as it has listings.
    """
    out = _left(learnt, came, asked)
    for sme in (0.0, 1.0):
        own, wanted = learnt["sme"] == sme, asked["sme"] == sme
        if own.sum() >= FEW and wanted.any():
            trust = own.sum() / (own.sum() + SHRINK)
            out[wanted] += trust * (_left(learnt[own], came[own], asked[wanted]) - out[wanted])
    return out


COMPETITORS: Mapping[str, Model] = {
    GMP: gmp_alone,
    ROBUST: robust_line,
    SUBSCRIPTION: subscription,
    FOREST: forest_boost,
}
MEMBERS: Mapping[str, Model] = {
    GMP: gmp_alone,
    ROBUST: robust_line,
    "recent_line": recent_line,
    "residual": residual,
}
"""What ours is a mean of."""


def scale(rows: Examples) -> Floats:
    """What a premium may miss by, (n,), points: by far not its error, but in proportion to it."""
    return np.asarray(SCALE + np.abs(rows["gmp_points"]))


def capped(said: Floats, rows: Examples, close: bool) -> Floats:
    """No more than an SME issue can gain at its first trade, or at the listing day's close."""
    bound = (rows["sme"] == 1) & (rows["listed"] >= CAPPED)
    return np.where(bound, np.minimum(said, CAP_CLOSE if close else CAP_OPEN), said)


def _left(learnt: Examples, came: Floats, asked: Examples) -> Floats:
    left = (came - _scaled(learnt, came, learnt)) / scale(learnt)
    known, wanted = _spread(_few(learnt), _few(asked))
    return np.asarray(_scaled(learnt, came, asked) + scale(asked) * _plane(known, left, wanted, PENALTY))


def _scaled(learnt: Examples, came: Floats, asked: Examples, weights: Floats | None = None) -> Floats:
    size, premium = scale(learnt), learnt["gmp_points"]
    known = np.stack([1 / size, premium / size], axis=1)
    wanted = np.stack([np.ones(len(asked)), asked["gmp_points"]], axis=1)
    weights = np.ones(len(learnt)) if weights is None else weights
    return np.asarray(asked["gmp_points"] + wanted @ _huber(known, (came - premium) / size, np.zeros(2), weights))


def _few(rows: Examples) -> Floats:
    relative = rows["gmp_trend_points"] / scale(rows)
    columns = [relative, np.log1p(rows["total"]), rows["recent_hit"], rows["recent_gain_points"], rows["sme"]]
    return np.stack(columns, axis=1)


def _times(rows: Examples) -> Floats:
    return np.asarray(np.log1p(np.stack([rows[name] for name in TIMES], axis=1)))


def _plain(rows: Examples) -> Floats:
    names = ("gmp_points", "gmp_trend_points", "size_crore", "price_rupees", *TIMES)
    market = ("nifty_5_points", "nifty_20_points", "nifty_volatility_points", "vix", "recent_gain_points", "sme")
    return np.stack([rows[name] for name in (*names, *market)], axis=1)


def _spread(known: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    seen = np.isfinite(known).any(axis=0)
    middle, spread = np.zeros(known.shape[1]), np.ones(known.shape[1])
    middle[seen] = np.nanmedian(known[:, seen], axis=0)
    spread[seen] = np.nanstd(known[:, seen], axis=0)
    spread[spread == 0] = 1.0
    first, second = (
        np.clip((np.where(np.isnan(x), middle, x) - middle) / spread, -WIDE, WIDE) for x in (known, wanted)
    )
    return first, second


def _plane(known: Floats, came: Floats, wanted: Floats, penalty: float = 0.0) -> Floats:
    first, second = (np.column_stack([np.ones(len(x)), x]) for x in (known, wanted))
    held = np.r_[0.0, np.full(known.shape[1], penalty)]
    return np.asarray(second @ _huber(first, came, held, np.ones(len(known))))


def _huber(known: Floats, came: Floats, penalties: Floats, weights: Floats) -> Floats:
    # Huber's loss by least squares weighted anew, the spread of the misses from their median size. Source: Huber 1981.
    held = np.diag(penalties + LEAST)
    found: Floats = np.zeros(known.shape[1])
    for _ in range(STEPS):
        missed = np.abs(came - known @ found)
        spread = max(float(np.median(missed)) * NORMAL, LEAST)
        trusted = weights * np.minimum(1.0, BEND * spread / np.maximum(missed, LEAST))
        found = np.asarray(np.linalg.solve((known.T * trusted) @ known + held * spread, (known.T * trusted) @ came))
    return found
