"""Moving sums, extremes and deviations over the last n columns, and what is asked of a series beside them.

Arrays are (..., rows), oldest first; an answer is NaN until n columns are known. A running sum carries the rounding of
everything it ever held, so that a flat minute years into a series has a deviation it does not have by itself. Here a
window is the end of one block of n columns and the beginning of the next: nothing outside of it leaves a trace, and the
cost does not grow with n. Blocks begin with the series, so that what comes later changes no digit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

LEAD = 100
"""Zeros in which a filter warms up."""

LAG = 20
"""Columns that a change or another filter before costs at the begin of a whole window."""

Filter = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""A linear function of a series, (rows,) -> (rows,), that forgets; NaN while it warms up."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def total(x: Floats, n: int) -> Floats:
    """The sum of the last n columns: (..., rows)."""
    blocks = _blocks(x, n)
    behind = np.cumsum(blocks[..., ::-1], axis=-1)[..., ::-1]
    return _joined(np.cumsum(blocks, axis=-1), behind, np.add, x.shape[-1])


def mean(x: Floats, n: int) -> Floats:
    """The mean of the last n columns: (..., rows)."""
    return np.asarray(total(x, n) / n)


def highest(x: Floats, n: int) -> Floats:
    """The largest of the last n columns: (..., rows)."""
    return _extreme(np.maximum, x, n)


def lowest(x: Floats, n: int) -> Floats:
    """The smallest of the last n columns: (..., rows)."""
    return _extreme(np.minimum, x, n)


def spread(x: Floats, n: int) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the population over the last n columns: (..., rows) each.

    Deviations are from a member of the window, so equal columns have exactly none.
    """
    blocks = _blocks(x, n)
    centre = blocks[..., :1]
    ahead = blocks - centre
    behind = np.zeros_like(blocks)
    behind[..., :-1, :] = (blocks[..., :-1, :] - centre[..., 1:, :])[..., ::-1].cumsum(axis=-1)[..., ::-1]
    squares = np.zeros_like(blocks)
    squares[..., :-1, :] = ((blocks[..., :-1, :] - centre[..., 1:, :]) ** 2)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    rows = x.shape[-1]
    first = _joined(ahead.cumsum(axis=-1), behind, np.add, rows) / n
    second = _joined((ahead**2).cumsum(axis=-1), squares, np.add, rows) / n
    middle = np.repeat(centre[..., 0], n, axis=-1)[..., :rows]
    return middle + first, np.sqrt(np.maximum(second - first**2, 0.0))


def before(x: Floats, n: int) -> Floats:
    """The column n earlier: (..., rows), NaN in the first n."""
    out = np.full(x.shape, np.nan)
    out[..., n:] = x[..., : max(x.shape[-1] - n, 0)]
    return out


def change(x: Floats, n: int) -> Floats:
    """x over x n columns earlier, less 1: (..., rows)."""
    return ratio(x, before(x, n)) - 1


def ratio(x: Floats, y: Floats) -> Floats:
    """x / y: NaN where y is not above 0."""
    out = np.full(np.broadcast_shapes(x.shape, y.shape), np.nan)
    np.divide(x, y, out=out, where=y > 0)
    return out


def within(flags: Flags, n: int) -> Flags:
    """Whether any of the last n columns is set: (..., rows)."""
    count = np.cumsum(flags, axis=-1, dtype=np.int32)
    out = count > 0
    if flags.shape[-1] > n:
        out[..., n:] = count[..., n:] > count[..., :-n]
    return out


def smoothed(x: Floats, by: Filter) -> Floats:
    """A filter over each row of (k, rows): (k, rows)."""
    out = np.empty(x.shape)
    for k in range(len(x)):
        out[k] = by(x[k])
    return out


def smoothed_last(x: Floats, by: Filter) -> Floats:
    """A filter's newest column alone: (k, 1), as sums of the columns by the weight that the filter gives them.

    That holds where the beginning is forgotten: of a row with more than `LAG` unknown columns at its begin, as of one
    that begins later than others, the filter itself is asked.
    """
    unknown = np.isnan(x)
    begin = np.where(unknown.all(axis=1), x.shape[1], unknown.argmin(axis=1))
    first = int(begin.min(initial=x.shape[1]))
    out = np.full((len(x), 1), np.nan)
    if first <= LAG < x.shape[1]:
        by_column, before_them = weights(by, x.shape[1] - first)
        out[:, 0] = x[:, first:] @ by_column + x[:, first] * before_them
        late = begin > first
    else:
        late = begin < x.shape[1]
    for k in np.flatnonzero(late).tolist():
        out[k, 0] = by(x[k])[-1]
    return out


@lru_cache(maxsize=256)
def weights(by: Filter, rows: int) -> tuple[Floats, float]:
    """How much each of `rows` columns weighs in what a linear filter makes of them, (rows,), and all before them."""
    impulse = np.zeros(2 * rows + LEAD)
    impulse[rows + LEAD] = 1.0
    weight = np.ascontiguousarray(by(impulse)[: rows + LEAD - 1 : -1])
    return weight, float(by(np.ones(rows + LEAD))[-1] - weight.sum())


def _blocks(x: Floats, n: int) -> Floats:
    rows = x.shape[-1]
    blocks = -(-rows // n)
    padded = np.full((*x.shape[:-1], blocks * n), np.nan)
    padded[..., :rows] = x
    return padded.reshape(*x.shape[:-1], blocks, n)


def _joined(ahead: Floats, behind: Floats, join: np.ufunc, rows: int) -> Floats:
    join(ahead[..., 1:, :-1], behind[..., :-1, 1:], out=ahead[..., 1:, :-1])
    ahead[..., :1, :-1] = np.nan
    return ahead.reshape(*ahead.shape[:-2], -1)[..., :rows]


def _extreme(pick: np.ufunc, x: Floats, n: int) -> Floats:
    blocks = _blocks(x, n)
    behind = pick.accumulate(blocks[..., ::-1], axis=-1)[..., ::-1]
    return _joined(pick.accumulate(blocks, axis=-1), behind, pick, x.shape[-1])
