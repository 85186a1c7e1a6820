"""Indicators in rupees for screens, against TA-Lib and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import talib

from market.money import UNKNOWN
from market.readings import COLUMNS, readings

ROWS = 700


def walks(count: int, rows: int = ROWS) -> np.ndarray:
    """Closes in 1/10,000: seeded walks around 2,850 rupees."""
    return 28_500_000.0 + np.random.default_rng(3).integers(-20_000, 20_001, (count, rows)).cumsum(axis=1)


def test_they_are_those_of_talib_over_the_same_closes_to_a_ten_thousandth_of_a_rupee() -> None:
    closes = walks(5)

    found = readings(closes)

    for k, row in enumerate(closes / 10_000):
        line, signal, _ = talib.MACD(row)
        averages = [talib.EMA(row, n) for n in (50, 100, 200)]
        expected = [x[-1] * 10_000 for x in (line, signal, *averages, *talib.BBANDS(row, 20, 2.0, 2.0))]
        assert np.abs(np.array(found[k].tolist()) - expected).max() <= 1.0


def test_a_young_instrument_has_those_for_which_its_closes_suffice() -> None:
    closes = walks(3, 120)
    closes[1, :60] = np.nan
    closes[2, :-1] = np.nan

    found = readings(closes)

    known = [[name for name in COLUMNS if row[name] != UNKNOWN] for row in found]
    bands = ["upper", "middle", "lower"]
    assert known[0] == ["macd", "macd_signal", "ema_50", "ema_100", *bands]
    assert known[1] == ["macd", "macd_signal", "ema_50", *bands]
    assert known[2] == []
    assert found["ema_50"][1] == pytest.approx(talib.EMA(closes[1, 60:], 50)[-1], abs=1)


def test_a_flat_price_is_its_own_average_and_band() -> None:
    found = readings(np.full((1, ROWS), 28_505_000.0))

    assert found[0].tolist() == (0, 0, *[28_505_000] * 6)


def test_without_a_price_there_is_nothing() -> None:
    found = readings(np.full((2, ROWS), np.nan))

    assert set(found.view(np.int64).tolist()) == {UNKNOWN}


def test_a_band_is_two_deviations_wide_by_hand() -> None:
    closes = np.full((1, ROWS), 1_000_000.0)
    closes[0, -20::2] = 1_020_000.0  # ten at 102, ten at 100: mean 101, deviation 1

    found = readings(closes)[0]

    assert (found["upper"], found["middle"], found["lower"]) == (1_030_000, 1_010_000, 990_000)
