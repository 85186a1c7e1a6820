"""Calibration against hand sums, and on outcomes drawn with known chances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import calibration
from market.calibration import NO_CALIBRATION, Calibration, brier, calibration_error, log_loss, reliability
from market.errors import BadValue
from market.labels import UNKNOWN_LABEL

P = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [np.nan] * 3, [0.3, 0.3, 0.4]])
LABELS = np.array([2, 0, 1, UNKNOWN_LABEL], np.int8)


def drawn(n, seed, sharpened=1.0):
    """Chances, outcomes drawn with them, and what a model says that exaggerates their logarithms so many times."""
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([3, 4, 3], n)
    labels = (rng.random(n)[:, None] > np.cumsum(chances, axis=1)[:, :2]).sum(axis=1).astype(np.int8)
    told = chances**sharpened
    return chances, labels, told / told.sum(axis=1, keepdims=True)


def test_scores_are_hand_sums_over_the_rows_that_are_known():
    assert log_loss(P, LABELS) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    assert brier(P, LABELS) == pytest.approx(((0.04 + 0.09 + 0.25) + (0.81 + 0.64 + 0.01)) / 2)
    # Two rows, each alone in its bins: |0.2-0| + |0.1-1|, |0.3-0| + |0.8-0|, |0.5-1| + |0.1-0|, over 2 rows and 3.
    assert calibration_error(P, LABELS) == pytest.approx((0.2 + 0.9 + 0.3 + 0.8 + 0.5 + 0.1) / 6)


def test_of_nothing_nothing_is_said():
    nothing = np.full(2, UNKNOWN_LABEL, np.int8)

    assert all(np.isnan(score(P[:2], nothing)) for score in (log_loss, brier, calibration_error))


def test_the_reliability_curve_counts_how_often_each_bin_came():
    curve = reliability(np.array([0.1, 0.2, 0.6, 1.0, np.nan]), np.array([True, False, True, True, True]), bins=4)

    assert curve["rows"].tolist() == [2, 0, 1, 1]
    assert curve["predicted"].tolist() == pytest.approx([0.15, np.nan, 0.6, 1.0], nan_ok=True)
    assert curve["observed"].tolist() == pytest.approx([0.5, np.nan, 1.0, 1.0], nan_ok=True)
    with pytest.raises(BadValue, match="bins"):
        reliability(np.zeros(1), np.zeros(1, np.bool_), 0)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_model_that_exaggerates_is_brought_back(method):
    _, labels, told = drawn(6000, 1, sharpened=3.0)
    chances, later, exaggerated = drawn(6000, 2, sharpened=3.0)

    fitted = calibration._fit(method, told, labels)
    p = fitted.apply(exaggerated)

    assert calibration_error(exaggerated, later) > 0.1
    assert calibration_error(p, later) < 0.03
    assert log_loss(p, later) < log_loss(exaggerated, later) - 0.2
    assert np.abs(p - chances).mean() < 0.04


def test_what_serves_later_rows_best_is_chosen_and_what_is_right_already_is_hardly_bent():
    _, labels, exaggerated = drawn(6000, 3, sharpened=3.0)
    chances, outcomes, _ = drawn(6000, 4)

    assert calibration.fit(exaggerated, labels).method != "none"
    assert np.abs(calibration.fit(chances, outcomes).apply(chances) - chances).mean() < 0.02


def test_few_rows_teach_no_calibration():
    _, labels, told = drawn(calibration.FEW - 1, 5, sharpened=3.0)

    assert calibration.fit(told, labels) == NO_CALIBRATION


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(calibration.METHODS))
def test_calibrated_probabilities_are_still_some_and_come_back_as_they_were(seed, method):
    _, labels, told = drawn(200, seed, sharpened=2.0)
    told[7] = np.nan
    known = np.delete(np.arange(200), 7)
    fitted = calibration._fit(method, told[known], labels[known])

    p = fitted.apply(told)

    assert np.isnan(p[7]).all()
    assert (p[known] > 0).all()
    assert p[known].sum(axis=1) == pytest.approx(np.ones(199))
    assert np.array_equal(Calibration.of(fitted.told()).apply(told), p, equal_nan=True)


def test_an_outcome_that_never_came_keeps_a_chance():
    _, labels, told = drawn(600, 6)

    for method in ("platt", "isotonic"):
        p = calibration._fit(method, told, np.where(labels == 0, 1, labels).astype(np.int8)).apply(told)
        assert (p > 0).all()


@pytest.mark.parametrize(
    "told",
    [
        {"method": "magic", "x": [], "y": []},
        {"method": "platt", "x": [], "y": []},
        {"method": "none", "x": [[1]], "y": [[1]]},
        {"method": "platt", "x": [[1.0], [1.0], [1.0]], "y": [[1.0], [1.0], []]},
        {"method": "platt", "x": [[1.0, 2.0]] * 3, "y": [[1.0, 2.0]] * 3},
        {"method": "isotonic", "x": [[0.5, 0.1]] * 3, "y": [[0.1, 0.5]] * 3},
        {"method": "isotonic", "x": [[0.5, None]] * 3, "y": [[0.1, 0.5]] * 3},
    ],
)
def test_what_is_no_calibration_is_refused(told):
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.of(told)
