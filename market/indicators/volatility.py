"""Volatility: how far a price strays, and the channels drawn at such a distance."""

from __future__ import annotations

import numpy as np
import talib

from market.indicators.columns import Column, check, positive, whole


def true_range(high: Column, low: Column, close: Column) -> Column:
    """True range, in the price's unit; the first row is unknown.

    Formula: max(high, close before) - min(low, close before)
    Source: Wilder 1978, p. 21; TA-Lib TRANGE
    """
    check(high=high, low=low, close=close)
    return talib.TRANGE(high, low, close)


def atr(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Average true range, Wilder's, in the price's unit; first at row n.

    Formula: Wilder's average of the true range
    Source: Wilder 1978, p. 23; TA-Lib ATR
    """
    check(high=high, low=low, close=close)
    return talib.ATR(high, low, close, whole("n", n))


def natr(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Average true range in percent of the close.

    Formula: 100 ATR / close
    Source: Forman 2006; TA-Lib NATR
    """
    check(high=high, low=low, close=close)
    return talib.NATR(high, low, close, whole("n", n))


def stddev(close: Column, n: int = 20) -> Column:
    """Standard deviation over n rows, of the population (divided by n), in the price's unit.

    Formula: sqrt(mean((close - mean)^2))
    Source: TA-Lib STDDEV
    """
    check(close=close)
    return talib.STDDEV(close, whole("n", n, 2), 1.0)


def variance(close: Column, n: int = 20) -> Column:
    """Variance over n rows, of the population, in the square of the price's unit.

    Formula: mean((close - mean)^2)
    Source: TA-Lib VAR
    """
    check(close=close)
    return talib.VAR(close, whole("n", n, 2), 1.0)


def bollinger(close: Column, n: int = 20, width: float = 2.0) -> tuple[Column, Column, Column]:
    """Bollinger's bands: (upper, middle, lower).

    Formula: SMA +- width * standard deviation of the population
    Source: Bollinger 2001; TA-Lib BBANDS
    """
    check(close=close)
    width = positive("width", width)
    return talib.BBANDS(close, whole("n", n, 2), width, width)


def keltner(
    high: Column, low: Column, close: Column, n: int = 20, width: float = 2.0, atr_rows: int = 10
) -> tuple[Column, Column, Column]:
    """Keltner's channel as Raschke draws it: (upper, middle, lower).

    Formula: EMA(close, n) +- width * ATR(atr_rows)
    Source: Raschke, StockCharts ChartSchool; TA-Lib EMA and ATR
    """
    check(high=high, low=low, close=close)
    middle = talib.EMA(close, whole("n", n))
    distance = positive("width", width) * talib.ATR(high, low, close, whole("atr_rows", atr_rows))
    return middle + distance, np.where(np.isnan(distance), np.nan, middle), middle - distance


def donchian(high: Column, low: Column, n: int = 20) -> tuple[Column, Column, Column]:
    """Donchian's channel, the present row among the n: (upper, middle, lower).

    Formula: highest high and lowest low of the last n, and their mean
    Source: Donchian 1960; TA-Lib MAX and MIN
    """
    check(high=high, low=low)
    n = whole("n", n, 2)
    upper, lower = talib.MAX(high, n), talib.MIN(low, n)
    return upper, (upper + lower) / 2, lower


def ulcer(close: Column, n: int = 14) -> Column:
    """Ulcer index: the root mean square of the drawdowns from the highest close of n rows, in percent.

    Formula: sqrt(SMA((100 (close / highest - 1))^2))
    Source: Martin 1987, StockCharts ChartSchool; TA-Lib MAX and SMA
    """
    check(close=close)
    n = whole("n", n, 2)
    return np.sqrt(talib.SMA((100.0 * (close / talib.MAX(close, n) - 1.0)) ** 2, n))
