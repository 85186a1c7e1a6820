"""Schemas: the tables of the lake, and our columns as rows of them.

Prices are decimals of four places, instants microseconds UTC; what is UNKNOWN is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from market.candles import CANDLE, INTERVAL_NAMES, INTERVALS, Candles, Provenance
from market.errors import BadValue
from market.money import DECIMALS, UNKNOWN
from market.predictions import Abstained
from market.scores import HORIZON_NAMES, PREDICTED, Asked, Recommendation
from market.sessions import DAY, MINUTE, NO_TABLE, ahead
from market.ticks import Ticks

PRICE = pa.decimal128(18, DECIMALS)
INSTANT = pa.timestamp("us", "UTC")

CANDLES = pa.schema(
    [
        ("symbol", pa.string()),
        ("interval", pa.string()),
        ("start", INSTANT),
        *((name, PRICE) for name in ("open", "high", "low", "close", "vwap")),
        ("volume", pa.int64()),
        ("trades", pa.int64()),
        ("open_interest", pa.int64()),
        ("completeness", pa.float64()),
        ("provenance", pa.string()),
        ("revision", pa.int32()),
        ("session", pa.date32()),
    ]
)
"""The table `candles`: `NSE:RELIANCE`, `1m`, rupees; prices null in a GAP row, `vwap` null where the volume is 0."""

TICKS = pa.schema(
    [
        ("symbol", pa.string()),
        ("source", pa.string()),
        ("sequence", pa.int64()),
        ("at", INSTANT),
        ("quoted", INSTANT),
        ("received", INSTANT),
        *((name, PRICE) for name in ("price", "bid", "ask")),
        *((name, pa.int64()) for name in ("day_volume", "bid_quantity", "ask_quantity", "open_interest")),
        ("flags", pa.int16()),
        ("session", pa.date32()),
    ]
)
"""The table `ticks`, rows of one commit in arrival order; null where the vendor said nothing.

Of a print (`flags` as `market.ticks.Flag`) `day_volume` is its own size and `sequence` the vendor's number of it.
"""

LACKING = pa.schema([("symbol", pa.string()), ("start", INSTANT), ("vendor", pa.string()), ("session", pa.date32())])
"""The table `lacking`: minutes that a vendor was asked for, to repair them, and does not have."""

QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("symbol", pa.string()),
        ("reason", pa.string()),
        ("content", pa.string()),
        ("imported", INSTANT),
    ]
)
"""The table `quarantine`: rows that were not taken in, `row` counted from 1 behind the header, `content` as JSON."""

SERIES = pa.schema(
    [("name", pa.string()), ("at", INSTANT), ("known", INSTANT), ("value", pa.float64()), ("source", pa.string())]
)
"""The table `series`: what is no candle; a second `known` of one `at` is a revision of the value."""

ASKED = pa.schema(
    [
        ("vendor", pa.string()),
        ("symbol", pa.string()),
        ("interval", pa.string()),
        ("first", pa.date32()),
        ("last", pa.date32()),
        ("candles", pa.int64()),
        ("at", INSTANT),
    ]
)
"""The table `asked`: spans of days that a vendor's history was asked for and has answered."""

FEATURES = pa.schema(
    [
        ("symbol", pa.string()),
        ("start", INSTANT),
        ("set", pa.string()),
        ("run", INSTANT),
        ("revision", pa.int32()),
        ("unknown", pa.string()),
        ("session", pa.date32()),
    ]
)
"""The table `features`, one row of a minute: of which set, and behind these a float64 column for each feature.

`run`: when the run in bulk began that computed it, null for a live row; `revision`: the candle's; `unknown`: why the
features are not known. A feature that is not known is null. The columns grow with what is written.
"""

SIGNALS = pa.schema(
    [
        ("symbol", pa.string()),
        ("at", INSTANT),
        ("action", pa.string()),
        ("reason", pa.string()),
        ("horizon", pa.string()),
        ("expires", INSTANT),
        ("price", PRICE),
        ("stop", PRICE),
        *((name, pa.float64()) for name in ("size", "strength", "prediction", "confidence", "low", "high")),
        ("composite", pa.float64()),
        ("atr", pa.float64()),
        ("abstained", pa.string()),
        ("version", pa.string()),
        ("session", pa.date32()),
    ]
)
"""The table `signals`, `market.signals.SIGNAL`: what changed, and what the decision knew. Null is unknown, or does not
apply to a HOLD.
"""

OUTCOMES = pa.schema(
    [
        ("symbol", pa.string()),
        ("at", INSTANT),
        ("horizon", pa.string()),
        ("version", pa.string()),
        *((name, pa.float64()) for name in ("p_down", "p_flat", "p_up", "prediction", "confidence", "low", "high")),
        ("abstained", pa.string()),
        ("unscored", pa.string()),
        ("came", pa.string()),
        ("outcome", pa.float64()),
        ("net", pa.float64()),
        ("scored", INSTANT),
        ("session", pa.date32()),
    ]
)
"""The table `outcomes`, `market.outcomes.OUTCOME`: each prediction once, with what came of it. `abstained`, `unscored`:
why there is none, else null; `scored`: when it was.
"""

DRIFT = pa.schema(
    [
        ("version", pa.string()),
        ("horizon", pa.string()),
        ("first", pa.date32()),
        ("last", pa.date32()),
        ("features", pa.int64()),
        ("shifted", pa.float64()),
        ("worst", pa.string()),
        ("calibration", pa.float64()),
        ("weight", pa.float64()),
        ("at", INSTANT),
    ]
)
"""The table `drift`, `market.drift.Drift`, as of each session's end; `worst` as JSON. The newest row of a version says
how much it counts.
"""

PREDICTIONS = pa.schema(
    [
        ("symbol", pa.string()),
        ("at", INSTANT),
        ("horizon", pa.string()),
        *((name, pa.float32()) for name in PREDICTED),
        ("abstained", pa.string()),
        ("asked", pa.string()),
        ("version", pa.string()),
        ("close", PRICE),
        *((name, pa.float32()) for name in ("rsi", "trend", "momentum", "composite")),
        ("recommendation", pa.string()),
        ("latency_ms", pa.float32()),
        ("revision", pa.int32()),
        ("session", pa.date32()),
    ]
)
"""The table `predictions`: what was expected of a symbol at the end of a minute, over a horizon, with its scores.

`asked`: null where the predictor answered, else why it did not (`market.scores.Asked`); `abstained`: null where there
is a prediction, else why there is none (`market.predictions.Abstained`); `version`: of the ensemble that answered.
"""

ACTIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("symbol", "isin", "kind")),
        ("session", pa.date32()),
        ("numerator", pa.int64()),
        ("denominator", pa.int64()),
        ("amount", PRICE),
        ("new_symbol", pa.string()),
        ("void", pa.bool_()),
        ("known", INSTANT),
        ("recorded", INSTANT),
        *((name, pa.string()) for name in ("source", "operator", "reason")),
    ]
)
"""The table `actions`, `market.actions.Action`: `session` is the ex-date, numerator over denominator the factor."""

SCHEMAS = {
    "ticks": TICKS,
    "candles": CANDLES,
    "lacking": LACKING,
    "features": FEATURES,
    "predictions": PREDICTIONS,
    "signals": SIGNALS,
    "outcomes": OUTCOMES,
    "drift": DRIFT,
    "actions": ACTIONS,
    "quarantine": QUARANTINE,
    "series": SERIES,
    "asked": ASKED,
}
INDEXED = {
    "ticks": "symbol,at",
    "candles": "symbol,interval,start",
    "lacking": "symbol,start",
    "features": "symbol,start,set",
    "predictions": "symbol,at,horizon",
    "signals": "symbol,at",
    "outcomes": "symbol,at,horizon,version",
    "drift": "version,last",
    "actions": "symbol,session",
    "quarantine": "file,row",
    "series": "name,at,known",
    "asked": "vendor,symbol,interval",
}
GROWING = {"features": pa.float64()}
"""Tables that take columns nobody has heard of, and their type."""
WHOLE = frozenset({"actions", "quarantine", "series", "asked", "drift"})
"""Tables too small to be cut by session."""

INDIA = ahead(NO_TABLE)


def candle_table(candles: Candles, symbols: Sequence[str]) -> pa.Table:
    """`CANDLE` rows, (n,), as rows of the lake's `candles`, in their order; `symbols` by instrument id."""
    names = [INTERVAL_NAMES.get(s, "") for s in range(max(INTERVAL_NAMES) + 1)]
    provenances = [""] + [p.name for p in sorted(Provenance)]
    columns = {
        "symbol": strings(candles["instrument"], symbols),
        "interval": strings(candles["interval"], names),
        "start": instants(candles["start"]),
        **{name: decimals(candles[name]) for name in ("open", "high", "low", "close", "vwap")},
        **{name: _numbers(candles[name]) for name in ("volume", "trades", "open_interest")},
        "completeness": pa.array(np.ascontiguousarray(candles["completeness"])),
        "provenance": strings(candles["provenance"], provenances),
        "revision": pa.array(np.ascontiguousarray(candles["revision"])),
        "session": pa.array(np.ascontiguousarray(candles["session"])).cast(pa.date32()),
    }
    return pa.table(columns, schema=CANDLES)


def candle_rows(table: pa.Table, ids: Mapping[str, int]) -> Candles:
    """Rows of the lake's `candles` as `CANDLE` rows, in their order; symbols outside `ids` are left out."""
    table = table.filter(pc.is_in(table["symbol"], pa.array(list(ids), pa.string())))
    rows = np.zeros(len(table), CANDLE)
    rows["instrument"] = _coded(table["symbol"], ids)
    rows["interval"] = _coded(table["interval"], INTERVALS)
    rows["start"] = whole(table["start"].cast(pa.int64())) * 1000
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = units(table[name])
    for name in ("volume", "trades", "open_interest"):
        rows[name] = whole(table[name])
    rows["completeness"] = table["completeness"].to_numpy()
    rows["session"] = whole(table["session"].cast(pa.int32()))
    rows["revision"] = whole(table["revision"])
    rows["provenance"] = _coded(table["provenance"], {p.name: int(p) for p in Provenance})
    return rows


def feature_table(
    rows: npt.NDArray[Any],
    symbols: Sequence[str],
    of: str,
    names: Sequence[str],
    reasons: Sequence[str],
    run: int | None = None,
) -> pa.Table:
    """`market.features.FEATURE` rows, (n,), of the set `of` as rows of the lake's `features`, in their order.

    `symbols` by instrument id; `names`: of the values, in their order; `reasons`: by code of `unknown`, the first one
    for a row that is known; `run`: when the run in bulk began, ns UTC, None of live rows. NaN becomes null.
    """
    values = {name: rows["values"][:, k] for k, name in enumerate(names)}
    columns = {
        "symbol": strings(rows["instrument"], symbols),
        "start": instants(rows["start"]),
        "set": pa.repeat(pa.scalar(of), len(rows)),
        "run": pa.repeat(pa.scalar(None if run is None else run // 1000, pa.int64()), len(rows)).cast(INSTANT),
        "revision": pa.array(rows["revision"].astype(np.int32)),
        "unknown": strings(rows["unknown"], [*([None] if reasons else []), *reasons[1:]]),
        "session": pa.array(rows["session"].astype(np.int32)).cast(pa.date32()),
        **{name: pa.array(np.ascontiguousarray(column), mask=np.isnan(column)) for name, column in values.items()},
    }
    return pa.table(columns)


def prediction_table(rows: npt.NDArray[Any], symbols: Sequence[str]) -> pa.Table:
    """`market.scores.SCORE` rows, (n,), as rows of the lake's `predictions`, in their order; NaN becomes null."""
    floats = (*PREDICTED, "rsi", "trend", "momentum", "composite")
    known = rows["recommendation"] != Recommendation.UNKNOWN
    lowest = int(Recommendation.STRONG_SELL)
    told = [Recommendation(code).name for code in range(lowest, int(Recommendation.STRONG_BUY) + 1)]
    versions = rows["version"]
    columns = {
        "symbol": strings(rows["instrument"], symbols),
        "at": instants(rows["start"] + MINUTE),
        "horizon": strings(rows["horizon"], HORIZON_NAMES),
        **{name: _floats(rows[name]) for name in floats},
        "abstained": strings(rows["abstained"], [None, *(a.name for a in sorted(Abstained)[1:])]),
        "asked": strings(rows["asked"], [None, *(a.name for a in sorted(Asked)[1:])]),
        "version": pa.array(versions, mask=versions == b"").cast(pa.string()),
        "close": decimals(rows["close"]),
        "recommendation": strings(np.where(known, rows["recommendation"] - lowest, len(told)), [*told, None]),
        "latency_ms": _floats(rows["latency"]),
        "revision": pa.array(rows["revision"].astype(np.int32)),
        "session": pa.array(rows["session"].astype(np.int32)).cast(pa.date32()),
    }
    return pa.table(columns, schema=PREDICTIONS)


def feature_values(table: pa.Table, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """The named features of rows of the lake's `features`, (n, k), in their order; NaN where null."""
    found = np.empty((len(table), len(names)))
    for k, name in enumerate(names):
        found[:, k] = table[name].cast(pa.float64()).to_numpy()
    return found


def lacking_table(rows: Sequence[tuple[str, int, date]], vendor: str) -> pa.Table:
    """(symbol, start in ns UTC, session) as rows of the lake's `lacking`."""
    columns = {
        "symbol": pa.array([symbol for symbol, _, _ in rows], pa.string()),
        "start": instants(np.array([start for _, start, _ in rows], np.int64)),
        "vendor": pa.array([vendor] * len(rows), pa.string()),
        "session": pa.array([session for _, _, session in rows], pa.date32()),
    }
    return pa.table(columns, schema=LACKING)


def tick_table(ticks: Ticks, symbols: Sequence[str], feeds: Sequence[str], ahead_by: int = INDIA) -> pa.Table:
    """`TICK` rows of kind TICK, (n,), as rows of the lake's `ticks`; `symbols` by instrument id, `feeds` by source.

    The session is the date of `at` on clocks that are `ahead_by` ns before UTC: `sessions.ahead`.
    """
    columns = {
        "symbol": strings(ticks["instrument"], symbols),
        "source": strings(ticks["source"], feeds),
        "sequence": pa.array(ticks["sequence"].astype(np.int64)),
        **{name: instants(ticks[name]) for name in ("at", "quoted", "received")},
        **{name: decimals(ticks[name]) for name in ("price", "bid", "ask")},
        **{name: _numbers(ticks[name]) for name in ("day_volume", "bid_quantity", "ask_quantity", "open_interest")},
        "flags": pa.array(ticks["flags"].astype(np.int16)),
        "session": pa.array(((ticks["at"] + ahead_by) // DAY).astype(np.int32)).cast(pa.date32()),
    }
    return pa.table(columns, schema=TICKS)


def decimals(amounts: npt.NDArray[np.int64]) -> pa.Array:
    """Money (n,) -> decimal(18, 4) (n,), null where UNKNOWN; no Python object on the way."""
    halves = np.empty((len(amounts), 2), "<i8")
    halves[:, 0] = amounts
    halves[:, 1] = amounts >> 63
    unknown = amounts == UNKNOWN
    valid = pa.py_buffer(np.packbits(~unknown, bitorder="little").tobytes()) if unknown.any() else None
    return pa.Array.from_buffers(PRICE, len(amounts), [valid, pa.py_buffer(halves.tobytes())])


def units(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """decimal(18, 4) (n,) -> money (n,), UNKNOWN where null; the inverse of `decimals`."""
    parts = [_low_halves(chunk) for chunk in column.chunks]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _low_halves(chunk: pa.Array) -> npt.NDArray[np.int64]:
    values = np.frombuffer(chunk.buffers()[1], "<i8").reshape(-1, 2)[chunk.offset : chunk.offset + len(chunk), 0]
    return np.where(chunk.is_null().to_numpy(zero_copy_only=False), UNKNOWN, values) if chunk.null_count else values


def _numbers(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=values == UNKNOWN)


def instants(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(values // 1000, mask=values == UNKNOWN).cast(INSTANT)


def _floats(values: npt.NDArray[np.float32]) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), mask=np.isnan(values))


def strings(codes: npt.NDArray[Any], names: Sequence[str | None]) -> pa.Array:
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(names):
        raise BadValue("code", int(codes.max()), f"0 to {len(names) - 1}, as listed")
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(names, pa.string())).cast(pa.string())


def _coded(column: pa.ChunkedArray, codes: Mapping[str, int]) -> npt.NDArray[np.int64]:
    places = whole(pc.index_in(column, pa.array(list(codes), pa.string())))
    return np.append(np.fromiter(codes.values(), np.int64), 0)[places]


def whole(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).fill_null(UNKNOWN).to_numpy(), np.int64)
