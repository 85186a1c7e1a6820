"""Outcomes: scores the predictions whose horizon is over, each once, and says whether a version has drifted.

A run goes session by session, so that one of them is in memory at a time: it takes what stands in `predictions` and not
in `outcomes`, and commits what it finds of a session in one piece, under its number: of two runs at once one commits,
the other finds its work done. A prediction that came late is taken by the next
run, one whose horizon is not over is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from adapters.actions import known
from adapters.lake import Lake
from adapters.outcomes import Tallied, outcome_rows, outcome_table, unscored
from adapters.schemas import DRIFT, candle_rows, feature_values, whole
from market.actions import Actions
from market.adjustment import adjusted, factors
from market.candles import Candles
from market.drift import Distribution, Drift, judged
from market.labels import HORIZONS, cost_of
from market.outcomes import OUTCOME, Outcomes, Unscored, horizon_end, scored
from market.records import Record
from market.sessions import DAY, Session, Sessions, day_number, instant

Trained = tuple[Distribution | None, float | None]
"""How a version's features lay in training, and its calibration error in validation; None: not known."""

APP = "outcomes"
AFTER = timedelta(days=10)
"""So far behind a session the next one's close is looked for."""

REPAIRED = 3 * DAY
"""A prediction whose minutes are not there waits so long for them: a gap may be repaired."""

SPAN = timedelta(days=30)
"""Drift is judged on the sessions of so many days."""

SAMPLED = 15
"""Minutes from one row to the next that drift is judged by: what lies between hardly differs from them."""


class OutcomesPlan(Record):
    """Predictions of sessions `first` to `last`, both inclusive, scored at `now`, ns UTC of market time;
    `symbols`: whose alone, all without it.
    """

    lake: str
    sessions: tuple[Session, ...]
    first: date
    last: date
    now: int
    symbols: tuple[str, ...] | None = None


class Scored(Record):
    """What a run did. `waiting`: predictions whose horizon is not over; `again`: another run had done it."""

    scored: int
    unscored: int
    waiting: int
    again: bool = False


def run(plan: OutcomesPlan, shadows: pa.Table | None = None) -> Scored:
    """Score what is due, of `predictions` and of what challengers said unseen. Raises LineDown, StoreRefused."""
    lake, sessions = Lake(plan.lake), Sessions(plan.sessions)
    actions = known(lake)
    done = [_session(plan, lake, sessions, actions, day, shadows) for day in days(plan.first, plan.last)]
    sums = {name: sum(getattr(one, name) for one in done) for name in ("scored", "unscored", "waiting")}
    return Scored(**sums, again=any(one.again for one in done))


def _session(
    plan: OutcomesPlan, lake: Lake, sessions: Sessions, actions: Actions, day: date, shadows: pa.Table | None
) -> Scored:
    number = lake.cursors("outcomes", [APP])[APP]
    todo = unscored(lake, day, shadows, plan.symbols)
    due = np.array([_over(int(at), h, sessions, plan.now) for at, h in zip(*_decisions(todo), strict=True)], np.bool_)
    ready = todo.filter(pa.array(due))
    if not len(ready):
        return Scored(scored=0, unscored=0, waiting=len(todo))
    symbols = ready["symbol"].unique().to_pylist()
    nights = "1d" in ready["horizon"].unique().to_pylist()
    table = lake.read_candles(symbols, "1m", day, day + AFTER if nights else day)
    candles = candle_rows(table, {symbol: k for k, symbol in enumerate(symbols)})
    parts, failed, early = [], 0, 0
    for k, symbol in enumerate(symbols):
        mine = ready.filter(pc.equal(ready["symbol"], symbol))
        own = candles[candles["instrument"] == k]
        found = _scored(outcome_rows(mine), adjusted(own, factors(actions, symbol, plan.now)), sessions)
        final = (found["unscored"] != Unscored.NO_PRICE) | (found["at"] < plan.now - REPAIRED)
        early += int((~final).sum())
        failed += int((found["unscored"][final] != Unscored.NO).sum())
        parts.append(outcome_table(found[final], symbol, mine.filter(pa.array(final))["session"], plan.now))
    told = pa.concat_tables(parts)
    version = lake.append("outcomes", told, {APP: number + 1}) if len(told) else number
    left = len(todo) - len(ready) + early
    return Scored(scored=len(told) - failed, unscored=failed, waiting=left, again=version is None)


def drifts(
    lake: Lake,
    session: date,
    of: Mapping[str, Trained],
    looked_at: tuple[Sequence[str], str],
    symbols: Sequence[str] | None = None,
) -> list[Drift]:
    """Whether the versions that predicted in the days up to a session have drifted; each once a session is noted in the
    table `drift`.

    `of`: what is known of each version, by name; versions that are not there are left out. `looked_at`: the names
    of the features to look at, and their set; `symbols`: whose, all without it.
    """
    first = session - SPAN
    names, feature_set = looked_at
    values = _sampled(lake, (first, session), names, feature_set, symbols)
    span = day_number(first), day_number(session)
    found = []
    for one in Tallied(lake).performances(first, session):
        if one.version in of:
            trained, before = of[one.version]
            shifts = trained.stability(names, values) if trained else {}
            found.append(judged(one.version, one.horizon, span, shifts, (one.calibration_error, before)))
    if found:
        app = "drift"
        cursor = lake.cursors("drift", [app])[app]
        if cursor < span[1]:
            lake.append("drift", _drift_table(found, session), {app: span[1]})
    return found


def days(first: date, last: date) -> list[date]:
    """From a day to another, both inclusive."""
    return [first + timedelta(days=k) for k in range((last - first).days + 1)]


def _sampled(
    lake: Lake, span: tuple[date, date], names: Sequence[str], of: str, symbols: Sequence[str] | None
) -> npt.NDArray[np.float32]:
    """(n, k) features of every `SAMPLED`-th minute of the sessions, both inclusive; a session at a time in memory."""
    parts = [np.empty((0, len(names)), np.float32)]
    for day in days(*span):
        table = lake.read_features(symbols, day, day, of, names=names)
        minutes = whole(table["start"].cast(pa.int64())) // (60 * 10**6)
        picked = table.filter(pa.array(minutes % SAMPLED == 0))
        parts.append(feature_values(picked, names).astype(np.float32))
    return np.concatenate(parts)


def _scored(rows: Outcomes, candles: Candles, sessions: Sessions) -> Outcomes:
    out = np.zeros(len(rows), OUTCOME)
    for horizon in HORIZONS:
        mine = rows["horizon"] == horizon.encode()
        if mine.any():
            out[mine] = scored(rows[mine], candles, horizon, sessions, cost_of(horizon))
    return out


def _decisions(todo: pa.Table) -> tuple[list[int], list[str]]:
    return (outcome_rows(todo)["at"].tolist(), todo["horizon"].to_pylist())


def _over(at: int, horizon: str, sessions: Sessions, now: int) -> bool:
    """Whether the horizon has passed or, where it reaches past the session's close, the session has."""
    today, end = sessions.of(at), horizon_end(at, horizon, sessions)
    if today is None:
        return True
    if HORIZONS[horizon]:
        return now >= min(end or today.close, today.close)
    return end is not None and now >= end


def _drift_table(found: list[Drift], session: date) -> pa.Table:
    epoch = date(1970, 1, 1).toordinal()
    rows = [
        {
            **one.model_dump(exclude={"worst", "first", "last"}),
            "first": date.fromordinal(epoch + one.first),
            "last": date.fromordinal(epoch + one.last),
            "worst": orjson.dumps(dict(one.worst)).decode(),
            "at": instant(day_number(session) * 86_400 * 10**9),
        }
        for one in found
    ]
    return pa.Table.from_pylist(rows, schema=DRIFT)
