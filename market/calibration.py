"""Calibration: what a model calls 60 % shall happen in 60 of 100 cases; and how far from that it is.

Each outcome's probability is bent by itself, then the three are made to sum to 1 again. Everywhere rows without a label
or without probabilities are left out, and probabilities are (n, 3): of DOWN, FLAT and UP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.labels import UNKNOWN_LABEL, Label, Labels

Floats = npt.NDArray[np.float64]
Probabilities = npt.NDArray[np.floating[Any]]

METHODS = ("none", "platt", "isotonic")
"""From the one that bends least: of equals the first is taken."""

LEAST = 1e-6
"""No probability is taken to be smaller where a logarithm is taken of it."""

FLOOR = 1e-3
"""What calibration may at least leave of a probability: a validation in which a thing never came is not a proof."""

FEW = 60
"""Labelled rows below which nothing is learned."""

RELIABILITY = np.dtype([("predicted", "<f8"), ("observed", "<f8"), ("rows", "<i8")])
"""One bin of a reliability curve: the mean probability, how often it came, and of how many rows."""


class Calibration(NamedTuple):
    """How probabilities are bent. `x`, `y`: for each outcome the knots between which it goes straight (isotonic), or in
    `x` the factor and in `y` the offset of its logit (Platt); empty for none.
    """

    method: str
    x: tuple[Floats, ...]
    y: tuple[Floats, ...]

    def apply(self, p: Probabilities) -> Floats:
        """Calibrated, (n, 3), each row summing to 1; NaN stays."""
        given: Floats = np.asarray(p, np.float64)
        if self.method == "none":
            return given
        columns = [_BEND[self.method](given[:, i], self.x[i], self.y[i]) for i in range(len(Label))]
        bent = np.clip(np.stack(columns, axis=1), FLOOR, 1.0)
        return np.asarray(bent / bent.sum(axis=1, keepdims=True))

    def told(self) -> dict[str, Any]:
        """As plain values, of which `of` makes it again."""
        return {"method": self.method, "x": [x.tolist() for x in self.x], "y": [y.tolist() for y in self.y]}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for what is none."""
        x, y = (tuple(np.array(column, np.float64) for column in told[name]) for name in ("x", "y"))
        count = 0 if told["method"] == "none" else len(Label)
        if told["method"] not in METHODS or not len(x) == len(y) == count:
            raise ValueError(f"no calibration: {told['method']!r} with {len(x)} and {len(y)} columns")
        for one, other in zip(x, y, strict=True):
            if one.shape != other.shape or one.ndim != 1 or not len(one) or not np.isfinite([one, other]).all():
                raise ValueError("no calibration: its knots do not pair")
            if (np.diff(one) < 0).any() or (told["method"] == "platt" and len(one) != 1):
                raise ValueError("no calibration: its knots are out of order")
        return cls(told["method"], x, y)


NO_CALIBRATION = Calibration("none", (), ())


def fit(p: Probabilities, labels: Labels) -> Calibration:
    """What the rows, (n,), oldest first, suggest: fitted on the first two thirds each method is judged by its log loss
    on the last, and the best is fitted on all. None where rows are fewer than FEW.
    """
    p, labels = _known(p, labels)
    cut = 2 * len(p) // 3
    if len(p) < FEW:
        return NO_CALIBRATION
    losses = [log_loss(_fit(name, p[:cut], labels[:cut]).apply(p[cut:]), labels[cut:]) for name in METHODS]
    return _fit(METHODS[int(np.argmin(losses))], p, labels)


def log_loss(p: Probabilities, labels: Labels) -> float:
    """Mean of -log of what was given to that which came; NaN of no rows."""
    p, labels = _known(p, labels)
    return float(-np.log(np.maximum(p[np.arange(len(p)), labels], LEAST)).mean()) if len(p) else np.nan


def brier(p: Probabilities, labels: Labels) -> float:
    """Mean over rows of the squared errors summed over the outcomes, 0 to 2; NaN of no rows. Source: Brier 1950."""
    p, labels = _known(p, labels)
    return float(((p - np.eye(len(Label))[labels]) ** 2).sum(axis=1).mean()) if len(p) else np.nan


def reliability(p: Probabilities, came: npt.NDArray[np.bool_], bins: int = 10) -> npt.NDArray[np.void]:
    """The curve of one outcome: of its probability, (n,), and whether it came, (n,), to `RELIABILITY` rows, (bins,), of
    equal width over 0..1; a bin without rows has NaN.
    """
    if bins < 1:
        raise BadValue("bins", bins, "1 or more")
    known = np.isfinite(p)
    place = np.clip((p[known] * bins).astype(np.int64), 0, bins - 1)
    rows = np.bincount(place, minlength=bins)
    out = np.zeros(bins, RELIABILITY)
    out["rows"] = rows
    for name, values in (("predicted", p[known]), ("observed", came[known])):
        total = np.bincount(place, values.astype(np.float64), minlength=bins)
        out[name] = np.divide(total, rows, out=np.full(bins, np.nan), where=rows > 0)
    return out


def calibration_error(p: Probabilities, labels: Labels, bins: int = 10) -> float:
    """The expected one, 0 to 1: |predicted - observed| over the bins, weighted by rows, mean of the outcomes; NaN of no
    rows.
    """
    p, labels = _known(p, labels)
    if not len(p):
        return np.nan
    errors = []
    for label in Label:
        curve = reliability(p[:, label], labels == label, bins)
        errors.append(np.nansum(np.abs(curve["predicted"] - curve["observed"]) * curve["rows"]) / len(p))
    return float(np.mean(errors))


def _known(p: Probabilities, labels: Labels) -> tuple[Floats, Labels]:
    known = (labels != UNKNOWN_LABEL) & np.isfinite(p).all(axis=1)
    return np.asarray(p[known], np.float64), labels[known]


def _fit(method: str, p: Floats, labels: Labels) -> Calibration:
    if method == "none":
        return NO_CALIBRATION
    pairs = [_LEARN[method](p[:, label], labels == label) for label in Label]
    return Calibration(method, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))


def _isotonic(p: Floats, came: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(p, came)
    return np.asarray(fitted.X_thresholds_, np.float64), np.asarray(fitted.y_thresholds_, np.float64)


def _platt(p: Floats, came: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    from sklearn.linear_model import LogisticRegression

    if came.all() or not came.any():
        return np.ones(1), np.zeros(1)
    fitted = LogisticRegression(C=100.0).fit(_logit(p)[:, None], came)
    return np.asarray(fitted.coef_[0], np.float64), np.asarray(fitted.intercept_, np.float64)


def _logit(p: Floats) -> Floats:
    p = np.clip(p, LEAST, 1 - LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _bend_platt(p: Floats, factor: Floats, offset: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-(factor[0] * _logit(p) + offset[0]))))


_LEARN: dict[str, Callable[[Floats, npt.NDArray[np.bool_]], tuple[Floats, Floats]]] = {
    "isotonic": _isotonic,
    "platt": _platt,
}
_BEND: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {"isotonic": np.interp, "platt": _bend_platt}
