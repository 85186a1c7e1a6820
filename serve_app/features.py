"""Features over HTTP: the latest of a symbol from the read model, older ones from lake and bus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
from fastapi import FastAPI, Query, Request, Response
from pydantic import Field

from adapters.bus import Bus
from adapters.entries import decode
from adapters.lake import Lake
from adapters.readmodel import ReadModel
from adapters.schemas import feature_values
from market.errors import BadPayload, BadValue, NotYet
from market.features import FEATURE, NAMES, SET, Unknown
from market.instruments import Instrument, Universe, partition_of
from market.records import Record
from market.sessions import DAY, MINUTE, SECOND, Sessions, instant
from serve_app import shapes
from serve_app.follow import Follower, GatewayPlan

TOPIC = "analysis"
ROWS = 375
MOST_ROWS = 5000
LONGEST_DAYS = 366
LAST = int(np.iinfo(np.int64).max)
"""Later than every minute, ns UTC."""


class FeatureRow(Record):
    """The features of a minute that started at `start`. `revision`: of its candle; `unknown`: why they are not known,
    null where they are; `values`: in the order of `names`, null where not known, while warming up or for a reason.
    """

    start: str
    session: str
    revision: int
    unknown: str | None
    values: list[float | None]


class FeatureAnswer(Record):
    """Features of one symbol, oldest first. `set`: the version of their definition; `age_seconds`: of market time since
    the newest row's minute ended; `stale`: a newer one should be here; `truncated`: there are more than `limit`.
    """

    symbol: str
    set: str
    names: list[str]
    market_time: str | None
    age_seconds: float | None
    stale: bool
    since: str | None = Field(alias="from")
    until: str | None = Field(alias="to")
    truncated: bool
    rows: list[FeatureRow]


class Held(Protocol):
    """What is asked of the gateway's desk."""

    plan: GatewayPlan
    universe: Universe
    sessions: Sessions
    follower: Follower
    lake: Lake
    model: ReadModel
    stale: int

    def horizon(self) -> int:
        """Where a range without a `to` ends, ns UTC."""
        ...


def install(app: FastAPI, desk: Held, only: Any, moment: Any) -> None:
    """Add the path; `only` refuses parameters nobody knows, `moment` reads an instant or a date."""
    bus = Bus(desk.plan.bus, timeout=2.0)

    @app.get("/api/v1/features/{symbol}", responses={200: {"model": FeatureAnswer}})
    def features(
        request: Request,
        symbol: str,
        since: Annotated[str | None, Query(alias="from")] = None,
        until: Annotated[str | None, Query(alias="to")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = ROWS,
    ) -> Response:
        """The latest features of a symbol or, with `from` or `to`, those of the minutes that start in [from, to).

        `from` and `to` are instants with their zone or dates of the exchange (a `to` date is included); `limit` keeps
        the newest. Values are null while they are not known; `unknown` says why where a whole row is not.
        """
        only(request, "from", "to", "limit")
        one = desk.universe.find(symbol)
        zone = desk.sessions.zone
        first, last = moment("from", since, zone, ends=False), moment("to", until, zone, ends=True)
        if first is None and last is None:
            return _answer(desk, one, [_latest(desk, bus, one)], (None, None), truncated=False)
        ends = last if last is not None else desk.horizon()
        begins = first if first is not None else ends - DAY
        if ends <= begins:
            raise BadValue("to" if until else "from", until or since, "a range whose `to` is later than its `from`")
        if ends - begins > LONGEST_DAYS * DAY:
            raise BadValue("from", since, f"a range of at most {LONGEST_DAYS} days")
        rows = _history(desk, bus, one, (begins, ends), limit + 1)
        return _answer(desk, one, rows[-limit:], (begins, ends), truncated=len(rows) > limit)


def _latest(desk: Held, bus: Bus, one: Instrument) -> dict[str, Any]:
    found = desk.model.feature(one.symbol)
    if found is not None and found["set"] == SET:
        return {**found, "values": list(found["values"].values())}
    rows = _newest(bus, one, desk.plan.partitions, (0, LAST), 1)
    if not rows:
        raise NotYet("features", f"none of {one.symbol} yet: the first minute has to close")
    return rows[-1]


def _history(desk: Held, bus: Bus, one: Instrument, span: tuple[int, int], most: int) -> list[dict[str, Any]]:
    """The newest `most` rows of [first, last), oldest first."""
    first, last = span
    days = [datetime.fromtimestamp(t / SECOND, desk.sessions.zone).date() for t in (first, last)]
    table = desk.lake.read_features([one.symbol], days[0], days[1], SET, names=NAMES)
    starts = table["start"].cast("int64").to_numpy() * 1000
    since = _newest(bus, one, desk.plan.partitions, (max(int(starts.max(initial=0)) + 1, first), last), most)
    inside = np.flatnonzero((starts >= first) & (starts < last))
    inside = inside[max(0, len(inside) + len(since) - most) :]
    table, starts = table.take(pa.array(inside)), starts[inside]
    values = _known(feature_values(table, NAMES))
    sessions, revisions, reasons = (table[name].to_pylist() for name in ("session", "revision", "unknown"))
    held = [
        {
            "start": int(start),
            "session": sessions[k].isoformat(),
            "revision": revisions[k],
            "unknown": reasons[k],
            "values": row,
        }
        for k, (start, row) in enumerate(zip(starts, values, strict=True))
    ]
    return [*held, *since]


def _newest(bus: Bus, one: Instrument, partitions: int, span: tuple[int, int], most: int) -> list[dict[str, Any]]:
    """What the bus holds of an instrument in [first, last), at most the newest `most`, oldest first."""
    first, last = span
    found: list[dict[str, Any]] = []
    for entry in bus.backwards(TOPIC, partition_of(one, partitions)):
        try:
            rows = decode(entry.payload, FEATURE)
        except BadPayload:  # of another set of features
            break
        mine = rows[(rows["instrument"] == one.id) & (rows["start"] >= first)]
        found += [_row(row) for row in mine[mine["start"] < last][::-1][: most - len(found)]]
        if not len(mine) or len(found) >= most:
            break
    return found[::-1]


def _row(row: np.void) -> dict[str, Any]:
    return {
        "start": int(row["start"]),
        "session": int(row["session"]),
        "revision": int(row["revision"]),
        "unknown": Unknown(row["unknown"]).name if row["unknown"] else None,
        "values": _known(row["values"][None])[0],
    }


def _known(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[list[float | None]]:
    return [list(row) for row in np.where(np.isfinite(values), values, None).tolist()]


def _answer(
    desk: Held, one: Instrument, rows: Sequence[dict[str, Any]], span: tuple[int | None, int | None], *, truncated: bool
) -> Response:
    now = desk.follower.quotes.market_time
    age = now - rows[-1]["start"] - MINUTE if rows and now else None
    body = {
        "symbol": one.symbol,
        "set": SET,
        "names": list(NAMES),
        "market_time": shapes.stamp(now),
        "age_seconds": None if age is None else round(age / SECOND, 3),
        "stale": age is not None and age > MINUTE + desk.stale,
        "from": None if span[0] is None else shapes.stamp(span[0]),
        "to": None if span[1] is None else shapes.stamp(span[1]),
        "truncated": truncated,
        "rows": [
            {
                "start": shapes.stamp(row["start"]),
                "session": row["session"] if isinstance(row["session"], str) else _date(row["session"]),
                **{name: row[name] for name in ("revision", "unknown", "values")},
            }
            for row in rows
        ],
    }
    return Response(orjson.dumps(body), media_type="application/json")


def _date(session: int) -> str:
    return instant(session * DAY).date().isoformat()
