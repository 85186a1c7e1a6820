"""Price: one number for a candle."""

from __future__ import annotations

import talib

from market.indicators.columns import Column, check


def average_price(open: Column, high: Column, low: Column, close: Column) -> Column:
    """Average price.

    Formula: (open + high + low + close) / 4
    Source: TA-Lib AVGPRICE
    """
    check(open=open, high=high, low=low, close=close)
    return talib.AVGPRICE(open, high, low, close)


def median_price(high: Column, low: Column) -> Column:
    """Middle of the candle.

    Formula: (high + low) / 2
    Source: TA-Lib MEDPRICE
    """
    check(high=high, low=low)
    return talib.MEDPRICE(high, low)


def typical_price(high: Column, low: Column, close: Column) -> Column:
    """Typical price.

    Formula: (high + low + close) / 3
    Source: TA-Lib TYPPRICE
    """
    check(high=high, low=low, close=close)
    return talib.TYPPRICE(high, low, close)


def weighted_close(high: Column, low: Column, close: Column) -> Column:
    """Typical price with the close counted twice.

    Formula: (high + low + 2 close) / 4
    Source: TA-Lib WCLPRICE
    """
    check(high=high, low=low, close=close)
    return talib.WCLPRICE(high, low, close)
