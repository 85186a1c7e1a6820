"""Analyze: the latest scorecards over HTTP, of one symbol or of the whole market, from the replica's own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from fastapi import FastAPI, Query, Request, Response

from market.errors import BadValue, NotYet
from market.features import Unknown
from market.instruments import Instrument, Universe
from market.money import UNKNOWN
from market.records import Record
from market.scores import Recommendation, Scorecard, Scores, scorecard
from serve_app import shapes
from serve_app.answers import EITHER, answer
from serve_app.follow import Follower

SORTS = ("composite", "trend", "momentum", "prediction", "confidence")
WORDS = [one.name for one in sorted(Recommendation, reverse=True) if one is not Recommendation.UNKNOWN]


class Analyzed(Record):
    """One symbol's scorecard."""

    status: Literal["success"]
    data: Scorecard


class MarketAnalyzed(Record):
    """Scorecards, the highest first. `count`: how many met the filters; `missing`: symbols without a scorecard yet."""

    status: Literal["success"]
    market_time: str | None
    count: int
    missing: list[str]
    data: list[Scorecard]


class Held(Protocol):
    """What is asked of the gateway's desk."""

    universe: Universe
    follower: Follower


def install(app: FastAPI, desk: Held, only: Any) -> None:
    """Add the paths; `only` refuses parameters nobody knows."""

    @app.get("/api/v1/analyze", responses={200: {"model": Analyzed}, **EITHER})
    @app.get("/analyze", include_in_schema=False)
    def analyze(request: Request, symbol: str) -> Response:
        """What is thought of a symbol as of its last closed minute: indicators, scores, prediction, recommendation."""
        only(request, "symbol")
        one = desk.universe.find(symbol)
        found = [rows[one.id] for rows in _latest(desk.follower)]
        if not found or not found[0]["start"]:
            raise NotYet("scorecard", f"none of {one.symbol} yet: the first minute has to close")
        card = _card(one, found, desk.follower.quotes.market_time)
        return answer(request, {"status": "success", "data": card.model_dump(mode="json")})

    @app.get("/api/v1/analyze/market", responses={200: {"model": MarketAnalyzed}, **EITHER})
    @app.get("/analyze/market", include_in_schema=False)
    def market(
        request: Request,
        recommendation: str | None = None,
        sector: str | None = None,
        symbols: str | None = None,
        sort: str = "composite",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        """The scorecards of all instruments, or of those with a recommendation, of a sector, or named; several with
        commas between. `sort`, highest first: composite, trend, momentum, prediction or confidence.
        """
        only(request, "recommendation", "sector", "symbols", "sort", "limit")
        if sort not in SORTS:
            raise BadValue("sort", sort[:40], f"one of {', '.join(SORTS)}")
        asked = [i for i in _asked(desk.universe, symbols) if _in_sector(i, sector)]
        if sector is not None and not (sector.strip() and any(_in_sector(i, sector) for i in desk.universe)):
            known = sorted({i.sector for i in desk.universe if i.sector})
            raise BadValue("sector", sector[:40], f"one of {', '.join(known) or 'none that is known here'}")
        wanted = _wanted(recommendation)
        found = _latest(desk.follower)
        ids = np.array([i.id for i in asked], np.int64)
        first = found[0][ids] if found else np.zeros(0, [("start", "<i8")])
        there = np.flatnonzero(first["start"] > 0)
        missing = [i.symbol for k, i in enumerate(asked) if k not in set(there.tolist())]
        met = there if wanted is None else there[np.isin(first["recommendation"][there], wanted)]
        if len(met):
            values = np.nan_to_num(first[sort][met].astype(np.float64), nan=-np.inf)
            met = met[np.argsort(-values, kind="stable")]
        now = desk.follower.quotes.market_time
        cards = [_card(asked[k], [rows[asked[k].id] for rows in found], now) for k in met[:limit].tolist()]
        body = {
            "status": "success",
            "market_time": shapes.stamp(now),
            "count": len(met),
            "missing": missing,
            "data": [card.model_dump(mode="json") for card in cards],
        }
        return answer(request, body)


def _latest(follower: Follower) -> list[Scores]:
    """By horizon, the first one the recommendation rests on: a row each instrument, all 0 where there is none.

    The close before the session is the quote's where the candles of a first day do not know it.
    """
    with follower.lock:
        found = [rows.copy() for rows in follower.scores.values()]
        quotes = follower.quotes.read(np.arange(len(found[0]) if found else 0))
    for rows in found:
        lacks = (rows["previous"] == UNKNOWN) & (rows["session"] == quotes["session"])
        rows["previous"][lacks] = quotes["close"][lacks]
    return found


def _card(one: Instrument, found: Sequence[Any], now: int) -> Scorecard:
    row, others = found[0], [other for other in found[1:] if other["start"] == found[0]["start"]]
    why = Unknown(int(row["unknown"]))
    return scorecard(row, others, one.symbol, why.name if why else None, now)


def _asked(universe: Universe, symbols: str | None) -> list[Instrument]:
    if symbols is None:
        return list(universe)
    named = dict.fromkeys(shapes.words("symbols", symbols))
    return list({one.id: one for one in map(universe.find, named)}.values())


def _in_sector(one: Instrument, sector: str | None) -> bool:
    return sector is None or one.sector.casefold() == sector.strip().casefold()


def _wanted(text: str | None) -> list[int] | None:
    if text is None:
        return None
    return [int(Recommendation[_known(word.upper())]) for word in shapes.words("recommendation", text)]


def _known(word: str) -> str:
    if word not in WORDS:
        raise BadValue("recommendation", word[:40], f"of {', '.join(WORDS)}, with commas between")
    return word
