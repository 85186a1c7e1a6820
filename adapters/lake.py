"""The lake: ticks and candles as Delta tables, one row each, for ever.

A commit carries, as Delta application transactions, the id of the last bus entry it holds of each partition. Before it
writes, a writer compares what the table says with what it last saw itself, and the commit is made against exactly that
version: a repeat is known and refused, and of two writers with one name one is stopped. Nothing beyond protocol 1/2 is
used, so any Delta reader reads along.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from market.candles import CANDLE, INTERVAL_NAMES, INTERVALS, Candles, Provenance
from market.errors import BadValue, LeaseLost, LineDown, StoreRefused
from market.money import DECIMALS, UNKNOWN
from market.sessions import DAY, NO_TABLE, Session, ahead, instant
from market.ticks import Ticks

PRICE = pa.decimal128(18, DECIMALS)
OFFICIAL = Provenance.OFFICIAL.name
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

SCHEMAS = {"ticks": TICKS, "candles": CANDLES, "lacking": LACKING, "actions": ACTIONS}
INDEXED = {
    "ticks": "symbol,at",
    "candles": "symbol,interval,start",
    "lacking": "symbol,start",
    "actions": "symbol,session",
}
WHOLE = frozenset({"actions"})
"""Tables too small to be cut by session."""

CHECKPOINT_COMMITS = 50
COMPACTED_COMMITS = 5
COMPACTED_BYTES = 8 << 20
"""A file of this size is left alone while the session runs: what is joined, and held for it, stays bounded."""

TRIES = 20
INDIA = ahead(NO_TABLE)
ROW_GROUP = 8192
HOPELESS = ("Permission denied", "Operation not permitted", "Read-only file system", "corrupt", "Json error")
PARQUET = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=ROW_GROUP)


class Lake:
    """The tables under one root, a folder or an object store's address. One owner writes, anyone reads.

    Candles come in many small commits, so every `COMPACTED_COMMITS` the files of the sessions just written are joined.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = root.rstrip("/")
        self._options = dict(storage_options or {})
        self._tables: dict[str, tuple[DeltaTable, int]] = {}
        """Each with the version at which it was opened."""
        self._seen: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()

    def append(self, table: str, rows: pa.Table, cursors: Mapping[str, int]) -> int | None:
        """Commit rows with the cursors, by application id, up to which they go; returns the table's version.

        None if the table holds these cursors already: nothing was written. A writer that never asked for `cursors`
        claims to begin at 0. Raises LeaseLost when someone else moved a cursor; LineDown, after which `cursors` tells
        what happened.
        """
        if not cursors:
            raise BadValue("cursors", cursors, "one application id at least")
        with self._lock, self._trouble(table):
            for _ in range(TRIES):
                handle = self._owned(table)
                if self._known(table, handle, cursors):
                    return None
                if self._written(handle, rows, cursors):
                    self._seen |= {(table, app): cursor for app, cursor in cursors.items()}
                    version = int(handle.version())
                    if table == "candles" and version % COMPACTED_COMMITS == 0:
                        self._tidy(handle, rows)
                    return version
        raise LineDown(self._uri(table), f"{TRIES} commits in a row met another writer's")

    def cursors(self, table: str, apps: Collection[str]) -> dict[str, int]:
        """The last committed cursor of each application id, 0 where there is none."""
        with self._lock, self._trouble(table):
            handle = self._owned(table)
            found = {app: handle.transaction_version(app) or 0 for app in apps}
            self._seen |= {(table, app): cursor for app, cursor in found.items()}
            return found

    def rewind(self, table: str, upto: Mapping[str, int]) -> dict[str, int]:
        """After LogWentBack: restore the newest version that holds nothing above `upto`; returns the cursors to go on.

        `upto` names every application id of the table: everything committed later, whoever wrote it, is out of the
        table and must be read from the bus again. Raises StoreRefused when no version is old enough.
        """
        with self._lock, self._trouble(table):
            handle = self._owned(table)
            target, kept = self._newest_within(table, handle.version(), upto)
            if target != handle.version():
                back = [Transaction(app, cursor, 0) for app, cursor in kept.items()]
                handle.restore(target, commit_properties=CommitProperties(app_transactions=back, max_commit_retries=0))
            found = self.cursors(table, kept)
            if found != kept:
                raise StoreRefused(self._uri(table), f"went back to version {target}, yet says {found}, not {kept}")
            return found

    def compact(self, table: str, session: date) -> int:
        """Join the small files of a session that has ended; returns how many files are gone. Rows stay as they are."""
        with self._lock, self._trouble(table):
            handle = self._owned(table)
            done = handle.optimize.compact([("session", "=", session.isoformat())], writer_properties=PARQUET)
            return int(done["numFilesRemoved"]) - int(done["numFilesAdded"])

    def read_candles(self, symbols: Collection[str] | None, interval: str | None, first: date, last: date) -> pa.Table:
        """The newest revisions of our own candles of sessions `first` to `last`, both inclusive.

        Ordered by symbol, interval, start; None stands for all symbols, or all intervals. Raises LineDown and
        StoreRefused.
        """
        return self._read_candles(symbols, interval, (first, last), ds.field("provenance") != OFFICIAL)

    def read_daily(self, symbols: Collection[str], sessions: Sequence[Session]) -> pa.Table:
        """The newest revisions of our own daily candles of these sessions.

        A daily candle begins at its session's open: told so, the store skips nearly all that is not one.
        """
        if not sessions:
            return CANDLES.empty_table()
        opens = [
            (ds.field("session") == pa.scalar(s.date)) & (ds.field("start") == pa.scalar(instant(s.open), INSTANT))
            for s in sessions
        ]
        wanted = reduce(or_, opens) & (ds.field("provenance") != OFFICIAL)
        return self._read_candles(symbols, "1d", (sessions[0].date, sessions[-1].date), wanted)

    def read_official(self, symbols: Collection[str] | None, first: date, last: date) -> pa.Table:
        """The newest revisions of the exchange's own daily candles, as `read_candles`."""
        return self._read_candles(symbols, "1d", (first, last), ds.field("provenance") == OFFICIAL)

    def read_lacking(self, symbols: Collection[str], first: date, last: date) -> list[tuple[str, int]]:
        """Symbol and start, ns UTC, of the minutes of these sessions that a vendor does not have either."""
        with self._lock, self._trouble("lacking"):
            try:
                dataset = self._current("lacking").to_pyarrow_dataset()
            except TableNotFoundError:
                return []
            of = (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))
            rows = dataset.to_table(filter=of & ds.field("symbol").isin(pa.array(list(symbols), pa.string())))
        return list(zip(rows["symbol"].to_pylist(), (_whole(rows["start"]) * 1000).tolist(), strict=True))

    def read_actions(self) -> pa.Table:
        """All that was ever told of corporate actions, `ACTIONS`. Raises LineDown, StoreRefused."""
        with self._lock, self._trouble("actions"):
            try:
                return self._current("actions").to_pyarrow_dataset().to_table().select(ACTIONS.names)
            except TableNotFoundError:
                return ACTIONS.empty_table()

    def _read_candles(
        self, symbols: Collection[str] | None, interval: str | None, days: tuple[date, date], wanted: ds.Expression
    ) -> pa.Table:
        first, last = days
        wanted &= (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))
        files = f"session >= '{first.isoformat()}' AND session <= '{last.isoformat()}'"
        if interval is not None:
            wanted &= ds.field("interval") == interval
        if symbols is not None:
            wanted &= ds.field("symbol").isin(pa.array(list(symbols), pa.string()))
        with self._trouble("candles"):
            try:
                with self._lock:
                    dataset = self._current("candles").to_pyarrow_dataset(file_pruning_predicate=files)
            except TableNotFoundError:
                return CANDLES.empty_table()
            return _newest(dataset.to_table(filter=wanted))

    def doubled(self, table: str, session: date) -> int:
        """How many rows of a session's candles repeat another's symbol, interval, start and revision: 0, or a fault."""
        key = ["symbol", "interval", "start", "revision"]
        with self._lock, self._trouble(table):
            try:
                dataset = self._current(table).to_pyarrow_dataset()
            except TableNotFoundError:
                return 0
            rows = dataset.to_table(columns=key, filter=ds.field("session") == pa.scalar(session))
        return int(rows.num_rows - rows.group_by(key).aggregate([]).num_rows)

    def sessions(self, table: str) -> list[date]:
        """The sessions a table has rows of, oldest first."""
        with self._lock, self._trouble(table):
            try:
                return sorted(date.fromisoformat(p["session"]) for p in self._current(table).partitions())
            except TableNotFoundError:
                return []

    def _tidy(self, handle: DeltaTable, rows: pa.Table) -> None:
        for session in pc.unique(rows["session"]).to_pylist():
            # Another writer may have been quicker; the next round joins what this one left.
            with suppress(CommitFailedError):
                of = [("session", "=", session.isoformat())]
                handle.optimize.compact(of, target_size=COMPACTED_BYTES, writer_properties=PARQUET)

    def _written(self, handle: DeltaTable, rows: pa.Table, cursors: Mapping[str, int]) -> bool:
        moved = [Transaction(app, cursor, 0) for app, cursor in cursors.items()]
        try:
            write_deltalake(
                handle,
                rows,
                mode="append",
                writer_properties=PARQUET,
                commit_properties=CommitProperties(app_transactions=moved, max_commit_retries=0),
            )
        except CommitFailedError:
            return False
        return True

    def _known(self, table: str, handle: DeltaTable, cursors: Mapping[str, int]) -> bool:
        stored = {app: handle.transaction_version(app) or 0 for app in cursors}
        if all(cursor <= stored[app] for app, cursor in cursors.items()):
            return True
        for app, cursor in stored.items():
            if cursor != self._seen.get((table, app), 0) or cursors[app] < cursor:
                raise LeaseLost(f"{self._uri(table)}#{app}")
        return False

    def _newest_within(self, table: str, newest: int, upto: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        handle = DeltaTable(self._uri(table), storage_options=self._options)
        for version in range(newest, -1, -1):
            try:
                handle.load_as_version(version)
            except DeltaError as e:
                reason = f"version {version} is gone, and all later ones hold too much"
                raise StoreRefused(self._uri(table), reason) from e
            kept = {app: handle.transaction_version(app) or 0 for app in upto}
            if all(cursor <= upto[app] for app, cursor in kept.items()):
                return version, kept
        raise StoreRefused(self._uri(table), "holds rows of a later log in its first version")

    def _owned(self, table: str) -> DeltaTable:
        try:
            return self._current(table)
        except TableNotFoundError:
            uri = self._uri(table)
            settings = {
                "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
                "delta.dataSkippingStatsColumns": INDEXED[table],
            }
            DeltaTable.create(
                uri,
                SCHEMAS[table],
                mode="ignore",
                partition_by=[] if table in WHOLE else ["session"],
                configuration=settings,
                storage_options=self._options,
            )
            return self._current(table)

    def _current(self, table: str) -> DeltaTable:
        handle, opened = self._tables.get(table, (None, 0))
        if handle is not None:
            handle.update_incremental()
        if handle is None or int(handle.version()) >= opened + CHECKPOINT_COMMITS:
            handle = self._opened(table)  # anew: one that is only updated holds every commit apart, 40 kB each
            self._tables[table] = handle, int(handle.version())
        return handle

    def _opened(self, table: str) -> DeltaTable:
        uri, schema = self._uri(table), SCHEMAS[table]
        if "://" not in uri:
            _check_folder(Path(uri))
        handle = DeltaTable(uri, storage_options=self._options)
        there = pa.schema(handle.schema().to_arrow())
        odd = [f.name for f in schema if f.name not in there.names or there.field(f.name).type != f.type]
        if odd:
            raise StoreRefused(uri, f"has no column {odd[0]} of type {schema.field(odd[0]).type}: whose table is it?")
        return handle

    def _uri(self, table: str) -> str:
        if table not in SCHEMAS:
            raise BadValue("table", table, f"one of {', '.join(SCHEMAS)}")
        return f"{self._root}/{table}"

    @contextmanager
    def _trouble(self, table: str) -> Iterator[None]:
        uri = self._uri(table)
        try:
            yield
        except PermissionError as e:
            raise StoreRefused(uri, f"not allowed: {e}") from e
        except (DeltaError, OSError, pa.ArrowException) as e:
            self._tables.pop(table, None)
            raise _named(uri, str(e)) from e


def candle_table(candles: Candles, symbols: Sequence[str]) -> pa.Table:
    """`CANDLE` rows, (n,), as rows of the lake's `candles`, in their order; `symbols` by instrument id."""
    names = [INTERVAL_NAMES.get(s, "") for s in range(max(INTERVAL_NAMES) + 1)]
    provenances = [""] + [p.name for p in sorted(Provenance)]
    columns = {
        "symbol": _strings(candles["instrument"], symbols),
        "interval": _strings(candles["interval"], names),
        "start": _instants(candles["start"]),
        **{name: decimals(candles[name]) for name in ("open", "high", "low", "close", "vwap")},
        **{name: _numbers(candles[name]) for name in ("volume", "trades", "open_interest")},
        "completeness": pa.array(np.ascontiguousarray(candles["completeness"])),
        "provenance": _strings(candles["provenance"], provenances),
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
    rows["start"] = _whole(table["start"].cast(pa.int64())) * 1000
    for name in ("open", "high", "low", "close", "vwap"):
        rows[name] = units(table[name])
    for name in ("volume", "trades", "open_interest"):
        rows[name] = _whole(table[name])
    rows["completeness"] = table["completeness"].to_numpy()
    rows["session"] = _whole(table["session"].cast(pa.int32()))
    rows["revision"] = _whole(table["revision"])
    rows["provenance"] = _coded(table["provenance"], {p.name: int(p) for p in Provenance})
    return rows


def lacking_table(rows: Sequence[tuple[str, int, date]], vendor: str) -> pa.Table:
    """(symbol, start in ns UTC, session) as rows of the lake's `lacking`."""
    columns = {
        "symbol": pa.array([symbol for symbol, _, _ in rows], pa.string()),
        "start": _instants(np.array([start for _, start, _ in rows], np.int64)),
        "vendor": pa.array([vendor] * len(rows), pa.string()),
        "session": pa.array([session for _, _, session in rows], pa.date32()),
    }
    return pa.table(columns, schema=LACKING)


def tick_table(ticks: Ticks, symbols: Sequence[str], feeds: Sequence[str], ahead_by: int = INDIA) -> pa.Table:
    """`TICK` rows of kind TICK, (n,), as rows of the lake's `ticks`; `symbols` by instrument id, `feeds` by source.

    The session is the date of `at` on clocks that are `ahead_by` ns before UTC: `sessions.ahead`.
    """
    columns = {
        "symbol": _strings(ticks["instrument"], symbols),
        "source": _strings(ticks["source"], feeds),
        "sequence": pa.array(ticks["sequence"].astype(np.int64)),
        **{name: _instants(ticks[name]) for name in ("at", "quoted", "received")},
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


def _instants(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(values // 1000, mask=values == UNKNOWN).cast(INSTANT)


def _strings(codes: npt.NDArray[Any], names: Sequence[str]) -> pa.Array:
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(names):
        raise BadValue("code", int(codes.max()), f"0 to {len(names) - 1}, as listed")
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(names, pa.string())).cast(pa.string())


def _coded(column: pa.ChunkedArray, codes: Mapping[str, int]) -> npt.NDArray[np.int64]:
    places = _whole(pc.index_in(column, pa.array(list(codes), pa.string())))
    return np.append(np.fromiter(codes.values(), np.int64), 0)[places]


def _whole(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).fill_null(UNKNOWN).to_numpy(), np.int64)


def _newest(table: pa.Table) -> pa.Table:
    table = table.select(CANDLES.names).combine_chunks()
    if len(table) < 2:
        return table
    codes = {name: _ranks(table[name]) for name in ("symbol", "interval")}
    start, revision = _whole(table["start"].cast(pa.int64())), _whole(table["revision"])
    order = np.lexsort((revision, start, codes["interval"], codes["symbol"]))
    keys = [key[order] for key in (codes["symbol"], codes["interval"], start)]
    last = np.append(np.logical_or.reduce([key[1:] != key[:-1] for key in keys]), True)
    return table.take(pa.array(order[last]))


def _ranks(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    coded = column.combine_chunks().dictionary_encode()
    return np.asarray(pc.rank(coded.dictionary).take(coded.indices).to_numpy(), np.int64)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreRefused(str(folder), "is not a folder")
    if folder.is_dir() and not (folder / "_delta_log").exists() and any(folder.iterdir()):
        raise StoreRefused(str(folder), "is neither empty nor a Delta table")


def _named(uri: str, reason: str) -> LineDown | StoreRefused:
    first = reason.splitlines()[0] if reason else "no reason given"
    return StoreRefused(uri, first) if any(word in reason for word in HOPELESS) else LineDown(uri, first)
