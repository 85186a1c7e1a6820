"""Technical features: the same functions on 1 m, 5 m, 15 m and 1 d candles.

A function takes `Bars`, series side by side as (k, rows), and answers one (k, rows) array a feature, NaN while it warms
up; row t depends on rows 0..t, and on no more than the group's memory of them. Smoothing is TA-Lib's; moving windows
are those of `market.features.moving`, which leave no trace of what was before.

Every value is free of the price's scale. So it must not hang on whether two sums that are equal on paper are equal in
floating point: what differs by less than TIE of the price is equal. And a ratio of two averages that both die away says
nothing: it is unknown once nothing has moved for `STANDSTILL` times its period.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import talib

from market.features.feature import Feature
from market.features.moving import (
    Filter,
    Flags,
    Floats,
    before,
    change,
    highest,
    lowest,
    mean,
    ratio,
    smoothed,
    smoothed_last,
    spread,
    total,
    within,
)

TIE = 1e-9
"""Of the price."""

STANDSTILL = 10
"""Times the period of a Wilder average."""

FORGETS = 28
"""exp(-28) is 7e-13: a Wilder average of n forgets in 28 n rows, an EMA, whose weight is 2 / (n + 1), in 14 n."""

EMA_MEMORY = 14
WILDER_MEMORY = FORGETS + STANDSTILL + 2
"""Times the period, for a ratio of two Wilder averages of which the newest move is up to STANDSTILL periods old."""

ADX_MEMORY = WILDER_MEMORY + 4
"""Wilder's average of such ratios: the two forgettings run side by side, which costs 4 periods more."""


Smooth = Callable[[Floats, Filter], Floats]
"""How a filter goes over series: all columns, or the newest alone."""


class Bars(NamedTuple):
    """Candles side by side: (k, rows) each, prices in one unit, NaN before an instrument's first row."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    def last(self, rows: int) -> Bars:
        """The newest columns, at most so many."""
        return Bars(*(column[:, -rows:] for column in self)) if self.close.shape[1] > rows else self


Make = Callable[[Bars, Smooth], tuple[Floats, ...]]


@dataclass(frozen=True, slots=True)
class Group:
    """Features that one function makes together, over `memory` rows."""

    of: Make
    memory: int
    features: tuple[Feature, ...]


@cache
def ema(n: int) -> Filter:
    """TA-Lib's exponential average of n: weight 2 / (n + 1), begun with the mean of the first n."""
    return lambda x: np.asarray(talib.EMA(x, n))


@cache
def rma(n: int) -> Filter:
    """TA-Lib's RMA, Wilder's average of n: weight 1 / n, begun with the mean of the first n."""
    return lambda x: np.asarray(talib.RMA(x, n))


def macd_line(x: Floats) -> Floats:
    """EMA(12) - EMA(26) of a series."""
    return np.asarray(talib.EMA(x, 12) - talib.EMA(x, 26))


def macd_histogram(x: Floats) -> Floats:
    """MACD's line less its EMA(9)."""
    line = macd_line(x)
    return np.asarray(line - talib.EMA(line, 9))


def averages(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The close over its simple average of 20, less 1: above 0 the price is above the average."""
    return (ratio(bars.close, mean(bars.close, 20)) - 1,)


def ema_20(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The close over its exponential average of 20, less 1. Source: TA-Lib EMA."""
    return (_ratio(bars.close, smooth(bars.close, ema(20))) - 1,)


def ema_50(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The close over its exponential average of 50, less 1. Source: TA-Lib EMA."""
    return (_ratio(bars.close, smooth(bars.close, ema(50))) - 1,)


def sma_200(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The close over its simple average of 200, less 1; and where it lies in the range of 250 candles, 0..1."""
    high, low = highest(bars.high, 250), lowest(bars.low, 250)
    return ratio(bars.close, mean(bars.close, 200)) - 1, ratio(bars.close - low, high - low)


def macd(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """MACD 12, 26, 9 over the price: the line and the histogram.

    The line is EMA(12) - EMA(26), its signal the EMA(9) of the line, the histogram their difference; all over the
    close. Source: Appel; TA-Lib EMA.
    """
    newest = smooth(bars.close, macd_line), smooth(bars.close, macd_histogram)
    return _ratio(newest[0], bars.close), _ratio(newest[1], bars.close)


def rsi(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Wilder's relative strength index of 14, as 0..1: W(rises) / W(|changes|), W being his average.

    Source: Wilder 1978; TA-Lib RSI.
    """
    change = bars.close - before(bars.close, 1)
    size = np.abs(change)
    up = smooth((size + change) / 2, rma(14))
    return (_while_moving(ratio(up, smooth(size, rma(14))), size > TIE * bars.close, 14),)


def bollinger(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Bollinger bands of 20 and 2 deviations: where the close lies between them, and how far apart they are.

    position = (close - lower) / (upper - lower), width = (upper - lower) / middle; the deviation is that of the
    population. The position is unknown where nothing moved. Source: Bollinger; TA-Lib BBANDS.
    """
    middle, deviation = spread(bars.close, 20)
    band = 4 * deviation
    return ratio(bars.close - middle, band) + 0.5, band / middle


def directional(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Wilder's average true range over the price, +DI, -DI and ADX of 14, the latter three as 0..1.

    With rise = high - high before and fall = low before - low: +DM = rise where it is above fall and 0, -DM = fall
    where it is above rise and 0; DI = W(DM) / W(TR), DX = |+DI - -DI| / (+DI + -DI), ADX = W(DX), W being Wilder's
    average. ADX is unknown up to 28 x 14 rows behind a standstill. Source: Wilder 1978; TA-Lib ATR, PLUS_DI, ADX.
    """
    n, tie = 14, TIE * bars.close
    close = before(bars.close, 1)
    rise, fall = bars.high - before(bars.high, 1), before(bars.low, 1) - bars.low
    reach = np.maximum(bars.high, close) - np.minimum(bars.low, close)
    rising, falling = (rise > tie) & (rise - fall > tie), (fall > tie) & (fall - rise > tie)
    plus, minus = smoothed(rise * rising, rma(n)), smoothed(fall * falling, rma(n))
    both = plus + minus
    index = np.divide(np.abs(plus - minus), both, out=np.zeros(both.shape), where=both > 0)
    index[np.isnan(both)] = np.nan
    true, trend = smooth(reach, rma(n)), smooth(index, rma(n))
    lost = ~within(rising | falling | np.isnan(rise), STANDSTILL * n)
    moved = reach > tie
    return (
        _ratio(true, bars.close),
        _while_moving(_ratio(plus, true), moved, n),
        _while_moving(_ratio(minus, true), moved, n),
        _where(~within(lost, FORGETS * n), trend),
    )


def stochastic(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Slow stochastic of 14, 3, 3 as 0..1: K, and D, the mean of three K.

    fast = (close - lowest low) / (highest high - lowest low) over 14, K the mean of three of these; unknown where the
    range is none. Source: Lane; TA-Lib STOCH.
    """
    high, low = highest(bars.high, 14), lowest(bars.low, 14)
    slow = mean(ratio(bars.close - low, high - low), 3)
    return slow, mean(slow, 3)


def cci(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Commodity channel index of 20: (p - mean p) / (0.015 mean |p - mean p|), p = (high + low + close) / 3.

    Unknown where p did not move. Made of differences from p, as a mean of prices has more rounding than a quiet window
    has movement. Source: Lambert; TA-Lib CCI.
    """
    n, price = 20, (bars.high + bars.low + bars.close) / 3
    behind = [before(price, k) - price for k in range(n)]
    middle = sum(behind, np.zeros(price.shape)) / n
    reach = sum((np.abs(line - middle) for line in behind), np.zeros(price.shape)) / n
    return (ratio(-middle, np.where(reach > TIE * bars.close, 0.015 * reach, np.nan)),)


def mfi(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Money flow index of 14 as 0..1: the flow p volume of rows in which p rose over that of all in which it moved.

    p = (high + low + close) / 3; unknown where no money flowed. Source: Quong and Soudack; TA-Lib MFI.
    """
    price = (bars.high + bars.low + bars.close) / 3
    moved, flow = price - before(price, 1), price * bars.volume
    flow[np.isnan(moved)] = np.nan
    up, down = np.where(moved > TIE * price, flow, 0 * flow), np.where(moved < -TIE * price, flow, 0 * flow)
    rising = total(up, 14)
    return (ratio(rising, rising + total(down, 14)),)


def volumes(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The volume over its mean of 20 candles, itself among them; unknown where nothing was traded."""
    return (ratio(bars.volume, mean(bars.volume, 20)),)


def returns(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Close over the close before, less 1; the same over 10 candles (the rate of change, ROC); and the standard
    deviation of the last 20 single returns.

    Source: TA-Lib ROC.
    """
    single = change(bars.close, 1)
    return single, change(bars.close, 10), spread(single, 20)[1]


def minute_returns(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Returns over 5, 15 and 60 minutes with a candle, and the deviation of 60 single ones."""
    close = bars.close
    return change(close, 5), change(close, 15), change(close, 60), spread(change(close, 1), 60)[1]


def minute_volumes(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """The volume of 5 minutes over that of 60, each a minute; unknown where nothing was traded."""
    return (ratio(mean(bars.volume, 5), mean(bars.volume, 60)),)


def day_returns(bars: Bars, smooth: Smooth) -> tuple[Floats, ...]:
    """Returns over 5, 20 and 60 sessions."""
    return change(bars.close, 5), change(bars.close, 20), change(bars.close, 60)


def values(bars: Bars, timeframe: str, *, newest: bool = False) -> Floats:
    """The technical features of a timeframe: (features, k, rows), or (features, k, 1) of the newest rows alone."""
    columns: list[Floats] = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for group in GROUPS[timeframe]:
            columns += group.of(bars.last(group.memory), smoothed_last) if newest else group.of(bars, smoothed)
    return np.stack([column[:, -1:] for column in columns] if newest else columns)


def features(timeframe: str) -> tuple[Feature, ...]:
    """What `values` answers, in its order."""
    return tuple(feature for group in GROUPS[timeframe] for feature in group.features)


def memory(timeframe: str) -> int:
    """Rows of a timeframe that hold all that its features remember."""
    return max(group.memory for group in GROUPS[timeframe])


def _aligned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Both cut to the newest columns that both have: a smoothed series may be its newest column alone."""
    rows = min(x.shape[1], y.shape[1])
    return x[:, -rows:], y[:, -rows:]


def _ratio(x: Floats, y: Floats) -> Floats:
    return ratio(*_aligned(x, y))


def _where(flags: Flags, value: Floats) -> Floats:
    rows = value.shape[1]
    return np.where(flags[:, -rows:], value, np.nan)


def _while_moving(value: Floats, moved: Flags, n: int) -> Floats:
    return _where(within(moved, STANDSTILL * n), value)


Line = tuple[str, str, float, str]
"""A feature's stem, unit, scale and formula."""

_ALL: tuple[tuple[Make, int, str, tuple[Line, ...]], ...] = (
    (averages, 20, "TA-Lib SMA", (("sma_gap_20", "ratio", 0.01, "close / mean(close, 20) - 1"),)),
    (ema_20, EMA_MEMORY * 20, "TA-Lib EMA", (("ema_gap_20", "ratio", 0.01, "close / EMA(close, 20) - 1"),)),
    (
        macd,
        EMA_MEMORY * (26 + 9),
        "Appel; TA-Lib EMA",
        (
            ("macd_line_12_26", "ratio", 0.01, "(EMA(close, 12) - EMA(close, 26)) / close"),
            ("macd_histogram_12_26_9", "ratio", 0.01, "(line - EMA(line, 9)) / close"),
        ),
    ),
    (rsi, WILDER_MEMORY * 14, "Wilder 1978; TA-Lib RSI", (("rsi_14", "0..1", 1.0, "W(rises) / W(|changes|)"),)),
    (
        bollinger,
        20,
        "Bollinger; TA-Lib BBANDS",
        (
            ("bollinger_position_20", "0..1 between the bands", 1.0, "(close - lower) / (upper - lower), 2 deviations"),
            ("bollinger_width_20", "ratio", 0.01, "(upper - lower) / middle"),
        ),
    ),
    (
        directional,
        ADX_MEMORY * 14,
        "Wilder 1978; TA-Lib RMA, as ATR, PLUS_DI, MINUS_DI, ADX",
        (
            ("atr_14", "ratio", 0.01, "W(true range) / close"),
            ("plus_di_14", "0..1", 1.0, "W(+DM) / W(true range)"),
            ("minus_di_14", "0..1", 1.0, "W(-DM) / W(true range)"),
            ("adx_14", "0..1", 1.0, "W(|+DI - -DI| / (+DI + -DI))"),
        ),
    ),
    (
        stochastic,
        18,
        "Lane; TA-Lib STOCH",
        (
            ("stochastic_k_14", "0..1", 1.0, "mean of 3 of (close - lowest) / (highest - lowest)"),
            ("stochastic_d_14", "0..1", 1.0, "mean of 3 of K"),
        ),
    ),
    (cci, 20, "Lambert; TA-Lib CCI", (("cci_20", "index", 100.0, "(p - mean p) / (0.015 mean |p - mean p|)"),)),
    (mfi, 15, "Quong and Soudack; TA-Lib MFI", (("mfi_14", "0..1", 1.0, "rising flow / flow, flow = p volume"),)),
    (volumes, 20, "own", (("volume_ratio_20", "ratio", 1.0, "volume / mean(volume, 20)"),)),
    (
        returns,
        21,
        "TA-Lib ROC",
        (
            ("return_1", "ratio", 0.01, "close / close 1 ago - 1"),
            ("roc_10", "ratio", 0.01, "close / close 10 ago - 1"),
            ("volatility_20", "ratio", 0.01, "deviation of the last 20 returns of 1"),
        ),
    ),
)

_MINUTES: tuple[tuple[Make, int, str, tuple[Line, ...]], ...] = (
    (ema_50, EMA_MEMORY * 50, "TA-Lib EMA", (("ema_gap_50", "ratio", 0.01, "close / EMA(close, 50) - 1"),)),
    (
        minute_returns,
        61,
        "own",
        (
            ("return_5", "ratio", 0.01, "close / close 5 ago - 1"),
            ("return_15", "ratio", 0.01, "close / close 15 ago - 1"),
            ("return_60", "ratio", 0.01, "close / close 60 ago - 1"),
            ("volatility_60", "ratio", 0.01, "deviation of the last 60 returns of 1"),
        ),
    ),
    (minute_volumes, 60, "own", (("volume_ratio_5_60", "ratio", 1.0, "mean(volume, 5) / mean(volume, 60)"),)),
)

_DAYS: tuple[tuple[Make, int, str, tuple[Line, ...]], ...] = (
    (ema_50, EMA_MEMORY * 50, "TA-Lib EMA", (("ema_gap_50", "ratio", 0.1, "close / EMA(close, 50) - 1"),)),
    (
        sma_200,
        250,
        "TA-Lib SMA",
        (
            ("sma_gap_200", "ratio", 0.1, "close / mean(close, 200) - 1"),
            ("range_position_250", "0..1", 1.0, "(close - lowest) / (highest - lowest)"),
        ),
    ),
    (
        day_returns,
        61,
        "own",
        (
            ("return_5", "ratio", 0.05, "close / close 5 ago - 1"),
            ("return_20", "ratio", 0.05, "close / close 20 ago - 1"),
            ("return_60", "ratio", 0.05, "close / close 60 ago - 1"),
        ),
    ),
)


def _groups(timeframe: str) -> tuple[Group, ...]:
    more = {"1m": _MINUTES, "1d": _DAYS}.get(timeframe, ())
    return tuple(
        Group(
            of,
            rows,
            tuple(
                Feature(
                    name=f"{stem}_{timeframe}",
                    unit=unit,
                    memory=rows,
                    scale=scale,
                    timeframe=timeframe,
                    formula=formula,
                    source=source,
                )
                for stem, unit, scale, formula in lines
            ),
        )
        for of, rows, source, lines in (*_ALL, *more)
    )


GROUPS: dict[str, tuple[Group, ...]] = {name: _groups(name) for name in ("1m", "5m", "15m", "1d")}
"""By timeframe."""
