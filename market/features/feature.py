"""What a feature is, and what becomes of the row of a minute that cannot be told."""

from __future__ import annotations

from enum import IntEnum

from pydantic import Field

from market.records import Record

TIMEFRAMES = {"1m": 60, "5m": 300, "15m": 900, "1d": 86400}
"""Name to seconds, of the timeframes on which the technical features stand."""


class Unknown(IntEnum):
    """Why the features of a minute are unknown; all its values are NaN then. A KNOWN row may be warming up in part."""

    KNOWN = 0
    GAP = 1
    """No feed was live in this minute."""
    NO_PRICE = 2
    """The candle has no price, or one that is not above 0."""
    STALE = 3
    """No trade in the last `STALE` live minutes of the session."""
    NO_SESSION = 4
    """The minute lies in no session that is known."""
    PARTIAL = 5
    """Part of the market was not there in time: what compares with it is NaN, and only that."""


class Feature(Record):
    """One column of the values.

    `memory`: rows of its timeframe after which where the series began is forgotten; `scale`: its ordinary size, by
    which a difference is judged; `timeframe`: of the rows it is made of, "session" for those since the open.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    unit: str
    memory: int = Field(ge=0)
    scale: float = Field(gt=0)
    timeframe: str
    formula: str
    source: str
