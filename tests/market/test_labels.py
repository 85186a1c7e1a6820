"""Labels: hand-computed returns, holes, ends of sessions, and what a label may depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.candles import CANDLE, Provenance
from market.labels import HORIZONS, UNKNOWN_LABEL, Label, daily_outcomes, labels, outcomes
from market.money import UNKNOWN
from market.sessions import DAY, MINUTE


def candles(*lengths):
    """Sessions of so many minutes: minute i of all opens at 100 + i rupees and closes half a rupee higher."""
    rows = np.zeros(sum(lengths), CANDLE)
    rows["session"] = np.repeat(np.arange(len(lengths)), lengths)
    rows["start"] = np.concatenate([day * DAY + np.arange(n) * MINUTE for day, n in enumerate(lengths)])
    rows["open"] = 1_000_000 + 10_000 * np.arange(len(rows))
    rows["close"] = rows["open"] + 5_000
    rows["provenance"] = Provenance.LIVE
    return rows


def test_a_decision_is_acted_on_at_the_next_open_and_closed_at_the_end_of_the_horizon():
    found = outcomes(candles(20), "5m")

    assert found[0] == pytest.approx(np.log(105.5 / 101))
    assert found[14] == pytest.approx(np.log(119.5 / 115))


def test_a_horizon_past_the_close_has_no_outcome():
    found = outcomes(candles(20, 20), "5m")

    assert np.flatnonzero(np.isnan(found)).tolist() == [*range(15, 20), *range(35, 40)]


def test_that_of_a_day_ends_at_the_next_sessions_close():
    found = outcomes(candles(4, 3, 2), "1d")

    assert found[0] == pytest.approx(np.log(106.5 / 101))
    assert found[2] == pytest.approx(np.log(106.5 / 103))
    assert found[4] == pytest.approx(np.log(108.5 / 105))
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 6, 7, 8]


@pytest.mark.parametrize(("hole", "lost"), [(10, [5, 9, 10]), (19, [14, 18, 19])])
@pytest.mark.parametrize("how", ["gap", "no price", "missing"])
def test_a_minute_that_is_not_there_is_neither_bought_nor_sold_at(hole, lost, how):
    rows = candles(26)
    whole = outcomes(rows, "5m")
    if how == "gap":
        rows["provenance"][hole] = Provenance.GAP
    elif how == "no price":
        rows["open"][hole] = rows["close"][hole] = UNKNOWN
    kept = np.delete(np.arange(26), hole) if how == "missing" else np.arange(26)

    found = outcomes(rows[kept], "5m")

    expected = whole.copy()
    expected[lost] = np.nan
    assert np.array_equal(found, expected[kept], equal_nan=True)


@pytest.mark.parametrize("horizon", list(HORIZONS))
def test_no_candles_have_no_outcomes(horizon):
    assert outcomes(candles(1)[:0], horizon).shape == (0,)
    assert np.isnan(outcomes(candles(1), horizon)).all()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["5m", "15m"]))
def test_an_outcome_depends_on_its_own_open_and_close_alone(seed, horizon):
    rng = np.random.default_rng(seed)
    rows = candles(30, 30)
    at = int(rng.integers(0, 60))
    other = rows.copy()
    bought, sold = at + 1, at + HORIZONS[horizon]
    other["open"][np.arange(60) != bought] += 70_000
    other["close"][np.arange(60) != sold] += 70_000

    found, again = outcomes(rows, horizon)[at], outcomes(other, horizon)[at]

    inside = at % 30 + HORIZONS[horizon] < 30
    assert np.isnan(found) != inside
    assert np.array_equal(found, again, equal_nan=True)
    assert not inside or found == pytest.approx(np.log((100.5 + sold) / (100 + bought)))


def test_daily_outcomes_go_from_the_next_open_to_its_close():
    rows = candles(1, 1, 1, 1)
    rows["open"][3] = UNKNOWN

    found = daily_outcomes(rows)

    assert found[:2].tolist() == pytest.approx([np.log(101.5 / 101), np.log(102.5 / 102)])
    assert np.isnan(found[2:]).all()
    assert daily_outcomes(rows[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("ratio", "label"),
    [(1.0011, Label.UP), (1.0009, Label.FLAT), (1.0, Label.FLAT), (0.9991, Label.FLAT), (0.9989, Label.DOWN)],
)
def test_a_label_is_net_of_a_tenth_of_a_percent(ratio, label):
    assert labels(np.array([np.log(ratio)])).tolist() == [label]


def test_a_label_takes_the_cost_given_and_what_has_no_return_has_no_label():
    found = labels(np.array([[0.004, np.nan], [-0.004, 0.006]]), cost=0.005)

    assert found.tolist() == [[Label.FLAT, UNKNOWN_LABEL], [Label.FLAT, Label.UP]]
    assert found.dtype == np.int8
