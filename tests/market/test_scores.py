"""Scores from features, by hand; recommendations, and the record that crosses the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from market.features import FEATURE, NAMES, Unknown
from market.predictions import PREDICTION, Abstained
from market.readings import READING
from market.scores import (
    Asked,
    Recommendation,
    answers,
    momentum,
    recommendations,
    scorecard,
    scored,
    trend,
    with_prediction,
    without_prediction,
)
from market.sessions import MINUTE

START = 1_472_096_760_000_000_000  # 2016-08-25T03:46:00Z

TREND = {
    "ema_gap_50_1m": 0.003, "atr_14_1m": 0.002,  # 0.003 / 0.006 = 0.5
    "ema_gap_20_15m": 0.02, "atr_14_15m": 0.004,  # cut at 1
    "ema_gap_20_1d": -0.01, "atr_14_1d": 0.02,  # -0.01 / 0.04 = -0.25
    "plus_di_14_15m": 0.3, "minus_di_14_15m": 0.1, "adx_14_15m": 0.2,  # 0.2 / 0.4 * 0.2 / 0.25 = 0.4
    "supertrend_direction": 1.0,
}  # fmt: skip
MOMENTUM = {
    "rsi_14_1m": 0.6,  # 0.1 / 0.2 = 0.5
    "rsi_14_15m": 0.8,  # cut at 1
    "macd_histogram_12_26_9_5m": -0.0002, "atr_14_5m": 0.004,  # -0.0002 / 0.001 = -0.2
    "roc_10_1m": 0.0, "volatility_20_1m": 0.001,  # 0
    "return_60_1m": 0.006, "volatility_60_1m": 0.0003872983346207417,  # 0.006 / (2 sqrt(60) 0.000387...) = 1
}  # fmt: skip


def values(**features: float) -> np.ndarray:
    """(1, features), NaN where nothing was said."""
    out = np.full((1, len(NAMES)), np.nan)
    for name, value in features.items():
        out[0, NAMES.index(name)] = value
    return out


def minute(**features: float) -> np.ndarray:
    """One `FEATURE` row."""
    row = np.zeros(1, FEATURE)
    row["instrument"], row["start"], row["session"], row["values"] = 3, START, 17_038, values(**features)
    return row


def read(**money: int) -> np.ndarray:
    """One `READING`."""
    row = np.full(1, -(2**63), np.int64).repeat(len(READING.names or ())).view(READING)
    for name, value in money.items():
        row[name] = value
    return row


def predicted(**fields: Any) -> np.ndarray:
    """One `PREDICTION` for that minute."""
    row = np.zeros(1, PREDICTION)
    row["instrument"], row["at"] = 3, START + MINUTE
    for name, value in fields.items():
        row[name] = value
    return row


def made(close: float = 28_505_000.0, previous: float = 28_385_000.0, **features: float) -> np.ndarray:
    """One `SCORE` without a prediction."""
    prices = np.array([close]), np.array([previous])
    return scored(
        minute(**{**TREND, **MOMENTUM, **features}), NAMES, read(macd=125_000, macd_signal=102_000), prices, "15m"
    )


def test_the_trend_is_the_mean_of_its_components_times_five() -> None:
    assert trend(NAMES, values(**TREND))[0] == pytest.approx(0.5 + 1 - 0.25 + 0.4 + 1)


def test_the_momentum_is_the_mean_of_its_components_times_five() -> None:
    assert momentum(NAMES, values(**MOMENTUM))[0] == pytest.approx(0.5 + 1 - 0.2 + 0 + 1, abs=1e-6)


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (("supertrend_direction",), 5 / 4 * (0.5 + 1 - 0.25 + 0.4)),
        (("supertrend_direction", "atr_14_15m"), 5 / 3 * (0.5 - 0.25 + 0.4)),
        (("supertrend_direction", "atr_14_15m", "adx_14_15m"), None),
    ],
)
def test_what_is_not_known_is_left_out_and_two_components_are_no_score(
    lost: tuple[str, ...], expected: float | None
) -> None:
    found = trend(NAMES, values(**TREND | dict.fromkeys(lost, np.nan)))[0]

    assert np.isnan(found) if expected is None else found == pytest.approx(expected)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_score_reaches_five_and_no_further(sign: float) -> None:
    far = dict.fromkeys(("ema_gap_50_1m", "ema_gap_20_15m", "ema_gap_20_1d"), sign * 9.0)
    sides = {"plus_di_14_15m": 0.5 * (1 + sign), "minus_di_14_15m": 0.5 * (1 - sign), "adx_14_15m": 0.9}

    found = trend(NAMES, values(**{**TREND, **far, **sides, "supertrend_direction": sign}))

    assert found.tolist() == [5.0 * sign]


@pytest.mark.parametrize(
    ("composite", "prediction", "expected"),
    [
        (3.0, np.nan, "STRONG_BUY"),
        (2.99, np.nan, "BUY"),
        (1.0, np.nan, "BUY"),
        (0.99, np.nan, "HOLD"),
        (-0.99, np.nan, "HOLD"),
        (-1.0, np.nan, "SELL"),
        (-3.0, np.nan, "STRONG_SELL"),
        (2.0, 0.75, "STRONG_BUY"),  # 2 + 2 * 0.5
        (2.0, 0.2, "HOLD"),  # 2 - 2 * 0.6
        (0.0, 0.25, "SELL"),  # 0 - 2 * 0.5
        (np.nan, 0.9, "UNKNOWN"),
    ],
)
def test_a_prediction_shifts_what_the_scores_recommend(composite: float, prediction: float, expected: str) -> None:
    found = recommendations(np.array([composite]), np.array([prediction]))

    assert Recommendation(int(found[0])).name == expected


def test_a_scorecard_has_the_schema_of_the_seed() -> None:
    row = with_prediction(
        made(), predicted(p_down=0.1, p_flat=0.16, p_up=0.74, prediction=0.82, confidence=0.64), ["direction-15m@3"]
    )

    body = scorecard(row[0], [], "NSE:RELIANCE", None, START + MINUTE + 2 * 10**9).model_dump(mode="json")

    assert body["timestamp"] == "2016-08-25T03:47:00Z"
    assert (body["ltp"], body["change"], body["change_percent"]) == (2850.5, 12.0, 0.4228)
    assert body["indicators"]["macd"] == {"value": 12.5, "signal": 10.2, "histogram": 2.3}
    assert body["indicators"]["emas"] == {"50": None, "100": None, "200": None}
    assert body["indicators"]["bollinger"] == {"upper": None, "middle": None, "lower": None}
    assert body["indicators"]["rsi"] == 60.0
    assert body["scores"] == {"trend": 2.65, "momentum": 2.3, "composite": 2.47}  # 2.475 as a float32
    assert body["ai"].items() >= {"prediction": 0.82, "confidence": 0.64, "model_version": "direction-15m@3"}.items()
    assert body["ai"]["reason"] is None
    assert body["recommendation"] == "STRONG_BUY"  # 2.475 + 2 * 0.64
    assert body["meta"] == {"latency_ms": None, "data_age_seconds": 2.0}


@pytest.mark.parametrize("why", [Asked.NOT_CONFIGURED, Asked.SLOW, Asked.DOWN, Asked.RESTING])
def test_without_an_answer_the_scores_stand_and_the_card_says_why(why: Asked) -> None:
    body = scorecard(without_prediction(made(), why)[0], [], "NSE:TCS", None, 0).model_dump(mode="json")

    assert (body["ai"]["prediction"], body["ai"]["model_version"]) == (None, None)
    assert "predictor" in body["ai"]["reason"]
    assert (body["recommendation"], body["meta"]["data_age_seconds"]) == ("BUY", None)


@pytest.mark.parametrize("why", [a for a in Abstained if a is not Abstained.NO])
def test_an_abstention_says_why_and_shifts_nothing(why: Abstained) -> None:
    silent = predicted(abstained=why, p_down=np.nan, p_flat=np.nan, p_up=np.nan, prediction=np.nan, confidence=np.nan)

    body = scorecard(with_prediction(made(), silent, ["v"])[0], [], "NSE:TCS", None, 0).model_dump(mode="json")

    assert body["ai"]["reason"] and body["ai"]["model_version"] == "v"
    assert body["recommendation"] == "BUY"


def test_a_minute_nobody_saw_has_a_card_of_nulls() -> None:
    row = scored(minute(), NAMES, read(), (np.array([np.nan]), np.array([np.nan])), "5m")

    body = scorecard(row[0], [], "NSE:TCS", Unknown.GAP.name, 0).model_dump(mode="json")

    assert (body["ltp"], body["change"], body["recommendation"], body["unknown"]) == (None, None, None, "GAP")
    assert set(body["scores"].values()) == {None}


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (predicted(), True),
        (predicted(instrument=4), False),
        (predicted(at=START), False),
        (predicted()[:0], False),
    ],
)
def test_an_answer_to_another_question_is_none(answer: np.ndarray, fits: bool) -> None:
    assert answers(made(), answer, ["v"]) is fits


def test_the_timestamp_is_the_end_of_the_minute() -> None:
    assert scorecard(made()[0], [], "NSE:TCS", None, 0).timestamp == datetime(2016, 8, 25, 3, 47, tzinfo=UTC)
