"""Predictions: what the ensemble expects of an instrument, or why it abstains."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Abstained(IntEnum):
    """Why there is no prediction; its numbers are NaN then."""

    NO = 0
    UNKNOWN = 1
    """The features of the moment are not known."""
    STALE = 2
    """They are older than a decision may rest on."""
    OUT_OF_RANGE = 3
    """They lie where the models have learned nothing."""
    DISAGREEMENT = 4
    """The members contradict each other."""
    NO_MODEL = 5
    """None could answer."""


REASONS: dict[Abstained, str] = {
    Abstained.NO: "",
    Abstained.UNKNOWN: "the features of this moment are not known",
    Abstained.STALE: "the features are older than a decision may rest on",
    Abstained.OUT_OF_RANGE: "the features lie outside of what the models have learned from",
    Abstained.DISAGREEMENT: "the models contradict each other",
    Abstained.NO_MODEL: "no model could answer from what is known",
}
"""What a reader is told."""


PREDICTION = np.dtype(
    [
        ("instrument", "<i4"),
        ("abstained", "u1"),
        ("silent", "u1"),
        ("padding", "u1", 2),
        ("at", "<i8"),
        ("p_down", "<f4"),
        ("p_flat", "<f4"),
        ("p_up", "<f4"),
        ("prediction", "<f4"),
        ("confidence", "<f4"),
        ("low", "<f4"),
        ("high", "<f4"),
        ("spread", "<f4"),
    ]
)
"""`silent`: a bit for each member with a weight that could not answer, the first one's the lowest; `at` ns UTC of the
decision; the probabilities are calibrated and sum to 1; `prediction` p_up + p_flat / 2, 0 bearish to 1 bullish;
`confidence` 2 |prediction - 1/2|; `low` and `high` bound the log return over the horizon, before costs, in nine cases
of ten, NaN where that was never learned; `spread`: the standard deviation of the members' predictions, weighted as they
are.
"""

Predictions = npt.NDArray[np.void]

NO_PREDICTIONS: Predictions = np.zeros(0, PREDICTION)
NO_PREDICTIONS.setflags(write=False)
