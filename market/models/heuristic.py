"""The heuristic: the Nifty seed's three rules, which need no training. Source: the seed's HeuristicEngine.

From 1/2: RSI below 30 adds 0.2 and above 70 takes 0.2; a MACD line above 0 adds 0.15, else takes it; EMA(50) above
EMA(200) adds 0.15, else takes it; cut to 0..1. That score is the prediction, p_up + p_flat / 2.

In the feature set these facts stand in `rsi_14` (as 0..1) and the sign of `macd_line_12_26` of the minute, of the day
for the horizon of a day; and the averages are the daily EMA(50) and SMA(200), the classic golden cross:
close / EMA(50) - 1 is `ema_gap_50_1d` and close / SMA(200) - 1 is `sma_gap_200_1d`, so EMA(50) lies above where the
first is the smaller one. While the days are too few for that, the rule says nothing, neither more nor less.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from market.errors import BadPayload, BadValue
from market.labels import HORIZONS
from market.models.examples import Examples
from market.models.model import Probabilities, Targets
from market.records import Record

NEUTRAL = 0.5
OVERSOLD, OVERBOUGHT = 30.0, 70.0
BY_RSI, BY_MACD, BY_CROSS = 0.2, 0.15, 0.15

Floats = npt.NDArray[np.float64]


class Body(Record):
    """The seed's feature vector. `rsi` 0..100; `macd` the line, averages and `close` in rupees; `volume` in shares."""

    symbol: str = Field(min_length=1)
    rsi: float = Field(ge=0, le=100)
    macd: float
    ema50: float = Field(gt=0)
    ema200: float = Field(gt=0)
    close: float = Field(gt=0)
    volume: int = Field(ge=0)


class Heuristic:
    """Satisfies `Model`."""

    kind = "heuristic"

    def __init__(self, horizon: str) -> None:
        if horizon not in HORIZONS:
            raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
        self.horizon = horizon
        timeframe = "1m" if HORIZONS[horizon] else "1d"
        self.names = (f"rsi_14_{timeframe}", f"macd_line_12_26_{timeframe}", "ema_gap_50_1d", "sma_gap_200_1d")

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """There is nothing to learn."""

    def predict(self, examples: Examples) -> Probabilities:
        """Of each example; NaN where RSI or MACD is. Raises BadValue: a column of `names` is missing."""
        rsi, macd, fast, slow = examples.columns(self.names).astype(np.float64).T
        return probabilities(scores(100 * rsi, macd, slow - fast))

    def judge(self, body: Body) -> Probabilities:
        """Of one body, (1, 3)."""
        return probabilities(scores(*(np.array([x]) for x in (body.rsi, body.macd, body.ema50 - body.ema200))))

    def save(self) -> bytes:
        """Its name and horizon as JSON."""
        return orjson.dumps({"kind": self.kind, "horizon": self.horizon})

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Raises BadPayload."""
        try:
            told = orjson.loads(data)
            if told.pop("kind") != cls.kind:
                raise ValueError("not of this kind")
            return cls(**told)
        except (ValueError, TypeError, KeyError, AttributeError, BadValue) as e:
            raise BadPayload(cls.kind, data, f"no heuristic: {e}") from e


def scores(rsi: Floats, macd: Floats, cross: Floats) -> Floats:
    """0 bearish to 1 bullish, (n,): of RSI 0..100, the MACD line, and EMA(50) less EMA(200) in any unit.

    NaN where RSI or MACD is; a cross that is NaN says nothing.
    """
    by_rsi = np.where(rsi < OVERSOLD, BY_RSI, np.where(rsi > OVERBOUGHT, -BY_RSI, 0.0))
    by_macd = np.where(macd > 0, BY_MACD, -BY_MACD)
    by_cross = np.where(np.isnan(cross), 0.0, np.where(cross > 0, BY_CROSS, -BY_CROSS))
    score = np.clip(NEUTRAL + by_rsi + by_macd + by_cross, 0.0, 1.0)
    return np.where(np.isnan(rsi) | np.isnan(macd), np.nan, score)


def probabilities(score: Floats) -> Probabilities:
    """Of DOWN, FLAT and UP, (n, 3), as of two throws that come up with `score`: p_up + p_flat / 2 is the score."""
    return np.stack([(1 - score) ** 2, 2 * score * (1 - score), score**2], axis=-1).astype(np.float32)
