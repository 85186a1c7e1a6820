"""Gateway: quotes, candles and the state of the house over HTTP and WebSocket.

Every replica follows the bus itself, so a quote read never leaves the process. Today's candles come from the live
window, older ones from the lake, in one answer that says what it is short of. `build` makes the app without Ray;
`application` wraps it for Serve.
"""

from __future__ import annotations

import asyncio
import gc
import mimetypes
import threading
import time
from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import structlog
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from ray import serve
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters import logs
from adapters.bus import Bus
from adapters.lake import Lake
from adapters.limits import ASKED_SECONDS, Limits
from adapters.lines import Backoff
from adapters.readmodel import ReadModel
from adapters.schemas import candle_rows
from adapters.switches import Switches
from market.access import Caller
from market.candles import NO_CANDLES, Candles, interval, newest_revisions
from market.errors import BadValue, LineDown, StoreRefused
from market.holidays import exchange_named, sessions_of, span
from market.instruments import Universe
from market.money import UNKNOWN
from market.quotes import QuoteRows
from market.sessions import DAY, SECOND, ZONES, ExchangeName, Session, Sessions, instant
from serve_app import (
    accounts,
    analyze,
    answers,
    features,
    ipo_admin,
    ipos,
    ledger,
    market,
    openapi,
    predictions,
    problems,
    shapes,
)
from serve_app.access import Access, Gate
from serve_app.answers import EITHER, Heads
from serve_app.channels import Channels
from serve_app.dates import day, moment
from serve_app.follow import Follower, GatewayPlan
from serve_app.guard import ACCOUNT, Guard, Seal, below
from serve_app.hub import Hub
from serve_app.limits import Knocks, Limiting, Throttle
from serve_app.measures import Measured, Measures
from serve_app.predictions import Predicts, Remote
from serve_app.replies import (
    AlertsAnswer,
    BatchAnswer,
    CandlesAnswer,
    FeedsAnswer,
    HealthAnswer,
    MarketStatus,
    QuoteAnswer,
    QuotesAnswer,
    SessionsAnswer,
    StatusAnswer,
)
from serve_app.requests import Requests
from serve_app.stream import PATH, Stream, Watchlists
from serve_app.wires import Transports

WEB = Path(__file__).parent / "web"
BATCH = 500
CHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What was asked for has not changed"}}
DOWN_TOO: dict[str, Any] = {"model": HealthAnswer, "description": "This replica has no bus"}
LEAST_PACKED = 1024
"""Bytes; a shorter answer is not worth packing."""
CANDLES = 1000
MOST_CANDLES = 10_000
LONGEST = timedelta(days=366 * 5)
STATUS, PREDICTOR = "status", "predictor"
DOWN = ("DOWN", "MUTE", "AUTH_REQUIRED")
YOUNG = 5_000
"""New objects between two looks through the youngest."""
SETTLED = 5 * SECOND
"""A candle that ended longer ago than this, in market time, should be here."""


class Desk:
    """What the handlers share: the follower, the lake, the read model."""

    def __init__(self, plan: GatewayPlan) -> None:
        self.plan = plan
        self.universe = Universe(plan.instruments)
        self.instruments = list(self.universe)
        self.sessions = Sessions(plan.sessions)
        self.exchange: ExchangeName = plan.sessions[0].exchange if plan.sessions else "NSE"
        self.follower = Follower(plan)
        self.model = ReadModel(plan.cache, timeout=1.0)
        self.lake = Lake(plan.lake)
        self.switches = Switches(Bus(plan.bus, timeout=2.0))
        self.limits = Limits(plan.cache, plan.tiers, plan.replicas)
        self.refusals = problems.Refusals()
        self.stale = int(plan.stale_seconds * SECOND)
        self.hub = Hub(self.follower, self.universe, self.stale)
        self.measures = Measures(self.limits, self.hub.figures)
        self.channels = Channels(self.hub, Bus(plan.bus), self.universe, plan.partitions)
        self.follower.listeners.append(self.channels.heard)
        self.follower.anew.append(self.channels.began_anew)

    def quotes(self, ids: list[int]) -> list[dict[str, Any]]:
        """Quotes by id."""
        return shapes.quotes(self.follower.quotes, self.instruments, self._rows(ids), self.stale)

    def quotes_of(self, ids: list[int], fields: Collection[str]) -> tuple[bytes, Callable[[], list[dict[str, Any]]]]:
        """What some fields of quotes depend on, and how to make them; hold the follower's lock around both."""
        rows, book = self._rows(ids), self.follower.quotes
        facts = shapes.quote_facts(book, rows, self.stale, fields)
        return facts, lambda: shapes.quotes(book, self.instruments, rows, self.stale, fields)

    def _rows(self, ids: list[int]) -> QuoteRows:
        rows = self.follower.read(ids)
        known = int((rows["price"] != UNKNOWN).sum())
        self.measures.read(known, len(ids) - known)
        return rows

    def status(self) -> Response:
        """The Supervisor's record with what this replica knows; says so when there is none."""
        try:
            record = self.model.get(STATUS) or {"parts": [], "trouble": "the supervisor has said nothing for a while"}
        except LineDown as e:
            record = {"parts": [], "trouble": f"cache: {e.reason}"}
        record["candles_today"] = int(self.follower.counts().sum())
        record["gateway"] = self.follower.health() | {"refused": dict(self.refusals.counts)}
        if self.plan.predictor:
            record["predictor"] = self._predictor()
        record["alerts"] = self.alerts(everything=False)
        return record

    def _predictor(self) -> dict[str, Any]:
        silent = {"up": False, "trouble": "the predictor has said nothing for a while"}
        try:
            return self.model.get(PREDICTOR) or silent
        except LineDown as e:
            return {"up": False, "trouble": f"cache: {e.reason}"}

    def alerts(self, *, everything: bool) -> list[dict[str, Any]]:
        """Operator alerts: the open ones, or all of late."""
        return shapes.alerts(self.follower.told(everything=everything), self.follower.told(everything=False))

    def health(self) -> dict[str, Any]:
        """Each part: up, lag, state; open alerts; and one word for all, which a critical alert makes "degraded"."""
        record = self.status()
        parts = {
            p["actor"]: {k: p.get(k) for k in ("up", "state", "lag_seconds", "trouble", "restarts") if k in p}
            for p in record["parts"]
        }
        parts |= {name: record[name] for name in ("gateway", PREDICTOR) if name in record}
        well = all(p["up"] and p.get("state") not in DOWN and not p.get("trouble") for p in parts.values())
        well = well and bool(record["parts"]) and not record.get("held_back")
        well = well and (record.get("database") or {"up": True})["up"]
        limits = self.limits.health()
        well = well and limits["up"]
        well = well and not any(a["severity"] == "critical" for a in record["alerts"])
        status = "ok" if well else "down" if self.follower.trouble else "degraded"
        said = {name: record.get(name) for name in ("bus", "database", "alerts")}
        told = {"status": status, "parts": parts, **said, "trouble": record.get("trouble", "")}
        told |= {"feeds": _breakers(record), "limits": limits}
        return told if self.plan.access.demo else _bare(told)

    def feeds(self) -> Response:
        """Each feed as the switch sees it, and the last switches, newest first."""
        switch = next((p for p in self.status()["parts"] if p["part"] == "switch"), {})
        try:
            seams, trouble = self.switches.recent(), switch.get("trouble", "the switch has said nothing for a while")
        except LineDown as e:
            seams, trouble = [], f"bus: {e.reason}"
        return {
            "active": switch.get("active"),
            "forced": switch.get("forced"),
            "held": switch.get("held", False),
            "trouble": trouble,
            "feeds": [shapes.feed(one) for one in switch.get("feeds", ())],
            "switches": [shapes.seam(one) for one in reversed(seams)],
        }

    def market(self) -> dict[str, Any]:
        """Which phase the market is in, by its own clock."""
        now = self.follower.quotes.market_time
        session, following = self.sessions.of(now), self.sessions.after(now)
        feeds = dict(self.follower.quotes.feeds)  # a copy: the follower may add to it now
        return {
            "phase": self.sessions.phase(now).value if now else "unknown",
            "market_time": shapes.stamp(now),
            "session": session.date.isoformat() if session else None,
            "opens": shapes.stamp(session.open) if session else None,
            "closes": shapes.stamp(session.close) if session else None,
            "next_open": shapes.stamp(following.open) if following and now else None,
            "active_feed": self._feed_name(self.follower.quotes.active),
            "feeds": {self.plan.feeds[n]: said.state.name for n, said in feeds.items() if n < len(self.plan.feeds)},
        }

    def _feed_name(self, source: int) -> str | None:
        return self.plan.feeds[source] if source < len(self.plan.feeds) else None

    def now(self) -> int:
        """Market time, ns UTC; before the first mark the close of the last session that is known to be over."""
        known = [s.close for s in self.sessions if s.close < time.time_ns()]
        return self.follower.quotes.market_time or max(known, default=0)

    def days(self, asked: str | None, since: date | None, until: date | None) -> dict[str, Any]:
        """The sessions of an exchange, ours without its name, for 30 days from today without dates. Raises BadValue."""
        exchange = self.exchange if asked is None else exchange_named(asked)
        today = instant(self.follower.quotes.market_time or time.time_ns()).astimezone(ZONES[exchange]).date()
        first, last = span(since, until, today)
        if last - first > LONGEST:
            raise BadValue("from", first.isoformat(), f"a range of at most {LONGEST.days} days")
        mine = self.plan.sessions
        if exchange == self.exchange and mine and mine[0].date <= first and last <= mine[-1].date:
            found = [s for s in mine if first <= s.date <= last]
        else:
            found = list(sessions_of(exchange, first, last, self.plan.notices))
        return shapes.sessions(exchange, first, last, found)

    def horizon(self) -> int:
        """Where a range without a `to` ends: a day behind the market's clock or, before its first mark, behind the last
        session.
        """
        return (self.follower.quotes.market_time or max((s.close for s in self.sessions), default=0)) + DAY

    async def candles(self, symbol: str, name: str, first: int | None, last: int | None, limit: int) -> dict[str, Any]:
        """One instrument's candles in [first, last)."""
        instrument, seconds = self.universe.find(symbol), interval(name)
        now = self.follower.quotes.market_time
        until = last if last is not None else self.horizon()
        since = first if first is not None else self._default_first(until)
        rows = self.follower.candles(instrument.id, seconds, since, until)
        if not len(rows) or not self._from_open(int(rows["start"][0]), since):
            older = await asyncio.to_thread(self._from_lake, instrument.symbol, name, since, until)
            rows = newest_revisions(np.concatenate([older, rows]))
        found, rows = len(rows), rows[max(len(rows) - limit, 0) :]
        begin = int(rows["start"][0]) if found > limit else since
        ended = now - SETTLED
        covered = shapes.coverage(rows, self._between(begin, min(until, ended)), seconds, begin, until, ended)
        return {
            "symbol": instrument.symbol,
            "interval": name,
            "from": shapes.stamp(since),
            "to": shapes.stamp(until),
            "market_time": shapes.stamp(now),
            "truncated": found > limit,
            "coverage": covered,
            "candles": shapes.candles(rows),
        }

    def _default_first(self, until: int) -> int:
        """Without a `from`: the open of the newest session that has begun by then."""
        begun = [s.open for s in self.sessions if s.open < until and s.preopen <= self.follower.quotes.market_time]
        return begun[-1] if begun else max(until - DAY, 0)

    def _from_open(self, start: int, since: int) -> bool:
        """Whether the window alone reaches back to `since`: nothing of a session lies between."""
        return not any(s.open < start and s.close > since for s in self._between(since, start))

    def _between(self, first: int, last: int) -> list[Session]:
        return [s for s in self.sessions if s.close > first and s.open < last]

    def _from_lake(self, symbol: str, name: str, first: int, last: int) -> Candles:
        days = [datetime.fromtimestamp(t / SECOND, self.sessions.zone).date() for t in (first, last)]
        table = self.lake.read_candles([symbol], name, days[0], days[1])
        if not table.num_rows:
            return NO_CANDLES
        rows = candle_rows(table, {i.symbol: i.id for i in self.instruments})
        return np.asarray(rows[(rows["start"] >= first) & (rows["start"] < last)])


def build(
    plan: GatewayPlan,
    *,
    names_requests: bool = True,
    predicts: Predicts | None = None,
    throttle: accounts.Throttle | None = None,
    acts: ipo_admin.Acts | None = None,
) -> FastAPI:
    """The app; its follower runs from here on. `names_requests`: answers carry the request id; behind Serve it
    adds it. `predicts`: instead of the predictor's deployment; `throttle`: slows down guessing, instead of our limits;
    `acts`: the IPO desk's, None where admins can do nothing at it.
    """
    desk = Desk(plan)
    desk.follower.start()
    desk.measures.start()
    slowed = Throttle(desk.limits, desk.measures.sent_away)
    app = FastAPI(title="Bourse", version="1", description="Live quotes and exact candles of Indian equities.")
    gate = Gate(plan.access, plan.cache)
    # The last one added is the first to be asked.
    app.add_middleware(Packing)
    app.add_middleware(Heads)
    app.add_middleware(Limiting, desk.limits, desk.measures.sent_away)
    app.add_middleware(Access, gate=gate, knocks=Knocks(desk.limits, desk.measures.sent_away))
    app.add_middleware(Guard, plan.doors)
    app.add_middleware(Measured, desk.measures)
    app.add_middleware(Requests, names=names_requests)
    app.add_middleware(Seal, plan.doors)
    problems.install(app, desk.refusals)
    app.add_middleware(Transports)  # stays the last one that is added: it must see the server's own `receive`
    app.state.desk, app.state.gate = desk, gate
    heard = desk.hub, desk.channels, desk.universe, desk.limits.tier, _watchlists(gate), gate.good
    app.router.routes.append(WebSocketRoute(PATH, Stream(*heard, compress=plan.compress)))
    _market_routes(app, desk)
    _state_routes(app, desk)
    ledger.install(app, desk, _only, day)
    features.install(app, desk, _only, moment)
    analyze.install(app, desk, _only)
    market.install(app, desk, _only, moment, day)
    predictions.install(app, desk, _only, predicts or Remote())
    ipo_admin.install(app, ipos.install(app, desk, _only), _only, gate, acts)
    mimetypes.add_type("text/javascript", ".js")  # a browser runs a module under no other type
    files = StaticFiles(directory=WEB)

    @app.get("/web/{name}", include_in_schema=False)
    async def web(request: Request, name: str) -> Response:
        """A module for browsers."""
        return await files.get_response(name, request.scope)

    accounts.install(app, desk, _only, gate, Bus(plan.bus, timeout=2.0), throttle or slowed)
    openapi.complete(app)
    if plan.access.database is not None:
        threading.Thread(target=_tiers, args=(desk, gate), name="tiers", daemon=True).start()
    return app


class Packing:
    """ASGI middleware: answers are packed for whoever takes gzip, but none that holds a secret beside what its asker
    sent: how well those pack together would tell of the secret (BREACH).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._packing = app, GZipMiddleware(app, minimum_size=LEAST_PACKED, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or below(scope["path"], ACCOUNT):
            await self._app(scope, receive, send)
            return
        if not answers.packs(Headers(scope=scope).get("accept-encoding", "")):  # what packs looks for its name alone
            scope = {**scope, "headers": [one for one in scope["headers"] if one[0] != b"accept-encoding"]}
        await self._packing(scope, receive, send)


def _tiers(desk: Desk, gate: Gate) -> None:
    """Learn what administrators made of the tiers, as soon as the database says, and again and again: what another
    replica made of them may have been told to nobody.
    """
    pauses, seconds = Backoff(), 0.0
    while not gate.closed.wait(seconds):
        try:
            desk.limits.reload(gate.users.tiers())
        except (LineDown, StoreRefused) as e:
            seconds = pauses.pause()
            structlog.get_logger().debug("tiers_not_asked", reason=str(e))
        except Exception:
            structlog.get_logger().exception("tiers_broke")
            seconds = ASKED_SECONDS
        else:
            pauses, seconds = Backoff(), ASKED_SECONDS


def _state_routes(app: FastAPI, desk: Desk) -> None:
    @app.get(
        "/health",
        responses={200: {"model": HealthAnswer}, 503: DOWN_TOO},
    )
    @app.get("/api/v1/health", include_in_schema=False)
    def health(request: Request) -> JSONResponse:
        """Each part: whether it is up, its lag, its feed state; 503 only when this replica has no bus."""
        _only(request)
        found = desk.health()
        return JSONResponse(found, 503 if found["status"] == "down" else 200)

    @app.get("/api/v1/status", responses={200: {"model": StatusAnswer}, **EITHER})
    def status(request: Request) -> dict[str, Any]:
        """Everything the parts say of themselves, and today's candles by symbol."""
        _only(request)
        counts = desk.follower.counts().tolist()
        by_symbol = {i.symbol: counts[i.id] for i in desk.instruments}
        return answers.answer(request, desk.status() | {"candles_by_symbol": by_symbol})

    @app.get("/api/v1/feeds", responses={200: {"model": FeedsAnswer}, **EITHER})
    def feeds(request: Request) -> dict[str, Any]:
        """Each feed, its breaker and which one is active; the last switches: from, to, at, since, reason."""
        _only(request)
        return answers.answer(request, desk.feeds())

    @app.get("/api/v1/alerts", responses={200: {"model": AlertsAnswer}, **EITHER})
    def alerts(request: Request, everything: Annotated[bool, Query(alias="all")] = False) -> dict[str, Any]:
        """What an operator should know: alerts that are open; with `all`, those that are over too, oldest first."""
        _only(request, "all")
        return answers.answer(request, {"alerts": desk.alerts(everything=everything)})

    @app.get("/api/v1/sessions", responses={200: {"model": SessionsAnswer}, **EITHER})
    def sessions(
        request: Request,
        exchange: str | None = None,
        since: Annotated[str | None, Query(alias="from")] = None,
        until: Annotated[str | None, Query(alias="to")] = None,
    ) -> Response:
        """The sessions of an exchange from a date to another, both included: hours, kind, phases, who says so."""
        _only(request, "exchange", "from", "to")
        return answers.answer(request, desk.days(exchange, day("from", since), day("to", until)))

    @app.get("/api/market/status", responses={200: {"model": MarketStatus}, **EITHER})
    @app.get("/api/v1/market/status", include_in_schema=False)
    def market_status(request: Request) -> Response:
        """The market's phase and clock."""
        _only(request)
        return answers.answer(request, desk.market())


def _market_routes(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/v1/quotes", responses={200: {"model": QuotesAnswer}, **CHANGED, **EITHER})
    async def quotes(request: Request, symbols: str, fields: str = "") -> Response:
        """Up to 500 quotes, or those `fields` of them; symbols nobody listed are named.

        The `ETag` is that of the bytes. An age grows all the time: ask for `fields` without `age_seconds`, and the
        answer is 304 until a quote changes, grows stale, or its feed falls ill.
        """
        _only(request, "symbols", "fields")
        known, unknown = _asked(desk.universe, symbols)
        wanted = list(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))
        for name in wanted:
            if name not in QuoteAnswer.model_fields:
                raise BadValue("fields", name[:40], f"of {', '.join(QuoteAnswer.model_fields)}, with commas between")
        said = "\0".join(unknown).encode()
        with desk.follower.lock:
            facts, made = desk.quotes_of(known, wanted)
            return answers.tagged(request, facts + said, lambda: {"quotes": made(), "unknown": unknown})

    @app.get("/api/stocks/batch", responses={200: {"model": BatchAnswer}, **EITHER})
    @app.get("/api/v1/stocks/batch", include_in_schema=False)
    async def batch(request: Request, symbols: str) -> Response:
        """Up to 500 quotes; symbols nobody listed are named."""
        _only(request, "symbols")
        known, unknown = _asked(desk.universe, symbols)
        return answers.answer(request, {"quotes": desk.quotes(known), "unknown": unknown})

    @app.get("/api/stock/{symbol}", responses={200: {"model": QuoteAnswer}, **EITHER})
    @app.get("/api/v1/stock/{symbol}", include_in_schema=False)
    async def stock(request: Request, symbol: str) -> Response:
        """The latest quote of one symbol."""
        _only(request)
        return answers.answer(request, desk.quotes([desk.universe.find(symbol).id])[0])

    @app.get("/api/v1/candles/{symbol}", responses={200: {"model": CandlesAnswer}, **EITHER})
    async def candles(
        request: Request,
        symbol: str,
        interval: str = "1m",
        since: Annotated[str | None, Query(alias="from")] = None,
        until: Annotated[str | None, Query(alias="to")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_CANDLES)] = CANDLES,
    ) -> Response:
        """Candles that start in [from, to), today's from the live window, older ones from the lake.

        `from` and `to` are instants with their zone or dates of the exchange (a `to` date is included); without them it
        is the running session. `coverage` says what the answer is short of.
        """
        _only(request, "interval", "from", "to", "limit")
        first, last = (
            moment("from", since, desk.sessions.zone, ends=False),
            moment("to", until, desk.sessions.zone, ends=True),
        )
        ends = last if last is not None else desk.horizon()
        if first is not None and ends <= first:
            raise BadValue("to" if until else "from", until or since, "a range whose `to` is later than its `from`")
        if first is not None and ends - first > LONGEST.days * DAY:
            raise BadValue("from", since, f"a range of at most {LONGEST.days} days")
        return answers.answer(request, await desk.candles(symbol, interval, first, last, limit))


def _watchlists(gate: Gate) -> Watchlists:
    """A caller's own lists by name, of the accounts' database."""

    async def find(caller: Caller, name: str) -> list[str] | None:
        found = None if caller.user is None else await gate.store(gate.users.watchlist, caller.user, name)
        return None if found is None else list(found.symbols)

    return find


def _bare(health: dict[str, Any]) -> dict[str, Any]:
    """What of it strangers may know where they may read nothing: what is up, and not how and why."""

    def up(part: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if part is None else {"up": bool(part.get("up"))}

    parts = {name: up(part) for name, part in health["parts"].items()}
    known = {name: up(health[name]) for name in ("bus", "database", "limits")}
    return {"status": health["status"], "parts": parts, **known, "alerts": [], "trouble": "", "feeds": {}}


def _breakers(record: dict[str, Any]) -> dict[str, Any]:
    switch = next((p for p in record["parts"] if p["part"] == "switch"), {})
    return {"active": switch.get("active"), "breakers": {f["name"]: f["breaker"] for f in switch.get("feeds", ())}}


def _only(request: Request, *known: str) -> None:
    """A parameter that is unknown, or there twice, is a slip worth saying. Raises BadValue."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise BadValue("parameter", name[:40], f"one of {', '.join(known)}" if known else "no parameter here")
        if names.count(name) > 1:
            raise BadValue(name, ", ".join(request.query_params.getlist(name))[:80], "one value: it is there twice")


def _asked(universe: Universe, symbols: str) -> tuple[list[int], list[str]]:
    """The ids of the symbols of a list, and those nobody listed. Raises BadValue."""
    asked = list(dict.fromkeys(s.strip() for s in symbols.split(",") if s.strip()))
    if not 1 <= len(asked) <= BATCH:
        raise BadValue("symbols", f"{len(asked)} symbols", f"1 to {BATCH}, with commas between")
    known, unknown = [], []
    for symbol in asked:
        try:
            known.append(universe.find(symbol).id)
        except BadValue:
            unknown.append(symbol[:40])
    return known, unknown


def settle() -> None:
    """Call once, when a replica stands: what it is made of stays as long as it does, and is not looked through again
    whenever many sockets come at once. Looking through a million objects holds everybody up for a fifth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


def application(
    plan: GatewayPlan, replicas: int, max_ongoing_requests: int, num_cpus: float, acts: ipo_admin.Acts | None = None
) -> Any:
    """The Serve application: a fixed number of replicas, so that nobody's socket is cut by scaling. `acts`: see
    `build`.
    """

    def make() -> FastAPI:
        logs.configure("gateway", plan.log_level)
        app = build(plan, names_requests=False, acts=acts)
        settle()
        structlog.get_logger().info("gateway_started", instruments=len(plan.instruments))
        return app

    @serve.deployment(
        name="gateway",
        num_replicas=replicas,
        max_ongoing_requests=max_ongoing_requests,
        max_queued_requests=max_ongoing_requests,
        ray_actor_options={"num_cpus": num_cpus},
        health_check_period_s=10,
        graceful_shutdown_timeout_s=5,
        graceful_shutdown_wait_loop_s=0.2,
    )
    @serve.ingress(make)
    class Gateway:
        """One replica; everything it does is in `build`."""

    return Gateway.bind()
