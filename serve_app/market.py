"""Market view and signals over HTTP: what the read model, the bus and the lake hold of them."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Request

from adapters.readmodel import ReadModel
from market.errors import NotYet
from market.records import Record
from market.sessions import SECOND
from market.view import Mover, Sector, Volatility
from serve_app import shapes
from serve_app.follow import Follower


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


class Held(Protocol):
    """What is asked of the gateway's desk."""

    follower: Follower
    model: ReadModel
    stale: int


def install(app: FastAPI, desk: Held, only: Any) -> None:
    """Add the paths; `only` refuses parameters nobody knows."""

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
