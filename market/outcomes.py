"""Outcomes: what came of each prediction when its horizon was over, and how good the predictions of a version were.

A prediction is scored once. It is held against the log return from the next minute's open to the end of its horizon, as
`market.labels` has it, so live and in training the same thing is called a hit. Acting on one means to buy where UP is
the likeliest of the three, to sell where DOWN is, and to do nothing where FLAT is: `net` is what that paid, costs taken
off, for each rupee. What has no outcome says why, and is counted.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from market.candles import Candles
from market.errors import BadValue
from market.evaluation import net_returns
from market.labels import COST, HORIZONS, UNKNOWN_LABEL, Label, labels
from market.labels import outcomes as returns_after
from market.predictions import Abstained
from market.records import Record
from market.registrations import VERSION
from market.sessions import MINUTE, Sessions

BINS = 10
"""Of a curve of calibration."""


class Unscored(IntEnum):
    """Why a prediction has no outcome."""

    NO = 0
    ABSTAINED = 1
    """It was none."""
    PAST_CLOSE = 2
    """The session, or the last one that is known, ended before the horizon."""
    NO_PRICE = 3
    """A candle it needs is missing, or nobody saw that minute."""


OUTCOME = np.dtype(
    [
        ("at", "<i8"),
        ("horizon", "S8"),
        ("version", "S48"),
        *((name, "<f8") for name in ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high")),
        ("abstained", "u1"),
        ("unscored", "u1"),
        ("came", "i1"),
        ("outcome", "<f8"),
        ("net", "<f8"),
    ]
)
"""A prediction and, behind `abstained`, what came of it: `came` a `Label`, `outcome` the log return before costs, `net`
the return of acting on it; UNKNOWN_LABEL and NaN where it is `unscored`.
"""

TALLY = np.dtype(
    [
        *((name, "<i8") for name in ("first", "last", "predictions", "abstained", "unscored", "scored", "hits")),
        *((name, "<i8") for name in ("judged", "bounded", "within", "trades", "trade_hits")),
        *((name, "<f8") for name in ("net", "squares")),
        *((name, "<f8", (len(Label), BINS)) for name in ("rows", "predicted", "came")),
    ]
)
"""What a `Performance` is made of, summed, so that parts of a span can be read apart: `first`, `last` ns UTC; `judged`:
the scored with known probabilities, `squares` their squared errors; `bounded`: those with an interval; of each label
and tenth of its probability the `rows`, the sum of what was `predicted`, and how often it `came`.
"""

Outcomes = npt.NDArray[np.void]
Tallies = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]


class Bin(Record):
    """Of the predictions whose p_up lay in one tenth: its mean, how often UP came, and of how many."""

    predicted: float
    observed: float
    count: int


class Performance(Record):
    """How good the predictions of one version for one horizon were. `first`, `last`: ns UTC of the decisions.

    `hit_rate`: how often the likeliest of the three came; `brier` 0 to 2, `calibration_error` 0 to 1 and `curve` of
    UP, as in `market.calibration`; `coverage`: how often the return lay within the interval, 0.9 is meant; `trades`:
    predictions that one would have acted on, `trade_hits` how often that paid more than its costs; `net_mean`,
    `net_total`: of them, after costs, each of one rupee. None: no such prediction has been scored.
    """

    version: str
    horizon: str
    first: int
    last: int
    predictions: int
    abstained: int
    unscored: int
    scored: int
    hit_rate: float | None
    brier: float | None
    calibration_error: float | None
    coverage: float | None
    trades: int
    trade_hits: float | None
    net_mean: float | None
    net_total: float
    curve: tuple[Bin, ...]


def horizon_end(at: int, horizon: str, sessions: Sessions) -> int | None:
    """ns UTC at which a decision's horizon ends: for 1d the next session's close. None: the calendar has none, or the
    decision is of no session. Raises BadValue: no such horizon.
    """
    if horizon not in HORIZONS:
        raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
    if HORIZONS[horizon]:
        return at + HORIZONS[horizon] * MINUTE if sessions.of(at) else None
    following = sessions.after(at)
    return following.close if following else None


def scored(rows: Outcomes, candles: Candles, horizon: str, sessions: Sessions, cost: float = COST) -> Outcomes:
    """Predictions of one instrument for one horizon, (n,) `OUTCOME` rows, any order, with what came of them.

    `candles`: its adjusted minutes, oldest first, (m,), up to the end of the last horizon. `cost`: of a round trip.
    """
    out = rows.copy()
    ends = candles["start"] + MINUTE
    place = np.searchsorted(ends, rows["at"])
    inside = place < len(ends)
    found = np.full(len(rows), np.nan)
    if len(candles):
        exact = inside & (ends[np.minimum(place, len(ends) - 1)] == rows["at"])
        found[exact] = returns_after(candles, horizon)[place[exact]]
    found[~np.isin([horizon_end(int(at), horizon, sessions) or 0 for at in rows["at"]], ends)] = np.nan
    sides = side(rows)
    out["outcome"], out["came"] = found, labels(found, cost)
    out["net"] = np.where(np.isnan(found), np.nan, net_returns(sides, found, cost))
    past = [_past(int(at), horizon, sessions) for at in rows["at"]]
    why = np.where(np.isnan(found), Unscored.NO_PRICE, Unscored.NO)
    why = np.where(past, Unscored.PAST_CLOSE, why)
    why = np.where(rows["abstained"] != Abstained.NO, Unscored.ABSTAINED, why)
    out["unscored"] = why
    left = why != Unscored.NO
    out["came"][left], out["outcome"][left], out["net"][left] = UNKNOWN_LABEL, np.nan, np.nan
    return out


def model_asked(model: str, known: Collection[str]) -> str:
    """A model as somebody asks for it: a version, direction-15m@3, or all of a name. Raises BadValue.

    `known`: versions that have predicted; names are theirs, and those `bourse train` gives.
    """
    known = {version for version in known if version}
    names = {version.partition("@")[0] for version in known}
    names |= {f"direction-{horizon}" for horizon in HORIZONS} | {"direction-1d-daily"}
    if model not in names and model not in known and not VERSION.fullmatch(model):
        raise BadValue("model", model[:80], f"a version, like direction-15m@3, or one of {', '.join(sorted(names))}")
    return model


def side(rows: Outcomes) -> npt.NDArray[np.int8]:
    """What acting on each prediction, (n,), means: 1 to buy, -1 to sell, 0 to do nothing; of equals nothing, then to
    sell.
    """
    p = np.stack([rows["p_flat"], rows["p_down"], rows["p_up"]], axis=1)
    sides: npt.NDArray[np.int8] = np.array([0, -1, 1], np.int8)[np.argmax(np.nan_to_num(p, nan=-1.0), axis=1)]
    return sides


def tally(rows: Outcomes) -> Tallies:
    """The sums that say how good (n,) rows, one or more, of one version and horizon were: a `TALLY` row, (1,)."""
    done = rows[rows["unscored"] == Unscored.NO]
    p, came = probabilities(done), done["came"].astype(np.int64)
    sides = side(done)
    acted = done["net"][sides != 0]
    within = (done["outcome"] >= done["low"]) & (done["outcome"] <= done["high"])
    bounded = np.isfinite(done["low"]) & np.isfinite(done["high"])
    known = np.isfinite(p).all(axis=1) & (came != UNKNOWN_LABEL)
    hit = np.eye(len(Label))[came[known]]
    out = np.zeros(1, TALLY)
    out["first"], out["last"], out["predictions"] = rows["at"].min(), rows["at"].max(), len(rows)
    out["abstained"] = np.count_nonzero(rows["abstained"] != Abstained.NO)
    out["unscored"] = np.isin(rows["unscored"], [Unscored.PAST_CLOSE, Unscored.NO_PRICE]).sum()
    out["scored"], out["hits"] = len(done), np.count_nonzero(np.argmax(p, axis=1) == came) if len(done) else 0
    out["judged"], out["squares"] = known.sum(), ((p[known] - hit) ** 2).sum()
    out["bounded"], out["within"] = bounded.sum(), within[bounded].sum()
    out["trades"], out["trade_hits"], out["net"] = len(acted), np.count_nonzero(acted > 0), acted.sum()
    places = np.clip((p[known] * BINS).astype(np.int64), 0, BINS - 1)
    for label in Label:
        for name, weights in (("rows", None), ("predicted", p[known, label]), ("came", hit[:, label])):
            out[name][0, label] = np.bincount(places[:, label], weights, minlength=BINS)
    return out


def total(tallies: Tallies) -> Tallies:
    """That of all the rows behind `TALLY` rows, (n,), one or more, of one version and horizon: (1,)."""
    out = np.zeros(1, TALLY)
    for name in TALLY.names or ():
        out[name] = tallies[name].sum(axis=0)
    out["first"], out["last"] = tallies["first"].min(), tallies["last"].max()
    return out


def performances(rows: Outcomes) -> list[Performance]:
    """How good each version was for each horizon, by name: of `OUTCOME` rows, (n,), any order."""
    versions, which = np.unique(rows["version"], return_inverse=True)
    horizons, whither = np.unique(rows["horizon"], return_inverse=True)
    kinds = np.unique(which * len(horizons) + whither)
    found = []
    for k, h in zip(kinds // max(len(horizons), 1), kinds % max(len(horizons), 1), strict=True):
        mine = rows[(which == k) & (whither == h)]
        found.append(performance(tally(mine), versions[k].decode(), horizons[h].decode()))
    return found


def performance(one: Tallies, version: str, horizon: str) -> Performance:
    """What the sums of one version and horizon, a `TALLY` row, (1,), come to."""
    row = one[0]
    scored_, judged, trades = (int(row[name]) for name in ("scored", "judged", "trades"))
    apart = np.abs(row["predicted"] - row["came"]).sum(axis=1)
    up = {name: row[name][Label.UP].tolist() for name in ("rows", "predicted", "came")}
    return Performance(
        version=version,
        horizon=horizon,
        **{name: int(row[name]) for name in ("first", "last", "predictions", "abstained", "unscored")},
        scored=scored_,
        hit_rate=_share(row["hits"], scored_),
        brier=_share(row["squares"], judged),
        calibration_error=_share(apart.mean(), judged),
        coverage=_share(row["within"], int(row["bounded"])),
        trades=trades,
        trade_hits=_share(row["trade_hits"], trades),
        net_mean=_share(row["net"], trades),
        net_total=_rounded(row["net"]),
        curve=tuple(
            Bin(predicted=_rounded(predicted / count), observed=_rounded(came / count), count=int(count))
            for count, predicted, came in zip(*up.values(), strict=True)
            if count
        ),
    )


def probabilities(rows: Outcomes) -> Floats:
    """(n, 3): of DOWN, FLAT and UP."""
    return np.stack([rows["p_down"], rows["p_flat"], rows["p_up"]], axis=1)


def _past(at: int, horizon: str, sessions: Sessions) -> bool:
    today, end = sessions.of(at), horizon_end(at, horizon, sessions)
    return today is None or end is None or (bool(HORIZONS[horizon]) and end > today.close)


def _share(of: float, count: int) -> float | None:
    return _rounded(of / count) if count else None


def _rounded(value: float) -> float:
    return round(float(value), 6)
