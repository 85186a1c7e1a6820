"""Moving windows against the plain sum over each window, and what a flat window must give."""

import numpy as np
import pytest
import talib
from hypothesis import given
from hypothesis import strategies as st

from market.features import moving

SERIES = np.random.default_rng(7).normal(100, 5, (3, 137))


@pytest.mark.parametrize("n", [1, 2, 5, 20, 136, 137, 138, 500])
@pytest.mark.parametrize("name, plain", [("total", np.sum), ("mean", np.mean), ("highest", np.max), ("lowest", np.min)])
def test_a_moving_window_is_what_numpy_makes_of_each_window(name, plain, n):
    made = getattr(moving, name)(SERIES, n)

    expected = np.full(SERIES.shape, np.nan)
    for end in range(n, 138):
        expected[:, end - 1] = plain(SERIES[:, end - n : end], axis=1)
    np.testing.assert_allclose(made, expected, rtol=1e-13)


@pytest.mark.parametrize("n", [2, 5, 20, 137])
def test_the_spread_is_mean_and_deviation_of_the_population(n):
    middle, deviation = moving.spread(SERIES, n)

    windows = np.lib.stride_tricks.sliding_window_view(SERIES, n, axis=1)
    np.testing.assert_allclose(middle[:, n - 1 :], windows.mean(axis=2), rtol=1e-13)
    np.testing.assert_allclose(deviation[:, n - 1 :], windows.std(axis=2), rtol=1e-11)
    assert np.isnan(deviation[:, : n - 1]).all()


@given(st.integers(1, 25), st.integers(0, 60), st.floats(1e-3, 1e9))
def test_a_flat_window_has_no_deviation_whatever_came_before(n, loud, level):
    series = np.concatenate([np.random.default_rng(loud).lognormal(20, 3, loud), np.full(n, level)])[None]

    _, deviation = moving.spread(series, n)

    assert deviation[0, -1] == 0.0


@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 80))
def test_unknown_columns_at_the_begin_make_only_their_own_windows_unknown(n, rows, unknown):
    series = np.arange(1.0, rows + 1)[None].copy()
    series[0, :unknown] = np.nan

    made = moving.total(series, n)[0]

    assert np.isnan(made).tolist() == [k < unknown + n - 1 for k in range(rows)]


def test_within_tells_whether_a_flag_is_among_the_last_columns():
    flags = np.array([[False, True, False, False, False, True, False]])

    assert moving.within(flags, 3).tolist() == [[False, True, True, True, False, True, True]]


@pytest.mark.parametrize("n", [5, 14, 50])
def test_the_weights_of_a_filter_are_those_of_its_formula(n):
    weight, before = moving.weights(lambda x: talib.EMA(x, n), 300)

    alpha = 2 / (n + 1)
    np.testing.assert_allclose(weight, alpha * (1 - alpha) ** np.arange(299, -1, -1), rtol=1e-9, atol=1e-16)
    assert before == pytest.approx((1 - alpha) ** 300, abs=1e-14)


def test_the_newest_column_of_a_filter_is_that_of_the_whole_series():
    series = np.random.default_rng(3).normal(100, 1, (4, 300))
    series[1, :7] = np.nan
    series[2, :290] = np.nan
    series[3] = np.nan

    made = moving.smoothed_last(series, EMA_5)

    expected = [talib.EMA(line, 5)[-1] for line in series]
    np.testing.assert_allclose(made[:, 0], expected, rtol=1e-13)


def EMA_5(x):
    return talib.EMA(x, 5)
