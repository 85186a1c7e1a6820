"""Access: who asks, what each may do, and how much of it.

A caller is what a checked credential comes to. What a path needs is one row of a table; a path without a row is for
nobody. Tiers say how much a caller may ask for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

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


SLOWEST = 0.01
"""Requests a second of the slowest tier."""

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


SOCKET = "WEBSOCKET"
"""The method of a WebSocket's path."""


class Need(StrEnum):
    """Who may. `OPEN`: everybody, unseen; `READ`: whoever has a credential and, in demo mode, everybody."""

    OPEN = "open"
    READ = "read"
    USER = "user"
    PREMIUM = "premium"
    ADMIN = "admin"


class Row(NamedTuple):
    """What a path needs. `scope`: what a key must be good for; None: no key may, a person must have logged in."""

    method: str
    path: str
    need: Need
    scope: Scope | None = None


def _both(method: str, path: str, need: Need, scope: Scope | None) -> tuple[Row, Row]:
    """A path of the seeds and the same under /api/v1."""
    return Row(method, path, need, scope), Row(method, f"/api/v1{path.removeprefix('/api')}", need, scope)


def _about(path: str, need: Need, scope: Scope | None, *methods: str) -> tuple[Row, ...]:
    return tuple(Row(method, f"/api/v1{path}", need, scope) for method in methods)


TABLE: tuple[Row, ...] = (
    Row("GET", "/openapi.json", Need.OPEN),
    Row("GET", "/docs", Need.OPEN),
    Row("GET", "/docs/oauth2-redirect", Need.OPEN),
    Row("GET", "/redoc", Need.OPEN),
    Row("GET", "/web/{name}", Need.OPEN),
    *_both("GET", "/health", Need.OPEN, None),
    Row(SOCKET, "/ws/quotes", Need.READ, Scope.QUOTES),
    *_both("POST", "/api/subscribe", Need.READ, Scope.QUOTES),
    *_both("GET", "/api/stock/{symbol}", Need.READ, Scope.QUOTES),
    *_both("GET", "/api/stocks/batch", Need.READ, Scope.QUOTES),
    *_about("/quotes", Need.READ, Scope.QUOTES, "GET"),
    *_both("GET", "/api/market/status", Need.READ, Scope.MARKET),
    *_about("/market/view", Need.READ, Scope.MARKET, "GET"),
    *_about("/candles/{symbol}", Need.READ, Scope.MARKET, "GET"),
    *_about("/features/{symbol}", Need.READ, Scope.MARKET, "GET"),
    *_about("/sessions", Need.READ, Scope.MARKET, "GET"),
    *_about("/coverage", Need.READ, Scope.MARKET, "GET"),
    *_about("/agreement", Need.READ, Scope.MARKET, "GET"),
    *_about("/status", Need.READ, Scope.MARKET, "GET"),
    *_about("/feeds", Need.READ, Scope.MARKET, "GET"),
    *_about("/alerts", Need.READ, Scope.MARKET, "GET"),
    *_both("GET", "/analyze", Need.READ, Scope.PREDICT),
    *_both("GET", "/analyze/market", Need.READ, Scope.PREDICT),
    *_about("/signals", Need.READ, Scope.PREDICT, "GET"),
    *_about("/outcomes", Need.READ, Scope.PREDICT, "GET"),
    *_both("POST", "/predict", Need.READ, Scope.PREDICT),
    *_both("POST", "/predict/batch", Need.READ, Scope.PREDICT),
    *_both("GET", "/models", Need.READ, Scope.PREDICT),
    *_both("GET", "/jobs/{id}", Need.READ, Scope.PREDICT),
    *_both("POST", "/models/{name}/train", Need.USER, Scope.TRAIN),
    *_about("/ipos", Need.READ, Scope.MARKET, "GET"),
    *_about("/ipos/{id}", Need.READ, Scope.MARKET, "GET"),
    *_about("/ipos/{id}/gmp", Need.READ, Scope.MARKET, "GET"),
    *_about("/ipo/pages/{digest}", Need.READ, Scope.MARKET, "GET"),
    *_about("/ipo/track-record", Need.READ, Scope.MARKET, "GET"),
    *_about("/ipo/thresholds", Need.USER, Scope.ACCOUNT, "GET", "PUT", "DELETE"),
    *_about("/auth/register", Need.OPEN, None, "POST"),
    *_about("/auth/login", Need.OPEN, None, "POST"),
    *_about("/auth/refresh", Need.OPEN, None, "POST"),
    *_about("/auth/logout", Need.OPEN, None, "POST"),
    *_about("/auth/password", Need.USER, None, "POST"),
    *_about("/auth/password/reset", Need.OPEN, None, "POST"),
    *_about("/auth/password/reset/confirm", Need.OPEN, None, "POST"),
    *_about("/me", Need.USER, Scope.ACCOUNT, "GET", "PATCH"),
    *_about("/me/totp", Need.USER, None, "POST"),
    *_about("/me/totp/confirm", Need.USER, None, "POST"),
    *_about("/me/totp/disable", Need.USER, None, "POST"),
    *_about("/keys", Need.USER, Scope.ACCOUNT, "GET"),
    *_about("/keys", Need.USER, None, "POST"),
    *_about("/keys/{id}", Need.USER, None, "DELETE"),
    *_about("/watchlists", Need.USER, Scope.ACCOUNT, "GET"),
    *_about("/watchlists/{name}", Need.USER, Scope.ACCOUNT, "GET", "PUT", "DELETE"),
    *_about("/admin/users", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/users/{id}", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/users/{id}", Need.ADMIN, None, "PATCH"),
    *_about("/admin/users/{id}/keys", Need.ADMIN, None, "POST"),
    *_about("/admin/keys", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/keys/{id}", Need.ADMIN, Scope.ADMIN, "DELETE"),
    *_about("/admin/sessions", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/sessions/{id}", Need.ADMIN, Scope.ADMIN, "DELETE"),
    *_about("/admin/tiers", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/tiers/{name}", Need.ADMIN, Scope.ADMIN, "PUT", "DELETE"),
    *_about("/admin/limits", Need.ADMIN, Scope.ADMIN, "GET", "PUT"),
    *_about("/admin/audit", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/ipo/reviews", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/ipo/reviews/{number}", Need.ADMIN, None, "POST"),
    *_about("/admin/ipo/alarms", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/ipo/alarms/{digest}", Need.ADMIN, None, "POST"),
    *_about("/admin/ipo/pages/{digest}", Need.ADMIN, Scope.ADMIN, "GET"),
    *_about("/admin/ipo/issues/{id}/override", Need.ADMIN, None, "PUT", "DELETE"),
    *_about("/admin/ipo/issues/{id}/join", Need.ADMIN, None, "POST"),
)

RANKS: Mapping[Need, tuple[Role, ...]] = {
    Need.USER: (Role.USER, Role.PREMIUM, Role.ADMIN),
    Need.PREMIUM: (Role.PREMIUM, Role.ADMIN),
    Need.ADMIN: (Role.ADMIN,),
}
SCOPES: Mapping[Role, frozenset[Scope]] = {
    Role.USER: frozenset({Scope.QUOTES, Scope.MARKET, Scope.PREDICT, Scope.ACCOUNT}),
    Role.PREMIUM: frozenset({Scope.QUOTES, Scope.MARKET, Scope.PREDICT, Scope.ACCOUNT}),
    Role.ADMIN: frozenset(Scope),
}
"""What a person of a role may do; the keys they make may do a part of it."""
ROLE_TIERS: Mapping[Role, str] = {Role.USER: "standard", Role.PREMIUM: "premium", Role.ADMIN: "premium"}
"""How much an account of a role may ask for where nobody says otherwise."""
ANONYMOUS_SCOPES = frozenset({Scope.QUOTES, Scope.MARKET, Scope.PREDICT})
ANONYMOUS = Caller(kind="anonymous", credential="anonymous")
"""Nobody in particular; in demo mode one who reads."""


class Refusal(NamedTuple):
    """Why a caller may not. `kind`: credential (there is none, or it is no good), role or scope (it is not enough)."""

    kind: Literal["credential", "role", "scope"]
    reason: str
    allowed: str


CHANNEL_SCOPES: Mapping[str, Scope] = {
    "candles": Scope.MARKET,
    "alerts": Scope.MARKET,
    "analysis": Scope.PREDICT,
    "signals": Scope.PREDICT,
}
"""What a channel of the stream asks of a credential: the same as its path."""


def lacking(scope: Scope, caller: Caller) -> Refusal | None:
    """Why a caller who has been let in may not do what asks for a scope; None: it may.

    >>> lacking(Scope.PREDICT, ANONYMOUS) is None
    True
    >>> lacking(Scope.ACCOUNT, ANONYMOUS).kind
    'scope'
    """
    if scope in (ANONYMOUS_SCOPES if caller.kind == "anonymous" else caller.scopes):
        return None
    return Refusal("scope", f"the credential is not good for {scope}", f"one with the scope {scope}")


def refusal(row: Row, caller: Caller, *, demo: bool) -> Refusal | None:
    """Why this caller may not do this; None: it may.

    >>> refusal(Row("GET", "/x", Need.READ, Scope.QUOTES), ANONYMOUS, demo=True) is None
    True
    >>> refusal(Row("GET", "/x", Need.READ, Scope.QUOTES), ANONYMOUS, demo=False).kind
    'credential'
    """
    if row.need is Need.OPEN:
        return None
    if caller.kind == "anonymous":
        if row.need is Need.READ and demo and row.scope in ANONYMOUS_SCOPES:
            return None
        return Refusal("credential", "nobody is named", "Authorization: Bearer TOKEN of a login, or X-API-KEY")
    if row.need is not Need.READ and caller.role not in RANKS[row.need]:
        return Refusal("role", f"this is for {row.need}", f"an account that is {row.need}")
    if row.scope is None and caller.kind != "session":
        return Refusal("scope", "no API key may do this", "a login")
    return None if row.scope is None else lacking(row.scope, caller)


class Paths:
    """Which row a path of the wire falls under: one without braces before one with."""

    def __init__(self, table: Iterable[Row] = TABLE) -> None:
        self._plain: dict[str, dict[str, Row]] = {}
        self._shaped: dict[int, list[tuple[tuple[str | None, ...], dict[str, Row]]]] = {}
        for row in table:
            parts = tuple(None if part.startswith("{") else part for part in row.path.split("/"))
            if None not in parts:
                self._plain.setdefault(row.path, {})[row.method] = row
                continue
            alike = self._shaped.setdefault(len(parts), [])
            rows = next((rows for shape, rows in alike if shape == parts), None)
            if rows is None:
                alike.append((parts, rows := {}))
            rows[row.method] = row

    def find(self, path: str) -> Mapping[str, Row]:
        """The rows of a path by method; none: nobody may."""
        if path in self._plain:
            return self._plain[path]
        parts = path.split("/")
        for shape, rows in self._shaped.get(len(parts), ()):
            if all(part if want is None else part == want for want, part in zip(shape, parts, strict=True)):
                return rows
        return {}
