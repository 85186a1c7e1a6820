"""Intervals by past misses: what they cover, and when they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.ipo.intervals import FEWEST, HALF_LIFE, LEAST, LEAST_SCALE, MOST, adapted, bounds, recency, scales


def test_four_of_five_lie_within_whatever_the_errors_are_like() -> None:
    rng = np.random.default_rng(5)
    misses = rng.exponential(1.0, 2000) - 0.3

    found = bounds(np.full(4000, 20.0), np.full(4000, 10.0), misses)
    came = 20.0 + 10.0 * (rng.exponential(1.0, 4000) - 0.3)
    within = (came >= found["low_points"]) & (came <= found["high_points"])

    assert within.mean() == pytest.approx(0.8, abs=0.08)
    assert found["p_gain_10"].mean() == pytest.approx((came >= 10).mean(), abs=0.06)


def test_too_few_misses_say_nothing() -> None:
    found = bounds(np.array([5.0]), np.array([10.0]), np.zeros(FEWEST - 1))

    assert all(np.isnan(found[name]).all() for name in found.dtype.names)


def test_a_larger_scale_is_a_wider_interval() -> None:
    misses = np.linspace(-1, 1, 99)

    found = bounds(np.array([5.0, 5.0]), np.array([10.0, 20.0]), misses)
    narrow, wide = found["high_points"] - found["low_points"]

    assert wide == pytest.approx(2 * narrow)


def test_a_calm_of_late_narrows_the_interval() -> None:
    rng = np.random.default_rng(5)
    wild, calm = rng.normal(0, 3, 200), rng.normal(0, 1, 200)

    after_calm, after_wild = (bounds(np.zeros(1), np.ones(1), np.r_[pair])[0] for pair in ((wild, calm), (calm, wild)))

    assert after_calm["high_points"] - after_calm["low_points"] < after_wild["high_points"] - after_wild["low_points"]


def test_a_miss_counts_half_of_one_that_came_a_half_life_later() -> None:
    weights = recency(3 * HALF_LIFE)

    assert weights.sum() == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(2 * weights[-1 - HALF_LIFE])


def test_the_scale_is_the_line_that_misses_have_grown_by() -> None:
    rng = np.random.default_rng(5)
    heights = rng.uniform(0, 80, 4000)
    missed = np.abs(rng.laplace(0, 6 + 0.4 * heights))

    found = scales(np.array([0.0, 50.0]), heights, missed)

    assert found == pytest.approx([6.0, 26.0], rel=0.25)


def test_cheap_and_dear_premiums_lie_within_as_often() -> None:
    rng = np.random.default_rng(5)
    heights = rng.uniform(0, 80, 6000)
    misses = rng.laplace(0, 8 + 0.2 * heights)
    past, later = slice(0, 3000), slice(3000, 6000)

    wide, narrow = (scales(heights[of], heights[past], np.abs(misses[past])) for of in (later, past))
    found = bounds(np.zeros(3000), wide, misses[past] / narrow)
    within = (misses[later] >= found["low_points"]) & (misses[later] <= found["high_points"])

    for dear in (heights[later] < 20, heights[later] > 60):
        assert within[dear].mean() == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_misses_of_nothing_leave_the_least_scale(count: int) -> None:
    assert scales(np.array([3.0]), np.full(count, 5.0), np.zeros(count)).tolist() == [LEAST_SCALE]


def test_what_lies_outside_too_often_widens_and_within_too_often_narrows() -> None:
    assert adapted(0.2, np.zeros(3, np.bool_)) < 0.2 < adapted(0.2, np.ones(3, np.bool_))
    assert adapted(0.2, np.array([True] * 4 + [False])) == pytest.approx(0.2)


@given(st.lists(st.booleans(), max_size=60), st.floats(-100, 200), st.integers(FEWEST, 80))
def test_probabilities_and_bounds_are_in_order(within: list[bool], said: float, count: int) -> None:
    left_out = adapted(0.2, np.array(within, np.bool_))
    misses = np.random.default_rng(count).normal(0, 1, count)

    found = bounds(np.array([said]), np.array([10.0]), misses, left_out)[0]

    assert LEAST <= left_out <= MOST
    assert found["low_points"] <= found["high_points"]
    assert found["p_loss"] > 0 and found["p_gain_10"] > 0
    assert found["p_loss"] + found["p_gain_10"] <= 1.0 + 1e-9
