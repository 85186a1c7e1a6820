"""Market view and signals over HTTP: what the read model, the bus and the lake hold of them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request

from adapters.bus import Bus
from adapters.entries import decode
from adapters.lake import Lake
from adapters.outcomes import Tallied
from adapters.readmodel import ReadModel
from adapters.signals import read_signals
from market.errors import BadPayload, BadValue, NotYet
from market.instruments import Instrument, Universe, partition_of
from market.labels import HORIZONS
from market.outcomes import Performance
from market.records import Record
from market.sessions import DAY, SECOND, Sessions, instant
from market.signals import SIGNAL, SignalRecord, records
from market.view import Mover, Sector, Volatility
from serve_app import shapes
from serve_app.follow import Follower, GatewayPlan

MOST_SIGNALS = 1000
LONGEST_DAYS = 366
SHOWN = timedelta(days=30)
OUTCOMES_SECONDS = 10.0
"""So long a caller waits for outcomes; who asks again later finds what was read by then."""


class MarketAnswer(Record):
    """The market at `timestamp`, its own clock. `stale`: the view is too old to act on, or the feed behind it is not
    live; `age_seconds`: of market time; `stale_quotes`: of the shares counted, those whose quote is too old.
    """

    timestamp: str | None
    age_seconds: float | None
    stale: bool
    feed: str
    overall: str
    breadth: float
    change_percent: float | None
    advancing: int
    declining: int
    unchanged: int
    unknown: int
    stale_quotes: int
    gainers: list[Mover]
    losers: list[Mover]
    sectors: list[Sector]
    volatility: Volatility | None


class SignalAnswer(Record):
    """A signal. `standing`: it is the last one of its symbol and has not expired, in market time; prices in rupees."""

    timestamp: str | None
    expires: str | None
    standing: bool
    symbol: str
    action: str
    reason: str
    horizon: str
    price: float | None
    stop: float | None
    size: float
    strength: float | None
    prediction: float | None
    confidence: float | None
    low: float | None
    high: float | None
    composite: float | None
    atr: float | None
    abstained: str | None
    version: str


class SignalsAnswer(Record):
    """Signals given since `since`, oldest first; `truncated`: these are the newest of more."""

    market_time: str | None
    since: str | None
    truncated: bool
    signals: list[SignalAnswer]


class OutcomesAnswer(Record):
    """How good the predictions of sessions `first` to `last` were, by version and horizon."""

    first: str
    last: str
    performances: list[Performance]


class Held(Protocol):
    """What is asked of the gateway's desk."""

    plan: GatewayPlan
    universe: Universe
    sessions: Sessions
    follower: Follower
    model: ReadModel
    lake: Lake
    stale: int

    def now(self) -> int:
        """Market time, ns UTC."""
        ...


def install(app: FastAPI, desk: Held, only: Any, moment: Any, day: Any) -> None:
    """Add the paths; `only` refuses parameters nobody knows, `moment` reads an instant or a date, `day` a date."""
    bus, tallied = Bus(desk.plan.bus, timeout=2.0), Tallied(desk.lake)

    @app.get("/api/v1/market/view")
    def view(request: Request) -> MarketAnswer:
        """Gainers and losers, breadth, strength of the sectors, the volatility index's band, the overall sentiment."""
        only(request)
        seen = desk.model.market_view()
        if seen is None:
            raise NotYet("market", "no view of the market yet, or it has not been refreshed for minutes")
        now = desk.follower.quotes.market_time
        age = max(0, now - seen.at) if now and seen.at else None
        said = seen.model_dump(include=set(MarketAnswer.model_fields) - {"stale"})
        return MarketAnswer(
            **said,
            timestamp=shapes.stamp(seen.at),
            age_seconds=None if age is None else round(age / SECOND, 3),
            stale=age is None or age > desk.stale or seen.feed not in ("LIVE", "CLOSED"),
            stale_quotes=seen.stale,
        )

    @app.get("/api/v1/signals")
    def signals(request: Request, symbol: str | None = None, since: str | None = None) -> SignalsAnswer:
        """The signals of a symbol, or of all, given since an instant with its zone or a date; without it since the
        newest session's day began.
        """
        only(request, "symbol", "since")
        chosen = [desk.universe.find(symbol)] if symbol is not None else list(desk.universe)
        now, zone = desk.now(), desk.sessions.zone
        today = instant(now).astimezone(zone).date()
        begin = moment("since", since or today.isoformat(), zone, ends=False)
        if now - begin > LONGEST_DAYS * DAY:
            raise BadValue("since", since, f"at most {LONGEST_DAYS} days ago")
        first = instant(begin).astimezone(zone).date()
        found = _signals(desk, bus, chosen, begin, (first, max(first, today)))
        shown = found[-MOST_SIGNALS:]
        last = {one.symbol: k for k, one in enumerate(shown)}
        return SignalsAnswer(
            market_time=shapes.stamp(now),
            since=shapes.stamp(begin),
            truncated=len(found) > MOST_SIGNALS,
            signals=[_shown(one, standing=last[one.symbol] == k, now=now) for k, one in enumerate(shown)],
        )

    @app.get("/api/v1/outcomes")
    def outcomes(
        request: Request,
        model: str | None = None,
        horizon: str | None = None,
        since: Annotated[str | None, Query(alias="from")] = None,
        until: Annotated[str | None, Query(alias="to")] = None,
    ) -> OutcomesAnswer:
        """How good the predictions were whose horizon is over: hit rate, Brier score, calibration, coverage of the
        interval, net return after costs, of each version and horizon.

        `from` and `to` are dates of sessions, both included; without them the last thirty days. `model`: a version,
        direction-15m@3, or a name, direction-15m. 504 where so much was not read in time: ask again, it goes on there.
        """
        only(request, "model", "horizon", "from", "to")
        if horizon is not None and horizon not in HORIZONS:
            raise BadValue("horizon", horizon[:40], f"one of {', '.join(HORIZONS)}")
        last = day("to", until) or instant(desk.now()).astimezone(desk.sessions.zone).date()
        first = day("from", since) or last - SHOWN
        if last < first or (last - first).days > LONGEST_DAYS:
            raise BadValue("from", first.isoformat(), f"a day not after `to`, at most {LONGEST_DAYS} days before it")
        found = tallied.performances(first, last, horizon=horizon, version=model, seconds=OUTCOMES_SECONDS)
        return OutcomesAnswer(first=first.isoformat(), last=last.isoformat(), performances=found)


def _signals(desk: Held, bus: Bus, chosen: list[Instrument], begin: int, days: tuple[date, date]) -> list[SignalRecord]:
    """From the lake, and what is newer from the bus, oldest first."""
    held = read_signals(desk.lake, [i.symbol for i in chosen], *days)
    found = {(one.at, one.symbol): one for one in held}
    symbols, ids = [i.symbol for i in desk.universe], {i.id for i in chosen}
    for number in sorted({partition_of(i, desk.plan.partitions) for i in chosen}):
        for entry in bus.backwards("signals", number):
            try:
                rows = decode(entry.payload, SIGNAL)
            except BadPayload:  # of another release; the lake has it
                break
            if not len(rows) or int(rows["at"].max()) < begin:
                break
            for one, who in zip(records(rows, symbols), rows["instrument"].tolist(), strict=True):
                if who in ids:
                    found[one.at, one.symbol] = one
    return [found[key] for key in sorted(found) if key[0] >= begin]


def _shown(one: SignalRecord, *, standing: bool, now: int) -> SignalAnswer:
    stands = standing and one.action != "HOLD" and one.expires is not None and now < one.expires
    said = one.model_dump(exclude={"at", "expires"})
    expires = None if one.expires is None else shapes.stamp(one.expires)
    return SignalAnswer(**said, timestamp=shapes.stamp(one.at), expires=expires, standing=stands)
