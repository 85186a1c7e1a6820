"""The simulated exchange's desk for FlatTrade: its REST, answered from the tape that plays.

Every answer has HTTP 200, a refusal too; a request is a form of `jData` and `jKey`. The current and the older address
answer alike. Source: PiConnect API, read 2026-11-20.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from aiohttp import web
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from adapters.exchange_hall import Hall, History
from market.instruments import Instrument
from market.sessions import IST, SECOND, instant
from market.tape import Bars, Tape
from market.vendors import flattrade_rest
from market.vendors.flattrade_wire import Wire, rupees

ROOTS = ("/PiConnectAPI", "/PiConnectTP")
EXPIRED = "Session Expired :  Invalid Session Key"
EMPTY = 'Error Occurred : 5 "no data"'

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Customer:
    """The one account of a simulated FlatTrade. `access_token`: one that is valid from the start."""

    def __init__(self, user: str, api_key: str, api_secret: str, access_token: str | None = None) -> None:
        self.user, self.api_key = user, api_key
        self._secret = api_secret
        self._tokens = {access_token} if access_token else set()
        self._codes: set[str] = set()

    def admits(self, token: str) -> bool:
        """Whether a token opens anything; whose it is follows from it."""
        return any(secrets.compare_digest(token.encode(), known.encode()) for known in self._tokens)

    def code(self) -> str:
        """A new request code, good once, as the login page hands it out."""
        code = secrets.token_hex(20)
        self._codes.add(code)
        return code

    def enter(self, api_key: str, code: str, proof: str) -> str | None:
        """The day's token for a request code; None when anything does not fit."""
        right = sha256(f"{self.api_key}{code}{self._secret}".encode()).hexdigest()
        fits = secrets.compare_digest(proof.encode(), right.encode())
        if api_key != self.api_key or code not in self._codes or not fits:
            return None
        self._codes.discard(code)
        token = secrets.token_hex(32)
        self._tokens.add(token)
        return token

    def expire(self) -> None:
        """End every session."""
        self._tokens.clear()

    def renew(self, token: str) -> None:
        """Take this token from now on."""
        self._tokens.add(token)


class Refusal(Exception):
    """What `emsg` says."""


class Desk:
    """The REST paths of one exchange."""

    def __init__(self, instruments: Sequence[Instrument], wire: Wire, customer: Customer, hall: Hall) -> None:
        self._instruments = {i.id: i for i in instruments}
        self._wire, self._customer, self._hall = wire, customer, hall
        self._history = History(hall)
        self._limits = MovingWindowRateLimiter(MemoryStorage())

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over for the calls about history."""
        self._history.remember(tape)

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        router.add_get("/auth/", self._login)
        router.add_get("/auth/done", self._logged_in)
        router.add_post("/trade/apitoken", self._session)
        router.add_get("/scripmaster/{segment}.csv", self._master)
        for root in ROOTS:
            router.add_post(f"{root}/TPSeries", self._checked(self._candles))
            router.add_post(f"{root}/GetQuotes", self._checked(self._quote))
            router.add_post(f"{root}/Logout", self._checked(self._logout))

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals, and what aiohttp itself refuses, into FlatTrade's envelope."""
        try:
            return await handler(request)
        except Refusal as e:
            return _said({"stat": "Not_Ok", "emsg": str(e)})
        except web.HTTPClientError as e:
            return _said({"stat": "Not_Ok", "emsg": f"Invalid Input :  {e.reason}"}, e.status)

    def _checked(self, answer: Callable[[Mapping[str, Any]], Any]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            form = await request.post()
            if not self._customer.admits(str(form.get("jKey", ""))):
                raise Refusal(EXPIRED)
            limits = (
                RateLimitItemPerSecond(flattrade_rest.DATA_A_SECOND),
                RateLimitItemPerMinute(flattrade_rest.DATA_A_MINUTE),
            )
            if not all(self._limits.hit(limit, "account") for limit in limits):
                raise Refusal("Requests exceeds Limit")
            try:
                asked = json.loads(str(form["jData"]))
            except (KeyError, ValueError, RecursionError) as e:
                raise Refusal("Invalid Input :  jData is Missing.") from e
            if not isinstance(asked, dict) or not isinstance(asked.get("uid"), str):
                raise Refusal("Invalid Input :  Missing uid")
            return _said(answer(asked))

        return handler

    # Sessions

    async def _login(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("app_key") != self._customer.api_key:
            raise Refusal("Invalid Input :  Invalid app_key")
        raise web.HTTPFound(f"/auth/done?code={self._customer.code()}&client={self._customer.user}")

    async def _logged_in(self, request: web.Request) -> web.StreamResponse:
        return _said({"stat": "Ok", "request_code": request.query.get("code", "")})

    async def _session(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = json.loads(await request.text())
            words = [str(asked[name]) for name in ("api_key", "request_code", "api_secret")]
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise Refusal("Invalid Input :  api_key, request_code and api_secret are needed") from e
        token = self._customer.enter(*words)
        if token is None:
            raise Refusal("Invalid Input :  Invalid request_code or api_secret")
        return _said({"stat": "Ok", "status": "Ok", "token": token, "client": self._customer.user})

    def _logout(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        self._customer.expire()
        return {"stat": "Ok"}

    # Contracts, prices, history

    async def _master(self, request: web.Request) -> web.StreamResponse:
        exchange = request.match_info["segment"].partition("_")[0].upper()
        lines = ["Exchange,Token,Lotsize,Symbol,Tradingsymbol,Instrument"]
        for i, head, index in zip(self._instruments.values(), self._wire.heads, self._wire.index, strict=True):
            if head["e"] == exchange:
                lines.append(
                    f"{exchange},{head['tk']},{head['ls']},{i.ticker},{head['ts']},{'INDEX' if index else 'EQ'}"
                )
        return web.Response(text="\n".join(lines) + "\n", content_type="text/csv")

    def _quote(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        who = self._named(asked)
        head = self._wire.heads[who]
        quote = {"stat": "Ok", "exch": head["e"], "token": head["tk"], "tsym": head["ts"]}
        quote |= {name: head[name] for name in ("pp", "ls", "ti")}
        latest = self._hall.tape.latest(self._hall.step)
        latest = latest[latest["instrument"] == who]
        if not len(latest):
            return quote | {"lp": "0.00", "v": "0"}
        [state] = self._wire.states(latest, self._hall.tape.closes_before, depth=True)
        clock = instant(self._hall.clock).astimezone(IST)
        return quote | state | {"request_time": clock.strftime("%H:%M:%S %d-%m-%Y")}

    def _candles(self, asked: Mapping[str, Any]) -> Any:
        who, words = self._named(asked), [asked.get(name) for name in ("st", "et", "intrv")]
        if not all(isinstance(word, str) and word.isascii() and word.isdigit() for word in words):
            raise Refusal("Invalid Input :  st, et or intrv")
        first, last, minutes = (int(str(word)) for word in words)
        if minutes not in flattrade_rest.INTERVALS:
            raise Refusal("Invalid Input :  intrv")
        candles = self._history.candles(who, minutes)
        said = [_candle(bars, begin) for begin, bars in candles if first * SECOND <= begin <= last * SECOND]
        if not said:
            raise Refusal(EMPTY)
        return said[::-1]

    def _named(self, asked: Mapping[str, Any]) -> int:
        who = self._wire.ids.get(f"{asked.get('exch')}|{asked.get('token')}")
        if who is None:
            raise Refusal(EMPTY)
        return who


def _candle(bars: Bars, begin: int) -> dict[str, str]:
    volume = int(bars["volume"].sum())
    prices = {
        "into": bars["open"][0], "inth": bars["high"].max(), "intl": bars["low"].min(), "intc": bars["close"][-1],
    }  # fmt: skip
    typical = (bars["high"] + bars["low"] + bars["close"]) // 3
    vwap = int((typical * bars["volume"]).sum() // volume) // 100 * 100 if volume else 0
    return {
        "stat": "Ok",
        "time": instant(begin).astimezone(IST).strftime("%d-%m-%Y %H:%M:%S"),
        "ssboe": str(begin // SECOND),
        **{name: rupees(int(amount)) for name, amount in prices.items()},
        "intvwap": rupees(vwap),
        "intv": str(volume),
        "intoi": "0",
    }


def _said(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)
