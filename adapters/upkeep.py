"""Upkeep of the lake: what is kept, what goes, and whether everything is as it must be.

Old rows go by a commit, files that no version needs go after it, and then what the log says of versions that nobody can
read any more. Ended anywhere, the next run does the rest. Writers go on meanwhile. A version that somebody keeps loses
neither files nor log: who keeps what stands in the lake, one small object each under `kept/TABLE/VERSION/NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from adapters.deltalog import LOG, DeltaLog
from adapters.lake import PARQUET, Lake
from adapters.schemas import GROWING, SCHEMAS, WHOLE
from adapters.staging import folder
from market.candles import Provenance
from market.errors import BadValue, LineDown, StoreRefused
from market.records import Record
from market.retention import Keep, forgettable, holdable, keeper

KEPT = "kept"
KEYS = {
    "candles": ("symbol", "interval", "start", "revision"),
    "features": ("symbol", "start", "set", "run", "revision"),
    "predictions": ("symbol", "at", "horizon"),
}
"""What no two rows of a table have in common."""

DAILY = ds.field("interval") == "1d"
"""Daily candles are few, and stay whatever their age."""

PRICES = ("open", "high", "low", "close")
TENDED = "delta.enableExpiredLogCleanup"
TOMBSTONES = "delta.deletedFileRetentionDuration"


class Retained(Record):
    """What retention took from one table: rows, files that nobody needed, versions that can no longer be read."""

    table: str
    rows: int
    files: int
    versions: int


class Holdings(Record):
    """What a table holds; `older`: files of older versions or of nobody, by number; sizes in bytes."""

    version: int
    rows: int
    files: int
    size: int
    older: int
    older_size: int


class Upkeep:
    """The lake's housekeeper. Any process may be it, beside the writers and beside another one."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.lake = Lake(root, storage_options)
        self._root, self._options = root, dict(storage_options or {})

    @property
    def _store(self) -> fs.FileSystem:
        return folder(self._root, self._options)

    def kept(self, table: str | None = None) -> list[Keep]:
        """Who keeps what, by table, version and name."""
        try:
            store = self._store
        except TableNotFoundError:
            return []
        found = []
        for info in store.get_file_info(fs.FileSelector(KEPT, allow_not_found=True, recursive=True)):
            parts = info.path.split("/")
            if info.type == fs.FileType.File and len(parts) == 4 and table in (None, parts[1]):
                at = datetime.fromtimestamp(info.mtime_ns / 1e9, UTC)
                found.append(Keep(table=parts[1], version=int(parts[2]), name=parts[3], at=at))
        return sorted(found, key=lambda keep: (keep.table, keep.version, keep.name))

    def keep(self, table: str, version: int, name: str, now: datetime, versions: timedelta) -> Keep:
        """Keep a version of a table for `name` until it is released; once more is no harm.

        `versions`: so long the old versions of this lake stay by themselves. Raises BadValue for a version that is
        gone already, or is about to go.
        """
        keep = Keep(table=table, version=version, name=keeper(name), at=now)
        newest = int(self.lake.opened(table).version())
        self.lake.opened(table, version)
        others = [k for k in self.kept(table) if k.version == version]
        if keep.name in (k.name for k in others):
            return next(k for k in others if k.name == name)
        self._note(keep)
        try:
            superseded = _superseded(DeltaLog(self.lake.files(table)), version, newest)
            if not (others or holdable(superseded, now, versions)):
                raise BadValue("version", version, f"one of {table} that is kept, or was the newest until of late")
            if missing := _missing(self.lake.opened(table, version), self.lake.files(table)):
                raise BadValue("version", version, f"one of {table} whose files are there; {missing[0]}")
        except BadValue:
            self.release(name, table, version)
            raise
        return keep

    def release(self, name: str, table: str | None = None, version: int | None = None) -> list[Keep]:
        """Keep for `name` no longer, all of it or a table's or a version alone; returns what was kept."""
        found = [k for k in self.kept(table) if k.name == name and version in (None, k.version)]
        for keep in found:
            with suppress(FileNotFoundError):
                self._store.delete_file(_place(keep))
        return found

    def retain(self, table: str, oldest: date | None, versions: timedelta, now: datetime) -> Retained:
        """Remove what is too old: rows of sessions before `oldest`, and versions superseded longer than `versions` ago.

        Daily candles stay, whatever their age. Raises BadValue when a version that is kept can no longer be read:
        nothing is removed then.
        """
        self._held(table)
        rows = 0 if oldest is None else self._expire(table, oldest)
        self._tend(table, versions)
        files = self._vacuum(table, versions)
        return Retained(table=table, rows=rows, files=files, versions=self._forget(table, now - versions))

    def check(self, table: str, told: Callable[[float], None] = lambda part: None) -> Iterator[str]:
        """Every fault of a table, a sentence each; `told` hears the part of the work that is done, 0 to 1.

        The log can be read and names no version that is not there; each file is there with the size and the rows that
        the log says; the columns are ours; no row is there twice; revisions have no holes; a GAP row has no prices and
        any other has all four, in order. Raises LineDown, StoreRefused, BadValue.
        """
        if table not in self.lake.tables():
            raise BadValue("table", table, "one that something was written to")
        store = self.lake.files(table)
        corrupt = DeltaLog(store).corrupt()
        yield from (f"{name}: a corrupt entry of the log" for name in corrupt)
        try:
            handle = self.lake.opened(table)
        except (LineDown, StoreRefused):
            if corrupt:
                return
            raise
        yield from _columns(table, handle)
        gone = _missing(handle, store)
        yield from gone
        if not gone:
            actions = pa.table(handle.get_add_actions(flatten=True))
            yield from _counts(actions, store)
            days = [] if table in WHOLE else sorted(pc.unique(actions["partition.session"]).to_pylist())
            for done, day in enumerate(days, start=1):
                yield from _rows(table, handle, day)
                told(done / len(days))
        for keep in self.kept(table):
            yield from self._lost(keep)

    def holdings(self, table: str) -> Holdings:
        """What a table's newest version holds, and what else lies under its folder."""
        handle = self.lake.opened(table)
        actions = pa.table(handle.get_add_actions())
        named = set(actions["path"].to_pylist())
        older = [size for path, size in _there(self.lake.files(table)).items() if path not in named]
        return Holdings(
            version=int(handle.version()),
            rows=int(handle.count()),
            files=len(named),
            size=sum(actions["size_bytes"].to_pylist()),
            older=len(older),
            older_size=sum(older),
        )

    def _note(self, keep: Keep) -> None:
        # That it is there is all it says. As Parquet, because the store's streams take what Parquet's writer hands on.
        pq.write_table(pa.table({"name": [keep.name]}), _place(keep), filesystem=self._store)

    def _lost(self, keep: Keep) -> Iterator[str]:
        what = f"version {keep.version}, kept for {keep.name}"
        try:
            handle = self.lake.opened(keep.table, keep.version)
        except BadValue:
            yield f"{what}: can no longer be read"
        else:
            yield from (f"{what}: {fault}" for fault in _missing(handle, self.lake.files(keep.table)))

    def _expire(self, table: str, oldest: date) -> int:
        rows = 0

        def delete(handle: DeltaTable) -> None:
            nonlocal rows
            before = f"session < '{oldest.isoformat()}'"
            if not handle.file_uris(file_pruning_predicate=before):
                return
            if table == "candles":
                rows = _without_minutes(handle, oldest)
            else:
                rows = int(handle.delete(before).get("num_deleted_rows", 0))

        self.lake.change(table, delete)
        return rows

    def _tend(self, table: str, versions: timedelta) -> None:
        """The log must go on to name what a version lost for as long as the version stays."""
        wanted: dict[str, str] = {TENDED: "false", TOMBSTONES: f"interval {_hours(versions)} hours"}

        def tend(handle: DeltaTable) -> None:
            if not wanted.items() <= handle.metadata().configuration.items():
                handle.alter.set_table_properties(wanted)

        self.lake.change(table, tend)

    def _vacuum(self, table: str, versions: timedelta) -> int:
        gone = 0

        def vacuum(handle: DeltaTable) -> None:
            nonlocal gone
            hours, held = _hours(versions), self._held(table) or None
            if handle.vacuum(hours, dry_run=True, full=True, keep_versions=held):
                gone += len(handle.vacuum(hours, dry_run=False, full=True, keep_versions=held))

        self.lake.change(table, vacuum)
        return gone

    def _forget(self, table: str, horizon: datetime) -> int:
        log = DeltaLog(self.lake.files(table))
        first = log.newest_by(int(horizon.timestamp() * 1000))
        if first is None:
            return 0
        held = [log.needed(version) for version in self._held(table)]
        gone = forgettable(log.versions, min(log.needed(first)), held)
        for version in gone:
            log.forget(version)
        return len(gone)

    def _held(self, table: str) -> list[int]:
        """The versions that are kept. Raises BadValue when one of them can no longer be read."""
        held = sorted({keep.version for keep in self.kept(table)})
        for version in held:
            self.lake.opened(table, version)
        return held


def _without_minutes(handle: DeltaTable, oldest: date) -> int:
    # A predicate that names `interval` cannot be said again by the library when another writer was quicker.
    dataset = handle.to_pyarrow_dataset(file_pruning_predicate=f"session < '{oldest.isoformat()}'")
    going = dataset.to_table(columns=["session"], filter=(ds.field("session") < pa.scalar(oldest)) & ~DAILY)["session"]
    if not len(going):
        return 0
    ends = pc.min_max(going)
    within = (ds.field("session") >= ends["min"]) & (ds.field("session") <= ends["max"])
    write_deltalake(
        handle,
        dataset.to_table(filter=within & DAILY),
        mode="overwrite",
        predicate=f"session >= '{ends['min']}' AND session <= '{ends['max']}'",
        writer_properties=PARQUET,
    )
    return len(going)


def _hours(span: timedelta) -> int:
    return int(span.total_seconds()) // 3600


def _place(keep: Keep) -> str:
    return f"{KEPT}/{keep.table}/{keep.version}/{keep.name}"


def _superseded(log: DeltaLog, version: int, newest: int) -> datetime | None:
    if version >= newest:
        return None
    said = log.committed(version + 1) if version + 1 in log.versions else 0
    return datetime.fromtimestamp(said / 1000, UTC)


def _there(store: fs.FileSystem) -> dict[str, int]:
    """The size of every data file under a table's folder."""
    found = store.get_file_info(fs.FileSelector("", recursive=True))
    return {i.path: i.size for i in found if i.type == fs.FileType.File and not i.path.startswith(LOG)}


def _missing(handle: DeltaTable, store: fs.FileSystem) -> list[str]:
    """Files that the log names and that are gone or of another size, a sentence each."""
    there, named = _there(store), pa.table(handle.get_add_actions())
    files = zip(named["path"].to_pylist(), named["size_bytes"].to_pylist(), strict=True)
    return sorted(
        f"{path}: {there[path]} bytes, the log says {size}" if path in there else f"{path}: in the log, not there"
        for path, size in files
        if there.get(path) != size
    )


def _columns(table: str, handle: DeltaTable) -> Iterator[str]:
    there = pa.schema(handle.schema().to_arrow())
    cut, wanted = handle.metadata().partition_columns, [] if table in WHOLE else ["session"]
    if cut != wanted:
        yield f"cut by {', '.join(cut) or 'nothing'}, not by {', '.join(wanted) or 'anything'}"
    for field in there:
        known = SCHEMAS[table].field(field.name).type if field.name in SCHEMAS[table].names else GROWING.get(table)
        if field.type != known:
            yield f"column {field.name} of type {field.type}: {f'not {known}' if known else 'nobody knows it'}"


def _counts(actions: pa.Table, store: fs.FileSystem) -> Iterator[str]:
    for path, rows in zip(actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True):
        try:
            with store.open_input_file(path) as file:
                found = pq.read_metadata(file).num_rows
        except (pa.ArrowException, OSError) as e:
            yield f"{path}: cannot be read: {str(e).splitlines()[0]}"
            continue
        if rows is not None and found != rows:
            yield f"{path}: {found} rows, the log says {rows}"


def _rows(table: str, handle: DeltaTable, day: date) -> Iterator[str]:
    if table not in KEYS:
        return
    extra = (*PRICES, "provenance") if table == "candles" else ()
    dataset = handle.to_pyarrow_dataset(file_pruning_predicate=f"session = '{day.isoformat()}'")
    try:
        rows = dataset.to_table(columns=[*KEYS[table], *extra], filter=ds.field("session") == pa.scalar(day))
    except (DeltaError, OSError, pa.ArrowException) as e:
        yield f"{day}: cannot be read: {str(e).splitlines()[0]}"
        return
    counted = rows.group_by(list(KEYS[table])).aggregate([([], "count_all")])
    yield from _told(counted.filter(pc.greater(counted["count_all"], 1)), KEYS[table], day, "stand there twice")
    if table == "candles":
        yield from _candles(rows, counted, day)


def _candles(rows: pa.Table, counted: pa.Table, day: date) -> Iterator[str]:
    of = list(KEYS["candles"][:-1])
    grouped = counted.group_by(of).aggregate([("revision", "min"), ("revision", "max"), ("revision", "count")])
    least, most = grouped["revision_min"], grouped["revision_max"]
    holes = pc.not_equal(pc.add(pc.subtract(most, least), 1), grouped["revision_count"])
    # A candle that nobody knew when it was corrected begins with revision 1.
    odd = pc.or_(holes, pc.or_(pc.less(least, 0), pc.greater(least, 1)))
    yield from _told(grouped.filter(odd), of, day, "lack a revision")
    gap = pc.equal(rows["provenance"], Provenance.GAP.name)
    lacks = [pc.is_null(rows[name]) for name in PRICES]
    some, every = _any(lacks), pc.invert(_any([pc.invert(lack) for lack in lacks]))
    yield from _told(rows.filter(pc.and_(gap, pc.invert(every))), of, day, "are a GAP, and have prices")
    yield from _told(rows.filter(pc.and_(pc.invert(gap), some)), of, day, "are no GAP, and lack prices")
    worst = _any([pc.fill_null(pc.greater(rows["low"], rows[n]), False) for n in ("open", "close", "high")])
    worst = pc.or_(worst, _any([pc.fill_null(pc.less(rows["high"], rows[n]), False) for n in ("open", "close")]))
    yield from _told(rows.filter(worst), of, day, "have a price outside their low and high")


def _any(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    found = columns[0]
    for column in columns[1:]:
        found = pc.or_(found, column)
    return found


def _told(rows: pa.Table, of: Collection[str], day: date, what: str) -> Iterator[str]:
    if len(rows):
        first = rows.select(list(of)).slice(0, 1).to_pylist()[0]
        named = " ".join(value.isoformat() if isinstance(value, datetime) else str(value) for value in first.values())
        yield f"{day}: {len(rows)} rows {what}, first {named}"
