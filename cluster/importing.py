"""The commands that fill the lake with history: import from files, backfill from a vendor."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cluster.console import Config, progress, screen, settings_of, told
from market.errors import BadValue
from market.holidays import exchange_named
from market.sessions import ZONES

if TYPE_CHECKING:
    from adapters.imports import Tally

FAILED = 1
SHOWN = 40

app = typer.Typer()

Files = Annotated[list[Path], typer.Argument(help="CSV (also .gz) or parquet.", exists=True, dir_okay=False)]


@app.command("import")
def import_files(
    files: Files,
    columns: Annotated[
        str, typer.Option(help="open=O,close=C: ours (time, symbol, open, high, low, close, volume) to the file's.")
    ] = "",
    interval: Annotated[str, typer.Option(help="1m or 1d; without it, as the times of the file say.")] = "",
    zone: Annotated[str, typer.Option(help="Of times without one: Asia/Kolkata, UTC ...")] = "",
    label: Annotated[str, typer.Option(help="start or end: which end of its interval a minute is named by.")] = "",
    exchange: Annotated[str, typer.Option(help="Of symbols without one, and whose sessions count.")] = "NSE",
    symbol: Annotated[str, typer.Option(help="Of a file without a column of symbols: NSE:INDIA VIX.")] = "",
    rename: Annotated[str, typer.Option(help="NIFTY=NIFTY 50,...: the file's symbols to ours.")] = "",
    time_format: Annotated[str, typer.Option(help="Of times as text, like '%d-%m-%Y %H:%M'.")] = "",
    official: Annotated[
        bool, typer.Option(help="The exchange's own end-of-day figures; they stand beside ours.")
    ] = False,
    series: Annotated[str, typer.Option(help="NAME=COLUMN,...: values that are no candles, with --known.")] = "",
    known: Annotated[
        str, typer.Option(help="When a value is known: 'same day 19:00', 'next session 09:00', column:NAME.")
    ] = "",
    again: Annotated[bool, typer.Option(help="Also what is known to be committed (the lake was put back).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as a record.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Take candles, or series, of files into the lake; a second time changes nothing.

    Rows that cannot be are put into the lake's quarantine with the reason; the rest goes on.
    """
    from cluster.imports import asked_of, candles, pairs, series_form
    from cluster.imports import series as take_series

    settings = settings_of(config)
    with told():
        home = exchange_named(exchange)
        given = pairs("--columns", columns)
        if series or known:
            if not (series and known):
                raise BadValue("--series", series or known, "NAME=COLUMN,... together with --known RULE")
            form = series_form(files[0], series, known, given, zone or ZONES[home].key, time_format or None)
            tally = take_series(settings, files, form, home)
        else:
            asked = asked_of(
                columns=given,
                interval=interval or None,
                zone=zone or None,
                label=label or None,
                exchange=home,
                symbol=symbol or None,
                renames=pairs("--rename", rename),
                time_format=time_format or None,
                official=official,
            )
            tally = candles(settings, files, asked, again)
    if as_json:
        typer.echo(tally.model_dump_json(indent=2))
        return
    _show(tally, "values" if series else "candles")


@app.command()
def backfill(
    since: Annotated[datetime, typer.Option("--from", help="The first day.", formats=["%Y-%m-%d"])],
    until: Annotated[
        datetime | None, typer.Option("--to", help="The last day; without it today.", formats=["%Y-%m-%d"])
    ] = None,
    symbols: Annotated[str, typer.Option(help="With commas between; without it the whole universe.")] = "",
    interval: Annotated[str, typer.Option(help="1m or 1d.")] = "1d",
    again: Annotated[bool, typer.Option(help="Also ask for what the vendor has answered before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as a record.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Take candles from the history of the primary feed's vendor into the lake, of sessions that are over.

    It may be ended and run again: what was answered is not asked for again. Exit code 0: asked for all; 1: for some it
    could not be; 2: nothing was asked.
    """
    from cluster.backfills import plan_of
    from pipelines.backfill import run

    settings = settings_of(config)
    with told():
        span = (since.date(), until.date() if until else None)
        plan = plan_of(settings, [s for s in symbols.split(",") if s.strip()], span, interval, again)
        with progress("backfill") as (bar, task):
            report = run(plan, lambda share, text: bar.update(task, completed=share, text=text))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        raise typer.Exit(FAILED if report.failures else 0)
    screen.print(
        f"{report.requests} requests to {plan.vendor}, {report.throttled} of them too many; "
        f"{report.skipped} spans were there or answered before",
        soft_wrap=True,
    )
    _show(report.tally, "candles")
    for failure in report.failures[:SHOWN]:
        screen.print(f"{failure.symbol}: {failure.reason}", markup=False, soft_wrap=True)
    if report.missing:
        count = sum(one.sessions for one in report.missing)
        table = Table("missing", "from", "to", "sessions", "why", box=None)
        for one in report.missing[:SHOWN]:
            table.add_row(one.symbol, f"{one.first}", f"{one.last}", str(one.sessions), one.reason)
        screen.print(f"{count:,} sessions of a symbol are not there:", markup=False)
        screen.print(table)
        if len(report.missing) > SHOWN:
            screen.print(f"and {len(report.missing) - SHOWN} more; --json lists them", markup=False)
    raise typer.Exit(FAILED if report.failures else 0)


def _show(tally: Tally, what: str) -> None:
    screen.print(
        f"{tally.read:,} rows read, {tally.added:,} {what} added ({tally.gaps:,} in the place of a gap); "
        f"{tally.held:,} held already, {tally.differing:,} of them with other values here, which stay; "
        f"{tally.repeated:,} repeated",
        soft_wrap=True,
    )
    if tally.known:
        screen.print(f"{tally.known} of {tally.parts} parts were taken in before", markup=False)
    if not tally.refused:
        return
    table = Table("refused", "why", box=None)
    for reason, count in sorted(tally.refused.items(), key=lambda one: -one[1]):
        table.add_row(f"{count:,}", reason)
    screen.print(table)
    screen.print("they are in the lake's table quarantine", markup=False)
