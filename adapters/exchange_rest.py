"""The simulated exchange's desk: Kite's REST, answered from the tape that plays.

Every answer is Kite's envelope; every refusal names Kite's error type under the HTTP code that goes with it. Source:
Kite Connect v3, https://kite.trade/docs/connect/v3/ (response structure, exceptions, market quotes, historical).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
from aiohttp import web
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from adapters.exchange_hall import Hall, History, in_rupees
from market.instruments import Instrument, Kind, Universe
from market.money import SCALE
from market.sessions import IST, SECOND, instant
from market.tape import Packets, Tape
from market.vendors.kite_packets import DIVISORS, SEGMENTS
from market.vendors.kite_rest import CSV_COLUMNS
from market.vendors.kite_wire import Wire

# Requests a second by kind. Source: Kite Connect v3, exceptions and errors, "API rate limit".
RATES = {"quote": 1, "historical": 3, "other": 10}
QUOTES, PRICES = 500, 1000
"""Instruments in one call of /quote, and of /quote/ohlc and /quote/ltp."""

# Minutes of each interval and the days one call may span. Source: kite.trade forum, "Historical API limits".
INTERVALS = {
    "minute": (1, 60), "3minute": (3, 100), "5minute": (5, 100), "10minute": (10, 100), "15minute": (15, 200),
    "30minute": (30, 200), "60minute": (60, 400), "day": (24 * 60, 2000),
}  # fmt: skip

CASH = 1_000_000.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Customer:
    """The one account of a simulated Kite. `access_token`: one that is valid from the start."""

    def __init__(self, api_key: str, api_secret: str, access_token: str | None = None) -> None:
        self._key, self._secret = api_key, api_secret
        self._tokens = {access_token} if access_token else set()
        self._requests: set[str] = set()

    def authorized(self, key: str, token: str) -> bool:
        """Whether this pair may ask anything."""
        return key == self._key and any(secrets.compare_digest(token, known) for known in self._tokens)

    def request_token(self, key: str) -> str | None:
        """A new single-use token, as the login page hands it out; None for a stranger's key."""
        if key != self._key:
            return None
        token = secrets.token_urlsafe(24)
        self._requests.add(token)
        return token

    def access_token(self, key: str, request: str, checksum: str) -> str | None:
        """Turn a request token into an access token; None when anything does not fit."""
        right = sha256(f"{self._key}{request}{self._secret}".encode()).hexdigest()
        if key != self._key or request not in self._requests or not secrets.compare_digest(checksum, right):
            return None
        self._requests.discard(request)
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return token

    def revoke(self, token: str) -> None:
        """End a session."""
        self._tokens.discard(token)

    def expire(self) -> None:
        """End every session."""
        self._tokens.clear()

    def renew(self, token: str) -> None:
        """Take this token from now on."""
        self._tokens.add(token)


class Refusal(Exception):
    """An error envelope: Kite's type, what happened, the HTTP code."""

    def __init__(self, kind: str, message: str, status: int = 400) -> None:
        super().__init__(kind, message, status)
        self.kind, self.message, self.status = kind, message, status


class Desk:
    """The REST paths of one exchange."""

    def __init__(self, instruments: Sequence[Instrument], wire: Wire, customer: Customer, hall: Hall) -> None:
        self._universe = Universe(instruments)
        self._wire, self._customer, self._hall = wire, customer, hall
        self._limits = MovingWindowRateLimiter(MemoryStorage())
        self._history = History(hall)

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over for the historical call."""
        self._history.remember(tape)

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        router.add_get("/connect/login", self._login)
        router.add_get("/connect/done", self._logged_in)
        router.add_post("/session/token", self._begin_session)
        router.add_delete("/session/token", self._end_session)
        for path, answer in {
            "/user/profile": self._profile,
            "/user/margins": self._margins,
            "/user/margins/{segment}": self._margins,
            "/instruments": self._instruments,
            "/instruments/{exchange}": self._instruments,
            "/instruments/historical/{token}/{interval}": self._historical,
            "/quote": self._quote,
            "/quote/ohlc": self._ohlc,
            "/quote/ltp": self._ltp,
        }.items():
            router.add_get(path, self._checked(answer))
        router.add_route("*", "/orders{rest:.*}", self._checked(self._no_orders))

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals, and what aiohttp itself refuses, into Kite's envelope."""
        try:
            return await handler(request)
        except Refusal as e:
            return _error(e.kind, e.message, e.status)
        except web.HTTPNotFound:
            return _error("GeneralException", "Route not found", 404)
        except web.HTTPMethodNotAllowed:
            return _error("GeneralException", "Method not allowed", 405)
        except web.HTTPRequestEntityTooLarge:
            return _error("InputException", "Body too large", 413)

    def _checked(self, answer: Callable[[web.Request], Any]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._check(request)
            answered: web.StreamResponse = answer(request)
            return answered

        return handler

    def _check(self, request: web.Request) -> None:
        """Who asks, and whether not too often."""
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        key, _, token = pair.partition(":")
        if scheme != "token" or not self._customer.authorized(key, token):
            raise Refusal("TokenException", "Incorrect `api_key` or `access_token`.", 403)
        head = request.path.split("/")[1]
        kind = "quote" if head == "quote" else "historical" if "/historical/" in request.path else "other"
        if not self._limits.hit(RateLimitItemPerSecond(RATES[kind]), key, kind):
            raise Refusal("NetworkException", "Too many requests", 429)

    # Sessions

    async def _login(self, request: web.Request) -> web.StreamResponse:
        token = self._customer.request_token(request.query.get("api_key", ""))
        if token is None:
            raise Refusal("InputException", "Invalid `api_key`.")
        raise web.HTTPFound(f"/connect/done?request_token={token}&action=login&status=success")

    async def _logged_in(self, request: web.Request) -> web.StreamResponse:
        return _answer({"request_token": request.query.get("request_token", "")})

    async def _begin_session(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        key, asked, checksum = (str(form.get(n, "")) for n in ("api_key", "request_token", "checksum"))
        token = self._customer.access_token(key, asked, checksum)
        if token is None:
            raise Refusal("TokenException", "Token is invalid or has expired.", 403)
        now = datetime.now(IST).strftime("%Y-%m-%d %H:%M:%S")
        session = {"access_token": token, "public_token": token[:16], "refresh_token": "", "login_time": now}
        return _answer({**_person(), "api_key": key, **session})

    async def _end_session(self, request: web.Request) -> web.StreamResponse:
        if not self._customer.authorized(request.query.get("api_key", ""), request.query.get("access_token", "")):
            raise Refusal("TokenException", "Incorrect `api_key` or `access_token`.", 403)
        self._customer.revoke(request.query["access_token"])
        return _answer(True)

    def _profile(self, request: web.Request) -> web.StreamResponse:
        return _answer(_person())

    def _margins(self, request: web.Request) -> web.StreamResponse:
        each = {segment: _margin(CASH) for segment in ("equity", "commodity")}
        segment = request.match_info.get("segment")
        if segment is None:
            return _answer(each)
        if segment not in each:
            raise Refusal("InputException", f"Invalid segment `{segment}`; equity or commodity.")
        return _answer(each[segment])

    def _no_orders(self, request: web.Request) -> web.StreamResponse:
        raise Refusal("GeneralException", "This exchange takes no orders yet.", 501)

    # Instruments and prices

    def _instruments(self, request: web.Request) -> web.StreamResponse:
        exchange = request.match_info.get("exchange")
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        for i in self._universe:
            if exchange in (None, i.exchange):
                token = int(i.tokens["kite"])
                segment = "INDICES" if i.kind is Kind.INDEX else i.exchange
                tick, price = i.tick_size / SCALE, 0.0
                row = [token, token >> 8, i.ticker, i.name, price, "", 0.0, tick, i.lot, "EQ", segment, i.exchange]
                writer.writerow(row)
        body = out.getvalue().encode()
        headers = {}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
        return web.Response(body=body, content_type="text/csv", headers=headers)

    def _quote(self, request: web.Request) -> web.StreamResponse:
        return _answer({name: _full(row) for name, row in self._asked(request, QUOTES, "full")})

    def _ohlc(self, request: web.Request) -> web.StreamResponse:
        return _answer(
            {
                name: {
                    "instrument_token": int(row["token"]),
                    "last_price": _rupees(row, "last_price"),
                    "ohlc": _day(row),
                }
                for name, row in self._asked(request, PRICES, "full")
            }
        )

    def _ltp(self, request: web.Request) -> web.StreamResponse:
        return _answer(
            {
                name: {"instrument_token": int(row["token"]), "last_price": _rupees(row, "last_price")}
                for name, row in self._asked(request, PRICES, "full")
            }
        )

    def _asked(self, request: web.Request, most: int, kind: str) -> list[tuple[str, Any]]:
        """The latest packets of the instruments a call names; those unknown or not yet traded are left out."""
        names = request.query.getall("i", [])
        if not names:
            raise Refusal("InputException", "`i` is needed: EXCHANGE:SYMBOL, once for each instrument.")
        if len(names) > most:
            raise Refusal("InputException", f"Too many instruments requested. Max permitted is {most}")
        by_id: dict[int, str] = {}
        for name in names:
            if name in self._universe:
                by_id[self._universe.find(name).id] = name
            elif name.isdigit() and int(name) in self._wire.ids:
                by_id[self._wire.ids[int(name)]] = name
        rows = self._latest()
        rows = rows[np.isin(rows["instrument"], list(by_id))]
        found: list[tuple[str, Any]] = []
        for packet in rows:
            index = self._universe[int(packet["instrument"])].kind is Kind.INDEX
            said = self._wire.rows(
                "index_full" if index else kind, packet[None], self._hall.tape.closes_before, self._hall.clock
            )
            found.append((by_id[int(packet["instrument"])], said[0]))
        return found

    def _latest(self) -> Packets:
        return self._hall.tape.latest(self._hall.step)

    # History

    def _historical(self, request: web.Request) -> web.StreamResponse:
        token, interval = request.match_info["token"], request.match_info["interval"]
        if interval not in INTERVALS:
            raise Refusal("InputException", f"invalid interval; one of {', '.join(INTERVALS)}")
        if not token.isdigit() or int(token) not in self._wire.ids:
            raise Refusal("InputException", "invalid token")
        first, last = (_moment(request.query.get(name, ""), name) for name in ("from", "to"))
        minutes, days = INTERVALS[interval]
        if last < first:
            raise Refusal("InputException", "`to` is before `from`")
        if last - first > timedelta(days=days):
            raise Refusal("InputException", f"interval exceeds max limit: {days} days")
        who = self._wire.ids[int(token)]
        candles = []
        for begin, bars in self._history.candles(who, minutes):
            moment = instant(begin).astimezone(IST)
            if minutes == INTERVALS["day"][0]:
                moment = moment.replace(hour=0, minute=0)
            if first <= moment <= last:
                row = [moment.strftime("%Y-%m-%dT%H:%M:%S%z"), *in_rupees(bars)]
                candles.append([*row, 0] if request.query.get("oi") == "1" else row)
        return _answer({"candles": candles})


def _moment(text: str, name: str) -> datetime:
    for layout in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, layout).replace(tzinfo=IST)
        except ValueError:
            continue
    raise Refusal("InputException", f"invalid `{name}`; yyyy-mm-dd hh:mm:ss")


def _rupees(row: Any, name: str) -> float:
    return int(row[name]) / DIVISORS.get(int(row["token"]) & 0xFF, 100)


def _day(row: Any) -> dict[str, float]:
    return {name: _rupees(row, name) for name in ("open", "high", "low", "close")}


def _full(row: Any) -> dict[str, Any]:
    last, close = _rupees(row, "last_price"), _rupees(row, "close")
    quote = {
        "instrument_token": int(row["token"]),
        "timestamp": _stamp(row["exchange_timestamp"]),
        "last_price": last,
        "net_change": round(last - close, 2) if close else 0,
        "ohlc": _day(row),
    }
    if int(row["token"]) & 0xFF == SEGMENTS["indices"]:
        return quote
    sides = {"buy": "bids", "sell": "asks"}
    depth = {
        side: [
            {"price": int(level["price"]) / 100, "quantity": int(level["quantity"]), "orders": int(level["orders"])}
            for level in row[name]
        ]
        for side, name in sides.items()
    }
    return quote | {
        "last_trade_time": _stamp(row["last_trade_time"]),
        "last_quantity": int(row["last_traded_quantity"]),
        "buy_quantity": int(row["total_buy_quantity"]),
        "sell_quantity": int(row["total_sell_quantity"]),
        "volume": int(row["volume_traded"]),
        "average_price": _rupees(row, "average_traded_price"),
        "oi": 0,
        "oi_day_high": 0,
        "oi_day_low": 0,
        "lower_circuit_limit": round(close * 0.9, 2),
        "upper_circuit_limit": round(close * 1.1, 2),
        "depth": depth,
    }


def _stamp(seconds: int) -> str:
    return instant(int(seconds) * SECOND).astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def _person() -> dict[str, Any]:
    return {
        "user_id": "SIM001",
        "user_type": "individual",
        "user_name": "Simulated Exchange",
        "user_shortname": "Simulated",
        "email": "simulated@example.com",
        "broker": "ZERODHA",
        "exchanges": ["NSE", "BSE"],
        "products": ["CNC", "NRML", "MIS"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }


def _margin(cash: float) -> dict[str, Any]:
    available = dict.fromkeys(("adhoc_margin", "collateral", "intraday_payin"), 0)
    used = (
        "debits", "exposure", "m2m_realised", "m2m_unrealised", "option_premium", "payout", "span", "holding_sales",
        "turnover", "liquid_collateral", "stock_collateral", "delivery",
    )  # fmt: skip
    cashes = {"cash": cash, "opening_balance": cash, "live_balance": cash}
    return {"enabled": True, "net": cash, "available": available | cashes, "utilised": dict.fromkeys(used, 0)}


def _answer(data: Any) -> web.Response:
    return web.Response(text=json.dumps({"status": "success", "data": data}), content_type="application/json")


def _error(kind: str, message: str, status: int) -> web.Response:
    body = {"status": "error", "message": message, "error_type": kind, "data": None}
    return web.Response(text=json.dumps(body), status=status, content_type="application/json")
