"""Scores: how strongly an instrument trends, how fast it moves, and what one would do about it.

A score is 5 times the mean of its components, each a feature brought into -1..1: `c(x, d)` is x / d, cut there. So a
component says nothing at 0 and all it can at d. One that is not known is left out; with fewer than `LEAST` there is no
score. ATR and volatility are the timeframe's own, so that a calm and a wild share are measured alike.

Trend, where the price stands and which way it leans:

    minutes    c(ema_gap_50_1m, 3 atr_14_1m)            above the average of 50 minutes
    quarters   c(ema_gap_20_15m, 2 atr_14_15m)          above the average of 20 quarters of an hour
    days       c(ema_gap_20_1d, 2 atr_14_1d)            above the average of 20 days, as of yesterday
    direction  (+DI - -DI) / (+DI + -DI) c(adx, 0.25)   of 15 m, as far as there is a trend at all
    stop       supertrend_direction                     1 above SuperTrend's stop, -1 below

Momentum, how fast it goes there:

    strength   c(rsi_14_1m - 0.5, 0.2)                  Wilder's index at 70 is all of it
    broad      c(rsi_14_15m - 0.5, 0.2)
    histogram  c(macd_histogram_5m, 0.25 atr_14_5m)
    rate       c(roc_10_1m, 2 volatility_20_1m sqrt 10) the move of ten minutes over that of chance
    hour       c(return_60_1m, 2 volatility_60_1m sqrt 60)

The composite is the mean of both. A prediction shifts it by up to `SHIFT` points, `SHIFT` (p_up - p_down); where there
is none it stays. What comes out is a STRONG_BUY from `STRONG` on, a BUY from `WEAK` on, a HOLD between -`WEAK` and
`WEAK`, and a SELL and STRONG_SELL as far below 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from market.labels import HORIZONS
from market.money import SCALE, UNKNOWN, from_floats
from market.predictions import REASONS, Abstained, Predictions
from market.records import Record
from market.sessions import MINUTE, instant

MOST = 5.0
LEAST = 3
"""Components without which there is no score."""

TOO_FEW_MINUTES = "TOO_FEW_MINUTES"
"""A score needs `LEAST` components, and each of them minutes, quarters or days before."""
NO_PREVIOUS_CLOSE = "NO_PREVIOUS_CLOSE"
"""The lake has no session before this one."""

SHIFT = 2.0
WEAK, STRONG = 1.0, 3.0
VERSION_BYTES = 32
HORIZON_NAMES = tuple(HORIZONS)


class Recommendation(IntEnum):
    """What one would do."""

    UNKNOWN = -128
    """There is no composite to judge by."""
    STRONG_SELL = -2
    SELL = -1
    HOLD = 0
    BUY = 1
    STRONG_BUY = 2


class Asked(IntEnum):
    """What came of asking the predictor; without an answer a scorecard stands without a prediction."""

    ANSWERED = 0
    NOT_CONFIGURED = 1
    """There is none."""
    SLOW = 2
    """It did not answer in time."""
    DOWN = 3
    """It could not be asked, or failed."""
    RESTING = 4
    """It failed of late and is left alone for a while."""


SCORE = np.dtype(
    [
        ("instrument", "<i4"),
        ("session", "<i4"),
        ("start", "<i8"),
        ("revision", "<i4"),
        ("unknown", "u1"),
        ("horizon", "u1"),
        ("abstained", "u1"),
        ("asked", "u1"),
        *(
            (name, "<i8")
            for name in (
                *("close", "previous", "macd", "macd_signal", "ema_50", "ema_100", "ema_200"),
                *("upper", "middle", "lower"),
            )
        ),
        *((name, "<f4") for name in ("rsi", "trend", "momentum", "composite")),
        *((name, "<f4") for name in ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high", "spread")),
        ("recommendation", "i1"),
        ("padding", "u1", 7),
        ("latency", "<f4"),
        ("atr", "<f4"),
        ("version", f"S{VERSION_BYTES}"),
    ]
)
"""The scorecard of a minute for one horizon. `instrument` to `unknown` as in `market.features.FEATURE`; `horizon`: its
place in HORIZON_NAMES; `close`, `previous` (before the session) and the READING columns are money; `rsi` Wilder's of
14 minutes, 0..100; the scores -5..5, NaN where not known; `p_down` to `spread` as in PREDICTION; `latency`: ms from the
mark that closed the minute to the scorecard, NaN of a minute that was made up for later; `atr`: `atr_14_1m`, the mean
true range of a minute as a fraction of the price.
"""

Scores = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]

NO_SCORES: Scores = np.zeros(0, SCORE)
NO_SCORES.setflags(write=False)

READ = ("macd", "macd_signal", "ema_50", "ema_100", "ema_200", "upper", "middle", "lower")
PREDICTED = ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high", "spread")


def trend(names: Sequence[str], values: Floats) -> Floats:
    """-5..5 of (n, k) features in the order of `names`; NaN where too little is known."""
    of = _Columns(names, values)
    plus, minus = of("plus_di_14_15m"), of("minus_di_14_15m")
    with np.errstate(invalid="ignore", divide="ignore"):
        lean = (plus - minus) / (plus + minus)
    return _score(
        _part(of("ema_gap_50_1m"), 3 * of("atr_14_1m")),
        _part(of("ema_gap_20_15m"), 2 * of("atr_14_15m")),
        _part(of("ema_gap_20_1d"), 2 * of("atr_14_1d")),
        lean * _part(of("adx_14_15m"), 0.25),
        of("supertrend_direction"),
    )


def momentum(names: Sequence[str], values: Floats) -> Floats:
    """-5..5 of (n, k) features in the order of `names`; NaN where too little is known."""
    of = _Columns(names, values)
    return _score(
        _part(of("rsi_14_1m") - 0.5, 0.2),
        _part(of("rsi_14_15m") - 0.5, 0.2),
        _part(of("macd_histogram_12_26_9_5m"), 0.25 * of("atr_14_5m")),
        _part(of("roc_10_1m"), 2 * np.sqrt(10) * of("volatility_20_1m")),
        _part(of("return_60_1m"), 2 * np.sqrt(60) * of("volatility_60_1m")),
    )


def recommendations(composite: Floats, prediction: Floats) -> npt.NDArray[np.int8]:
    """The `Recommendation` of composites, (n,), and predictions 0..1, (n,), NaN where there is none."""
    strength = composite + SHIFT * np.nan_to_num(2 * prediction - 1)
    found = np.select([strength >= STRONG, strength >= WEAK, strength <= -STRONG, strength <= -WEAK], [2, 1, -2, -1], 0)
    return np.where(np.isnan(strength), Recommendation.UNKNOWN, found).astype(np.int8)


def scored(
    made: npt.NDArray[np.void],
    names: Sequence[str],
    read: npt.NDArray[np.void],
    prices: tuple[Floats, Floats],
    horizon: str,
) -> Scores:
    """`SCORE` rows of `FEATURE` rows, (n,), without a prediction: the predictor is still to be asked.

    `names`: of the features; `read`: their `READING`, (n,); `prices`: close of the minute and before the session,
    1/10,000, NaN where not known.
    """
    out = np.zeros(len(made), SCORE)
    for name in ("instrument", "session", "start", "revision", "unknown"):
        out[name] = made[name]
    out["close"], out["previous"] = (from_floats(price / SCALE) for price in prices)
    for name in READ:
        out[name] = read[name]
    out["horizon"] = HORIZON_NAMES.index(horizon)
    leaning, moving = trend(names, made["values"]), momentum(names, made["values"])
    both = (leaning + moving) / 2
    of = _Columns(names, made["values"])
    out["rsi"], out["atr"] = 100 * of("rsi_14_1m"), of("atr_14_1m")
    out["trend"], out["momentum"], out["composite"] = leaning, moving, both
    out["latency"] = np.nan
    return without_prediction(out, Asked.NOT_CONFIGURED)


def without_prediction(scores: Scores, why: Asked) -> Scores:
    """Scorecards for which there is no answer of the predictor."""
    out = scores.copy()
    for name in PREDICTED:
        out[name] = np.nan
    out["abstained"], out["asked"], out["version"] = Abstained.NO_MODEL, why, b""
    out["recommendation"] = recommendations(out["composite"], out["prediction"])
    return out


def with_prediction(scores: Scores, predictions: Predictions, versions: Sequence[str]) -> Scores:
    """Scorecards with what the predictor answered for them, row by row, and the version that made each, which is cut to
    VERSION_BYTES.
    """
    out = scores.copy()
    for name in PREDICTED:
        out[name] = predictions[name]
    out["abstained"], out["asked"], out["version"] = (
        predictions["abstained"],
        Asked.ANSWERED,
        [v.encode() for v in versions],
    )
    out["recommendation"] = recommendations(out["composite"], out["prediction"])
    return out


def answers(scores: Scores, predictions: Predictions, versions: Sequence[str]) -> bool:
    """Whether predictions, and the versions that made them, are of these minutes, row by row."""
    if not len(scores) == len(predictions) == len(versions):
        return False
    same = scores["instrument"] == predictions["instrument"]
    return bool(np.all(same & (scores["start"] + MINUTE == predictions["at"])))


class Macd(Record):
    """In rupees; `histogram` is `value` less `signal`."""

    value: float | None
    signal: float | None
    histogram: float | None


class Bands(Record):
    """Bollinger's, in rupees."""

    upper: float | None
    middle: float | None
    lower: float | None


class Indicators(Record):
    """Of one-minute closes; `emas` by period, in rupees; `rsi` Wilder's of 14, 0..100."""

    rsi: float | None
    macd: Macd
    emas: dict[str, float | None]
    bollinger: Bands


class Points(Record):
    """Trend and momentum, -5..5, and their mean."""

    trend: float | None
    momentum: float | None
    composite: float | None


class Outlook(Record):
    """What is expected over `horizon`, or `reason`: why nothing is.

    `prediction` 0 bearish to 1 bullish; `low` and `high` bound the log return in nine cases of ten.
    """

    prediction: float | None
    confidence: float | None
    model_version: str | None
    horizon: str
    p_down: float | None
    p_flat: float | None
    p_up: float | None
    low: float | None
    high: float | None
    reason: str | None


class Meta(Record):
    """`latency_ms`: from the close of the minute to the scorecard; `data_age_seconds`: of market time since then."""

    latency_ms: float | None
    data_age_seconds: float | None


class Scorecard(Record):
    """What is thought of an instrument as of `timestamp`, the end of a minute. `unknown`: why its features are not
    known or, where they are, TOO_FEW_MINUTES without a score and NO_PREVIOUS_CLOSE without a change; `outlooks`: those
    of the other horizons; null is not known.
    """

    symbol: str
    timestamp: datetime
    ltp: float | None
    change: float | None
    change_percent: float | None
    indicators: Indicators
    scores: Points
    ai: Outlook
    recommendation: str | None
    meta: Meta
    unknown: str | None
    outlooks: list[Outlook]


def scorecard(row: np.void, others: Sequence[np.void], symbol: str, unknown: str | None, now: int) -> Scorecard:
    """The record of a `SCORE` row and those of the same minute for other horizons; `now`: market time, ns UTC, 0 where
    it is not known; `unknown`: the name of the row's reason.
    """
    at = int(row["start"]) + MINUTE
    close, previous = int(row["close"]), int(row["previous"])
    moved = UNKNOWN if UNKNOWN in (close, previous) else close - previous
    line, signal = int(row["macd"]), int(row["macd_signal"])
    histogram = UNKNOWN if UNKNOWN in (line, signal) else line - signal
    recommendation = Recommendation(int(row["recommendation"]))
    return Scorecard(
        symbol=symbol,
        timestamp=instant(at),
        ltp=_rupees(close),
        change=_rupees(moved),
        change_percent=None if moved == UNKNOWN or previous <= 0 else round(100 * moved / previous, 4),
        indicators=Indicators(
            rsi=_number(row["rsi"], 2),
            macd=Macd(value=_rupees(line), signal=_rupees(signal), histogram=_rupees(histogram)),
            emas={str(n): _rupees(int(row[f"ema_{n}"])) for n in (50, 100, 200)},
            bollinger=Bands(**{name: _rupees(int(row[name])) for name in ("upper", "middle", "lower")}),
        ),
        scores=Points(**{name: _number(row[name], 2) for name in ("trend", "momentum", "composite")}),
        ai=_outlook(row),
        recommendation=None if recommendation is Recommendation.UNKNOWN else recommendation.name,
        meta=Meta(
            latency_ms=_number(row["latency"], 1),
            data_age_seconds=max(0, now - at) / 1e9 if now else None,
        ),
        unknown=unknown or _lacking(row),
        outlooks=[_outlook(other) for other in others],
    )


def _lacking(row: np.void) -> str | None:
    """Why a minute whose features are known has no score or no change."""
    if not all(np.isfinite(row[name]) for name in ("trend", "momentum", "composite")):
        return TOO_FEW_MINUTES
    return NO_PREVIOUS_CLOSE if int(row["previous"]) == UNKNOWN else None


def reason(asked: int, abstained: int) -> str | None:
    """Why there is no prediction, in words; None where there is one."""
    if asked != Asked.ANSWERED:
        return _UNASKED[Asked(asked)]
    return None if abstained == Abstained.NO else REASONS[Abstained(abstained)]


_UNASKED = {
    Asked.NOT_CONFIGURED: "no predictor is configured",
    Asked.SLOW: "the predictor did not answer in time",
    Asked.DOWN: "the predictor could not be asked",
    Asked.RESTING: "the predictor failed of late and is asked again soon",
}


def _outlook(row: np.void) -> Outlook:
    version = bytes(row["version"]).decode(errors="replace")
    numbers = {name: _number(row[name], 4) for name in ("prediction", "confidence", "p_down", "p_flat", "p_up")}
    bounds = {name: _number(row[name], 6) for name in ("low", "high")}
    return Outlook(
        **numbers,
        **bounds,
        model_version=version or None,
        horizon=HORIZON_NAMES[int(row["horizon"])],
        reason=reason(int(row["asked"]), int(row["abstained"])),
    )


def _rupees(amount: int) -> float | None:
    return None if amount == UNKNOWN else amount / SCALE


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


class _Columns:
    """Features by name."""

    def __init__(self, names: Sequence[str], values: Floats) -> None:
        self._places, self._values = {name: k for k, name in enumerate(names)}, values

    def __call__(self, name: str) -> Floats:
        return np.asarray(self._values[:, self._places[name]])


def _part(x: Floats, full: Floats | float) -> Floats:
    """x / full in -1..1; NaN where `full` is not above 0."""
    over = np.broadcast_to(np.asarray(full, np.float64), x.shape)
    out = np.full(x.shape, np.nan)
    np.divide(x, over, out=out, where=over > 0)
    return np.asarray(np.clip(out, -1.0, 1.0))


def _score(*parts: Floats) -> Floats:
    each = np.stack(parts)
    known = np.isfinite(each)
    count = known.sum(axis=0)
    total = np.where(known, each, 0.0).sum(axis=0)
    return np.where(count >= LEAST, MOST * total / np.maximum(count, 1), np.nan)
