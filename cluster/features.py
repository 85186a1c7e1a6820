"""The command that computes features in bulk, and the one that lists them."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from adapters.lake import Lake
from cluster.calendars import calendar
from cluster.console import Config, progress, refuse, screen, settings_of, told
from cluster.cores import cores
from cluster.settings import Settings
from market.errors import BadValue
from market.features import FEATURES, MEMORY, NAMES, SET
from market.notices import FIRST
from pipelines.features import FeaturesPlan, Report, run

FAILED = 1
BEFORE = timedelta(days=MEMORY["1d"] * 2)
"""Days of the calendar that hold the sessions a daily feature remembers."""

DAY = ["%Y-%m-%d"]
app = typer.Typer()


@app.command()
def features(
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="The first session.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="The last session, inclusive.")] = None,
    symbols: Annotated[str, typer.Option(help="RELIANCE,NSE:TCS,...; the universe without it.")] = "",
    version: Annotated[
        int | None, typer.Option(min=0, help="Of the lake's candles: the same rows whenever it is said.")
    ] = None,
    again: Annotated[bool, typer.Option(help="Also what was computed before.")] = False,
    use: Annotated[int | None, typer.Option("--cores", min=1, help="Of this machine; all without it.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only say what the features are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as a record.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Compute the features of the lake's candles into the lake; what is there is not computed again.

    It may be ended at any point and said again. Exit code 1 when an instrument failed; the others are there then.
    """
    if listed:
        screen.print(_table())
        return
    if since is None or until is None:
        refuse("say which sessions: bourse features --from 2026-11-02 --to 2026-11-20")
    settings = settings_of(config)
    with told():
        plan = plan_of(settings, (since.date(), until.date()), symbols, version, again)
        with cores(use), progress("features") as (bar, job):
            report = run(plan, lambda share, text: bar.update(job, completed=share, text=text))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _say(report)
    raise typer.Exit(FAILED if report.failures else 0)


def plan_of(
    settings: Settings, span: tuple[date, date], symbols: str, version: int | None = None, again: bool = False
) -> FeaturesPlan:
    """The plan of a run over some sessions, both ends inclusive; `symbols` as on the command line. Raises BadValue."""
    first, last = span
    if first > last:
        raise BadValue("--from", first.isoformat(), f"a day up to {last}")
    universe = settings.instruments()
    wanted = [name.strip() for name in symbols.split(",") if name.strip()]
    exchange = next(iter(universe)).exchange
    if symbols and not wanted:
        raise BadValue("--symbols", symbols, "names with commas between")
    named = [name if ":" in name else f"{exchange}:{name}" for name in wanted] or [i.symbol for i in universe]
    sessions = tuple(calendar(settings, max(first - BEFORE, FIRST), last))
    if not any(first <= s.date <= last for s in sessions):
        raise BadValue("--from, --to", f"{first}, {last}", "days with a session between them; see bourse sessions")
    Lake(settings.lake).dataset("candles", version)
    return FeaturesPlan(
        lake=settings.lake,
        instruments=tuple(universe),
        symbols=tuple(dict.fromkeys(named)),
        sessions=sessions,
        first=first,
        last=last,
        now=time.time_ns(),
        version=version,
        again=again,
    )


def _say(report: Report) -> None:
    known = f", {report.known} of {report.parts} parts were there" if report.known else ""
    went_on = ", gone on with a run that was ended" if report.resumed else ""
    base = ", ".join(f"{table} {version}" for table, version in report.base.items())
    line = (
        f"{report.rows:,} rows of set {report.set} ({len(NAMES)} features), {report.unknown:,} unknown{known}{went_on}"
    )
    screen.print(f"{line}; of the versions {base}", markup=False, soft_wrap=True)
    if report.empty:
        screen.print(f"no minute of {', '.join(report.empty)} in these sessions", markup=False, soft_wrap=True)
    for failure in report.failures:
        said = f"{failure.symbol}, {failure.first} to {failure.last}: {failure.reason}"
        typer.echo(said, err=True)


def _table() -> Table:
    table = Table("feature", "unit", "memory", "scale", "what it is", box=None, pad_edge=False, title=f"set {SET}")
    for one in FEATURES:
        rows = f"{one.memory} x {one.timeframe}"
        table.add_row(one.name, one.unit, rows, f"{one.scale:g}", escape(one.formula))
    return table
