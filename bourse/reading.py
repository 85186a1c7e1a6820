"""Reading: candles, features and the answers to queries, as pandas or pyarrow.

Which lake: the argument `lake`, else the environment's BOURSE_LAKE, else `data/lake` under the working folder, where
the shipped `cluster.yaml` has it. An address like `s3://bucket/path` takes its credentials from the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from adapters.actions import known
from adapters.deltalog import DeltaLog
from adapters.lake import Lake
from adapters.past import called, under_present
from adapters.queries import answered
from adapters.schemas import FEATURES, PRICE
from market.actions import Actions
from market.adjustment import PRICES, VOLUMES, adjusted_columns, factors
from market.candles import INTERVALS
from market.errors import BadValue, StoreRefused
from market.names import Names

HOME = "data/lake"
NAMED = "BOURSE_LAKE"
TABLES = ("candles", "features")
KINDS = ("pandas", "pyarrow")

Day = date | str
AsOf = int | datetime | None


def read(
    table: Literal["candles", "features"],
    symbols: str | Collection[str] | None,
    start: Day,
    end: Day,
    *,
    interval: str = "1m",
    as_of: AsOf = None,
    adjusted: bool = False,
    names: str | Sequence[str] | None = None,
    of: str | None = None,
    lake: str | Path | None = None,
    kind: Literal["pandas", "pyarrow"] = "pandas",
) -> Any:
    """Rows of the sessions `start` to `end`, both included, ordered by symbol and start; one row a minute and symbol.

    `symbols`: `RELIANCE` (NSE's) or `NSE:RELIANCE`, one or several, None for all; a share that was renamed is found by
    any symbol it had, and its rows come under the present one, whatever `as_of`. `start`, `end`: dates of sessions, or
    `2016-08-25`. `interval`: of candles, 1m, 5m, 15m, 1h or 1d. `as_of`: a version of the table, or an aware instant,
    which means the newest version committed by then; the same version gives the same rows. `adjusted`: prices and
    volumes of candles in the shares of `as_of` (of now, without it), by the corporate actions known then, as floats.
    `names`: the features wanted, one or several, and `of` their set; all of the current set without them.

    pandas has prices as floats, pyarrow as exact decimals; instants are in UTC. Raises BadValue for an argument that is
    not allowed, StoreRefused where there is no lake, LineDown when it does not answer.
    """
    if table not in TABLES:
        raise BadValue("table", table, f"one of {', '.join(TABLES)}; bourse.sql reads every table")
    _check_kind(kind)
    first, last = _day("start", start), _day("end", end)
    if last < first:
        raise BadValue("end", end, f"a date not before start, {first}")
    given, found = _symbols(symbols), _lake(lake)
    version = _version(found, table, as_of)
    if table == "features":
        if interval != "1m" or adjusted:
            raise BadValue("features", "adjusted" if adjusted else interval, "features are of 1m, and free of scale")
        asked, those = _features(found, of, names, version)
        shares = known(found).names
        wanted, stored = _shares(given, shares)
        rows = found.read_features(stored, first, last, asked, names=those, version=version)
        return _as(under_present(rows, wanted, shares), kind)
    if names is not None or of is not None:
        raise BadValue("names and of", names or of, "they go with features")
    if interval not in INTERVALS:
        raise BadValue("interval", interval, f"one of {', '.join(INTERVALS)}")
    actions = known(found)
    wanted, stored = _shares(given, actions.names)
    rows = found.read_candles(stored, interval, first, last, version=version)
    rows = under_present(rows, wanted, actions.names)
    return _as(_adjusted(actions, rows, _instant(found, version, as_of)) if adjusted else rows, kind)


def sql(
    query: str,
    *,
    as_of: Mapping[str, int] | datetime | None = None,
    lake: str | Path | None = None,
    kind: Literal["pandas", "pyarrow"] = "pandas",
) -> Any:
    """The answer to a query over the lake's tables, in DuckDB's SQL; `adapters.queries` says what it sees.

    `as_of`: versions by table, or an aware instant for all of them. Raises BadQuery, of one line, and as `read`.
    """
    _check_kind(kind)
    found = _lake(lake)
    with answered(found, query, _versions(found, as_of)) as rows:
        return _as(rows.read_all(), kind)


def _lake(named: str | Path | None) -> Lake:
    root = str(named or os.environ.get(NAMED) or HOME)
    if "://" not in root:
        root = str(Path(root).expanduser().absolute())
    lake = Lake(root)
    if not lake.tables():
        raise StoreRefused(root, f"there is no lake here; name one by lake= or {NAMED}")
    return lake


def _features(
    lake: Lake, of: str | None, names: str | Sequence[str] | None, version: int | None
) -> tuple[str, list[str]]:
    """The set and the features that are asked for; of another set than the current one what the table has."""
    from market.features import NAMES, SET  # here: it brings TA-Lib, which who reads candles need not load

    has: Sequence[str] = NAMES
    if of is not None and of != SET:
        rows = lake.dataset("features", version)
        if not isinstance(of, str) or not len(rows.head(1, columns=["set"], filter=ds.field("set") == of)):
            raise BadValue("of", of, f"{SET}, the current set, or another that the table features holds")
        has = [name for name in rows.schema.names if name not in FEATURES.names]
    if names is None:
        return of or SET, list(has)
    if not isinstance(names, Iterable):
        raise BadValue("names", names, "features, one or several, or None for all")
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in wanted:
        if name not in has:
            near = get_close_matches(str(name), has, n=3, cutoff=0.0)
            raise BadValue("names", name, f"features of {of or SET}, say {', '.join(near)}")
    return of or SET, wanted


def _shares(given: list[str] | None, names: Names) -> tuple[list[str] | None, list[str] | None]:
    """The present symbols of the shares that are asked for, and every symbol that they may be stored under."""
    if given is None:
        return None, None
    present = [names.latest(symbol) for symbol in given]
    return present, called(present, names)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise BadValue("kind", kind, f"one of {', '.join(KINDS)}")


def _day(name: str, given: Day) -> date:
    allowed = "a date, or text like 2016-08-25"
    if isinstance(given, datetime):
        if given.tzinfo is not None or given != datetime.combine(given.date(), datetime.min.time()):
            raise BadValue(name, str(given), f"{allowed}: sessions have no hours")
        return given.date()
    if isinstance(given, date):
        return given
    try:
        return date.fromisoformat(given)
    except (TypeError, ValueError):
        raise BadValue(name, given, allowed) from None


def _symbols(given: str | Collection[str] | None) -> list[str] | None:
    if given is None:
        return None
    allowed = "RELIANCE, NSE:RELIANCE, a list of such, or None for all"
    if not isinstance(given, Iterable):
        raise BadValue("symbols", given, allowed)
    listed = [given] if isinstance(given, str) else list(given)
    for symbol in listed:
        if not isinstance(symbol, str) or not symbol.strip():
            raise BadValue("symbols", symbol, allowed)
    upper = [symbol.strip().upper() for symbol in listed]
    return [symbol if ":" in symbol else f"NSE:{symbol}" for symbol in upper]


def _version(lake: Lake, table: str, as_of: AsOf) -> int | None:
    if as_of is None:
        return None
    if isinstance(as_of, datetime):
        if as_of.tzinfo is None:
            raise BadValue("as_of", as_of.isoformat(), "an instant with its zone, or a version")
        return lake.version(table, as_of)
    if not isinstance(as_of, int) or isinstance(as_of, bool):
        raise BadValue("as_of", as_of, "a version of the table, or an aware datetime")
    return as_of


def _versions(lake: Lake, as_of: Mapping[str, int] | datetime | None) -> dict[str, int | None]:
    """Every table and its version; at an instant those that were there."""
    tables = lake.tables()
    if not isinstance(as_of, datetime):
        for table in as_of or {}:
            if table not in tables:
                raise BadValue("as_of", table, f"versions of {', '.join(tables)}")
        return {table: _version(lake, table, (as_of or {}).get(table)) for table in tables}
    found: dict[str, int | None] = {}
    for table in tables:
        try:
            found[table] = _version(lake, table, as_of)
        except BadValue:
            if as_of.tzinfo is None:
                raise
    return found


def _instant(lake: Lake, version: int | None, as_of: AsOf) -> int:
    """ns UTC: that of `as_of`, that of the version's commit, or now."""
    if isinstance(as_of, datetime):
        return int(as_of.timestamp() * 1_000_000) * 1000
    if version is not None:
        return DeltaLog(lake.files("candles")).committed(version) * 1_000_000
    return time.time_ns()


def _adjusted(actions: Actions, rows: pa.Table, at: int) -> pa.Table:
    columns = {n: rows[n].cast(pa.float64()).to_numpy(zero_copy_only=False).copy() for n in (*PRICES, *VOLUMES)}
    days = rows["session"].cast(pa.int32()).to_numpy()
    symbols = rows["symbol"].combine_chunks().dictionary_encode() if len(rows) else None
    codes = symbols.indices.to_numpy() if symbols is not None else np.zeros(0, np.int32)
    for first, last in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]):
        if symbols is not None and last > first:
            share = factors(actions, symbols.dictionary[int(codes[first])].as_py(), at)
            part = {name: values[first:last] for name, values in columns.items()}
            for name, values in adjusted_columns(part, days[first:last], share).items():
                columns[name][first:last] = values
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, mask=np.isnan(values)))
    return rows


def _as(rows: pa.Table, kind: str) -> Any:
    if kind == "pyarrow":
        return rows
    floats = [pa.field(f.name, pa.float64()) if f.type == PRICE else f for f in rows.schema]
    return rows.cast(pa.schema(floats)).to_pandas()
