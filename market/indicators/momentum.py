"""Momentum: how fast a price moves, and where it stands in its recent range."""

from __future__ import annotations

import talib

from market.indicators.columns import Column, check, in_order, whole


def rsi(close: Column, n: int = 14) -> Column:
    """Relative strength index with Wilder's averages, 0..100, first at row n.

    Formula: 100 G / (G + L), G and L Wilder's averages of the rises and of the falls
    Source: Wilder 1978, p. 65; TA-Lib RSI
    """
    check(close=close)
    return talib.RSI(close, whole("n", n, 2))


def stochastic(
    high: Column, low: Column, close: Column, k: int = 14, slow: int = 3, d: int = 3
) -> tuple[Column, Column]:
    """Stochastic oscillator, slow: (k, d), 0..100. `slow` 1 gives the fast one.

    Formula: k = SMA(100 (close - lowest of k) / (highest of k - lowest of k), slow); d = SMA(k, d)
    Source: Lane 1984; TA-Lib STOCH
    """
    check(high=high, low=low, close=close)
    k, slow, d = whole("k", k), whole("slow", slow), whole("d", d)
    return talib.STOCH(high, low, close, k, slow, slowd_period=d)


def stochastic_rsi(close: Column, n: int = 14, k: int = 14, d: int = 3) -> tuple[Column, Column]:
    """The fast stochastic of the RSI: (k, d), 0..100.

    Formula: k = 100 (r - lowest r of k) / (highest r of k - lowest r of k), r = RSI(n); d = SMA(k, d)
    Source: Chande and Kroll 1994; TA-Lib STOCHRSI
    """
    check(close=close)
    return talib.STOCHRSI(close, whole("n", n, 2), whole("k", k), whole("d", d))


def cci(high: Column, low: Column, close: Column, n: int = 20) -> Column:
    """Commodity channel index, mostly within -100..100.

    Formula: (p - SMA(p)) / (0.015 mean |p - SMA(p)|), p = (high + low + close) / 3
    Source: Lambert 1980; TA-Lib CCI
    """
    check(high=high, low=low, close=close)
    return talib.CCI(high, low, close, whole("n", n, 2))


def williams_r(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Williams %R, -100..0.

    Formula: -100 (highest - close) / (highest - lowest)
    Source: Williams 1973; TA-Lib WILLR
    """
    check(high=high, low=low, close=close)
    return talib.WILLR(high, low, close, whole("n", n, 2))


def roc(close: Column, n: int = 10) -> Column:
    """Rate of change over n rows, in percent.

    Formula: 100 (close / close n rows ago - 1)
    Source: TA-Lib ROC
    """
    check(close=close)
    return talib.ROC(close, whole("n", n))


def momentum(close: Column, n: int = 10) -> Column:
    """Change over n rows, in the price's unit.

    Formula: close - close n rows ago
    Source: TA-Lib MOM
    """
    check(close=close)
    return talib.MOM(close, whole("n", n))


def cmo(close: Column, n: int = 14) -> Column:
    """Chande's momentum oscillator with Wilder's averages, -100..100.

    Formula: 100 (G - L) / (G + L)
    Source: Chande and Kroll 1994; TA-Lib CMO, which smooths as the RSI does
    """
    check(close=close)
    return talib.CMO(close, whole("n", n, 2))


def ultimate(high: Column, low: Column, close: Column, short: int = 7, middle: int = 14, long: int = 28) -> Column:
    """Ultimate oscillator, 0..100.

    Formula: 100 (4 a + 2 b + c) / 7, each sum(close - true low) / sum(true range) over short, middle, long
    Source: Williams 1985; TA-Lib ULTOSC
    """
    check(high=high, low=low, close=close)
    short, middle, long = whole("short", short), whole("middle", middle), whole("long", long)
    in_order("middle", middle, "short", short)
    in_order("long", long, "middle", middle)
    return talib.ULTOSC(high, low, close, short, middle, long)


def balance_of_power(open: Column, high: Column, low: Column, close: Column) -> Column:
    """Balance of power, -1..1; 0 where high is low.

    Formula: (close - open) / (high - low)
    Source: Livshin 2001; TA-Lib BOP
    """
    check(open=open, high=high, low=low, close=close)
    return talib.BOP(open, high, low, close)


def awesome(high: Column, low: Column, fast: int = 5, slow: int = 34) -> Column:
    """Awesome oscillator, in the price's unit.

    Formula: SMA(p, fast) - SMA(p, slow), p = (high + low) / 2
    Source: Williams 1998; TA-Lib AO
    """
    check(high=high, low=low)
    fast, slow = whole("fast", fast), whole("slow", slow)
    in_order("slow", slow, "fast", fast)
    return talib.AO(high, low, fast, slow)
