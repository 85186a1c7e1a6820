"""The catalogue: every indicator by name, and how a list of them is asked for in text.

`rsi:14,macd:12:26:9,bollinger:20:2` names indicators with their parameters in order, divided by colons; what is left
out takes its default. A column is called after what was asked: `rsi_14`, `macd_12_26_9_signal`, `obv`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np

from market.errors import BadValue
from market.indicators import momentum, price, trend, volatility, volume
from market.indicators.columns import MOST_ROWS, Column, Labels, scanned
from market.records import Record

COLUMNS = ("open", "high", "low", "close", "volume")

Memory = Callable[..., int]
"""Parameters in order -> rows after which the start is forgotten to 1e-12, the present row among them."""


class Parameter(Record):
    """A parameter with what it may be: `least`..`most`, inclusive; where `whole` is False, above 0 instead."""

    name: str
    default: int | float
    whole: bool
    least: float
    most: float


class Indicator(Record):
    """What there is to know of one indicator.

    `inputs`: the columns that it reads. `session`: whether it may start anew at each open. `scale`: the size below
    which a difference counts as absolute, a number or that of the price or volume; `unit` is the output's. `memory`:
    None where the start is never forgotten. A ratio of Wilder's averages (RSI, DI, DX, ADX, the stochastic RSI) forgets
    only while something moves: rows of one and the same price count for nothing. `also`: other names that it is asked
    for by, TA-Lib's among them.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    session: bool
    unit: str
    scale: float | Literal["price", "volume"]
    memory: Memory | None
    also: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The first sentence of its documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def formula(self) -> str:
        """The formula, as its documentation has it."""
        return self._line("Formula: ")

    @property
    def source(self) -> str:
        """Whose definition it is, and by which function it is computed."""
        return self._line("Source: ")

    def _line(self, start: str) -> str:
        lines = (inspect.getdoc(self.function) or "").splitlines()
        return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


class Study(Record):
    """An indicator with its parameters."""

    indicator: Indicator
    values: tuple[int | float, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its outputs, in order.

        >>> studies("bollinger:20:2.5")[0].columns
        ('bollinger_20_2.5_upper', 'bollinger_20_2.5_middle', 'bollinger_20_2.5_lower')
        """
        stem = "_".join([self.indicator.name, *(f"{value:g}" for value in self.values)])
        outputs = self.indicator.outputs
        return (stem,) if len(outputs) == 1 else tuple(f"{stem}_{output}" for output in outputs)

    @property
    def memory(self) -> int | None:
        """Rows after which the start is forgotten to 1e-12; None: never."""
        return None if self.indicator.memory is None else self.indicator.memory(*self.values)

    def compute(self, candles: Mapping[str, Column], session: Labels | None = None) -> dict[str, Column]:
        """Columns of `candles`, each (n,) -> the outputs by name, each (n,). Raises BadValue."""
        given = [candles[name] for name in self.indicator.inputs]
        anew = [session] if self.indicator.session else []
        found = self.indicator.function(*given, *self.values, *anew)
        return dict(zip(self.columns, found if isinstance(found, tuple) else (found,), strict=True))


def computed(
    studies: Sequence[Study], candles: Mapping[str, Column], session: Labels | None = None
) -> dict[str, Column]:
    """The outputs of all studies by name, each (n,), from columns of `candles`, each (n,). Raises BadValue."""
    wanted = {name for study in studies for name in study.indicator.inputs}
    with scanned(**{name: candles[name] for name in COLUMNS if name in wanted}):
        return {name: values for study in studies for name, values in study.compute(candles, session).items()}


def studies(text: str) -> tuple[Study, ...]:
    """The studies that a text names, in its order. Raises BadValue: unknown, badly given or asked for twice.

    >>> [study.columns for study in studies("RSI, sma:50, obv")]
    [('rsi_14',), ('sma_50',), ('obv',)]
    """
    found = tuple(_study(part.strip()) for part in text.split(","))
    columns = [column for study in found for column in study.columns]
    for column in columns:
        if columns.count(column) > 1:
            raise BadValue("set", column, "ask for an indicator once with the same parameters")
    return found


def _study(text: str) -> Study:
    name, *given = (part.strip() for part in text.split(":"))
    indicator = _NAMES.get(name.lower())
    if indicator is None:
        near = get_close_matches(name.lower(), _NAMES, 1)
        hint = f"did you mean {near[0]}? There" if near else "there"
        raise BadValue("set", name, f"{hint} are {', '.join(INDICATORS)}")
    if len(given) > len(indicator.parameters):
        takes = ", ".join(parameter.name for parameter in indicator.parameters) or "no parameters"
        raise BadValue("set", text, f"{indicator.name} takes {takes}")
    defaults = [parameter.default for parameter in indicator.parameters[len(given) :]]
    values = [_number(text, *both) for both in zip(indicator.parameters, given, strict=False)]
    study = Study(indicator=indicator, values=(*values, *defaults))
    try:
        study.compute(dict.fromkeys(COLUMNS, np.ones(1)))
    except BadValue as e:
        raise BadValue("set", text, f"{e.name} is {e.value}: {e.allowed}") from e
    return study


def _number(text: str, parameter: Parameter, given: str) -> int | float:
    try:
        value = int(given) if parameter.whole else float(given)
    except ValueError as e:
        kind = "a whole number" if parameter.whole else "a number"
        raise BadValue("set", text, f"{parameter.name} is {given!r}: give {kind}") from e
    if not parameter.least <= value <= parameter.most:
        raise BadValue("set", text, f"{parameter.name} is {given}: give {parameter.least:g} to {parameter.most:,.0f}")
    return value


def _indicator(
    function: Callable[..., Any],
    unit: str,
    scale: float | Literal["price", "volume"],
    memory: Memory | None,
    outputs: str = "",
    least: int | tuple[int, ...] = 1,
    also: str = "",
) -> Indicator:
    """`least`: of the whole parameters, in order, or of all of them. The rest stands in the signature."""
    signature = inspect.signature(function).parameters.values()
    numbers = [p for p in signature if p.name not in COLUMNS and p.name != "session"]
    lows = iter((least,) * len(numbers) if isinstance(least, int) else least)
    return Indicator(
        name=function.__name__,
        function=function,
        inputs=tuple(p.name for p in signature if p.name in COLUMNS),
        outputs=tuple(outputs.split()) or (function.__name__,),
        parameters=tuple(_parameter(p, lows) for p in numbers),
        session=any(p.name == "session" for p in signature),
        unit=unit,
        scale=scale,
        memory=memory,
        also=tuple(also.split()),
    )


def _parameter(given: inspect.Parameter, lows: Any) -> Parameter:
    is_whole = isinstance(given.default, int)
    least, most = (next(lows), MOST_ROWS) if is_whole else (0, 1e6)
    return Parameter(name=given.name, default=given.default, whole=is_whole, least=least, most=most)


_KAMA_SLOWEST = 6640
"""Rows of an EMA that moves by (2 / 31)^2 a row, until 1e-12 of its start is left."""

_BANDS = "upper middle lower"

_ALL = (
    _indicator(trend.sma, "price", "price", lambda n: n, also="ma"),
    _indicator(trend.ema, "price", "price", lambda n: 14 * n),
    _indicator(trend.wma, "price", "price", lambda n: n),
    _indicator(trend.rma, "price", "price", lambda n: 28 * n, also="wilder wilders smma"),
    _indicator(trend.dema, "price", "price", lambda n: 28 * n),
    _indicator(trend.tema, "price", "price", lambda n: 42 * n),
    _indicator(trend.trima, "price", "price", lambda n: n),
    _indicator(trend.kama, "price", "price", lambda n: n + _KAMA_SLOWEST),
    _indicator(trend.hma, "price", "price", lambda n: 2 * n, least=4, also="hull"),
    _indicator(trend.linreg, "price", "price", lambda n: n, least=2, also="linearreg"),
    _indicator(trend.linreg_slope, "price a row", "price", lambda n: n, least=2, also="linearreg_slope"),
    _indicator(
        trend.macd,
        "price",
        "price",
        lambda fast, slow, signal: 14 * (slow + signal),
        "line signal histogram",
        (2, 2, 1),
    ),
    _indicator(trend.ppo, "percent", 1.0, lambda fast, slow: 14 * slow, least=2),
    _indicator(trend.trix, "percent", 1.0, lambda n: 42 * n + 1),
    _indicator(trend.adx, "0..100", 100.0, lambda n: 56 * n, least=2),
    _indicator(trend.adxr, "0..100", 100.0, lambda n: 57 * n, least=2),
    _indicator(trend.dx, "0..100", 100.0, lambda n: 28 * n + 1, least=2),
    _indicator(trend.plus_di, "0..100", 100.0, lambda n: 28 * n + 1, also="pdi +di"),
    _indicator(trend.minus_di, "0..100", 100.0, lambda n: 28 * n + 1, also="mdi -di"),
    _indicator(trend.aroon, "0..100", 100.0, lambda n: n + 1, "up down", least=2),
    _indicator(trend.vortex, "ratio", 1.0, lambda n: n + 1, "plus minus", least=2),
    _indicator(trend.sar, "price", "price", None, also="psar"),
    _indicator(trend.supertrend, "price; 1 or -1", "price", None, "line direction", least=2),
    _indicator(momentum.rsi, "0..100", 100.0, lambda n: 28 * n + 1, least=2),
    _indicator(momentum.stochastic, "0..100", 100.0, lambda k, slow, d: k + slow + d, "k d", also="stoch"),
    _indicator(
        momentum.stochastic_rsi, "0..100", 100.0, lambda n, k, d: 28 * n + k + d, "k d", (2, 1, 1), also="stochrsi"
    ),
    _indicator(momentum.cci, "number", 100.0, lambda n: n, least=2),
    _indicator(momentum.williams_r, "-100..0", 100.0, lambda n: n, least=2, also="willr williams"),
    _indicator(momentum.roc, "percent", 1.0, lambda n: n + 1),
    _indicator(momentum.momentum, "price", "price", lambda n: n + 1, also="mom"),
    _indicator(momentum.cmo, "-100..100", 100.0, lambda n: n + 1, least=2),
    _indicator(momentum.ultimate, "0..100", 100.0, lambda short, middle, long: long + 1, also="ultosc"),
    _indicator(momentum.balance_of_power, "-1..1", 1.0, lambda: 1, also="bop"),
    _indicator(momentum.awesome, "price", "price", lambda fast, slow: slow, least=2, also="ao"),
    _indicator(volatility.true_range, "price", "price", lambda: 2, also="trange tr"),
    _indicator(volatility.atr, "price", "price", lambda n: 28 * n + 1),
    _indicator(volatility.natr, "percent", 1.0, lambda n: 28 * n + 1),
    _indicator(volatility.stddev, "price", "price", lambda n: n, least=2, also="stdev std"),
    _indicator(volatility.variance, "price squared", "price", lambda n: n, least=2, also="var"),
    _indicator(volatility.bollinger, "price", "price", lambda n, width: n, _BANDS, least=2, also="bbands bb"),
    _indicator(
        volatility.keltner, "price", "price", lambda n, width, rows: max(14 * n, 28 * rows + 1), _BANDS, also="kc"
    ),
    _indicator(volatility.donchian, "price", "price", lambda n: n, _BANDS, least=2),
    _indicator(volatility.ulcer, "percent", 1.0, lambda n: 2 * n, least=2),
    _indicator(volume.obv, "shares", "volume", None),
    _indicator(volume.vwap, "price", "price", None),
    _indicator(volume.ad, "shares", "volume", None, also="adl"),
    _indicator(volume.adosc, "shares", "volume", lambda fast, slow: 14 * slow, least=2),
    _indicator(volume.cmf, "-1..1", 1.0, lambda n: n, least=2),
    _indicator(volume.mfi, "0..100", 100.0, lambda n: n + 1, least=2),
    _indicator(volume.vwma, "price", "price", lambda n: n),
    _indicator(volume.volume_ratio, "ratio", 1.0, lambda n: n, also="rvol"),
    _indicator(volume.pvo, "percent", 1.0, lambda fast, slow: 14 * slow, least=2),
    _indicator(price.average_price, "price", "price", lambda: 1, also="avgprice"),
    _indicator(price.median_price, "price", "price", lambda: 1, also="medprice hl2"),
    _indicator(price.typical_price, "price", "price", lambda: 1, also="typprice hlc3"),
    _indicator(price.weighted_close, "price", "price", lambda: 1, also="wclprice"),
)

INDICATORS: Mapping[str, Indicator] = {indicator.name: indicator for indicator in _ALL}

_NAMES = {name: indicator for indicator in _ALL for name in (indicator.name, *indicator.also)}
