"""Profit: whether a premium is worth an application, by what a user calls worth it, and how often that was right.

Two thresholds, one in points of the issue price and one in rupees a share, joined by OR or AND. OR is what users are
given at first, and it is the worse: 20 rupees are 2 points of a share of 1,000. So its measured precision is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from market.ipo.facts import points
from market.money import SCALE, Money
from market.records import Record

WORTH_POINTS = 10.0
MOST_POINTS = 1000.0
MOST_AMOUNT = Money(1_000_000 * SCALE)
"""Above every premium there is: rupees a share."""


class Joined(StrEnum):
    """Whether one threshold is enough."""

    OR = "or"
    AND = "and"


class Thresholds(Record):
    """From where on one user calls an issue profitable: points of the issue price, 0 to 1,000, and an amount a share,
    0 to a million rupees.
    """

    points: float = Field(default=WORTH_POINTS, ge=0, le=MOST_POINTS)
    amount: Money = Field(default=Money(20 * SCALE), ge=0, le=MOST_AMOUNT)
    joined: Joined = Joined.OR


class Came(NamedTuple):
    """A premium and what came: `gain_points` by the first trade or the close, in points of the issue price."""

    gmp: Money
    price: Money
    gain_points: float


class Measured(Record):
    """How often thresholds were right over `issues`, of which they `flagged` some. `precision`: of the flagged how many
    gained enough; `recall`: of those that gained enough how many were flagged; all 0 to 1, None where there are none.
    """

    issues: int
    flagged: int
    precision: float | None
    recall: float | None
    accuracy: float | None


def profitable(gmp: Money | None, price: Money | None, thresholds: Thresholds) -> bool | None:
    """Whether a premium reaches the thresholds; None: it is not known, or its price is not."""
    if gmp is None or price is None:
        return None
    reached = points(gmp, price) >= thresholds.points, gmp >= thresholds.amount
    return any(reached) if thresholds.joined is Joined.OR else all(reached)


def measured(outcomes: Iterable[Came], thresholds: Thresholds, worth: float = WORTH_POINTS) -> Measured:
    """How often thresholds were right; `worth`: the gain, in points, that is enough."""
    rows = [(profitable(one.gmp, one.price, thresholds), one.gain_points >= worth) for one in outcomes]
    flagged = sum(1 for said, _ in rows if said)
    right = sum(1 for said, came in rows if said and came)
    gained = sum(1 for _, came in rows if came)
    return Measured(
        issues=len(rows),
        flagged=flagged,
        precision=_share(right, flagged),
        recall=_share(right, gained),
        accuracy=_share(sum(1 for said, came in rows if said is came), len(rows)),
    )


def _share(part: int, of: int) -> float | None:
    return part / of if of else None
