"""The commands of the IPO desk: what its predictions are worth, month by month, beside the premium alone."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cluster.console import show_table, told
from market.errors import BadValue

if TYPE_CHECKING:
    from market.ipo.scores import Score

DAY = ["%Y-%m-%d"]
ipo = typer.Typer(no_args_is_help=True, help="Issues of shares: the premium, what it predicts, and what came of it.")


@ipo.callback()
def desk() -> None:
    """Keeps the commands named, however few there are."""


@ipo.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="A folder of tables: ipo_master.csv and its neighbours.")],
    until: Annotated[datetime, typer.Option("--train-until", formats=DAY, help="Issues listed after it are judged.")],
    as_json: Annotated[bool, typer.Option("--json", help="One record a line.")] = False,
) -> None:
    """Walk through the months, each fitted on what was listed before it, and score the issues listed after a day."""
    with told():
        found = evaluated(data, until.date())
    if as_json:
        for score in found:
            typer.echo(score.model_dump_json())
    else:
        show_table(_table(found))


def evaluated(data: Path, until: date) -> list[Score]:
    """A score of each task and model. Raises BadValue: no such tables, or nothing listed after the day."""
    from adapters.ipo_tables import read
    from market.ipo.scores import scores
    from market.ipo.walkforward import Task, rows_of, walk
    from market.sessions import day_number

    tables, after = read(data), day_number(until)
    last = int(tables.issues["listed"].max(initial=after))
    if last <= after:
        raise BadValue("--train-until", until.isoformat(), "a day before the last listing of the tables")
    found = []
    for task in Task:
        walked = walk(*rows_of(tables, task), close=task is Task.ALL)
        found += scores(task, walked, after)
    if not any(score.n for score in found):
        raise BadValue("--train-until", until.isoformat(), "a day after which an issue with a premium and a gain lists")
    return found


def _table(found: list[Score]) -> Table:
    table = Table(box=None)
    for title in ("task", "model"):
        table.add_column(title, no_wrap=True)
    for title in ("issues", "MAE, points", "95 % interval", "R2", "AUC, gain of 10", "80 % covers", "Brier"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("served", no_wrap=True)
    for score in found:
        months = ", ".join(f"{name} in {count} months" for name, count in score.months.items())
        table.add_row(
            score.task,
            score.model,
            str(score.n),
            _cell(score.mae),
            f"{_cell(score.mae_low)} to {_cell(score.mae_high)}" if score.n else "-",
            _cell(score.r2),
            _cell(score.auc),
            f"{score.coverage:.1%}" if score.coverage is not None else "-",
            _cell(score.brier),
            months,
        )
    return table


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
