"""Access: who asks, what each may do, and how much of it.

A caller is what a checked credential comes to. What a path needs is one row of a table; a path without a row is for
nobody. Tiers say how much a caller may ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

from market.records import Record


class Role(StrEnum):
    """What an account is. Each may do what those before it may."""

    USER = "user"
    PREMIUM = "premium"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API key may be used for."""

    QUOTES = "quotes"
    MARKET = "market"
    PREDICT = "predict"
    TRAIN = "train"
    ACCOUNT = "account"
    ADMIN = "admin"


class Tier(Record):
    """How much one credential may ask for: requests a second and at once, open sockets, symbols on each of them."""

    requests_per_second: float
    burst: int
    connections: int
    symbols: int


TIERS: Mapping[str, Tier] = {
    "anonymous": Tier(requests_per_second=10, burst=20, connections=20, symbols=500),
    "standard": Tier(requests_per_second=10, burst=20, connections=10, symbols=500),
    "premium": Tier(requests_per_second=50, burst=100, connections=50, symbols=3000),
}
"""Source: the Nifty seed, "Rate Limiting (Token Bucket)": 10 a second, premium 50."""


class Caller(Record):
    """Who asks. `credential` names the key, session or address that limits count by, and is no secret; `expires` is ns
    UTC, None where it does not end.
    """

    kind: Literal["anonymous", "session", "key", "ticket"]
    credential: str
    user: str | None = None
    role: Role | None = None
    scopes: frozenset[Scope] = frozenset()
    tier: str = "anonymous"
    expires: int | None = None
