"""Access: whoever asks is known before anything answers, over HTTP and on sockets alike.

`Gate` finds what a credential is worth: a signed token or a key, each looked up in the cache that all replicas share
and behind it in the database. `Access` is the middleware: it looks up what the path needs and puts the `Caller` into
`scope["state"]["caller"]`. A path nobody wrote down is for nobody.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs

import structlog
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters import tokens
from adapters.passwords import Cost
from adapters.standings import Kind, Standings
from adapters.tokens import OPERATOR, Claims, Signer
from adapters.users import KEY, Users
from market.access import ANONYMOUS, SCOPES, SOCKET, TABLE, Caller, Paths, Role, Row, refusal
from market.errors import Denied, LineDown, TooMany
from market.records import Record
from market.users import Standing
from serve_app import problems
from serve_app.limits import Knocks

DEMO_HEADER = "X-Bourse-Access"
THREADS = 4
AGAIN_SECONDS = 1.0
PATIENCE = 5.0
"""Seconds that anybody waits for a store, its queue included: one that hangs is as good as away."""
EXPIRED, FORBIDDEN, AWAY = 4001, 4003, 1013
LONGEST_KEY = 200
MOST_FIELDS = 100
"""Of a socket's address."""
NO_GOOD = "the key is none of ours, was revoked, or is too old"
ALLOWED = "an X-API-KEY that is in force"
T = TypeVar("T")


class AccessPlan(Record):
    """What a replica is told of credentials. `database`: None: there are no accounts; `secrets`: to sign by, the first
    one signs; `demo`: anybody may read; `registration`: anybody may make an account; `cost`: of a password's hash.
    """

    database: SecretStr | None = None
    secrets: tuple[SecretStr, ...] = ()
    demo: bool = False
    registration: bool = True
    cost: Cost = Cost()


class Found(NamedTuple):
    """Who asks, and what a ticket was asked for with."""

    caller: Caller
    symbols: tuple[str, ...] = ()


class Gate:
    """Knows what credentials are worth; one for each replica."""

    def __init__(self, plan: AccessPlan, cache: str, patience: float = PATIENCE) -> None:
        """`cache`: the address of the cache. Opens nothing yet. Raises BadSetting."""
        self.plan, self._patience = plan, patience
        self.standings = Standings(cache)
        self.users = Users(plan.database.get_secret_value() if plan.database else None, Standings(cache))
        given = [one.get_secret_value() for one in plan.secrets]
        self.signer = Signer(given or [tokens.fresh()])  # without one, nobody's token is good here
        self._lines = ThreadPoolExecutor(THREADS, "standings")
        self._stores = ThreadPoolExecutor(THREADS, "users")
        self._away = 0.0
        self.closed = threading.Event()

    async def store(self, work: Callable[..., T], *words: Any, **more: Any) -> T:
        """Something the database does, in a thread; what was begun is ended though nobody waits for it any more.

        Raises LineDown, also when it takes too long, and what the work raises.
        """
        return await self._within("database", self._stores, functools.partial(work, *words, **more))

    async def find(self, scope: Scope) -> Found:
        """Who asks; the anonymous caller where no credential is named. Raises Denied, LineDown."""
        headers = Headers(scope=scope)
        token, key = headers.getlist("authorization"), headers.getlist("x-api-key")
        ticket = _tickets(scope) if scope["type"] == "websocket" else []
        given = [*token, *key, *ticket]
        if not given:
            return Found(ANONYMOUS)
        if len(given) > 1:
            raise Denied("credential", f"{len(given)} credentials are named", "one")
        if ticket:
            return await self._ticket(ticket[0])
        return Found(await (self._key(key[0]) if key else self._token(token[0])))

    async def issue(self, caller: Caller, symbols: tuple[str, ...]) -> str:
        """A ticket for one socket. Raises LineDown."""
        return await self._line(self.standings.issue, caller, symbols)

    def close(self) -> None:
        """Close what is open."""
        self.closed.set()
        self._lines.shutdown(cancel_futures=True)
        self._stores.shutdown(cancel_futures=True)
        self.standings.close()
        self.users.close()

    async def _token(self, header: str) -> Caller:
        kind, _, text = header.partition(" ")
        if kind.lower() != "bearer":
            raise Denied("credential", "another scheme than Bearer", tokens.DENIED)
        claims = self.signer.read(text.strip())
        if claims.session == OPERATOR:
            return _person(claims, Standing(user=OPERATOR, role=Role.ADMIN, tier="premium", scopes=SCOPES[Role.ADMIN]))
        standing = await self._standing("session", claims.session)
        if standing is None or standing.user != claims.user:
            raise Denied("credential", "the login has ended", tokens.DENIED)
        return _person(claims, standing)

    async def _key(self, text: str) -> Caller:
        kind, _, rest = text.partition("_")
        name, _, secret = rest.partition("_")
        if kind != KEY or not name.isalnum() or not secret or len(text) > LONGEST_KEY or not text.isascii():
            raise Denied("credential", NO_GOOD, ALLOWED)
        standing = await self._standing("key", name)
        if standing is None or not tokens.same(secret, standing.digest):
            raise Denied("credential", NO_GOOD, ALLOWED)
        return Caller(
            kind="key",
            credential=f"key:{name}",
            user=standing.user,
            role=standing.role,
            scopes=standing.scopes,
            tier=standing.tier,
            expires=standing.expires,
        )

    async def _ticket(self, text: str) -> Found:
        found = await self._line(self.standings.redeem, text)
        if found is None or _over(found[0].expires):
            raise Denied("credential", "the ticket is none of ours, was used, or is too old", "POST /api/subscribe")
        caller = found[0] if found[0].kind == "anonymous" else found[0].model_copy(update={"kind": "ticket"})
        return Found(caller, found[1])

    async def good(self, caller: Caller) -> bool:
        """Whether a caller's credential is still worth what it was; so it is while nobody can be asked."""
        kind, _, name = caller.credential.partition(":")
        if caller.kind == "anonymous" or name == OPERATOR:
            return True
        try:
            standing = await self._standing("key" if kind == "key" else "session", name)
        except LineDown:
            return True
        return standing is not None and (standing.role, standing.scopes) == (caller.role, caller.scopes)

    async def _standing(self, kind: Kind, name: str) -> Standing | None:
        """What a credential is worth, None: nothing. Raises LineDown where the cache does not know and the database
        cannot be asked.
        """
        cached = True
        try:
            known = await self._line(self.standings.find, kind, name)
        except LineDown:
            known, cached = None, False
        if known is None:
            found = await self.store(self.users.standing, kind, name)
            if cached:
                await self._fill(kind, name, found)
        else:
            found = None if known == "ended" else known
        return None if found is None or _over(found.expires) else found

    async def _fill(self, kind: Kind, name: str, found: Standing | None) -> None:
        try:
            await self._line(self.standings.fill, kind, name, found)
        except LineDown:
            structlog.get_logger().warning("standing_not_kept", kind=kind)

    async def _line(self, work: Callable[..., T], *words: Any) -> T:
        self._look()
        return await self._within("cache", self._lines, functools.partial(self._asked, work, *words))

    def _asked(self, work: Callable[..., T], *words: Any) -> T:
        """In a thread: what waited behind one that found it away does not find it out anew."""
        self._look()
        try:
            return work(*words)
        except LineDown:
            self._away = time.monotonic() + AGAIN_SECONDS
            raise

    def _look(self) -> None:
        if time.monotonic() < self._away:
            raise LineDown("cache", "it was away a moment ago")

    async def _within(self, line: str, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """What is not begun when the time is over is never begun."""
        try:
            return await asyncio.wait_for(asyncio.wrap_future(threads.submit(work)), self._patience)
        except TimeoutError:
            raise LineDown(line, f"it said nothing for {self._patience:g} s") from None


class Access:
    """ASGI middleware: `scope["state"]` has `caller`, `demo` and, from a ticket, `symbols`."""

    def __init__(self, app: ASGIApp, *, gate: Gate, knocks: Knocks, paths: Paths | None = None) -> None:
        self._app, self._gate, self._knocks, self._paths = app, gate, knocks, paths or Paths(TABLE)
        self._demo = gate.plan.demo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or say why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        method = SOCKET if scope["type"] == "websocket" else scope["method"]
        rows = self._paths.find(path)
        row = rows.get("GET" if method == "HEAD" else method)
        if row is None:
            methods = (*rows, "HEAD") if "GET" in rows else tuple(rows)
            await _end(_nothing(methods, path), FORBIDDEN, scope, receive, send, methods)
            return
        try:
            if row.need != "open" and (wait := self._knocks.shut(scope)):
                raise TooMany("refusals", wait)
            found = await self._found(row, scope)
        except TooMany as e:
            await _end(problems.of(e, path), AWAY, scope, receive, send, wait=e.wait)
        except Denied as e:
            if wait := await self._knocks.refused(scope, known=e.kind != "credential"):
                await _end(problems.of(TooMany("refusals", wait), path), AWAY, scope, receive, send, wait=wait)
                return
            code = EXPIRED if e.kind == "credential" else FORBIDDEN
            await _end(problems.of(e, path), code, scope, receive, send)
        except LineDown as e:
            structlog.get_logger().warning("store_down", reason=str(e))
            await _end(problems.of(e, path), AWAY, scope, receive, send)
        else:
            self._knocks.good(scope)
            demo = self._demo and found.caller.kind == "anonymous" and row.scope is not None
            known = {"caller": found.caller, "demo": demo, "symbols": found.symbols}
            scope["state"] = {**scope.get("state", {}), **known}
            await self._app(scope, receive, _saying(send) if demo else send)

    async def _found(self, row: Row, scope: Scope) -> Found:
        if row.scope is None and row.need == "open":
            return Found(ANONYMOUS)
        found = await self._gate.find(scope)
        why = refusal(row, found.caller, demo=self._demo)
        if why is not None:
            raise Denied(*why)
        return found


def _tickets(scope: Scope) -> list[str]:
    try:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Denied("credential", "too many parameters", f"at most {MOST_FIELDS}") from None
    return asked.get("ticket", [])


def _person(claims: Claims, standing: Standing) -> Caller:
    return Caller(
        kind="session",
        credential=f"session:{claims.session}",
        user=standing.user,
        role=standing.role,
        scopes=standing.scopes,
        tier=standing.tier,
        expires=claims.expires,
    )


def _over(expires: int | None) -> bool:
    return expires is not None and expires <= time.time_ns()


def _nothing(methods: tuple[str, ...], path: str) -> problems.Problem:
    if methods:
        allowed = ", ".join(methods)
        return problems.problem("method", "Method not allowed", 405, "the path has other methods", path, allowed)
    return problems.problem("unknown-path", "Unknown path", 404, "there is no such path", path, "one of /docs")


def _saying(send: Send) -> Send:
    async def said(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            MutableHeaders(scope=message).setdefault(DEMO_HEADER, "demo")
        await send(message)

    return said


async def _end(
    refused: problems.Problem,
    code: int,
    scope: Scope,
    receive: Receive,
    send: Send,
    methods: tuple[str, ...] = (),
    wait: float = 0.0,
) -> None:
    """A problem for a request; a socket is taken and ended, for a browser sees nothing of one that is not taken."""
    problems.count(refused, scope)
    if scope["type"] == "http":
        answer = problems.answer(refused)
        if methods:
            answer.headers["Allow"] = ", ".join(methods)
        if wait:
            answer.headers["Retry-After"] = problems.seconds(wait)
        await answer(scope, receive, send)
        return
    if (await receive())["type"] == "websocket.connect":
        await send({"type": "websocket.accept", "headers": []})
        await send({"type": "websocket.close", "code": code, "reason": refused.detail[:100]})
