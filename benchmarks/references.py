"""References: our indicators against values that others computed, sheet by sheet: cases, and how many of them pass.

A case is one output of one call over a whole reference column; of TA-Lib's own suite, one expected point. It passes
if every row agrees from `first` on, the row from which the two conventions are the same: TA-Lib seeds MACD, ADX and
SAR otherwise than the sheets, and what it seeds is forgotten some rows later. What we do not offer, and what no row of
a short example can agree with, is left out with the reason.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.report import Report
from market import indicators as ours
from market.errors import BadValue
from market.indicators import Column

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "fixtures" / "indicators"

NEAR = 1e-6
"""Of the larger of 1 and the value: what a sheet computed in double precision may differ by."""

NOT_OFFERED = "not offered"
SEEDED = "starts otherwise and is too short to converge"
DERIVED = "a step on the way, or follows from another column"


class Case(NamedTuple):
    """One column of ours against one of theirs, both (n,); rows before `first` and unknown ones of theirs do not count.

    `tolerance` is absolute, 0: `NEAR`.
    """

    name: str
    ours: Column
    theirs: Column
    first: int = 0
    tolerance: float = 0.0

    @property
    def rows(self) -> int:
        """How many are compared."""
        return int(np.isfinite(self.theirs[self.first :]).sum())

    @property
    def passed(self) -> bool:
        """Whether all of them agree."""
        known = np.isfinite(self.theirs)
        known[: self.first] = False
        theirs, mine = self.theirs[known], self.ours[known]
        allowed = self.tolerance or NEAR * np.maximum(1.0, np.abs(theirs))
        return bool(theirs.size and np.all(np.abs(mine - theirs) <= allowed))


class LeftOut(NamedTuple):
    """A reference that is not compared, and why."""

    name: str
    why: str


Found = Iterator[Case | LeftOut]
Columns = Mapping[str, Column]


def run(out: Report) -> None:
    """The table."""
    if not SHARED.is_dir():
        out.say("no folder shared/ beside the repository")
        return
    for source, read in SOURCES.items():
        cases, left = split(read(SHARED))
        failed = [case.name for case in cases if not case.passed]
        why = "; ".join(f"{count} {reason}" for reason, count in Counter(one.why for one in left).most_common())
        out.row(source=source, cases=len(cases), passed=len(cases) - len(failed), left_out=f"{len(left)}: {why}")
        if failed:
            out.say(f"{source} differs in {', '.join(failed)}")


def split(found: Found) -> tuple[list[Case], list[LeftOut]]:
    """What is compared, and what is left out."""
    everything = list(found)
    return [one for one in everything if isinstance(one, Case)], [one for one in everything if isinstance(one, LeftOut)]


# TA-Lib's regression suite


def talib_points(root: Path) -> Found:
    """One case a point; the suite's own tolerance is 0.01."""
    inputs = {
        "daily_252": _columns(root / "talib_regtest" / "input_daily_252.csv"),
        "wilder_sar": _columns(root / "talib_regtest" / "input_wilder_sar_38.csv"),
    }
    for row in _rows(root / "talib_regtest" / "expected.csv"):
        name = f"{row['function']} {row['params']} at {row['abs_index']}"
        if row["unstable_function"] and int(row["unstable_period"]):
            yield LeftOut(name, "sets an unstable period")
            continue
        given = {key: column[: int(row["end_idx"]) + 1] for key, column in inputs[row["input"]].items()}
        try:
            found = _by_talib(row["function"], json.loads(row["params"]), given, row["price"])
        except BadValue as e:
            yield LeftOut(name, f"we refuse {e.name} {e.value}")
            continue
        if found is None:
            yield LeftOut(name, NOT_OFFERED)
            continue
        theirs = np.full(found[0].size, np.nan)
        theirs[int(row["abs_index"])] = float(row["value"])
        yield Case(name, found[int(row["output"])], theirs, tolerance=0.01)


def _by_talib(name: str, params: dict[str, float], given: Columns, price: str) -> tuple[Column, ...] | None:
    one = given["open"] if price == "open" else given.get("close", given["high"])
    if price == "median_price":
        one = ours.median_price(given["high"], given["low"])
    n = params.get("timeperiod", 0)
    averages = {value for key, value in params.items() if key.endswith("matype")}
    if name in _OF_ONE:
        return (_OF_ONE[name](one, n),)
    if name in _OF_THREE:
        return (_OF_THREE[name](given["high"], given["low"], given["close"], n),)
    if name in {"MAX", "MIN", "MINMAX"}:
        upper, _, lower = ours.donchian(one, one, n)
        return {"MAX": (upper,), "MIN": (lower,), "MINMAX": (lower, upper)}[name]
    if name == "MACD":
        return ours.macd(one, params["fastperiod"], params["slowperiod"], params["signalperiod"])
    if name == "BBANDS" and averages <= {0} and params["nbdevup"] == params["nbdevdn"]:
        return ours.bollinger(one, n, params["nbdevup"])
    if name == "STDDEV" and params["nbdev"] == 1.0:
        return (ours.stddev(one, n),)
    if name == "STOCH" and averages <= {0}:
        periods = (params["fastk_period"], params["slowk_period"], params["slowd_period"])
        return ours.stochastic(given["high"], given["low"], given["close"], *periods)
    if name == "PPO" and averages == {1}:
        return (ours.ppo(one, params["fastperiod"], params["slowperiod"]),)
    if name == "AROON":
        return ours.aroon(given["high"], given["low"], n)[::-1]
    if name == "SAR":
        return (ours.sar(given["high"], given["low"], params["acceleration"], params["maximum"]),)
    whole = {"TRANGE": ours.true_range, "AVGPRICE": ours.average_price, "AD": ours.ad}
    inputs = {"TRANGE": "high low close", "AVGPRICE": "open high low close", "AD": "high low close volume"}
    return (whole[name](*(given[key] for key in inputs[name].split())),) if name in whole else None


_OF_ONE: dict[str, Callable[..., Column]] = {
    "RSI": ours.rsi, "SMA": ours.sma, "EMA": ours.ema, "WMA": ours.wma, "MOM": ours.momentum, "ROC": ours.roc,
    "ROCR": lambda close, n: 1.0 + ours.roc(close, n) / 100.0, "ROCR100": lambda close, n: 100.0 + ours.roc(close, n),
}  # fmt: skip
_OF_THREE: dict[str, Callable[..., Column]] = {
    "ATR": ours.atr, "ADX": ours.adx, "PLUS_DI": ours.plus_di, "MINUS_DI": ours.minus_di, "CCI": ours.cci,
    "WILLR": ours.williams_r,
}  # fmt: skip


# The sheets of Stock.Indicators: by hand, and the library's own results


class _Share(NamedTuple):
    """The candles that a sheet is about."""

    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column

    @property
    def hlc(self) -> tuple[Column, Column, Column]:
        return self.high, self.low, self.close

    @property
    def hlcv(self) -> tuple[Column, Column, Column, Column]:
        return self.high, self.low, self.close, self.volume


def sheets(root: Path) -> Found:
    """The sheets calculated by hand, one case a result column; each holds its own candles or those of `default`."""
    folder = root / "stock_indicators"
    share = _share(folder / "quotes" / "default.csv.gz")
    for path in sorted((folder / "hand_calc").glob("*.gz")):
        name, given = path.name.partition(".")[0], _columns(path)
        offered = _of_sheet(name, share, given)
        if not offered:
            yield LeftOut(name, NOT_OFFERED)
        for column, (mine, first) in offered.items():
            yield Case(f"{name} {column}", mine, given[column], first)


def _of_sheet(name: str, share: _Share, given: Columns) -> dict[str, tuple[Column, int]]:
    """The columns of a sheet that we offer, with the row from which the conventions are one."""
    known = set(given)
    if known.issuperset({"open", "high", "low", "close"}):
        volume = given.get("volume", share.volume)
        share = _Share(given["open"], given["high"], given["low"], given["close"], volume)
    match name.partition("__")[0]:
        case "Roc":
            return {"mom": (ours.momentum(share.close, 20), 0), "roc": (ours.roc(share.close, 20), 0)}
        case "Sma" if "SMA(O)" in known:
            return {"SMA": (ours.sma(share.close, 20), 0), "SMA(O)": (ours.sma(share.open, 20), 0)}
        case "Sma":
            return {"sma": (ours.sma(share.volume, 20), 0)}
        case "StdDev":
            return {"stddev": (ours.stddev(share.close, 10), 0), "mean": (ours.sma(share.close, 10), 0)}
        case "Ema":
            return {"ema": (ours.ema(share.close, 20), 0), "ema(O)": (ours.ema(share.open, 20), 0)}
        case "Wma":
            return {"wma": (ours.wma(share.close, 20), 0)}
        case "SuperTrend":
            rows = 10 if "10" in name.split("_") else 14
            line, direction = ours.supertrend(*share.hlc, rows, 3.0)
            return {
                "ATR": (ours.atr(*share.hlc, rows), 0),
                "UpperST": (np.where(direction < 0, line, np.nan), 0),
                "LowerST": (np.where(direction > 0, line, np.nan), 0),
                "SuperTrend": (line, 0),
            }
        case "Stoch" if "SMMA" in name:
            return {}
        case "Vwap":
            began = np.isfinite(given["VWAP"])
            return {"VWAP": (ours.vwap(*share.hlcv, began), 0)}
        case "Mfi":
            return {"mf": (ours.mfi(*share.hlcv), 0)}
        case "Obv":
            return {"obv": (ours.obv(share.close, share.volume) - share.volume[0], 0)}
    told = {
        "Adl": {"adl": "adl"},
        "Adx": {"+DI14": "pdi", "-DI14": "mdi", "DX": "dx", "ADX": "adx"},
        "Aroon": {"up": "aroonUp", "down": "aroonDown"},
        "Atr": {"TR": "tr", "ATR": "atr", "ATR%": "atrp"},
        "BollingerBands": {"sma": "sma", "upper": "upperBand", "lower": "lowerBand"},
        "Cmf": {"cmf": "cmf"},
        "Donchian": {"Center": "centerline", "Upper": "upperBand", "Lower": "lowerBand"},
        "Ichimoku": {"tenkan": "tenkanSen", "kijun": "kijunSen"},
        "Macd": {"MACD": "macd", "Signal": "signal", "Histo": "histogram"},
        "Pvo": {"PVO": "pvo"},
        "Rsi": {"RSI(14)": "rsi"},
        "Stoch": {"%K": "k", "%D": "d"},
        "Tr": {"TR": "tr"},
        "WilliamsR": {"%R": "williamsR"},
    }
    key = name.partition("__")[0]
    table = {"Adl": "adl", "Tr": "tr", "BollingerBands": "bb", "WilliamsR": "willr"}.get(key, key.lower())
    results = _of_table(table, share)
    return {column: results[theirs] for column, theirs in told.get(key, {}).items()}


def baseline(root: Path) -> Found:
    """The library's own results over `default`, one case a column of its index."""
    folder = root / "stock_indicators"
    share = _share(folder / "quotes" / "default.csv.gz")
    for row in _rows(folder / "baseline_index.csv"):
        name = f"{row['call']} {row['column']}"
        offered = _of_table(row["indicator"], share)
        if row["column"] in offered:
            mine, first = offered[row["column"]]
            theirs = _columns(folder / "baseline" / f"{row['indicator']}.csv.gz")[row["column"]]
            yield Case(name, mine, theirs, first)
        else:
            yield LeftOut(name, _WHY.get(name) or (DERIVED if offered else NOT_OFFERED))


_WHY = {
    "Bars.ToAdx(14) adxr": "takes the ADX of n rows ago, TA-Lib of n - 1",
    "Bars.ToIchimoku(9, 26, 52) senkouSpanA": NOT_OFFERED,
    "Bars.ToIchimoku(9, 26, 52) senkouSpanB": NOT_OFFERED,
    "Bars.ToIchimoku(9, 26, 52) chikouSpan": "looks ahead",
}


def _of_table(name: str, share: _Share) -> dict[str, tuple[Column, int]]:
    """The columns of a result table that we offer; the rows are `talib_agreement.csv`'s, or found as it found them."""
    close, volume, hlc, hlcv = share.close, share.volume, share.hlc, share.hlcv
    match name:
        case "adx":
            fine = {"pdi": (ours.plus_di(*hlc), 151), "mdi": (ours.minus_di(*hlc), 136), "dx": (ours.dx(*hlc), 184)}
            return fine | {"adx": (ours.adx(*hlc), 195)}
        case "aroon":
            up, down = ours.aroon(share.high, share.low)
            return {"aroonUp": (up, 194), "aroonDown": (down, 233), "oscillator": (up - down, 233)}
        case "atr":
            fine = {"tr": (ours.true_range(*hlc), 0), "atr": (ours.atr(*hlc), 0)}
            return fine | {"atrp": (ours.natr(*hlc), 0)}
        case "bb":
            return _named("upperBand sma lowerBand", ours.bollinger(close))
        case "donchian":
            bands = ours.donchian(share.high, share.low)
            return _named("upperBand centerline lowerBand", [np.r_[np.nan, band[:-1]] for band in bands])
        case "ichimoku":
            found = [ours.donchian(share.high, share.low, n)[1] for n in (9, 26)]
            return _named("tenkanSen kijunSen", found)
        case "keltner":
            return _named("upperBand centerline lowerBand", ours.keltner(*hlc))
        case "macd":
            line, signal, histogram = ours.macd(close)
            return {"macd": (line, 97), "signal": (signal, 105), "histogram": (histogram, 103)}
        case "stoch":
            k, d = ours.stochastic(*hlc)
            # TA-Lib's %K starts with its %D.
            return {"k": (k, 17), "oscillator": (k, 17), "d": (d, 0), "signal": (d, 0)}
        case "supertrend":
            line, direction = ours.supertrend(*hlc)
            upper, lower = np.where(direction < 0, line, np.nan), np.where(direction > 0, line, np.nan)
            return _named("superTrend upperBand lowerBand", (line, upper, lower))
        case "roc":
            return _named("momentum roc", (ours.momentum(close, 14), ours.roc(close, 14)))
        case "stdev":
            return _named("stdDev mean", (ours.stddev(close, 14), ours.sma(close, 14)))
    alone: dict[str, tuple[str, Callable[[], Column], int]] = {
        "adl": ("adl", lambda: ours.ad(*hlcv), 0),
        "cci": ("cci", lambda: ours.cci(*hlc), 0),
        "chaikin-osc": ("oscillator", lambda: ours.adosc(*hlcv), 83),
        "cmf": ("cmf", lambda: ours.cmf(*hlcv), 0),
        "ema": ("ema", lambda: ours.ema(close), 0),
        "mfi": ("mfi", lambda: ours.mfi(*hlcv), 0),
        "obv": ("obv", lambda: ours.obv(close, volume) - volume[0], 0),
        "psar": ("sar", lambda: ours.sar(share.high, share.low), 251),
        "pvo": ("pvo", lambda: ours.pvo(volume), 160),
        "rsi": ("rsi", lambda: ours.rsi(close), 0),
        "sma": ("sma", lambda: ours.sma(close), 0),
        "tr": ("tr", lambda: ours.true_range(*hlc), 0),
        "vwap": ("vwap", lambda: ours.vwap(*hlcv), 0),
        "willr": ("williamsR", lambda: ours.williams_r(*hlc), 0),
        "wma": ("wma", lambda: ours.wma(close, 14), 0),
    }
    if name not in alone:
        return {}
    column, compute, first = alone[name]
    return {column: (compute(), first)}


def _named(names: str, found: tuple[Column, ...] | list[Column]) -> dict[str, tuple[Column, int]]:
    return {name: (column, 0) for name, column in zip(names.split(), found, strict=True)}


# ChartSchool's worked examples


def chartschool(root: Path) -> Found:
    """The worked examples of StockCharts, each with its own candles and to the digits that it prints."""
    for path in sorted((root / "ta_chartschool").glob("*.csv")):
        name, given = path.stem, _columns(path)
        share = {column.lower(): values for column, values in given.items()}
        for column, one in _of_example(name, share, given).items():
            if isinstance(one, str):
                yield LeftOut(f"{name} {column}", one)
            else:
                mine, first, tolerance = one
                yield Case(f"{name} {column}", mine, given[column], first, tolerance)


def _of_example(name: str, share: Columns, given: Columns) -> dict[str, tuple[Column, int, float] | str]:
    """Columns of ours by theirs, with the first row and the tolerance; or why a column is left out."""
    close, high, low = share["close"], share.get("high", share["close"]), share.get("low", share["close"])
    volume = share.get("volume", np.ones(close.size))
    match name:
        case "cs-accum":
            return {"ADLine": (ours.ad(high, low, close, volume), 0, 1e-3)}
        case "cs-adx":
            hlc = (high, low, close)
            return {
                "TR": (ours.true_range(*hlc), 1, 1e-6),
                "+DI14": (ours.plus_di(*hlc), 125, 1e-3),
                "-DI14": (ours.minus_di(*hlc), 125, 1e-3),
                "DX": (ours.dx(*hlc), 140, 1e-3),
                "ADX": (ours.adx(*hlc), 165, 1e-3),
            }
        case "cs-atr" | "cs-atr2":
            return {"TR": (ours.true_range(high, low, close), 1, 1e-6), "ATR": SEEDED}
        case "cs-bbands":
            upper, middle, lower = ours.bollinger(close)
            fine = {"MiddleBand": (middle, 0, 1e-6), "HighBand": (upper, 0, 2e-6), "LowBand": (lower, 0, 2e-6)}
            return {**fine, "20-day Standard Deviation": (ours.stddev(close), 0, 1e-6)}
        case "cs-cci":
            return {"CCI": (ours.cci(high, low, close), 0, 1e-3)}
        case "cs-dc":
            upper, middle, lower = ours.donchian(high, low)
            fine = {"upper_band": (upper, 0, 1e-6), "lower_band": (lower, 0, 1e-6), "middle_band": (middle, 0, 6e-3)}
            return {**fine}
        case "cs-macd":
            line, signal, histogram = ours.macd(close)
            fine = {"MACD_line": (line, 110, 1e-3), "MACD_signal": (signal, 110, 1e-3)}
            return {**fine, "MACD_diff": (histogram, 110, 1e-3)}
        case "cs-mfi":
            return {"MFI": (ours.mfi(high, low, close, volume), 0, 1e-2)}
        case "cs-obv":
            volume = np.nan_to_num(volume)
            return {"OBV": (ours.obv(close, volume) - volume[0], 0, 1e-6)}
        case "cs-psar":
            line = ours.sar(high, low)
            return {"psar_up": (line, 0, 1e-6), "psar_down": (line, 8, 1e-6)}
        case "cs-roc":
            return {"ROC": (ours.roc(close, 12), 0, 1e-6)}
        case "cs-rsi":
            return {"RSI": SEEDED}
        case "cs-soo":
            k, d = ours.stochastic(high, low, np.where(np.isnan(close), low, close), 14, 1, 3)
            return {"SO": (k, 15, 1e-5), "SO_SIG": (d, 0, 1e-5)}
        case "cs-ui":
            return {"ulcer_index": SEEDED}
        case "cs-vwap":
            # Theirs is over the last 14 rows.
            return {"vwap": (ours.vwma(ours.typical_price(high, low, close), volume, 14), 13, 1e-6)}
        case "cs-wma":
            return {"WMA": (ours.wma(close, 9), 8, 1e-4)}
    return {"": NOT_OFFERED}


# Tulip's tests


def tulip(root: Path) -> Found:
    """Tulip's own tests, one case an output; 15 rows each, printed to three digits."""
    for test in json.loads((root / "tulip" / "untest.json").read_text(encoding="utf-8")):
        name, options = test["indicator"], [int(o) if o == int(o) else o for o in test["options"]]
        arrays = [np.array(array) for array in test["arrays"]]
        if name not in _TULIP:
            yield LeftOut(name, _TULIP_SEEDED.get(name, NOT_OFFERED))
            continue
        function, outputs, first = _TULIP[name]
        inputs = arrays[: len(arrays) - outputs]
        found = function(*inputs, *options)
        found = found if isinstance(found, tuple) else (found,)
        for k, (mine, values) in enumerate(zip(found, arrays[-outputs:], strict=True)):
            theirs = np.r_[np.full(mine.size - values.size, np.nan), values]
            yield Case(f"{name} {k}", mine, theirs, first, tolerance=5.1e-4)


_TULIP: dict[str, tuple[Callable[..., Column | tuple[Column, ...]], int, int]] = {
    "ad": (ours.ad, 1, 0),
    "adosc": (ours.adosc, 1, 0),
    "aroon": (lambda high, low, n: ours.aroon(high, low, n)[::-1], 2, 0),
    "aroonosc": (lambda high, low, n: np.subtract(*ours.aroon(high, low, n)), 1, 0),
    "avgprice": (ours.average_price, 1, 0),
    "bbands": (lambda close, n, width: ours.bollinger(close, n, width)[::-1], 3, 0),
    "bop": (ours.balance_of_power, 1, 0),
    "cci": (ours.cci, 1, 0),
    "cmo": (ours.cmo, 1, 0),
    "di": (lambda *given: (ours.plus_di(*given), ours.minus_di(*given)), 2, 5),
    "dx": (lambda high, low, n: ours.dx(high, low, low, n), 1, 5),
    "hma": (ours.hma, 1, 0),
    "kama": (ours.kama, 1, 5),
    "linreg": (ours.linreg, 1, 0),
    "linregslope": (ours.linreg_slope, 1, 0),
    "max": (lambda close, n: ours.donchian(close, close, n)[0], 1, 0),
    "medprice": (ours.median_price, 1, 0),
    "mfi": (ours.mfi, 1, 0),
    "min": (lambda close, n: ours.donchian(close, close, n)[2], 1, 0),
    "mom": (ours.momentum, 1, 0),
    "obv": (lambda close, volume: ours.obv(close, volume) - volume[0], 1, 0),
    "psar": (ours.sar, 1, 0),
    "roc": (lambda close, n: ours.roc(close, n) / 100.0, 1, 0),
    "rocr": (lambda close, n: 1.0 + ours.roc(close, n) / 100.0, 1, 0),
    "rsi": (ours.rsi, 1, 0),
    "sma": (ours.sma, 1, 0),
    "stddev": (ours.stddev, 1, 0),
    "stoch": (ours.stochastic, 2, 0),
    "stochrsi": (lambda close, n: ours.stochastic_rsi(close, n, n, 1)[0] / 100.0, 1, 0),
    "tr": (ours.true_range, 1, 1),
    "trima": (ours.trima, 1, 0),
    "typprice": (ours.typical_price, 1, 0),
    "ultosc": (ours.ultimate, 1, 0),
    "var": (ours.variance, 1, 0),
    "vwma": (ours.vwma, 1, 0),
    "wcprice": (ours.weighted_close, 1, 0),
    "wilders": (ours.rma, 1, 0),
    "willr": (ours.williams_r, 1, 0),
    "wma": (ours.wma, 1, 0),
}
"""Ours, how many outputs the test has, and the first row: Tulip's true range, and what is made of it, has one more."""

_TULIP_SEEDED = {
    **dict.fromkeys(("adx", "adxr", "atr", "dema", "ema", "macd", "natr", "ppo", "tema", "trix"), SEEDED),
    **dict.fromkeys(("ao", "mass"), "the reference has no row"),
}

SOURCES: dict[str, Callable[[Path], Found]] = {
    "TA-Lib regression suite": talib_points,
    "hand-calculated sheets": sheets,
    "Stock.Indicators baseline": baseline,
    "ChartSchool": chartschool,
    "Tulip": tulip,
}


def _rows(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return list(csv.DictReader(io.StringIO(text)))


def _columns(path: Path) -> dict[str, Column]:
    """Every column as numbers, NaN for what is none."""
    rows = _rows(path)
    return {name: np.array([_number(row[name]) for row in rows]) for name in rows[0]}


def _share(path: Path) -> _Share:
    given = _columns(path)
    return _Share(*(given[name] for name in _Share._fields))


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return np.nan
