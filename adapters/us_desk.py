"""The simulated exchange's desks for the US vendors: who may log in, and one-minute history from the tape that plays.

Source: massive.com/docs/rest/stocks/aggregates/custom-bars; finnhub.io/docs/api/stock-candles; errors as the vendors
word them, which is what their readers go by.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from adapters.exchange_hall import Hall, History
from market.instruments import Instrument
from market.sessions import SECOND
from market.tape import Tape
from market.vendors import finnhub, finnhub_rest, polygon, polygon_rest
from market.vendors.us_wire import Wire

POLYGON = "/v2/aggs/ticker/{ticker}/range/1/{span:minute|day}/{first}/{last}"
FINNHUB = "/api/v1/stock/candle"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyHolder:
    """The one account of a simulation; its key is all a US vendor asks for."""

    def __init__(self, key: str) -> None:
        self._keys = {key}

    def admits(self, key: str) -> bool:
        """Whether this key may log in and ask."""
        return any(secrets.compare_digest(key.encode(), known.encode()) for known in self._keys)

    def expire(self) -> None:
        """Take no key any more."""
        self._keys.clear()

    def renew(self, token: str) -> None:
        """Take this key from now on."""
        self._keys.add(token)


class PolygonDesk:
    """Polygon's aggregates, of a minute or a day each."""

    def __init__(self, instruments: Sequence[Instrument], customer: KeyHolder, hall: Hall) -> None:
        self._wire = Wire(instruments, polygon.NAME)
        self._customer, self._history = customer, History(hall)

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over."""
        self._history.remember(tape)

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        router.add_get(POLYGON, self._aggregates)

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what aiohttp itself refuses into Polygon's envelope."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _said({"status": "NOT_FOUND", "message": "Not found"}, 404)

    async def _aggregates(self, request: web.Request) -> web.Response:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if not self._customer.admits(key if scheme == "Bearer" else request.query.get("apiKey", "")):
            return _said({"status": "ERROR", "error": "Unknown API Key"}, 401)
        ticker, first, last = (request.match_info[name] for name in ("ticker", "first", "last"))
        if not first.isdigit() or not last.isdigit():
            return _said({"status": "ERROR", "error": "Could not parse the time of from or to"}, 400)
        if ticker not in self._wire.ids:
            return _said(polygon_rest.answer(ticker, self._history.minutes(-1, 0, 0)))
        span = int(first) * 1_000_000, int(last) * 1_000_000
        find = self._history.minutes if request.match_info["span"] == "minute" else self._history.days
        return _said(polygon_rest.answer(ticker, find(self._wire.ids[ticker], *span)))


class FinnhubDesk:
    """Finnhub's candles, of a minute or a day each."""

    def __init__(self, instruments: Sequence[Instrument], customer: KeyHolder, hall: Hall) -> None:
        self._wire = Wire(instruments, finnhub.NAME)
        self._customer, self._history = customer, History(hall)

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over."""
        self._history.remember(tape)

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        router.add_get(FINNHUB, self._candles)

    @web.middleware
    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn what aiohttp itself refuses into Finnhub's error."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _said({"error": "Path not found"}, 404)

    async def _candles(self, request: web.Request) -> web.Response:
        asked = request.query
        if not self._customer.admits(request.headers.get("X-Finnhub-Token") or asked.get("token", "")):
            return _said({"error": "Invalid API key"}, 401)
        first, last = asked.get("from", ""), asked.get("to", "")
        if asked.get("resolution") not in ("1", "D") or not first.isdigit() or not last.isdigit():
            return _said({"error": "Wrong resolution, from or to"}, 400)
        instrument = self._wire.ids.get(asked.get("symbol", ""), -1)
        find = self._history.minutes if asked["resolution"] == "1" else self._history.days
        return _said(finnhub_rest.answer(find(instrument, int(first) * SECOND, int(last) * SECOND)))


def _said(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(body, status=status)
