"""Surveys: the lake's view of which sessions are whole, and of how near they come to the exchange's own figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from adapters.lake import Lake
from adapters.schemas import candle_rows
from market.agreement import Agreement, agreement
from market.candles import Candles, Provenance
from market.coverage import Else, Survey
from market.instruments import Instrument
from market.sessions import Sessions, day_number


def survey(lake: Lake, symbols: Sequence[str], sessions: Sessions, span: tuple[date, date], now: int) -> Survey:
    """The coverage of some symbols from the first to the last day of the span. Raises LineDown, StoreRefused."""
    found = Survey(symbols, sessions, span, now)
    places = {symbol: i for i, symbol in enumerate(symbols)}
    daily = candle_rows(lake.read_daily(symbols, found.sessions), places)
    found.settle(daily)
    imported = daily[daily["provenance"] == Provenance.IMPORTED]
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
        has |= set(imported["instrument"][imported["session"] == day_number(session.date)].tolist())
        more = Else(session.date in recorded, has, {(places[s], start) for s, start in lacking})
        found.look(session, rows, more)
    return found


def without_features(lake: Lake, symbols: Sequence[str], span: tuple[date, date], of: str) -> list[date]:
    """The sessions of a span, both ends inclusive, in which a minute of some symbol has no row of the set `of`.

    Raises LineDown, StoreRefused.
    """
    candles, features, found = lake.dataset("candles"), lake.dataset("features"), []
    for day in (day for day in lake.sessions("candles") if span[0] <= day <= span[1]):
        among = (ds.field("session") == pa.scalar(day)) & ds.field("symbol").isin(list(symbols))
        minutes = candles.to_table(filter=among & (ds.field("interval") == "1m"), columns=["symbol", "start"])
        done = features.to_table(filter=among & (ds.field("set") == of), columns=["symbol", "start"])
        if len(minutes.join(done, keys=["symbol", "start"], join_type="left anti")):
            found.append(day)
    return found


def compare(lake: Lake, instruments: Sequence[Instrument], day: date, official: Candles) -> Agreement:
    """Our daily candles of a session against official ones, (n,); of the exchanges these are of."""
    exchanges = {instruments[i].exchange for i in official["instrument"].tolist()}
    ids = {i.symbol: i.id for i in instruments if i.exchange in exchanges}
    ours = candle_rows(lake.read_candles(list(ids), "1d", day, day), ids)
    ticks = np.array([i.tick_size for i in instruments], np.int64)
    return agreement(day, ours, official, [i.symbol for i in instruments], ticks)
