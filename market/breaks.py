"""Breaks: days on which a share opened so far from its last close that only a corporate action explains it.

After adjustment there is none, or the actions are wrong: one is missing, a part of one is, its day is not the right
one, or a price is bad. Whoever trains asks `refuse_breaks` first.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from fractions import Fraction
from itertools import product
from math import log

import numpy as np
import numpy.typing as npt

from market.actions import Action, Actions, Kind
from market.adjustment import Days, Floats, factors
from market.errors import UnexplainedBreak
from market.records import Record
from market.sessions import day_number

LOWEST, HIGHEST = 0.72, 1.4
"""Open over previous close: what a day may do by itself, both ends included."""

NEAR = timedelta(days=10)
"""An action so near a break may have the wrong ex-date."""

ROOM = log(1.13)
"""How far an open may stand from what a simple action makes of the close before it."""

SILENT = (Kind.DEMERGER, Kind.RIGHTS)
"""Kinds that an exchange announces without saying what they do to the price."""

EPOCH = date(1970, 1, 1)


class Break(Record):
    """A day nobody has explained. `raw`, `adjusted`: open over the close of the session `before`, as it was and after
    adjustment. `told`: what is in force on that day. `suggestion`: what would explain it.
    """

    symbol: str
    session: date
    before: date
    raw: float
    adjusted: float
    told: tuple[str, ...]
    suggestion: str


def breaks(actions: Actions, symbol: str, as_of: int, sessions: Days, opens: Floats, closes: Floats) -> list[Break]:
    """The unexplained breaks of one share's raw daily rows, (n,), oldest first; `sessions`: days since 1970-01-01.

    A demerger to which nobody has given a factor is one however little the price moved. Rows without a price above 0
    are passed over.
    """
    priced = (opens > 0) & (closes > 0)
    sessions, opens, closes = sessions[priced], opens[priced], closes[priced]
    price = factors(actions, symbol, as_of).prices(sessions)
    raw = opens[1:] / closes[:-1]
    after = raw * price[1:] / price[:-1]
    known = actions.of(symbol, as_of)
    found = []
    odd = (after < LOWEST) | (after > HIGHEST) | _silent(known, sessions)
    for i in np.flatnonzero(odd):
        before, day = (EPOCH + timedelta(days=int(sessions[i + k])) for k in (0, 1))
        of_day = [a for a in known if before < a.ex_date <= day]
        found.append(
            Break(
                symbol=symbol,
                session=day,
                before=before,
                raw=round(float(raw[i]), 5),
                adjusted=round(float(after[i]), 5),
                told=tuple(f"{a.words()} ({a.source})" for a in of_day),
                suggestion=_suggestion(float(raw[i]), float(after[i]), day, of_day, known),
            )
        )
    return found


def refuse_breaks(found: Iterable[Break], symbol: str, first: date, last: date) -> None:
    """What a trainer asks before it takes a share's rows from `first` to `last`, both included.

    Raises UnexplainedBreak, which names share and day, when prices on both sides of a break are among them.
    """
    for one in found:
        if one.symbol == symbol and first <= one.before and one.session <= last:
            raise UnexplainedBreak(symbol, one.session, one.adjusted, one.suggestion)


def simple(ratio: float) -> str:
    """The simplest split and bonus that make such a ratio of open to close, or nothing.

    >>> simple(0.1013), simple(0.668), simple(0.0489), simple(0.9)
    ('SPLIT 10', 'BONUS 1:2', 'SPLIT 10 and BONUS 1:1', '')
    """
    off = {words: abs(log(ratio * float(by))) / ROOM for by, _, words in _SIMPLE}
    _, words = min((cost + off[words], words) for _, cost, words in _SIMPLE)
    return words if off[words] <= 1 else ""


def _silent(known: list[Action], sessions: Days) -> npt.NDArray[np.bool_]:
    """Which of the steps from row to row, (n - 1,), hold a demerger without a factor."""
    out = np.zeros(max(len(sessions) - 1, 0), np.bool_)
    for action in (a for a in known if a.kind is Kind.DEMERGER and a.factor is None):
        place = int(np.searchsorted(sessions, day_number(action.ex_date), side="left"))
        if 0 < place < len(sessions):
            out[place - 1] = True
    return out


def _suggestion(raw: float, after: float, day: date, of_day: list[Action], known: list[Action]) -> str:
    silent = [a for a in of_day if a.kind in SILENT and a.factor is None]
    if silent:
        return f"give the {silent[0].kind} its factor: open over previous close was {raw:.4f}"
    moved = [a for a in known if a.factor is not None and a not in of_day and abs(a.ex_date - day) <= NEAR]
    told = [a for a in of_day if a.factor is not None]
    for action in moved:
        if LOWEST <= raw / float(action.factor or 1) <= HIGHEST and not told:
            return f"{action.words()} of {action.source} stands at {action.ex_date}: move it to {day}"
    if told and LOWEST <= raw <= HIGHEST:
        return f"prices did not break: withdraw {' and '.join(a.words() for a in told)}, or move it"
    missing, whole = simple(after), simple(raw)
    if told and missing:
        return f"{missing} is missing beside {' and '.join(a.words() for a in told)}: {whole or missing} in all"
    if whole:
        return f"{whole}, if the share count changed; else a demerger, or a bad price"
    return "a demerger with this open over previous close as its factor, or a bad price"


def _simple() -> list[tuple[Fraction, float, str]]:
    """What one share becomes, what it costs in simplicity, and how it is said; only what makes a break."""
    splits = {Fraction(1): 0.0, Fraction(2): 0.1, Fraction(5): 0.1, Fraction(10): 0.1, Fraction(5, 2): 0.4}
    splits |= {Fraction(1, n): 0.3 for n in (2, 5, 10)} | {Fraction(100): 0.6}
    bonuses = {Fraction(0): 0.0, Fraction(1): 0.1, Fraction(1, 2): 0.2, Fraction(2): 0.25, Fraction(3): 0.3}
    bonuses |= {Fraction(2, 3): 0.4, Fraction(4): 0.4, Fraction(3, 5): 0.5}
    found = []
    for (split, a), (bonus, b) in product(splits.items(), bonuses.items()):
        both = split != 1 and bonus > 0
        if LOWEST <= 1 / (split * (1 + bonus)) <= HIGHEST or (both and split < 1):
            continue
        words = [f"SPLIT {split}"] if split != 1 else []
        words += [f"BONUS {bonus.numerator}:{bonus.denominator}"] if bonus > 0 else []
        found.append((split * (1 + bonus), a + b + 0.3 * both, " and ".join(words)))
    return found


_SIMPLE = _simple()
