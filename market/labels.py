"""Labels: what came of a decision, net of what acting on it costs.

A decision at the end of a minute is acted on at the next minute's open and closed at the end of the horizon, or not at
all: a horizon that would reach past the session's close has no label, but that of the next day, which ends at the
next session's close. Three outcomes: UP, a purchase would have paid more than its costs; DOWN, a sale would have; FLAT.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from market.candles import Candles, Provenance
from market.money import to_floats
from market.sessions import MINUTE

HORIZONS: dict[str, int] = {"5m": 5, "15m": 15, "60m": 60, "1d": 0}
"""Name to minutes; 0: to the close of the next session."""

COST = 0.0010
"""Of a round trip of 100,000 rupees within a session, as a fraction of its value: brokerage of 20 rupees a side 0.04 %,
STT on the sale 0.025 %, exchange and stamp duty 0.009 %, GST on the fees 0.008 %, and half a spread of 0.01 % twice.
Source: zerodha.com/charges, equity.
"""

OVERNIGHT_COST = 0.0025
"""The same of what is held overnight: STT of 0.1 % a side, stamp duty of 0.015 %, exchange 0.006 %, a depository's 15
rupees, and half a spread twice. Source: as above, delivery.
"""


def cost_of(horizon: str, *, within: bool = False) -> float:
    """What a round trip over a horizon costs, a fraction of its value. `within`: one that ends in the session in which
    it begins, whatever the horizon, as of daily candles.
    """
    return COST if HORIZONS[horizon] or within else OVERNIGHT_COST


class Label(IntEnum):
    """The outcome of a decision; its place among the probabilities of a model."""

    DOWN = 0
    FLAT = 1
    UP = 2


UNKNOWN_LABEL = -1

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


def outcomes(candles: Candles, horizon: str) -> Floats:
    """Log returns, (n,), of one instrument's adjusted minutes, oldest first, (n,), from the next minute's open to the
    end of the horizon; NaN where there is none: no next minute, a GAP at either end, past the close.

    Give whole sessions: of the next one, the last minute that is there stands for its close.
    """
    close, opening = to_floats(candles["close"]), to_floats(candles["open"])
    good = (candles["provenance"] != Provenance.GAP) & (candles["close"] > 0) & (candles["open"] > 0)
    entry = np.searchsorted(candles["start"], candles["start"] + MINUTE)
    if HORIZONS[horizon]:
        ends = candles["start"] + HORIZONS[horizon] * MINUTE
        exit_ = np.searchsorted(candles["start"], ends)
        wanted = np.full(len(candles), 0)
    else:
        days = np.unique(candles["session"])
        following = np.append(days[1:], -1)[np.searchsorted(days, candles["session"])]
        exit_ = np.searchsorted(candles["session"], following, side="right") - 1
        ends, wanted = candles["start"][exit_], following
    last = len(candles) - 1
    there = (entry <= last) & (exit_ <= last) & (wanted >= 0)
    entry, exit_ = np.minimum(entry, last), np.clip(exit_, 0, last)
    there &= (candles["start"][entry] == candles["start"] + MINUTE) & (candles["start"][exit_] == ends)
    there &= (candles["session"][entry] == candles["session"]) & good[entry] & good[exit_] & good
    if HORIZONS[horizon]:
        there &= candles["session"][exit_] == candles["session"]
    found = np.full(len(candles), np.nan)
    found[there] = np.log(close[exit_[there]] / opening[entry[there]])
    return found


def daily_outcomes(candles: Candles) -> Floats:
    """The same of daily candles, (n,): from the next session's open to its close."""
    if not len(candles):
        return np.zeros(0)
    close, opening = to_floats(candles["close"]), to_floats(candles["open"])
    good = (close[1:] > 0) & (opening[1:] > 0)
    found = np.full(len(candles), np.nan)
    found[:-1][good] = np.log(close[1:][good] / opening[1:][good])
    return found


def labels(returns: Floats, cost: float = COST) -> Labels:
    """The `Label` of each return, any shape; UNKNOWN_LABEL where it is NaN. `cost`: of a round trip, a fraction."""
    found = np.where(returns > np.log1p(cost), Label.UP, np.where(returns < -np.log1p(cost), Label.DOWN, Label.FLAT))
    return np.where(np.isnan(returns), UNKNOWN_LABEL, found).astype(np.int8)
