"""The newest rows of many instruments, side by side: what a live window remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from market.features.series import PRICES, SERIES, Ints, Series
from market.features.technical import Bars

_SLACK = 128
"""Appends between two moves of everything to the front."""

_EMPTY = -1
"""The start and session of a place without a row; its numbers are NaN."""


class Ring:
    """The newest `keep` rows of each of `count` instruments, the newest in the same column for all.

    `fields`: those of `SERIES` that are kept. An instrument without a row in an append is moved along.
    """

    def __init__(self, count: int, keep: int, fields: Sequence[str] = tuple(SERIES.names or ())) -> None:
        self.keep = keep
        self._end = keep
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.full((count, keep + _SLACK), _EMPTY if SERIES[name].kind == "i" else np.nan, SERIES[name])
            for name in fields
        }

    def tail(self, name: str, rows: int) -> npt.NDArray[Any]:
        """The newest rows of a field, (count, rows) at most `keep`: a view."""
        return self._columns[name][:, self._end - min(rows, self.keep) : self._end]

    def bars(self, rows: int) -> Bars:
        """The newest rows as `Bars`: views."""
        return Bars(*(self.tail(name, rows) for name in Bars._fields))

    def append(self, who: Ints, rows: Series) -> None:
        """One more row for these instruments, (k,), each once."""
        if not len(who):
            return
        if self._end == self.keep + _SLACK:
            for column in self._columns.values():
                column[:, : self.keep] = column[:, self._end - self.keep :].copy()
            self._end = self.keep
        first = next(iter(self._columns.values()))
        absent = np.delete(np.arange(len(first)), who)
        for name, column in self._columns.items():
            if len(absent):
                column[absent, self._end - self.keep + 1 : self._end + 1] = column[
                    absent, self._end - self.keep : self._end
                ]
            column[who, self._end] = rows[name]
        self._end += 1

    def full(self, one: int) -> bool:
        """Whether older rows of this instrument were let go, or would be."""
        return bool(self._columns["session"][one, self._end - self.keep] != _EMPTY)

    def series(self, one: int) -> Series:
        """All rows of one instrument, oldest first; fields that are not kept are 0."""
        held = slice(self._end - self.keep, self._end)
        filled = self._columns["session"][one, held] != _EMPTY
        out = np.zeros(np.count_nonzero(filled), SERIES)
        for name, column in self._columns.items():
            out[name] = column[one, held][filled]
        return out

    def replace(self, one: int, rows: Series) -> None:
        """Put the newest of these in place of all rows of one instrument."""
        rows = rows[-self.keep :]
        for name, column in self._columns.items():
            line = column[one, self._end - self.keep : self._end]
            line[: self.keep - len(rows)] = _EMPTY if SERIES[name].kind == "i" else np.nan
            line[self.keep - len(rows) :] = rows[name]

    def rescale(self, one: int, price: float, volume: float, before: int) -> None:
        """Multiply the prices and volumes of one instrument's rows of sessions before this one."""
        old = self._columns["session"][one] < before
        for name, by in (*((name, price) for name in PRICES), ("volume", volume)):
            if name in self._columns:
                self._columns[name][one, old] *= by
