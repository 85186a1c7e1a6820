"""Money and prices: whole numbers of 1/10,000 of the currency.

Paise, cents and the 0.0025 ticks of currency futures are exact in this unit; floats appear only on the way in (a file)
and on the way out (a screen).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NewType

import numpy as np
import numpy.typing as npt

Money = NewType("Money", int)

SCALE = 10_000
DECIMALS = 4

UNKNOWN = int(np.iinfo(np.int64).min)
"""A price, volume or quantity that is not known, in int64 columns. Zero is never used for unknown."""


def money(value: Decimal | str | int) -> Money:
    """An exact amount; raises ValueError for more than four decimals.

    >>> money("2850.50")
    28505000
    """
    scaled = Decimal(value) * SCALE
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value} has more than {DECIMALS} decimals")
    return Money(int(scaled))


def decimal(amount: int) -> Decimal | None:
    """The amount as a decimal with its trailing zeros cut to two places; None for UNKNOWN.

    >>> decimal(28505000)
    Decimal('2850.50')
    """
    if amount == UNKNOWN:
        return None
    exact = Decimal(amount).scaleb(-DECIMALS)
    return exact.quantize(Decimal("0.01")) if amount % 100 == 0 else exact


def from_floats(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Rupee floats (n,) -> money (n,), to the nearest unit; NaN becomes UNKNOWN."""
    floats = np.asarray(values, dtype=np.float64)
    known = np.isfinite(floats)
    out = np.full(floats.shape, UNKNOWN, dtype=np.int64)
    out[known] = np.rint(floats[known] * SCALE).astype(np.int64)
    return out


def to_floats(amounts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Money (n,) -> rupee floats (n,); UNKNOWN becomes NaN. For screens and files only."""
    floats = amounts / SCALE
    return np.where(amounts == UNKNOWN, np.nan, floats)
