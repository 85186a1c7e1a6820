"""What every indicator asks of its columns and parameters, checked before TA-Lib sees them.

A column is a float64 array (n,), oldest row first, n >= 1, all columns of a call equally long. NaN and infinity are
refused: one NaN would poison every later EMA, so GAP rows must be taken out first. Only where one column is all that
an indicator reads may it begin with NaN, so that `ema(rsi(close))` works. Fewer rows than the warm-up give NaN, which
is not an error.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from market.errors import BadValue

Column = npt.NDArray[np.float64]
"""(n,) float64, oldest row first."""

Labels = npt.NDArray[np.generic]
"""(n,) of any kind: the session of each row (a day number, a date). Where it changes, a session opens."""

MOST_ROWS = 100_000
"""The longest period that TA-Lib takes."""

_SHORT = 4096

_SCANNED: ContextVar[frozenset[int]] = ContextVar("scanned", default=frozenset())
"""Which arrays, by identity, are known to have no holes: somebody above holds them."""


def check(**columns: Column) -> None:
    """Raises BadValue, naming the column, if one has another shape, type or length, or a hole."""
    rows, known = None, _SCANNED.get()
    for name, column in columns.items():
        if type(column) is not np.ndarray or column.dtype != np.float64 or column.ndim != 1:
            raise BadValue(name, _kind(column), "give a float64 array of one dimension")
        if rows is None:
            rows = column.size
            if not rows:
                raise BadValue(name, _kind(column), "give at least one row")
        elif column.size != rows:
            raise BadValue(name, f"{column.size} rows", f"give as many as {next(iter(columns))} has, {rows}")
        if id(column) in known:
            continue
        # Finite squares have a finite sum, but for numbers of 1e150; BLAS is quicker for a window, slower for a year.
        if not math.isfinite(column.dot(column) if column.size <= _SHORT else column.sum()):
            _refuse_holes(name, column, alone=len(columns) == 1)


@contextmanager
def scanned(**columns: Column) -> Iterator[None]:
    """Check columns once for all the indicators computed inside, which then do not look for holes in them again.

    They must not be changed inside. Raises BadValue as `check` does of several.
    """
    check(**columns)
    for name, column in columns.items():
        if np.isnan(column[0]):
            raise BadValue(name, float(column[0]), "row 0 (the first is 0) is a hole; take such rows out first")
    token = _SCANNED.set(_SCANNED.get().union(map(id, columns.values())))
    try:
        yield
    finally:
        _SCANNED.reset(token)


def whole(name: str, value: int, least: int = 1) -> int:
    """A parameter that is a whole number in `least`..100,000. Raises BadValue."""
    allowed = f"give a whole number from {least} to {MOST_ROWS:,}"
    try:
        number = operator.index(value)
    except TypeError as e:
        raise BadValue(name, value, allowed) from e
    if isinstance(value, bool) or not least <= number <= MOST_ROWS:
        raise BadValue(name, value, allowed)
    return number


def positive(name: str, value: float, most: float = 1e6) -> float:
    """A parameter that is a number in (0, most]. Raises BadValue."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value <= most:
        raise BadValue(name, value, f"give a number above 0, at most {most:g}")
    return float(value)


def in_order(name: str, value: int, above: str, other: int) -> None:
    """Raises BadValue unless `value` is above `other`, the parameter called `above`."""
    if value <= other:
        raise BadValue(name, value, f"give a number above {above}, {other}")


def sessions(rows: int, session: Labels | None) -> list[tuple[int, int]]:
    """First row and end of each session, in order; one run over all rows without labels. Raises BadValue."""
    if session is None:
        return [(0, rows)]
    if type(session) is not np.ndarray or session.shape != (rows,):
        raise BadValue("session", _kind(session), f"give one label a row, {rows}, or None")
    opens = np.flatnonzero(session[1:] != session[:-1]) + 1
    return list(pairwise([0, *opens.tolist(), rows]))


def anew(work: Callable[..., Column], session: Labels | None, *columns: Column) -> Column:
    """`work(*columns)` over each session by itself, one after another: (n,)."""
    if session is None:
        return work(*columns)
    runs = sessions(columns[0].size, session)
    return np.concatenate([work(*(column[first:end] for column in columns)) for first, end in runs])


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array {value.shape}"
    return f"a {type(value).__name__}"


def _refuse_holes(name: str, column: Column, alone: bool) -> None:
    known = np.flatnonzero(~np.isnan(column)) if alone else np.arange(column.size)
    broken = np.flatnonzero(~np.isfinite(column[known[0] :])) if known.size else known
    if broken.size:
        row = int(known[0] + broken[0])
        raise BadValue(name, float(column[row]), f"row {row} (the first is 0) is a hole; take such rows out first")
