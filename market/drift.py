"""Drift: whether a model still sees what it was trained on, and is still as good as it was then.

The population stability index of a feature holds the shares of its values live against those of training, in the tenths
of training: the sum of (live - trained) ln(live / trained). A model has drifted when more than a tenth of its features
have shifted, or when its probabilities live are worse calibrated than in validation by more than `WORSE`. A model that
has drifted counts for half; of both for a quarter.

Source of the index and of its thresholds: E. M. Lewis, An Introduction to Credit Scoring, 1994, and N. Siddiqi,
Intelligent Credit Scoring, 2017: below 0.1 no shift, from 0.1 a minor one, above 0.25 a major one. A convention, and
no test: of few rows the index is large by chance, so it says nothing of less than `LEAST` values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from market.alerts import OperatorAlert
from market.errors import BadPayload
from market.models.examples import Examples
from market.records import Record

FILE = "distribution.json"
"""Under this name it lies among the files of a registered model."""

MINOR, MAJOR = 0.10, 0.25
SHIFTED = 0.10
"""So large a share of the features may have shifted by MAJOR."""

WORSE = 0.05
TENTHS = 10
LEAST = 1000
LEAST_SHARE = 1e-4
"""An empty tenth counts as this, so that the logarithm is finite."""

Values = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]


class Distribution(Record):
    """How the values of features lay in training. `edges`: of each the inner edges of its tenths, rising, those that
    coincide once; `shares`: of the values below the first edge, between two, from the last on; each sums to 1.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, seen: Examples) -> Self:
        """Of what a model was trained on; features with less than LEAST known values are left out."""
        names, edges, shares = [], [], []
        for name, column in zip(seen.names, seen.features.T, strict=True):
            known = column[np.isfinite(column)].astype(np.float64)
            if len(known) >= LEAST:
                inner = np.unique(np.quantile(known, np.arange(1, TENTHS) / TENTHS))
                names.append(name)
                edges.append(tuple(inner.tolist()))
                shares.append(tuple(_shares(known, inner).tolist()))
        return cls(names=tuple(names), edges=tuple(edges), shares=tuple(shares))

    @classmethod
    def read(cls, data: bytes) -> Self:
        """What `save` made. Raises BadPayload."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as e:
            raise BadPayload("distribution", data, f"not one: {e.error_count()} faults") from e

    def save(self) -> bytes:
        """What `read` takes."""
        return self.model_dump_json().encode()

    def stability(self, names: Sequence[str], features: Values) -> dict[str, float]:
        """The index of each feature that both know, of values (n, k) in the order of `names`; NaN is left out."""
        places = {name: k for k, name in enumerate(names)}
        found = {}
        for name, edges, shares in zip(self.names, self.edges, self.shares, strict=True):
            if name not in places:
                continue
            column = features[:, places[name]]
            known = column[np.isfinite(column)].astype(np.float64)
            if len(known) >= LEAST:
                found[name] = stability(np.array(shares), _shares(known, np.array(edges)))
        return found


class Drift(Record):
    """What was found of a version over the sessions `first` to `last`, days since 1970-01-01.

    `shifted`: the share of its features above MAJOR, None: not enough was seen; `worst`: the five that shifted most;
    `calibration`: its error live less that of validation, None: one of them is not known; `weight`: how much it counts.
    """

    version: str
    horizon: str
    first: int
    last: int
    features: int = Field(ge=0)
    shifted: float | None
    worst: Mapping[str, float]
    calibration: float | None
    weight: float = Field(ge=0, le=1)

    def alert(self, at: int) -> OperatorAlert:
        """What an operator hears of it: that it drifted, or that it no longer does. `at`: ns UTC."""
        why = []
        if self.shifted is not None and self.shifted > SHIFTED:
            most = ", ".join(f"{name} {value:.2f}" for name, value in self.worst.items())
            why.append(f"{self.shifted:.0%} of its features have shifted (PSI above {MAJOR}: {most})")
        if self.calibration is not None and self.calibration > WORSE:
            why.append(f"its calibration error is {self.calibration:.3f} above that of validation")
        text = f"{self.version} has drifted: {'; '.join(why)}" if why else f"{self.version} no longer drifts"
        return OperatorAlert(kind="drift", subject=self.version, at=at, text=text, over=not why)

    @property
    def drifted(self) -> bool:
        """Whether it counts for less."""
        return self.weight < 1


def stability(trained: Floats, live: Floats) -> float:
    """The index of shares, (k,) both, each summing to 1.

    >>> round(stability(np.array([0.5, 0.5]), np.array([0.8, 0.2])), 4)
    0.4159
    """
    a, b = (np.maximum(shares, LEAST_SHARE) for shares in (trained, live))
    return float(((b - a) * np.log(b / a)).sum())


def judged(
    version: str,
    horizon: str,
    span: tuple[int, int],
    shifts: Mapping[str, float],
    calibration: tuple[float | None, float | None],
) -> Drift:
    """What the indices by feature and the calibration errors, live and of validation, come to."""
    shifted = sum(value > MAJOR for value in shifts.values()) / len(shifts) if shifts else None
    live, before = calibration
    worse = None if live is None or before is None else round(live - before, 6)
    faults = (shifted is not None and shifted > SHIFTED) + (worse is not None and worse > WORSE)
    worst = sorted(shifts.items(), key=lambda one: (-one[1], one[0]))[:5]
    return Drift(
        version=version,
        horizon=horizon,
        first=span[0],
        last=span[1],
        features=len(shifts),
        shifted=shifted,
        worst={name: round(value, 4) for name, value in worst},
        calibration=worse,
        weight=0.5**faults,
    )


def _shares(known: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return np.asarray(counts / len(known))
