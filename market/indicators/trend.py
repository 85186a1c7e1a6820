"""Trend: moving averages, and what is built of them to tell where a price goes and how firmly."""

from __future__ import annotations

import numpy as np
import talib

from market.indicators.columns import Column, Labels, anew, check, in_order, positive, sessions, whole


def sma(close: Column, n: int = 20) -> Column:
    """Simple moving average.

    Formula: mean of the last n
    Source: TA-Lib SMA
    """
    check(close=close)
    return talib.SMA(close, whole("n", n))


def ema(close: Column, n: int = 20) -> Column:
    """Exponential moving average; starts as the SMA of the first n rows.

    Formula: e + (close - e) * 2 / (n + 1)
    Source: TA-Lib EMA
    """
    check(close=close)
    return talib.EMA(close, whole("n", n))


def wma(close: Column, n: int = 20) -> Column:
    """Weighted moving average: the newest row weighs n, the oldest 1.

    Formula: sum(k * close_k) / (n (n + 1) / 2), k = 1..n
    Source: TA-Lib WMA
    """
    check(close=close)
    return talib.WMA(close, whole("n", n))


def rma(close: Column, n: int = 14) -> Column:
    """Wilder's moving average; starts as the SMA of the first n rows.

    Formula: r + (close - r) / n
    Source: Wilder, New Concepts in Technical Trading Systems, 1978, p. 23; TA-Lib RMA
    """
    check(close=close)
    return talib.RMA(close, whole("n", n))


def dema(close: Column, n: int = 20) -> Column:
    """Double exponential moving average.

    Formula: 2 EMA - EMA(EMA)
    Source: Mulloy 1994; TA-Lib DEMA
    """
    check(close=close)
    return talib.DEMA(close, whole("n", n))


def tema(close: Column, n: int = 20) -> Column:
    """Triple exponential moving average.

    Formula: 3 EMA - 3 EMA(EMA) + EMA(EMA(EMA))
    Source: Mulloy 1994; TA-Lib TEMA
    """
    check(close=close)
    return talib.TEMA(close, whole("n", n))


def trima(close: Column, n: int = 20) -> Column:
    """Triangular moving average: the middle rows weigh most.

    Formula: SMA of the SMA, together n rows
    Source: TA-Lib TRIMA
    """
    check(close=close)
    return talib.TRIMA(close, whole("n", n))


def kama(close: Column, n: int = 10) -> Column:
    """Kaufman's adaptive moving average, between an EMA(2) and an EMA(30).

    Formula: k + (close - k) * (e (2/3 - 2/31) + 2/31)^2, e = |change over n| / sum of |changes|
    Source: Kaufman, Smarter Trading, 1995; TA-Lib KAMA
    """
    check(close=close)
    return talib.KAMA(close, whole("n", n))


def hma(close: Column, n: int = 20) -> Column:
    """Hull's moving average.

    Formula: WMA(2 WMA(n / 2) - WMA(n), sqrt(n))
    Source: Hull 2005; TA-Lib HMA
    """
    check(close=close)
    return talib.HMA(close, whole("n", n, 4))


def linreg(close: Column, n: int = 14) -> Column:
    """End of the least-squares line through the last n rows.

    Formula: a + b (n - 1) of close = a + b k, k = 0..n - 1
    Source: TA-Lib LINEARREG
    """
    check(close=close)
    return talib.LINEARREG(close, whole("n", n, 2))


def linreg_slope(close: Column, n: int = 14) -> Column:
    """Slope of the least-squares line through the last n rows, a row.

    Formula: b of close = a + b k, k = 0..n - 1
    Source: TA-Lib LINEARREG_SLOPE
    """
    check(close=close)
    return talib.LINEARREG_SLOPE(close, whole("n", n, 2))


def macd(close: Column, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Column, Column, Column]:
    """Moving average convergence and divergence: (line, signal, histogram), all from row slow + signal - 2.

    Formula: line = EMA(fast) - EMA(slow); signal = EMA(line, signal); histogram = line - signal
    Source: Appel 1979; TA-Lib MACD, both EMAs start at row slow - 1
    """
    check(close=close)
    fast, slow = whole("fast", fast, 2), whole("slow", slow, 2)
    in_order("slow", slow, "fast", fast)
    return talib.MACD(close, fast, slow, whole("signal", signal))


def ppo(close: Column, fast: int = 12, slow: int = 26) -> Column:
    """Percentage price oscillator, of EMAs.

    Formula: 100 (EMA(fast) - EMA(slow)) / EMA(slow)
    Source: TA-Lib PPO
    """
    check(close=close)
    fast, slow = whole("fast", fast, 2), whole("slow", slow, 2)
    in_order("slow", slow, "fast", fast)
    return talib.PPO(close, fast, slow, talib.MA_Type.EMA)  # type: ignore[attr-defined]


def trix(close: Column, n: int = 15) -> Column:
    """Change of the triple EMA in a row, in percent.

    Formula: 100 (t / t_before - 1), t = EMA(EMA(EMA))
    Source: Hutson 1983; TA-Lib TRIX
    """
    check(close=close)
    return talib.TRIX(close, whole("n", n))


def adx(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Average directional index: how firm the trend is, whichever its direction; 0..100, first at row 2 n - 1.

    Formula: Wilder's average of DX
    Source: Wilder 1978, p. 47; TA-Lib ADX
    """
    check(high=high, low=low, close=close)
    return talib.ADX(high, low, close, whole("n", n, 2))


def adxr(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Average of the ADX now and n - 1 rows ago, 0..100.

    Formula: (ADX + ADX n - 1 rows ago) / 2
    Source: Wilder 1978, p. 47; TA-Lib ADXR
    """
    check(high=high, low=low, close=close)
    return talib.ADXR(high, low, close, whole("n", n, 2))


def dx(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Directional index, 0..100.

    Formula: 100 |+DI - -DI| / (+DI + -DI)
    Source: Wilder 1978, p. 46; TA-Lib DX
    """
    check(high=high, low=low, close=close)
    return talib.DX(high, low, close, whole("n", n, 2))


def plus_di(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Upward directional indicator, 0..100.

    Formula: 100 W(+DM) / W(true range); +DM = rise of the high where above the fall of the low, else 0
    Source: Wilder 1978, p. 36; TA-Lib PLUS_DI
    """
    check(high=high, low=low, close=close)
    return talib.PLUS_DI(high, low, close, whole("n", n))


def minus_di(high: Column, low: Column, close: Column, n: int = 14) -> Column:
    """Downward directional indicator, 0..100.

    Formula: 100 W(-DM) / W(true range); -DM = fall of the low where above the rise of the high, else 0
    Source: Wilder 1978, p. 36; TA-Lib MINUS_DI
    """
    check(high=high, low=low, close=close)
    return talib.MINUS_DI(high, low, close, whole("n", n))


def aroon(high: Column, low: Column, n: int = 25) -> tuple[Column, Column]:
    """How lately the highest high and the lowest low of n + 1 rows came: (up, down), 0..100; of equals the newest.

    Formula: 100 (n - rows since the extreme) / n
    Source: Chande 1995; TA-Lib AROON
    """
    check(high=high, low=low)
    down, up = talib.AROON(high, low, whole("n", n, 2))
    return up, down


def vortex(high: Column, low: Column, close: Column, n: int = 14) -> tuple[Column, Column]:
    """Vortex indicator: (plus, minus), about 1.

    Formula: sum |high - low before| / sum TR; sum |low - high before| / sum TR
    Source: Botes and Siepman 2010; TA-Lib VORTEX
    """
    check(high=high, low=low, close=close)
    return talib.VORTEX(high, low, close, whole("n", n, 2))


def sar(high: Column, low: Column, step: float = 0.02, limit: float = 0.2, session: Labels | None = None) -> Column:
    """Parabolic stop and reverse. Never forgets: with `session` it starts anew at each open, whose row is unknown.

    Formula: s + a (extreme - s); a grows by step at each new extreme up to limit; turns where the price crosses it
    Source: Wilder 1978, p. 9; TA-Lib SAR
    """
    check(high=high, low=low)
    step, limit = positive("step", step), positive("limit", limit)
    return anew(lambda above, below: talib.SAR(above, below, step, limit), session, high, low)


def supertrend(
    high: Column, low: Column, close: Column, n: int = 10, factor: float = 3.0, session: Labels | None = None
) -> tuple[Column, Column]:
    """Trailing stop at a distance of the ATR: (line, direction), direction 1 below the price and -1 above it.

    It starts below the price where the close is in the upper half of the row, else above, and never forgets. With
    `session` it starts anew at each open; its ATR starts with the n rows before the open, so that only the first
    session has a warm-up, and n rows and a session are all that it takes.

    Formula: (high + low) / 2 -+ factor ATR(n), only ever nearer to the price until the close crosses it
    Source: Seban 2008; TA-Lib SUPERTREND
    """
    check(high=high, low=low, close=close)
    n, factor = whole("n", n, 2), positive("factor", factor)
    lines, directions = [], []
    for first, end in sessions(close.size, session):
        begin = max(first - n, 0)
        line, direction = _supertrend(high[begin:end], low[begin:end], close[begin:end], n, factor)
        lines.append(line[first - begin :])
        directions.append(direction[first - begin :])
    return (lines[0], directions[0]) if len(lines) == 1 else (np.concatenate(lines), np.concatenate(directions))


def _supertrend(high: Column, low: Column, close: Column, n: int, factor: float) -> tuple[Column, Column]:
    # TA-Lib always starts below the price; above it, it starts below the mirror image of the price.
    falling = n < close.size and close[n] < (high[n] + low[n]) / 2
    line, side = (
        talib.SUPERTREND(-low, -high, -close, n, factor) if falling else talib.SUPERTREND(high, low, close, n, factor)
    )
    direction = side.astype(np.float64)
    direction[:n] = np.nan
    if falling:
        np.negative(line, out=line)
        np.negative(direction, out=direction)
    return line, direction
