"""Volume: whether the shares went with the price. `volume` is in shares, or any one unit all along."""

from __future__ import annotations

import numpy as np
import talib

from market.indicators.columns import Column, Labels, anew, check, in_order, whole


def obv(close: Column, volume: Column, session: Labels | None = None) -> Column:
    """On-balance volume; starts with the first row's volume. Never forgets: `session` starts it anew at each open.

    Formula: o + volume where the close rose, o - volume where it fell
    Source: Granville 1963; TA-Lib OBV
    """
    check(close=close, volume=volume)
    return anew(talib.OBV, session, close, volume)


def vwap(high: Column, low: Column, close: Column, volume: Column, session: Labels | None = None) -> Column:
    """Volume-weighted average price since the open, unknown before the first share is traded.

    Formula: sum(p volume) / sum(volume), p = (high + low + close) / 3
    Source: Berkowitz, Logue and Noser 1988; TA-Lib VWAP
    """
    check(high=high, low=low, close=close, volume=volume)
    return anew(_vwap, session, high, low, close, volume)


def ad(high: Column, low: Column, close: Column, volume: Column, session: Labels | None = None) -> Column:
    """Accumulation and distribution line. Never forgets: `session` starts it anew at each open.

    Formula: a + volume ((close - low) - (high - close)) / (high - low)
    Source: Chaikin; TA-Lib AD
    """
    check(high=high, low=low, close=close, volume=volume)
    return anew(talib.AD, session, high, low, close, volume)


def adosc(high: Column, low: Column, close: Column, volume: Column, fast: int = 3, slow: int = 10) -> Column:
    """Chaikin's oscillator of the accumulation and distribution line, in shares.

    Formula: EMA(AD, fast) - EMA(AD, slow)
    Source: Chaikin; TA-Lib ADOSC, both EMAs start with the first row
    """
    check(high=high, low=low, close=close, volume=volume)
    fast, slow = whole("fast", fast, 2), whole("slow", slow, 2)
    in_order("slow", slow, "fast", fast)
    return talib.ADOSC(high, low, close, volume, fast, slow)


def cmf(high: Column, low: Column, close: Column, volume: Column, n: int = 20) -> Column:
    """Chaikin's money flow, -1..1.

    Formula: sum(volume ((close - low) - (high - close)) / (high - low)) / sum(volume)
    Source: Chaikin; TA-Lib CMF
    """
    check(high=high, low=low, close=close, volume=volume)
    return talib.CMF(high, low, close, volume, whole("n", n, 2))


def mfi(high: Column, low: Column, close: Column, volume: Column, n: int = 14) -> Column:
    """Money flow index, 0..100, first at row n.

    Formula: 100 P / (P + N), sums of p volume where p rose and where it fell, p = (high + low + close) / 3
    Source: Quong and Soudack 1989; TA-Lib MFI
    """
    check(high=high, low=low, close=close, volume=volume)
    return talib.MFI(high, low, close, volume, whole("n", n, 2))


def vwma(close: Column, volume: Column, n: int = 20) -> Column:
    """Volume-weighted moving average, unknown where no share was traded in n rows.

    Formula: sum(close volume) / sum(volume) over n
    Source: TA-Lib VWMA
    """
    check(close=close, volume=volume)
    average: Column = talib.VWMA(close, volume, whole("n", n))
    average[np.isinf(average)] = np.nan
    return average


def volume_ratio(volume: Column, n: int = 20) -> Column:
    """Volume over its average of the last n rows, the present one among them; unknown where none was traded.

    Formula: volume / SMA(volume, n)
    Source: TA-Lib SMA
    """
    check(volume=volume)
    average = talib.SMA(volume, whole("n", n))
    ratio: Column = np.divide(volume, average, out=np.full(volume.size, np.nan), where=average > 0)
    return ratio


def pvo(volume: Column, fast: int = 12, slow: int = 26) -> Column:
    """Percentage volume oscillator.

    Formula: 100 (EMA(volume, fast) - EMA(volume, slow)) / EMA(volume, slow)
    Source: TA-Lib PVO
    """
    check(volume=volume)
    fast, slow = whole("fast", fast, 2), whole("slow", slow, 2)
    in_order("slow", slow, "fast", fast)
    return talib.PVO(volume, fast, slow)


def _vwap(high: Column, low: Column, close: Column, volume: Column) -> Column:
    average: Column = talib.VWAP(high, low, close, volume)
    if not volume[0] > 0:
        traded = volume > 0
        # Before the first share TA-Lib answers 0.
        average[: traded.argmax() if traded.any() else traded.size] = np.nan
    return average
