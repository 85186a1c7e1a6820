"""Adjustment: corporate actions as factors on prices and volumes, for whole columns at once.

    known = factors(actions, "NSE:BAJFINANCE", as_of)      # once a share
    close * known.prices(rows["session"])                  # one float64 for each row, daily or minute alike
    actions.going_ex(session, its open)                    # at each open: what running windows are multiplied by

A row's factor is the product of those of all ex-dates after its session that had begun by `as_of`; the series is in the
shares of `as_of`, and rows of the last session are as they are. Splits, bonuses, demergers and rights adjust prices,
splits and bonuses volumes, and dividends nothing: they are in `total_return` alone.

An adjusted price as a float is exact but for the last bit: the product is made of fractions, and rounded once. As money
it is the nearest 1/10,000, halves to even, and a volume the nearest whole share: fit for a screen and a file, whereas
features take the floats. Raw rows are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.actions import Action, Actions, Kind
from market.candles import Candles
from market.errors import BadValue
from market.money import SCALE, UNKNOWN
from market.sessions import day_number

PRICES = ("open", "high", "low", "close", "vwap")
VOLUMES = ("volume",)

Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.int32]


class Factors(NamedTuple):
    """One share's ex-dates, (k,), rising, each once, and what the rows before them are multiplied by.

    `days`: since 1970-01-01. `price`, `volume`, (k + 1,): place i is for sessions before `days[i]` and not before the
    one ahead of it, the last place 1.0. `known`: ns UTC, since when the ex-date's factor is as it is; where it is after
    that session's open, sessions in between were seen without it.
    """

    symbol: str
    days: Days
    price: Floats
    volume: Floats
    known: npt.NDArray[np.int64]

    def prices(self, sessions: npt.NDArray[np.integer]) -> Floats:
        """The price factor of each row, (n,) -> (n,); `sessions` as in `CANDLE`: days since 1970-01-01."""
        return np.asarray(self.price[np.searchsorted(self.days, sessions, side="right")], np.float64)

    def volumes(self, sessions: npt.NDArray[np.integer]) -> Floats:
        """The volume factor of each row, (n,) -> (n,)."""
        return np.asarray(self.volume[np.searchsorted(self.days, sessions, side="right")], np.float64)


def factors(actions: Actions, symbol: str, as_of: int) -> Factors:
    """The factors of the share that is called `symbol` now, as known at an instant, ns UTC; none where nothing is."""
    begun = [a for a in actions.of(symbol, as_of) if a.factor is not None and a.begins <= as_of]
    return _product(symbol, ((a.ex_date, a.factor or Fraction(1), a.volume_factor, a.known) for a in begun))


def total_return(actions: Actions, symbol: str, as_of: int, sessions: Days, closes: Floats) -> Factors:
    """`factors` with the dividends in them, as if each were spent on shares at the close before its ex-date.

    `sessions`, `closes`, (n,): the raw daily closes, oldest first; a dividend before the second of them is left out.
    Raises BadValue for one that is not below the close before it.
    """
    begun = [a for a in actions.of(symbol, as_of) if a.begins <= as_of]
    steps = []
    for action in begun:
        if action.kind is Kind.DIVIDEND:
            before = int(np.searchsorted(sessions, day_number(action.ex_date), side="left")) - 1
            if before >= 0:
                steps.append((action.ex_date, _kept(action, float(closes[before])), Fraction(1), action.known))
        elif action.factor is not None:
            steps.append((action.ex_date, action.factor, action.volume_factor, action.known))
    return _product(symbol, steps)


def adjusted(rows: Candles, known: Factors) -> Candles:
    """`CANDLE` rows of one share, (n,), in the shares of `as_of`; UNKNOWN stays so. `rows` are left as they are."""
    out = rows.copy()
    of_price, of_volume = known.prices(rows["session"]), known.volumes(rows["session"])
    for names, factor in ((PRICES, of_price), (VOLUMES, of_volume)):
        for name in names:
            out[name] = _scaled(rows[name], factor)
    return out


def adjusted_columns(columns: Mapping[str, Floats], sessions: Days, known: Factors) -> dict[str, Floats]:
    """Float columns of one share, each (n,), in the shares of `as_of`; a name that is no price or volume is refused.

    NaN stays NaN. Raises BadValue.
    """
    of_price, of_volume = known.prices(sessions), known.volumes(sessions)
    out = {}
    for name, values in columns.items():
        if name not in (*PRICES, *VOLUMES):
            raise BadValue("column", name, f"one of {', '.join((*PRICES, *VOLUMES))}")
        out[name] = values * (of_volume if name in VOLUMES else of_price)
    return out


def _product(symbol: str, steps: Iterable[tuple[date, Fraction, Fraction, int]]) -> Factors:
    by_day: dict[date, tuple[Fraction, Fraction, int]] = {}
    for day, price, volume, known in steps:
        was = by_day.get(day, (Fraction(1), Fraction(1), known))
        by_day[day] = was[0] * price, was[1] * volume, max(was[2], known)
    days = sorted(by_day)
    of_price, of_volume = [Fraction(1)], [Fraction(1)]
    for day in reversed(days):
        of_price.append(of_price[-1] * by_day[day][0])
        of_volume.append(of_volume[-1] * by_day[day][1])
    return Factors(
        symbol,
        np.array([day_number(day) for day in days], np.int32),
        np.array([float(f) for f in reversed(of_price)]),
        np.array([float(f) for f in reversed(of_volume)]),
        np.array([by_day[day][2] for day in days], np.int64),
    )


def _kept(action: Action, close: float) -> Fraction:
    amount = Fraction(action.amount or 0, SCALE)
    if not close > amount:
        raise BadValue(action.symbol, f"a dividend of {float(amount)} on {action.ex_date}", f"less than {close}")
    return 1 - amount / Fraction(close)


def _scaled(amounts: npt.NDArray[np.int64], factor: Floats) -> npt.NDArray[np.int64]:
    known = amounts != UNKNOWN
    out = amounts.copy()
    out[known] = np.rint(amounts[known] * factor[known]).astype(np.int64)
    return out
