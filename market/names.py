"""Names: a share keeps one series under its present symbol, whatever it was called.

A symbol means a share only together with a day: exchanges give a name they took from one company to another later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from market.instruments import Instrument, Universe

LINE = 9
"""Characters of an ISIN that stay when a split gives the share a new one: country, issuer, sort of security.

Source: NSDL, "ISIN": two letters, the issuer's code of five, the sort of security, a serial number, a check digit.
"""


class Renamed(NamedTuple):
    """From `day` on the share `old` is called `new`."""

    old: str
    new: str
    day: date


class Names:
    """Which symbol is which share, on any day."""

    def __init__(self, renames: Iterable[Renamed]) -> None:
        self._renames = sorted(renames, key=lambda r: r.day)
        self._by_old: dict[str, list[Renamed]] = {}
        self._by_new: dict[str, list[Renamed]] = {}
        for one in self._renames:
            self._by_old.setdefault(one.old, []).append(one)
            self._by_new.setdefault(one.new, []).append(one)

    def __len__(self) -> int:
        return len(self._renames)

    def __contains__(self, symbol: str) -> bool:
        """Whether any share ever got or left this symbol."""
        return symbol in self._by_old or symbol in self._by_new

    def present(self, symbol: str, day: date) -> str:
        """What the share that traded as `symbol` on this day, or the day before, is called now.

        >>> names = Names([Renamed("NSE:INFOSYSTCH", "NSE:INFY", date(2011, 6, 29))])
        >>> names.present("NSE:INFOSYSTCH", date(2000, 1, 3)), names.present("NSE:INFOSYSTCH", date(2020, 1, 1))
        ('NSE:INFY', 'NSE:INFOSYSTCH')
        """
        for _ in self._renames:
            step = next((r for r in self._by_old.get(symbol, ()) if r.day >= day), None)
            if step is None or (step.day == day and self._taken(symbol, day)):
                break
            symbol, day = step.new, step.day
        return symbol

    def latest(self, symbol: str) -> str:
        """What the last share that was called `symbol` is called now."""
        left = self._by_old.get(symbol, ())
        if not left or any(r.day >= left[-1].day for r in self._by_new.get(symbol, ())):
            return symbol
        return self.present(symbol, left[-1].day)

    def listed(self, symbol: str, day: date) -> str:
        """What the share now called `symbol` traded as on this day; the inverse of `present`."""
        upto = date.max
        for _ in self._renames:
            step = next((r for r in reversed(self._by_new.get(symbol, ())) if day < r.day <= upto), None)
            if step is None:
                break
            symbol, upto = step.old, step.day
        return symbol

    def called(self, symbol: str) -> list[str]:
        """Every symbol the share now called `symbol` ever had, the present one first."""
        found, upto = [symbol], date.max
        for _ in self._renames:
            step = next((r for r in reversed(self._by_new.get(found[-1], ())) if r.day <= upto), None)
            if step is None:
                break
            found.append(step.old)
            upto = step.day
        return found

    def instrument(self, universe: Universe, symbol: str, day: date) -> Instrument:
        """The instrument that traded as `symbol` on this day. Raises UnknownSymbol."""
        return universe.find(self.present(symbol, day))

    def presents(self, symbols: Sequence[str], days: npt.NDArray[np.int32]) -> list[str]:
        """`present` of each row, (n,); `days` since 1970-01-01. Only symbols that were ever left cost anything."""
        epoch = date(1970, 1, 1).toordinal()
        moved = self._by_old
        return [
            self.present(s, date.fromordinal(epoch + int(d))) if s in moved else s
            for s, d in zip(symbols, days, strict=True)
        ]

    def _taken(self, symbol: str, day: date) -> bool:
        """Whether another share got this name on the very day."""
        return any(r.day == day for r in self._by_new.get(symbol, ()))


def renames(symbols: Sequence[str], days: Sequence[date], listed: Sequence[str]) -> list[Renamed]:
    """The renames in rows of price history, (n,): each row's present symbol, day, and symbol on that day."""
    order = sorted(range(len(symbols)), key=lambda i: (symbols[i], days[i]))
    found = []
    for a, b in pairwise(order):
        if symbols[a] == symbols[b] and listed[a] != listed[b]:
            found.append(Renamed(listed[a], listed[b], days[b]))
    return found


def relisted(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]], day: date) -> list[Renamed]:
    """The renames between two lists of (symbol, ISIN), the later of this day: one line of shares, another symbol.

    A symbol that the later list gives to another share is a rename all the same; one that is in only one of the lists
    is none.
    """
    lines: dict[str, set[str]] = {}
    for symbol, isin in after:
        lines.setdefault(isin[:LINE], set()).add(symbol)
    moved = {(s, next(iter(lines[isin[:LINE]]))) for s, isin in before if len(lines.get(isin[:LINE], ())) == 1}
    return [Renamed(old, new, day) for old, new in sorted(moved) if old != new]
