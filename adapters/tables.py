"""Tables: candles as people have them, CSV or parquet, and the indicators of their rows beside them.

Columns are found by name, whatever their case: `open high low close volume`, a time (`time timestamp ts datetime date
start at`) and a `symbol` (`instrument`, `ticker`), the last two if there are any. All others are kept as they are. The
rows keep their order; what is computed follows each symbol's own time. A row in a message counts from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from market.errors import BadValue
from market.indicators import Column, Labels, Study, computed

TIMES = ("time", "timestamp", "ts", "datetime", "date", "start", "at")
SYMBOLS = ("symbol", "instrument", "ticker")
CSV, PARQUET = (".csv", ".csv.gz"), (".parquet",)
IN_ORDER = "none"
"""Said for the time's name: the rows are in order as they are."""

DAY_NS = 86_400_000_000_000
IST_NS = 19_800_000_000_000
"""India is 5 h 30 min ahead of UTC, all year."""


class Anew(StrEnum):
    """When what never forgets its start (OBV, VWAP, AD, SAR, SuperTrend) starts anew."""

    AUTO = "auto"
    """At each day, if some day has several rows; else never."""
    DAY = "day"
    NEVER = "never"


class _Rows(NamedTuple):
    """The rows by symbol and time: `order` (n,) sorts them, None: they are; `edges`: where each symbol begins, and
    the end; `days` (n,) sorted, the day number of each row, None where the time does not say.
    """

    order: npt.NDArray[np.intp] | None
    edges: list[int]
    days: npt.NDArray[np.int64] | None


def readable(path: Path) -> bool:
    """Whether the name says that it is a sheet."""
    return path.name.lower().endswith(CSV + PARQUET)


def read(path: Path) -> pa.Table:
    """A file by its suffix. Raises BadValue: not there, of another kind, broken, or without a row."""
    if not readable(path):
        raise BadValue("file", path.name, f"give a file that ends in {', '.join(CSV + PARQUET)}")
    try:
        # A file, not a data set: no column is made of the names of its folders.
        whole = path.name.lower().endswith(PARQUET)
        sheet = parquet.ParquetFile(path).read() if whole else csv.read_csv(path)
    except (pa.ArrowException, OSError) as e:
        raise BadValue("file", str(path), f"cannot be read: {str(e).splitlines()[0]}") from e
    if not sheet.num_rows:
        raise BadValue("file", str(path), "give one with at least one row")
    return sheet


def write(sheet: pa.Table, path: Path) -> None:
    """Whole or not at all, by its suffix. Raises BadValue."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise BadValue("out", path.name, "give a file that ends in .csv or .parquet")
    part = path.with_name(f".{path.name}.part")
    try:
        if kind == ".csv":
            csv.write_csv(sheet, part, csv.WriteOptions(quoting_style="needed"))
        else:
            # Indicators hardly repeat, and nobody looks for a row by one: that would cost more than it saves.
            keys = [field.name for field in sheet.schema if not pa.types.is_floating(field.type)]
            parquet.write_table(sheet, part, compression="lz4", use_dictionary=keys, write_statistics=keys)
        part.replace(path)
    except (pa.ArrowException, OSError) as e:
        part.unlink(missing_ok=True)
        raise BadValue("out", str(path), f"cannot be written: {str(e).splitlines()[0]}") from e


def studied(sheet: pa.Table, studies: Sequence[Study], anew: Anew = Anew.AUTO, time: str | None = None) -> pa.Table:
    """The sheet with a column for each output of the studies, null where unknown.

    `time` names the column to sort by, `IN_ORDER` none; without it the first of `TIMES` that is there. Raises
    BadValue: a column that is missing, there twice, not of numbers or with a hole; two rows of a symbol at one time.
    """
    names = _names(sheet)
    inputs = _inputs(sheet, studies, names)
    rows = _rows(sheet, names, time)
    labels = _labels(rows, anew) if any(study.indicator.session for study in studies) else None
    columns = [column for study in studies for column in study.columns]
    clash = [column for column in columns if column in sheet.column_names]
    if clash:
        raise BadValue("set", clash[0], "the file has a column of this name")
    for column, values in _computed(inputs, studies, rows, labels).items():
        sheet = sheet.append_column(column, _nullable(values))
    return sheet


def _nullable(values: Column) -> pa.Array:
    """Null where NaN; the values are not copied."""
    known = ~np.isnan(values)
    if known.all():
        return pa.array(values)
    valid = pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    return pa.Array.from_buffers(pa.float64(), len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def _computed(
    inputs: Mapping[str, Column], studies: Sequence[Study], rows: _Rows, labels: Labels | None
) -> dict[str, Column]:
    """The outputs by name, (n,) in the order of the inputs; each symbol by itself."""
    if rows.order is not None:
        inputs = {name: column[rows.order] for name, column in inputs.items()}
    parts = []
    for first, end in pairwise(rows.edges):
        part = {name: column[first:end] for name, column in inputs.items()}
        session = None if labels is None else labels[first:end]
        parts.append(computed(studies, part, session))
    found = parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return found if rows.order is None else {name: _placed(values, rows.order) for name, values in found.items()}


def _placed(values: Column, order: npt.NDArray[np.intp]) -> Column:
    back = np.empty_like(values)
    back[order] = values
    return back


def _names(sheet: pa.Table) -> dict[str, str]:
    """The columns' own names by their names in small letters."""
    names: dict[str, str] = {}
    for name in sheet.column_names:
        small = name.strip().lower()
        known = small in ("open", "high", "low", "close", "volume", *TIMES, *SYMBOLS)
        if known and small in names:
            raise BadValue("file", f"{names[small]}, {name}", f"give one column of the name {small}")
        names.setdefault(small, name)
    return names


def _inputs(sheet: pa.Table, studies: Sequence[Study], names: Mapping[str, str]) -> dict[str, Column]:
    wanted = dict.fromkeys(name for study in studies for name in study.indicator.inputs)
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise BadValue("file", ", ".join(sheet.column_names), f"it lacks {', '.join(lacking)}")
    return {name: _numbers(sheet, names[name]) for name in wanted}


def _numbers(sheet: pa.Table, name: str) -> Column:
    given = sheet[name]
    if pa.types.is_string(given.type) or pa.types.is_large_string(given.type) or pa.types.is_null(given.type):
        _refuse_text(name, given)
    if pa.types.is_boolean(given.type):
        raise BadValue(name, str(given.type), "give a column of numbers")
    try:
        column: Column = given.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowException as e:
        raise BadValue(name, str(given.type), "give a column of numbers") from e
    # One number that is not finite makes the sum so; only then is it looked for.
    if not np.isfinite(column.sum()):
        for row in np.flatnonzero(~np.isfinite(column))[:1]:
            value = given[int(row)].as_py()
            raise BadValue(name, "empty" if value is None else value, f"row {row + 1} is a hole; take such rows out")
    return column


def _refuse_text(name: str, given: pa.ChunkedArray) -> None:
    for row, value in enumerate(given.to_pylist(), 1):
        try:
            float(value)
        except (TypeError, ValueError) as e:
            raise BadValue(name, "empty" if value is None else value, f"row {row} is no number") from e
    raise BadValue(name, str(given.type), "give a column of numbers, not of texts")


def _rows(sheet: pa.Table, names: Mapping[str, str], time: str | None) -> _Rows:
    count = sheet.num_rows
    symbol = next((names[name] for name in SYMBOLS if name in names), None)
    codes = np.zeros(count, np.int64) if symbol is None else _codes(sheet, symbol)
    at, days = _instants(sheet, names, time)
    order = None if _sorted(codes, at) else np.lexsort((codes,) if at is None else (at, codes))
    if order is not None:
        codes, at, days = codes[order], None if at is None else at[order], None if days is None else days[order]
    same = codes[1:] == codes[:-1]
    if at is not None:
        for k in np.flatnonzero(same & (at[1:] == at[:-1]))[:1]:
            pair = (k, k + 1) if order is None else order[k : k + 2]
            rows = " and ".join(str(row + 1) for row in pair)
            raise BadValue("file", f"rows {rows}", "they are of the same time; give each symbol's rows once")
    return _Rows(order, [0, *(np.flatnonzero(~same) + 1).tolist(), count], days)


def _sorted(codes: npt.NDArray[np.int64], at: npt.NDArray[np.int64] | None) -> bool:
    rising = codes[1:] > codes[:-1]
    same = codes[1:] == codes[:-1]
    return bool((rising | (same if at is None else same & (at[1:] >= at[:-1]))).all())


def _codes(sheet: pa.Table, symbol: str) -> npt.NDArray[np.int64]:
    given = sheet[symbol].combine_chunks()
    if given.null_count:
        row = int(np.flatnonzero(given.is_null().to_numpy(zero_copy_only=False))[0]) + 1
        raise BadValue(symbol, "empty", f"row {row} has no symbol")
    if isinstance(given, pa.DictionaryArray):
        given = given.cast(given.type.value_type)
    codes: npt.NDArray[np.int64] = given.dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _instants(sheet: pa.Table, names: Mapping[str, str], time: str | None) -> tuple[Any, Any]:
    """Sort keys (n,) and day numbers (n,), or None where there is no time, or none that tells the day."""
    if time == IN_ORDER:
        return None, None
    if time is not None and time.lower() not in names:
        raise BadValue("time", time, f"name one of {', '.join(sheet.column_names)}, or {IN_ORDER}")
    asked = TIMES if time is None else (time.lower(),)
    there = [names[name] for name in asked if name in names]
    if not there:
        return None, None
    for name in there:
        if sheet[name].null_count:
            row = int(np.flatnonzero(sheet[name].combine_chunks().is_null().to_numpy(zero_copy_only=False))[0]) + 1
            raise BadValue(name, "empty", f"row {row} has no time")
    for name in there:
        kind = sheet[name].type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            at = pc.cast(sheet[name], pa.timestamp("ns", getattr(kind, "tz", None))).cast(pa.int64()).to_numpy()
            clock = next((sheet[other] for other in there if pa.types.is_time(sheet[other].type)), None)
            if clock is not None:
                at = at + clock.cast(pa.time64("ns")).cast(pa.int64()).to_numpy()
            return at, _days(at, bool(getattr(kind, "tz", None)))
    for name in there:
        if pa.types.is_integer(sheet[name].type):
            return sheet[name].cast(pa.int64()).to_numpy(), None
    name = there[0]
    raise BadValue(
        name, sheet[name][0].as_py(), f"give times as 2025-11-20 or 2025-11-20T09:15:00, or --time {IN_ORDER}"
    )


def _days(at: npt.NDArray[np.int64], zoned: bool) -> npt.NDArray[np.int64]:
    """Days of India where the time has a zone, else the time's own."""
    local = at + IST_NS if zoned else at
    days: npt.NDArray[np.int64] = local // DAY_NS
    return days


def _labels(rows: _Rows, anew: Anew) -> Labels | None:
    if anew == Anew.NEVER:
        return None
    if rows.days is None:
        if anew == Anew.DAY:
            raise BadValue("anew", str(anew), "the file has no time that tells the day")
        return None
    inner = np.ones(rows.days.size, bool)
    inner[rows.edges[:-1]] = False
    several = bool((inner[1:] & (rows.days[1:] == rows.days[:-1])).any())
    return rows.days if several or anew == Anew.DAY else None
