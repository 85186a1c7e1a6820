"""The boosted trees: XGBoost over the features as they are; a feature not known goes the way that served best."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

import numpy as np
import orjson

from market.errors import BadPayload, BadValue
from market.labels import HORIZONS, Label
from market.models.examples import Examples, Floats32
from market.models.model import Probabilities, Targets, check_outcomes, learnable

if TYPE_CHECKING:
    from xgboost import Booster

BINS = 128
PARAMETERS = {
    "objective": "multi:softprob",
    "num_class": len(Label),
    "eval_metric": "mlogloss",
    "tree_method": "hist",
    "max_bin": BINS,
    "max_depth": 4,
    "eta": 0.08,
    "min_child_weight": 30.0,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
    "lambda": 5.0,
}
ROUNDS = 200
PATIENCE = 20
"""Rounds without a better log loss on the held rows."""

UNJUDGED = 100
"""Rounds where no row is held."""

DIGEST = hashlib.sha256().digest_size


class Boosted:
    """Satisfies `Model`. One thread by default: the same bytes on every machine, and its neighbours go on.

    `device`: of the fitting, "cpu" or "cuda"; answers are always given on the CPU.
    """

    kind = "xgboost"

    def __init__(self, horizon: str, rounds: int = ROUNDS, threads: int = 1, device: str = "cpu") -> None:
        if horizon not in HORIZONS:
            raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
        self.horizon, self.rounds, self.threads, self.device = horizon, rounds, threads, device
        self.names: tuple[str, ...] = ()
        self._booster: Booster | None = None

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Raises BadValue: fewer than two outcomes."""
        import xgboost

        rows = learnable(examples, targets, self.horizon)
        labels = targets[self.horizon][rows]
        check_outcomes(labels)
        names = examples.names
        data = xgboost.QuantileDMatrix(_known(examples.features[rows]), labels, nthread=self.threads, max_bin=BINS)
        judged = learnable(held, held_targets, self.horizon)
        parameters = {**PARAMETERS, "seed": seed, "nthread": self.threads, "device": self.device}
        if len(judged):
            judge = xgboost.QuantileDMatrix(
                _known(held.columns(names)[judged]),
                held_targets[self.horizon][judged],
                nthread=self.threads,
                max_bin=BINS,
                ref=data,
            )
            booster = xgboost.train(
                parameters,
                data,
                self.rounds,
                evals=[(judge, "held")],
                early_stopping_rounds=PATIENCE,
                verbose_eval=False,
            )
            booster = booster[: booster.best_iteration + 1]
        else:
            booster = xgboost.train(parameters, data, min(self.rounds, UNJUDGED))
        self.names = names
        booster.set_attr(horizon=self.horizon, names=orjson.dumps(names).decode(), best_iteration=None, best_score=None)
        self._ready(booster)

    def predict(self, examples: Examples) -> Probabilities:
        """Of each example; NaN where no feature is known. Raises BadValue: not fitted, or a column is missing."""
        if self._booster is None:
            raise BadValue("model", self.kind, "fit or load it first")
        values = _known(examples.columns(self.names))
        if not len(values):
            return np.zeros((0, len(Label)), np.float32)
        p: Probabilities = np.array(self._booster.inplace_predict(values), np.float32)
        p[np.isnan(values).all(axis=1)] = np.nan
        return p

    def save(self) -> bytes:
        """XGBoost's UBJSON, columns and horizon as attributes in it, and its SHA-256 behind it: XGBoost reads past
        the end of a file that was cut off, and takes the process down.
        """
        if self._booster is None:
            raise BadValue("model", self.kind, "fit or load it first")
        told = bytes(self._booster.save_raw("ubj"))
        return told + hashlib.sha256(told).digest()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Raises BadPayload."""
        import xgboost

        try:
            told = data[:-DIGEST]
            if hashlib.sha256(told).digest() != data[-DIGEST:]:
                raise ValueError("cut off or damaged")
            booster = xgboost.Booster()
            booster.load_model(bytearray(told))
            horizon, names = booster.attr("horizon"), booster.attr("names")
            if horizon is None or names is None:
                raise ValueError("it does not name its horizon and columns")
            made = cls(horizon)
            made.names = tuple(orjson.loads(names))
            if booster.num_features() != len(made.names):
                raise ValueError(f"{booster.num_features()} features, and {len(made.names)} names")
            made._ready(booster)
            if made._booster is None or made._booster.inplace_predict(np.zeros((1, len(made.names)))).shape != (1, 3):
                raise ValueError("it does not answer with three outcomes")
        except (ValueError, TypeError, BadValue, xgboost.core.XGBoostError) as e:
            raise BadPayload(cls.kind, data, f"no boosted model: {str(e).splitlines()[0]}") from e
        return made

    def _ready(self, booster: Booster) -> None:
        booster.set_param({"device": "cpu", "nthread": self.threads})
        self._booster = booster


def _known(values: Floats32) -> Floats32:
    return np.where(np.isfinite(values), values, np.float32(np.nan))
