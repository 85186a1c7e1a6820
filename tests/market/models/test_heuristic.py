"""The seed's rules: its own figures, by body and by feature columns."""

import numpy as np
import pytest
from pydantic import ValidationError

from market.errors import BadPayload, BadValue
from market.features import NAMES
from market.labels import HORIZONS
from market.models.heuristic import Body, Heuristic
from tests.market.models.lessons import examples_of

COLUMNS = ("rsi_14_1m", "macd_line_12_26_1m", "ema_gap_50_1d", "sma_gap_200_1d")
BODY = {"symbol": "NSE:RELIANCE", "rsi": 50, "macd": 1, "ema50": 101, "ema200": 100, "close": 102, "volume": 10}

# RSI, MACD line, EMA(50), EMA(200), and what the seed's lines make of them, added up by hand.
TABLE = [
    (50, 1.0, 101, 100, 0.8),
    (29.9, 1.0, 101, 100, 1.0),
    (30, 1.0, 101, 100, 0.8),
    (70, 1.0, 101, 100, 0.8),
    (70.1, 1.0, 101, 100, 0.6),
    (50, 0.0, 101, 100, 0.5),
    (50, -1.0, 100, 100, 0.2),
    (80, -1.0, 99, 100, 0.0),
    (20, -1.0, 99, 100, 0.4),
]


def prediction(p):
    return p[:, 2] + p[:, 1] / 2


@pytest.mark.parametrize(("rsi", "macd", "fast", "slow", "expected"), TABLE)
def test_a_body_is_judged_as_the_seed_judges_it(rsi, macd, fast, slow, expected):
    body = Body(**BODY | {"rsi": rsi, "macd": macd, "ema50": fast, "ema200": slow})

    p = Heuristic("15m").judge(body)

    assert prediction(p) == pytest.approx([expected], abs=1e-6)
    assert p.sum(axis=1) == pytest.approx([1.0])
    assert (p >= 0).all()


@pytest.mark.parametrize(("rsi", "macd", "fast", "slow", "expected"), TABLE)
def test_the_features_of_a_minute_carry_the_same_facts(rsi, macd, fast, slow, expected):
    close = 97.0
    rows = examples_of([[rsi / 100, macd / close, close / fast - 1, close / slow - 1]], COLUMNS)

    assert prediction(Heuristic("5m").predict(rows)) == pytest.approx([expected], abs=1e-6)


def test_too_few_days_for_a_cross_say_nothing_and_without_rsi_or_macd_nothing_is_known():
    nan = np.nan
    rows = examples_of([[0.5, 1, 0.1, nan], [0.5, 1, nan, nan], [nan, 1, 0, 1], [0.5, nan, 0, 1]], COLUMNS)

    p = Heuristic("60m").predict(rows)

    assert prediction(p)[:2] == pytest.approx([0.65, 0.65])
    assert np.isnan(p[2:]).all()


def test_its_columns_are_features_and_those_of_a_day_serve_the_horizon_of_a_day():
    assert all(set(Heuristic(horizon).names) <= set(NAMES) for horizon in HORIZONS)
    assert set(Heuristic("1d").names) == {"rsi_14_1d", "macd_line_12_26_1d", "ema_gap_50_1d", "sma_gap_200_1d"}
    with pytest.raises(BadValue, match="macd_line_12_26_1m"):
        Heuristic("15m").predict(examples_of([[0.5]], ("rsi_14_1m",)))


@pytest.mark.parametrize(
    "wrong", [{"rsi": 101}, {"rsi": float("nan")}, {"ema50": 0}, {"volume": -1}, {"symbol": ""}, {"other": 1}]
)
def test_a_body_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Body(**BODY | wrong)


def test_it_is_what_it_was_once_loaded():
    assert Heuristic.load(Heuristic("1d").save()).horizon == "1d"


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b'{"kind": "linear", "horizon": "5m"}', b'{"kind": "heuristic"}'])
def test_garbage_is_no_heuristic(data):
    with pytest.raises(BadPayload):
        Heuristic.load(data)


def test_an_unknown_horizon_is_refused():
    with pytest.raises(BadValue, match="5m, 15m, 60m, 1d"):
        Heuristic("7m")
