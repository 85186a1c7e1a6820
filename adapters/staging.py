"""Staging: Parquet files written by many hands under a table's folder, to be committed later by one.

A staged file is nobody's until a commit names it: a task that is tried again leaves its first one behind, and the
lake's upkeep removes it. What a file is called is drawn by lot, so no two tasks meet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as fs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction

from market.errors import BadValue, StoreRefused
from market.records import Record

EPOCH = date(1970, 1, 1)


class StagedFile(Record):
    """One file under the table's folder. `statistics`: Delta's, as JSON; `at`: when it was written, ms UTC."""

    path: str
    session: date
    rows: int
    size: int
    at: int
    statistics: str


class Staged(Record):
    """What one task has written for a table: small, picklable, and JSON where a job keeps it over a restart.

    `columns`: the names of all of them, in order, for tables whose columns grow.
    """

    table: str
    columns: tuple[str, ...]
    files: tuple[StagedFile, ...]

    @property
    def rows(self) -> int:
        """Of all files together."""
        return sum(file.rows for file in self.files)


def folder(uri: str, options: Mapping[str, str]) -> fs.FileSystem:
    """The files under an address as Arrow sees them, a folder or an object store alike."""
    return fs.PyFileSystem(DeltaStorageHandler(uri, dict(options)))


def written(store: fs.FileSystem, table: str, rows: pa.Table, indexed: Sequence[str], group: int) -> Staged:
    """Write the rows, one file a session, in `group` rows a row group; statistics are of the `indexed` columns."""
    files = [_file(store, session, part, indexed, group) for session, part in by_session(rows)]
    return Staged(table=table, columns=tuple(rows.column_names), files=tuple(files))


def by_session(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """Each session with its rows, sessions in order, the rows of one in the order they had."""
    if not len(rows):
        return
    if rows["session"].null_count:
        raise BadValue("session", None, "a date in every row")
    days = rows["session"].cast(pa.int32()).to_numpy()
    if (days[1:] < days[:-1]).any():
        order = np.argsort(days, kind="stable")
        rows, days = rows.take(pa.array(order)), days[order]
    cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    for first, last in pairwise(cuts):
        yield EPOCH + timedelta(days=int(days[first])), rows.slice(first, last - first)


def adds(staged: Iterable[Staged]) -> list[AddAction | RemoveAction]:
    """The files as a Delta commit names them. Raises BadValue when one is there twice."""
    found: dict[str, AddAction | RemoveAction] = {}
    for file in (file for one in staged for file in one.files):
        if file.path in found:
            raise BadValue("staged", file.path, "each file once")
        values = {"session": file.session.isoformat()}
        found[file.path] = AddAction(file.path, file.size, values, file.at, True, file.statistics)
    return list(found.values())


def check_there(uri: str, store: fs.FileSystem, staged: Iterable[Staged]) -> None:
    """Raises StoreRefused when a file is not there as it was written."""
    files = [file for one in staged for file in one.files]
    for file, found in zip(files, store.get_file_info([file.path for file in files]), strict=True):
        if found.type != fs.FileType.File or found.size != file.size:
            raise StoreRefused(uri, f"{file.path} was staged and is not there as it was written: stage it again")


def _file(store: fs.FileSystem, session: date, rows: pa.Table, indexed: Sequence[str], group: int) -> StagedFile:
    path = f"session={session.isoformat()}/staged-{uuid4().hex}.zstd.parquet"
    pq.write_table(
        rows.drop_columns(["session"]),
        path,
        filesystem=store,
        row_group_size=group,
        use_dictionary=[field.name for field in rows.schema if field.type != pa.float64()],  # half the time
        compression="zstd",
        compression_level=1,
        store_decimal_as_integer=True,
    )
    size = store.get_file_info(path).size
    at = time.time_ns() // 1_000_000
    return StagedFile(
        path=path, session=session, rows=len(rows), size=size, at=at, statistics=_statistics(rows, indexed)
    )


def _statistics(rows: pa.Table, indexed: Sequence[str]) -> str:
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    for name in indexed:
        ends = pc.min_max(rows[name])
        if ends["min"].is_valid:
            least[name], most[name] = _said(ends["min"]), _said(ends["max"])
    nulls = {name: rows[name].null_count for name in indexed}
    return json.dumps({"numRecords": len(rows), "minValues": least, "maxValues": most, "nullCount": nulls})


def _said(value: pa.Scalar) -> Any:
    if not pa.types.is_timestamp(value.type):
        return value.as_py()
    return f"{value.cast(pa.timestamp('us')).as_py().isoformat(timespec='microseconds')}Z"
