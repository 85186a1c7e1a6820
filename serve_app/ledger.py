"""Ledger: what the lake holds of each session, and how near it comes to the exchange's own figures, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from adapters.lake import Lake
from adapters.schemas import candle_rows
from adapters.surveys import compare, survey
from market.coverage import LONGEST_DAYS
from market.errors import BadValue
from market.instruments import Instrument, Universe
from market.sessions import Sessions, instant
from serve_app import shapes
from serve_app.replies import AgreementAnswer, SurveyAnswer

SHORTFALLS = 1000
MOST_SESSIONS = 60


class Held(Protocol):
    """What the ledger asks of the gateway's desk."""

    universe: Universe
    instruments: Sequence[Instrument]
    sessions: Sessions
    lake: Lake

    def now(self) -> int:
        """Market time, ns UTC."""
        ...


def install(app: FastAPI, desk: Held, only: Any, day: Any) -> None:
    """Add the paths; `only` refuses parameters nobody knows, `day` reads a date."""

    @app.get("/api/v1/coverage", responses={200: {"model": SurveyAnswer}})
    def coverage(
        request: Request,
        symbols: str | None = None,
        since: Annotated[str | None, Query(alias="from")] = None,
        until: Annotated[str | None, Query(alias="to")] = None,
    ) -> JSONResponse:
        """Of every symbol and session from `from` to `to` (dates, both included): complete, gap, holiday, halted or not
        listed.

        Without symbols the whole universe, without dates the newest session. A session that is not among a symbol's
        `shortfalls`, or `halted`, is complete; minutes that are missing or incomplete come in spans with their cause.
        """
        only(request, "symbols", "from", "to")
        chosen = [desk.universe.find(s).symbol for s in shapes.words("symbols", symbols)] if symbols is not None else []
        last = day("to", until) or _newest(desk)
        first = day("from", since) or last
        for name, one in (("from", first), ("to", last)):
            _known(desk, name, one)
        if last < first or (last - first).days > LONGEST_DAYS:
            raise BadValue("from", first.isoformat(), f"a day not after `to`, at most {LONGEST_DAYS} days before it")
        wanted = list(dict.fromkeys(chosen)) or [i.symbol for i in desk.instruments]
        found = survey(desk.lake, wanted, desk.sessions, (first, last), desk.now())
        return JSONResponse(found.record(SHORTFALLS))

    @app.get("/api/v1/agreement", responses={200: {"model": AgreementAnswer}})
    def agreements(request: Request, session: str | None = None) -> JSONResponse:
        """How near our daily candles of a session come to the exchange's own; without a session, of the newest ones
        that have been reconciled.
        """
        only(request, "session")
        named = day("session", session)
        held = [named] if named else desk.lake.sessions("candles")[-MOST_SESSIONS:]
        found = [one for d in held if (one := _agreement(desk, d)) is not None]
        return JSONResponse({"sessions": found})


def _agreement(desk: Held, day: date) -> dict[str, Any] | None:
    ids = {i.symbol: i.id for i in desk.instruments}
    theirs = candle_rows(desk.lake.read_official(list(ids), day, day), ids)
    if not len(theirs):
        return None
    return compare(desk.lake, desk.instruments, day, theirs).model_dump(mode="json")


def _known(desk: Held, name: str, day: date) -> None:
    """Raises BadValue for a day of which nobody here knows whether it was a session: it is no holiday."""
    dates = [s.date for s in desk.sessions]
    if dates and not dates[0] <= day <= dates[-1]:
        raise BadValue(name, day.isoformat(), f"a day whose sessions are known, from {dates[0]} to {dates[-1]}")


def _newest(desk: Held) -> date:
    return instant(desk.now()).astimezone(desk.sessions.zone).date()
