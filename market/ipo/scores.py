"""Scores: what each model of a walk was worth on the issues that were listed after a day.

All models of a task are scored on the same issues. A probability that nothing can be told of is left out, not zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from market.ipo.examples import GAIN, Floats
from market.ipo.walkforward import SERVED, Task, Walk
from market.records import Record

DRAWS = 2000
SEED = 7
LEVELS = (0.025, 0.975)
"""Of the bootstrap of the mean absolute error."""


class Score(Record):
    """What a model was worth. `mae` in points of the issue price, with its 95 % bootstrap interval; `r2`; `auc` of what
    it said for a gain of 10 points and more; `coverage` of its 80 % interval; `brier` 0 to 1 of its probability of that
    gain; None: nothing to tell it by. `served`: what the API answers with; `months`: for it, whose words in how many.
    """

    task: Task
    model: str
    n: int
    mae: float | None
    mae_low: float | None
    mae_high: float | None
    r2: float | None
    auc: float | None
    coverage: float | None
    brier: float | None
    served: bool
    months: Mapping[str, int] = {}


def scores(task: Task, walked: Walk, after: int) -> list[Score]:
    """A score for each model of the walk over the issues listed after a day, days since 1970-01-01, outcome known."""
    judged = np.isfinite(walked.came) & (walked.rows["listed"] > after)
    return [_score(task, walked, judged, k) for k in range(len(walked.models))]


def auc(said: Floats, came: Floats) -> float | None:
    """How often what gained 10 points and more had been told above what did not; None where all or nothing did."""
    high, low = said[came >= GAIN], said[came < GAIN]
    if not len(high) or not len(low):
        return None
    above = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    return round(float(above), 4)


def _score(task: Task, walked: Walk, judged: np.ndarray[tuple[int], np.dtype[np.bool_]], k: int) -> Score:
    said, came, bounds = walked.said[judged, k], walked.came[judged], walked.bounds[judged, k]
    served = walked.models[k] == SERVED
    low, high = _interval(np.abs(said - came))
    spread = ((came - came.mean()) ** 2).sum() if len(came) else 0.0
    told = np.isfinite(bounds["low_points"])
    within = (came >= bounds["low_points"]) & (came <= bounds["high_points"])
    squares = (bounds["p_gain_10"] - (came >= GAIN)) ** 2
    asked = np.unique(walked.rows["decided"][judged].astype("datetime64[D]").astype("datetime64[M]"))
    months = {month.item() for month in asked}
    return Score(
        task=task,
        model=walked.models[k],
        n=len(came),
        mae=_mean(np.abs(said - came)),
        mae_low=low,
        mae_high=high,
        r2=round(float(1 - ((came - said) ** 2).sum() / spread), 4) if spread else None,
        auc=auc(said, came),
        coverage=_mean(within[told]),
        brier=_mean(squares[told]),
        served=served,
        months=dict(Counter(gate.served for gate in walked.gates if gate.month in months)) if served else {},
    )


def _mean(values: Floats) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _interval(missed: Floats) -> tuple[float | None, float | None]:
    if not len(missed):
        return None, None
    drawn = np.random.default_rng(SEED).integers(0, len(missed), (DRAWS, len(missed)))
    low, high = np.quantile(missed[drawn].mean(axis=1), LEVELS)
    return round(float(low), 4), round(float(high), 4)
