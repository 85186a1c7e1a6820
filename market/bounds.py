"""Bounds: what range the features had in training, and within which the return will lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from market.labels import Label
from market.models.examples import Examples

BEYOND = 0.05
"""The share of returns beyond either bound of the interval."""

RULERS = {"5m": "atr_14_5m", "15m": "atr_14_15m", "60m": "atr_14_15m", "1d": "atr_14_1d"}
"""By horizon, the feature in whose size returns are measured for the interval: a bound learned in calm months does not
hold in wild ones (of daily candles 74 of 100 in the wildest fifth of 2020 without it, 90 with it).
"""

LEAST_ROWS = 100
"""In a cell of the interval."""

WIDENED, TOLERATED = 0.25, 0.1
"""A range reaches so much of its own width further at either end; more than this share of features outside is too much.
"""

MOST_SEEN = 100_000
"""Rows of which a range is learned, evenly taken."""

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Range(NamedTuple):
    """What values features had in training: `low` and `high`, (k,) each, of `names`."""

    names: tuple[str, ...]
    low: Floats
    high: Floats

    @classmethod
    def of(cls, seen: Examples) -> Self:
        """Their robust range, widened; features never known, or always the same, are left out."""
        step = max(len(seen.features) // MOST_SEEN, 1)
        names, bounds = [], []
        for name, column in zip(seen.names, seen.features[::step].T, strict=True):
            known = column[np.isfinite(column)].astype(np.float64)
            if len(known):
                low, high = np.quantile(known, [0.001, 0.999])
                if high > low:
                    names.append(name)
                    bounds.append((low - WIDENED * (high - low), high + WIDENED * (high - low)))
        low, high = np.array(bounds).reshape(-1, 2).T
        return cls(tuple(names), low, high)

    def left(self, examples: Examples) -> Flags:
        """Where more than TOLERATED of the known features lie outside, (n,)."""
        if not self.names:
            return np.zeros(examples.rows, np.bool_)
        values = examples.columns(self.names)
        outside = ((values < self.low) | (values > self.high)).sum(axis=1)
        return np.asarray(outside > TOLERATED * np.isfinite(values).sum(axis=1))

    def told(self) -> dict[str, Any]:
        """As plain values, of which `again` makes it."""
        return {"names": list(self.names), "low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def again(cls, told: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for what is none."""
        low, high = (np.array(told[name], np.float64) for name in ("low", "high"))
        if not len(told["names"]) == len(low) == len(high) or not (low < high).all():
            raise ValueError("the range is none")
        return cls(tuple(told["names"]), low, high)


class Interval(NamedTuple):
    """Bounds of the return by what the probabilities say of its size (p_flat) and its direction (p_up - p_down).

    `ruler`: the feature by which returns are measured, `usual`: its size where it is not known; without a name, 1.
    `calm`, (a - 1,): edges of p_flat; `lean`, (a, b - 1): of p_up - p_down within each; `low`, `high`, (a, b): of the
    log return over the ruler. In each cell the conformal bounds hold for the next row as for those of validation.
    """

    ruler: str
    usual: float
    calm: Floats
    lean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, p: Floats, returns: Floats, examples: Examples, ruler: str = "") -> Self | None:
        """Of rows, (n, 3) and (n,), all known; None where they are too few for bounds at all. Without the ruler among
        the features, or where it is hardly ever known, there is none.
        """
        if len(p) < LEAST_ROWS:
            return None
        sizes = examples.columns((ruler,))[:, 0] if ruler in examples.names else np.zeros(0)
        known = sizes[np.isfinite(sizes) & (sizes > 0)]
        ruler, usual = (ruler, float(np.median(known))) if len(known) >= LEAST_ROWS else ("", 1.0)
        returns = returns / _sizes(ruler, usual, examples)
        parts = int(np.clip(np.sqrt(len(p) / LEAST_ROWS), 1, 4))
        inner = np.linspace(0, 1, parts + 1)[1:-1]
        calm = np.quantile(p[:, Label.FLAT], inner)
        row, tilt = np.searchsorted(calm, p[:, Label.FLAT], side="right"), _tilt(p)
        lean = np.stack([np.quantile(tilt[row == i] if (row == i).any() else tilt, inner) for i in range(parts)])
        cell = parts * row + _cells(lean, row, tilt)
        bounds = [_bounds(returns[cell == i], returns) for i in range(parts * parts)]
        low, high = np.array(bounds).reshape(parts, parts, 2).transpose(2, 0, 1)
        return cls(ruler, usual, calm, lean, low, high)

    def around(self, p: Floats, examples: Examples) -> tuple[Floats, Floats]:
        """Low and high of each row, (n, 3) to (n,) each; NaN where `p` is."""
        row = np.searchsorted(self.calm, p[:, Label.FLAT], side="right").clip(max=len(self.low) - 1)
        place = row, _cells(self.lean, row, _tilt(p))
        known = np.isfinite(p[:, Label.FLAT])
        sizes = np.where(known, _sizes(self.ruler, self.usual, examples), np.nan)
        return self.low[place] * sizes, self.high[place] * sizes

    def told(self) -> dict[str, Any]:
        """As plain values, of which `again` makes it."""
        return {name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in self._asdict().items()}

    @classmethod
    def again(cls, told: Mapping[str, Any]) -> Self:
        """Raises ValueError, KeyError or TypeError for what is none."""
        columns = (np.array(told[name], np.float64) for name in ("calm", "lean", "low", "high"))
        made = cls(str(told["ruler"]), float(told["usual"]), *columns)
        parts = len(made.low)
        shapes = [(parts - 1,), (parts, parts - 1), (parts, parts), (parts, parts)]
        grids = made[2:]
        if not parts or not made.usual > 0 or [grid.shape for grid in grids] != shapes:
            raise ValueError("the interval is none")
        if not all(np.isfinite(grid).all() for grid in grids):
            raise ValueError("the interval is none")
        return made


def _sizes(ruler: str, usual: float, examples: Examples) -> Floats:
    if not ruler:
        return np.ones(examples.rows)
    sizes = examples.columns((ruler,))[:, 0].astype(np.float64)
    return np.where(np.isfinite(sizes) & (sizes > 0), sizes, usual)


def _tilt(p: Floats) -> Floats:
    return np.asarray(p[:, Label.UP] - p[:, Label.DOWN])


def _cells(lean: Floats, row: npt.NDArray[np.intp], tilt: Floats) -> npt.NDArray[np.intp]:
    return np.asarray((tilt[:, None] >= lean[row]).sum(axis=1))


def _bounds(returns: Floats, everywhere: Floats) -> tuple[float, float]:
    """The order statistics beyond each of which the next one lies with BEYOND; of all rows where a cell has few."""
    ordered = np.sort(returns if len(returns) >= LEAST_ROWS // 2 else everywhere)
    below = int((len(ordered) + 1) * BEYOND) - 1
    return float(ordered[max(below, 0)]), float(ordered[min(len(ordered) - 1 - below, len(ordered) - 1)])
