"""Facts: what one source says of one issue at one time, before anybody knows which issue it is.

Nothing here is believed yet. What a source does not say is None: boards of grey-market premiums know no ISIN, seldom
a symbol, and some no date. `at` is the source's own stamp where it has one, and only else the time of the fetch: a row
stays on a board for weeks under an old stamp.
"""

from __future__ import annotations

from datetime import date

from pydantic import Field

from market.ipo.kinds import Kind, Segment
from market.money import SCALE, Money
from market.records import Record

POINTS = 100.0
"""Percentage points in the whole issue price."""


class Told(Record):
    """What `source` said of an issue `at`, ns UTC.

    `code`: BSE's six digits. `price`: the final one or the upper end of the band, a share; `gmp`: the premium over it,
    a share, may be negative. `open`, `close`: first and last day of bidding, `listing`: first day of trading, in IST.
    """

    source: str = Field(min_length=1)
    name: str = Field(min_length=1)
    at: int
    symbol: str | None = None
    code: str | None = None
    isin: str | None = None
    segment: Segment | None = None
    kind: Kind | None = None
    open: date | None = None
    close: date | None = None
    listing: date | None = None
    price: Money | None = Field(default=None, gt=0)
    gmp: Money | None = None

    @property
    def bare(self) -> Told:
        """What it tells of the issue itself: the row without its time and its premium."""
        return self.model_copy(update={"at": 0, "gmp": None})


def points(amount: Money, price: Money) -> float:
    """An amount a share in percentage points of the issue price.

    >>> points(Money(1_100_000), Money(10_650_000))
    10.328638497652582
    """
    return POINTS * amount / price


def amount(of_points: float, price: Money) -> Money:
    """So many percentage points of the issue price as an amount a share, to the paisa.

    >>> amount(10.328638497652582, Money(10_650_000))
    1100000
    """
    paisa = SCALE // 100
    return Money(round(of_points * price / POINTS / paisa) * paisa)
