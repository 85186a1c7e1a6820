"""Ranges of features and intervals of returns, by hand."""

import numpy as np
import pytest

from market.bounds import Interval, Range
from tests.market.models.lessons import examples_of


def test_an_interval_is_the_order_statistics_of_its_cell():
    p = np.tile([0.3, 0.4, 0.3], (199, 1))
    rows = examples_of(np.zeros((199, 1)), ("other",))

    made = Interval.of(p, np.arange(199.0), rows, "atr_14_15m")

    # floor(200 * 0.05) = 10: the 10th smallest and the 10th greatest of 0..198.
    assert [bound.tolist() for bound in made.around(p[:1], rows.take(slice(0, 1)))] == [[9], [189]]
    assert Interval.of(p[:99], np.zeros(99), rows.take(slice(0, 99))) is None


def test_an_interval_is_as_wide_as_the_market_is_wild():
    rng = np.random.default_rng(1)
    size = np.repeat([0.001, 0.002, 0.004], 400)
    size[:6] = np.nan
    p = np.tile([0.3, 0.4, 0.3], (1200, 1))
    rows = examples_of(size[:, None], ("atr_14_15m",))
    returns = rng.choice(np.linspace(-1, 1, 201), 1200) * np.nan_to_num(size, nan=0.002)

    low, high = Interval.of(p, returns, rows, "atr_14_15m").around(p, rows)

    assert high[[10, 500, 900, 0]] == pytest.approx([0.0009, 0.0018, 0.0036, 0.0018], rel=0.03)
    assert low == pytest.approx(-high, rel=0.05)


def test_a_range_leaves_out_what_never_changes_or_is_never_known():
    rows = examples_of([[0, 3, np.nan], [1, 3, np.nan], [np.nan, 3, np.nan]], ("a", "b", "c"))

    made = Range.of(rows)

    assert made.names == ("a",)
    assert (made.low[0], made.high[0]) == pytest.approx((-0.25, 1.25), abs=0.01)
