"""What a member of the ensemble can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from market.errors import BadValue
from market.labels import UNKNOWN_LABEL, Labels
from market.models.examples import Examples, Ints64

Probabilities = npt.NDArray[np.float32]
"""(n, 3): of DOWN, FLAT and UP, each row sums to 1; NaN where a model cannot tell, and why is the ensemble's to say."""


Targets = Mapping[str, Labels]
"""The labels of examples by horizon, each (n,), `UNKNOWN_LABEL` where there is none."""


class Model(Protocol):
    """One kind of model for one horizon. Fitting is deterministic: same examples, same seed, same model."""

    kind: str
    """Its name among the members: heuristic, linear, xgboost, lstm, transformer, gnn."""

    horizon: str

    def fit(self, examples: Examples, targets: Targets, held: Examples, held_targets: Targets, seed: int) -> None:
        """Learn from `examples`; stop early by `held`, which lies behind them in time.

        Raises BadValue: there is nothing to learn from.
        """

    def predict(self, examples: Examples) -> Probabilities:
        """Of each example. Raises BadValue: the examples lack a feature it was fitted on."""

    def save(self) -> bytes:
        """What `load` takes: parameters, and no code."""

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model that `save` was asked of. Raises BadPayload."""


@runtime_checkable
class Related(Protocol):
    """A model that looks at other instruments of the same moment, too."""

    def neighbours(self, instruments: Ints64) -> Ints64:
        """The places, ascending, of all whose examples count for the answers about these, (k,), these among them."""


def learnable(examples: Examples, targets: Targets, horizon: str) -> npt.NDArray[np.intp]:
    """The places of the examples that have a label and any known feature, (k,). Raises BadValue: no such horizon."""
    if horizon not in targets:
        raise BadValue("targets", sorted(targets), f"give the labels of {horizon}")
    known = np.isfinite(examples.features).any(axis=1)
    return np.flatnonzero(known & (targets[horizon] != UNKNOWN_LABEL))


def check_outcomes(labels: Labels) -> None:
    """Raises BadValue where labels, (k,), are not of two outcomes at least: there is nothing to tell apart."""
    found = np.unique(labels)
    if len(found) < 2:
        raise BadValue("labels", found.tolist(), "give examples of two outcomes or more: there is nothing to learn")
