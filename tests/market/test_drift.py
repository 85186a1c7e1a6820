"""Drift: the stability index by hand, and when a model counts for less."""

from __future__ import annotations

import math

import numpy as np
import pytest

from market.drift import LEAST, Distribution, judged, stability
from market.errors import BadPayload
from market.models.examples import CHANNELS, LENGTH, Examples

NAMES = ("wide", "flag", "rare")


def seen(rows: int = 4000) -> Examples:
    """0, 1, ..., then a feature that is 0 in nine of ten rows, and one that is hardly ever known."""
    features = np.full((rows, len(NAMES)), np.nan, np.float32)
    features[:, 0] = np.arange(rows)
    features[:, 1] = np.arange(rows) % 10 == 0
    features[:10, 2] = 1.0
    nothing = np.zeros(rows, np.int32)
    sequence = np.zeros((rows, LENGTH, len(CHANNELS)), np.float32)
    return Examples(NAMES, features, sequence, nothing, np.zeros(rows, np.int64), nothing)


def test_the_index_of_two_shares_by_hand() -> None:
    # (0.8 - 0.5) ln(0.8 / 0.5) + (0.2 - 0.5) ln(0.2 / 0.5) = 0.3 x 0.470004 + 0.3 x 0.916291
    assert stability(np.array([0.5, 0.5]), np.array([0.8, 0.2])) == pytest.approx(0.415888, abs=1e-6)
    assert stability(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0.0


def test_what_was_trained_on_has_not_shifted() -> None:
    trained = Distribution.of(seen())

    assert trained.names == ("wide", "flag")
    assert all(value < 1e-6 for value in trained.stability(NAMES, seen().features).values())


def test_a_feature_that_lies_elsewhere_has_shifted() -> None:
    trained, live = Distribution.of(seen()), seen()
    live.features[:, 0] += 2000  # the upper half of training, and beyond: each tenth 0.1, but the last 0.6

    found = trained.stability(NAMES, live.features)

    expected = 5 * (0.1 - 0.0001) * math.log(0.1 / 0.0001) + 0.5 * math.log(0.6 / 0.1)
    assert found["wide"] == pytest.approx(expected, abs=0.01)
    assert found["flag"] == pytest.approx(0.0, abs=1e-6)


def test_of_few_rows_nothing_is_said() -> None:
    assert Distribution.of(seen()).stability(NAMES, seen(LEAST - 1).features) == {}
    assert Distribution.of(seen()).stability(("other",), seen().features[:, :1]) == {}


def test_a_distribution_comes_back_from_its_file() -> None:
    trained = Distribution.of(seen())

    assert Distribution.read(trained.save()) == trained
    with pytest.raises(BadPayload):
        Distribution.read(b'{"names": 1}')


@pytest.mark.parametrize(
    ("shifts", "calibration", "weight", "words"),
    [
        ({"a": 0.3, **dict.fromkeys("bcdefghij", 0.0)}, (0.05, 0.01), 1.0, "no longer drifts"),
        ({"a": 0.3, "b": 0.0}, (0.05, 0.01), 0.5, "50% of its features have shifted"),
        ({"a": 0.25}, (0.07, 0.01), 0.5, "0.060 above that of validation"),
        ({"a": 0.3}, (0.07, 0.01), 0.25, "; "),
        ({}, (None, 0.01), 1.0, "no longer drifts"),
    ],
)
def test_what_has_drifted_counts_for_less_and_says_why(
    shifts: dict[str, float], calibration: tuple[float | None, float | None], weight: float, words: str
) -> None:
    found = judged("direction-15m@3", "15m", (17000, 17020), shifts, calibration)

    alert = found.alert(5)
    assert found.weight == weight and words in alert.text
    assert alert.over is (weight == 1.0)
    assert (alert.kind, alert.subject) == ("drift", "direction-15m@3")
