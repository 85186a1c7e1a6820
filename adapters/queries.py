"""Queries: SQL over the tables of a lake, read only, by DuckDB.

The database is empty and lives in memory for one query. It sees the lake's tables through Arrow, opens no file, no
address and no extension itself, and nothing in a query can change that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from adapters.lake import Lake
from market.errors import BadQuery

LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",  # a query sees no variable of the program around it
    "temp_directory": "",
}
READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
"""MULTI is a PIVOT; all it makes is in memory."""

NEWEST = {
    "candles": ("provenance <> 'OFFICIAL'", "symbol, interval, start, session", "revision DESC"),
    "features": ("true", 'symbol, "set", start, session', "run DESC NULLS LAST, revision DESC"),
}
"""Of these tables `newest_...` has one row a key, the one that counts."""

BATCH_ROWS = 65_536


@contextmanager
def answered(
    lake: Lake, query: str, versions: Mapping[str, int | None] | None = None, most: int | None = None
) -> Iterator[pa.RecordBatchReader]:
    """The answer to one SELECT (or EXPLAIN, DESCRIBE, SHOW), to be read within the context, batch by batch.

    Tables have their names, and `newest_candles` and `newest_features` have of several revisions or runs the one that
    counts. `versions`: the tables that are there, and of which version, None for the newest; without it all of them.
    `most`: rows of the answer that are wanted, the first ones; the database need not work out the rest. Instants come
    in UTC. Raises BadQuery, LineDown, StoreRefused, BadValue for a version that is not there.
    """
    with duckdb.connect(":memory:", config=dict(LOCKED)) as database, _told(query):
        statements = duckdb.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in READING:
            raise BadQuery("query", query, "one statement that reads, like SELECT ... FROM candles")
        for table, version in (dict.fromkeys(lake.tables()) if versions is None else versions).items():
            database.register(table, lake.dataset(table, version))
            if table in NEWEST:
                database.execute(_newest(table))
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET lock_configuration = true")
        answer = database.sql(query)
        yield (answer if most is None else answer.limit(most)).to_arrow_reader(BATCH_ROWS)


def _newest(table: str) -> str:
    rows, key, order = NEWEST[table]
    ranked = f"row_number() OVER (PARTITION BY {key} ORDER BY {order})"
    return f"CREATE VIEW newest_{table} AS SELECT * FROM {table} WHERE {rows} QUALIFY {ranked} = 1"  # noqa: S608


@contextmanager
def _told(query: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as e:
        raise BadQuery("query", query, _line(str(e))) from e


def _line(reason: str) -> str:
    """What a database says, without the picture of the query it draws below."""
    said = reason.partition("\nLINE ")[0]
    return " ".join(said.split())[:400]
