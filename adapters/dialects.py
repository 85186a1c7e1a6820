"""Dialects: which vendor's server the simulated exchange is.

A dialect says where a socket is opened and by whom, makes the vendor's half of every socket, and brings the vendor's
desk for REST. The exchange does the rest alike for all. A new vendor is a function here and a line in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from adapters import exchange_flattrade as flattrade_desk
from adapters import exchange_mstock as mstock_desk
from adapters import exchange_rest as kite_desk
from adapters.exchange_hall import Hall
from adapters.us_desk import FinnhubDesk, KeyHolder, PolygonDesk
from market.codecs import Conversation, Message
from market.instruments import Instrument
from market.records import Record
from market.tape import Tape
from market.vendors import (
    finnhub,
    finnhub_wire,
    flattrade,
    flattrade_wire,
    kite,
    kite_wire,
    mstock,
    mstock_wire,
    polygon,
    polygon_wire,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Login(Record):
    """The one account of a simulation, with whatever any vendor asks. `access_token`: one valid from the start."""

    user: str = "DEMO"
    password: str = "demo-password"  # noqa: S105  (of a simulation)
    totp_secret: str = "JBSWY3DPEHPK3PXP"  # noqa: S105  (of a simulation)
    api_key: str = "demo"
    api_secret: str = "demo-secret"  # noqa: S105  (of a simulation)
    access_token: str | None = None


class Desk(Protocol):
    """A vendor's REST."""

    def remember(self, tape: Tape) -> None:
        """Keep a session that is over for the calls about history."""
        ...

    def route(self, router: web.UrlDispatcher) -> None:
        """Add every path."""
        ...

    async def errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A middleware that turns refusals into the vendor's envelope."""
        ...


class Customer(Protocol):
    """Whose tokens a vendor takes."""

    def expire(self) -> None:
        """End every session."""
        ...

    def renew(self, token: str) -> None:
        """Take this token from now on."""
        ...


def _welcome(request: web.Request) -> web.Response | None:
    return None


@dataclass(frozen=True)
class Dialect:
    """One vendor's server.

    `paths`: where a socket is opened; `refusal`: the answer to a handshake that is not taken; `sockets`: how many are
    held at once. One more is refused or, with `evicts`, taken as soon as it has logged in, and the oldest is closed.
    `greeting`: what is said before anything is asked.
    """

    paths: tuple[str, ...]
    sockets: int
    customer: Customer
    desk: Desk
    conversation: Callable[[], Conversation]
    refusal: Callable[[web.Request], web.Response | None] = _welcome
    greeting: tuple[Message, ...] = ()
    evicts: bool = False


def _kite(instruments: Sequence[Instrument], login: Login, hall: Hall) -> Dialect:
    wire = kite_wire.Wire(instruments)
    customer = kite_desk.Customer(login.api_key, login.api_secret, login.access_token)

    def refusal(request: web.Request) -> web.Response | None:
        key, token = request.query.get("api_key"), request.query.get("access_token")
        if not key or not token:
            return web.Response(status=400, text="api_key and access_token are needed in the query")
        return None if customer.authorized(key, token) else web.Response(status=403, text="Authentication failed")

    return Dialect(
        paths=("/", "/ws"),
        sockets=kite.SOCKETS,
        customer=customer,
        desk=kite_desk.Desk(instruments, wire, customer, hall),
        conversation=lambda: kite_wire.Talk(wire),
        refusal=refusal,
    )


def _flattrade(instruments: Sequence[Instrument], login: Login, hall: Hall) -> Dialect:
    wire = flattrade_wire.Wire(instruments)
    customer = flattrade_desk.Customer(login.user, login.api_key, login.api_secret, login.access_token)
    return Dialect(
        paths=("/", "/PiConnectWSAPI/", "/PiConnectWSTp/"),
        sockets=flattrade.SOCKETS,
        customer=customer,
        desk=flattrade_desk.Desk(instruments, wire, customer, hall),
        conversation=lambda: flattrade_wire.Talk(wire, customer.admits),
        evicts=True,
    )


def _mstock(instruments: Sequence[Instrument], login: Login, hall: Hall) -> Dialect:
    wire = mstock_wire.Wire(instruments)
    customer = mstock_desk.Customer(
        login.user, login.password, login.api_key, login.totp_secret, access_token=login.access_token
    )

    def refusal(request: web.Request) -> web.Response | None:
        known = request.query.get("API_KEY") == login.api_key and request.query.get("ACCESS_TOKEN")
        return None if known else web.Response(status=403, text="Invalid API_KEY or no ACCESS_TOKEN")

    return Dialect(
        paths=("/", "/ws"),
        sockets=mstock.SOCKETS,
        customer=customer,
        desk=mstock_desk.Desk(instruments, customer, hall),
        conversation=lambda: mstock_wire.Talk(wire, customer.admits),
        refusal=refusal,
    )


def _polygon(instruments: Sequence[Instrument], login: Login, hall: Hall) -> Dialect:
    wire, customer = polygon_wire.wire(instruments), KeyHolder(login.api_key)
    return Dialect(
        paths=("/", "/stocks"),
        sockets=polygon.Polygon.sockets,
        customer=customer,
        desk=PolygonDesk(instruments, customer, hall),
        conversation=lambda: polygon_wire.Talk(wire, customer.admits),
        greeting=(polygon_wire.GREETING,),
        evicts=True,
    )


def _finnhub(instruments: Sequence[Instrument], login: Login, hall: Hall) -> Dialect:
    wire, customer = finnhub_wire.wire(instruments), KeyHolder(login.api_key)

    def refusal(request: web.Request) -> web.Response | None:
        admitted = customer.admits(request.query.get("token", ""))
        return None if admitted else web.Response(status=401, text="Invalid API key")

    return Dialect(
        paths=("/",),
        sockets=finnhub.Finnhub.sockets,
        customer=customer,
        desk=FinnhubDesk(instruments, customer, hall),
        conversation=lambda: finnhub_wire.Talk(wire),
        refusal=refusal,
        evicts=True,
    )


DIALECTS: dict[str, Callable[[Sequence[Instrument], Login, Hall], Dialect]] = {
    "kite": _kite,
    "flattrade": _flattrade,
    "mstock": _mstock,
    "polygon": _polygon,
    "finnhub": _finnhub,
}
