"""The commands about what the lake holds: coverage, repair, reconcile."""

from __future__ import annotations

import json
import time
import zipfile
import zlib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cluster.console import Config, refuse, screen, settings_of, told
from cluster.settings import Settings
from market.coverage import LONGEST_DAYS, Shortfall
from market.errors import BadValue
from market.holidays import known
from market.notices import FIRST, LAST

app = typer.Typer()

FAILED = 1
SHOWN = 40
LARGEST = 64 << 20
PACKED = b"PK"
"""How every zip begins."""


Symbols = Annotated[list[str] | None, typer.Argument(help="RELIANCE, NSE:TCS ...; without any: the whole universe.")]
From = Annotated[datetime | None, typer.Option("--from", help="The first day.", formats=["%Y-%m-%d"])]
To = Annotated[datetime | None, typer.Option("--to", help="The last day.", formats=["%Y-%m-%d"])]
AsJson = Annotated[bool, typer.Option("--json", help="The record itself.")]


@app.command()
def coverage(
    symbols: Symbols = None,
    since: From = None,
    until: To = None,
    as_json: AsJson = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Which sessions of which symbols are whole, which minutes are not, and why; from the lake alone.

    Without days: the sessions that the lake has, of the last two years.
    """
    from adapters.lake import Lake
    from adapters.surveys import survey
    from cluster.calendars import calendar

    settings = settings_of(config)
    with told():
        lake = Lake(settings.lake)
        first, last = _span(lake.sessions("candles"), since, until)
        mine = chosen(settings, symbols)
        found = survey(lake, mine, calendar(settings, first, last), (first, last), clock_of(settings))
    if as_json:
        typer.echo(json.dumps(found.record(), indent=2))
        return
    counts = ", ".join(f"{count} {state}" for state, count in found.counts().items())
    share = "nothing is due yet" if found.covered is None else f"{found.covered:.4%} covered"
    screen.print(f"{first} to {last}, {len(mine)} symbols, {len(found.sessions)} sessions: {share}; {counts}")
    if found.shortfalls:
        screen.print(_shortfalls(found.shortfalls[:SHOWN]))
    if len(found.shortfalls) > SHOWN:
        screen.print(f"and {len(found.shortfalls) - SHOWN} more; --json lists them")


@app.command()
def repair(
    session: Annotated[
        datetime | None, typer.Option(help="The session; without it the newest one.", formats=["%Y-%m-%d"])
    ] = None,
    symbols: Annotated[str, typer.Option(help="With commas between; without it the whole universe.")] = "",
    days: Annotated[int, typer.Option(help="How many days up to the session.", min=1, max=3660)] = 1,
    again: Annotated[bool, typer.Option(help="Also ask for minutes the vendor did not have before.")] = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Ask the broker's history for the minutes that are not whole, and correct them; needs a running Bourse.

    Exit code 0: asked for all; 1: for some it could not be; 2: nothing was asked.
    """
    from cluster.repairs import plan_of
    from pipelines.repair import run

    settings = settings_of(config)
    with told():
        named = known("--session", session.date()) if session else None
        now = clock_of(settings, running=True)
        last = named or _india(now)
        mine = chosen(settings, [s for s in symbols.split(",") if s.strip()])
        plan = plan_of(settings, mine, (last - timedelta(days=days - 1), last), now, again)
        report = run(plan, lambda line: typer.echo(line, err=True))
    said = f"{report.found} minutes not whole; {report.proposed} corrected, {report.lacking} not at the vendor either"
    screen.print(f"{said}; {report.requests} requests, {report.throttled} of them too many")
    for failure in report.failures[:SHOWN]:
        screen.print(f"{failure.symbol}: {failure.reason}", markup=False)
    raise typer.Exit(FAILED if report.failures else 0)


@app.command()
def reconcile(
    file: Annotated[
        Path | None,
        typer.Argument(help="The exchange's end-of-day file, CSV or zip; without it the one in DATA/official."),
    ] = None,
    session: Annotated[
        datetime | None,
        typer.Option(help="The session; without it the one the file is of, or the newest.", formats=["%Y-%m-%d"]),
    ] = None,
    as_json: AsJson = False,
    config: Config = Path("cluster.yaml"),
) -> None:
    """Put the exchange's own daily candles beside ours and print how near they are; needs a running Bourse."""
    from adapters.bus import Bus
    from adapters.lake import Lake
    from cluster.calendars import calendar
    from cluster.repairs import stores_of
    from market.vendors.nse_bhavcopy import file_names, read
    from pipelines.reconcile import reconcile as run

    settings = settings_of(config)
    with told():
        now = clock_of(settings, running=True)
        day = session.date() if session else _india(now)
        folder = settings.data / "official"
        here = file or next((p for n in file_names(day) if (p := folder / n).is_file()), None)
        if here is None and not folder.exists():
            screen.print(f"nothing to reconcile: there is no folder {folder} for end-of-day files", soft_wrap=True)
            return
        if here is None:
            refuse(f"no end-of-day file of {day} in {folder}; name one, or put it there as the exchange names it")
        found = read(_unpacked(here))
        if session and found.day != day:
            refuse(f"{here.name} is of {found.day}, not of {day}")
        if not calendar(settings, found.day, found.day, found.exchange).on(found.day) or found.day > _india(now):
            refuse(f"{here.name} is of {found.day}, which is no session of {found.exchange} until now")
        instruments = list(settings.instruments())
        bus = Bus(stores_of(settings).bus)
        result = run(bus, Lake(settings.lake), settings.partitions, instruments, found)
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
        return
    screen.print(
        f"{result.session}: {result.compared} symbols compared, {result.incomplete} of them not whole here; "
        f"{len(result.official_only)} only at the exchange, {len(result.ours_only)} only here"
    )
    table = Table("field", "compared", "exact", "near", "median apart", "worst", box=None)
    for f in result.fields:
        worst = f"{f.worst[0].symbol} {f.worst[0].relative:.4%}" if f.worst else ""
        table.add_row(f.field, str(f.compared), f"{f.exact:.2%}", f"{f.near:.2%}", f"{f.median:.4%}", worst)
    screen.print(table)


def _span(held: list[date], since: datetime | None, until: datetime | None) -> tuple[date, date]:
    held = [d for d in held if FIRST <= d <= LAST]
    today = _india(time.time_ns())
    last = until.date() if until else max(held, default=today)
    newest = last.toordinal() - LONGEST_DAYS
    first = since.date() if since else min([d for d in held if newest <= d.toordinal() and d <= last], default=last)
    if last < first:
        refuse(f"--to {last} is before --from {first}")
    if first.toordinal() < newest:
        raise BadValue("--from", first.isoformat(), f"a day at most {LONGEST_DAYS} days before --to, {last}")
    return first, last


def chosen(settings: Settings, symbols: Sequence[str] | None) -> tuple[str, ...]:
    """The symbols that are named, in full; without any, all of the universe. Raises UnknownSymbol."""
    universe = settings.instruments()
    named = dict.fromkeys(universe.find(s).symbol for s in symbols or ())
    return tuple(named) or tuple(i.symbol for i in universe)


def clock_of(settings: Settings, *, running: bool = False) -> int:
    """The market's clock where Bourse runs, else the machine's; `running`: it must."""
    from adapters.bus import Bus
    from adapters.marks import market_time
    from cluster.stores import Stores
    from market.errors import BourseError

    try:
        return market_time(Bus(Stores(settings, settings.run_folder).bus), settings.partitions) or time.time_ns()
    except BourseError:
        if running:
            raise
        return time.time_ns()


def _india(now: int) -> date:
    from market.sessions import IST, instant

    return instant(now).astimezone(IST).date()


def _unpacked(path: Path) -> bytes:
    """The file, or the one file in a zip. Ends the command where it is neither; raises BadValue for a zip of more."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(PACKED))
            if begin != PACKED:
                return begin + file.read(LARGEST + 1)
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()
            if len(names) != 1:
                raise BadValue(path.name, f"{len(names)} files", "a zip with one file in it")
            with packed.open(names[0]) as inside:
                return inside.read(LARGEST + 1)
    except OSError as e:
        refuse(f"{path}: {e}")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as e:
        refuse(f"{path.name}: a zip that is damaged or of an unusual kind: {e}")


def _shortfalls(rows: list[Shortfall]) -> Table:
    table = Table("symbol", "session", "state", "covered", "missing", "incomplete", "why", box=None)
    for row in rows:
        why = ", ".join(dict.fromkeys(span.cause.value for span in row.spans))
        numbers = (f"{row.covered:.2%}", str(row.missing), str(row.incomplete))
        table.add_row(row.symbol, row.session.isoformat(), row.state.value, *numbers, why)
    return table
