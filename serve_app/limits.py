"""Limits: the middleware that lets each caller have what its tier says, and tells it what is left.

A caller is its credential. Without one it is its address, where a trusted front tells it; else all strangers share one
bucket. In front of paths that check a secret stand two more buckets: the address's, and one of the whole house, because
checking a password is made to be slow. Who checks it asks `Throttle` first.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.limits import Limits
from market.access import Caller, Tier
from market.errors import TooMany
from market.limits import Allowance, Bucket, Purpose
from serve_app import problems
from serve_app.guard import refuse

STRANGERS = "anonymous"
TOO_MANY_SOCKETS = 4009
FREE = frozenset({"/health", "/api/v1/health", "/-/healthz", "/-/routes"})
"""Who watches over us is never sent away."""
SECRETS = re.compile(r"/(login|register|registration|refresh|reset|forgot|password|totp)(/|$)")
"""What checks or hands out a secret, where it is posted to."""
AT_LOGIN = Bucket("login:address", rate=1, burst=10)
AT_LOGINS = Bucket("login", rate=20, burst=40)
AT_REFRESHES = Bucket("refresh", rate=100, burst=400)
SYMBOLS_EACH = 50
"""A request for a list costs a token for each so many symbols."""
DEAR = {
    "/predict/batch": 5, "/predict": 2, "/train": 10, "/analyze/market": 2, "/coverage": 5, "/agreement": 5,
    "/outcomes": 5, "/ipos": 2, "/gmp": 2, "/track-record": 5,
}  # fmt: skip
"""What other requests cost whose path ends so."""
HISTORY = re.compile(r"/(candles|features|signals)(/|$)")
BEGINNINGS = ("from", "since")
HISTORY_COST = 5
"""What these cost where they name a beginning: that may lie years back."""

REFUSED, SHARED = "refused", 10
"""The bucket of refusals where nobody's address is known; so many times what a stranger may."""
REMEMBERED = 10_000

K, V = TypeVar("K"), TypeVar("V")
_COMMA = re.compile(rb",|%2c", re.IGNORECASE)


class Limiting:
    """ASGI middleware; stands behind the one that leaves the `Caller` in `scope["state"]["caller"]`.

    `count` hears why somebody was sent away: rate, connections, login.
    """

    def __init__(self, app: ASGIApp, limits: Limits, count: Callable[[str], None] = lambda _: None) -> None:
        self._app, self._limits, self._count = app, limits, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket, or say when to come back."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in FREE:
            await self._app(scope, receive, send)
            return
        name, tier_name = self._who(scope)
        tier = self._limits.tier(tier_name)
        asked = self._buckets(scope, name, tier)
        took = await self._limits.take(*asked)
        said = told(tier_name, tier, took) if asked[0].name == name else {}  # of nobody's bucket but the caller's
        if not took.allowed:
            secret = _secret(scope)
            self._count("login" if secret else "rate")
            allowed = "fewer at once" if secret else f"{tier.requests_per_second:g} a second, {tier.burst} at once"
            await self._send_away(scope, receive, send, took.wait, allowed, said)
        elif scope["type"] == "websocket":
            await self._hold(scope, receive, send, name, tier)
        else:
            await self._app(scope, receive, _telling(send, said))

    def _who(self, scope: Scope) -> tuple[str, str]:
        state = scope.get("state", {})
        caller: Caller | None = state.get("caller")
        if caller is not None and caller.kind != "anonymous":
            return caller.credential, caller.tier
        address = state.get("address")
        return f"address:{address}" if address else STRANGERS, "anonymous"

    def _buckets(self, scope: Scope, name: str, tier: Tier) -> list[Bucket]:
        """Its own first, where it is asked."""
        burst = max(tier.burst, 1)
        asked = [Bucket(name, tier.requests_per_second, burst, min(cost(scope), burst))]
        if not _secret(scope):
            return asked
        if name == STRANGERS:  # what strangers read keeps nobody from logging in, or from staying so
            asked.clear()
        asked.append(AT_REFRESHES if scope["path"].endswith("/refresh") else AT_LOGINS)
        if address := scope.get("state", {}).get("address"):
            asked.append(AT_LOGIN._replace(name=f"{AT_LOGIN.name}:{address}"))
        return asked

    async def _hold(self, scope: Scope, receive: Receive, send: Send, name: str, tier: Tier) -> None:
        lease = await self._limits.open(name, tier.connections)
        if lease is None:
            self._count("connections")
            if (await receive())["type"] == "websocket.connect":  # a browser sees nothing of one that is not taken
                await send({"type": "websocket.accept", "headers": []})
                reason = f"a credential of this tier has at most {tier.connections} sockets"
                await send({"type": "websocket.close", "code": TOO_MANY_SOCKETS, "reason": reason})
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._limits.close(name, lease)

    async def _send_away(
        self, scope: Scope, receive: Receive, send: Send, wait: float, allowed: str, headers: dict[str, str]
    ) -> None:
        refusal = problems.of(TooMany("requests", wait), scope["path"]).model_copy(update={"allowed": allowed})
        await refuse(refusal, scope, receive, send, {**headers, "Retry-After": problems.seconds(wait)})


class Knocks:
    """Those who were refused at the door: a flood of credentials that are no good is refused without looking them up.

    Each refusal costs the address's own bucket or, where no address is known, one that all strangers share. While that
    is empty nobody's credential is looked up, but one that was good here a while ago.
    """

    def __init__(self, limits: Limits, count: Callable[[str], None] = lambda _: None) -> None:
        self._limits, self._count = limits, count
        self._shut: OrderedDict[str, float] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def shut(self, scope: Scope) -> float:
        """Seconds until a credential is looked up again; 0.0: now."""
        given = _given(scope)
        wait = self._shut.get(_door(scope), 0.0) - time.monotonic()
        if wait <= 0 or not given or given in self._good:
            return 0.0
        self._count("refused")
        return wait

    def good(self, scope: Scope) -> None:
        """The credential is somebody's."""
        if given := _given(scope):
            _keep(self._good, given, None)

    async def refused(self, scope: Scope, *, known: bool) -> float:
        """One more refusal; seconds to wait where there were too many. `known`: it was somebody's credential."""
        if not known:
            self._good.pop(_given(scope), None)
        tier, door = self._limits.tier("anonymous"), _door(scope)
        many = 1 if door != REFUSED else SHARED
        took = await self._limits.take(Bucket(door, tier.requests_per_second * many, max(tier.burst * many, 1)))
        if took.allowed:
            return 0.0
        _keep(self._shut, door, time.monotonic() + took.wait)
        self._count("refused")
        return took.wait


class Throttle:
    """Slows down guessing: an account that failed, and the address that did, wait longer and longer, each purpose by
    itself.

    `login` counts a try before its secret is looked at, so that a thousand at once are a thousand tries; `good` takes
    back those of who turned out to be the owner.
    """

    def __init__(self, limits: Limits, count: Callable[[str], None] = lambda _: None) -> None:
        self._limits, self._count = limits, count

    async def login(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """Before each login, reset and renewal; "" is an address, or an account, that nobody knows. Raises TooMany."""
        wait = await self._limits.attempt(user, address, purpose)
        if wait > 0:
            self._count("login")
            raise TooMany("tries", wait)

    async def good(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """The last try was its owner's."""
        await self._limits.good(user, address, purpose)


def cost(scope: Scope) -> int:
    """Tokens of a request: one, and more for what is much work.

    >>> cost({"type": "http", "path": "/api/stocks/batch", "query_string": b"symbols=" + b"A%2C" * 499 + b"A"})
    10
    >>> cost({"type": "http", "path": "/api/v1/candles/TCS", "query_string": b"interval=1m&from=2021-01-04"})
    5
    """
    query, path = scope.get("query_string", b""), scope["path"]
    symbols = len(_COMMA.findall(query)) + 1
    dear = next((tokens for end, tokens in DEAR.items() if path.endswith(end)), 1)
    if HISTORY.search(path) is not None:
        named = parse_qs(query.decode("latin-1"))
        dear = HISTORY_COST if any(name in named for name in BEGINNINGS) else dear
    return max(dear, -(-symbols // SYMBOLS_EACH))


def told(name: str, tier: Tier, took: Allowance) -> dict[str, str]:
    """What a caller is told of its bucket.

    `RateLimit` and `RateLimit-Policy` as in draft-ietf-httpapi-ratelimit-headers-10 (read 2026-11-21): quota `q` in a
    window of `w` seconds, `r` left, all of it again in `t` seconds; the other three as in draft 6, which programs of
    today read.
    """
    quota, full = max(tier.burst, 1), math.ceil(took.full)
    window = max(1, math.ceil(quota / tier.requests_per_second))
    return {
        "RateLimit-Policy": f'"{name}";q={quota};w={window}',
        "RateLimit": f'"{name}";r={took.remaining};t={full}',
        "RateLimit-Limit": str(quota),
        "RateLimit-Remaining": str(took.remaining),
        "RateLimit-Reset": str(full),
    }


def _door(scope: Scope) -> str:
    address = scope.get("state", {}).get("address")
    return f"address:{address}" if address else REFUSED


def _given(scope: Scope) -> bytes:
    """The credential of a request, unreadable; empty where none is named."""
    headers = Headers(scope=scope)
    text = "\n".join([*headers.getlist("authorization"), *headers.getlist("x-api-key")])
    query = scope.get("query_string", b"") if scope["type"] == "websocket" else b""
    asked = query if b"ticket=" in query else b""
    return sha256(text.encode() + asked).digest() if text or asked else b""


def _keep(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def _secret(scope: Scope) -> bool:
    return scope.get("method") == "POST" and SECRETS.search(scope["path"]) is not None


def _telling(send: Send, headers: dict[str, str]) -> Send:
    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer: Any = MutableHeaders(scope=message)
            for name, value in headers.items():
                answer[name] = value
        await send(message)

    return telling
