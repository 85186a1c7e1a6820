"""The command that puts indicators beside the candles of a file, or of every file of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from adapters.tables import Anew, readable
from cluster.console import progress, refuse, screen, told
from cluster.cores import cores
from market.indicators import INDICATORS, Indicator, studies
from pipelines.indicators import Done, Task, Work, here, run

SMALL = 128 * 2**20
"""Bytes of a folder that one process reads, computes and writes sooner than Ray starts."""

app = typer.Typer()


@app.command()
def indicators(
    file: Annotated[Path | None, typer.Argument(help="CSV or parquet of OHLCV, or a folder of such files.")] = None,
    asked: Annotated[
        str, typer.Option("--set", help="NAME[:PARAMETER...],... as in rsi:14,macd:12:26:9,bollinger:20:2.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="CSV or parquet by its suffix; a folder, if FILE is one.", show_default=False)
    ] = None,
    anew: Annotated[
        Anew, typer.Option(help="When OBV, VWAP, AD, SAR and SuperTrend start anew; auto: daily within a day.")
    ] = Anew.AUTO,
    time: Annotated[
        str | None, typer.Option(help="The column to sort by; none: the rows are in order.", show_default=False)
    ] = None,
    use: Annotated[
        int | None, typer.Option("--cores", min=1, help="Of this machine, for a folder; all without it.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="Say what there is, and end.")] = False,
) -> None:
    """Indicators of a file's candles, one named column each, beside the columns that it has."""
    if names:
        screen.print(_table())
        return
    if file is None or out is None or not asked:
        refuse("bourse indicators takes a FILE, --set and --out; --list says what may be asked for")
    with told():
        columns = [column for study in studies(asked) for column in study.columns]
        work = _work(file, out)
    task = Task(asked=asked, anew=anew, time=time)
    done = list(here(work, task)) if len(work) == 1 else _many(work, task, use)
    failures = [one for one in done if one.failure]
    for one in failures:
        typer.echo(f"{one.source}: {one.failure}", err=True)
    if len(failures) < len(done):
        rows = sum(one.rows for one in done)
        files = "" if len(work) == 1 else f" of {len(done) - len(failures)} files"
        screen.print(f"{rows:,} rows{files}, {len(columns)} columns to {out}: {', '.join(columns)}", soft_wrap=True)
    if failures:
        raise typer.Exit(2)


def _work(file: Path, out: Path) -> list[Work]:
    if not file.is_dir():
        if out.is_dir():
            refuse(f"{out} is a folder; name the file that --out makes")
        if out.exists() and file.exists() and out.samefile(file):
            refuse(f"{out} is the file that is read; name another")
        return [Work(source=str(file), target=str(out))]
    files = sorted(path for path in file.iterdir() if readable(path))
    if not files:
        refuse(f"{file} holds no file that ends in .csv, .csv.gz or .parquet")
    if out.exists() and (not out.is_dir() or out.samefile(file)):
        refuse(f"{out} is not a folder of its own; name one that --out may fill")
    targets = [out / f"{path.name.removesuffix('.gz').rpartition('.')[0]}.parquet" for path in files]
    if len(set(targets)) < len(targets):
        refuse(f"{file} holds files that differ by their suffix alone")
    out.mkdir(parents=True, exist_ok=True)
    return [Work(source=str(path), target=str(target)) for path, target in zip(files, targets, strict=True)]


def _many(work: Sequence[Work], task: Task, use: int | None) -> list[Done]:
    size = sum(Path(one.source).stat().st_size for one in work)
    if use == 1 or size < SMALL:
        return _followed(here(work, task), len(work))
    with cores(use):
        return _followed(run(work, task), len(work))


def _followed(found: Iterator[Done], count: int) -> list[Done]:
    done: list[Done] = []
    with progress("indicators") as (bar, job):
        for one in found:
            done.append(one)
            bar.update(job, completed=len(done) / count, text=f"{len(done)} of {count} files")
    return done


def _table() -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for name in ("parameters", "outputs", "unit", "what it is"):
        table.add_column(name, overflow="fold")
    for indicator in INDICATORS.values():
        several = ", ".join(indicator.outputs) if len(indicator.outputs) > 1 else ""
        table.add_row(indicator.name, parameters(indicator), several, indicator.unit, escape(indicator.told))
    return table


def parameters(indicator: Indicator) -> str:
    """The parameters with their defaults, in order."""
    return ", ".join(f"{parameter.name} {parameter.default:g}" for parameter in indicator.parameters)
