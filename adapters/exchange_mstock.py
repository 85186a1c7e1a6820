"""The simulated exchange's second desk: mStock's REST, answered from the tape that plays.

A login is two steps: client code and password give a request token, that and the code of the moment give the day's
token. A code is checked as RFC 6238 asks: of this half minute or a neighbour, and each once. Source:
https://tradingapi.mstock.com/docs/v1/typeB/User/, read 2026-11-20.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from limits import RateLimitItemPerHour, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pyotp import TOTP

from adapters.exchange_hall import Hall, History, in_rupees
from market.instruments import Instrument, Kind
from market.money import SCALE
from market.sessions import IST, instant
from market.tape import Tape
from market.vendors import mstock_rest
from market.vendors.mstock_packets import EXCHANGES, NAME

TRIES = 10
"""Wrong passwords in a row after which an account is locked."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Customer:
    """The one account of a simulated mStock. `access_token`: one that is valid from the start."""

    def __init__(
        self,
        user: str,
        password: str,
        api_key: str,
        totp_secret: str,
        access_token: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.user, self.api_key = user, api_key
        self._password, self._totp, self._now = password, TOTP(totp_secret), now
        self._requests: set[str] = set()
        self._tokens = {access_token} if access_token else set()
        self._used: set[str] = set()
        self.tries = TRIES

    def admits(self, token: str) -> bool:
        """Whether a token opens anything."""
        return any(secrets.compare_digest(token.encode(), known.encode()) for known in self._tokens)

    def ask(self, user: str, password: str) -> str | None:
        """Step 1: a request token; None for a wrong password or a locked account."""
        right = user == self.user and secrets.compare_digest(password.encode(), self._password.encode())
        if not right or self.tries <= 0:
            self.tries -= 1
            return None
        self.tries = TRIES
        token = secrets.token_urlsafe(24)
        self._requests.add(token)
        return token

    def enter(self, request: str, code: str) -> str | None:
        """Step 2: the day's token for a request token and the code of the moment, each good once."""
        now = datetime.fromtimestamp(self._now(), UTC)
        right = self._totp.verify(code, now, valid_window=1)
        if request not in self._requests or code in self._used or not right:
            return None
        self._requests.discard(request)
        self._used = {code}
        token = secrets.token_urlsafe(48)
        self._tokens.add(token)
        return token

    def leave(self, token: str) -> None:
        """End a session."""
        self._tokens.discard(token)

    def expire(self) -> None:
        """End every session."""
        self._tokens.clear()

    def renew(self, token: str) -> None:
        """Take this token from now on."""
        self._tokens.add(token)


class Refusal(Exception):
    """An error envelope: mStock's code, what happened, the HTTP code."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(code, message, status)
        self.code, self.message, self.status = code, message, status


class Desk:
    """The REST paths of one exchange."""

    def __init__(self, instruments: Sequence[Instrument], customer: Customer, hall: Hall) -> None:
        self._instruments = [i for i in instruments if NAME in i.tokens]
        self._ids = {str(i.tokens[NAME]): i.id for i in self._instruments}
        self._customer, self._hall = customer, hall
        self._limits = MovingWindowRateLimiter(MemoryStorage())
        self._history = History(hall)

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over for the historical call."""
        self._history.remember(tape)

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        router.add_post(mstock_rest.LOGIN, self._login)
        router.add_post(mstock_rest.SESSION_TOTP, self._verify)
        router.add_get(mstock_rest.LOGOUT, self._checked(self._logout))
        router.add_post(mstock_rest.HISTORICAL, self._checked(self._historical))
        router.add_get(mstock_rest.MASTER, self._checked(self._master))

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals, and what aiohttp itself refuses, into mStock's envelope."""
        try:
            return await handler(request)
        except Refusal as e:
            return _refused(e.code, e.message, e.status)
        except web.HTTPClientError as e:
            return _refused(f"IA{e.status}", e.reason, e.status)

    def _checked(self, answer: Callable[[web.Request, Mapping[str, Any]], web.StreamResponse]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._check(request)
            body = await _body(request) if request.method == "POST" else {}
            return answer(request, body)

        return handler

    def _check(self, request: web.Request) -> None:
        """Who asks, and whether not too often."""
        key, token = request.headers.get("X-PrivateKey", ""), _token(request)
        if request.headers.get("X-Mirae-Version") != mstock_rest.VERSION:
            raise Refusal("400", "Please provide a valid version.", 400)
        if key != self._customer.api_key or not self._customer.admits(token):
            raise Refusal("TokenException", "Invalid request. Please try again.", 403)
        if not all(self._limits.hit(limit, key) for limit in _LIMITS):
            raise Refusal("IA429", "Too many requests", 429)

    # Sessions

    async def _login(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        user, password = (body.get(name) for name in ("clientcode", "password"))
        if not isinstance(user, str) or not isinstance(password, str) or not user:
            raise Refusal("400", "Please provide valid clientcode and password.", 400)
        token = self._customer.ask(user, password)
        if token is None:
            left = max(self._customer.tries, 0)
            raise Refusal("MA500", f"Invalid username or password. {left} attempts remaining ")
        return _granted("Please enter the TOTP", {"jwtToken": token, "refreshToken": "", "feedToken": ""}, "true")

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        if request.headers.get("X-PrivateKey") != self._customer.api_key:
            raise Refusal("IA403", "API is suspended/expired for use.", 403)
        token = self._customer.enter(str(body.get("refreshToken")), str(body.get("totp")))
        if token is None:
            raise Refusal("MA400", "Please enter correct TOTP", 400)
        return _granted("SUCCESS", {"jwtToken": token, "refreshToken": token, "feedToken": token})

    def _logout(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        self._customer.leave(_token(request))
        return _granted("SUCCESS", None)

    # Contracts and history

    def _master(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        lines = []
        for i in self._instruments:
            exchange, _, token = str(i.tokens[NAME]).partition("|")
            index = i.kind is Kind.INDEX
            suffix = "-EQ" if EXCHANGES[int(exchange)] == "NSE" and not index else ""
            kind = "INDEX" if index else "EQ"
            values = (token, i.ticker, i.ticker + suffix, "", "", str(i.lot), kind, EXCHANGES[int(exchange)])
            lines.append(dict(zip(mstock_rest.MASTER_FIELDS, (*values, str(i.tick_size / SCALE)), strict=True)))
        return web.Response(text=json.dumps(lines), content_type=mstock_rest.JSON)

    def _historical(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        numbers = {name: number for number, name in EXCHANGES.items()}
        token = f"{numbers.get(str(body.get('exchange')))}|{body.get('symboltoken')}"
        seconds = _SECONDS.get(str(body.get("interval")))
        if token not in self._ids or seconds is None:
            raise Refusal("IA400", "Invalid exchange, symboltoken or interval", 400)
        first, last = (_moment(str(body.get(name)), name) for name in ("fromdate", "todate"))
        candles: list[list[Any]] = []
        for begin, bars in self._history.candles(self._ids[token], seconds // 60):
            moment = instant(begin).astimezone(IST)
            if seconds == _SECONDS["ONE_DAY"]:
                moment = moment.replace(hour=0, minute=0)
            if first <= moment <= last:
                candles.append([moment.strftime("%Y-%m-%d %H:%M"), *in_rupees(bars)])
        return _granted("SUCCESS", {"candles": candles[: mstock_rest.CANDLES]})


_SECONDS = {name: seconds for seconds, name in mstock_rest.INTERVALS.items()}
_LIMITS = (
    RateLimitItemPerSecond(mstock_rest.DATA_A_SECOND),
    RateLimitItemPerMinute(mstock_rest.DATA_A_MINUTE),
    RateLimitItemPerHour(mstock_rest.DATA_AN_HOUR),
)


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        said = json.loads(await request.text())
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Refusal("400", "The body is a JSON object.", 400)
    return said


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" else ""


def _moment(text: str, name: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=IST)
    except ValueError as e:
        raise Refusal("IA400", f"invalid {name}; yyyy-mm-dd hh:mm", 400) from e


def _granted(message: str, data: object, word: bool | str = True) -> web.Response:
    said = {"status": word, "message": message, "errorcode": "", "data": data}
    return web.Response(text=json.dumps(said), content_type=mstock_rest.JSON)


def _refused(code: str, message: str, status: int) -> web.Response:
    said = {"status": "false", "message": message, "errorcode": code, "data": None}
    later = {"Retry-After": "1"} if status == 429 else {}
    return web.Response(text=json.dumps(said), status=status, content_type=mstock_rest.JSON, headers=later)
