"""The lake: ticks and candles as Delta tables, one row each, for ever.

A commit carries, as Delta application transactions, the id of the last bus entry it holds of each partition. Before it
writes, a writer compares what the table says with what it last saw itself, and the commit is made against exactly that
version: a repeat is known and refused, and of two writers with one name one is stopped. Work in bulk goes the same way:
many tasks stage files, one commit takes them all. Nothing beyond protocol 1/2 is used, so any Delta reader reads along.

A version of a table is what it held at one time: a read that names one is the same whenever it is repeated, as long as
that version is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as fs
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from adapters.deltalog import DeltaLog
from adapters.schemas import ACTIONS, CANDLES, FEATURES, GROWING, INDEXED, INSTANT, SCHEMAS, WHOLE, whole
from adapters.staging import Staged, adds, check_there, folder, written
from market.candles import Provenance
from market.errors import BadValue, LeaseLost, LineDown, StoreRefused
from market.sessions import Session, instant

OFFICIAL = Provenance.OFFICIAL.name
CHECKPOINT_COMMITS = 50
COMPACTED_COMMITS = 5
COMPACTED_SESSIONS = 3
"""A commit of more sessions than these is history: nobody waits for its files to be joined."""

COMPACTED_BYTES = 8 << 20
"""A file of this size is left alone while the session runs: what is joined, and held for it, stays bounded."""

TRIES = 20
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
        self._check(table, rows.schema)

        def write(handle: DeltaTable, said: CommitProperties) -> None:
            write_deltalake(
                handle,
                rows,
                mode="append",
                schema_mode="merge" if table in GROWING else None,
                writer_properties=PARQUET,
                commit_properties=said,
            )

        with self._lock, self._trouble(table):
            version = self._commit(table, cursors, write)
            if table == "candles" and version is not None and version % COMPACTED_COMMITS == 0:
                self._tidy(self._tables[table][0], rows)
        return version

    def stage(self, table: str, rows: pa.Table) -> Staged:
        """Write rows under the table's folder, one file a session, and commit nothing; any process may.

        A file that is never committed is removed by the lake's upkeep, a day after it was written at the earliest.
        """
        self._check(table, rows.schema)
        if table in WHOLE:
            raise BadValue("table", table, f"one that is cut by session, not {', '.join(sorted(WHOLE))}: append to it")
        indexed = INDEXED[table].split(",")
        with self._trouble(table):
            with self._lock:
                self._owned(table)
            return written(self.files(table), table, rows, indexed, ROW_GROUP)

    def commit(
        self, table: str, staged: Collection[Staged], cursors: Mapping[str, int], base: Mapping[str, int] | None = None
    ) -> int | None:
        """Commit all that was staged, or nothing, with the cursors; returns the table's version, None when known.

        As `append`: exactly once by `cursors`, say {the run's name: 1}. `base` names the versions of the tables that
        the rows were computed from; it stands in the commit. Raises StoreRefused when a staged file is gone.
        """
        strange = [one.table for one in staged if one.table != table]
        if strange:
            raise BadValue("staged", strange[0], f"what was staged for {table}")
        named = adds(staged)
        names = list(dict.fromkeys(name for one in staged for name in one.columns))

        def write(handle: DeltaTable, said: CommitProperties) -> None:
            if self._grown(table, handle, names):
                raise CommitFailedError(f"{table} has got columns: look again what it holds")
            check_there(self._uri(table), self.files(table), staged)
            handle.create_write_transaction(named, "append", handle.schema(), ["session"], commit_properties=said)

        with self._lock, self._trouble(table):
            return self._commit(table, cursors, write, {"base": dict(base)} if base else None)

    def version(self, table: str, at: datetime | None = None) -> int:
        """The table's newest version, or the newest one that was committed by `at`. Raises BadValue: there is none."""
        with self._lock, self._trouble(table):
            try:
                newest = int(self._current(table).version())
            except TableNotFoundError:
                raise BadValue("table", table, "one that something was written to") from None
            if at is None:
                return newest
            log = DeltaLog(self.files(table))
            found = log.newest_by(int(at.timestamp() * 1000))
        if found is None:
            allowed = f"an instant since version {log.versions[0]} of {table}, the first that is left"
            raise BadValue("as_of", at.isoformat(), allowed)
        return found

    def base(self, table: str, version: int) -> dict[str, int]:
        """The versions of the tables that a commit in bulk was computed from, as it said; empty where it did not."""
        with self._lock, self._trouble(table):
            return dict(DeltaLog(self.files(table)).said(version).get("base", {}))

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

    def within(self, table: str, upto: Mapping[str, int]) -> int | None:
        """The newest version that holds nothing above `upto`, by application id; None where there is no table yet.

        Raises StoreRefused when all versions that are left hold more.
        """
        with self._lock, self._trouble(table):
            try:
                handle = self._current(table)
            except TableNotFoundError:
                return None
            return self._newest_within(table, int(handle.version()), upto)[0]

    def cursors_of(self, table: str, version: int, apps: Collection[str]) -> dict[str, int]:
        """The last cursor of each application id that a version of the table holds, 0 where there is none."""
        with self._trouble(table):
            handle = DeltaTable(self._uri(table), version=version, storage_options=self._options)
            return {app: handle.transaction_version(app) or 0 for app in apps}

    def compact(self, table: str, session: date | None = None) -> int:
        """Join the small files of a session that has ended, or of all; returns how many files are gone.

        Rows stay as they are.
        """
        gone = 0
        of = None if session is None else [("session", "=", session.isoformat())]

        def join(handle: DeltaTable) -> None:
            nonlocal gone
            done = handle.optimize.compact(of, writer_properties=PARQUET)
            gone = int(done["numFilesRemoved"]) - int(done["numFilesAdded"])

        self.change(table, join)
        return gone

    def change(self, table: str, act: Callable[[DeltaTable], None]) -> None:
        """Do something to a table beside its writers: from the start again whenever one of them was quicker.

        Raises LineDown, StoreRefused.
        """
        with self._trouble(table):
            for _ in range(TRIES):
                with suppress(CommitFailedError):
                    act(self._opened(table))
                    return
        raise LineDown(self._uri(table), f"{TRIES} times in a row another writer was quicker")

    def tables(self) -> list[str]:
        """The tables that are there. Raises LineDown, StoreRefused."""
        found = []
        for table in SCHEMAS:
            with self._trouble(table):
                if DeltaTable.is_deltatable(self._uri(table), storage_options=self._options):
                    found.append(table)
        return found

    def files(self, table: str) -> fs.FileSystem:
        """What lies under a table's folder."""
        return folder(self._uri(table), self._options)

    def opened(self, table: str, version: int | None = None) -> DeltaTable:
        """A handle of the caller's own on a table that is there, at its newest version or the one named.

        Raises BadValue, LineDown, StoreRefused.
        """
        with self._trouble(table):
            try:
                handle = self._opened(table)
            except TableNotFoundError:
                raise BadValue("table", table, "one that something was written to") from None
            return handle if version is None else self._pinned(table, version, int(handle.version()))

    def read_candles(
        self,
        symbols: Collection[str] | None,
        interval: str | None,
        first: date,
        last: date,
        *,
        version: int | None = None,
    ) -> pa.Table:
        """The newest revisions of our own candles of sessions `first` to `last`, both inclusive.

        Ordered by symbol, interval, start; None stands for all symbols, or all intervals; of the table's newest
        version, or of the one named. Raises LineDown and StoreRefused, BadValue for a version that is not there.
        """
        return self._read_candles(symbols, interval, (first, last), ds.field("provenance") != OFFICIAL, version)

    def read_features(
        self,
        symbols: Collection[str] | None,
        first: date,
        last: date,
        of: str,
        *,
        names: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """The features of the set `of` in sessions `first` to `last`, both inclusive: one row a symbol and start.

        Of several the newest run counts, and any run in bulk before a live row; of live rows the highest revision.
        Ordered by symbol, start. `names`: the features wanted, all columns of the table without it; one that the
        table does not have yet is null. Raises as `read_candles`.
        """
        wanted = _sessions(first, last) & (ds.field("set") == of) & _among(symbols)
        with self._trouble("features", version):
            dataset = self._dataset("features", (first, last), version)
            if dataset is None:
                rows = FEATURES.empty_table()
            else:
                extra = [n for n in dataset.schema.names if n not in FEATURES.names and (names is None or n in names)]
                rows = dataset.to_table(filter=wanted, columns=[*FEATURES.names, *extra])
        for name in names or ():
            if name not in rows.column_names:
                rows = rows.append_column(name, pa.nulls(len(rows), GROWING["features"]))
        return _latest(rows.select([*FEATURES.names, *(names or rows.column_names[len(FEATURES) :])]))

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

    def read_official(
        self, symbols: Collection[str] | None, first: date, last: date, *, version: int | None = None
    ) -> pa.Table:
        """The newest revisions of the exchange's own daily candles, as `read_candles`."""
        return self._read_candles(symbols, "1d", (first, last), ds.field("provenance") == OFFICIAL, version)

    def read_lacking(self, symbols: Collection[str], first: date, last: date) -> list[tuple[str, int]]:
        """Symbol and start, ns UTC, of the minutes of these sessions that a vendor does not have either."""
        with self._lock, self._trouble("lacking"):
            try:
                dataset = self._current("lacking").to_pyarrow_dataset()
            except TableNotFoundError:
                return []
            of = (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))
            rows = dataset.to_table(filter=of & ds.field("symbol").isin(pa.array(list(symbols), pa.string())))
        return list(zip(rows["symbol"].to_pylist(), (whole(rows["start"]) * 1000).tolist(), strict=True))

    def read_actions(self, version: int | None = None) -> pa.Table:
        """All that was told of corporate actions up to a version, or ever. Raises LineDown, StoreRefused, BadValue."""
        with self._trouble("actions"):
            return self.dataset("actions", version).to_table().select(ACTIONS.names)

    def _read_candles(
        self,
        symbols: Collection[str] | None,
        interval: str | None,
        days: tuple[date, date],
        wanted: ds.Expression,
        version: int | None = None,
    ) -> pa.Table:
        wanted &= _sessions(*days) & _among(symbols)
        if interval is not None:
            wanted &= ds.field("interval") == interval
        with self._trouble("candles", version):
            dataset = self._dataset("candles", days, version)
            return CANDLES.empty_table() if dataset is None else _newest(dataset.to_table(filter=wanted))

    def dataset(self, table: str, version: int | None = None) -> ds.Dataset:
        """A table as Arrow sees it, of its newest version or the one named, every row of it; read at one's leisure.

        A table that nothing was written to is empty. Raises BadValue, LineDown, StoreRefused.
        """
        with self._trouble(table):
            found = self._dataset(table, None, version)
            return ds.dataset(SCHEMAS[table].empty_table()) if found is None else found

    def _dataset(self, table: str, days: tuple[date, date] | None, version: int | None) -> ds.Dataset | None:
        """None: there is no such table yet."""
        files = days and f"session >= '{days[0].isoformat()}' AND session <= '{days[1].isoformat()}'"
        with self._lock:
            try:
                handle = self._current(table)
            except TableNotFoundError:
                return None
            if version is not None:
                handle = self._pinned(table, version, int(handle.version()))
            return handle.to_pyarrow_dataset(file_pruning_predicate=files)

    def _pinned(self, table: str, version: int, newest: int) -> DeltaTable:
        allowed = f"a version of {table} up to {newest} that is still kept"
        if not 0 <= version <= newest:
            raise BadValue("version", version, allowed)
        try:
            return DeltaTable(self._uri(table), version=version, storage_options=self._options)
        except DeltaError as e:
            raise BadValue("version", version, allowed) from e

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
        """The sessions a table has rows of, oldest first; none of a table that is not cut by session."""
        with self._lock, self._trouble(table):
            try:
                cut = [] if table in WHOLE else self._current(table).partitions()
                return sorted(date.fromisoformat(part["session"]) for part in cut)
            except TableNotFoundError:
                return []

    def _tidy(self, handle: DeltaTable, rows: pa.Table) -> None:
        sessions = pc.unique(rows["session"]).to_pylist()
        for session in sessions if len(sessions) <= COMPACTED_SESSIONS else ():
            # Another writer may have been quicker; the next round joins what this one left.
            with suppress(CommitFailedError):
                of = [("session", "=", session.isoformat())]
                handle.optimize.compact(of, target_size=COMPACTED_BYTES, writer_properties=PARQUET)

    def _commit(
        self,
        table: str,
        cursors: Mapping[str, int],
        write: Callable[[DeltaTable, CommitProperties], None],
        metadata: dict[str, Any] | None = None,
    ) -> int | None:
        if not cursors:
            raise BadValue("cursors", cursors, "one application id at least")
        moved = [Transaction(app, cursor, 0) for app, cursor in cursors.items()]
        said = CommitProperties(custom_metadata=metadata, app_transactions=moved, max_commit_retries=0)
        for _ in range(TRIES):
            handle = self._owned(table)
            if self._known(table, handle, cursors):
                return None
            version = int(handle.version()) + 1  # the very next one, or none
            with suppress(CommitFailedError):
                write(handle, said)
                self._seen |= {(table, app): cursor for app, cursor in cursors.items()}
                return version
        raise LineDown(self._uri(table), f"{TRIES} commits in a row met another writer's")

    def _check(self, table: str, given: pa.Schema) -> None:
        """Raises BadValue when rows do not have the columns of the table."""
        self._uri(table)
        schema = SCHEMAS[table]
        for field in schema:
            if field.name not in given.names or given.field(field.name).type != field.type:
                raise BadValue("columns", given.names, f"{field.name} of type {field.type} must be there")
        for field in given:
            if field.name not in schema.names and field.type != GROWING.get(table):
                raise BadValue("columns", field.name, f"{table} has {', '.join(schema.names)}")

    def _grown(self, table: str, handle: DeltaTable, names: Sequence[str]) -> bool:
        there = {field.name for field in handle.schema().fields}
        lacking = [pa.field(name, GROWING[table]) for name in names if name not in there]
        if lacking:
            handle.alter.add_columns(Schema.from_arrow(pa.schema(lacking)).fields)
        return bool(lacking)

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
                "delta.enableExpiredLogCleanup": "false",  # adapters/upkeep.py knows which versions are kept
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
    def _trouble(self, table: str, version: int | None = None) -> Iterator[None]:
        uri = self._uri(table)
        try:
            yield
        except FileNotFoundError as e:
            if version is None:
                raise LineDown(uri, str(e).splitlines()[0]) from e
            raise BadValue("version", version, f"a version of {table} that is still kept: files of it are gone") from e
        except PermissionError as e:
            raise StoreRefused(uri, f"not allowed: {e}") from e
        except (DeltaError, OSError, pa.ArrowException) as e:
            self._tables.pop(table, None)
            raise _named(uri, str(e)) from e


def _sessions(first: date, last: date) -> ds.Expression:
    return (ds.field("session") >= pa.scalar(first)) & (ds.field("session") <= pa.scalar(last))


def _among(symbols: Collection[str] | None) -> ds.Expression:
    return ds.scalar(True) if symbols is None else ds.field("symbol").isin(pa.array(list(symbols), pa.string()))


def _newest(table: pa.Table) -> pa.Table:
    table = table.select(CANDLES.names).combine_chunks()
    codes = [_ranks(table[name]) for name in ("symbol", "interval")]
    return _last(table, [*codes, whole(table["start"].cast(pa.int64()))], [whole(table["revision"])])


def _latest(table: pa.Table) -> pa.Table:
    table = table.combine_chunks()
    keys = [_ranks(table["symbol"]), whole(table["start"].cast(pa.int64()))]
    return _last(table, keys, [whole(table["run"].cast(pa.int64())), whole(table["revision"])])


def _last(table: pa.Table, keys: Sequence[npt.NDArray[np.int64]], newer: Sequence[npt.NDArray[np.int64]]) -> pa.Table:
    """Of the rows with the same keys the one that is newest, by the first of `newer` that differs; by the keys."""
    if len(table) < 2:
        return table
    order = np.lexsort((*reversed(newer), *reversed(keys)))
    last = np.append(np.logical_or.reduce([key[order][1:] != key[order][:-1] for key in keys]), True)
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
