"""Accounts over HTTP: registration, login, keys, watchlists, and what admins may do.

Nothing here says whether an address has an account: registration and reset always answer alike, and a login is as much
work for an address nobody has. Passwords are hashed in threads of their own, few at a time, so that no quote waits for
a login; beyond a bounded line of them callers are told to come again.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Protocol, TypeVar

import structlog
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field, SecretStr
from starlette.responses import Response

from adapters import passwords as factors
from adapters.addresses import address
from adapters.bus import Bus
from adapters.letters import Letters
from adapters.limits import Limits
from adapters.passwords import Passwords
from adapters.users import LOGIN, Known, Opened
from market import users as rules
from market.access import Caller, Role, Scope, Tier
from market.errors import BadValue, Denied, LineDown, NotYet
from market.instruments import Universe
from market.limits import Purpose
from market.records import Record
from market.sessions import nanoseconds
from market.users import AccountEvent, Act, Key, Login, User, Watchlist
from serve_app import problems
from serve_app.access import Gate
from serve_app.follow import GatewayPlan

HASHERS, WAITING = 2, 64
"""Passwords that are hashed at once, and those that may wait."""
SLOWEST = 20.0
"""Seconds; a reset asks the database while it holds a thread, and that may hang."""
LONGEST = 1024
WRONG = Denied("credential", "the address or the password is wrong", LOGIN)
CODE = Denied("code", "the code is missing, wrong, or was used", "`code`: what the app shows now, or a recovery code")
MOST_DAYS = 366
T = TypeVar("T")

Text = Annotated[str, Field(max_length=LONGEST, pattern=rules.PLAIN)]
Name = Annotated[str, Field(max_length=rules.LONGEST_NAME, pattern=rules.PLAIN)]
Secret = Annotated[SecretStr, Field(max_length=LONGEST)]
Page = Annotated[int, Query(ge=1, le=1000)]
Word = Annotated[str, Query(pattern=rules.PLAIN)]
Owner = Annotated[str | None, Query(pattern=rules.PLAIN)]
Part = Annotated[str, Path(pattern=rules.PLAIN)]


class Throttle(Protocol):
    """Who slows down guessing."""

    async def login(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """Before each login, reset and renewal. `address`: of the caller, "" where nobody knows it; `user`: the
        account's address, or ""; `purpose`: failures count for it alone. Raises what the caller is answered with.
        """
        ...

    async def good(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """Behind one that was its owner's."""
        ...


class Unthrottled:
    """Lets everybody through. Satisfies `Throttle`."""

    async def login(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """Nothing."""

    async def good(self, address: str, user: str, purpose: Purpose = "login") -> None:
        """Nothing."""


class Held(Protocol):
    """What is asked of the gateway's desk."""

    plan: GatewayPlan
    universe: Universe
    limits: Limits


class Registration(Record):
    """A new account."""

    email: Text
    password: Secret
    name: Name = ""


class Credentials(Record):
    """A login; `code`: of the second factor, where one is on."""

    email: Text
    password: Secret
    code: Annotated[str, Field(max_length=40)] = ""


class Refresh(Record):
    """A refresh token."""

    refresh_token: Secret


class NewPassword(Record):
    """Another password."""

    password: Secret
    new_password: Secret


class Forgotten(Record):
    """Whose password is to be reset."""

    email: Text


class Reset(Record):
    """A password with the token that was sent."""

    token: Secret
    new_password: Secret


class Profile(Record):
    """What an owner may change."""

    name: Name


class Proof(Record):
    """The password again; `code` where a second factor is on."""

    password: Secret
    code: Annotated[str, Field(max_length=40)] = ""


class Code(Record):
    """What the app shows."""

    code: Annotated[str, Field(max_length=40)]


class NewKey(Record):
    """A key. `days`: it ends after so many; null: it does not end by itself."""

    name: Name
    scopes: list[Scope]
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] | None = 90


class Symbols(Record):
    """Of a watchlist or a stream."""

    symbols: Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=rules.MOST_SYMBOLS)]


class Change(Record):
    """What an admin may change of an account; what is left out stays."""

    role: Role | None = None
    tier: str | None = None
    disabled: bool | None = None


class Tokens(Record):
    """What a login or a renewal gives; `expires_in`, `refresh_expires_in` in seconds."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105  (RFC 6750)
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class Accepted(Record):
    """What was asked for is done, or there is nothing to do: which, is not said here."""

    accepted: Literal[True]


class Ticket(Record):
    """Good for one socket within `expires_in` seconds, at `url`; symbols nobody listed are named."""

    ticket: str
    url: str
    expires_in: int
    symbols: tuple[str, ...]
    unknown: tuple[str, ...]


class TotpSecret(Record):
    """For an app that shows codes."""

    secret: str
    uri: str


class Recovery(Record):
    """Each of these is good once, in the place of a code."""

    recovery_codes: tuple[str, ...]


class MadeKey(Key):
    """A new key; `key` is what is sent as X-API-KEY, and shown nowhere else."""

    key: str


class KeysAnswer(Record):
    """Keys by id."""

    keys: tuple[Key, ...]


class WatchlistsAnswer(Record):
    """Watchlists by name."""

    watchlists: tuple[Watchlist, ...]


class UsersAnswer(Record):
    """Accounts by address."""

    users: tuple[User, ...]


class SessionsAnswer(Record):
    """Logins by id."""

    sessions: tuple[Login, ...]


class ActsAnswer(Record):
    """The newest first."""

    acts: tuple[Act, ...]


class TiersAnswer(Record):
    """How much each tier may ask for."""

    tiers: dict[str, Tier]


class LimitsAnswer(TiersAnswer):
    """What counts now, in the replica that answers. `alone`: questions answered without the cache."""

    up: bool
    trouble: str
    alone: int
    replicas: int


class Desk:
    """What the handlers share."""

    def __init__(self, held: Held, gate: Gate, bus: Bus, throttle: Throttle) -> None:
        self.universe, self.gate, self.throttle = held.universe, gate, throttle
        self.limits, self.unset = held.limits, held.plan.tiers
        self.users, self.store = gate.users, gate.store
        self.passwords = Passwords(gate.plan.cost)
        self._letters = Letters(bus)
        self._hashers = ThreadPoolExecutor(HASHERS, "passwords")
        self._waiting = 0
        self._telling: set[asyncio.Task[None]] = set()

    async def hashing(self, work: Callable[..., T], *words: Any) -> T:
        """Something slow on purpose, in its threads. Raises NotYet when too many wait."""
        if self._waiting >= WAITING + HASHERS:
            raise NotYet("accounts", "too many logins are waiting")
        self._waiting += 1
        try:
            done = self._hashers.submit(functools.partial(work, *words))
            return await asyncio.wait_for(asyncio.wrap_future(done), SLOWEST)
        except TimeoutError:
            raise NotYet("accounts", "logins take too long now") from None
        finally:
            self._waiting -= 1

    def tell(self, kind: str, user: User, token: str | None = None, expires: datetime | None = None) -> None:
        """Put a letter on the bus, behind the answer's back: its time tells nothing."""
        ends = None if expires is None else nanoseconds(expires)
        event = AccountEvent.model_validate(
            {"kind": kind, "user": user.id, "email": user.email, "at": time.time_ns(), "token": token, "expires": ends}
        )
        task = asyncio.create_task(self._tell(event))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def known(self, email: str, password: str) -> Known:
        """Whose password this is. Raises Denied after as much work for an address nobody has."""
        found = await self.store(self.users.known, address(email) or email)
        fits = await self.hashing(self.passwords.fits, password, found.password if found else None)
        if found is None or not fits or found.user.disabled:
            raise Denied(*WRONG.args)
        return found

    async def second(self, known: Known, code: str) -> None:
        """Check the second factor where one is on; each code is good once. Raises Denied."""
        if known.totp_secret is None:
            return
        step = factors.totp_step(known.totp_secret, code, time.time())
        good = (
            await self.store(self.users.take_step, known.user.id, step)
            if step is not None
            else bool(code) and await self.store(self.users.take_recovery, known.user.id, code.strip().lower())
        )
        if not good:
            raise Denied(*CODE.args)

    async def proved(self, caller: Caller, password: str, code: str = "", *, second: bool = False) -> Known:
        """The caller, who has said the password again. Raises Denied."""
        await self.throttle.login("", caller.user or "", "proof")
        me = await self.me(caller)
        found = await self.known(me.email, password)
        if second:
            await self.second(found, code)
        await self.throttle.good("", caller.user or "", "proof")
        return found

    async def me(self, caller: Caller) -> User:
        """The caller's account. Raises Denied for a command that has none."""
        try:
            return await self.store(self.users.user, caller.user)
        except BadValue:
            raise Denied("role", "an operator's token has no account", "the login of an account") from None

    def tier(self, name: str) -> str:
        """A tier's name. Raises BadValue."""
        if name not in self.unset:
            raise BadValue("tier", name[:40], f"one of {', '.join(self.unset)}")
        return name

    async def tiers(self) -> dict[str, Tier]:
        """What administrators set, else what the settings say. Raises LineDown."""
        return {**self.unset, **await self.store(self.users.tiers)}

    async def set_tiers(self, wanted: Mapping[str, Tier | None], by: Caller) -> dict[str, Tier]:
        """Keep tiers, None: what the settings say, and tell every replica, through the cache or, while that is away,
        through the database by and by. Raises LineDown.
        """
        for name, tier in wanted.items():
            await self.store(self.users.set_tier, name, tier, by.user or "")
        found = await self.store(self.users.tiers)
        try:
            await self.limits.publish(found)
        except LineDown as e:
            structlog.get_logger().warning("tiers_not_told", reason=str(e))
        return {**self.unset, **found}

    def answer(self, opened: Opened) -> JSONResponse:
        """The tokens of a login, kept by nobody on the way."""
        user = opened.user
        access, ends = self.gate.signer.sign(user.id, opened.session, user.role, user.tier)
        found = Tokens(
            access_token=access,
            expires_in=max(0, ends // 1_000_000_000 - int(time.time())),
            refresh_token=opened.refresh,
            refresh_expires_in=max(0, int((opened.expires - datetime.now(UTC)).total_seconds())),
        )
        return _secret(found.model_dump())

    async def _tell(self, event: AccountEvent) -> None:
        try:
            await asyncio.to_thread(self._letters.tell, event)
        except LineDown as e:
            structlog.get_logger().warning("letter_lost", kind=event.kind, user=event.user, reason=str(e))


def install(app: FastAPI, held: Held, only: Any, gate: Gate, bus: Bus, throttle: Throttle | None = None) -> None:
    """Add the paths; `only` refuses parameters nobody knows."""
    desk = Desk(held, gate, bus, throttle or Unthrottled())
    app.state.accounts = desk
    _login_routes(app, desk, only)
    _password_routes(app, desk, only)
    _own_routes(app, desk, only)
    _key_routes(app, desk, only)
    _list_routes(app, desk, only)
    _admin_routes(app, desk, only)
    _admin_size_routes(app, desk, only)


def _login_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.post("/api/v1/auth/register", status_code=202, responses={202: {"model": Accepted}})
    async def register(request: Request, asked: Registration) -> JSONResponse:
        """A new account; the answer is the same where the address has one."""
        only(request)
        if not desk.gate.plan.registration:
            raise Denied("role", "accounts are made by admins here", "ask one of them")
        email = address(asked.email)
        if email is None:
            raise BadValue("email", asked.email[:100], "an address like asha@example.com")
        await desk.throttle.login(_from(request), email, "register")
        password = rules.password(asked.password.get_secret_value(), email)
        hashed = await desk.hashing(desk.passwords.hash, password)
        made = await desk.store(desk.users.register, email, asked.name, hashed)
        known = made or await desk.store(desk.users.user, email)
        desk.tell("registered" if made else "registered_again", known)
        return JSONResponse({"accepted": True}, 202)

    @app.post("/api/v1/auth/login", responses={200: {"model": Tokens}})
    async def login(request: Request, asked: Credentials) -> JSONResponse:
        """Tokens for a password and, where one is on, the code of a second factor (401 of kind `code` asks for it)."""
        only(request)
        await desk.throttle.login(_from(request), address(asked.email) or "")
        password = _normal(asked.password)
        known = await desk.known(asked.email, password)
        await desk.second(known, asked.code)
        await desk.throttle.good(_from(request), address(asked.email) or "")
        agent = request.headers.get("user-agent", "")
        opened = await desk.store(desk.users.open_session, known.user.id, agent, known.password)
        if desk.passwords.outdated(known.password):
            again = await desk.hashing(desk.passwords.hash, password)
            await desk.store(desk.users.rehash, known.user.id, known.password, again)
        return desk.answer(opened)

    @app.post("/api/v1/auth/refresh", responses={200: {"model": Tokens}})
    async def refresh(request: Request, asked: Refresh) -> JSONResponse:
        """The next tokens for a refresh token, which is good once: one that comes again ends the login."""
        only(request)
        await desk.throttle.login(_from(request), "", "refresh")
        opened = await desk.store(desk.users.renew, asked.refresh_token.get_secret_value())
        await desk.throttle.good(_from(request), "", "refresh")
        return desk.answer(opened)

    @app.post("/api/v1/auth/logout", status_code=204)
    async def logout(request: Request, asked: Refresh) -> Response:
        """End the login that a refresh token belongs to, its access tokens too."""
        only(request)
        await desk.store(desk.users.end_by_token, asked.refresh_token.get_secret_value())
        return Response(status_code=204)

    @app.post("/api/subscribe", responses={200: {"model": Ticket}})
    @app.post("/api/v1/subscribe", include_in_schema=False)
    async def subscribe(request: Request, asked: Symbols) -> JSONResponse:
        """A ticket with which one socket may be opened within a minute, by who cannot send headers with it."""
        only(request)
        known, unknown = _listed(desk.universe, asked.symbols)
        ticket = await desk.gate.issue(_caller(request), tuple(known))
        lasts = int(rules.TICKET_LASTS.total_seconds())
        where = f"/ws/quotes?ticket={ticket}"
        body = {"ticket": ticket, "url": where, "expires_in": lasts, "symbols": known, "unknown": unknown}
        return _secret(body)


def _password_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.post("/api/v1/auth/password", status_code=204)
    async def change(request: Request, asked: NewPassword) -> Response:
        """Another password; every other login of the account ends."""
        only(request)
        caller = _caller(request)
        known = await desk.proved(caller, _normal(asked.password))
        new = rules.password(asked.new_password.get_secret_value(), known.user.email)
        hashed = await desk.hashing(desk.passwords.hash, new)
        own = caller.credential.removeprefix("session:")
        await desk.store(desk.users.set_password, known.user.id, hashed, known.user.id, own)
        desk.tell("password_changed", known.user)
        return Response(status_code=204)

    @app.post("/api/v1/auth/password/reset", status_code=202, responses={202: {"model": Accepted}})
    async def forgotten(request: Request, asked: Forgotten) -> JSONResponse:
        """A token for another password, sent to the account's address; the answer is the same where there is none."""
        only(request)
        email = address(asked.email) or asked.email
        await desk.throttle.login(_from(request), email, "reset")
        found = await desk.store(desk.users.ask_reset, email)
        if found is not None:
            user, token, ends = found
            desk.tell("reset", user, token, ends)
        return JSONResponse({"accepted": True}, 202)

    @app.post("/api/v1/auth/password/reset/confirm", status_code=204)
    async def confirm(request: Request, asked: Reset) -> Response:
        """Another password for the token that was sent, which is good once; every login of the account ends."""
        only(request)
        await desk.throttle.login(_from(request), "", "confirm")
        new = asked.new_password.get_secret_value()

        def hashed(user: User) -> str:
            return desk.passwords.hash(rules.password(new, user.email))

        user = await desk.hashing(desk.users.reset, asked.token.get_secret_value(), hashed)
        await desk.throttle.good(_from(request), "", "confirm")
        desk.tell("password_changed", user)
        return Response(status_code=204)


def _own_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/me")
    async def me(request: Request) -> User:
        """The caller's account."""
        only(request)
        return await desk.me(_caller(request))

    @app.patch("/api/v1/me")
    async def rename(request: Request, asked: Profile) -> User:
        """Another name."""
        only(request)
        mine = await desk.me(_caller(request))
        return await desk.store(desk.users.rename, mine.id, asked.name)

    @app.post("/api/v1/me/totp", responses={200: {"model": TotpSecret}})
    async def enrol(request: Request, asked: Proof) -> JSONResponse:
        """Begin a second factor: the secret for an app that shows codes; it is asked for once it is confirmed."""
        only(request)
        known = await desk.proved(_caller(request), _normal(asked.password))
        secret = factors.totp_secret()
        await desk.store(desk.users.begin_totp, known.user.id, secret)
        return _secret({"secret": secret, "uri": factors.totp_uri(secret, known.user.email)})

    @app.post("/api/v1/me/totp/confirm", responses={200: {"model": Recovery}})
    async def confirm(request: Request, asked: Code) -> JSONResponse:
        """Ask for codes from now on; the answer shows the recovery codes, once."""
        only(request)
        mine = await desk.me(_caller(request))
        await desk.throttle.login("", mine.email, "confirm")
        secret = await desk.store(desk.users.pending_totp, mine.id)
        step = None if secret is None else factors.totp_step(secret, asked.code, time.time())
        if secret is None or step is None:
            raise Denied(*CODE.args)
        await desk.throttle.good("", mine.email, "confirm")
        codes = factors.recovery_codes()
        await desk.store(desk.users.confirm_totp, mine.id, secret, step, codes)
        return _secret({"recovery_codes": codes})

    @app.post("/api/v1/me/totp/disable", status_code=204)
    async def disable(request: Request, asked: Proof) -> Response:
        """Ask for codes no more."""
        only(request)
        known = await desk.proved(_caller(request), _normal(asked.password), asked.code, second=True)
        await desk.store(desk.users.end_totp, known.user.id)
        return Response(status_code=204)


def _key_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/keys")
    async def keys(request: Request) -> KeysAnswer:
        """The caller's keys, without their secrets."""
        only(request)
        mine = await desk.me(_caller(request))
        return KeysAnswer(keys=tuple(await desk.store(desk.users.keys, mine.id, "", 1000)))

    @app.post("/api/v1/keys", status_code=201, responses={201: {"model": MadeKey}})
    async def make(request: Request, asked: NewKey) -> JSONResponse:
        """A key; the answer shows it, once. Its scopes are a part of what the caller may."""
        only(request)
        mine = await desk.me(_caller(request))
        wanted = rules.scopes(asked.scopes, mine.role)
        return await _made(desk, mine.id, asked, wanted, mine.id)

    @app.delete("/api/v1/keys/{id}", status_code=204)
    async def revoke(request: Request, id: Part) -> Response:
        """End a key."""
        only(request)
        mine = await desk.me(_caller(request))
        return _gone(request, await desk.store(desk.users.revoke, id, mine.id, mine.id), "key", id)


def _list_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/watchlists")
    async def lists(request: Request) -> WatchlistsAnswer:
        """The caller's watchlists."""
        only(request)
        mine = await desk.me(_caller(request))
        return WatchlistsAnswer(watchlists=tuple(await desk.store(desk.users.watchlists, mine.id)))

    @app.get("/api/v1/watchlists/{name}", responses={200: {"model": Watchlist}})
    async def one(request: Request, name: Part) -> Response:
        """One of them."""
        only(request)
        mine = await desk.me(_caller(request))
        found = await desk.store(desk.users.watchlist, mine.id, name)
        return (
            _gone(request, False, "watchlist", name) if found is None else JSONResponse(found.model_dump(mode="json"))
        )

    @app.put("/api/v1/watchlists/{name}", responses={200: {"model": Watchlist}, 201: {"model": Watchlist}})
    async def keep(request: Request, name: Part, asked: Symbols) -> JSONResponse:
        """Keep symbols under a name, in the place of what was there. 404 names a symbol nobody listed."""
        only(request)
        mine = await desk.me(_caller(request))
        wanted = rules.symbols([desk.universe.find(symbol).symbol for symbol in asked.symbols])
        kept = Watchlist(name=rules.list_name(name), symbols=wanted)
        new = await desk.store(desk.users.keep_watchlist, mine.id, kept)
        return JSONResponse(kept.model_dump(mode="json"), 201 if new else 200)

    @app.delete("/api/v1/watchlists/{name}", status_code=204)
    async def drop(request: Request, name: Part) -> Response:
        """Forget one."""
        only(request)
        mine = await desk.me(_caller(request))
        return _gone(request, await desk.store(desk.users.drop_watchlist, mine.id, name), "watchlist", name)


def _admin_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/admin/users")
    async def users(request: Request, after: Word = "", limit: Page = 200) -> UsersAnswer:
        """Accounts in the order of their addresses; `after`: behind this one."""
        only(request, "after", "limit")
        return UsersAnswer(users=tuple(await desk.store(desk.users.users, after, limit)))

    @app.get("/api/v1/admin/users/{id}")
    async def user(request: Request, id: Part) -> User:
        """One, by id or address."""
        only(request)
        return await desk.store(desk.users.user, id)

    @app.patch("/api/v1/admin/users/{id}")
    async def change(request: Request, id: Part, asked: Change) -> User:
        """Another role or tier; disable or enable. Keys that the new role could not have made end."""
        only(request)
        tier = None if asked.tier is None else rules.tier(asked.tier, await desk.tiers())
        by = _caller(request).user or ""
        return await desk.store(desk.users.change, id, by, role=asked.role, tier=tier, disabled=asked.disabled)

    @app.post("/api/v1/admin/users/{id}/keys", status_code=201, responses={201: {"model": MadeKey}})
    async def grant(request: Request, id: Part, asked: NewKey) -> JSONResponse:
        """A key for an account; it may be good for training too. The answer shows it, once."""
        only(request)
        owner = await desk.store(desk.users.user, id)
        wanted = rules.granted(asked.scopes, owner.role)
        return await _made(desk, owner.id, asked, wanted, _caller(request).user or "")

    @app.get("/api/v1/admin/keys")
    async def keys(request: Request, user: Owner = None, after: Word = "", limit: Page = 200) -> KeysAnswer:
        """Keys by id, of one account or of all."""
        only(request, "user", "after", "limit")
        return KeysAnswer(keys=tuple(await desk.store(desk.users.keys, user, after, limit)))

    @app.delete("/api/v1/admin/keys/{id}", status_code=204)
    async def revoke(request: Request, id: Part) -> Response:
        """End a key."""
        only(request)
        return _gone(request, await desk.store(desk.users.revoke, id, _caller(request).user or ""), "key", id)

    @app.get("/api/v1/admin/sessions")
    async def sessions(request: Request, user: Owner = None, after: Word = "", limit: Page = 200) -> SessionsAnswer:
        """Logins that last, by id, of one account or of all."""
        only(request, "user", "after", "limit")
        return SessionsAnswer(sessions=tuple(await desk.store(desk.users.sessions, user, after, limit)))

    @app.delete("/api/v1/admin/sessions/{id}", status_code=204)
    async def end(request: Request, id: Part) -> Response:
        """End a login, its access tokens too."""
        only(request)
        by = _caller(request).user or ""
        return _gone(request, await desk.store(desk.users.end_session, id, "ended by an admin", by), "session", id)


def _admin_size_routes(app: FastAPI, desk: Desk, only: Any) -> None:
    @app.get("/api/v1/admin/tiers")
    async def tiers(request: Request) -> TiersAnswer:
        """How much each tier may ask for."""
        only(request)
        return TiersAnswer(tiers=await desk.tiers())

    @app.put("/api/v1/admin/tiers/{name}")
    async def set_tier(request: Request, name: Part, asked: Tier) -> Tier:
        """Set a tier, in all replicas at once."""
        only(request)
        await desk.set_tiers({desk.tier(name): rules.size(asked)}, _caller(request))
        return asked

    @app.delete("/api/v1/admin/tiers/{name}", status_code=204)
    async def reset_tier(request: Request, name: Part) -> Response:
        """Set a tier back to what the settings say."""
        only(request)
        await desk.set_tiers({desk.tier(name): None}, _caller(request))
        return Response(status_code=204)

    @app.get("/api/v1/admin/limits")
    async def limits(request: Request) -> LimitsAnswer:
        """The tiers that count now, and whether the replicas count together."""
        only(request)
        return LimitsAnswer(tiers=dict(desk.limits.tiers), **desk.limits.health())

    @app.put("/api/v1/admin/limits")
    async def set_limits(request: Request, asked: TiersAnswer) -> TiersAnswer:
        """Set the tiers that are named, in all replicas at once; the others stay."""
        only(request)
        wanted: dict[str, Tier | None] = {desk.tier(name): rules.size(tier) for name, tier in asked.tiers.items()}
        return TiersAnswer(tiers=await desk.set_tiers(wanted, _caller(request)))

    @app.get("/api/v1/admin/audit")
    async def audit(request: Request, limit: Page = 200) -> ActsAnswer:
        """The last acts of people with power over accounts, newest first."""
        only(request, "limit")
        return ActsAnswer(acts=tuple(await desk.store(desk.users.audit, limit)))


async def _made(desk: Desk, owner: str, asked: NewKey, wanted: frozenset[Scope], by: str) -> JSONResponse:
    ends = None if asked.days is None else datetime.now(UTC) + timedelta(days=asked.days)
    key, text = await desk.store(desk.users.add_key, owner, asked.name, wanted, ends, by)
    return _secret({**key.model_dump(mode="json"), "key": text}, 201)


def _caller(request: Request) -> Caller:
    found: Caller = request.state.caller
    return found


def _from(request: Request) -> str:
    return str(getattr(request.state, "address", ""))


def _normal(password: SecretStr) -> str:
    """As `rules.password` leaves it, whatever it is."""
    return rules.normal(password.get_secret_value())


def _listed(universe: Universe, wanted: list[str]) -> tuple[list[str], list[str]]:
    known, unknown = [], []
    for symbol in dict.fromkeys(wanted):
        try:
            known.append(universe.find(symbol).symbol)
        except BadValue:
            unknown.append(symbol[:40])
    return known, unknown


def _secret(body: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(body, status, {"Cache-Control": "no-store"})


def _gone(request: Request, done: bool, what: str, name: str) -> Response:
    if done:
        return Response(status_code=204)
    text = f"{name[:80]!r} is no {what} that lasts"
    refusal = problems.problem(f"unknown-{what}", f"Unknown {what}", 404, text, request.url.path)
    problems.count(refusal, request.scope)
    return problems.answer(refusal)
