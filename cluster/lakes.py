"""The commands about the lake itself: queries, what it holds, its upkeep, and who keeps which version."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from cluster.console import Config, progress, refuse, screen, settings_of, told
from market.errors import BourseError

FAILED = 1
MIB = 1 << 20

app = typer.Typer()
lake = typer.Typer(help="The lake: what it holds, and its upkeep.", invoke_without_command=True)

Session = Annotated[
    datetime | None, typer.Option(help="Its date; without it the newest in the lake.", formats=["%Y-%m-%d"])
]


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over candles, newest_candles, features, ticks ...")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Without it: by the name of --out, else a table.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A file, which is replaced; without it the screen.")] = None,
    rows: Annotated[int, typer.Option(help="The most rows of a table on the screen.", min=1)] = 100,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Ask the lake in DuckDB's SQL; nothing but the lake is read, and nothing written but --out."""
    from adapters.lake import Lake
    from adapters.queries import answered

    settings = settings_of(config)
    form = form or _form(out)
    if form is Format.TABLE and out is not None:
        refuse("--format table: it goes to the screen; csv, json or parquet go to --out")
    if form is Format.PARQUET and out is None:
        refuse("--format parquet: it needs --out FILE")
    if out is not None and not out.parent.is_dir():
        refuse(f"--out {out}: there is no folder {out.parent}")
    with told():
        if not (asked := Lake(settings.lake)).tables():
            refuse(f"{settings.lake}: nothing was written to this lake yet")
    with told(), answered(asked, query, most=rows + 1 if form is Format.TABLE else None) as found:
        if form is Format.TABLE:
            _show(found, rows)
        else:
            with _opened(out) as sink:
                count = {Format.CSV: _csv, Format.JSON: _json, Format.PARQUET: _parquet}[form](found, sink)
            if out is not None:
                screen.print(f"{count} rows written to {out}", markup=False, soft_wrap=True)


@lake.callback()
def holdings(context: typer.Context, config: Config = Path("cluster.yaml")) -> None:
    """Each table with its version, its rows, its files, and what older versions and nobody's files take."""
    if context.invoked_subcommand is not None:
        return
    from adapters.upkeep import Upkeep

    upkeep = Upkeep(settings_of(config).lake)
    table = Table("table", "version", "rows", "sessions", "files", "MiB", "older files", "MiB", box=None)
    with told():
        for name in upkeep.lake.tables():
            held, days = upkeep.holdings(name), upkeep.lake.sessions(name)
            span = f"{days[0]} to {days[-1]}" if days else ""
            sizes = (f"{held.files}", f"{held.size / MIB:.1f}", f"{held.older}", f"{held.older_size / MIB:.1f}")
            table.add_row(name, str(held.version), str(held.rows), span, *sizes)
    screen.print(table if table.rows else "nothing was written to this lake yet")


@lake.command()
def check(
    tables: Annotated[list[str] | None, typer.Argument(help="Which tables; without any all of them.")] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Look whether all is as it must be, a line for each fault; exit code 1 when there is one.

    Every file that the log names is there with the size and rows it says; the columns are ours; no row is there twice,
    no revision missing; a GAP has no price; every version that is kept can be read.
    """
    from adapters.upkeep import Upkeep

    upkeep, faults = Upkeep(settings_of(config).lake), 0
    with told():
        for name in tables or upkeep.lake.tables():
            with progress(f"check {name}") as (bar, task):
                found = list(upkeep.check(name, partial(_moved, bar, task)))
                _moved(bar, task, 1.0)
            for fault in found:
                screen.print(f"{name}: {fault}", markup=False, soft_wrap=True)
            if not found:
                screen.print(f"{name}: sound", markup=False)
            faults += len(found)
    raise typer.Exit(FAILED if faults else 0)


@app.command()
def compact(
    session: Session = None,
    everything: Annotated[bool, typer.Option("--all", help="Every session, say after work in bulk.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Join the small files of a session in the lake; its rows stay as they are."""
    from adapters.lake import Lake
    from adapters.schemas import WHOLE

    if everything and session is not None:
        refuse("--all and --session: one of them")
    found = Lake(settings_of(config).lake)
    with told():
        for table in found.tables():
            known = found.sessions(table)
            day = session.date() if session is not None else max(known, default=None)
            if everything or table in WHOLE:
                screen.print(f"{table}: {found.compact(table)} files fewer")
            elif day is None or day not in known:
                screen.print(f"{table}: nothing of {day or 'any session'}")
            else:
                screen.print(f"{table}: {found.compact(table, day)} files fewer for {day}")


lake.command()(compact)


@lake.command()
def retain(session: Session = None, config: Config = Path("cluster.yaml")) -> None:
    """Remove what is older than `retention.lake` says, counted back from a session, and files that nobody needs.

    Versions that are kept stay whole. Exit code 1 when a table could not be tended.
    """
    from adapters.upkeep import Upkeep
    from market.retention import oldest_kept

    settings = settings_of(config)
    upkeep, rule, failed = Upkeep(settings.lake), settings.retention.lake, False
    versions = timedelta(days=rule.versions_days)
    with told(), progress("retain") as (bar, task):
        tables = upkeep.lake.tables()
        for done, name in enumerate(tables):
            bar.update(task, completed=done / len(tables), text=name)
            try:
                newest = session.date() if session else max(upkeep.lake.sessions(name), default=date.min)
                oldest = None if newest == date.min else oldest_kept(newest, rule.days(name))
                gone = upkeep.retain(name, oldest, versions, datetime.now(UTC))
            except BourseError as e:
                failed = True
                typer.echo(f"{name}: {e}", err=True)
                continue
            before = f" before {oldest}" if oldest else ""
            said = f"{name}: {gone.rows} rows{before} removed, {gone.files} files, the log of {gone.versions} versions"
            screen.print(said, markup=False, soft_wrap=True)
        _moved(bar, task, 1.0)
    raise typer.Exit(FAILED if failed else 0)


@lake.command()
def keep(
    version: Annotated[int, typer.Argument(help="A version of the table, as `bourse lake` shows.")],
    name: Annotated[str, typer.Option("--for", help="Who needs it, say a model's name.")],
    table: Annotated[str, typer.Option(help="Of which table.")] = "candles",
    config: Config = Path("cluster.yaml"),
) -> None:
    """Keep a version of a table for somebody: retention takes nothing of it until it is released."""
    from adapters.upkeep import Upkeep

    settings = settings_of(config)
    with told():
        versions = timedelta(days=settings.retention.lake.versions_days)
        kept = Upkeep(settings.lake).keep(table, version, name, datetime.now(UTC), versions)
    screen.print(f"version {kept.version} of {kept.table} is kept for {kept.name}", markup=False)


@lake.command()
def release(
    name: Annotated[str, typer.Argument(help="The name it was kept by.")],
    table: Annotated[str | None, typer.Option(help="Of this table alone.")] = None,
    version: Annotated[int | None, typer.Option(help="This version alone.")] = None,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Keep for somebody no longer; the next retention may take what was kept."""
    from adapters.upkeep import Upkeep

    with told():
        for kept in (found := Upkeep(settings_of(config).lake).release(name, table, version)):
            screen.print(f"version {kept.version} of {kept.table} is released", markup=False)
    if not found:
        screen.print(f"nothing is kept for {name}", markup=False)


@lake.command("kept")
def list_kept(config: Config = Path("cluster.yaml")) -> None:
    """Who keeps which version."""
    from adapters.upkeep import Upkeep

    table = Table("table", "version", "for", "since", box=None)
    with told():
        for one in Upkeep(settings_of(config).lake).kept():
            table.add_row(one.table, str(one.version), escape(one.name), f"{one.at:%Y-%m-%d %H:%M:%S} UTC")
    screen.print(table if table.rows else "nothing is kept by name")


def _moved(bar: Progress, task: TaskID, part: float) -> None:
    bar.update(task, completed=part, text="")


def _form(out: Path | None) -> Format:
    if out is None:
        return Format.TABLE
    named = out.suffix.removeprefix(".").lower()
    if named not in (Format.CSV, Format.JSON, Format.PARQUET):
        refuse(f"--out {out}: a name that ends in .csv, .json or .parquet, or say --format")
    return Format(named)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[bytes]]:
    """The screen, or a file that takes its place when all is in it."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        sink = part.open("wb")
    except OSError as e:
        refuse(f"--out {out}: {e.strerror}")
    try:
        with sink:
            yield sink
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _show(found: Any, most: int) -> None:
    table, count = Table(*(escape(name) for name in found.schema.names), box=None), 0
    for batch in found:
        for row in batch.slice(0, max(0, most - count)).to_pylist(maps_as_pydicts="lossy"):
            table.add_row(*("" if value is None else escape(str(_plain(value))) for value in row.values()))
        count += batch.num_rows
    screen.print(table, soft_wrap=True)
    if count > most:  # one more was asked for
        screen.print("and more; --rows shows more of them, --out keeps all")


def _csv(found: Any, sink: IO[bytes]) -> int:
    import pyarrow.csv as pcsv

    return _batches(found, pcsv.CSVWriter(sink, found.schema))


def _parquet(found: Any, sink: IO[bytes]) -> int:
    import pyarrow.parquet as pq

    return _batches(found, pq.ParquetWriter(sink, found.schema, compression="zstd"))


def _batches(found: Any, writer: Any) -> int:
    count = 0
    with writer:
        for batch in found:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _json(found: Any, sink: IO[bytes]) -> int:
    count = 0
    sink.write(b"[")
    for batch in found:
        for row in batch.to_pylist(maps_as_pydicts="lossy"):
            sink.write(b",\n " if count else b"\n ")
            sink.write(json.dumps({name: _plain(value) for name, value in row.items()}, default=_plain).encode())
            count += 1
    sink.write(b"\n]\n" if count else b"]\n")
    return count


def _plain(value: Any) -> Any:
    """A cell as JSON has it: rupees as a number, instants and dates as ISO 8601, what is no number as null."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str | dict | list):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
