"""Signals as rows of the lake, and back as records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from adapters.lake import Lake
from adapters.schemas import INDIA, SIGNALS, decimals, instants, strings
from market.predictions import Abstained
from market.sessions import DAY
from market.signals import Action, Reason, SignalRecord, Signals

FLOATS = ("size", "strength", "prediction", "confidence", "low", "high", "composite", "atr")
ACTIONS = [action.name for action in sorted(Action)]
REASONS = ["", *(reason.name for reason in sorted(Reason))]
ABSTENTIONS = [None, *(why.name for why in sorted(Abstained)[1:])]


def signal_table(rows: Signals, symbols: Sequence[str], ahead_by: int = INDIA) -> pa.Table:
    """`SIGNAL` rows, (n,), as rows of the lake's `signals`, in their order; `symbols` by instrument id.

    The session is the date of `at` on clocks that are `ahead_by` ns before UTC: `sessions.ahead`.
    """
    columns = {
        "symbol": strings(rows["instrument"], symbols),
        "at": instants(rows["at"]),
        "action": strings(rows["action"].astype(np.int64) - min(Action), ACTIONS),
        "reason": strings(rows["reason"], REASONS),
        "horizon": texts(rows["horizon"]),
        "expires": instants(rows["expires"]),
        **{name: decimals(rows[name]) for name in ("price", "stop")},
        **{name: numbers(rows[name]) for name in FLOATS},
        "abstained": strings(rows["abstained"], ABSTENTIONS),
        "version": texts(rows["version"]),
        "session": pa.array(((rows["at"] + ahead_by) // DAY).astype(np.int32)).cast(pa.date32()),
    }
    return pa.table(columns, schema=SIGNALS)


def signal_records(table: pa.Table) -> list[SignalRecord]:
    """Rows of the lake's `signals` as records, in their order."""
    at, expires = (table[name].cast(pa.int64()).to_pylist() for name in ("at", "expires"))
    found: list[dict[str, Any]] = table.drop_columns(["session", "at", "expires"]).to_pylist()
    for row, began, ends in zip(found, at, expires, strict=True):
        for name in ("price", "stop"):
            row[name] = None if row[name] is None else float(row[name])
        for name in FLOATS:
            row[name] = None if row[name] is None else round(row[name], 6)
        row["at"], row["expires"] = began * 1000, None if ends is None else ends * 1000
    return [SignalRecord.model_validate(row) for row in found]


def read_signals(lake: Lake, symbols: Collection[str] | None, first: date, last: date) -> list[SignalRecord]:
    """The signals of sessions `first` to `last`, both inclusive, oldest first; None stands for all symbols.

    Raises LineDown, StoreRefused.
    """
    wanted = (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))
    if symbols is not None:
        wanted &= ds.field("symbol").isin(pa.array(list(symbols), pa.string()))
    rows = lake.dataset("signals").to_table(filter=wanted).select(SIGNALS.names)
    return signal_records(rows.sort_by([("at", "ascending"), ("symbol", "ascending")]))


def texts(values: Any) -> pa.Array:
    """ASCII texts of fixed width, (n,), as strings."""
    return pa.array(np.char.decode(np.ascontiguousarray(values), "ascii").astype(object), pa.string())


def numbers(values: Any) -> pa.Array:
    """Floats, (n,), null where NaN."""
    column = values.astype(np.float64)
    return pa.array(column, mask=np.isnan(column))
