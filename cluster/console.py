"""Console: what every command shares: the screen, the config's option, and how a fault is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cluster.document import check_with_ray
from cluster.settings import Settings, read
from market.errors import BadSetting, BourseError
from market.sessions import IST

REFUSED = 2
WAIT_SECONDS = 10.0
WIDEST = 10_000

screen = Console(highlight=False)

Config = Annotated[Path, typer.Option("--config", "-c", help="The cluster file.", show_default=True)]


def settings_of(config: Path, *, with_ray: bool = False) -> Settings:
    """The settings, or the one line about what is wrong with them and the end of this command."""
    try:
        settings = read(config)
        if with_ray:
            check_with_ray(config)
    except BadSetting as e:
        refuse(str(e))
    return settings


def refuse(line: str) -> NoReturn:
    """End the command with one line on stderr and exit code 2."""
    typer.echo(line, err=True)
    raise typer.Exit(REFUSED) from None


def answer(settings: Settings, path: str) -> dict[str, Any]:
    """What the gateway of this machine answers, or the end of this command."""
    from cluster.secrecy import headers

    port = settings.ports.http
    try:
        with told():
            shown = headers(settings)
        got = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=WAIT_SECONDS, headers=shown)
        got.raise_for_status()
        found: dict[str, Any] = got.json()
    except (httpx.HTTPError, ValueError) as e:
        refuse(f"no gateway on port {port}: {e}; bourse up starts one")
    return found


def clock(stamp: str) -> str:
    """An instant of the API as the clocks of India show it."""
    return f"{datetime.fromisoformat(stamp).astimezone(IST):%Y-%m-%d %H:%M:%S}"


def show_table(table: Table, on: Console | None = None) -> None:
    """A table whose cells are never cut: at its own width where nobody's screen is asked; where it is wider than
    that, a block of lines each row.
    """
    on = on or screen
    wide = Measurement.get(on, on.options.update(max_width=WIDEST), table).maximum
    if wide <= on.width:
        on.print(table)
    elif not on.is_terminal:
        Console(file=on.file, width=wide, highlight=False).print(table)
    else:
        titles = [str(column.header) for column in table.columns]
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            for title, cell in zip(titles, cells, strict=True):
                on.print(f"{title:<{max(map(len, titles))}}  {cell}", soft_wrap=True)
            on.print()


@contextmanager
def told() -> Iterator[None]:
    """What Bourse raises on purpose becomes the one line."""
    try:
        yield
    except BourseError as e:
        refuse(str(e))


@contextmanager
def progress(name: str) -> Iterator[tuple[Progress, TaskID]]:
    """A bar on stderr for long work, from 0 to 1, with a `text` beside it."""
    columns = (
        SpinnerColumn(),
        TextColumn(name),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield bar, bar.add_task(name, total=1.0, text="starting")
