"""Surveys: the lake's view of which sessions are whole. What it means is decided in `market.coverage`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from adapters.lake import Lake, candle_rows
from market.coverage import Else, Survey
from market.sessions import Sessions


def survey(lake: Lake, symbols: Sequence[str], sessions: Sessions, span: tuple[date, date], now: int) -> Survey:
    """The coverage of some symbols from the first to the last day of the span. Raises LineDown, StoreRefused."""
    found = Survey(symbols, sessions, span, now)
    places = {symbol: i for i, symbol in enumerate(symbols)}
    found.settle(candle_rows(lake.read_candles(symbols, "1d", *span), places))
    left = list(found.open())
    if not left:
        return found
    recorded = set(lake.sessions("candles"))
    official = lake.read_official(symbols, *span)
    lacking = lake.read_lacking(symbols, *span)
    for session, who in left:
        rows = candle_rows(lake.read_candles(who, "1m", session.date, session.date), places)
        theirs = official.filter(pc.equal(official["session"], pa.scalar(session.date)))
        has = {places[s] for s in theirs["symbol"].to_pylist()}
        more = Else(session.date in recorded, has, {(places[s], start) for s, start in lacking})
        found.look(session, rows, more)
    return found
