"""Moving sums, extremes and deviations over the last n columns, and what is asked of a series beside them.

Arrays are (..., rows), oldest first; an answer is NaN until n columns are known. A running sum carries the rounding of
everything it ever held, so that a flat minute years into a series has a deviation it does not have by itself. Here a
window is the end of one block of n columns and the beginning of the next: nothing outside of it leaves a trace, and the
cost does not grow with n.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

NEVER = 1 << 40
"""More columns than there are."""

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
    middle = np.repeat(centre[..., 0], n, axis=-1)[..., -rows:] if rows else x
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
    return np.divide(x, y, out=np.full(np.broadcast_shapes(x.shape, y.shape), np.nan), where=y > 0)


def since(flags: Flags) -> npt.NDArray[np.int64]:
    """How many columns ago it was last so: (..., rows), NEVER and more where it never was."""
    columns = np.arange(flags.shape[-1])
    return np.asarray(columns - np.maximum.accumulate(np.where(flags, columns, -NEVER), axis=-1))


def each(function: Callable[..., Floats], *columns: Floats) -> Floats:
    """A function of series, applied to each row of (k, rows) arrays: (k, rows)."""
    out = np.empty(columns[0].shape)
    for k in range(len(out)):
        out[k] = function(*(column[k] for column in columns))
    return out


def _blocks(x: Floats, n: int) -> Floats:
    rows = x.shape[-1]
    blocks = -(-rows // n)
    padded = np.full((*x.shape[:-1], blocks * n), np.nan)
    padded[..., blocks * n - rows :] = x
    return padded.reshape(*x.shape[:-1], blocks, n)


def _joined(ahead: Floats, behind: Floats, join: np.ufunc, rows: int) -> Floats:
    join(ahead[..., 1:, :-1], behind[..., :-1, 1:], out=ahead[..., 1:, :-1])
    ahead[..., :1, :-1] = np.nan
    return ahead.reshape(*ahead.shape[:-2], -1)[..., ahead.shape[-2] * ahead.shape[-1] - rows :]


def _extreme(pick: np.ufunc, x: Floats, n: int) -> Floats:
    blocks = _blocks(x, n)
    behind = pick.accumulate(blocks[..., ::-1], axis=-1)[..., ::-1]
    return _joined(pick.accumulate(blocks, axis=-1), behind, pick, x.shape[-1])
