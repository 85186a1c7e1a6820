"""Technical features against TA-Lib's own functions, and their freedom from the price's scale."""

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from market.features import technical
from market.features.technical import Bars

NAMES = [feature.name for feature in technical.features("1d")]


def bars(rows, seed=1, quiet=0.05):
    """A walk in whole ticks of 500 with some rows in which nothing happens: (1, rows)."""
    rng = np.random.default_rng(seed)
    step = rng.integers(-6, 7, rows) * (rng.random(rows) > quiet)
    close = 10_000_000.0 + 500 * np.cumsum(step)
    opens = np.append(close[0], close[:-1])
    reach = rng.integers(0, 5, (2, rows)) * 500 * (step != 0)
    volume = rng.integers(1, 10_000, rows) * 1.0 * (step != 0)
    columns = opens, np.maximum(opens, close) + reach[0], np.minimum(opens, close) - reach[1], close, volume
    return Bars(*(column[None] for column in columns))


def named(name, of):
    return technical.values(of, "1d")[NAMES.index(f"{name}_1d"), 0]


def talibs(of):
    """What TA-Lib makes of the same bars, in the units of the features."""
    high, low, close, volume = (column[0] for column in of[1:])
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    k, d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    line, _, histogram = talib.MACD(close)
    return {
        "sma_gap_20": close / talib.SMA(close, 20) - 1,
        "ema_gap_20": close / talib.EMA(close, 20) - 1,
        "ema_gap_50": close / talib.EMA(close, 50) - 1,
        "sma_gap_200": close / talib.SMA(close, 200) - 1,
        "macd_line_12_26": line / close,
        "macd_histogram_12_26_9": histogram / close,
        "rsi_14": talib.RSI(close, 14) / 100,
        "bollinger_position_20": (close - lower) / (upper - lower),
        "bollinger_width_20": (upper - lower) / middle,
        "atr_14": talib.ATR(high, low, close, 14) / close,
        "plus_di_14": talib.PLUS_DI(high, low, close, 14) / 100,
        "minus_di_14": talib.MINUS_DI(high, low, close, 14) / 100,
        "adx_14": talib.ADX(high, low, close, 14) / 100,
        "stochastic_k_14": k / 100,
        "stochastic_d_14": d / 100,
        "cci_20": talib.CCI(high, low, close, 20),
        "mfi_14": talib.MFI(high, low, close, volume, 14) / 100,
        "volume_ratio_20": volume / talib.SMA(volume, 20),
        "roc_10": talib.ROC(close, 10) / 100,
        "return_20": talib.ROC(close, 20) / 100,
    }


@pytest.mark.parametrize("name", list(talibs(bars(300))))
def test_a_technical_feature_is_what_talib_says_once_its_start_is_forgotten(name):
    of = bars(1500)

    made, expected = named(name, of)[800:], talibs(of)[name][800:]

    np.testing.assert_allclose(made, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("timeframe", list(technical.GROUPS))
def test_the_newest_row_is_that_of_the_whole_series_behind_as_many_rows_as_are_declared(timeframe):
    of = bars(3000, seed=5)

    whole = technical.values(of, timeframe)[:, 0, -1]
    newest = technical.values(of.last(technical.memory(timeframe)), timeframe, newest=True)[:, 0, 0]

    scale = np.array([feature.scale for feature in technical.features(timeframe)])
    assert (np.abs(newest - whole) <= 1e-9 * np.maximum(np.abs(whole), scale)).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(0, 1000), st.sampled_from([0.05, 0.5, 0.95]))
def test_a_constant_factor_on_prices_and_one_on_volumes_change_nothing(price, volume, seed, quiet):
    of = bars(700, seed, quiet)
    other = Bars(*(column * price for column in of[:4]), of.volume * volume)

    made, expected = technical.values(other, "1d")[:, 0], technical.values(of, "1d")[:, 0]

    scale = np.array([feature.scale for feature in technical.features("1d")])[:, None]
    assert np.array_equal(np.isnan(made), np.isnan(expected))
    assert np.nanmax(np.abs(made - expected) / np.maximum(np.abs(expected), scale)) <= 1e-9


def still_bars(before, still, after, seed=1):
    """A walk, then so many rows in which nothing moves or trades, then a walk."""
    rows = bars(before + after, seed, 0.0)
    flat = np.repeat(rows.close[:, before - 1 : before], still, axis=1)
    columns = [np.hstack([column[:, :before], flat, column[:, before:]]) for column in rows[:4]]
    volume = np.hstack([rows.volume[:, :before], 0 * flat, rows.volume[:, before:]])
    return Bars(*columns, volume)


@pytest.mark.parametrize("still", [5, 60, 139, 141, 300, 900])
@pytest.mark.parametrize("after", [0, 1, 30, 250, 400])
def test_a_standstill_is_the_same_whatever_was_long_before_it(still, after):
    of = still_bars(1200, still, after + 1)
    other = still_bars(1200, still, after + 1)
    memory = technical.memory("1m")
    rng = np.random.default_rng(0)
    early = slice(0, max(of.close.shape[1] - memory, 0))
    for column in other[:4]:
        column[:, early] += np.cumsum(rng.integers(-20, 21, column[:, early].shape[1])) * 500

    made = technical.values(other.last(memory), "1m", newest=True)[:, 0, 0]
    expected = technical.values(of, "1m")[:, 0, -1]

    scale = np.array([feature.scale for feature in technical.features("1m")])
    assert np.array_equal(np.isnan(made), np.isnan(expected))
    assert np.nanmax(np.abs(made - expected) / np.maximum(np.abs(expected), scale)) <= 1e-9


def test_oscillators_are_unknown_where_nothing_has_moved_for_long():
    of = still_bars(300, 200, 1)
    rows = Bars(*(column[:, :500] for column in of))

    made = {name: named(name, rows)[-1] for name in ("rsi_14", "plus_di_14", "minus_di_14", "adx_14", "mfi_14")}

    assert np.isnan(list(made.values())).all(), made
    assert named("bollinger_width_20", rows)[-1] == 0.0
    assert named("return_1", rows)[-1] == 0.0
