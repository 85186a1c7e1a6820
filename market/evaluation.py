"""Evaluation: what a model of outcomes is worth, told on sessions it has never seen, after costs and beside baselines.

Walk-forward: each fold learns from sessions before those it is tested on; the last of them are held back to stop early,
to calibrate and to choose when to act. A decision whose horizon reaches into the next part is purged, and an embargo of
sessions lies between parts. To act is to buy where p_up - p_down is above a threshold and to sell where it is below its
negative; a round trip costs what is said. A day's return is that of money spread evenly over all the day's decisions.

`verdict` says EDGE only where all of it holds: a gain after costs, more than every baseline's, that survives a
bootstrap by day, and probabilities better than the base rate's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market import calibration
from market.errors import BadValue
from market.labels import COST, UNKNOWN_LABEL, Label, Labels
from market.records import Record

BINS = 10
"""Of a calibration curve."""

HELD = 0.2
"""Of the sessions before a test: the part held back, one session at least."""

FIRST = 3
"""The first fold learns from as many sessions as this many tests have, and what the division leaves over."""

DRAWS = 2000
LOWER = 0.05
"""The share of the bootstrap's draws below its lower bound."""

FEWEST = 20
"""Trades on the held part below which a threshold has proven nothing."""

FEWEST_DAYS = 3
"""Below, the t of a correlation says nothing."""

QUANTILES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98)
"""Of the convictions on the held part: the thresholds tried."""

CONVICTION = 0.9
"""Quantile of the convictions from which on they are the top decile."""

Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int32]
Rows = npt.NDArray[np.intp]
Chances = npt.NDArray[np.float32] | npt.NDArray[np.float64]
"""(n, 3): of DOWN, FLAT, UP; a row of NaN is an abstention."""


class Fold(NamedTuple):
    """Places among the examples: what is learnt from, what is held back behind it, and what it is judged on."""

    train: Rows
    held: Rows
    test: Rows


class Score(Record):
    """A model on one test part. None: cannot be told, as of no trade or one class.

    `answered` of `rows`; `ic`: mean over days of Spearman's correlation of p_up - p_down with the return, `ic_t` its t
    from FEWEST_DAYS on; `auc_up`, `auc_down`: against the rest; `brier`: the sum over three classes, 0 to 2, and of the
    base rates on the same rows; `calibration_error`: the expected one, 0 to 1; `accuracy`: of the side, up or down,
    where the outcome was not FLAT. After costs, as fractions: `net`, the sum of daily returns; `per_trade`, the mean;
    `sharpe`, mean over deviation of the daily returns, not annualised; `top_decile`, per trade, had one acted on the
    tenth of greatest conviction whatever was learnt.
    """

    rows: int
    answered: int
    days: int
    ic: float | None = None
    ic_t: float | None = None
    auc_up: float | None = None
    auc_down: float | None = None
    brier: float | None = None
    brier_base: float | None = None
    log_loss: float | None = None
    calibration_error: float | None = None
    accuracy: float | None = None
    threshold: float | None = None
    trades: int = 0
    net: float = 0.0
    per_trade: float | None = None
    sharpe: float | None = None
    top_decile: float | None = None


class Judged(NamedTuple):
    """A score and what the plots and the bootstrap need: `days` since 1970-01-01 and the net return of each, (d,).

    `bins`: of p_up, (BINS, 3): how many, their mean probability, and the share that went UP; NaN where none is.
    """

    score: Score
    days: Days
    daily: Floats
    bins: Floats


class Outcome(StrEnum):
    """The verdict's word."""

    EDGE = "EDGE"
    NO_EDGE = "NO_EDGE"


class Verdict(Record):
    """`lower`: of the bootstrap of the mean daily net return."""

    outcome: Outcome
    reason: str
    net: float
    lower: float | None = None

    @property
    def edge(self) -> bool:
        """Whether it may be acted on."""
        return self.outcome is Outcome.EDGE


def walk_forward(sessions: Days, ends: Days, count: int, embargo: int = 1) -> list[Fold]:
    """`count` folds of decisions, (n,): the sessions in which they are made and those in which their horizons end.

    Tests lie side by side up to the last session, each of as many sessions. Raises BadValue: too few for that.
    """
    days = np.unique(sessions)
    if count < 1:
        raise BadValue("folds", count, "1 at least")
    if embargo < 0:
        raise BadValue("embargo", embargo, "0 sessions at least")
    size = len(days) // (count + FIRST)
    if size < 1 or len(days) - count * size < 2 + 2 * embargo:
        raise BadValue("folds", count, f"so few that {len(days)} sessions are enough, with an embargo of {embargo}")
    edges = [len(days) - (count - k) * size for k in range(count + 1)]
    return [_fold(sessions, ends, days, (a, b), embargo) for a, b in pairwise(edges)]


def last_part(sessions: Days, ends: Days, embargo: int = 1) -> Fold:
    """All decisions, to fit what is served: the last part held back, nothing to be tested on. Raises BadValue."""
    days = np.unique(sessions)
    if len(days) < 2 + embargo:
        raise BadValue("sessions", len(days), f"{2 + embargo} at least, with an embargo of {embargo}")
    return _fold(sessions, ends, days, (len(days) + embargo, len(days) + embargo), embargo)


def position(chances: Chances, threshold: float) -> npt.NDArray[np.int8]:
    """1 to buy, -1 to sell, 0 to do nothing, (n, 3) -> (n,): where the conviction is above the threshold."""
    conviction = _conviction(chances)
    side = np.where(np.abs(conviction) > threshold, np.sign(conviction), 0.0)
    return np.nan_to_num(side).astype(np.int8)


def net_returns(side: npt.NDArray[np.int8], returns: Floats, cost: float = COST) -> Floats:
    """What each decision brings after costs, (n,), a fraction of the money; 0 where nothing is done.

    `returns`: log returns.
    """
    return np.where(side != 0, side * np.expm1(returns) - cost, 0.0)


def learned_threshold(chances: Chances, returns: Floats, cost: float = COST) -> float:
    """The threshold that would have brought the most on the held part; infinite where none would have brought anything.

    One that leaves fewer than FEWEST trades counts for nothing.
    """
    known = np.isfinite(chances).all(axis=1) & np.isfinite(returns)
    chances, returns = chances[known], returns[known]
    if not len(returns):
        return float("inf")
    best, chosen = 0.0, float("inf")
    for threshold in np.quantile(np.abs(_conviction(chances)), QUANTILES):
        side = position(chances, float(threshold))
        total = float(net_returns(side, returns, cost).sum())
        if np.count_nonzero(side) >= FEWEST and total > best:
            best, chosen = total, float(threshold)
    return chosen


def base_rates(labels: Labels) -> Floats:
    """How often each label occurs, (n,) -> (3,), those not known left out. Raises BadValue: all are."""
    counts = np.bincount(labels[labels != UNKNOWN_LABEL], minlength=len(Label)).astype(np.float64)
    if not counts.sum():
        raise BadValue("labels", 0, "one known label at least")
    return np.asarray(counts / counts.sum())


def continued(labels: Labels, last: Floats) -> Floats:
    """The last-value baseline: (3, 3), the chances of DOWN, FLAT, UP where the last return was below, at, above 0.

    They are how often moves went on, stood still and turned, whatever their sign; to act on it is to go with the sign.
    """
    known = labels != UNKNOWN_LABEL
    base = base_rates(labels)
    sign, towards = np.sign(np.nan_to_num(last[known])), labels[known].astype(np.int64) - 1
    moved = sign != 0
    if not moved.any():
        return np.tile(base, (3, 1))
    up = np.array([np.mean((sign * towards)[moved] == way) for way in (-1, 0, 1)])
    return np.stack([up[::-1], base, up])


def judged(
    chances: Chances,
    labels: Labels,
    returns: Floats,
    sessions: Days,
    base: Floats,
    *,
    side: npt.NDArray[np.int8] | None = None,
    threshold: float | None = None,
    cost: float = COST,
) -> Judged:
    """Score chances, (n, 3), against what came, each (n,); `base`: rates of the labels learnt from.

    `side`: what is done; without it, what the threshold says. `cost`: of a round trip, a fraction. A decision without
    an outcome is left out.
    """
    chosen = side is None
    if side is None:
        side = position(chances, np.inf if threshold is None else threshold)
    told = np.isfinite(returns) & (labels != UNKNOWN_LABEL)
    labels, returns, sessions, side = labels[told], returns[told], sessions[told], side[told]
    p = np.asarray(chances[told], np.float64)
    net = net_returns(side, returns, cost)
    days, place = np.unique(sessions, return_inverse=True)
    counts = np.bincount(place, minlength=len(days))
    daily = np.bincount(place, weights=net, minlength=len(days)) / np.maximum(counts, 1)
    known = np.isfinite(p).all(axis=1)
    p, y, r = p[known], labels[known].astype(np.int64), returns[known]
    hit = np.eye(len(Label))[y]
    ic, ic_t = _correlation(_conviction(p), r, sessions[known])
    trades = int(np.count_nonzero(side))
    deviation = float(daily.std(ddof=1)) if len(daily) > 1 else 0.0
    score = Score(
        rows=len(labels),
        answered=int(known.sum()),
        days=len(days),
        ic=ic,
        ic_t=ic_t,
        auc_up=_auc(p[:, Label.UP], y == Label.UP),
        auc_down=_auc(p[:, Label.DOWN], y == Label.DOWN),
        brier=_mean(((p - hit) ** 2).sum(axis=1)),
        brier_base=_mean(((base[None] - hit) ** 2).sum(axis=1)),
        log_loss=_mean(-np.log(np.clip(p[np.arange(len(y)), y], 1e-7, 1.0))),
        calibration_error=calibration.calibration_error(p, labels[known]) if len(p) else None,
        accuracy=_accuracy(_conviction(p), y),
        threshold=None if threshold is None or not np.isfinite(threshold) else threshold,
        trades=trades,
        net=float(daily.sum()),
        per_trade=float(net.sum() / trades) if trades else None,
        sharpe=float(daily.mean() / deviation) if deviation > 0 else None,
        top_decile=_top_decile(p, r, cost) if chosen else None,
    )
    return Judged(score, days.astype(np.int32), daily, calibration_bins(p[:, Label.UP], y == Label.UP))


def calibration_bins(chances: Floats, came: npt.NDArray[np.bool_]) -> Floats:
    """A calibration curve, (n,) -> (BINS, 3): how many, mean probability, share that came; bins of equal width."""
    curve = calibration.reliability(chances, came, BINS)
    return np.stack([curve["rows"].astype(np.float64), curve["predicted"], curve["observed"]], axis=1)


def joined_bins(parts: Sequence[Floats]) -> Floats:
    """The curves of several test parts as one."""
    stacked = np.stack(parts)
    count = stacked[:, :, 0].sum(axis=0)
    out = np.full((BINS, 3), np.nan)
    out[:, 0] = count
    some = count > 0
    for column in (1, 2):
        sums = np.nansum(stacked[:, :, 0] * np.nan_to_num(stacked[:, :, column]), axis=0)
        out[some, column] = sums[some] / count[some]
    return out


def lower_bound(daily: Floats, seed: int, draws: int = DRAWS) -> float | None:
    """Below it lie 5 % of the mean daily returns of as many days drawn from these, (d,), with repetition.

    None for fewer than two days.
    """
    if len(daily) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(daily), (draws, len(daily)))
    return float(np.quantile(daily[drawn].mean(axis=1), LOWER))


def verdict(folds: Sequence[Judged], baselines: Mapping[str, Sequence[Judged]], seed: int) -> Verdict:
    """Whether a model's folds show an edge over those of the baselines, and why, or why not; the first reason found."""
    net = sum(one.score.net for one in folds)
    lower = lower_bound(np.concatenate([one.daily for one in folds]), seed)
    trades = sum(one.score.trades for one in folds)
    brier, base = (_weighted(folds, name) for name in ("brier", "brier_base"))
    better = {name: sum(one.score.net for one in parts) for name, parts in baselines.items()}
    best = max(better, key=lambda name: better[name]) if better else ""
    reason = ""
    if not trades:
        reason = "no conviction paid for its costs on the held parts, so nothing was traded"
    elif net <= 0:
        reason = f"the net return after costs is {net:+.4%} in {trades:,} trades"
    elif best and better[best] >= net:
        reason = f"the baseline {best} brought {better[best]:+.4%} after costs, the model {net:+.4%}"
    elif lower is None or lower <= 0:
        told = "cannot be told of one day" if lower is None else f"is {lower:+.4%} a day"
        reason = f"the bootstrap's lower bound of the net return {told}"
    elif brier is None or base is None or brier >= base:
        reason = f"the probabilities are no better than the base rate's: Brier {brier} against {base}"
    if reason:
        return Verdict(outcome=Outcome.NO_EDGE, reason=f"No edge after costs: {reason}.", net=net, lower=lower)
    said = f"Edge after costs: {net:+.4%} net in {trades:,} trades, {lower:+.4%} a day at least, above every baseline."
    return Verdict(outcome=Outcome.EDGE, reason=said, net=net, lower=lower)


def spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and deviation (of the sample) over folds, those that could not be told left out."""
    known = np.array([v for v in values if v is not None])
    if not len(known):
        return None, None
    return float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None


def _fold(sessions: Days, ends: Days, days: Days, test: tuple[int, int], embargo: int) -> Fold:
    """`test`: places of its sessions, the end exclusive; beyond the last there is none."""
    before = test[0] - embargo
    size = max(round(HELD * before), 1)
    held = (before - size, before)
    train = (0, held[0] - embargo)
    if train[1] < 1:
        raise BadValue("sessions", len(days), "enough for one to learn from in each fold")
    place = np.searchsorted(days, sessions)
    beyond = np.searchsorted(days, ends)  # of a horizon that ends behind the last session: past all

    def part(first: int, end: int, following: int) -> Rows:
        return np.flatnonzero((place >= first) & (place < end) & (beyond < following))

    return Fold(part(*train, held[0]), part(*held, test[0]), part(*test, len(days) + embargo + 1))


def _conviction(chances: Chances) -> Floats:
    return np.asarray(chances[:, Label.UP], np.float64) - chances[:, Label.DOWN]


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _accuracy(conviction: Floats, labels: npt.NDArray[np.int64]) -> float | None:
    moved = labels != Label.FLAT
    return _mean((np.sign(conviction[moved]) == labels[moved] - 1).astype(np.float64))


def _top_decile(chances: Floats, returns: Floats, cost: float) -> float | None:
    if not len(returns):
        return None
    least = float(np.quantile(np.abs(_conviction(chances)), CONVICTION))
    side = position(chances, least)
    acted = side != 0
    return _mean(net_returns(side, returns, cost)[acted])


def _auc(chances: Floats, came: npt.NDArray[np.bool_]) -> float | None:
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped,unused-ignore]

    return float(roc_auc_score(came, chances)) if came.any() and not came.all() else None


def _correlation(conviction: Floats, returns: Floats, sessions: Days) -> tuple[float | None, float | None]:
    """Mean and t of Spearman's correlation by day, over the days on which both vary."""
    from scipy.stats import rankdata  # type: ignore[import-untyped,unused-ignore]

    found = []
    for day in np.unique(sessions):
        mine = sessions == day
        x, y = rankdata(conviction[mine]), rankdata(returns[mine])
        if x.std() > 0 and y.std() > 0:
            found.append(float(np.corrcoef(x, y)[0, 1]))
    mean, deviation = spread(found)
    if mean is None or not deviation or len(found) < FEWEST_DAYS:
        return mean, None
    return mean, mean / (deviation / float(np.sqrt(len(found))))


def _weighted(folds: Sequence[Judged], name: str) -> float | None:
    told = [(getattr(f.score, name), f.score.answered) for f in folds if getattr(f.score, name) is not None]
    whole = sum(rows for _, rows in told)
    return sum(value * rows for value, rows in told) / whole if whole else None
