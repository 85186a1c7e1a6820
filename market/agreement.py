"""Agreement: how near our daily candles come to the exchange's own, field by field.

They need not be equal. The official close is the average of the last half hour and ours the last trade; the official
open, high, low and volume hold the opening auction and the closing session, which brokers' streams show in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from market.candles import Candles
from market.money import UNKNOWN
from market.records import Record

PRICES = ("open", "high", "low", "close")
NEAR_VOLUME = 0.01
WORST = 5


class Difference(Record):
    """Where we and the exchange disagree: prices in 1/10,000, volume in shares; `relative` to the exchange's."""

    symbol: str
    ours: int
    official: int
    relative: float


class FieldScore(Record):
    """One field over all instruments of a session. `exact`, `near`: shares of the instruments compared, 0..1.

    Near is within one tick of the instrument or, for the volume, within 1 %.
    """

    field: str
    compared: int
    exact: float
    near: float
    median: float
    worst: tuple[Difference, ...] = ()


class Agreement(Record):
    """One session. `incomplete`: instruments whose own candle is not whole; they are compared all the same.

    `ours_only`, `official_only`: symbols that the other side has no candle of.
    """

    session: date
    compared: int
    incomplete: int
    fields: tuple[FieldScore, ...]
    ours_only: tuple[str, ...] = ()
    official_only: tuple[str, ...] = ()


def agreement(
    session: date, ours: Candles, official: Candles, symbols: Sequence[str], tick_sizes: npt.NDArray[np.int64]
) -> Agreement:
    """Compare a session's daily candles: at most one row an instrument on each side, ids counting `symbols`.

    An instrument whose own candle has no price counts as one we do not have. `tick_sizes`, (len(symbols),).
    """
    ours = ours[ours["close"] != UNKNOWN]
    both, a, b = np.intersect1d(ours["instrument"], official["instrument"], return_indices=True)
    mine, theirs, names = ours[a], official[b], [symbols[i] for i in both.tolist()]
    scores = [_score(name, mine, theirs, names, tick_sizes[both]) for name in PRICES]
    traded = theirs["volume"] > 0
    of = [n for n, t in zip(names, traded, strict=True) if t]
    near = np.maximum((theirs["volume"][traded] * NEAR_VOLUME).astype(np.int64), 0)
    scores.append(_score("volume", mine[traded], theirs[traded], of, near))
    return Agreement(
        session=session,
        compared=len(both),
        incomplete=int(np.count_nonzero(mine["completeness"] < 1)),
        fields=tuple(s for s in scores if s.compared),
        ours_only=tuple(symbols[i] for i in np.setdiff1d(ours["instrument"], both).tolist()),
        official_only=tuple(symbols[i] for i in np.setdiff1d(official["instrument"], both).tolist()),
    )


def _score(
    field: str, ours: Candles, official: Candles, names: Sequence[str], near: npt.NDArray[np.int64]
) -> FieldScore:
    apart = np.abs(ours[field] - official[field])
    relative = apart / np.maximum(official[field], 1)
    worst = [k for k in np.argsort(-relative, kind="stable")[:WORST].tolist() if apart[k]]
    return FieldScore(
        field=field,
        compared=len(names),
        exact=float((apart == 0).mean()) if len(names) else 0.0,
        near=float((apart <= near).mean()) if len(names) else 0.0,
        median=float(np.median(relative)) if len(names) else 0.0,
        worst=tuple(
            Difference(
                symbol=names[k],
                ours=int(ours[field][k]),
                official=int(official[field][k]),
                relative=float(relative[k]),
            )
            for k in worst
        ),
    )
