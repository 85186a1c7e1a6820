"""Recordings: files of one-minute candles, read as exact columns.

Columns are `symbol, ts, open, high, low, close, volume`, in parquet or CSV; `ts` is the candle's start with its zone.
Prices come as floats in rupees and become money exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet
from pydantic import ValidationError

from market.errors import BadValue
from market.instruments import Instrument, Kind
from market.money import SCALE
from market.sessions import IST, Session
from market.tape import BAR, Bars, Tape, check, from_bars

COLUMNS = ("symbol", "ts", "open", "high", "low", "close", "volume")
NEAR = 1e-6
"""A float price this near, in rupees, to a whole 1/10,000 is meant to be it."""

SEGMENT_NSE, SEGMENT_INDEX = 1, 9

DIALECTS = ("kite", "mstock")
"""The vendors for whose wires a recording's instruments have tokens."""


class Recording(NamedTuple):
    """One day of a file: `BAR` rows whose instruments count `symbols`, and the closes of the day before it in the
    file.
    """

    symbols: list[str]
    rows: Bars
    closes: dict[int, int]


def read(path: Path | str, day: date) -> Recording:
    """The bars of one session. Raises BadValue: no such file, wrong columns, no such session, bars that cannot be."""
    table = _table(Path(path))
    days = _days(table)
    today = table.filter(pc.equal(days, pa.scalar(day)))
    if not today.num_rows:
        known = sorted(set(pc.unique(days).to_pylist()))
        span = f"{known[0]} to {known[-1]}, {len(known)} sessions" if known else "none: the file is empty"
        raise BadValue("session", day.isoformat(), f"a session of {Path(path).name}: {span}")
    symbols = sorted(set(today["symbol"].to_pylist()))
    rows = check(_bars(today, symbols))
    return Recording(symbols, rows, _closes(table, days, day, symbols))


def sessions(path: Path | str) -> list[date]:
    """The days a file holds, oldest first. Raises BadValue."""
    return sorted(pc.unique(_days(_table(Path(path)))).to_pylist())


def universe(recording: Recording) -> list[Instrument]:
    """The instruments of a recording, ids in the order of their symbols, tokens made up.

    What has no volume all day travels as an index does; an index recorded with a volume keeps it, in full packets.
    """
    volume = np.bincount(recording.rows["instrument"], recording.rows["volume"], len(recording.symbols))
    made = []
    for number, symbol in enumerate(recording.symbols):
        name = symbol.partition(":")[2]
        index = volume[number] == 0
        token = (1000 + number) * 256 + (SEGMENT_INDEX if index else SEGMENT_NSE)
        kind = Kind.INDEX if index else Kind.EQUITY
        tokens: dict[str, int | str] = {
            "kite": token,
            "mstock": f"{3 if symbol.startswith('BSE:') else 1}|{1000 + number}",
        }
        try:
            made.append(Instrument(id=number, symbol=symbol, name=name, kind=kind, tokens=tokens))
        except ValidationError as e:
            raise BadValue("symbol", symbol, "EXCHANGE:NAME, or a name alone for NSE") from e
    return made


def tape(path: Path | str, session: Session) -> Tape:
    """The tape of one recorded session. Raises BadValue."""
    recording = read(path, session.date)
    return from_bars(session, recording.rows, recording.closes)


def _table(path: Path) -> pa.Table:
    try:
        table = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as e:
        raise BadValue(
            "recording", str(path), f"a parquet or CSV file that can be read ({str(e).splitlines()[0]})"
        ) from e
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise BadValue(
            "recording", ", ".join(table.column_names), f"columns {', '.join(COLUMNS)}; {missing[0]} is missing"
        )
    table = table.select(COLUMNS)
    try:
        symbols = pc.cast(table["symbol"], pa.string())
        table = table.set_column(
            0, "symbol", pa.chunked_array([[_symbol(s) for s in symbols.to_pylist()]], pa.string())
        )
    except (pa.ArrowInvalid, TypeError, AttributeError) as e:
        raise BadValue("symbol", str(table["symbol"].type), "text in every row") from e
    return table.set_column(1, "ts", _instants(table["ts"]))


def _symbol(name: str) -> str:
    return name if ":" in name else f"NSE:{name}"


def _instants(column: pa.ChunkedArray) -> pa.ChunkedArray:
    zoned = "times with their zone, like 2016-08-25T09:15:00+05:30"
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        raise BadValue("ts", str(column.type), zoned)
    if not pa.types.is_timestamp(column.type):
        try:
            column = pc.cast(column, pa.timestamp("ns", "UTC"))
        except pa.ArrowInvalid as e:
            raise BadValue("ts", str(column[0]) if len(column) else "nothing", zoned) from e
    if column.null_count:
        raise BadValue("ts", "nothing", f"{zoned} in every row")
    return pc.cast(column, pa.timestamp("ns", "UTC"))


def _days(table: pa.Table) -> pa.ChunkedArray:
    local = pc.local_timestamp(pc.cast(table["ts"], pa.timestamp("ns", IST.key)))
    return pc.cast(local, pa.date32(), safe=False)


def _bars(table: pa.Table, symbols: Sequence[str]) -> Bars:
    rows = np.zeros(table.num_rows, BAR)
    rows["instrument"] = pc.index_in(table["symbol"], pa.array(symbols)).to_numpy()
    rows["start"] = pc.cast(table["ts"], pa.int64()).to_numpy()
    for name in ("open", "high", "low", "close"):
        rows[name] = _money(table, name)
    volume = table["volume"]
    if volume.null_count or not (pa.types.is_integer(volume.type) or pa.types.is_floating(volume.type)):
        raise BadValue("volume", str(volume.type), "a whole number of shares in every row")
    shares = volume.to_numpy()
    if not np.isfinite(shares).all() or (shares != np.rint(shares)).any():
        raise BadValue(
            "volume", float(shares[~(np.isfinite(shares) & (shares == np.rint(shares)))][0]), "whole numbers"
        )
    rows["volume"] = shares
    return rows


def _money(table: pa.Table, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    try:
        floats = pc.cast(table[name], pa.float64()).to_numpy()
    except pa.ArrowInvalid as e:
        raise BadValue(name, str(table[name].type), "a number in every row") from e
    scaled = floats * SCALE
    wrong = ~np.isfinite(floats) | (np.abs(scaled - np.rint(scaled)) > NEAR * SCALE)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        where = f"{name} of {table['symbol'][row]} at {table['ts'][row]}"
        raise BadValue(where, float(floats[row]), "a price of at most four decimals")
    return np.asarray(np.rint(scaled), np.int64)


def _closes(table: pa.Table, days: pa.ChunkedArray, day: date, symbols: Sequence[str]) -> dict[int, int]:
    """The last close before the day, where the file has one."""
    earlier = table.filter(pc.and_(pc.less(days, pa.scalar(day)), pc.is_in(table["symbol"], pa.array(symbols))))
    if not earlier.num_rows:
        return {}
    newest = earlier.filter(pc.equal(_days(earlier), pc.max(_days(earlier)))).sort_by("ts")
    rows = _bars(newest, symbols)
    return dict(zip(rows["instrument"].tolist(), rows["close"].tolist(), strict=True))
