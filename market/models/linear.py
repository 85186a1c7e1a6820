"""The linear model: a multinomial logistic regression over standardised features, the line every other has to beat.

A feature that is not known counts as its median, and that it was not known is a feature of its own. What lies further
than FAR deviations out counts as FAR: one print cannot carry an answer.
"""

from __future__ import annotations

import io
import zipfile
from typing import Self

import numpy as np
import numpy.typing as npt

from market.calibration import log_loss
from market.errors import BadPayload, BadValue
from market.labels import HORIZONS, Label
from market.models.examples import Examples
from market.models.model import Probabilities, Targets, check_outcomes, learnable

FAR = 6.0
MOST_ROWS = 200_000
"""Learned from, evenly taken: a line needs no more."""

STRENGTHS = (0.001, 0.03, 1.0)
"""Inverse regularisation, of which the held rows choose."""

ROUNDS = 300
NEVER = -20.0
"""The logit of an outcome that training never showed."""

Floats32 = npt.NDArray[np.float32]

_SHAPES = {"names": 1, "median": 1, "mean": 1, "scale": 1, "gaps": 1, "weights": 2, "bias": 1, "horizon": 0}


class Linear:
    """Satisfies `Model`.

    `names`: the columns, (k,); `median`, `mean`, `scale`, (k,): of each; `gaps`, (g,): the places of those that have an
    indicator of being unknown; `weights`, (k + g, 3), and `bias`, (3,).
    """

    kind = "linear"

    def __init__(self, horizon: str) -> None:
        if horizon not in HORIZONS:
            raise BadValue("horizon", horizon, f"one of {', '.join(HORIZONS)}")
        self.horizon = horizon
        self.names: tuple[str, ...] = ()
        self.median = self.mean = self.scale = np.zeros(0, np.float32)
        self.gaps = np.zeros(0, np.int64)
        self.weights, self.bias = np.zeros((0, len(Label)), np.float32), np.zeros(len(Label), np.float32)

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Raises BadValue: fewer than two outcomes. The seed is not needed: there is one optimum."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        rows = learnable(examples, targets, self.horizon)
        rows = rows[:: max(-(-len(rows) // MOST_ROWS), 1)]
        labels = targets[self.horizon][rows]
        check_outcomes(labels)
        self.names = examples.names
        values = examples.features[rows]
        self._measure(values)
        inputs = self._inputs(values)
        judged = learnable(held, held_targets, self.horizon)
        best = np.inf
        with threadpool_limits(1):
            for strength in STRENGTHS if len(judged) else STRENGTHS[1:2]:
                fitted = LogisticRegression(C=strength, max_iter=ROUNDS).fit(inputs, labels)
                weights, bias = _three(fitted.coef_, fitted.intercept_, fitted.classes_)
                loss = 0.0
                if len(judged):
                    p = _softmax(self._inputs(held.columns(self.names)[judged]) @ weights + bias)
                    loss = log_loss(p, held_targets[self.horizon][judged])
                if loss < best:
                    best, self.weights, self.bias = loss, weights, bias

    def predict(self, examples: Examples) -> Probabilities:
        """Of each example; NaN where no feature is known. Raises BadValue: not fitted, or a column is missing."""
        if not self.names:
            raise BadValue("model", self.kind, "fit or load it first")
        values = examples.columns(self.names)
        p = _softmax(self._inputs(values) @ self.weights + self.bias)
        p[~np.isfinite(values).any(axis=1)] = np.nan
        return p

    def save(self) -> bytes:
        """Its arrays as npz."""
        file = io.BytesIO()
        np.savez(
            file,
            horizon=np.array(self.horizon),
            names=np.array(self.names),
            median=self.median,
            mean=self.mean,
            scale=self.scale,
            gaps=self.gaps,
            weights=self.weights,
            bias=self.bias,
        )
        return file.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Raises BadPayload."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                told = {name: file[name] for name in file.files}
            if {name: array.ndim for name, array in told.items()} != _SHAPES:
                raise ValueError(f"arrays {sorted(told)}")
            made = cls(str(told["horizon"]))
            made.names = tuple(str(name) for name in told["names"])
            made.median, made.mean, made.scale = told["median"], told["mean"], told["scale"]
            made.gaps, made.weights, made.bias = told["gaps"], told["weights"], told["bias"]
            made._check()
        except (ValueError, TypeError, KeyError, IndexError, EOFError, OSError, zipfile.BadZipFile, BadValue) as e:
            raise BadPayload(cls.kind, data, f"no linear model: {e}") from e
        return made

    def _measure(self, values: Floats32) -> None:
        columns = values.shape[1]
        self.median, self.mean = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
        self.scale = np.ones(columns, np.float32)
        known = np.isfinite(values)
        for i in range(columns):
            column = values[known[:, i], i].astype(np.float64)
            if len(column):
                self.median[i] = np.median(column)
                low, high = np.quantile(column, [0.01, 0.99])
                inner = np.clip(column, low, high)
                self.mean[i], deviation = inner.mean(), inner.std()
                self.scale[i] = deviation if deviation > 0 else 1.0
        share = known.mean(axis=0)
        self.gaps = np.flatnonzero((share > 0) & (share < 1))

    def _inputs(self, values: Floats32) -> Floats32:
        known = np.isfinite(values)
        scaled = (np.where(known, values, self.median) - self.mean) / self.scale
        return np.concatenate([np.clip(scaled, -FAR, FAR), ~known[:, self.gaps]], axis=1, dtype=np.float32)

    def _check(self) -> None:
        k, g = len(self.names), len(self.gaps)
        if not k or any(len(x) != k for x in (self.median, self.mean, self.scale)):
            raise ValueError("its columns and their measures differ in number")
        if self.weights.shape != (k + g, len(Label)) or self.bias.shape != (len(Label),):
            raise ValueError(f"weights of shape {self.weights.shape}")
        if self.gaps.dtype.kind != "i" or ((self.gaps < 0) | (self.gaps >= k)).any():
            raise ValueError("indicators of columns that are not there")
        numbers = (self.median, self.mean, self.scale, self.weights, self.bias)
        if not all(x.dtype == np.float32 and np.isfinite(x).all() for x in numbers):
            raise ValueError("a number is missing")


def _three(
    weights: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], classes: npt.NDArray[np.int8]
) -> tuple[Floats32, Floats32]:
    """Of the outcomes that were there to all three: (k, 3) and (3,)."""
    if len(classes) == 2:
        weights, bias = np.concatenate([np.zeros_like(weights), weights]), np.append(0.0, bias)
    out, offset = np.zeros((weights.shape[1], len(Label)), np.float32), np.full(len(Label), NEVER, np.float32)
    out[:, classes], offset[classes] = weights.T, bias
    return out, offset


def _softmax(logits: Floats32) -> Probabilities:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Probabilities = raised / raised.sum(axis=1, keepdims=True)
    return found
